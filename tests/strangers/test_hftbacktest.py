"""hftbacktest judges what `export hftbacktest` writes: its reader takes it, and ends with the same book."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from data_controller.engine.export import JournalSource, export_hftbacktest
from data_controller.lake.importers import import_tardis
from tests.engine.test_export import tardis_book, tardis_trades
from tests.strangers.test_strangers import interpreter

pytestmark = [pytest.mark.needs_service, pytest.mark.slow]


def test_hftbacktest_ends_with_the_book_that_we_end_with(tmp_path: Path) -> None:
    python = interpreter("hftbacktest")
    files = [tmp_path / "book.csv", tmp_path / "trades.csv"]
    for file, content in zip(files, (tardis_book(), tardis_trades()), strict=True):
        file.write_bytes(content)
    import_tardis(files, tmp_path / "journal")
    export_hftbacktest(JournalSource([tmp_path / "journal"]), tmp_path / "out")
    script = Path(__file__).parent / "run_hftbacktest.py"
    command = [str(python), str(script), str(tmp_path / "out" / "okx_A-B.npz"), "0.25", "9500", "9800"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert (found["bids"], found["asks"]) == ([[9600.0, 1.0]], [[9601.0, 1.0], [9602.0, 3.0]])
    assert found["best"] == [9600.0, 9601.0]
