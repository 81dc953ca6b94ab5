"""An export of a lake is that of the journals it was made of, over midnight and over a book that breaks."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather

from data_controller.engine.compact import compact
from data_controller.engine.export import (
    JournalSource,
    Source,
    export_freqtrade,
    export_hftbacktest,
    export_parquet,
    export_tardis,
)
from data_controller.errors import LakeError
from data_controller.lake.backfill_sink import BackfillSink, Series
from data_controller.lake.catalogue import Catalogue
from data_controller.lake.exporters import LakeSource, Slice
from data_controller.lake.store import Store
from data_controller.market.rows import Flag
from data_controller.records import Batch
from data_controller.reference.history import SCHEMAS, candle
from tests.cli.test_commands import run
from tests.engine.test_export import imported, tardis_trades
from tests.lake.lake_making import SYMBOLS, recorded, write_journal
from tests.pipeline.recording import eager_bundle


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    return recorded(eager_bundle(tmp_path_factory.mktemp("bundles") / "eager"))


@pytest.fixture
def journal(night: Batch, tmp_path: Path) -> Path:
    n = len(night.recv_ns)
    write_journal(tmp_path / "journal", night, range(0, n, n // 4))
    compact(tmp_path / "journal", str(tmp_path / "lake"))
    return tmp_path / "journal"


def of_lake(journal: Path, **which: str) -> Source:
    return LakeSource(Catalogue(Store(str(journal.parent / "lake"))), Slice(**which))


def unpacked(folder: Path) -> dict[str, bytes]:
    return {path.name: gzip.decompress(path.read_bytes()) for path in folder.iterdir()}


def test_tardis_files_are_the_same_and_midnight_is_no_snapshot(journal: Path, tmp_path: Path) -> None:
    types = ("incremental_book_L2", "trades", "book_snapshot_25")
    first = export_tardis(JournalSource([journal]), tmp_path / "a", types=types)
    again = export_tardis(of_lake(journal), tmp_path / "b", types=types)
    assert first["files"] == again["files"]
    assert len({name.rsplit("_", 2)[-2] for name in first["files"]}) == 2, "the night has two days"
    assert unpacked(tmp_path / "a") == unpacked(tmp_path / "b")


def test_hftbacktest_files_are_the_same(journal: Path, tmp_path: Path) -> None:
    export_hftbacktest(JournalSource([journal]), tmp_path / "a")
    export_hftbacktest(of_lake(journal), tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) == len(SYMBOLS)
    for name in names:
        one, two = (np.load(tmp_path / folder / name)["data"] for folder in ("a", "b"))
        assert one.tobytes() == two.tobytes()


def test_candles_are_the_same(tmp_path: Path) -> None:
    journal = imported(tmp_path, tardis_trades(5))
    compact(journal, str(tmp_path / "lake"))
    reports = [
        export_freqtrade(source, tmp_path / name, timeframe="1m")
        for name, source in (("a", JournalSource([journal])), ("b", of_lake(journal)))
    ]
    assert reports[0]["files"] == reports[1]["files"] == {"A_B-1m.feather": 2}
    one, two = (feather.read_table(tmp_path / name / "A_B-1m.feather") for name in ("a", "b"))
    assert one.equals(two)


def test_backfilled_candles_are_exported_a_folder_for_each_exchange(tmp_path: Path) -> None:
    sink, start_ns = BackfillSink(tmp_path / "lake", tmp_path / "locks"), 1_700_000_100 * 10**9
    for exchange, symbol in (("binance", "BTCUSDT"), ("kraken", "BTC/USDT")):
        rows = [
            candle(
                start_ns + at * 60 * 10**9,
                "1m",
                dict.fromkeys(("open", "high", "low", "close"), at + 1) | {"volume": 2},
            )
            for at in range(3)
        ]
        table = pa.Table.from_pylist(rows, SCHEMAS["candles"])
        span = (start_ns, start_ns + 180 * 10**9)
        sink.write(Series(exchange, "history_candles", symbol, "1m"), table, "open_ns", span, {"from": "test"})
    source = LakeSource(Catalogue(Store(str(tmp_path / "lake"))), Slice())
    report = export_freqtrade(source, tmp_path / "out", timeframe="1m")
    assert report["files"] == {"binance/BTC_USDT-1m.feather": 3, "kraken/BTC_USDT-1m.feather": 3}
    only = LakeSource(Catalogue(Store(str(tmp_path / "lake"))), Slice(exchange="kraken"))
    assert export_freqtrade(only, tmp_path / "one", timeframe="1m")["files"] == {"BTC_USDT-1m.feather": 3}
    assert feather.read_table(tmp_path / "one" / "BTC_USDT-1m.feather")["close"].to_pylist() == [1.0, 2.0, 3.0]


def test_a_slice_is_one_instrument_or_one_day_which_opens_with_its_book(journal: Path, tmp_path: Path) -> None:
    report = export_parquet(of_lake(journal, exchange="bitfinex", instrument=SYMBOLS[0]), tmp_path / "one")
    assert 0 < report["rows"] < export_parquet(of_lake(journal), tmp_path / "all")["rows"]
    days = sorted({file.date for file in Catalogue(Store(str(tmp_path / "lake"))).files(channel="book")})
    second = of_lake(journal, first_day=days[1], last_day=days[1])
    rows = next(chunk.rows for chunk in second.chunks() if chunk.tables.channels[0].stream == "book")
    assert rows["flags"][0] & Flag.CHECKPOINT
    with pytest.raises(LakeError, match="expected books, trades or candles of instrument tNONE"):
        of_lake(journal, instrument="tNONE")


def test_the_command_takes_a_lake_by_its_folder(journal: Path, tmp_path: Path) -> None:
    done = run(
        *("export", "tardis", str(tmp_path / "lake"), "--instrument", SYMBOLS[0]),
        *("--out", str(tmp_path / "out"), "--json"),
    )
    assert done.code == 0
    assert all(SYMBOLS[0] in name for name in done.json["files"])
    for words, expected in (
        ((str(journal), "--instrument", "x"), "expected a lake for --exchange"),
        ((str(tmp_path / "lake"), str(journal)), "expected one lake, or journals"),
        ((), "expected journals or a lake"),
        ((str(tmp_path / "lake"), "--from", "yesterday"), "expected a day such as"),
    ):
        done = run("export", "tardis", *words, "--out", str(tmp_path / "no"))
        assert done.code == 2
        assert expected in " ".join((done.out + done.err).replace("│", " ").split())
        assert not (tmp_path / "no").exists()
