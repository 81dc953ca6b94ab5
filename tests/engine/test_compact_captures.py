"""A compactor that goes on from what the last one kept gives the rows of a straight decode, for every venue."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_controller.engine.compact import Compactor
from data_controller.journal.reader import read
from data_controller.lake.catalogue import Catalogue
from data_controller.lake.store import Store
from tests.engine.test_captures import CAPTURES, RAW, Capture, run_import
from tests.lake.lake_making import lake_rows, straight, write_journal

pytestmark = pytest.mark.skipif(not RAW.exists(), reason="the captures lie outside this repository")
MOST_FRAMES = 20_000


@pytest.mark.parametrize(
    "capture",
    [pytest.param(c, id=f"{c.exchange}-{Path(c.files[-1]).name}") for c in CAPTURES if c.frames <= MOST_FRAMES],
)
def test_rows_are_the_same_whoever_goes_on(capture: Capture, tmp_path: Path) -> None:
    run_import(capture, tmp_path / "imported")
    (batch,) = read([tmp_path / "imported"], merge=1 << 20)
    n = len(batch.recv_ns)
    journal, store = tmp_path / "journal", Store(str(tmp_path / "lake"))
    write_journal(journal, batch, range(n // 5, n, n // 4 or 1))
    done = 1
    while done:
        with Compactor(journal, store, commit_bytes=1) as compactor:
            done = compactor.step()
            assert compactor.notes == []
    expected, found = straight(journal).rows(), lake_rows(Catalogue(store))
    assert {key for key, rows in expected.items() if len(rows)} == found.keys()
    for key, rows in found.items():
        assert rows.tobytes() == expected[key].tobytes(), key
