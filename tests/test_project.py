"""The project's own gates: walls and purity are really held, and the lock says nothing of where it came from."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "data_controller"
BIN = Path(sys.executable).parent
PURE = ("market", "exchanges", "features", "prediction", "trading", "pipeline")


def contracts() -> dict[str, configparser.SectionProxy]:
    """Contracts of `.importlinter` by their short name."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return {
        name.rsplit(":", 1)[1]: parser[name] for name in parser.sections() if name.startswith("importlinter:contract")
    }


def modules() -> list[str]:
    """Rooms and root modules of the package, private ones left out."""
    found = [path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    return sorted(name for name in found if not name.startswith("_"))


def lint_imports(source: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package in `source`."""
    return subprocess.run(
        [str(BIN / "lint-imports"), "--config", str(ROOT / ".importlinter"), "--no-cache"],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_room_has_a_contract_of_its_own() -> None:
    rooms = [name for name in modules() if (PACKAGE / name).is_dir() and name != "cli"]
    assert [room for room in rooms if room not in contracts()] == []


def test_every_module_is_on_one_side_of_every_wall() -> None:
    text = (ROOT / ".importlinter").read_text()
    assert [name for name in modules() if f"data_controller.{name}\n" not in text] == []


def test_each_planted_violation_is_refused_and_the_package_itself_is_not(tmp_path: Path) -> None:
    package = tmp_path / "data_controller"
    # Empty modules of the same names: what is tested is the contracts, not our imports.
    for name in modules():
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    (package / "__init__.py").touch()
    clean = lint_imports(tmp_path)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    for contract in contracts().values():
        source = contract["source_modules"].split()[0].removeprefix("data_controller.")
        target = contract["forbidden_modules"].split()[-1]
        (package / source / f"planted_{target.rsplit('.', 1)[1]}.py").write_text(f"import {target}\n")
    planted = lint_imports(tmp_path)
    assert planted.returncode == 1
    broken = [name for name in contracts() if f"{contracts()[name]['name']} BROKEN" in planted.stdout]
    assert broken == list(contracts())


def test_a_chain_through_a_third_room_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "data_controller"
    for name in modules():
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "ingest" / "chain.py").write_text("import data_controller.actions.chain\n")
    (package / "actions" / "chain.py").write_text("import data_controller.engine\n")
    assert "ingest moves bytes and knows no venue BROKEN" in lint_imports(tmp_path).stdout


@pytest.mark.parametrize("room", PURE)
def test_a_clock_in_a_pure_room_is_refused(room: str) -> None:
    code = "import time\nimport socket\nfrom random import random\n\nprint(time, socket, random)\n"
    path = PACKAGE / room / "planted.py"
    done = subprocess.run(
        [str(BIN / "ruff"), "check", "--select", "TID251", "--stdin-filename", str(path), "-"],
        input=code,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert [word for word in ("`time`", "`socket`", "`random`") if word not in done.stdout] == []


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_lock_has_a_hash_for_every_package_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^([A-Za-z0-9_.-]+)==\S+", text, re.MULTILINE)
    assert len(pins) > 40
    blocks = re.split(r"^(?=[A-Za-z0-9_.-]+==)", text, flags=re.MULTILINE)[1:]
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert not re.search(r"://|--index|--find-links|--extra-index", text)


def test_the_lock_holds_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.split(r"[<>=!~;\[ ]", line)[0].lower().replace("_", "-").replace(".", "-") for line in declared}
    text = (ROOT / "requirements.lock").read_text()
    pins = {
        name.lower().replace("_", "-").replace(".", "-") for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)
    }
    assert names - pins == set()


def test_every_make_target_that_help_lists_has_a_recipe() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^  make (\S+)", done.stdout, re.MULTILINE)
    assert {"setup", "demo", "test", "lint", "bench", "torture-%", "docs", "clean"} <= set(listed)


def test_a_linked_environment_is_left_alone(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "theirs").mkdir()
    (tmp_path / ".venv").symlink_to("theirs")
    done = subprocess.run(["make", "setup"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "used as it is" in done.stdout
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == [".made-from-lock"]


@pytest.mark.parametrize("ci", [True, False])
def test_a_missing_service_skips_and_in_ci_fails(tmp_path: Path, ci: bool) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n@pytest.mark.needs_service('no-such-program')\ndef test_it() -> None:\n    pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = needs_service: x\n")
    environment = {key: value for key, value in os.environ.items() if key != "CI"} | ({"CI": "true"} if ci else {})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if ci else 0), done.stdout
    assert "no-such-program not installed here" in done.stdout


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH that holds only what a shell script needs, and a `make` that says how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "dirname", "id", "tail", "rm", "env"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    (folder / "python3").symlink_to(sys.executable)
    stub(folder / "make", 'echo "make $* CI=$CI"')
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    return folder


def stub(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def run_ci(folder: Path) -> list[str]:
    done = subprocess.run(
        ["sh", str(folder.parent / ".ci" / "run")],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


SERVICES = ("influxd", "prometheus", "prometheus-alertmanager", "chromium", "cc")


def test_ci_installs_nothing_that_is_there_and_ends_with_the_test_runner(bare_path: Path) -> None:
    for name in SERVICES:
        stub(bare_path / name, ":")
    stub(bare_path / "apt-get", "echo apt-get was called; exit 1")
    assert run_ci(bare_path) == ["ci: every service program is here", "make test CI=true"]


def test_ci_without_apt_says_what_is_missing_and_goes_on(bare_path: Path) -> None:
    said, last = run_ci(bare_path)
    assert "influxdb prometheus prometheus-alertmanager chromium" in said
    assert "no apt-get" in said
    assert last == "make test CI=true"


def test_ci_without_root_says_so_and_goes_on(bare_path: Path) -> None:
    (bare_path / "id").unlink()
    stub(bare_path / "id", "echo 1000")
    stub(bare_path / "apt-get", "echo apt-get was called; exit 1")
    said, last = run_ci(bare_path)
    assert "needs root" in said
    assert last == "make test CI=true"


def test_ci_as_root_installs_only_what_is_missing(bare_path: Path) -> None:
    for name in SERVICES[1:]:
        stub(bare_path / name, ":")
    (bare_path / "id").unlink()
    stub(bare_path / "id", "echo 0")
    stub(bare_path / "apt-get", f'echo "$*" >> {bare_path.parent}/calls')
    assert run_ci(bare_path) == ["ci: installing influxdb", "make test CI=true"]
    calls = (bare_path.parent / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["update", "install"]
    assert calls[1].split()[-1] == "influxdb"
