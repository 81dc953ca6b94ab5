"""Bybit's v5 decoder: literal frames of its documents, and faults; there is no capture of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.bybit.decoder import BybitDecoder, BybitInverseDecoder, BybitLinearDecoder
from data_controller.market.layout import BrokenBy, Proof, ProofBy
from data_controller.market.rows import Control, Kind
from data_controller.market.tables import Channel
from tests.exchanges.faults import endure
from tests.exchanges.feeding import Session, text


def book(kind: str, update: int, bids: Any = (), asks: Any = ()) -> dict[str, Any]:
    """A message of `orderbook.50.BTCUSDT` as Bybit documents it."""
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": update, "seq": 7961638724}
    return {"topic": "orderbook.50.BTCUSDT", "type": kind, "ts": 1672304484978, "data": data, "cts": 1672304484976}


SNAPSHOT = book(
    "snapshot", 18521288, [["16493.50", "0.006"], ["16493.00", "0.100"]], [["16611.00", "0.029"], ["16612.00", "0.213"]]
)


def proved() -> Session:
    session = Session(BybitDecoder)
    session.feed(SNAPSHOT)
    assert session.proof() == Proof.PROVED
    return session


def test_a_book_is_proved_by_its_count() -> None:
    session = proved()
    assert ProofBy(session.books.books[0]["proof_by"]) == ProofBy.SEQUENCE
    session.feed(book("delta", 18521289, [["16493.50", "0"], ["16490", "2"]], [["16611.00", "0.030"]]))
    assert session.sides() == ({"16493": "0.1", "16490": "2"}, {"16611": "0.03", "16612": "0.213"})
    assert int(session.rows[-1]["exch_ns"]) == 1672304484976 * 10**6


def test_a_missing_change_breaks_the_book_until_its_next_snapshot() -> None:
    session = proved()
    rows = session.feed(book("delta", 18521291, [["16493.50", "1"]]))
    assert [(Kind(row["kind"]).name, int(row["ref"])) for row in rows] == [("GAP", 2)]
    assert BrokenBy(session.books.books[0]["broken_by"]) == BrokenBy.GAP
    assert session.feed(book("delta", 18521292, [["16493.50", "1"]])) == []
    session.feed(SNAPSHOT)
    assert session.proof() == Proof.PROVED


def test_the_count_one_is_a_snapshot_of_a_restarted_service() -> None:
    session = proved()
    session.feed(book("delta", 1, [["16000", "1"]], [["16001", "1"]]), book("delta", 2, [["15999", "1"]]))
    assert session.proof() == Proof.PROVED
    assert session.sides() == ({"16000": "1", "15999": "1"}, {"16001": "1"})
    session.feed(book("delta", 2, [["15999", "5"]]))
    assert session.sides()[0]["15999"] == "1"
    session.feed(book("delta", 1000, [["15999", "5"]]))
    assert session.proof() == Proof.BROKEN


def test_a_restart_whose_snapshot_was_lost_is_a_gap() -> None:
    session = proved()
    session.feed(book("delta", 2, [["16000", "1"]]))
    assert session.proof() == Proof.BROKEN


def test_levels_that_fall_out_of_the_subscribed_depth_are_dropped() -> None:
    session = Session(BybitDecoder)
    session.feed(book("snapshot", 5, [[str(100 - k), "1"] for k in range(50)], [["200", "1"]]))
    session.feed(book("delta", 6, [["100.5", "1"]]))
    bids = session.sides()[0]
    assert (len(bids), "51" in bids, session.proof()) == (50, False, Proof.PROVED)


def test_trades_and_best_prices_are_rows() -> None:
    session = Session(BybitLinearDecoder)
    trade = {
        "T": 1672304486865,
        "s": "BTCUSDT",
        "S": "Buy",
        "v": "0.001",
        "p": "16578.50",
        "L": "PlusTick",
        "BT": False,
    }
    ids = ("20f43950-d8dd-5b31-9112-a178eb6023af", "2290000000061666327", "44")
    trades = [trade | {"i": ids[0]}, trade | {"i": ids[1], "S": "Sell"}, trade | {"i": ids[2]}, trade | {"i": ids[0]}]
    best = {
        "s": "BTCUSDT",
        "b": [["16493.50", "0"], ["16493.40", "0.006"]],
        "a": [["16611.00", "0.029"]],
        "u": 18,
        "seq": 9,
    }
    rows = session.feed(
        {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1672304486868, "data": trades},
        {"topic": "orderbook.1.BTCUSDT", "type": "snapshot", "ts": 1672304484978, "data": best, "cts": 1672304484976},
        {"topic": "orderbook.1.BTCUSDT", "type": "delta", "ts": 1672304484978, "data": best | {"b": []}, "cts": 5},
    )
    told = [(Kind(r["kind"]).name, int(r["side"]), int(r["price"])) for r in rows if r["kind"] != Kind.CONTROL]
    assert told[:3] == [("TRADE", 1, 1657850), ("TRADE", -1, 1657850), ("TRADE", 1, 1657850)]
    assert told[3:] == [("QUOTE", 1, 1649340), ("QUOTE", -1, 1661100), ("QUOTE", -1, 1661100)]
    refs = [int(r["ref"]) for r in rows if r["kind"] == Kind.TRADE]
    assert len(set(refs)) == 3 and refs[2] == 44 and min(refs) > 0
    assert session.decoder.counters["trades_repeated"] == 1


TICKER = {
    "symbol": "BTCUSDT", "lastPrice": "17216.00", "prevPrice24h": "16926.50", "highPrice24h": "17281.50",
    "lowPrice24h": "16915.00", "markPrice": "17217.33", "indexPrice": "17227.36", "volume24h": "91705.276",
    "nextFundingTime": "1673280000000", "fundingRate": "-0.000212", "bid1Price": "17215.50", "bid1Size": "84.489",
    "ask1Price": "17216.00", "ask1Size": "83.020",
}  # fmt: skip


def test_a_ticker_is_merged_and_tells_mark_index_and_funding_of_a_contract() -> None:
    session = Session(BybitLinearDecoder)
    topic = {"topic": "tickers.BTCUSDT", "cs": 24987956059, "ts": 1673272861686}
    rows = session.feed(
        topic | {"type": "delta", "data": {"symbol": "BTCUSDT", "lastPrice": "1"}},
        topic | {"type": "snapshot", "data": TICKER},
        topic | {"type": "delta", "data": {"symbol": "BTCUSDT", "bid1Price": "17000", "markPrice": "17218"}},
    )
    told = [(Kind(r["kind"]).name, int(r["price"]), int(r["part"])) for r in rows if r["kind"] != Kind.CONTROL]
    assert told == [("MARK", 1721733, 0), ("INDEX", 1722736, 1), ("FUNDING", -212, 2), ("MARK", 17218, 0)]
    assert int(rows[-2]["ref"]) == 1673280000000 * 10**6
    assert session.tables.channels[int(rows[-1]["channel"])] == Channel("bybit_linear", "BTCUSDT", "derivative")
    first, second = session.decoder.side_rows["ticker"]
    assert (first["bid"], second["bid"], second["ask"], second["change"]) == (17215.5, 17000, 17216, 289.5)


def test_a_spot_ticker_has_no_mark_price() -> None:
    session = Session(BybitDecoder)
    data = {"symbol": "BTCUSDT", "lastPrice": "21109.77", "highPrice24h": "21426.99", "usdIndexPrice": "21120.2400136"}
    session.feed({"topic": "tickers.BTCUSDT", "ts": 1673853746003, "type": "snapshot", "cs": 2588407389, "data": data})
    assert session.decoder.side_rows["ticker"][0]["last"] == 21109.77
    assert [channel.stream for channel in session.tables.channels] == ["ticker"]


def test_candles_are_a_table_and_liquidations_rows_of_the_taker_side() -> None:
    session = Session(BybitInverseDecoder)
    candle = {"start": 1672324800000, "interval": "5", "open": "16649.5", "close": "16677", "high": "16677"}
    candle |= {"low": "16608", "volume": "2.081", "turnover": "34666.4005", "confirm": False}
    gone = {"T": 1739502302929, "s": "ROSEUSDT", "S": "Sell", "v": "20000", "p": "0.04499"}
    older = {"updatedTime": 1673251091822, "symbol": "GALAUSDT", "side": "Buy", "size": "4", "price": "0.03803"}
    rows = session.feed(
        {"topic": "kline.5.BTCUSDT", "data": [candle], "ts": 1672324988882, "type": "snapshot"},
        {"topic": "allLiquidation.ROSEUSDT", "type": "snapshot", "ts": 1739502303204, "data": [gone, gone]},
        {"topic": "liquidation.GALAUSDT", "type": "snapshot", "ts": 1673251091822, "data": older},
    )
    told = [(Kind(r["kind"]).name, int(r["side"]), int(r["price"])) for r in rows if r["kind"] != Kind.CONTROL]
    assert told == [("LIQUIDATION", 1, 4499), ("LIQUIDATION", 1, 4499), ("LIQUIDATION", -1, 3803)]
    row = session.decoder.side_rows["candles"][0]
    assert (row["mts"], row["volume"]) == (1672324800000, 2.081)
    assert session.tables.channels[row["channel"]].precision == "5m"


def test_answers_are_control_rows() -> None:
    session = Session(BybitDecoder)
    rows = session.feed(
        {"success": True, "ret_msg": "subscribe", "conn_id": "2324d924", "req_id": "1", "op": "subscribe"},
        {"success": True, "ret_msg": "pong", "conn_id": "0970e817", "req_id": "", "op": "ping"},
        {"req_id": "", "op": "pong", "args": ["1675418560633"], "conn_id": "cfcb4ocsvfriu23r3er0"},
        {"success": False, "ret_msg": "error:handler not found,topic:orderbook.3.X", "req_id": "12", "op": "subscribe"},
    )
    told = [(Control(int(r["ref"])).name, int(r["size"])) for r in rows]
    assert told == [("PONG", 0), ("PONG", 0), ("ERROR", 12)]


def test_a_frame_that_cannot_be_read_unproves_the_connection() -> None:
    for bad in (b"{", book("update", 18521289), book("delta", 18521289, [["16493.50"]]), {"topic": "x"}):
        session = proved()
        session.feed(bad)
        assert session.proof() == Proof.BROKEN
        assert len(session.decoder.side_rows["quarantine"]) == 1


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_lost_no_proved_book_differs_from_the_true_one(seed: int) -> None:
    rng = random.Random(seed)
    frames, update, sides = [], 100, ({"90": "1"}, {"200": "1"})
    for k in range(200):
        change: tuple[dict[str, str], dict[str, str]] = ({}, {})
        for _ in range(rng.randrange(1, 4)):
            side = rng.randrange(2)
            price = str(101 + rng.randrange(40) if side else 100 - rng.randrange(40))
            change[side][price] = sides[side][price] = str(rng.randrange(3))
        update = 1 if k % 80 == 79 else update + 1
        if k % 40 == 0 or update == 1:
            change = tuple({p: q for p, q in levels.items() if q != "0"} for levels in sides)  # type: ignore[assignment]
        kind = "snapshot" if k % 40 == 0 else "delta"
        frames.append(book(kind, update, *[[[p, q] for p, q in levels.items()] for levels in change]))
    assert endure(Session(BybitDecoder), Session(BybitDecoder), frames, seed) > 5


FRAMES = [text(SNAPSHOT), text(book("delta", 18521289, [["1", "2"]]))]
FRAMES += [
    b'{"topic":"publicTrade.AB","data":[{"T":5,"S":"Buy","v":"1","p":"2","i":"3"}]}',
    b'{"topic":"orderbook.1.AB","type":"delta","data":{"b":[["1","2"]],"a":[["3","4"]],"u":5},"cts":6}',
    b'{"topic":"kline.1.AB","data":[{"start":1,"open":"1","close":"1","high":"1","low":"1","volume":"1"}]}',
    b'{"topic":"tickers.AB","type":"snapshot","ts":5,"data":{"lastPrice":"1","markPrice":"2","fundingRate":"0.1"}}',
    b'{"topic":"allLiquidation.AB","data":[{"T":1,"s":"AB","S":"Sell","v":"1","p":"1"}]}',
    b'{"success":false,"req_id":"5"}',
]


@given(
    st.lists(st.tuples(st.sampled_from(FRAMES), st.integers(0, 180), st.binary(max_size=4)), min_size=1, max_size=20)
)
@settings(deadline=None, max_examples=150)
def test_damaged_frames_are_rows_or_quarantined(steps: list[tuple[bytes, int, bytes]]) -> None:
    session = Session(BybitLinearDecoder)
    for frame, at, insert in steps:
        session.feed(frame[:at] + insert + frame[at + len(insert) :])
    assert session.decoder.counters["frames"] == len(steps)
