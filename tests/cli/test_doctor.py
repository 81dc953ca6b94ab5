"""`doctor`: each look finds what is there, and a missing need ends with 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_controller.cli import _checks, main


def test_a_sound_machine_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--state", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    names = {check["name"] for check in report["checks"]}
    assert names >= {"python", "packages", "cores", "clock", "disk", "memory", "fsync", "mlx", "onnxruntime", "uvloop"}
    assert all(check["means"] for check in report["checks"] if check["status"] in ("warn", "fail"))


def test_a_missing_need_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_checks, "_NEEDED", ("no-such-package",))
    assert main(["doctor", "--state", str(tmp_path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [check["found"] for check in report["checks"] if check["status"] == "fail"] == ["no-such-package is missing"]


def test_the_table_says_what_a_missing_part_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_checks, "_OPTIONAL", (("spare", "no-such-package", "slower"),))
    assert main(["doctor", "--state", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "not installed" in out
    assert "slower" in out


def test_a_state_directory_that_is_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    assert _checks.state_directory(tmp_path / "state").status == "fail"


def test_a_state_directory_yet_to_be_made_is_judged_by_its_parent(tmp_path: Path) -> None:
    check = _checks.state_directory(tmp_path / "a" / "b")
    assert (check.status, check.found) == ("ok", f"{tmp_path / 'a' / 'b'} (will be made)")


def test_fsync_is_measured_and_leaves_nothing(tmp_path: Path) -> None:
    assert "median" in _checks.fsync(tmp_path).found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("answer", "status"), [(-1, "unknown"), (0, "ok")])
def test_the_clock_is_unknown_where_the_system_does_not_say(
    monkeypatch: pytest.MonkeyPatch, answer: int, status: str
) -> None:
    class System:
        @staticmethod
        def adjtimex(_: object) -> int:
            return answer

        ntp_adjtime = adjtimex

    monkeypatch.setattr(_checks.ctypes, "CDLL", lambda *_, **__: System)
    assert _checks.clock().status == status
