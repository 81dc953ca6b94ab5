"""Binance's decoder: literal frames of its documents, genuine captures, and faults."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.binance.decoder import BinanceCoinmDecoder, BinanceDecoder, BinanceUsdmDecoder
from data_controller.market.layout import BrokenBy, Proof, ProofBy
from data_controller.market.rows import Control, Kind
from tests.exchanges.feeding import RAW, Session, text

URL = "https://api.binance.com/api/v3/depth?symbol=BNBBTC&limit=1000"
SNAPSHOT = {"lastUpdateId": 157, "bids": [["0.0024", "10"], ["0.0022", "1.50"]], "asks": [["0.0026", "100"]]}


def depth(first: int, last: int, bids: Any = (), asks: Any = (), prev: int | None = None) -> dict[str, Any]:
    """A change of the book as spot sends it, or with `prev` as the futures do."""
    data = {"e": "depthUpdate", "E": 1672515782136, "s": "BNBBTC", "U": first, "u": last, "b": bids, "a": asks}
    return {"stream": "bnbbtc@depth@100ms", "data": data if prev is None else data | {"T": 1672515782130, "pu": prev}}


def spot() -> Session:
    """A spot book at 160, proved."""
    session = Session(BinanceDecoder)
    session.feed(depth(150, 155), depth(156, 160, [["0.0024", "11"]], [["0.0026", "0"], ["0.0027", "5"]]))
    assert session.proof() == Proof.EMPTY
    session.fetch(URL, SNAPSHOT)
    return session


def test_changes_wait_for_the_snapshot_and_follow_it() -> None:
    session = spot()
    assert session.proof() == Proof.PROVED
    assert ProofBy(session.books.books[0]["proof_by"]) == ProofBy.SEQUENCE
    assert session.sides() == ({"0.0024": "11", "0.0022": "1.5"}, {"0.0027": "5"})
    released = [row for row in session.rows if row["kind"] in (Kind.RESET, Kind.SET)]
    assert len({int(row["seq"]) for row in released}) == 1
    assert [int(row["part"]) for row in released] == list(range(len(released)))
    fetched = session.rows[-1]
    assert (fetched["ref"], fetched["price"], fetched["size"]) == (Control.FETCHED, 200, 1)


def test_a_missing_change_breaks_the_book_until_another_snapshot() -> None:
    session = spot()
    session.feed(depth(161, 163, [["0.0023", "1"]]))
    assert session.proof() == Proof.PROVED
    session.feed(depth(165, 166, [["0.0021", "1"]]))
    assert session.proof() == Proof.BROKEN
    assert BrokenBy(session.books.books[0]["broken_by"]) == BrokenBy.GAP
    session.feed(depth(167, 168))
    session.fetch(URL, SNAPSHOT | {"lastUpdateId": 165})
    assert session.proof() == Proof.PROVED
    assert "0.0021" in session.sides()[0]


def test_a_snapshot_older_than_the_changes_that_wait_is_of_no_use() -> None:
    session = Session(BinanceDecoder)
    session.feed(depth(170, 171))
    session.fetch(URL, SNAPSHOT)
    assert session.proof() == Proof.EMPTY
    assert int(session.rows[-1]["size"]) == 0
    session.fetch(URL, b"busy", status=429)
    assert (int(session.rows[-1]["price"]), int(session.rows[-1]["size"])) == (429, 0)
    session.fetch(URL, SNAPSHOT | {"lastUpdateId": 169})
    assert session.proof() == Proof.PROVED


def test_a_snapshot_that_comes_before_the_stream_is_kept_for_it() -> None:
    session = Session(BinanceDecoder)
    session.fetch(URL, SNAPSHOT)
    session.feed(depth(150, 156), depth(157, 158, [["0.0022", "0"]]))
    assert session.proof() == Proof.PROVED
    assert session.sides()[0] == {"0.0024": "10"}


def test_changes_told_twice_or_older_than_the_snapshot_do_nothing() -> None:
    session = spot()
    before = session.sides()
    assert session.feed(depth(156, 160, [["0.0024", "999"]]), depth(150, 155, [["0.0024", "999"]])) == []
    assert session.sides() == before
    assert session.decoder.counters["duplicates"] == 2


def test_a_futures_change_names_the_one_before() -> None:
    session = Session(BinanceUsdmDecoder)
    session.feed(depth(100, 158, prev=99))
    session.fetch(URL, SNAPSHOT)
    assert session.proof() == Proof.PROVED
    session.feed(depth(190, 200, [["0.0020", "1"]], prev=158))  # numbers may leap, the chain holds
    assert session.proof() == Proof.PROVED
    session.feed(depth(210, 220, prev=201))
    assert session.proof() == Proof.BROKEN


def test_trades_quotes_and_their_sides() -> None:
    session = Session(BinanceDecoder)
    trade = {"e": "trade", "E": 2, "s": "BNBBTC", "t": 12345, "p": "0.001", "q": "100", "T": 1, "m": True, "M": True}
    rows = session.feed(
        trade, trade, {"stream": "bnbbtc@aggTrade", "data": trade | {"e": "aggTrade", "a": 7, "m": False}}
    )
    trades = [row for row in rows if row["kind"] == Kind.TRADE]
    assert [(int(r["ref"]), int(r["side"]), int(r["exch_ns"]), int(r["channel"])) for r in trades] == [
        (12345, -1, 1_000_000, 0),
        (12345, 1, 1_000_000, 1),
    ]
    assert session.decoder.counters["trades_repeated"] == 1
    quote = {"u": 400900217, "s": "BNBUSDT", "b": "25.35190000", "B": "31.21", "a": "25.36520000", "A": "40.66"}
    rows = session.feed({"stream": "bnbusdt@bookTicker", "data": quote})
    assert [(Kind(r["kind"]).name, int(r["side"]), int(r["price"]), int(r["ref"])) for r in rows[1:]] == [
        ("QUOTE", 1, 2535190000, 400900217),
        ("QUOTE", -1, 2536520000, 400900217),
    ]


def test_mark_price_funding_and_liquidations_are_rows() -> None:
    session = Session(BinanceUsdmDecoder)
    mark = {
        "e": "markPriceUpdate",
        "E": 1562305380000,
        "s": "BTCUSDT",
        "p": "11794.15",
        "i": "11784.62",
        "r": "-0.00038167",
    }
    order = {"s": "BTCUSDT", "S": "SELL", "q": "0.014", "p": "9910", "ap": "9911.5", "X": "FILLED", "T": 1568014460893}
    rows = session.feed(
        {"stream": "btcusdt@markPrice@1s", "data": mark | {"T": 1562306400000}},
        {"stream": "btcusdt@forceOrder", "data": {"e": "forceOrder", "E": 1568014460893, "s": "BTCUSDT", "o": order}},
    )
    told = [(Kind(r["kind"]).name, int(r["price"]), int(r["price_scale"])) for r in rows if r["kind"] != Kind.CONTROL]
    assert told == [("MARK", 1179415, 2), ("INDEX", 1178462, 2), ("FUNDING", -38167, 8), ("LIQUIDATION", 99115, 1)]


def test_answers_name_no_stream_but_the_list_of_them_does() -> None:
    session = Session(BinanceDecoder)
    assert session.feed({"result": None, "id": 1}) == []
    rows = session.feed({"result": ["bnbbtc@depth@100ms", "bnbbtc@trade"], "id": 2})
    assert [Control(int(r["ref"])).name for r in rows] == ["SUBSCRIBED", "SUBSCRIBED"]
    rows = session.feed({"result": ["bnbbtc@trade"], "id": 3})
    assert [(Control(int(r["ref"])).name, int(r["channel"])) for r in rows] == [("UNSUBSCRIBED", 0)]
    assert session.feed(depth(1, 2)) == []
    assert session.decoder.counters["retired_channel"] == 1
    rows = session.feed({"error": {"code": 2, "msg": "Invalid request"}, "id": 4})
    assert (int(rows[0]["ref"]), int(rows[0]["price"]), int(rows[0]["size"])) == (Control.ERROR, 2, 4)


def test_a_frame_that_cannot_be_read_unproves_the_connection() -> None:
    session = spot()
    session.feed(b'{"stream":"bnbbtc@depth@100ms","data":{"e":"depthUpdate","U":161,"u":162,"b":[["x","1"]]}}')
    assert session.proof() == Proof.BROKEN
    assert session.decoder.side_rows["quarantine"][0]["reason"].startswith("expected the protocol's shape")
    session.close()
    assert session.decoder.heard_ns.tolist() == [0]


def test_changes_behind_a_frame_that_cannot_be_read_wait_for_the_snapshot() -> None:
    session = spot()
    session.feed(b'{"stream":', depth(163, 164, [["0.0021", "1"]]))
    assert session.proof() == Proof.BROKEN
    session.fetch(URL, SNAPSHOT | {"lastUpdateId": 161})
    assert session.proof() == Proof.BROKEN  # 162 is missing
    session.fetch(URL, SNAPSHOT | {"lastUpdateId": 162})
    assert session.proof() == Proof.PROVED
    assert "0.0021" in session.sides()[0]


def test_a_snapshot_older_than_the_book_does_not_put_it_back() -> None:
    session = spot()
    session.feed(depth(161, 163, [["0.0023", "1"]]))
    session.fetch(URL, SNAPSHOT | {"lastUpdateId": 162})
    assert session.proof() == Proof.PROVED
    assert "0.0023" in session.sides()[0]
    assert int(session.rows[-1]["size"]) == 0


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_make_no_difference(size: int) -> None:
    frames = [depth(150 + k, 150 + k, [[f"0.00{k % 40 + 10}", str(k % 3)]]) for k in range(300)]
    one, other = Session(BinanceDecoder), Session(BinanceDecoder)
    for session, by in ((one, 1 << 20), (other, size)):
        session.feed(*frames[:20], size=by)
        session.fetch(URL, SNAPSHOT)
        session.feed(*frames[20:], size=by)
    assert [r.tobytes() for r in one.rows] == [r.tobytes() for r in other.rows]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("futures", [False, True])
def test_whatever_is_lost_no_proved_book_differs_from_the_true_one(seed: int, futures: bool) -> None:
    rng = random.Random(seed)
    frames, prev = [], 100
    for k in range(80):
        first = prev + 1 + (rng.randrange(3) if futures else 0)
        last = first + rng.randrange(4)
        levels = [[f"0.00{rng.randrange(10, 60)}", str(rng.randrange(3))] for _ in range(rng.randrange(1, 4))]
        sides = (levels, []) if k % 2 else ([], [["0.1" + price[4:], size] for price, size in levels])
        frames.append(depth(first, last, *sides, prev=prev if futures else None))
        prev = last
    decoder = BinanceUsdmDecoder if futures else BinanceDecoder
    true, own = Session(decoder), Session(decoder)
    snapshot = SNAPSHOT | {"lastUpdateId": frames[3]["data"]["u"]}
    for session in (true, own):
        session.feed(*frames[:6])
        session.fetch(URL, snapshot)
    assert true.proof() == own.proof() == Proof.PROVED
    k = 6
    while k < len(frames):
        true.feed(frames[k])
        fault = rng.random()
        if fault < 0.03:
            k += 1
            continue  # what is lost is known by what comes next
        if fault < 0.06:
            own.feed(frames[k], frames[k])
        elif fault < 0.09 and k + 1 < len(frames):
            true.feed(frames[k + 1])
            own.feed(frames[k + 1], frames[k])
            k += 1
        elif fault < 0.12:
            whole = text(frames[k])
            own.feed(whole[: rng.randrange(len(whole))])
        else:
            own.feed(frames[k])
        if own.proof() == Proof.PROVED:
            assert own.sides() == true.sides()
        k += 1


FRAMES = [
    text(depth(1, 2, [["1.5", "2"]], [["1.6", "0.1"]])),
    text(depth(1, 2, [["1.5", "2"]], [], prev=0)),
    b'{"e":"trade","E":2,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1,"m":true,"M":true}',
    b'{"stream":"bnbusdt@bookTicker","data":{"u":4,"s":"BNBUSDT","b":"25.35","B":"31.2","a":"25.36","A":"40.6"}}',
    b'{"result":["bnbbtc@depth@100ms"],"id":2}',
    b'{"error":{"code":2,"msg":"x"},"id":4}',
    b'{"stream":"a@markPrice","data":{"e":"markPriceUpdate","E":1,"s":"A","p":"1","i":"1","r":"0.1","T":1}}',
    b'{"stream":"ab@kline_1m","data":{"k":{"t":1,"o":"1","c":"1","h":"1","l":"1","v":"1"}}}',
]


@given(
    st.lists(st.tuples(st.sampled_from(FRAMES), st.integers(0, 200), st.binary(max_size=4)), min_size=1, max_size=20)
)
@settings(deadline=None, max_examples=200)
def test_damaged_frames_are_rows_or_quarantined(steps: list[tuple[bytes, int, bytes]]) -> None:
    session = Session(BinanceUsdmDecoder)
    for frame, at, insert in steps:
        session.feed(frame[:at] + insert + frame[at + len(insert) :])
        session.fetch(URL, frame[at:] + insert)
    assert session.decoder.counters["frames"] == len(steps)


HFT, CRYPTOFEED = RAW / "hftbacktest_binance", RAW / "cryptofeed_2021-04-05"
CAPTURES = [
    (BinanceDecoder, [HFT / "spot" / f"btcusdt_2024080{day}.gz" for day in (8, 9)], 99573, 19904, 73174, 1),
    (BinanceUsdmDecoder, [HFT / "usdm" / "btcusdt_20240808.gz"], 93953, 21313, 66089, 1),
    (BinanceCoinmDecoder, [HFT / "cm" / f"btcusd_perp_2024080{day}.gz" for day in (8, 9)], 98385, 5235, 48355, 1),
    (BinanceDecoder, [CRYPTOFEED / "BINANCE-b38f7c.0.gz"], 11357, 1240, 5408, 10),
    (BinanceUsdmDecoder, [CRYPTOFEED / "BINANCE_FUTURES-1125a2.0.gz"], 8421, 574, 3424, 5),
]


@pytest.mark.skipif(not RAW.exists(), reason="the captures lie outside this repository")
@pytest.mark.parametrize(("decoder", "paths", "frames", "trades", "quotes", "books"), CAPTURES)
def test_genuine_captures_have_no_gap(
    decoder: Any, paths: list[Any], frames: int, trades: int, quotes: int, books: int
) -> None:
    session = Session(decoder, keep=False)
    counted = sum(session.replay(path)["frame"] for path in paths)
    counters = session.decoder.counters
    assert (counted, counters["frames"], counters["trades"], counters["quotes"]) == (frames, frames, trades, quotes)
    assert counters["sequence_gaps"] == counters["quarantined"] == session.total("crossed") == 0
    assert session.proofs() == {("PROVED", "SEQUENCE"): books}


def test_a_snapshot_asked_for_before_its_stream_began_is_of_no_use() -> None:
    session = Session(BinanceDecoder)
    session.fetch(URL, SNAPSHOT, asked_ns=session.now_ns)  # nothing is kept of it either
    session.feed({"result": ["bnbbtc@depth@100ms"], "id": 1})
    assert session.proof() == Proof.EMPTY
    asked_ns = session.now_ns
    session.feed({"result": [], "id": 2}, {"result": ["bnbbtc@depth@100ms"], "id": 3})
    session.fetch(URL, SNAPSHOT, asked_ns=asked_ns)
    assert (session.proof(), int(session.rows[-1]["size"])) == (Proof.EMPTY, 0)
    session.fetch(URL, SNAPSHOT, asked_ns=session.now_ns)
    assert session.proof() == Proof.PROVED


def test_a_snapshot_asked_for_before_something_was_lost_is_of_no_use() -> None:
    session = spot()
    asked_ns = session.now_ns
    session.feed(b"{")
    assert session.proof() == Proof.BROKEN
    session.fetch(URL, SNAPSHOT | {"lastUpdateId": 170}, asked_ns=asked_ns)
    assert session.proof() == Proof.BROKEN
    session.fetch(URL, SNAPSHOT | {"lastUpdateId": 171}, asked_ns=session.now_ns)
    assert session.proof() == Proof.PROVED


def test_a_list_of_more_streams_than_find_room_is_refused_whole() -> None:
    session = spot()
    session.feed({"result": [f"a{k}@trade" for k in range(60_000)], "id": 1})
    assert session.decoder.counters["quarantined"] == 1
    assert len(session.tables.channels) == 1
    assert session.proof() == Proof.BROKEN


def test_what_is_not_traded_in_the_book_is_no_trade() -> None:
    session = Session(BinanceUsdmDecoder)
    trade = {
        "e": "trade",
        "E": 1672515782136,
        "T": 1672515782136,
        "s": "BTCUSDT",
        "t": 7,
        "p": "0",
        "q": "0",
        "m": True,
    }
    session.feed({"stream": "btcusdt@trade", "data": trade | {"p": "5", "q": "1", "X": "MARKET"}})
    rows = session.feed(
        {"stream": "btcusdt@trade", "data": trade | {"t": 8, "X": "NA"}},
        {"stream": "btcusdt@trade", "data": trade | {"t": 9, "p": "5", "q": "1", "X": "INSURANCE_FUND"}},
    )
    assert rows == []
    counters = session.decoder.counters
    assert (counters["trades"], counters["trades_off_book"], counters["quarantined"]) == (1, 2, 0)


@pytest.mark.parametrize("value", ["NaN", "inf", "1e300"])
def test_a_candle_of_no_number_is_refused(value: str) -> None:
    session = Session(BinanceDecoder)
    candle = {"t": 1672515780000, "o": "1", "h": "1", "l": "1", "c": "1", "v": value, "i": "1m", "x": True}
    session.feed({"stream": "bnbbtc@kline_1m", "data": {"e": "kline", "E": 1, "s": "BNBBTC", "k": candle}})
    assert session.decoder.counters["quarantined"] == 1
    assert session.decoder.side_rows["candles"] == []
    candle |= {"t": 10**26, "v": "1"}
    session.feed({"stream": "bnbbtc@kline_1m", "data": {"e": "kline", "E": 1, "s": "BNBBTC", "k": candle}})
    assert session.decoder.side_rows["candles"] == []
