"""Bitstamp's frames to rows and books."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.bitstamp.decoder import BitstampDecoder, channel_of, name_of
from data_controller.exchanges.streaming import state
from data_controller.market.layout import BrokenBy, Proof, ProofBy
from data_controller.market.rows import Control, Kind
from tests.exchanges.feeding import RAW, Session
from tests.exchanges.mutations import damaged, mutated, survives

CAPTURE = RAW / "cryptofeed_2021-04-05" / "BITSTAMP-b88f8b.0.gz"
URL = "https://www.bitstamp.net/api/v2/order_book/btcusd/"
US = 1_000_000
START = 1_700_000_000 * US


def diff(at: int, bids: Any = (), asks: Any = ()) -> dict[str, Any]:
    """A change of prices `at` microseconds behind START."""
    when = START + at
    data = {"timestamp": str(when // US), "microtimestamp": str(when), "bids": list(bids), "asks": list(asks)}
    return {"data": data, "channel": "diff_order_book_btcusd", "event": "data"}


def book(at: int, bids: Any = (), asks: Any = ()) -> dict[str, Any]:
    """A fetched book that says it is of `at` microseconds behind START."""
    when = START + at
    return {"timestamp": str(when // US), "microtimestamp": str(when), "bids": list(bids), "asks": list(asks)}


def order(event: str, k: int, ref: int, price: str, amount: str, side: int = 0, prev: int | None = None) -> Any:
    """Order event number `k`."""
    data = {
        "id": ref,
        "id_str": str(ref),
        "order_type": side,
        "order_subtype": 5,
        "datetime": str(START // US),
        "microtimestamp": str(START + k * 100_000),
        "amount": float(amount),
        "amount_str": amount,
        "amount_traded": "0",
        "amount_at_create": amount,
        "price": float(price),
        "price_str": price,
        "is_liquidation": False,
    }
    before = k - 1 if prev is None else prev
    return {
        "data": data,
        "channel": "live_orders_btcusd",
        "event": f"order_{event}",
        "event_id": f"00065aad-a8b2-{k:04x}-0000-000102000020",
        "pre_event_id": f"00065aad-a8b2-{before:04x}-0000-000102000020",
        "order_source": "orderbook",
    }


def ack(name: str) -> dict[str, Any]:
    return {"event": "bts:subscription_succeeded", "channel": name, "data": {}}


def orders(n: int = 30) -> Session:
    """A session whose L3 book is proved, its first event long before the fetched book."""
    session = Session(BitstampDecoder)
    session.feed(ack("live_orders_btcusd"))
    session.feed(*(order("created", k, 1000 + k, f"{100 - k}", "1.00000000") for k in range(n)))
    session.fetch(URL + "?group=2", book((n - 2) * 100_000, [["50.00", "7", "7"]], [["200.00", "8", "8"]]))
    return session


def test_names_and_channels_are_inverse() -> None:
    for name in ("diff_order_book_btcusd", "live_orders_ethbtc", "live_trades_btcusd-perp"):
        channel = channel_of(name)
        assert channel is not None
        assert name_of(channel) == name
    assert channel_of("detail_order_book_btcusd") is None


def test_changes_wait_for_the_fetched_book_and_those_before_its_time_are_dropped() -> None:
    session = Session(BitstampDecoder)
    session.feed(ack("diff_order_book_btcusd"), diff(0, [["9", "1"]]), diff(3 * US, [["10", "2"]], [["11", "3"]]))
    assert session.proof() == Proof.EMPTY
    session.fetch(URL, book(2 * US, [["9", "5"], ["8", "1"]], [["11", "1"], ["12", "1"]]))
    assert session.proof() == Proof.UNVERIFIABLE
    assert session.sides() == ({"10": "2", "9": "5", "8": "1"}, {"11": "3", "12": "1"})
    session.feed(diff(4 * US, [["10", "0.00000000"]]))
    assert session.sides()[0] == {"9": "5", "8": "1"}
    assert session.books.books[0]["proof_by"] == ProofBy.NOTHING


def test_a_fetched_book_may_be_older_than_it_says() -> None:
    session = Session(BitstampDecoder)
    session.feed(ack("diff_order_book_btcusd"), diff(0), diff(1_000_000, [["10", "2"]]))
    session.fetch(URL, book(2 * US, [["10", "1"]], [["11", "1"]]))  # it says 2 s, and does not know of second 1
    assert session.sides()[0] == {"10": "2"}


def test_a_fetched_book_that_the_stream_does_not_reach_back_to_is_of_no_use() -> None:
    session = Session(BitstampDecoder)
    session.feed(ack("diff_order_book_btcusd"), diff(2 * US, [["10", "2"]]))
    session.fetch(URL, book(2 * US + 5, [["9", "1"]], [["11", "1"]]))
    assert (session.proof(), int(session.rows[-1]["size"])) == (Proof.EMPTY, 0)
    session.fetch(URL, book(4 * US, [["9", "1"]], [["11", "1"]]))
    assert (session.proof(), int(session.rows[-1]["size"])) == (Proof.UNVERIFIABLE, 1)
    session.fetch(URL, b"busy", status=503)
    assert (int(session.rows[-1]["price"]), int(session.rows[-1]["size"])) == (503, 0)


def test_a_book_fetched_before_the_stream_is_kept_for_it() -> None:
    session = Session(BitstampDecoder)
    session.fetch(URL, book(5 * US, [["9", "1"]], [["11", "1"]]))
    session.feed(ack("diff_order_book_btcusd"), diff(3 * US, [["9", "0"]]), diff(4 * US, [["8", "2"]]))
    assert session.sides()[0] == {"9": "1", "8": "2"}


def test_a_change_older_than_the_one_before_breaks_the_book_and_one_told_twice_does_nothing() -> None:
    session = Session(BitstampDecoder)
    session.feed(ack("diff_order_book_btcusd"))
    session.fetch(URL, book(0, [["9", "1"]], [["11", "1"]]))
    session.feed(diff(US, [["8", "1"]]), diff(US, [["8", "1"]]))
    assert session.decoder.counters["duplicates"] == 1
    session.feed(diff(2 * US), diff(US + 5, [["7", "1"]]))
    assert (session.proof(), session.books.books[0]["broken_by"]) == (Proof.BROKEN, BrokenBy.GAP)
    session.fetch(URL, book(4 * US, [["9", "1"]], [["11", "1"]]))
    assert session.proof() == Proof.UNVERIFIABLE


def test_a_book_that_goes_on_is_fetched_anew_without_losing_what_happens_meanwhile() -> None:
    session = Session(BitstampDecoder)
    session.feed(ack("diff_order_book_btcusd"))
    session.fetch(URL, book(0, [["9", "1"]], [["11", "1"]]))
    session.feed(diff(US, [["8", "1"]]))
    session.fetch(URL, book(US, [["9", "1"]], [["11", "1"]]))
    assert int(session.rows[-1]["size"]) == 0  # from here on its changes are kept
    session.feed(diff(2 * US, [["7", "1"]]), diff(4 * US, [["6", "1"]]))
    assert session.sides()[0] == {"9": "1", "8": "1", "7": "1", "6": "1"}
    session.fetch(URL, book(4 * US - 5, [["9", "2"], ["7", "1"]], [["11", "1"]]))
    assert int(session.rows[-1]["size"]) == 1
    assert session.sides()[0] == {"9": "2", "7": "1", "6": "1"}
    session.feed(diff(5 * US, [["6", "0"]]))
    assert session.sides()[0] == {"9": "2", "7": "1"}


def test_a_frame_that_cannot_be_read_breaks_the_book_until_it_is_fetched_behind_it() -> None:
    session = Session(BitstampDecoder)
    session.feed(ack("diff_order_book_btcusd"))
    session.fetch(URL, book(0, [["9", "1"]], [["11", "1"]]))
    session.feed(diff(US), b'{"data":{"microtimestamp":"17', diff(2 * US, [["8", "1"]]))
    assert session.proof() == Proof.BROKEN
    session.fetch(URL, book(2 * US, [["9", "1"]], [["11", "1"]]))
    assert session.proof() == Proof.BROKEN  # the lost one may be newer than what was fetched
    session.fetch(URL, book(4 * US, [["9", "1"]], [["11", "1"]]))
    assert session.proof() == Proof.UNVERIFIABLE
    assert session.sides()[0] == {"9": "1"}  # what was kept is older than the book that was fetched


def test_orders_are_proved_by_their_chain_and_begin_with_a_fetched_book_that_the_chain_reaches_back_to() -> None:
    session = orders()
    assert (session.proof(), session.books.books[0]["proof_by"]) == (Proof.PROVED, ProofBy.CHAIN)
    assert session.sides()[0]["7"] == "7"
    assert len(session.sides()[0]) == 31
    session.feed(order("deleted", 30, 7, "49.00", "7"))  # an end may name another price
    assert "7" not in session.sides()[0]
    session.feed(order("changed", 31, 1001, "99", "0.5"), order("created", 32, 9, "0", "3"))
    assert session.sides()[0]["1001"] == "0.5"
    assert "9" not in session.sides()[0]  # a market order rests nowhere
    assert session.proof() == Proof.PROVED


def test_a_fetched_book_of_orders_is_refused_while_the_chain_is_younger() -> None:
    session = Session(BitstampDecoder)
    session.feed(ack("live_orders_btcusd"))
    body = book(US, [["50.00", "7", "7"]], [["200.00", "8", "8"]])
    session.fetch(URL + "?group=2", body)
    assert session.proof() == Proof.EMPTY
    session.feed(order("created", 1, 5, "60", "1"))
    session.fetch(URL + "?group=2", body)
    assert session.proof() == Proof.EMPTY
    session.fetch(URL, book(9 * US, [["50.00", "7"]], [["200.00", "8"]]))  # prices, not orders
    assert session.proof() == Proof.EMPTY
    session.fetch(URL + "?group=2", book(9 * US, [["50.00", "7"]], [["200.00", "8"]]))
    assert session.proof() == Proof.EMPTY


def test_orders_fetched_before_their_stream_are_of_no_use() -> None:
    session = Session(BitstampDecoder)
    session.fetch(URL + "?group=2", book(US, [["50.00", "7", "7"]], [["200.00", "8", "8"]]))
    session.fetch(URL, book(US, [["50.00", "7", "7"]], [["200.00", "8", "8"]]))  # orders where prices were asked for
    session.feed(ack("live_orders_btcusd"), ack("diff_order_book_btcusd"), order("created", 1, 5, "60", "1"))
    assert {session.proof(0), session.proof(1)} == {Proof.EMPTY}


def test_a_missing_event_breaks_the_book_of_orders_until_it_is_fetched_behind_it() -> None:
    session = orders()
    session.feed(order("created", 31, 5000, "60", "1"))
    assert (session.proof(), session.books.books[0]["broken_by"]) == (Proof.BROKEN, BrokenBy.GAP)
    session.feed(*(order("created", k, 6000 + k, "60", "1") for k in range(32, 52)))
    session.fetch(URL + "?group=2", book(40 * 100_000, [["50.00", "7", "7"]], [["200.00", "8", "8"]]))
    assert session.proof() == Proof.BROKEN
    session.fetch(URL + "?group=2", book(50 * 100_000, [["50.00", "7", "7"]], [["200.00", "8", "8"]]))
    assert session.proof() == Proof.PROVED
    assert session.feed(order("created", 51, 6051, "60", "1")) == []  # told twice
    assert session.proof() == Proof.PROVED


def test_trades_have_their_taker_and_come_once() -> None:
    session = Session(BitstampDecoder)
    frame = (
        '{"data":{"id":629876235,"timestamp":"1788551770","amount":0.00062132,"amount_str":"0.00062132",'
        '"price":79715.39,"price_str":"79715.39","type":%d,"microtimestamp":"1788551770815000",'
        '"buy_order_id":2046839997059073,"sell_order_id":2046839970762754},"channel":"live_trades_btcusd","event":"trade"}'
    )
    rows = session.feed(frame % 0, frame % 0, (frame % 1).replace("629876235", "629876236"))
    trades = [r for r in rows if r["kind"] == Kind.TRADE]
    assert [(int(r["ref"]), int(r["side"]), int(r["price"]), int(r["size"])) for r in trades] == [
        (629876235, 1, 7971539, 62132),
        (629876236, -1, 7971539, 62132),
    ]
    assert int(trades[0]["exch_ns"]) == 1788551770815000 * 1000


def test_what_the_venue_says_besides_data_becomes_control_rows() -> None:
    session = Session(BitstampDecoder)
    rows = session.feed(
        ack("live_trades_btcusd"),
        {"event": "bts:heartbeat", "channel": "", "data": ""},
        {"event": "bts:request_reconnect", "channel": "", "data": ""},
        {"event": "bts:error", "channel": "", "data": {"code": None, "message": "Incorrect JSON format."}},
        {"event": "bts:error", "channel": "live_trades_btcusd", "data": {"code": 4009, "message": "no"}},
        {"event": "bts:unsubscription_succeeded", "channel": "live_trades_btcusd", "data": {}},
        {"event": "news", "channel": "", "data": {}},
    )
    told = [(Control(int(r["ref"])).name, int(r["channel"])) for r in rows if r["kind"] == Kind.CONTROL]
    assert told == [("SUBSCRIBED", 0), ("RESTART", -1), ("ERROR", -1), ("ERROR", 0), ("UNSUBSCRIBED", 0)]
    assert session.decoder.counters["heartbeats"] == 1
    assert session.decoder.counters["quarantined"] == 0


@pytest.mark.skipif(not CAPTURE.exists(), reason="needs shared/data")
def test_the_capture_of_2021_is_read_whole() -> None:
    session = Session(BitstampDecoder, keep=False)
    seen = session.replay(CAPTURE)
    assert (seen["frame"], seen["fetched"]) == (3254, 10)
    counters = session.decoder.counters
    assert (counters["frames"], counters["trades"], counters["quarantined"]) == (3254, 32, 0)
    assert counters["book_updates"] + counters["stale_updates"] == 3202
    assert session.proofs() == {("UNVERIFIABLE", "NOTHING"): 10}
    assert (session.total("crossed"), session.total("gaps")) == (0, 0)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_lost_no_proved_book_of_orders_differs_from_the_true_one(seed: int) -> None:
    rng = random.Random(seed)
    frames, live = [], {}
    for k in range(30, 130):
        if live and rng.random() < 0.5:
            ref = rng.choice(list(live))
            event = rng.choice(["deleted", "changed"])
            frames.append(order(event, k, ref, live[ref], "0.5"))
            if event == "deleted":
                del live[ref]
        else:
            live[5000 + k] = str(rng.randrange(60, 100))
            frames.append(order("created", k, 5000 + k, live[5000 + k], "1"))
    encoded = [json.dumps(frame).encode() for frame in frames]
    true, own = orders(), orders()
    states = {}
    for frame in encoded:
        true.feed(frame)
        states[json.loads(frame)["event_id"]] = true.sides()
    last = None
    for frame in damaged(encoded, rng):
        own.feed(frame)
        if own.proof() == Proof.PROVED:
            try:
                last = json.loads(frame)["event_id"] if last is None else max(last, json.loads(frame)["event_id"])
            except ValueError:
                pytest.fail("a frame that is no JSON left its book proved")
            assert own.sides() == states[last]


FRAMES = [
    json.dumps(m).encode()
    for m in (
        ack("diff_order_book_btcusd"),
        diff(US, [["10", "2"]], [["11", "3"]]),
        order("created", 30, 77, "60.5", "1"),
        order("deleted", 31, 77, "60.5", "1"),
        {"event": "bts:error", "channel": "", "data": {"code": 1, "message": ""}},
    )
]


@settings(max_examples=60, deadline=None)
@given(st.lists(mutated(FRAMES), min_size=1, max_size=12))
def test_hostile_frames_become_rows_or_quarantine(frames: list[bytes]) -> None:
    session = orders()
    survives(session, frames)
    assert session.decoder.counters["retired_channel"] >= 0
    assert len(session.tables.channels) < state.MAX_LIVE


@settings(max_examples=30, deadline=None)
@given(mutated([json.dumps(book(US, [["50.00", "7", "7"]], [["200.00", "8", "8"]])).encode()]))
def test_hostile_fetched_books_are_used_or_not(body: bytes) -> None:
    session = orders()
    session.feed(order("created", 40, 77, "60.5", "1"))
    session.fetch(URL + "?group=2", body)
    assert session.rows[-1]["kind"] == Kind.CONTROL
