"""Tables of rows come in: Tardis's files and any table with a mapping, digit for digit, bad rows kept aside."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_controller.errors import ImportFormatError
from data_controller.exchanges.rows.decoder import RowsDecoder
from data_controller.exchanges.rows.frame import text_of, unpack
from data_controller.journal import read
from data_controller.lake.importers import import_table, import_tardis
from data_controller.lake.importers.tardis import snapshot_columns
from data_controller.lake.tables import read_table
from data_controller.market.layout import Proof
from data_controller.market.rows import Flag, Kind
from data_controller.records import Kind as Record
from tests.exchanges.feeding import Session

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
here = pytest.mark.skipif(not DATA.exists(), reason="the shared captures are not here")

BOOK = b"""exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount
okx,A-B,1582329602111000,1582329602418379,true,bid,9682.50,1
okx,A-B,1582329602111000,1582329602418379,true,ask,9683,0.132
okx,A-B,1582329602112000,1582329602419000,false,bid,9682.50,0
okx,A-B,1582329602112000,1582329602419000,false,bid,9682.00,7e-7
okx,A-B,1582329602113000,1582329602420000,true,bid,9600,1
okx,A-B,1582329602114000,1582329602420500,true,ask,9601,1
"""
TRADES = b"""exchange,symbol,timestamp,local_timestamp,id,side,price,amount
okx,A-B,1582329602111500,1582329602418400,42377944,buy,9682,0.132
okx,A-B,1582329602111500,1582329602418400,9f-uuid,unknown,9682,2
"""


def put(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def replayed(out: Path) -> Session:
    """The journal's frames through the decoder and books."""
    session = Session(RowsDecoder)
    for batch in read(out):
        n = len(batch.recv_ns)
        found = [i for i in range(n) if batch.kind[i] == Record.FRAME]
        session.feed(*(batch.payload(i) for i in found), times=[int(batch.recv_ns[i]) for i in found])
    return session


def told(session: Session) -> list[tuple[str, int, str, str]]:
    return [
        (
            Kind(row["kind"]).name,
            int(row["side"]),
            text_of(int(row["price"]), int(row["price_scale"]), bool(row["flags"] & Flag.PRICE_EXPONENT)),
            text_of(int(row["size"]), int(row["size_scale"]), bool(row["flags"] & Flag.SIZE_EXPONENT)),
        )
        for row in session.rows
        if row["kind"] != Kind.CONTROL
    ]


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress, bz2.compress])
def test_tardis_files_are_merged_by_their_local_time(tmp_path: Path, squeeze: Any) -> None:
    files = [put(tmp_path, "trades", squeeze(TRADES)), put(tmp_path, "book", squeeze(BOOK))]
    report = import_tardis(files, tmp_path / "out")
    assert (report["exchange"], report["frames"], report["lines"], report["garbage_lines"]) == ("rows", 6, 8, 0)
    session = replayed(tmp_path / "out")
    assert told(session) == [
        ("RESET", 0, "0", "0"),
        ("SET", 1, "9682.50", "1"),
        ("SET", -1, "9683", "0.132"),
        ("TRADE", 1, "9682", "0.132"),
        ("TRADE", 0, "9682", "2"),
        ("SET", 1, "9682.50", "0"),
        ("SET", 1, "9682.00", "7e-7"),
        ("RESET", 0, "0", "0"),
        ("SET", 1, "9600", "1"),
        ("SET", -1, "9601", "1"),
    ]
    assert session.proof(0) is Proof.UNVERIFIABLE
    trade = next(row for row in session.rows if row["kind"] == Kind.TRADE)
    assert (int(trade["ref"]), int(trade["recv_ns"]), int(trade["exch_ns"])) == (
        42377944,
        1582329602418400000,
        1582329602111500000,
    )
    assert session.sides(0) == ({"9600": "1"}, {"9601": "1"})


def test_snapshots_of_tardis_are_whole_books_each(tmp_path: Path) -> None:
    header = ",".join(snapshot_columns(2)).encode()
    rows = b"okx,A-B,1582329602111000,1582329602418379,11,1,10,2,12,3,9,4\n"
    rows += b"okx,A-B,1582329602111001,1582329602418380,11,1,10,2,,,,\n"
    import_tardis(put(tmp_path, "x", header + b"\n" + rows), tmp_path / "out")
    session = replayed(tmp_path / "out")
    assert session.tables.channels[0].length == 2
    assert session.sides() == ({"10": "2"}, {"11": "1"})
    assert [kind for kind, *_ in told(session)].count("RESET") == 2


def test_a_derivative_ticker_is_mark_index_and_funding_and_a_side_row(tmp_path: Path) -> None:
    content = (
        b"exchange,symbol,timestamp,local_timestamp,funding_timestamp,funding_rate,predicted_funding_rate,"
        b"open_interest,last_price,index_price,mark_price\n"
        b"bitmex,XBTUSD,1582329602111000,1582329602418379,1582358400000000,-0.000100,,1500.5,9650,9651.21,9650.8\n"
        b"bitmex,XBTUSD,1582329602111000,1582329602418379,,,,,9650,,9650.9\n"
    )
    import_tardis(put(tmp_path, "x", content), tmp_path / "out")
    session = replayed(tmp_path / "out")
    assert told(session) == [
        ("MARK", 0, "9650.8", "0"),
        ("INDEX", 0, "9651.21", "0"),
        ("FUNDING", 0, "-0.000100", "0"),
        ("MARK", 0, "9650.9", "0"),
    ]
    funding = next(row for row in session.rows if row["kind"] == Kind.FUNDING)
    assert int(funding["ref"]) == 1582358400000000000
    assert [row["last_price"] for row in session.decoder.side_rows["derivative"]] == [9650.0, 9650.0]


def test_a_bad_row_is_kept_aside_and_is_a_gap_of_its_files_channels(tmp_path: Path) -> None:
    lines = BOOK.splitlines()
    bad = [
        b"okx,A-B,1582329602112000,1582329602419000,false,bid,1e400,0",
        b"okx,A-B,1582329602112000,1582329602419000,false,bid,0,1",
        b"okx,A-B,1582329602112000,1582329602419000,false,mid,1,1",
        b"okx,A-B,1582329602112000,-5,false,bid,1,1",
        b"okx,A-B,1582329602112000,9582329602419000,false,bid,1,1",
        "okx,A-B,\u0661,1582329602419000,false,bid,1,1".encode(),
        "okx,\u00c4,1582329602112000,1582329602419000,false,bid,1,1".encode("latin-1"),
        b"short",
    ]
    path = put(tmp_path, "x", b"\n".join([*lines[:4], *bad, *lines[4:]]))
    report = import_tardis(path, tmp_path / "out")
    assert report["garbage_lines"] == len(bad)
    kept = read_table(tmp_path / "out" / "tables", "quarantine").to_pylist()
    assert sorted(row["bytes"] for row in kept) == sorted(bad)
    session = replayed(tmp_path / "out")
    assert "GAP" in [kind for kind, *_ in told(session)]
    assert session.proof() is Proof.UNVERIFIABLE, "a later snapshot made it whole"


HEADER = BOOK.splitlines()[0]


def book_row(snapshot: str, side: str, price: str, ms: int) -> bytes:
    return f"okx,A-B,158232960{ms:04d}000,158232960{ms:04d}500,{snapshot},{side},{price},1".encode()


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
def test_a_snapshot_that_lacks_a_row_leaves_the_book_broken_until_the_next_one(tmp_path: Path, at: int) -> None:
    snapshot = [book_row("true", "bid", price, 2111) for price in ("100", "99", "98", "97")]
    snapshot.insert(at, book_row("true", "bid", "x", 2111))
    update = book_row("false", "bid", "96", 2112)
    path = put(tmp_path, "x", b"\n".join([HEADER, *snapshot, update]))
    assert import_tardis(path, tmp_path / "out")["garbage_lines"] == 1
    assert replayed(tmp_path / "out").proof() is Proof.BROKEN
    path = put(tmp_path, "y", b"\n".join([HEADER, *snapshot, update, book_row("true", "bid", "95", 2113), update]))
    import_tardis(path, tmp_path / "again")
    session = replayed(tmp_path / "again")
    assert session.proof() is Proof.UNVERIFIABLE
    assert session.sides() == ({"95": "1", "96": "1"}, {})


def test_a_bad_last_row_is_a_gap_too(tmp_path: Path) -> None:
    good = [book_row("true", "bid", "100", 2111), book_row("false", "bid", "99", 2112)]
    import_tardis(put(tmp_path, "x", b"\n".join([HEADER, *good, b"okx,A-B,15823"])), tmp_path / "out")
    assert replayed(tmp_path / "out").proof() is Proof.BROKEN


def test_rows_of_another_time_are_another_snapshot_where_a_mapping_says_so(tmp_path: Path) -> None:
    rows = ("t,side,price,size", "1,bid,100,1", "1,ask,101,1", "2,bid,99,1", "2,ask,x,1", "3,bid,98,1", "4,bid,97,1")
    put(tmp_path, "t.csv", "\n".join(rows).encode())
    text = "{files: [t.csv], kind: updates, snapshot: true, venue: v, symbol: A, time: {column: t, unit: s}}"
    import_table(mapping(tmp_path, f"sources:\n  - {text}\n"), tmp_path / "out")
    session = replayed(tmp_path / "out")
    kinds = [kind for kind, *_ in told(session)]
    # Whether the row that cannot be read was the last of one time or the first of the next, nobody knows.
    assert kinds == ["RESET", "SET", "SET", "RESET", "SET", "GAP", "SET", "RESET", "SET"]
    assert session.sides() == ({"97": "1"}, {})


@pytest.mark.parametrize("time", ["9999999999999999", "9223372036854776"])
def test_a_time_beyond_64_bits_is_kept_aside_in_any_column_of_tardis(tmp_path: Path, time: str) -> None:
    derivative = b"exchange,symbol,timestamp,local_timestamp,funding_timestamp,funding_rate,predicted_funding_rate,"
    derivative += b"open_interest,last_price,index_price,mark_price"
    for name, lines in (("b", BOOK.splitlines()), ("t", TRADES.splitlines())):
        cells = lines[2].decode().split(",")
        bad = [",".join([*cells[:2], time, *cells[3:]]).encode(), ",".join([*cells[:3], time, *cells[4:]]).encode()]
        path = put(tmp_path, name, b"\n".join([*lines[:2], *bad, *lines[2:]]))
        assert import_tardis(path, tmp_path / f"out-{name}")["garbage_lines"] == 2
    row = b"bitmex,XBTUSD,1582329602111000,1582329602418379,%s,-0.000100,,1500.5,9650,9651.21,9650.8"
    path = put(tmp_path, "d", b"\n".join([derivative, row % b"1582358400000000", row % time.encode()]))
    assert import_tardis(path, tmp_path / "out-d")["garbage_lines"] == 1


@pytest.mark.parametrize(
    ("unit", "time"), [("s", "9999999999999999999"), ("ns", "9223372036854775808"), ("iso", "9999-01-01")]
)
def test_an_exchange_time_beyond_64_bits_is_kept_aside_of_a_table(tmp_path: Path, unit: str, time: str) -> None:
    good = {"s": "1", "ns": "1", "iso": "2020-01-01"}[unit]
    put(tmp_path, "t.csv", f"t,e,side,price,size\n1,{good},buy,1,1\n2,{time},buy,1,1\n3,{good},buy,1,1\n".encode())
    text = "{files: [t.csv], kind: trades, venue: v, symbol: A, time: {column: t, unit: s}, "
    text += f"exchange_time: {{column: e, unit: {unit}}}}}"
    report = import_table(mapping(tmp_path, f"sources:\n  - {text}\n"), tmp_path / "out")
    assert (report["garbage_lines"], report["frames"]) == (1, 3)


@here
def test_a_real_tardis_sample_is_imported_whole(tmp_path: Path) -> None:
    report = import_tardis(DATA / "ohlcv" / "nautilus" / "trades.csv.gz", tmp_path / "out")
    assert (report["frames"], report["garbage_lines"], report["clamped_times"]) == (9999, 0, 0)
    assert report["first_recv_ns"] == 1582329602418379000


def mapping(tmp_path: Path, text: str) -> Path:
    return put(tmp_path, "mapping.yaml", text.encode())


BITMEX = """
sources:
  - files: [orderbooks.csv.gz]
    kind: snapshots
    venue: bitmex
    symbol_column: 2
    header: false
    time: {column: 0, unit: "%Y-%m-%d %H:%M:%S", plus: 1}
    asks: {price: [3,4,5,6,7,8,9,10,11,12], size: [13,14,15,16,17,18,19,20,21,22]}
    bids: {price: [23,24,25,26,27,28,29,30,31,32], size: [33,34,35,36,37,38,39,40,41,42]}
  - files: [trades.csv.gz]
    kind: trades
    venue: bitmex
    symbol_column: 0
    header: false
    time: {column: 1, unit: "%Y-%m-%d %H:%M:%S", plus: 2}
    price: 3
    size: 4
    side: 6
"""

GDAX = """
sources:
  - files: [snapshot_bids.csv, snapshot_asks.csv]
    kind: updates
    snapshot: true
    venue: gdax
    symbol: BTC-USD
    time: {at: "2018-04-24T03:52:17.030Z"}
  - files: [l2update_15min_1.csv.gz, l2update_15min_2.csv.gz]
    kind: updates
    venue: gdax
    symbol: BTC-USD
    time: {column: time, unit: iso}
"""

BINANCE = """
sources:
  - files: [lobdeep_btc_spot_2026-02-16_04.parquet]
    kind: snapshots
    venue: binance
    symbol_column: symbol
    time: {column: ts_ms}
    exchange_time: {column: exch_ts_ms}
    bids: {price: bids_px, size: bids_qty}
    asks: {price: asks_px, size: asks_qty}
  - files: [trades_btc_spot_2026-02-16_04.parquet]
    kind: trades
    venue: binance
    symbol_column: symbol
    time: {column: ts_ms}
    exchange_time: {column: exch_ts_ms}
    price: price
    size: qty
    id: trade_id
"""


@here
def test_snapshots_of_ten_columns_a_side_are_read_by_a_mapping(tmp_path: Path) -> None:
    with gzip.open(DATA / "l2_series" / "bitmex_2020-03-10" / "orderbooks.csv.gz") as file:
        few = b"".join(file.readline() for _ in range(60))
    put(tmp_path, "orderbooks.csv.gz", gzip.compress(few))
    with gzip.open(DATA / "l2_series" / "bitmex_2020-03-10" / "trades.csv.gz") as file:
        put(tmp_path, "trades.csv.gz", gzip.compress(b"".join(file.readline() for _ in range(200))))
    report = import_table(mapping(tmp_path, BITMEX), tmp_path / "out")
    assert (report["frames"], report["garbage_lines"]) == (260, 0)
    session = replayed(tmp_path / "out")
    assert {channel.symbol for channel in session.tables.channels} == {"XBTUSD", "ETHUSD"}
    assert session.total("crossed") == 0
    books = [row for row, channel in enumerate(session.tables.channels) if channel.stream == "book"]
    assert [[len(side) for side in session.sides(row)] for row in books] == [[10, 10], [10, 10]]


@here
def test_updates_behind_a_snapshot_of_two_files_are_read_by_a_mapping(tmp_path: Path) -> None:
    path = mapping(tmp_path, GDAX)
    for name in ("snapshot_bids.csv", "snapshot_asks.csv", "l2update_15min_1.csv.gz", "l2update_15min_2.csv.gz"):
        content = (DATA / "l2_series" / "gdax_btcusd_2018-04-24" / name).read_bytes()
        if name.endswith("gz"):
            content = b"\n".join(gzip.decompress(content).split(b"\n")[:201])
        put(tmp_path, name, content)
    report = import_table(path, tmp_path / "out")
    assert report["garbage_lines"] == 0
    first = next(
        batch.payload(i) for batch in read(tmp_path / "out") for i in range(len(batch.kind)) if batch.kind[i] == 4
    )
    assert len(unpack(first).rows) == 1 + 14_078 + 13_741
    session = replayed(tmp_path / "out")
    assert session.kinds[Kind.SET] == 14_078 + 13_741 + 2 * 200
    assert session.proof() is Proof.UNVERIFIABLE


@here
def test_parquet_with_list_columns_is_read_by_a_mapping(tmp_path: Path) -> None:
    whole = pa.parquet.read_table(DATA / "l2_series/binance_spot_2026-02-16/lobdeep_btc_spot_2026-02-16_04.parquet")
    pa.parquet.write_table(whole.slice(0, 3), tmp_path / "lobdeep_btc_spot_2026-02-16_04.parquet")
    name = "trades_btc_spot_2026-02-16_04.parquet"
    trades = pa.parquet.read_table(DATA / "l2_series" / "binance_spot_2026-02-16" / name)
    pa.parquet.write_table(trades.slice(0, 200), tmp_path / name)
    report = import_table(mapping(tmp_path, BINANCE), tmp_path / "out")
    assert (report["frames"], report["garbage_lines"]) == (3 + 200, 0)
    session = replayed(tmp_path / "out")
    assert [len(side) for side in session.sides(0)] == [1000, 1000]
    trade = next(row for row in session.rows if row["kind"] == Kind.TRADE)
    assert (int(trade["ref"]), text_of(int(trade["size"]), int(trade["size_scale"]))) == (5967339559, "0.00008")


CANDLES = """
sources:
  - files: [candles.csv]
    kind: candles
    venue: bitfinex
    symbol: BTCUSD
    timeframe: 1h
    skip_lines: 1
    newest_first: true
    time: {column: Unix Timestamp, unit: s}
    open: Open
    high: High
    low: Low
    close: Close
    volume: Volume BTC
"""


def test_a_candle_arrives_when_it_is_over_and_a_wrong_one_is_kept_aside(tmp_path: Path) -> None:
    content = (
        "Timestamps are UTC\nUnix Timestamp,Date,Symbol,Open,High,Low,Close,Volume BTC\n"
        "1601276400.0,x,B,10.5,11,10,10.25,4.454\n1601272800.0,x,B,16199.91,11,10,10,1\n1601269200.0,x,B,10,11,9,10,2\n"
    )
    put(tmp_path, "candles.csv", content.encode())
    report = import_table(mapping(tmp_path, CANDLES), tmp_path / "out")
    assert (report["frames"], report["garbage_lines"]) == (2, 1)
    assert report["first_recv_ns"] == (1601269200 + 3600) * 10**9
    session = replayed(tmp_path / "out")
    rows = session.decoder.side_rows["candles"]
    assert [(row["mts"], row["open"], row["volume"]) for row in rows] == [
        (1601269200000, 10.0, 2.0),
        (1601276400000, 10.5, 4.454),
    ]
    assert session.tables.channels[0].precision == "1h"


@here
def test_freqtrades_feather_is_read_by_a_mapping(tmp_path: Path) -> None:
    text = (
        "sources:\n  - {files: [ETH_BTC-5m.feather], kind: candles, venue: x, symbol: ETH/BTC, timeframe: 5m, "
        "time: {column: date, unit: ns}}\n"
    )
    report = import_table(mapping(tmp_path, text), tmp_path / "out", DATA / "ohlcv" / "freqtrade")
    assert (report["frames"], report["garbage_lines"], report["clamped_times"]) == (5760, 0, 0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("symbol: BTC-USD", "symbol: ''"), "symbol_column"),
        (("kind: updates", "kind: snapshots"), "bids"),
        (("kind: updates", "kind: candles"), "timeframe"),
        (("unit: iso", "unit: weeks"), "unit"),
        (("kind: updates", "kinds: updates"), "mapping of `sources`"),
        (("sources:", "sources: ["), "mapping of `sources`"),
        (("snapshot_bids.csv", "none.csv"), "unreadable"),
    ],
)
def test_a_mapping_that_says_nothing_usable_is_refused(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    path = mapping(tmp_path, GDAX.replace(*change))
    for name in ("snapshot_asks.csv", "l2update_15min_1.csv.gz", "l2update_15min_2.csv.gz"):
        put(tmp_path, name, b"")
    with pytest.raises(ImportFormatError, match=complaint):
        import_table(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_parquet_or_empty_table_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = mapping(tmp_path, BINANCE)
    pa.parquet.write_table(pa.table({"a": [1]}), tmp_path / "trades_btc_spot_2026-02-16_04.parquet")
    for content in (b"", b"PAR1 and nothing", b"ARROW1 and nothing"):
        put(tmp_path, "lobdeep_btc_spot_2026-02-16_04.parquet", content)
        with pytest.raises(ImportFormatError):
            import_table(path, tmp_path / "out")
        assert not [p for p in tmp_path.iterdir() if "out" in p.name]


@pytest.mark.parametrize("content", [b"", BOOK[:20], BOOK.splitlines()[0], b"\x00" * 999, gzip.compress(BOOK)[:-9]])
def test_a_file_that_is_none_of_tardis_is_refused_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path, "x", content)
    with pytest.raises(ImportFormatError):
        import_tardis(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.sampled_from(BOOK.splitlines()[1:])
        | st.binary(max_size=60).filter(lambda line: b"\n" not in line)
        | st.lists(
            st.sampled_from([b"okx", b"A", b"1582329602111000", b"true", b"false", b"bid", b"1", b"-1", b"1e99", b""]),
            min_size=8,
            max_size=8,
        ).map(b",".join),
        max_size=8,
    )
)
def test_whatever_stands_in_a_tardis_file_its_frames_are_good(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes]
) -> None:
    tmp_path = tmp_path_factory.mktemp("rows")
    path = put(tmp_path, "x", b"\n".join([BOOK.splitlines()[0], *rows]))
    try:
        import_tardis(path, tmp_path / "out")
    except ImportFormatError:
        assert list(tmp_path.iterdir()) == [path]
        return
    session = replayed(tmp_path / "out")
    assert session.decoder.counters["quarantined"] == 0


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.sampled_from(["1,2,3,1", "1,buy,2,3", "1,sell,2", '1,"buy,2,3', "x"]) | st.text(max_size=30)))
def test_whatever_stands_in_a_csv_its_frames_are_good(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    tmp_path = tmp_path_factory.mktemp("rows")
    put(tmp_path, "t.csv", "\n".join(["t,side,price,size", *lines]).encode("utf-8", "replace"))
    text = "sources:\n  - {files: [t.csv], kind: trades, venue: v, symbol: A, time: {column: t, unit: s}}\n"
    try:
        import_table(mapping(tmp_path, text), tmp_path / "out")
    except ImportFormatError:
        assert not (tmp_path / "out").exists()
        return
    assert replayed(tmp_path / "out").decoder.counters["quarantined"] == 0
