"""Saved positions: whole or the old ones, empty where none were saved, and never silently flat."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_controller.engine.state import NAME, load_state, save_state
from data_controller.errors import ConfigError
from tests.engine.conftest import Made


def test_what_is_saved_is_loaded(tmp_path: Path, made: Made) -> None:
    dump = made.recording.pipeline.trader.dump()
    save_state(tmp_path, dump)
    assert load_state(tmp_path) == dump


def test_nothing_saved_is_nothing(tmp_path: Path) -> None:
    assert load_state(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00", '{"a": '])
def test_a_damaged_file_is_refused_not_taken_for_flat(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(ConfigError, match="move it away to start flat"):
        load_state(tmp_path)


def test_a_save_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(tmp_path, {"a": 1})

    def refuse(fd: int) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no space"):
        save_state(tmp_path, {"a": 2})
    assert load_state(tmp_path) == {"a": 1}
