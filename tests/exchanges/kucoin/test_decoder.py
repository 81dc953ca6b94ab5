"""KuCoin's decoder: a genuine capture with its fetched books, the splice, and faults."""

from __future__ import annotations

import heapq
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.kucoin.decoder import KucoinDecoder
from data_controller.market.layout import BrokenBy, Proof, ProofBy
from data_controller.market.rows import Control, Flag, Kind
from tests.exchanges.faults import endure
from tests.exchanges.feeding import RAW, Session, capture, text

FOLDER = RAW / "cryptofeed_2021-04-25"
STREAM, ANSWERS = FOLDER / "KUCOIN.ws.1.0.gz", FOLDER / "KUCOIN.http.0.0"
URL = "https://api.kucoin.com/api/v2/market/orderbook/level2?symbol=BTC-USDT"


def change(first: int, last: int, bids: Any = (), asks: Any = ()) -> dict[str, Any]:
    """A change as KuCoin sends it; entries are [price, size, number]."""
    data = {"sequenceStart": first, "symbol": "BTC-USDT", "changes": {"asks": asks, "bids": bids}, "sequenceEnd": last}
    return {"data": data, "subject": "trade.l2update", "topic": "/market/level2:BTC-USDT", "type": "message"}


def snapshot(sequence: int, bids: Any = (("90", "1"),), asks: Any = (("110", "1"),)) -> dict[str, Any]:
    """A fetched book."""
    data = {"time": 1619378326628, "sequence": str(sequence), "bids": bids, "asks": asks}
    return {"code": "200000", "data": data}


def proved() -> Session:
    session = Session(KucoinDecoder)
    session.feed(change(11, 12, [["91", "2", "12"]], [["111", "3", "11"]]))
    session.fetch(URL, snapshot(10))
    assert session.proof() == Proof.PROVED
    return session


def test_changes_wait_for_the_snapshot_and_follow_it() -> None:
    session = proved()
    assert ProofBy(session.books.books[0]["proof_by"]) == ProofBy.SEQUENCE
    assert session.sides() == ({"91": "2", "90": "1"}, {"110": "1", "111": "3"})
    assert {int(row["ref"]) for row in session.rows if row["kind"] == Kind.SET} == {0}
    session.feed(change(13, 13, [["0", "0", "13"]]), change(14, 14, [["91", "0", "14"]]))
    assert (session.proof(), session.sides()[0]) == (Proof.PROVED, {"90": "1"})


def test_entries_of_a_message_that_the_snapshot_holds_already_are_left_out() -> None:
    session = Session(KucoinDecoder)
    session.feed(change(9, 12, [["91", "7", "9"], ["92", "2", "12"]], [["111", "3", "10"]]))
    session.fetch(URL, snapshot(10, [["90", "1"]], [["110", "1"]]))
    assert (session.proof(), session.sides()) == (Proof.PROVED, ({"92": "2", "90": "1"}, {"110": "1"}))
    assert [int(row["flags"] & Flag.LAST) for row in session.rows if row["kind"] == Kind.SET] == [0, 1, 1]
    other = Session(KucoinDecoder)
    other.fetch(URL, snapshot(10, [["90", "1"]], [["110", "1"]]))
    other.feed(change(9, 12, [["91", "7", "9"], ["92", "2", "12"]], [["111", "3", "10"]]))
    assert (other.proof(), other.sides()) == (Proof.PROVED, session.sides())


def test_a_missing_change_breaks_the_book_until_another_snapshot() -> None:
    session = proved()
    session.feed(change(14, 15, [["91", "3", "14"]]))
    assert BrokenBy(session.books.books[0]["broken_by"]) == BrokenBy.GAP
    session.fetch(URL, snapshot(12))
    assert (session.proof(), int(session.rows[-1]["size"])) == (Proof.BROKEN, 0)
    session.fetch(URL, snapshot(13))
    assert (session.proof(), session.sides()[0]) == (Proof.PROVED, {"91": "3", "90": "1"})


def test_a_snapshot_older_than_the_book_is_of_no_use() -> None:
    session = proved()
    session.fetch(URL, snapshot(11, [["1", "1"]]))
    assert (int(session.rows[-1]["size"]), "1" in session.sides()[0]) == (0, False)
    session.fetch(URL, {"code": "429000", "msg": "Too Many Requests"})
    assert int(session.rows[-1]["size"]) == 0


def test_changes_told_twice_do_nothing() -> None:
    session = proved()
    assert session.feed(change(12, 12, [["91", "9", "12"]])) == []
    assert session.decoder.counters["duplicates"] == 1


def test_trades_tickers_candles_and_answers() -> None:
    session = Session(KucoinDecoder)
    trade = {"symbol": "A-B", "sequence": "16", "side": "sell", "size": "81.8814", "price": "0.0000001117"}
    trade |= {"time": "1700000000739050725", "type": "match", "tradeId": "6085c09769bc506996295e36"}
    message = {"data": trade, "subject": "trade.l3match", "topic": "/market/match:A-B", "type": "message"}
    ticker = {
        "sequence": "1",
        "bestAsk": "0.2",
        "bestBidSize": "3",
        "price": "0.15",
        "bestAskSize": "14",
        "bestBid": "0.1",
    }
    candle = {"symbol": "A-B", "candles": ["1619378220", "1", "2", "3", "0.5", "9", "0"], "time": 1619378328806000034}
    rows = session.feed(
        {"id": "NSkIrWGB1s", "type": "welcome"},
        message,
        message,
        {"data": ticker, "subject": "trade.ticker", "topic": "/market/ticker:A-B", "type": "message"},
        {"data": candle, "subject": "trade.candles.add", "topic": "/market/candles:A-B_1min", "type": "message"},
        {"id": "1", "type": "error", "code": 404, "data": "topic /x is not found"},
        {"id": "1", "type": "pong"},
    )
    trades = [row for row in rows if row["kind"] == Kind.TRADE]
    assert [(int(row["side"]), int(row["exch_ns"])) for row in trades] == [(-1, 1700000000739050725)]
    assert [Control(int(row["ref"])).name for row in rows[-2:]] == ["ERROR", "PONG"]
    assert session.decoder.side_rows["ticker"][0]["bid_size"] == 3
    assert session.decoder.side_rows["candles"][0]["close"] == 2


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_lost_no_proved_book_differs_from_the_true_one(seed: int) -> None:
    rng = random.Random(seed)
    frames, fetched, last = [], [], 12
    bids = {"91": "2", "90": "1"}
    for _ in range(120):
        first, count = last + 1, rng.randrange(1, 4)
        entries = [[str(rng.randrange(60, 90)), str(rng.randrange(3)), str(first + k)] for k in range(count)]
        frames.append(change(first, last := last + count, entries, [["0", "0", str(last)]]))
        bids |= {price: size for price, size, _ in entries}
        levels = [[price, size] for price, size in bids.items() if size != "0"]
        fetched.append(snapshot(last, levels, [["110", "1"], ["111", "3"]]))
    true, own = proved(), proved()

    def mend(k: int) -> None:
        if k % 15 == 14:
            own.fetch(URL, fetched[k - rng.randrange(4)])

    assert endure(true, own, frames, seed, mend=mend) > 5
    assert own.decoder.counters["sequence_gaps"] > 0


FRAMES = [text(change(11, 12, [["91", "2", "12"]], [["0", "0", "11"]])), text(snapshot(10))]
FRAMES += [
    b'{"data":{"side":"buy","size":"1","price":"2","time":"1619378327739050725","tradeId":"x"},"topic":"/market/match:AB"}',
    b'{"data":{"candles":["1","1","1","1","1","1","1"]},"topic":"/market/candles:A-B_1min","type":"message"}',
    b'{"data":{"bestAsk":"1"},"topic":"/market/ticker:A-B","type":"message"}',
]


@given(
    st.lists(st.tuples(st.sampled_from(FRAMES), st.integers(0, 180), st.binary(max_size=4)), min_size=1, max_size=20)
)
@settings(deadline=None, max_examples=120)
def test_damaged_frames_are_rows_or_quarantined(steps: list[tuple[bytes, int, bytes]]) -> None:
    session = Session(KucoinDecoder)
    for frame, at, insert in steps:
        session.feed(frame[:at] + insert + frame[at + len(insert) :])
        session.fetch(URL, frame[at:] + insert)
        session.fetch(URL, frame[:at] + insert + frame[at + len(insert) :])
    assert session.decoder.counters["frames"] == len(steps)


@pytest.mark.skipif(not STREAM.exists(), reason="the captures lie outside this repository")
def test_a_genuine_capture_and_its_fetched_books_have_no_gap() -> None:
    session = Session(KucoinDecoder, keep=False)
    for what, at_ns, url, payload in heapq.merge(capture(STREAM), capture(ANSWERS), key=lambda line: line[1]):
        if what == "frame":
            session.feed(payload, times=[at_ns])
        elif what == "fetched":
            session.fetch(url, payload)
    counters = session.decoder.counters
    taken = counters["book_updates"] + counters["stale_updates"] + counters["duplicates"]
    assert (counters["frames"], taken) == (4721, 3853)
    assert (counters["trades"], counters["tickers"], counters["fetched"], counters["fetched_in_vain"]) == (
        18,
        830,
        9,
        0,
    )
    assert counters["sequence_gaps"] == counters["quarantined"] == session.total("crossed") == 0
    assert session.proofs() == {("PROVED", "SEQUENCE"): 9}
