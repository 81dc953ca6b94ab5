"""Bitfinex's funding books and trades, status of perpetuals, liquidations: frames as its documents have them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.bitfinex import requests
from data_controller.exchanges.bitfinex.settings import BitfinexSettings
from data_controller.exchanges.bitfinex.slots import wanted
from data_controller.market.layout import Proof, ProofBy
from data_controller.market.rows import Control, Kind
from data_controller.market.tables import Channel
from tests.exchanges.bitfinex.feeding import Session

SEQUENCED = {"event": "conf", "status": "OK", "flags": 65536}


def ack(chan: int, channel: str, **more: Any) -> dict[str, Any]:
    return {"event": "subscribed", "channel": channel, "chanId": chan, **more}


def funding(precision: str = "P0") -> Session:
    session = Session()
    session.feed(SEQUENCED, ack(431, "book", symbol="fUSD", prec=precision, freq="F0", len="25", currency="USD"))
    return session


def test_a_funding_book_holds_levels_by_rate_and_period_and_a_positive_amount_is_offered() -> None:
    session = funding()
    assert session.tables.channels == [Channel("bitfinex", "fUSD", "book", "P0T", "F0", 25)]
    rows = session.feed(
        [431, [[0.00023157, 30, 2, 66.35], [0.00023157, 2, 1, 7], [0.0002, 2, 1, -100], [0.00019, 120, 3, -5]], 1]
    )
    assert (session.proof(), session.books.books[0]["proof_by"]) == (Proof.PROVED, ProofBy.SEQUENCE)
    bids, asks = session.books.side(0, 1), session.books.side(0, -1)
    assert [(float(v["price"]), float(v["size"])) for v in bids] == [(0.0002, 100.0), (0.00019, 5.0)]
    assert [float(v["size"]) for v in asks] == [7.0, 66.35]  # of one rate the shorter first
    assert [int(r["flags"]) >> 16 for r in rows if r["kind"] == Kind.ADD] == [30, 2, 2, 120]
    assert [int(v["ref"]) & 127 for v in asks] == [2, 30]
    session.feed([431, [0.00023157, 2, 0, 1], 2], [431, [0.00023157, 30, 4, 60], 3], [431, [0.00021, 2, 1, -1e-7], 4])
    assert [float(v["size"]) for v in session.books.side(0, -1)] == [60.0]
    assert [float(v["size"]) for v in session.books.side(0, 1)] == [1e-7, 100.0, 5.0]


def test_raw_offers_are_known_by_their_id() -> None:
    session = funding("R0")
    session.feed([431, [[658282397, 30, 0.000233, -530], [658282398, 2, 0.00024, 10]], 1])
    assert session.sides() == ({"658282397": "530"}, {"658282398": "10"})
    session.feed([431, [658282397, 30, 0, -1], 2], [431, "cs", 12345, 3])
    assert session.sides()[0] == {}
    assert session.proof() == Proof.PROVED  # its checksum's order is said nowhere, so it is not looked at
    session.feed([431, [658282399, 2, 0.00024, 10], 5])
    assert session.proof() == Proof.BROKEN


@pytest.mark.parametrize("entry", [[0.0002, 0, 1, 5], [0.0002, 500, 1, 5], [0.0002, 2, 1], [0.0002, 2.5, 1, 5]])
def test_a_period_that_no_loan_has_is_refused(entry: list[Any]) -> None:
    session = funding()
    session.feed([431, [[0.0002, 2, 1, -100]], 1], [431, entry, 2])
    assert session.decoder.counters["quarantined"] == 1
    assert session.proof() == Proof.BROKEN


def test_loans_are_trades_with_their_period_and_come_once() -> None:
    session = Session()
    session.feed(ack(337, "trades", symbol="fUSD", currency="USD"))
    rows = session.feed(
        [337, [[133323072, 1574694245478, -258.7458086, 0.0002587, 2]]],
        [337, "fte", [133323543, 1574694605000, -59.84, 0.00023647, 2]],
        [337, "ftu", [133323543, 1574694605000, -59.84, 0.00023647, 2]],
        [337, "ftu", [133323544, 1574694605001, 1, 0, 30]],
    )
    told = [(int(r["ref"]), int(r["side"]), int(r["price"]), int(r["flags"]) >> 16) for r in rows]
    assert told == [(133323072, -1, 2587, 2), (133323543, -1, 23647, 2), (133323544, 1, 0, 30)]
    assert session.decoder.counters["trade_updates_dropped"] == 1


def test_the_tags_of_loans_mean_nothing_to_pairs() -> None:
    session = Session()
    session.feed(ack(17, "trades", symbol="tBTCUSD"), [17, "fte", [1, 1574694605000, 1, 2, 3]])
    assert session.decoder.counters["quarantined"] == 1


DERIVATIVE = (
    b"[335,[1596124822000,null,0.896,0.771995,null,1396531.67,null,1596153600000,0.0001056,6,null,-0.0138,null,null,"
    b"0.7664,null,null,246502.09,null,null,null,null,0.3]]"
)


def test_the_status_of_a_perpetual_is_mark_index_and_funding() -> None:
    session = Session()
    session.feed(ack(335, "status", key="deriv:tBTCF0:USTF0"))
    assert session.tables.channels == [Channel("bitfinex", "tBTCF0:USTF0", "derivative")]
    rows = session.feed(DERIVATIVE, DERIVATIVE.replace(b"-0.0138", b"1e-7"))
    told = [(Kind(int(r["kind"])).name, int(r["price"]), int(r["price_scale"]), int(r["ref"])) for r in rows]
    due_ns = 1596153600000 * 10**6
    assert told[:3] == [("MARK", 7664, 4, 0), ("INDEX", 771995, 6, 0), ("FUNDING", -138, 4, due_ns)]
    assert told[5] == ("FUNDING", 1, 7, due_ns)
    assert int(rows[0]["exch_ns"]) == 1596124822000 * 10**6
    value = session.decoder.side_rows["derivative"][0]
    assert (value["open_interest"], value["clamp_min"], value["clamp_max"]) == (246502.09, None, 0.3)
    assert session.decoder.counters["derivatives"] == 2


def test_liquidations_are_rows_of_their_own_instrument_when_they_begin() -> None:
    session = Session()
    session.feed(ack(916, "status", key="liq:global"))
    begun = ["pos", 142397657, 1574697680828, None, "tBSVUSD", -2.62932, 91.5838, None, 0, 1, None, 112.27]
    rows = session.feed(
        [916, [begun]],
        [916, [[*begun[:8], 1, *begun[9:]]]],
        [916, [[*begun[:4], "tETHUSD", 3, 5, None, 0, 1, None, None]]],
    )
    told = [(session.tables.channels[int(r["channel"])].symbol, int(r["side"]), int(r["price"])) for r in rows]
    assert told == [("tBSVUSD", 1, 11227), ("tETHUSD", -1, 5)]
    assert (int(rows[0]["ref"]), int(rows[0]["size"]), int(rows[0]["size_scale"])) == (142397657, 262932, 5)


@pytest.mark.parametrize(
    ("key", "payload"),
    [
        ("deriv:tBTCF0:USTF0", [1, None]),
        ("deriv:tBTCF0:USTF0", "x"),
        ("deriv:tBTCF0:USTF0", [1596124822000, *[None] * 13, "x", *[None] * 8]),
        ("liq:global", [["pos", 1]]),
        ("liq:global", [["neg", *[None] * 11]]),
        ("liq:global", [["pos", 1, 2, None, "tX", "y", 1, None, 0, 1, None, 1]]),
        ("liq:global", {"a": 1}),
    ],
)
def test_a_broken_status_is_quarantined(key: str, payload: Any) -> None:
    session = Session()
    rows = session.feed(ack(335, "status", key=key), [335, payload])
    assert [Control(int(r["ref"])).name for r in rows if r["kind"] == Kind.CONTROL] == ["SUBSCRIBED", "QUARANTINED"]


def test_what_is_wanted_and_said_for_loans_perpetuals_and_liquidations() -> None:
    config = BitfinexSettings(instruments=("fUSD", "tBTCF0:USTF0"), tickers=False, liquidations=True)
    liquidations, loans, perpetual = wanted(config)
    assert [requests.subscribe(channel).decode() for channel in (*liquidations, *loans, perpetual[-1])] == [
        '{"event":"subscribe","channel":"status","key":"liq:global"}',
        '{"event":"subscribe","channel":"book","symbol":"fUSD","prec":"P0","freq":"F0","len":"25"}',
        '{"event":"subscribe","channel":"trades","symbol":"fUSD"}',
        '{"event":"subscribe","channel":"status","key":"deriv:tBTCF0:USTF0"}',
    ]
    off = BitfinexSettings(instruments=("tBTCF0:USTF0", "tBTCUSD"), derivatives=False)
    assert all(channel.stream != "derivative" for group in wanted(off) for channel in group)


def test_a_bulk_update_of_a_funding_book_is_its_changes_together() -> None:
    session = Session()
    session.feed({"event": "conf", "status": "OK", "flags": 65536 | 536870912})
    session.feed(ack(431, "book", symbol="fUSD", prec="P0", freq="F0", len="25", currency="USD"))
    session.feed(
        [431, [[0.0002, 2, 1, -100]], 1], [431, [[0.0002, 2, 0, -1], [0.0001, 2, 1, -5], [0.0003, 30, 1, 5]], 2]
    )
    assert [float(v["size"]) for v in session.books.side(0, 1)] == [5.0]
    assert [float(v["size"]) for v in session.books.side(0, -1)] == [5.0]
    assert session.proof() == Proof.PROVED


FRAMES = [
    json.dumps(message).encode()
    for message in (
        [431, [[0.00023157, 30, 2, 66.35], [0.0002, 2, 1, -100]]],
        [431, [0.00023157, 30, 0, 1]],
        [337, "fte", [133323543, 1574694605000, -59.84, 0.00023647, 2]],
        json.loads(DERIVATIVE),
        [916, [["pos", 142397657, 1574697680828, None, "tBSVUSD", -2.62932, 91.5838, None, 0, 1, None, 112.27]]],
    )
]


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    message = json.loads(draw(st.sampled_from(FRAMES)))
    holder = message
    while isinstance(holder[-1], list) and draw(st.booleans()):
        holder = holder[-1]
    odd: list[Any] = [None, True, -1, 0, 10**30, 1e308, "x", [], {}, [[]], "pos", 1e-300]
    holder[draw(st.integers(0, len(holder) - 1))] = draw(st.sampled_from(odd))
    frame = json.dumps(message).encode()
    return frame[: draw(st.integers(0, len(frame)))] if draw(st.booleans()) else frame


@settings(max_examples=80, deadline=None)
@given(st.lists(_damaged(), min_size=1, max_size=8))
def test_hostile_frames_become_rows_or_quarantine(frames: list[bytes]) -> None:
    session = Session()
    session.feed(
        ack(431, "book", symbol="fUSD", prec="P0", freq="F0", len="25"),
        ack(337, "trades", symbol="fUSD"),
        ack(335, "status", key="deriv:tBTCF0:USTF0"),
        ack(916, "status", key="liq:global"),
    )
    session.feed(*frames)
    assert session.decoder.counters["frames"] == 4 + len(frames)
    assert all(-1 <= int(row["channel"]) < len(session.tables.channels) for row in session.rows)
