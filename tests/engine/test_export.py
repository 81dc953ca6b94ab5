"""Exports: what a journal holds comes out in other programs' formats, and comes back in as it was."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet
import pytest
from pyarrow import feather

from data_controller.engine.compact import compact
from data_controller.engine.export import (
    JournalSource,
    export_freqtrade,
    export_hftbacktest,
    export_parquet,
    export_tardis,
)
from data_controller.engine.gaps import all_gaps
from data_controller.engine.replay import replay
from data_controller.engine.verify import verify
from data_controller.errors import JournalError, TableError
from data_controller.lake.catalogue import Catalogue
from data_controller.lake.exporters.freqtrade import pair_of, timeframe_ns
from data_controller.lake.exporters.hftbacktest import BUY, CLEAR, DEPTH, EXCH, LOCAL, SELL, SNAPSHOT, TRADE
from data_controller.lake.importers import import_frames, import_tardis
from data_controller.lake.store import Store

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
MINUTE_US = 60_000_000
START_US = 1582329600_000000


def tardis_book() -> bytes:
    lines = ["exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"]
    for at, (snapshot, side, price, amount) in enumerate(
        [
            ("true", "bid", "9682.50", "1"),
            ("true", "bid", "9681", "1"),
            ("true", "ask", "9683", "0.132"),
            ("false", "bid", "9682.50", "0"),
            ("false", "ask", "9682.75", "7e-7"),
            ("true", "bid", "9600", "1"),
            ("true", "ask", "9601.0", "1"),
            ("false", "ask", "9602", "3"),
        ]
    ):
        step = {0: 0, 1: 0, 2: 0, 5: 5, 6: 5}.get(at, at)
        lines.append(f"okx,A-B,{START_US + step},{START_US + 10 + step},{snapshot},{side},{price},{amount}")
    return "\n".join([*lines, ""]).encode()


def tardis_trades(minutes: int = 3) -> bytes:
    lines = ["exchange,symbol,timestamp,local_timestamp,id,side,price,amount"]
    for at in range(minutes * 6):
        if at // 6 == 1:
            continue  # a minute without trades
        stamp = START_US + at * MINUTE_US // 6
        lines.append(f"okx,A-B,{stamp},{stamp + 500},{at + 1},{'buy' if at % 2 else 'sell'},{100 + at}.5,0.{at + 1}")
    return "\n".join([*lines, ""]).encode()


def imported(tmp_path: Path, *contents: bytes) -> Path:
    files = []
    for at, content in enumerate(contents):
        files.append(tmp_path / f"{at}.csv")
        files[-1].write_bytes(content)
    import_tardis(files, tmp_path / "journal")
    return tmp_path / "journal"


def test_a_tardis_book_and_trades_come_out_byte_for_byte(tmp_path: Path) -> None:
    journal = imported(tmp_path, tardis_book(), tardis_trades())
    report = export_tardis(JournalSource([journal]), tmp_path / "out")
    assert report["files"] == {
        "okx_incremental_book_L2_2020-02-22_A-B.csv.gz": 8,
        "okx_trades_2020-02-22_A-B.csv.gz": 12,
    }
    book, trades = sorted((tmp_path / "out").iterdir())
    assert gzip.decompress(book.read_bytes()) == tardis_book()
    assert gzip.decompress(trades.read_bytes()) == tardis_trades()
    again = tmp_path / "again"
    import_tardis([book, trades], again)
    assert verify([again])["ok"]


def test_a_trades_table_with_an_unreadable_line_is_verified_replayed_and_exported(tmp_path: Path) -> None:
    lines = tardis_trades().splitlines()
    journal = imported(tmp_path, b"\n".join([*lines[:4], lines[3].replace(b",102.5,", b",x,"), *lines[4:], b""]))
    checked = verify([journal])
    assert (checked["trades"], checked["quarantined"]) == (12, 0)
    assert replay([journal])["trades"] == 12
    report = export_tardis(JournalSource([journal]), tmp_path / "out")
    assert report["files"] == {"okx_trades_2020-02-22_A-B.csv.gz": 12}
    compact(journal, str(tmp_path / "lake"))
    gap, end = all_gaps(Catalogue(Store(str(tmp_path / "lake"))), None)
    assert (gap.exchange, gap.cause, gap.healed_by) == ("okx", "GAP", "resync")
    assert gap.start_ns < gap.end_ns < end.start_ns


@pytest.mark.skipif(not SHARED.exists(), reason="the shared captures are not here")
def test_a_real_tardis_sample_comes_out_byte_for_byte(tmp_path: Path) -> None:
    sample = SHARED / "ohlcv" / "nautilus" / "trades.csv.gz"
    import_tardis(sample, tmp_path / "journal")
    export_tardis(JournalSource([tmp_path / "journal"]), tmp_path / "out")
    (file,) = (tmp_path / "out").iterdir()
    assert gzip.decompress(file.read_bytes()) == gzip.decompress(sample.read_bytes())


def test_the_best_levels_are_written_when_they_change(tmp_path: Path) -> None:
    export_tardis(JournalSource([imported(tmp_path, tardis_book())]), tmp_path / "out", types=("book_snapshot_25",))
    (file,) = (tmp_path / "out").iterdir()
    header, *rows = gzip.decompress(file.read_bytes()).decode().splitlines()
    assert header.startswith("exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price")
    assert [row.split(",")[4:10] for row in rows] == [
        ["9683", "0.132", "9682.50", "1", "", ""],
        ["9683", "0.132", "9681", "1", "", ""],
        ["9682.75", "7e-7", "9681", "1", "9683", "0.132"],
        ["9601.0", "1", "9600", "1", "", ""],
        ["9601.0", "1", "9600", "1", "9602", "3"],
    ]
    import_tardis(file, tmp_path / "again")
    assert verify([tmp_path / "again"])["books"][0]["proof"] == "UNVERIFIABLE"


def events(path: Path) -> np.ndarray:
    with np.load(path) as file:
        return file["data"]


def test_hftbacktests_events_clear_set_and_trade(tmp_path: Path) -> None:
    report = export_hftbacktest(JournalSource([imported(tmp_path, tardis_book(), tardis_trades(1))]), tmp_path / "out")
    data = events(tmp_path / "out" / "okx_A-B.npz")
    assert report["files"] == {"okx_A-B.npz": len(data)}
    data = data[data["ev"] & LOCAL != 0]
    kinds = [(int(ev) & 0xFF, int(ev) & (BUY | SELL), float(px)) for ev, px in zip(data["ev"], data["px"], strict=True)]
    assert kinds[:3] == [(SNAPSHOT, BUY, 9682.5), (SNAPSHOT, BUY, 9681.0), (SNAPSHOT, SELL, 9683.0)]
    assert kinds[3:5] == [(DEPTH, BUY, 9682.5), (DEPTH, SELL, 9682.75)]
    assert kinds[5:9] == [
        (CLEAR, BUY, 9681.0),
        (CLEAR, SELL, 9683.0),
        (SNAPSHOT, BUY, 9600.0),
        (SNAPSHOT, SELL, 9601.0),
    ]
    assert (kinds[10][0], data["qty"][10]) == (TRADE, 0.1)
    assert data["local_ts"][0] - data["exch_ts"][0] == 10_000


def test_a_clock_that_lags_is_moved_and_events_stand_in_both_orders(tmp_path: Path) -> None:
    lines = tardis_trades(1).decode().splitlines()
    late = lines[1].replace(f"{START_US},", f"{START_US + 7_000_000},", 1)
    late = late.replace(f",{START_US + 500},", f",{START_US + 10_000_100},")
    journal = imported(
        tmp_path, "\n".join([lines[0], lines[1], *lines[2:3], *lines[3:4], late, *lines[4:], ""]).encode()
    )
    export_hftbacktest(JournalSource([journal]), tmp_path / "out", base_latency_ns=5)
    data = events(tmp_path / "out" / "okx_A-B.npz")
    for flag, stamp in ((EXCH, "exch_ts"), (LOCAL, "local_ts")):
        seen = data[data["ev"] & flag != 0]
        assert len(seen) == 7
        assert np.all(np.diff(seen[stamp]) >= 0)
    assert (data["local_ts"] >= data["exch_ts"]).all()


def test_candles_hold_only_minutes_that_were_heard_in_full(tmp_path: Path) -> None:
    report = export_freqtrade(JournalSource([imported(tmp_path, tardis_trades(4))]), tmp_path / "out", timeframe="1m")
    assert report["files"] == {"A_B-1m.feather": 1}
    table = feather.read_table(tmp_path / "out" / "A_B-1m.feather")
    assert table.schema.names == ["date", "open", "high", "low", "close", "volume"]
    (row,) = table.to_pylist()
    assert int(row.pop("date").timestamp()) == START_US // 10**6 + 120, "the first and the last minute are in part"
    assert row == {"open": 112.5, "high": 117.5, "low": 112.5, "close": 117.5, "volume": pytest.approx(0.93)}


def test_parquet_holds_the_rows_as_they_are(tmp_path: Path) -> None:
    report = export_parquet(JournalSource([imported(tmp_path, tardis_trades())]), tmp_path / "out")
    table = pyarrow.parquet.read_table(tmp_path / "out" / "rows.parquet")
    assert table.num_rows == report["rows"]
    trades = [row for row in table.to_pylist() if row["kind"] == 6]
    assert len(trades) == 12
    assert (trades[0]["price"], trades[0]["price_scale"], trades[0]["symbol"]) == (1005, 1, "A-B")


def test_a_book_that_broke_is_no_book_until_its_next_snapshot(tmp_path: Path) -> None:
    subscribed = {"event": "subscribed", "channel": "book", "chanId": 1, "symbol": "tAAAUSD", "prec": "P0", "len": "25"}
    frames = [
        {"event": "info", "version": 2},
        {"event": "conf", "status": "OK", "flags": 131072},
        subscribed | {"freq": "F0"},
        [1, [[100, 1, 5], [101, 1, -5]]],
        [1, "cs", 12345],
        [1, [99, 1, 5]],
    ]
    path = tmp_path / "frames"
    path.write_bytes(b"\n".join(msgspec.json.encode(frame) for frame in frames))
    import_frames(path, "bitfinex", tmp_path / "journal")
    export_hftbacktest(JournalSource([tmp_path / "journal"]), tmp_path / "out")
    data = events(tmp_path / "out" / "bitfinex_tAAAUSD.npz")
    assert [int(ev) & 0xFF for ev in data["ev"]] == [SNAPSHOT, SNAPSHOT, CLEAR, CLEAR]


@pytest.mark.skipif(not SHARED.exists(), reason="the shared captures are not here")
def test_a_refused_export_leaves_nothing(tmp_path: Path) -> None:
    journal = imported(tmp_path, tardis_book())
    with pytest.raises(TableError, match="nothing of this format"):
        export_freqtrade(JournalSource([journal]), tmp_path / "out", timeframe="5m")
    with pytest.raises(TableError, match="expected a timeframe"):
        export_freqtrade(JournalSource([journal]), tmp_path / "out", timeframe="0m")
    with pytest.raises(TableError, match="expected types"):
        export_tardis(JournalSource([journal]), tmp_path / "out", types=("quotes",))
    with pytest.raises(TableError, match="expected to make files in"):
        export_parquet(JournalSource([journal]), tmp_path / "0.csv" / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    with pytest.raises(TableError, match="new or empty"):
        export_parquet(JournalSource([journal]), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.csv", "journal", "out"]


@pytest.mark.parametrize(
    ("venue", "symbol", "pair"),
    [
        ("bitfinex", "tBTCUSD", "BTC/USD"),
        ("bitfinex", "tBTCF0:USTF0", "BTC/USDT:USDT"),
        ("okx", "BTC-USDT", "BTC/USDT"),
        ("okx", "BTC-USDT-SWAP", "BTC/USDT:USDT"),
        ("okx", "BTC-USDT-240927", "BTC/USDT:USDT-240927"),
        ("binance_usdm", "BTCUSDT", "BTC/USDT:USDT"),
        ("elsewhere", "tDOGE:USD", "DOGE/USD"),
        ("elsewhere", "BTCUSDT", "BTC/USDT"),
        ("elsewhere", "btc-usd", "BTC/USD"),
        ("elsewhere", "BTC/USDT:USDT", "BTC/USDT:USDT"),
        ("elsewhere", "BTC-USDT-SWAP", "BTC-USDT-SWAP"),
        ("elsewhere", "ETHBTC", "ETH/BTC"),
        ("elsewhere", "USDT", "USDT"),
    ],
)
def test_a_pair_is_told_from_a_venues_symbol(venue: str, symbol: str, pair: str) -> None:
    assert pair_of(venue, symbol) == pair


def test_instruments_of_one_venue_have_freqtrades_own_names_and_none_takes_anothers_place(tmp_path: Path) -> None:
    symbols = ("BTC-USDT", "BTC-USDT-SWAP", "BTC-USDT-240927", "BTC/USDT")
    contents = [tardis_trades(4).replace(b",A-B,", f",{symbol},".encode()) for symbol in symbols]
    report = export_freqtrade(JournalSource([imported(tmp_path, *contents)]), tmp_path / "out", timeframe="1m")
    assert report["files"] == {
        "BTC_USDT-1m.feather": 1,
        "futures/BTC_USDT_USDT-240927-1m-futures.feather": 1,
        "futures/BTC_USDT_USDT-1m-futures.feather": 1,
    }
    assert report["skipped"] == ["okx BTC/USDT: BTC_USDT-1m.feather is of another instrument"]


def test_of_several_renderings_of_a_book_the_finest_and_deepest_is_exported(tmp_path: Path) -> None:
    book = {"event": "subscribed", "channel": "book", "symbol": "tBTCUSD", "freq": "F0"}
    renderings = [("P2", "100"), ("P0", "25"), ("P0", "100")]
    frames: list[object] = [{"event": "info", "version": 2}]
    frames += [book | {"chanId": n, "prec": prec, "len": deep} for n, (prec, deep) in enumerate(renderings)]
    frames += [[n, [[10_000 + n, 1, 5], [10_100 + n, 1, -5]]] for n in range(len(renderings))]
    path = tmp_path / "frames"
    path.write_bytes(b"\n".join(msgspec.json.encode(frame) for frame in frames))
    import_frames(path, "bitfinex", tmp_path / "journal")
    report = export_tardis(JournalSource([tmp_path / "journal"]), tmp_path / "out")
    (name,) = report["files"]
    assert report["skipped"] == [
        f"bitfinex tBTCUSD book {other}: exported is bitfinex tBTCUSD book P0 F0 100"
        for other in ("P0 F0 25", "P2 F0 100")
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    _, *rows = gzip.decompress((tmp_path / "out" / name).read_bytes()).decode().splitlines()
    assert [row.split(",")[6] for row in rows] == ["10002", "10102"]
    again = export_hftbacktest(JournalSource([tmp_path / "journal"]), tmp_path / "npz")
    assert again["skipped"] == report["skipped"]
    assert set(events(tmp_path / "npz" / "bitfinex_tBTCUSD.npz")["px"]) == {10_002.0, 10_102.0}


def test_two_imports_are_exported_together_each_in_its_order(tmp_path: Path) -> None:
    journals = []
    for at, symbol in enumerate(("A-B", "C-D")):
        (tmp_path / str(at)).mkdir()
        later = START_US + at * 10 * MINUTE_US
        content = (
            tardis_trades().replace(b",A-B,", f",{symbol},".encode()).replace(b"15823296", str(later)[:8].encode())
        )
        journals.append(imported(tmp_path / str(at), content))
    report = export_tardis(JournalSource(journals), tmp_path / "out")
    assert sorted(report["files"].values()) == [12, 12]
    again = export_hftbacktest(JournalSource([journals[0], *sorted(journals[1].glob("journal-*"))]), tmp_path / "npz")
    assert len(again["files"]) == 2
    rows = pyarrow.parquet.read_table
    export_parquet(JournalSource(journals), tmp_path / "rows")
    seq = rows(tmp_path / "rows" / "rows.parquet")["seq"].to_numpy()
    assert (np.diff(seq) >= 0).all(), "runs of the same number are numbered on"
    assert replay(journals)["trades"] == 24
    with pytest.raises(JournalError, match="expected each journal once"):
        export_tardis(JournalSource([journals[0], journals[0]]), tmp_path / "no")


def test_verify_says_where_an_imports_frames_are_of_another_exchange(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    frame = {"stream": "btcusdt@trade", "data": {"e": "trade", "E": 1, "s": "BTCUSDT", "t": 1, "p": "1", "q": "1"}}
    path.write_bytes(b"\n".join([msgspec.json.encode(frame)] * 20))
    import_frames(path, "bitfinex", tmp_path / "journal")
    checked = verify([tmp_path / "journal"])
    assert not checked["ok"]
    assert checked["book_problems"][0].startswith("expected frames of bitfinex, was none of a channel among 20, 20 unr")


def test_a_timeframe_is_nanoseconds() -> None:
    assert timeframe_ns("5m") == 300 * 10**9
