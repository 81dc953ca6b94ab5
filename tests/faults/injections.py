"""What can go wrong between exchange and client, as named faults that act on a `World`."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from data_controller.simulator.exchange import Frame
from data_controller.simulator.session import RESTART
from data_controller.simulator.state import EVENT, SNAPSHOT, UPDATE

from .styles import Link
from .world import S, World

Fault = Callable[[World, random.Random], float]
"""Does its harm; returns the seconds after which the world is as it was, but for what the client lost."""

NOTICED_S = 42.0
"""After so long without a heartbeat a channel counts as dead (`channel_silent_after_s`, and an answer's way)."""

_DIGIT = re.compile(rb"[0-9]")
_JUNK = (  # the styles add what only their protocol knows
    b"",
    b"{",
    b"[",
    b"null",
    b"[]",
    b"[1]",
    b"hello",
    b"\x00\xff\xfe" * 40,
    b"[" * 4000,
    b"9" * 100_000,
)


def _some_link(world: World, rng: random.Random) -> Link | None:
    return rng.choice([world.links[conn] for conn in sorted(world.links)]) if world.links else None


def _next(link: Link, wanted: Callable[[Frame], bool], act: Callable[[Frame], list[Frame]], count: int = 1) -> None:
    """Have `act` replace the next `count` frames that are `wanted`."""
    left = [count]

    def mangle(frame: Frame) -> list[Frame] | None:
        if not wanted(frame):
            return None
        left[0] -= 1
        if left[0] <= 0:
            link.mangles.remove(mangle)
        return act(frame)

    link.mangles.append(mangle)


def _hold(link: Link, wanted: Callable[[Frame], bool], after: int, keep: bool) -> None:
    """Give the next `wanted` frame (again, with `keep`) behind the `after` frames that follow it."""

    def act(frame: Frame) -> list[Frame]:
        left = [after]

        def release(later: Frame) -> list[Frame] | None:
            left[0] -= 1
            if left[0] > 0:
                return None
            link.mangles.remove(release)
            return [later, frame]

        link.mangles.insert(0, release)
        return [frame] if keep else []

    _next(link, wanted, act)


def _data(frame: Frame) -> bool:
    return frame.kind != EVENT


def _event(link: Link, name: str) -> Callable[[Frame], bool]:
    return lambda frame: link.style.event_of(frame) == name


def _book(link: Link, *kinds: int) -> Callable[[Frame], bool]:
    return lambda frame: frame.kind in kinds and link.style.is_book(link, frame)


def _check(link: Link) -> Callable[[Frame], bool]:
    return lambda frame: link.style.is_check(link, frame)


def _break_one_book(link: Link, rng: random.Random) -> None:
    """Falsify the next checksum, or lose a change where there is none, so that the client resyncs a book."""
    _next(link, _check(link), lambda frame: link.style.breaks(frame, rng.randrange(1, 1 << 20)))


def _on_link(harm: Callable[[World, Link, random.Random], float]) -> Fault:
    def fault(world: World, rng: random.Random) -> float:
        link = _some_link(world, rng)
        return 0.0 if link is None else harm(world, link, rng)

    return fault


@_on_link
def drop(world: World, link: Link, rng: random.Random) -> float:
    _next(link, _data, lambda frame: [])
    return 0.0


@_on_link
def drop_many(world: World, link: Link, rng: random.Random) -> float:
    _next(link, _data, lambda frame: [], count=rng.randint(2, 40))
    return 0.0


@_on_link
def drop_check(world: World, link: Link, rng: random.Random) -> float:
    _next(link, _check(link), lambda frame: [])
    return 0.0


@_on_link
def duplicate(world: World, link: Link, rng: random.Random) -> float:
    _next(link, _data, lambda frame: [frame, frame])
    return 0.0


@_on_link
def duplicate_late(world: World, link: Link, rng: random.Random) -> float:
    _hold(link, _data, rng.randint(1, 30), keep=True)
    return 0.0


@_on_link
def reorder(world: World, link: Link, rng: random.Random) -> float:
    _hold(link, _data, rng.randint(1, 5), keep=False)
    return 0.0


@_on_link
def corrupt(world: World, link: Link, rng: random.Random) -> float:
    """One byte of one frame is another one."""

    def act(frame: Frame) -> list[Frame]:
        _taint(link)
        data = bytearray(frame.data)
        data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        return [frame._replace(data=bytes(data))]

    _next(link, _data, act)
    return 0.0


@_on_link
def corrupt_digit(world: World, link: Link, rng: random.Random) -> float:
    """One digit of one book entry is another one: the frame stays readable."""

    def act(frame: Frame) -> list[Frame]:
        link.tainted.add(frame.chan_id)
        at = rng.choice([m.start() for m in _DIGIT.finditer(frame.data, *link.style.entry(frame))])
        data = bytearray(frame.data)
        data[at] = 48 + (data[at] - 48 + rng.randint(1, 9)) % 10
        return [frame._replace(data=bytes(data))]

    _next(link, _book(link, UPDATE), act)
    return 0.0


@_on_link
def corrupt_check(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    return 0.0


@_on_link
def disconnect(world: World, link: Link, rng: random.Random) -> float:
    link.closing_ns = world.now_ns
    return 0.0


@_on_link
def disconnect_in_snapshot(world: World, link: Link, rng: random.Random) -> float:
    """The connection ends, and the next one ends where a snapshot begins: half a frame is no frame."""
    link.closing_ns = world.now_ns

    def next_one(again: Link) -> None:
        def act(frame: Frame) -> list[Frame]:
            again.closing_ns = world.now_ns + S // 50
            again.stalled_until_ns = world.now_ns + 600 * S
            return []

        _next(again, _book(again, SNAPSHOT), act)

    world.on_link.append(next_one)
    return 0.0


@_on_link
def refused_connections(world: World, link: Link, rng: random.Random) -> float:
    seconds = rng.uniform(1, 30)
    link.closing_ns = world.now_ns
    world.refuse_connections_until_ns = world.now_ns + int(seconds * S)
    return seconds


@_on_link
def lost_snapshot(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    _next(link, _book(link, SNAPSHOT), lambda frame: [])
    return 0.0


@_on_link
def lost_subscribed(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    _next(link, _event(link, "subscribed"), lambda frame: [])
    return 0.0


@_on_link
def lost_unsubscribed(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    _next(link, _event(link, "unsubscribed"), lambda frame: [])
    return 0.0


@_on_link
def late_subscribed(world: World, link: Link, rng: random.Random) -> float:
    """The acknowledgement comes behind the snapshot, or a heartbeat or update before it."""
    _break_one_book(link, rng)
    _hold(link, _event(link, "subscribed"), rng.randint(1, 6), keep=False)
    return 0.0


@_on_link
def double_subscribed(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    _hold(link, _event(link, "subscribed"), rng.randint(1, 60), keep=True)
    return 0.0


@_on_link
def double_unsubscribed(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    _hold(link, _event(link, "unsubscribed"), rng.randint(1, 60), keep=True)
    return 0.0


@_on_link
def lost_conf(world: World, link: Link, rng: random.Random) -> float:
    link.closing_ns = world.now_ns
    world.on_link.append(lambda again: _next(again, _event(again, "conf"), lambda frame: []))
    return 0.0


@_on_link
def refused_conf(world: World, link: Link, rng: random.Random) -> float:
    link.closing_ns = world.now_ns
    refusal = b'{"event":"conf","status":"FAILED","flags":0}'

    def next_one(again: Link) -> None:
        _next(again, _event(again, "conf"), lambda frame: [frame._replace(data=refusal)])

    world.on_link.append(next_one)
    return 0.0


@_on_link
def lost_request(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    world.lose_requests += 1
    return 0.0


@_on_link
def refused_subscription(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    link.session.unserved = "subscribe: failed"
    world.later(2.0, lambda: setattr(link.session, "unserved", ""))
    return 2.0


@_on_link
def kicked(world: World, link: Link, rng: random.Random) -> float:
    """The exchange ends a subscription unasked."""
    books = link.session.channel_ids(channel="book")
    if books:
        link.style.kick(link, rng.choice(books))
    return 0.0


@_on_link
def stall(world: World, link: Link, rng: random.Random) -> float:
    """Nothing comes through for a while, then all of it."""
    seconds = rng.choice((0.5, 3.0, 15.0, 30.0))
    link.stalled_until_ns = world.now_ns + int(seconds * S)
    return seconds


@_on_link
def stall_with_heartbeats(world: World, link: Link, rng: random.Random) -> float:
    """Channels say nothing but heartbeats for a while, then catch up."""
    return _mute(world, link, rng, catch_up=True)


@_on_link
def forget(world: World, link: Link, rng: random.Random) -> float:
    """The exchange itself forgets to send what changed in a while."""
    _taint(link)
    return _mute(world, link, rng, catch_up=False)


def _mute(world: World, link: Link, rng: random.Random, catch_up: bool) -> float:
    seconds = rng.uniform(5, 40)
    link.session.mute(None, True)

    def end() -> None:
        if link in world.links.values():
            if not catch_up:
                _taint(link)
            link.session.mute(None, False, catch_up)

    world.later(seconds, end)
    return seconds


def _taint(link: Link) -> None:
    """What is falsified from here on only a checksum can show, where no sequence can."""
    link.tainted.update(link.session.channels)


@_on_link
def dead_channel(world: World, link: Link, rng: random.Random) -> float:
    """The exchange serves one channel no more, without a word; the socket goes on."""
    chan_ids = link.session.channel_ids()
    if not chan_ids:
        return 0.0
    link.session.mute([rng.choice(chan_ids)], True, heartbeats=False)
    world.later(NOTICED_S, lambda: None)  # until then the client cannot know, and its book may be old
    return NOTICED_S


def maintenance(world: World, rng: random.Random) -> float:
    seconds = rng.uniform(5, 100)
    _maintain(world)
    world.later(seconds, lambda: _resume(world, said=True))
    return seconds


def maintenance_without_end(world: World, rng: random.Random) -> float:
    seconds = rng.uniform(5, 100)
    _maintain(world)
    world.later(seconds, lambda: _resume(world, said=False))
    return 150.0  # the client waits for as long as maintenance may take


def _maintain(world: World) -> None:
    for link in world.links.values():
        link.style.maintain(link, on=True, said=True)
    world.exchange.halt(True)


def _resume(world: World, said: bool) -> None:
    world.exchange.maintenance = False
    world.exchange.halt(False)
    for link in world.links.values():
        link.style.maintain(link, on=False, said=said)


@_on_link
def restart(world: World, link: Link, rng: random.Random) -> float:
    link.session.info(RESTART)
    link.closing_ns = world.now_ns + S
    return 1.0


@_on_link
def junk(world: World, link: Link, rng: random.Random) -> float:
    """A frame that is none, between two that are."""
    for _ in range(rng.randint(1, 3)):
        link.wire.append((world.now_ns, Frame(rng.choice(_JUNK + link.style.junk), EVENT, 0, 0, world.now_ns)))
    return 0.0


# What only a venue with fetched snapshots knows


def _rest(kind: str) -> Fault:
    """The next answers to what is fetched are spoiled: refused, failed, old or cut."""

    @_on_link
    def fault(world: World, link: Link, rng: random.Random) -> float:
        _break_one_book(link, rng)
        world.style.spoil(kind, rng.randint(1, 4))
        return 0.0

    return fault


@_on_link
def lost_fetch(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    world.lose_answers += rng.randint(1, 2)
    return 0.0


@_on_link
def late_fetch(world: World, link: Link, rng: random.Random) -> float:
    """Answers take so long that they are asked for again before they come."""
    _break_one_book(link, rng)
    was = world.answers_take_s
    world.answers_take_s = 3.0, 15.0
    world.later(8.0, lambda: setattr(world, "answers_take_s", was))
    return 8.0


@_on_link
def disconnect_while_fetching(world: World, link: Link, rng: random.Random) -> float:
    """The connection ends while a snapshot is on its way: it belongs to a stream that is no more."""
    _break_one_book(link, rng)
    was = world.answers_take_s
    world.answers_take_s = 0.5, 2.0

    def end() -> None:
        world.answers_take_s = was
        link.closing_ns = world.now_ns

    world.later(rng.uniform(0.2, 2.5), end)
    return 2.5


@_on_link
def garbled(world: World, link: Link, rng: random.Random) -> float:
    """One byte of one frame is no character: no JSON any more."""

    def act(frame: Frame) -> list[Frame]:
        at = rng.randrange(len(frame.data))
        return [frame._replace(data=frame.data[:at] + b"\x01" + frame.data[at + 1 :])]

    _next(link, _data, act)
    return 0.0


FAULTS: dict[str, Fault] = {
    "drop": drop,
    "drop_many": drop_many,
    "drop_check": drop_check,
    "duplicate": duplicate,
    "duplicate_late": duplicate_late,
    "reorder": reorder,
    "corrupt": corrupt,
    "corrupt_digit": corrupt_digit,
    "corrupt_check": corrupt_check,
    "disconnect": disconnect,
    "disconnect_in_snapshot": disconnect_in_snapshot,
    "refused_connections": refused_connections,
    "lost_snapshot": lost_snapshot,
    "lost_subscribed": lost_subscribed,
    "lost_unsubscribed": lost_unsubscribed,
    "late_subscribed": late_subscribed,
    "double_subscribed": double_subscribed,
    "double_unsubscribed": double_unsubscribed,
    "lost_conf": lost_conf,
    "refused_conf": refused_conf,
    "lost_request": lost_request,
    "refused_subscription": refused_subscription,
    "kicked": kicked,
    "stall": stall,
    "stall_with_heartbeats": stall_with_heartbeats,
    "forget": forget,
    "dead_channel": dead_channel,
    "maintenance": maintenance,
    "maintenance_without_end": maintenance_without_end,
    "restart": restart,
    "junk": junk,
}

_WITHOUT = {
    "kraken": (
        "drop_check",
        "restart",
        "maintenance_without_end",  # which the shared Subscriptions wait for ten minutes for
    ),
    "binance": (
        "drop_check",
        "corrupt",  # a change that still reads well: nothing on Binance could show it
        "corrupt_digit",
        "corrupt_check",
        "lost_unsubscribed",
        "double_unsubscribed",
        "double_subscribed",
        "lost_snapshot",
        "disconnect_in_snapshot",
        "lost_conf",
        "refused_conf",
        "kicked",
        "maintenance",
        "maintenance_without_end",
        "restart",
    ),
}
_FETCHING: dict[str, Fault] = {
    "rest_429": _rest("rest_429"),
    "rest_418": _rest("rest_418"),
    "rest_5xx": _rest("rest_5xx"),
    "rest_stale": _rest("rest_stale"),
    "rest_garbage": _rest("rest_garbage"),
    "lost_fetch": lost_fetch,
    "late_fetch": late_fetch,
    "disconnect_while_fetching": disconnect_while_fetching,
    "broken_chain": corrupt_check,
}


def faults_of(style: str) -> dict[str, Fault]:
    """The faults that the venue of that name knows."""
    if style == "bitfinex":
        return FAULTS
    family = style.partition("_")[0]
    left = {name: fault for name, fault in FAULTS.items() if name not in _WITHOUT[family]}
    return left | {"garbled": garbled} | (_FETCHING if family == "binance" else {})
