"""One recording, and the journal and tables of it, for the room's tests: making them costs seconds, reading nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from data_controller.actions import Tell
from data_controller.engine.tables_out import TablesOut
from data_controller.journal import JournalSettings, Recorder, recover
from tests.pipeline.recording import Recording, eager_bundle, eager_config


@dataclass(frozen=True)
class Made:
    """A finished run on disk, and the recording it was made from."""

    recording: Recording
    journal: Path
    tables: Path


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return eager_bundle(tmp_path_factory.mktemp("bundles") / "eager")


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose one feature is there at the first tick."""
    return eager_bundle(tmp_path_factory.mktemp("bundles") / "swift", weights=(("qi_best", 12.0),))


@pytest.fixture(scope="session")
def made(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    config = eager_config(bundle, ["tBTCUSD", "tETHUSD"])
    recording = Recording(config, seconds=15.0)
    settings = JournalSettings(min_free_bytes=0, segment_bytes=1 << 16)
    recorder = Recorder(settings, folder / "journal", recover(folder / "journal").run, on_failure=print)
    batch = recording.batch
    for i in range(len(batch.recv_ns)):
        recorder.push(int(batch.kind[i]), int(batch.conn[i]), int(batch.recv_ns[i]), batch.payload(i))
        if i % 500 == 0:
            recorder.flush()
    recorder.close()
    tables = TablesOut(folder / "tables")
    for table, told in recording.told.items():
        for rows in told:
            tables.tell(Tell(table, rows))
    tables.close()
    return Made(recording, folder / "journal", folder / "tables")
