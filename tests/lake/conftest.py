"""One recording across midnight for the lake's tests: making it costs seconds, reading it nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_controller.records import Batch
from tests.lake.lake_making import recorded, write_journal
from tests.pipeline.recording import eager_bundle


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    return recorded(eager_bundle(tmp_path_factory.mktemp("bundles") / "eager"))


@pytest.fixture
def journal(night: Batch, tmp_path: Path) -> Path:
    """A journal of seven closed segments in a state folder of its own."""
    n = len(night.recv_ns)
    write_journal(tmp_path / "state" / "journal", night, range(0, n, n // 6))
    return tmp_path / "state" / "journal"
