"""Kraken Futures: books by sequence, trades, tickers, and that damage never leaves a wrong book proved."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_controller.exchanges.kraken_futures.decoder import KrakenFuturesDecoder
from data_controller.market.layout import Proof
from data_controller.market.rows import Control, Flag, Kind
from data_controller.market.tables import Channel
from tests.exchanges.faulting import Guarded, captured, frames_of, hostile, wrong_proofs
from tests.exchanges.feeding import Session

ACK = '{"event":"subscribed","feed":"book","product_ids":["PI_XBTUSD"]}'
SNAPSHOT: dict[str, Any] = {
    "feed": "book_snapshot",
    "product_id": "PI_XBTUSD",
    "timestamp": 1612269825817,
    "seq": 326072249,
    "tickSize": None,
    "bids": [{"price": 34892.5, "qty": 6385.0}, {"price": 34892, "qty": 10924}],
    "asks": [{"price": 34911.5, "qty": 20598}, {"price": 34912, "qty": 2300}],
}
TRADE_SNAPSHOT = (
    '{"feed":"trade_snapshot","product_id":"PI_XBTUSD","trades":['
    '{"feed":"trade","product_id":"PI_XBTUSD","uid":"caa9c653-420b-4c24-a9f1-462a054d86f1","side":"sell",'
    '"type":"fill","seq":655508,"time":1612269657781,"qty":440,"price":34893},'
    '{"feed":"trade","product_id":"PI_XBTUSD","uid":"45ee9737-1877-4682-bc68-e4ef818ef88a","side":"buy",'
    '"type":"fill","seq":655507,"time":1612269656839,"qty":9643,"price":34891}]}'
)
TRADE = (
    '{"feed":"trade","product_id":"PI_XBTUSD","uid":"05af78ac-a774-478c-a50c-8b9c234e071e","side":"sell","type":"fill",'
    '"seq":655509,"time":1612266317519,"qty":15000,"price":34969.5}'
)
TICKER = (
    '{"time":1680811086487,"product_id":"PI_XBTUSD","funding_rate":-6.2604214e-11,"funding_rate_prediction":-3.0e-10,'
    '"next_funding_rate_time":1680814800000,"feed":"ticker","bid":28060,"ask":28070,"bid_size":2844,"ask_size":1902,'
    '"volume":19628180,"dtm":0,"leverage":"50x","index":28062.14,"premium":0,"last":28053.5,"change":-0.7710945651981715,'
    '"suspended":false,"tag":"perpetual","pair":"XBT:USD","openInterest":28875946,"markPrice":28064.920,'
    '"maturityTime":0}'
)


def change(number: int, price: float, size: float, side: str = "buy") -> dict[str, Any]:
    return {
        "feed": "book",
        "product_id": "PI_XBTUSD",
        "side": side,
        "seq": number,
        "price": price,
        "qty": size,
        "timestamp": 1612269953629,
    }


FIRST = SNAPSHOT["seq"]


def with_book() -> Session:
    session = Session(KrakenFuturesDecoder)
    session.feed('{"event":"info","version":1}', ACK, SNAPSHOT)
    return session


def test_a_snapshot_proves_the_book_and_changes_that_follow_each_other_keep_it() -> None:
    session = with_book()
    assert session.tables.channels == [Channel("kraken_futures", "PI_XBTUSD", "book")]
    rows = session.feed(change(FIRST + 1, 34892.5, 0.0), change(FIRST + 2, 34911, 5.5, "sell"))
    assert [(r["kind"], r["price"], r["size"], r["exch_ns"]) for r in rows] == [
        (Kind.SET, 348925, 0, 1612269953629000000),
        (Kind.SET, 34911, 55, 1612269953629000000),
    ]
    assert session.proof() is Proof.PROVED
    assert session.sides() == ({"34892": "10924"}, {"34911": "5.5", "34911.5": "20598", "34912": "2300"})


def test_a_missing_change_breaks_the_book_until_its_next_snapshot() -> None:
    session = with_book()
    rows = session.feed(change(FIRST + 2, 34892, 1), change(FIRST + 3, 34892, 2))
    assert [r["kind"] for r in rows] == [Kind.GAP]
    assert session.proof() is Proof.BROKEN
    session.feed(SNAPSHOT)
    assert session.proof() is Proof.BROKEN, "a snapshot older than what was seen mends nothing"
    session.feed({**SNAPSHOT, "seq": FIRST + 9}, change(FIRST + 10, 34892, 3))
    assert session.proof() is Proof.PROVED
    assert session.sides()[0]["34892"] == "3"


def test_a_repeated_change_is_dropped_and_an_older_snapshot_breaks() -> None:
    session = with_book()
    again = change(FIRST + 1, 34892, 1)
    session.feed(again, change(FIRST + 2, 34892, 2), again)
    assert session.sides()[0]["34892"] == "2"
    assert session.decoder.counters["duplicates"] == 1
    session.feed(SNAPSHOT)
    assert session.proof() is Proof.BROKEN


def test_a_new_subscription_takes_any_snapshot() -> None:
    session = with_book()
    session.feed(ACK, {**SNAPSHOT, "seq": 5}, change(6, 34892, 4))
    assert session.proof() is Proof.PROVED


def test_trades_are_taken_once_and_old_ones_are_marked() -> None:
    session = Session(KrakenFuturesDecoder)
    rows = [r for r in session.feed(TRADE_SNAPSHOT, TRADE, TRADE, TRADE_SNAPSHOT) if r["kind"] == Kind.TRADE]
    assert [(int(r["ref"]), int(r["side"]), bool(r["flags"] & Flag.SNAPSHOT)) for r in rows] == [
        (655508, -1, True),
        (655507, 1, True),
        (655509, -1, False),
    ]
    assert session.decoder.counters["trades_repeated"] == 3


def test_a_ticker_tells_mark_index_and_funding_too() -> None:
    session = Session(KrakenFuturesDecoder)
    rows = session.feed(TICKER)
    assert [(Kind(r["kind"]), int(r["price"]), int(r["price_scale"])) for r in rows[1:]] == [
        (Kind.MARK, 28064920, 3),
        (Kind.INDEX, 2806214, 2),
        (Kind.FUNDING, -62604, 15),
    ]
    assert rows[3]["ref"] == 1680814800000000000
    assert session.decoder.side_rows["ticker"][0]["bid_size"] == 2844


def test_refusals_and_ends_are_told() -> None:
    session = with_book()
    rows = session.feed('{"event":"error","message":"Invalid product id"}', ACK.replace("subscribed", "unsubscribed"))
    assert [Control(r["ref"]) for r in rows] == [Control.ERROR, Control.UNSUBSCRIBED]
    session.feed(change(FIRST + 1, 1, 1), '{"feed":"heartbeat","time":1534262350627}')
    assert session.decoder.counters["retired_channel"] == session.decoder.counters["heartbeats"] == 1


@pytest.mark.parametrize(
    "frame",
    [
        b"[]",
        b"{}",
        b'{"feed":"book","product_id":"PI_XBTUSD","side":"buy","seq":1}',
        b'{"feed":"book","product_id":"PI_XBTUSD","side":"up","seq":326072250,"price":1,"qty":1}',
        b'{"feed":"book","product_id":"PI_XBTUSD","side":"buy","seq":326072250,"price":-1,"qty":1}',
        b'{"feed":"book_snapshot","product_id":"PI_XBTUSD","seq":326072250,"bids":[]}',
        b'{"feed":"bo\\u006fk","product_id":"PI_XBTUSD"}',
    ],
)
def test_what_is_outside_the_protocol_is_kept_and_unproves(frame: bytes) -> None:
    session = with_book()
    session.feed(frame)
    assert session.decoder.counters["quarantined"] == (0 if b'"seq":1}' in frame else 1)
    if session.decoder.counters["quarantined"]:
        assert session.proof() is Proof.BROKEN


def test_the_capture_has_no_gap() -> None:
    session = Session(KrakenFuturesDecoder, keep=False)
    seen = session.replay(captured("cryptofeed_2021-04-17/KRAKEN_FUTURES.ws.46.0.gz"))
    counters = session.decoder.counters
    assert seen["frame"] == counters["frames"] == 7123
    assert (counters["book_snapshots"], counters["book_updates"], counters["tickers"]) == (10, 6528, 541)
    assert (counters["trades"], counters["trade_snapshot_rows"]) == (3, 1000)
    assert counters["quarantined"] == counters["unknown_events"] == counters["sequence_gaps"] == 0
    assert session.proofs() == Counter({("PROVED", "SEQUENCE"): 10})
    assert session.total("gaps") == session.total("crossed") == session.total("unknown_deletes") == 0


def test_damage_never_leaves_a_wrong_book_proved() -> None:
    path = captured("cryptofeed_2021-04-17/KRAKEN_FUTURES.ws.46.0.gz")
    frames = frames_of(path, lambda f: b'"FI_XBTUSD_210625"' in f and b'"feed":"book' in f, 300)
    faults = ["drop", "duplicate", "late duplicate", "swap", "cut", "garbage"]
    proved, wrong = wrong_proofs(KrakenFuturesDecoder, frames, faults, 6, first=0, last=250)
    assert wrong == []
    assert 10 <= proved < 36


@given(st.lists(hostile([f.encode() for f in (ACK, TRADE_SNAPSHOT, TRADE, TICKER)]), max_size=4), st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_hostile_frames_are_rows_or_quarantine(frames: list[bytes], data: st.DataObject) -> None:
    import json

    books = [json.dumps(SNAPSHOT).encode(), json.dumps(change(FIRST + 1, 34892.0, 1.5)).encode()]
    frames = frames + data.draw(st.lists(hostile(books), max_size=3))
    session = Guarded(KrakenFuturesDecoder)
    session.feed(ACK, SNAPSHOT, change(FIRST + 1, 34892, 1), *frames, SNAPSHOT)
    assert session.decoder.counters["frames"] == len(frames) + 4
    session.check()
