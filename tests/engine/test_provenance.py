"""A run's START says which code and which installed versions it ran on."""

from __future__ import annotations

from data_controller import __version__
from data_controller.engine.provenance import code_version, environment_hash


def test_code_and_environment_are_named_the_same_each_time() -> None:
    assert code_version() == code_version()
    assert code_version().startswith(f"{__version__}+") and len(code_version().partition("+")[2]) == 16
    assert environment_hash() == environment_hash()
    assert len(environment_hash()) == 64
