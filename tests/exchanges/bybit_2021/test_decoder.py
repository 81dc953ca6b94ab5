"""Bybit's decoder of 2021: a genuine capture, the inverse form, and faults."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.bybit_2021.decoder import Bybit2021Decoder
from data_controller.market.layout import Proof
from data_controller.market.rows import Control, Kind
from tests.exchanges.feeding import RAW, Session

CAPTURE = RAW / "cryptofeed_2021-04-17" / "BYBIT.ws.25.0.gz"
SNAPSHOT = (
    b'{"topic":"orderBookL2_25.BTCUSD","type":"snapshot","data":[{"price":"2999.00","symbol":"BTCUSD","id":29990000,'
    b'"side":"Buy","size":9},{"price":"3001.00","symbol":"BTCUSD","id":30010000,"side":"Sell","size":10}],'
    b'"cross_seq":11518,"timestamp_e6":1555647164875373}'
)
DELTA = (
    b'{"topic":"orderBookL2_25.BTCUSD","type":"delta","data":{"delete":[{"price":"3001.00","symbol":"BTCUSD",'
    b'"id":30010000,"side":"Sell"}],"update":[{"price":"2999.00","symbol":"BTCUSD","id":29990000,"side":"Buy","size":8}],'
    b'"insert":[{"price":"2998.00","symbol":"BTCUSD","id":29980000,"side":"Buy","size":8.5}],"transactTimeE6":0},'
    b'"cross_seq":11519,"timestamp_e6":1555647221331673}'
)
TRADE = (
    b'{"topic":"trade.BTCUSD","data":[{"timestamp":"2020-01-12T16:59:59.000Z","trade_time_ms":1582793344685,'
    b'"symbol":"BTCUSD","side":"Sell","size":328,"price":8098,"tick_direction":"MinusTick",'
    b'"trade_id":"00c706e1-ba52-5bb0-98d0-bf694bdc69f7","cross_seq":1052816407}]}'
)


def test_entries_are_deleted_updated_and_inserted_and_nothing_proves_the_book() -> None:
    session = Session(Bybit2021Decoder)
    assert [int(row["ref"]) for row in session.feed(DELTA)] == [Control.SUBSCRIBED]
    session.feed(SNAPSHOT, DELTA)
    assert session.proof() == Proof.UNVERIFIABLE
    assert session.sides() == ({"2999": "8", "2998": "8.5"}, {})
    assert int(session.rows[-1]["exch_ns"]) == 1555647221331673000


def test_trades_and_answers() -> None:
    session = Session(Bybit2021Decoder)
    rows = session.feed(
        {"success": True, "ret_msg": "", "conn_id": "x", "request": {"op": "subscribe", "args": ["trade.BTCUSD"]}},
        TRADE,
        TRADE,
        {"success": True, "ret_msg": "pong", "conn_id": "x", "request": {"op": "ping", "args": None}},
        {"success": True, "ret_msg": "", "conn_id": "x", "request": {"op": "unsubscribe", "args": ["trade.BTCUSD"]}},
    )
    assert [Kind(row["kind"]).name for row in rows] == ["CONTROL", "TRADE", "CONTROL", "GAP", "CONTROL"]
    assert (int(rows[1]["side"]), int(rows[1]["exch_ns"])) == (-1, 1582793344685000000)


def test_a_frame_that_cannot_be_read_breaks_the_books() -> None:
    session = Session(Bybit2021Decoder)
    session.feed(SNAPSHOT, DELTA.replace(b'"Buy"', b'"Bye"'))
    assert session.proof() == Proof.BROKEN
    assert session.feed(DELTA) == []
    session.feed(SNAPSHOT)
    assert session.proof() == Proof.UNVERIFIABLE


@given(
    st.lists(
        st.tuples(st.sampled_from([SNAPSHOT, DELTA, TRADE]), st.integers(0, 300), st.binary(max_size=4)),
        min_size=1,
        max_size=12,
    )
)
@settings(deadline=None, max_examples=80)
def test_damaged_frames_are_rows_or_quarantined(steps: list[tuple[bytes, int, bytes]]) -> None:
    session = Session(Bybit2021Decoder)
    for frame, at, insert in steps:
        session.feed(frame[:at] + insert + frame[at + len(insert) :])
    assert session.decoder.counters["frames"] == len(steps)


@pytest.mark.skipif(not CAPTURE.exists(), reason="the captures lie outside this repository")
def test_the_books_of_a_genuine_capture_hold_25_entries_and_never_cross() -> None:
    session = Session(Bybit2021Decoder, keep=False)
    counters = session.decoder.counters
    assert session.replay(CAPTURE)["frame"] == session.decoder.counters["frames"] == 3342
    counters = session.decoder.counters
    assert (counters["book_snapshots"], counters["book_updates"], counters["quarantined"]) == (8, 3252, 0)
    assert counters["trades"] + counters["trade_snapshot_rows"] == 101
    assert session.total("crossed") == session.total("gaps") == session.total("unknown_deletes") == 0
    assert session.proofs() == {("UNVERIFIABLE", "NOTHING"): 8}
    books = session.books.books[session.books.books["depth"] != 0]
    assert set(books["n_bid"].tolist()) == set(books["n_ask"].tolist()) == {25}
