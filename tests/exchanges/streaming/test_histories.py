"""Whatever a venue of named streams does, and in whatever order: what must hold, and where it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_controller.actions import Reconnect, Send
from data_controller.exchanges.streaming.dialect import Limits
from data_controller.market.layout import BrokenBy
from data_controller.market.rows import Control

from .venue import Rig

SYMBOLS = tuple(f"C{i}" for i in range(8))
VENUES = {
    "one at a time": (Limits(3), {}),
    "in batches, paced, spliced": (Limits(6, 4, 3.0, 3600.0, 20.0), {"fetched": True, "trades": True}),
    "greeted, two addresses": (Limits(5, 2, 1.0), {"greeting": True, "trades": True, "apart": True}),
    "acknowledges nothing": (Limits(4, acknowledged=False), {"trades": True}),
    "acknowledges nothing, spliced": (Limits(4, acknowledged=False), {"trades": True, "fetched": True}),
}
EVENTS = st.one_of(
    st.tuples(st.just("answer"), st.just(0)),
    st.tuples(st.just("lose"), st.just(0)),
    st.tuples(st.just("lose snapshot"), st.just(0)),
    st.tuples(st.just("give"), st.sampled_from([0, 1])),
    st.tuples(st.just("pulse"), st.sampled_from([0, 0.1, 1, 5, 10, 31, 3500])),
    st.tuples(st.just("drop"), st.integers(0, 3)),
    st.tuples(st.just("connect"), st.just(0)),
    st.tuples(st.just("broken"), st.integers(0, 11)),
    st.tuples(st.just("silent"), st.integers(0, 11)),
    st.tuples(st.just("gap"), st.integers(0, 11)),
    st.tuples(st.just("unknown symbol"), st.integers(0, 7)),
    st.tuples(st.just("reload"), st.integers(0, 255)),
    st.tuples(st.just("depth"), st.sampled_from(["full", "top"])),
    st.tuples(st.just("reorder"), st.just(0)),
    st.tuples(st.just("twice"), st.just(0)),
    st.tuples(
        st.sampled_from([*Control]),
        st.tuples(st.integers(0, 3), st.integers(-1, 12), st.sampled_from([0, 1, 2, 5, 999]), st.integers(-1, 6)),
    ),
)


def _picked(bits: int) -> tuple[str, ...]:
    return tuple(symbol for i, symbol in enumerate(SYMBOLS) if bits >> i & 1)


def _reload(rig: Rig, **changes: Any) -> None:
    """Reload, and see that nobody is touched but those that go or come."""
    before = {ch["row"]: ch["state"] for ch in rig.channels()}
    carried = {c["conn"]: {ch["row"] for ch in c["channels"]} for c in rig.subs.state()["connections"]}
    actions = rig.reload(**changes)
    wanted = {rig.tables.channel(c) for group in rig.dialect.channels(rig.settings) for c in group}
    for action in actions:
        match action:
            case Reconnect(conn=conn):
                assert not carried[conn] & wanted, "a connection that others need was given up"
            case Send(payload=payload):
                message = json.loads(payload)
                rows = {rig.channel(name) for name in message["names"]}
                if message["op"] == "unsubscribe":
                    leaving = {row for row, state in before.items() if state == "LEAVING"}
                    assert not rows & wanted & set(before) - leaving, "a neighbour was unsubscribed"
                else:
                    assert not {row for row in rows if before.get(row) == "LIVE"}, "a neighbour was asked for again"


def _play(venue: str, events: list[tuple[Any, Any]], skew_ns: int = 0) -> Rig:
    limits, wishes = VENUES[venue]
    rig = Rig(limits, skew_ns=skew_ns, instruments=SYMBOLS[:4], **wishes)
    rig.start()
    for what, arg in events:
        match what:
            case Control():
                conn, channel, price, size = arg
                if what == Control.CLOSED:
                    rig.drop(conn)
                elif what != Control.OPENED and rig.open.get(conn):  # the shell says OPENED only where it is so
                    rig.row(what, conn, channel, price, size)
            case "answer":
                rig.answer()
            case "lose" if limits.acknowledged:  # else nobody can know
                del rig.inbox[:1]
            case "lose snapshot":
                del rig.asked[:1]
            case "give":
                rig.give(size=arg)
            case "pulse":
                rig.pulse(arg, heard=arg != 31)
            case "drop":
                rig.drop(arg)
            case "connect":
                rig.connect()
            case "broken":
                rig.broken(arg, BrokenBy.CHECKSUM)
            case "silent":
                rig.broken(arg, BrokenBy.SILENT)
            case "gap":
                rig.broken(arg, BrokenBy.GAP)
            case "unknown symbol":
                rig.refused ^= {SYMBOLS[arg]}
            case "reload":
                _reload(rig, instruments=_picked(arg))
            case "depth":
                _reload(rig, books=(arg,))
            case "reorder":
                rig.inbox.reverse()
            case "twice" if limits.acknowledged:  # likewise
                rig.inbox += rig.inbox[:1]
    return rig


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(EVENTS, max_size=60))
def test_after_any_history_a_venue_that_behaves_ends_with_exactly_the_wanted_channels_live(
    venue: str, events: list[Any]
) -> None:
    rig = _play(venue, events)  # invariants, limits and the pace are checked after every step
    rig.refused.clear()
    for _ in range(70):
        rig.settle()
        rig.pulse(10)
    rig.reload()
    for _ in range(30):
        rig.settle()
        rig.pulse(1)
    rig.settle()
    assert rig.live_everywhere(), rig.subs.state()


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(EVENTS, max_size=40))
def test_equal_histories_give_equal_actions_however_late_their_batches_are_looked_at(
    venue: str, events: list[Any]
) -> None:
    log = _play(venue, events).log
    assert _play(venue, events).log == log
    assert _play(venue, events, skew_ns=7_000_000_000).log == log


def test_the_twin_is_not_vacuous() -> None:
    assert _play("one at a time", []).log != _play("one at a time", [("connect", 0)]).log
