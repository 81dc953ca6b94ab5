"""The token is made once, kept from others, and compared in constant time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_controller.errors import ConfigError
from data_controller.web.token import ensure_token, read_token, token_matches


def test_the_token_is_made_once_and_owner_only(tmp_path: Path) -> None:
    token = ensure_token(tmp_path)
    assert len(token) >= 43
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert ensure_token(tmp_path) == read_token(tmp_path) == token
    assert [p.name for p in tmp_path.iterdir()] == ["token"]


def test_two_state_directories_have_two_tokens(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert ensure_token(tmp_path) != ensure_token(tmp_path / "a")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_token_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    ensure_token(tmp_path)
    (tmp_path / "token").chmod(mode)
    with pytest.raises(ConfigError, match="600"):
        ensure_token(tmp_path)


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("x" * 43)
    (tmp_path / "token").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        ensure_token(tmp_path)


@pytest.mark.parametrize("text", ["", "short", "\n", "x" * 31, "x" * 40 + "\0"])
def test_a_damaged_token_is_refused_and_never_matches_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    (tmp_path / "token").chmod(0o600)
    with pytest.raises(ConfigError):
        ensure_token(tmp_path)


def test_no_token_yet_says_who_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="monitor"):
        read_token(tmp_path)


def test_processes_that_start_together_agree_on_one_token(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from data_controller.web.token import ensure_token;"
        "print(ensure_token(Path(sys.argv[1])))"
    )
    env = {**os.environ, "PYTHONPATH": "src"}
    started = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], env=env, stdout=subprocess.PIPE) for _ in range(4)
    ]
    assert len({process.communicate(timeout=120)[0] for process in started}) == 1


def test_only_the_token_matches() -> None:
    assert token_matches("a" * 43, "a" * 43)
    for given in ("", "a" * 42, "a" * 44, "b" * 43, "\udcff", "ä"):
        assert not token_matches("a" * 43, given)
