"""An export of a lake is that of the journals it was made of, over midnight and over a book that breaks."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import msgspec
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
from data_controller.records import ENGINE_STOPS, Batch, Kind, Start
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


def run_of(told: list[tuple[float, object]], *, killed: bool = False, config: dict[str, object] | None = None) -> Batch:
    """Records of a run that hears Bitfinex's frames at Unix seconds, None a pulse; a killed one closes nothing."""
    start = Start(
        run=1,
        code="",
        lock="",
        platform="",
        config=config or {"exchange": "bitfinex"},
        instruments=[],
        channels=[],
        restored={},
    )
    first, last = told[0][0], told[-1][0]
    records = [(first, Kind.START, -1, msgspec.json.encode(start)), (first, Kind.OPENED, 0, b"wss://x")]
    for at, frame in told:
        kind, conn = (Kind.PULSE, -1) if frame is None else (Kind.FRAME, 0)
        records.append((at, kind, conn, b"" if frame is None else msgspec.json.encode(frame)))
    records += [] if killed else [(last, Kind.CLOSED, 0, ENGINE_STOPS.encode())]
    data = b"".join(payload for *_, payload in records)
    return Batch(
        0,
        np.array([int(at * 1e9) for at, *_ in records], np.int64),
        np.array([kind for _, kind, _, _ in records], np.uint8),
        np.array([conn for _, _, conn, _ in records], np.int32),
        np.cumsum([0, *(len(payload) for *_, payload in records)], dtype=np.int32),
        np.frombuffer(bytearray(data), np.uint8),
    )


def trades_at(begin: int, end: int, every: int = 10) -> list[tuple[float, object]]:
    subscribed = {"event": "subscribed", "channel": "trades", "chanId": 1, "symbol": "tBTCUSD", "pair": "BTCUSD"}
    told: list[tuple[float, object]] = [(begin, {"event": "info", "version": 2}), (begin, subscribed), (begin, [1, []])]
    told += [(at, [1, "te", [at, at * 1000, 1, 100 + at % 1000]]) for at in range(begin, end, every)]
    return [*told, (end, [1, "hb"])]


def exported_candles(tmp_path: Path, journal: Path, timeframe: str = "1m") -> dict[str, list[dict[str, object]]]:
    """Candles by file, which are those of the journal's lake too; their date is in s."""
    compact(journal, str(journal.parent / "lake"))
    found = []
    for source in (JournalSource([journal]), of_lake(journal)):
        out = tmp_path / f"out-{type(source).__name__}"
        names = export_freqtrade(source, out, timeframe=timeframe)["files"]
        found.append({name: feather.read_table(out / name).to_pylist() for name in names})
    assert found[0] == found[1]
    return {
        name: [row | {"date": int(row["date"].timestamp()) - MINUTE_S} for row in rows]
        for name, rows in found[0].items()
    }


MINUTE_S = 1_700_000_040


@pytest.mark.parametrize("killed", [False, True])
def test_no_candle_spans_the_time_when_no_engine_ran(tmp_path: Path, killed: bool) -> None:
    first = trades_at(MINUTE_S - 30, MINUTE_S + 150)
    again = trades_at(MINUTE_S + 1000, MINUTE_S + 1200)
    for frames in (first, again):
        write_journal(tmp_path / "journal", run_of(frames, killed=killed), [])
    (candles,) = exported_candles(tmp_path, tmp_path / "journal").values()
    assert [row["date"] for row in candles] == [0, 60, 1020, 1080, 1140]
    assert {row["volume"] for row in candles} == {6.0}


def test_a_trades_channel_that_fell_silent_at_the_end_has_no_candle_of_that_time(tmp_path: Path) -> None:
    begin, conf = MINUTE_S - 30, {"event": "conf", "status": "OK", "flags": 229376}
    book = {"event": "subscribed", "channel": "book", "chanId": 2, "symbol": "tBTCUSD", "prec": "P0", "freq": "F0"}
    told = trades_at(begin, MINUTE_S + 119)
    told[1:1] = [(begin, conf), (begin, None), (begin, book | {"len": "25"}), (begin, [2, [[100, 1, 5], [101, 1, -5]]])]
    told += [(at, frame) for at in range(MINUTE_S + 119, MINUTE_S + 200) for frame in ([2, "hb"], None)]
    numbers = itertools.count(1)
    told = [(at, [*frame, next(numbers), at * 1000] if isinstance(frame, list) else frame) for at, frame in told]
    venue = {"instruments": ["tBTCUSD"], "tickers": False, "channel_silent_after_s": 5}
    write_journal(tmp_path / "journal", run_of(told, killed=True, config={"exchanges": {"bitfinex": venue}}), [])
    (candles,) = exported_candles(tmp_path, tmp_path / "journal").values()
    assert [row["date"] for row in candles] == [0]


def test_candles_of_a_lake_are_told_apart_by_width_and_one_whose_end_was_not_heard_is_left_out(tmp_path: Path) -> None:
    def told(begin: int) -> list[tuple[float, object]]:
        frames: list[tuple[float, object]] = [(begin, {"event": "info", "version": 2})]
        for number, width in enumerate(("1m", "5m"), 1):
            key = {"channel": "candles", "chanId": number, "key": f"trade:{width}:tBTCUSD"}
            frames.append((begin, {"event": "subscribed", **key}))
        for at in range(begin, begin + 100, 10):
            frames += [(at, [n, [at // (60 * n) * 60000 * n, 1, at % 100 + 1, 200, 0.5, n]]) for n in (1, 5)]
        return [(at, [2, *frame[1:]] if isinstance(frame, list) and frame[0] == 5 else frame) for at, frame in frames]

    for begin in (MINUTE_S, MINUTE_S + 1000):
        write_journal(tmp_path / "journal", run_of(told(begin), killed=True), [])
    (candles,) = exported_candles(tmp_path, tmp_path / "journal").values()
    assert [(row["date"], row["volume"]) for row in candles] == [(0, 1.0), (960, 1.0), (1020, 1.0)]


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
    (tmp_path / "c.yaml").write_text(f"exchanges: {{bitfinex: {{}}}}\nlake: {{uri: {tmp_path / 'lake'}}}\n")
    of_config = run("export", "tardis", "-c", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "all"), "--json")
    assert of_config.code == 0
    assert set(done.json["files"]) < set(of_config.json["files"])
    for words, expected in (
        ((str(journal), "--instrument", "x"), "expected a lake for --exchange"),
        ((str(tmp_path / "lake"), str(journal)), "expected one lake, or journals"),
        ((), "expected journals or a lake"),
        ((str(tmp_path / "lake"), "--from", "yesterday"), "expected a day such as"),
        ((str(tmp_path / "lake"), "--from", "2020-13-45"), "expected a day such as"),
    ):
        done = run("export", "tardis", *words, "--out", str(tmp_path / "no"))
        assert done.code == 2
        assert expected in " ".join((done.out + done.err).replace("│", " ").split())
        assert not (tmp_path / "no").exists()
