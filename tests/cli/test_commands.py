"""The command line: what is imported when, what goes to stdout, and which exit code ends what."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from data_controller.cli import main
from data_controller.cli._exit import MEANINGS
from data_controller.errors import (
    ConfigError,
    ControlError,
    DataControllerError,
    ImportFormatError,
    JournalCorrupt,
    LatchedError,
)

SRC = Path(__file__).parent.parent.parent / "src"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "120"}
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "paper.yaml"
SUMMARY = {"frames": 12_345, "books_proved": 8, "digest": {"events": {"sha256": "ab", "rows": 3}}}


@dataclass
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: str) -> Ran:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(arguments))
    return Ran(code, out.getvalue(), err.getvalue())


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Put `function` of a module in place of the real one; returns the calls it gets."""

    def put(module: str, function: str, answer: Any = None, error: BaseException | None = None) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append({"args": args, **kwargs})
            if "on_event" in kwargs:
                kwargs["on_event"]({"event": "ready", "dashboard": "http://127.0.0.1:1"})
            if "on_progress" in kwargs:
                kwargs["on_progress"](1000)
            if error is not None:
                raise error
            return answer

        name = f"data_controller.{module}"
        stand_in = sys.modules.get(name) if getattr(sys.modules.get(name), "__fake__", False) else None
        if stand_in is None:
            stand_in = types.ModuleType(name)
            stand_in.__dict__["__fake__"] = True
            monkeypatch.setitem(sys.modules, name, stand_in)
            package, _, last = name.rpartition(".")
            monkeypatch.setattr(sys.modules[package], last, stand_in, raising=False)
        setattr(stand_in, function, call)
        return calls

    for room in ("engine", "lake", "killswitch", "simulator"):
        __import__(f"data_controller.{room}")
    return put


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


HEAVY = {"numba", "numpy", "pyarrow", "pydantic", "llvmlite", "ruamel.yaml", "starlette", "asyncio"}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        (["--version"], set()),
        (["demo", "--help"], {"pydantic"}),  # Typer itself checks a command's parameters with it
        (["config", "-h"], {"pydantic"}),
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str], allowed: set[str]) -> None:
    code = (
        "import sys; from data_controller.cli import main; code = main(sys.argv[1:]);"
        f"print([name for name in {HEAVY - allowed} if name in sys.modules], code, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert done.stderr.strip() == "[] 0"


def test_help_names_every_command_and_every_exit_code() -> None:
    ran = run("--help")
    assert ran.code == 0
    runs, tools = (
        ("demo", "run", "status", "reload", "subscribe", "unsubscribe", "stop", "kill", "resume"),
        ("replay", "verify", "import", "doctor"),
    )
    for command in (*runs, *tools, "simulate", "config", "features", "model"):
        assert f" {command} " in ran.out
    text = " ".join(ran.out.split())
    assert all(f"{code} {meaning}" in text for code, meaning in MEANINGS.items())


def test_every_command_has_help_with_the_exit_codes() -> None:
    from typer.main import get_command

    from data_controller.cli._app import app

    def leaves(command: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
        inner = getattr(command, "commands", {})
        return [leaf for name, below in inner.items() for leaf in leaves(below, (*path, name))] or [(path, command)]

    found = leaves(get_command(app), ())
    assert len(found) > 15
    for path, leaf in found:
        assert leaf.help, path
        assert "Exit codes" in (leaf.epilog or ""), path
        assert all(p.help for p in leaf.params if p.name != "help"), path


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["demo", "--for", "3x"],
        ["demo", "--for", "0s"],
        ["demo", "--instruments", "0"],
        ["run"],
        ["import", "cryptofeed", "FILE"],
        ["run", "-c", "no-such-file.yaml"],
        ["config", "check", "no-such-file.yaml"],
        ["kill"],
        ["kill", "--reason", "x", "--state", "no-such-folder"],
        ["features", "show", "nonsense"],
    ],
)
def test_wrong_usage_ends_with_2(inside: Path, arguments: list[str]) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) == 1
    assert "Traceback" not in ran.err


def test_wrong_usage_with_json_is_one_object(inside: Path) -> None:
    ran = run("run", "--json")
    assert (ran.code, ran.json["exit_code"], ran.json["error"]["type"]) == (2, 2, "UsageError")
    assert "--config" in ran.json["error"]["message"]


def test_a_group_without_a_command_shows_its_help(inside: Path) -> None:
    ran = run("import")
    assert (ran.code, ran.err) == (2, "")
    assert "cryptofeed" in ran.out


def test_an_exchange_that_nobody_knows_is_refused_before_anything_is_read(inside: Path) -> None:
    ran = run("import", "frames", "no-such-file", "--exchange", "nonsense", "--out", "D")
    assert ran.code == 2
    assert "bitfinex" in ran.err and "was 'nonsense'" in ran.err
    assert not Path("D").exists()


def test_demo_hands_its_options_on(inside: Path, fake: Any) -> None:
    calls = fake("engine.demo", "demo", SUMMARY)
    ran = run("demo", "--for", "1m30s", "--seed", "3", "--instruments", "2", "--ticks-per-second", "50", "--out", "D")
    assert ran.code == 0
    (call,) = calls
    del call["on_event"]
    assert call == {
        "args": (),
        "for_s": 90.0,
        "seed": 3,
        "instruments": 2,
        "ticks_per_second": 50,
        "out": Path("D"),
    }


def test_json_is_one_object_on_stdout_and_events_go_to_stderr(inside: Path, fake: Any) -> None:
    fake("engine.demo", "demo", SUMMARY)
    ran = run("demo", "--json")
    assert ran.json == SUMMARY
    assert ran.out.count("\n") == 1
    assert "http://127.0.0.1:1" in ran.err


def test_people_get_a_table(inside: Path, fake: Any) -> None:
    fake("engine.demo", "demo", SUMMARY)
    ran = run("demo")
    assert "12,345" in ran.out
    assert "books proved" in ran.out


def test_a_demo_never_writes_into_a_folder_with_something_in_it(inside: Path, fake: Any) -> None:
    calls = fake("engine.demo", "demo", SUMMARY)
    (inside / "demo-out").mkdir()
    (inside / "full").mkdir()
    (inside / "full" / "precious").touch()
    assert run("demo").code == 0
    assert calls[0]["out"] == Path("demo-out-2")
    assert run("demo", "--out", "full").code == 2
    assert len(calls) == 1


def test_run_hands_the_loaded_config_on(fake: Any) -> None:
    from data_controller.config import load

    calls = fake("engine.live", "run", SUMMARY)
    assert run("run", "-c", str(EXAMPLE), "--for", "60s", "--record-only").code == 0
    assert calls[0]["args"] == (load(EXAMPLE),)
    assert (calls[0]["for_s"], calls[0]["record_only"], calls[0]["config_path"]) == (60.0, True, EXAMPLE)


def test_replay_and_verify_hand_their_paths_on(fake: Any) -> None:
    replays, checks = fake("engine.replay", "replay", SUMMARY), fake("engine.verify", "verify", {"checksums_ok": 3})
    assert run("replay", "a", "b", "--out", "o").code == 0
    assert (replays[0]["args"], replays[0]["config"], replays[0]["out"]) == (([Path("a"), Path("b")],), None, Path("o"))
    assert run("verify", "a", "--json").json == {"checksums_ok": 3}
    assert checks[0]["args"] == ([Path("a")],)


def test_verify_judges_each_journal_for_itself_and_its_segments_together(inside: Path, fake: Any) -> None:
    checks = fake("engine.verify", "verify", {"ok": True})
    segments = [f"c/journal-0000001-00000{n}.arrows" for n in (1, 2)]
    checked = run("verify", "a", "b", *segments, "d/journal-0000001-000001.arrows", "--json")
    assert checked.code == 0 and checked.json["ok"]
    judged = [[str(path) for path in call["args"][0]] for call in checks]
    assert judged == [["a"], ["b"], segments, ["d/journal-0000001-000001.arrows"]]


@pytest.mark.parametrize("kind", ["frames", "ndjson", "bitstamp-log"])
def test_imports_hand_file_exchange_and_folder_on(fake: Any, kind: str) -> None:
    calls = fake("lake.importers", f"import_{kind.replace('-', '_')}", {"frames": 1})
    assert run("import", kind, "capture.gz", "--exchange", "bitfinex", "--out", "J").code == 0
    assert calls[0]["args"] == (Path("capture.gz"), "bitfinex", Path("J"))


@pytest.mark.parametrize("kind", ["cryptofeed", "hftbacktest"])
def test_imports_of_several_files_hand_them_all_on(fake: Any, kind: str) -> None:
    calls = fake("lake.importers", f"import_{kind}", {"frames": 1})
    assert run("import", kind, "a.0", "a.ws.0", "--exchange", "bitfinex", "--out", "J").code == 0
    assert calls[0]["args"] == ([Path("a.0"), Path("a.ws.0")], "bitfinex", Path("J"))


def test_imports_of_rows_need_no_exchange(fake: Any) -> None:
    files, tables = fake("lake.importers", "import_tardis", {}), fake("lake.importers", "import_table", {})
    assert run("import", "tardis", "a.csv", "b.csv", "--out", "J").code == 0
    assert files[0]["args"] == ([Path("a.csv"), Path("b.csv")], Path("J"))
    assert run("import", "table", "m.yaml", "--data", "d", "--out", "J").code == 0
    assert tables[0]["args"] == (Path("m.yaml"), Path("J"), Path("d"))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({}, 0),
        ({"ok": True}, 0),
        ({"ok": False}, 1),
        ({"error": "the books never proved"}, 1),
        ({"predictions_differ": 2}, 1),
        ({"latched": True}, 4),
        ({"latched": True, "ok": False}, 4),
    ],
)
def test_what_a_run_says_of_itself_is_its_exit_code(inside: Path, fake: Any, answer: dict[str, Any], code: int) -> None:
    fake("engine.replay", "replay", answer)
    assert run("replay", "j").code == code


@pytest.mark.parametrize(
    ("answer", "code"), [({"checksums_bad": 1}, 1), ({"sequence_gaps": 1}, 1), ({"checksums_ok": 5}, 0)]
)
def test_verify_ends_with_1_where_something_is_bad(fake: Any, answer: dict[str, Any], code: int) -> None:
    fake("engine.verify", "verify", answer)
    assert run("verify", "j").code == code


def unanswered(cause: OSError) -> ControlError:
    error = ControlError("engine is not running")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("expected a, was b"), 2),
        (JournalCorrupt("a torn batch"), 1),
        (ImportFormatError("no such format"), 1),
        (LatchedError("latched"), 4),
        (unanswered(FileNotFoundError()), 3),
        (unanswered(TimeoutError()), 3),
        (ControlError("refused: engine.pulse_ms needs a restart"), 1),
        (DataControllerError("some other"), 1),
        (RuntimeError("a bug"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_one_line_or_one_object_and_never_a_traceback(fake: Any, error: BaseException, code: int) -> None:
    fake("engine.replay", "replay", error=error)
    plain, machine = run("replay", "j"), run("replay", "j", "--json")
    assert (plain.code, machine.code) == (code, code)
    assert plain.out == ""
    assert len(plain.err.splitlines()) == 1
    assert str(error) in plain.err
    assert set(machine.json) == {"error", "exit_code"}
    assert machine.json["exit_code"] == code
    assert "Traceback" not in plain.err + machine.err


def test_debug_lets_the_traceback_through(fake: Any) -> None:
    fake("engine.replay", "replay", error=RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        run("replay", "j", "--debug")


def test_a_config_error_as_json_lists_its_problems(inside: Path) -> None:
    (inside / "c.yaml").write_text("engine:\n  pulse_ms: 5\nextra: 1\n")
    ran = run("config", "check", "c.yaml", "--json")
    assert ran.code == 2
    assert [(p["key"], p["line"]) for p in ran.json["error"]["problems"]] == [("engine.pulse_ms", 2), ("extra", 3)]


def test_config_check_of_a_good_file_says_its_hash() -> None:
    from data_controller.config import load

    ran = run("config", "check", str(EXAMPLE), "--json")
    assert (ran.code, ran.json["hash"]) == (0, load(EXAMPLE).hash)


def test_config_show_prints_yaml_that_loads_into_the_same_tree(inside: Path) -> None:
    from data_controller.config import load

    ran = run("config", "show", "-c", str(EXAMPLE))
    (inside / "shown.yaml").write_text(ran.out)
    assert load(inside / "shown.yaml") == load(EXAMPLE)


def test_config_schema_is_a_json_schema() -> None:
    assert run("config", "schema").json["properties"].keys() >= {"state_dir", "exchanges", "risk"}


def test_status_reload_and_stop_ask_the_engine_of_the_state_directory(inside: Path, fake: Any) -> None:
    calls = fake("control", "request", {"mode": "ACTIVE", "kill": {"active": False}})
    for what in ("status", "reload", "stop"):
        assert run(what, "--state", "S").code == 0
    assert [call["args"] for call in calls] == [(Path("S"), what, {}) for what in ("status", "reload", "stop")]


def test_subscribe_and_unsubscribe_name_an_exchange_and_an_instrument(fake: Any) -> None:
    calls = fake("control", "request", {"reloaded": True})
    for what in ("subscribe", "unsubscribe"):
        assert run(what, "bitfinex", "tBTCUSD", "--state", "S").code == 0
    asked = {"exchange": "bitfinex", "instrument": "tBTCUSD"}
    assert [call["args"] for call in calls] == [(Path("S"), what, asked) for what in ("subscribe", "unsubscribe")]
    assert run("subscribe", "bitfinex").code == 2


def test_status_of_a_latched_engine_ends_with_4(fake: Any) -> None:
    fake("control", "request", {"kill": {"active": True}})
    assert run("status").code == 4


def test_the_state_directory_comes_from_the_config_when_it_is_not_named(inside: Path, fake: Any) -> None:
    calls = fake("control", "request", {})
    (inside / "c.yaml").write_text("state_dir: somewhere/else\n")
    run("stop", "-c", "c.yaml")
    assert calls[0]["args"][0] == Path("somewhere/else")


def test_kill_latches_before_and_without_an_engine(inside: Path) -> None:
    from data_controller.killswitch.latch import Latch, prepare

    prepare(inside / "S")
    assert not Latch(inside / "S").read().active
    ran = run("kill", "--reason", "a test", "--state", "S", "--json")
    assert (ran.code, ran.json["latched"]) == (0, True)
    assert "not told" in ran.json["engine"]
    assert Latch(inside / "S").read().reason == "a test"


def test_resume_clears_the_latch_where_no_engine_runs(inside: Path) -> None:
    from data_controller.killswitch.latch import Latch, prepare

    prepare(inside / "S")
    Latch(inside / "S").set("a test", "pytest")
    assert run("resume", "--reason", "over", "--state", "S").code == 0
    assert not Latch(inside / "S").read().active


def test_resume_against_a_kill_file_ends_with_4(inside: Path) -> None:
    from data_controller.killswitch.latch import Latch, prepare

    prepare(inside / "S")
    (inside / "S" / "KILL").touch()
    assert run("resume", "--reason", "over", "--state", "S").code == 4
    assert Latch(inside / "S").read().active


def test_resume_leaves_the_latch_to_an_engine_that_refuses(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_controller import control
    from data_controller.killswitch.latch import Latch, prepare

    def refuse(*_: Any, **__: Any) -> dict[str, Any]:
        raise ControlError("a trigger still holds")

    monkeypatch.setattr(control, "request", refuse)
    prepare(inside / "S")
    Latch(inside / "S").set("a test", "pytest")
    assert run("resume", "--reason", "over", "--state", "S").code == 1
    assert Latch(inside / "S").read().active


def test_simulate_hands_its_options_and_all_others_on(fake: Any) -> None:
    calls = fake("simulator.__main__", "main", 0)
    assert run("simulate", "exchange", "--port", "1234", "--seed", "3", "--drop", "0.1").code == 0
    (argv,) = calls[0]["args"]
    expected = ["--port", "1234", "--ticks-per-second", "1000", "--seed", "3", "--instruments", "8", "--drop", "0.1"]
    assert argv == expected


def test_features_are_listed_and_shown() -> None:
    listed = run("features", "list", "--json").json
    assert len(listed) >= 30
    shown = run("features", "show", listed[0]["name"], "--json").json
    assert shown == listed[0]


def test_a_misspelt_feature_names_its_neighbour() -> None:
    ran = run("features", "show", "spred", "--json")
    assert "did you mean spread?" in ran.json["error"]["message"]


def test_output_to_a_closed_pipe_is_no_error() -> None:
    code = "import sys; from data_controller.cli import main; sys.exit(main(['config', 'schema']))"
    done = subprocess.run(
        f'{sys.executable} -c "{code}" | head -c 10; exit ${{PIPESTATUS[0]}}',
        shell=True,
        executable="/bin/bash",
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
