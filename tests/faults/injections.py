"""What can go wrong between exchange and client, as named faults that act on a `World`."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from data_controller.simulator.exchange import Frame
from data_controller.simulator.session import MAINTENANCE, RESTART, RESUMED
from data_controller.simulator.state import CHECK, EVENT, SNAPSHOT, UPDATE

from .world import Link, S, World, event_of

Fault = Callable[[World, random.Random], float]
"""Does its harm; returns the seconds after which the world is as it was, but for what the client lost."""

NOTICED_S = 42.0
"""After so long without a heartbeat a channel counts as dead (`channel_silent_after_s`, and an answer's way)."""

_DIGIT = re.compile(rb"[0-9]")
_JUNK = (
    b"",
    b"{",
    b"[",
    b"null",
    b"[]",
    b"[1]",
    b"hello",
    b"\x00\xff\xfe" * 40,
    b'{"event":1}',
    b'{"event":"subscribed"}',
    b'{"event":"subscribed","channel":"book","chanId":"x","symbol":"tBTCUSD"}',
    b'{"event":"info","code":"x"}',
    b'{"event":"error","code":10000,"msg":"what"}',
    b'{"event":"error","code":10305,"msg":"limit"}',
    b'{"event":"pong","ts":1}',
    b"[9999999,[1,1,1],1,1700000000000]",
    b'[9999999,"hb"]',
    b"[" * 4000,
    b"[1,[NaN,1,1],7,1700000000000]",
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


def _numbered(frame: Frame) -> bool:
    return frame.seq > 0


def _event(name: str) -> Callable[[Frame], bool]:
    return lambda frame: event_of(frame) == name


def _kind(*kinds: int) -> Callable[[Frame], bool]:
    return lambda frame: frame.kind in kinds


def _break_one_book(link: Link, rng: random.Random) -> None:
    """Falsify the next checksum, so that the client resyncs a book."""

    def act(frame: Frame) -> list[Frame]:
        chan, tail = frame.data.split(b',"cs",', 1)
        value, rest = tail.split(b",", 1)
        return [frame._replace(data=chan + b',"cs",%d,' % (int(value) ^ rng.randrange(1, 1 << 20)) + rest)]

    _next(link, _kind(CHECK), act)


def _on_link(harm: Callable[[World, Link, random.Random], float]) -> Fault:
    def fault(world: World, rng: random.Random) -> float:
        link = _some_link(world, rng)
        return 0.0 if link is None else harm(world, link, rng)

    return fault


@_on_link
def drop(world: World, link: Link, rng: random.Random) -> float:
    _next(link, _numbered, lambda frame: [])
    return 0.0


@_on_link
def drop_many(world: World, link: Link, rng: random.Random) -> float:
    _next(link, _numbered, lambda frame: [], count=rng.randint(2, 40))
    return 0.0


@_on_link
def drop_check(world: World, link: Link, rng: random.Random) -> float:
    _next(link, _kind(CHECK), lambda frame: [])
    return 0.0


@_on_link
def duplicate(world: World, link: Link, rng: random.Random) -> float:
    _next(link, _numbered, lambda frame: [frame, frame])
    return 0.0


@_on_link
def duplicate_late(world: World, link: Link, rng: random.Random) -> float:
    _hold(link, _numbered, rng.randint(1, 30), keep=True)
    return 0.0


@_on_link
def reorder(world: World, link: Link, rng: random.Random) -> float:
    _hold(link, _numbered, rng.randint(1, 5), keep=False)
    return 0.0


@_on_link
def corrupt(world: World, link: Link, rng: random.Random) -> float:
    """One byte of one frame is another one."""

    def act(frame: Frame) -> list[Frame]:
        link.tainted.update(link.session.channels)
        data = bytearray(frame.data)
        data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        return [frame._replace(data=bytes(data))]

    _next(link, _numbered, act)
    return 0.0


@_on_link
def corrupt_digit(world: World, link: Link, rng: random.Random) -> float:
    """One digit of one book entry is another one: the frame stays readable."""

    def act(frame: Frame) -> list[Frame]:
        link.tainted.add(frame.chan_id)
        start, stop = frame.data.index(b",["), frame.data.index(b"]")
        at = rng.choice([m.start() for m in _DIGIT.finditer(frame.data, start, stop)])
        data = bytearray(frame.data)
        data[at] = 48 + (data[at] - 48 + rng.randint(1, 9)) % 10
        return [frame._replace(data=bytes(data))]

    _next(link, _kind(UPDATE), act)
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

        _next(again, _kind(SNAPSHOT), act)

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
    _next(link, _kind(SNAPSHOT), lambda frame: [])
    return 0.0


@_on_link
def lost_subscribed(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    _next(link, _event("subscribed"), lambda frame: [])
    return 0.0


@_on_link
def lost_unsubscribed(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    _next(link, _event("unsubscribed"), lambda frame: [])
    return 0.0


@_on_link
def late_subscribed(world: World, link: Link, rng: random.Random) -> float:
    """The acknowledgement comes behind the snapshot, or a heartbeat or update before it."""
    _break_one_book(link, rng)
    _hold(link, _event("subscribed"), rng.randint(1, 6), keep=False)
    return 0.0


@_on_link
def double_subscribed(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    _hold(link, _event("subscribed"), rng.randint(1, 60), keep=True)
    return 0.0


@_on_link
def double_unsubscribed(world: World, link: Link, rng: random.Random) -> float:
    _break_one_book(link, rng)
    _hold(link, _event("unsubscribed"), rng.randint(1, 60), keep=True)
    return 0.0


@_on_link
def lost_conf(world: World, link: Link, rng: random.Random) -> float:
    link.closing_ns = world.now_ns
    world.on_link.append(lambda again: _next(again, _event("conf"), lambda frame: []))
    return 0.0


@_on_link
def refused_conf(world: World, link: Link, rng: random.Random) -> float:
    link.closing_ns = world.now_ns
    refusal = b'{"event":"conf","status":"FAILED","flags":0}'

    def next_one(again: Link) -> None:
        _next(again, _event("conf"), lambda frame: [frame._replace(data=refusal)])

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
        link.session.handle(b'{"event":"unsubscribe","chanId":%d}' % rng.choice(books))
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
    link.tainted.update(link.session.channels)
    return _mute(world, link, rng, catch_up=False)


def _mute(world: World, link: Link, rng: random.Random, catch_up: bool) -> float:
    seconds = rng.uniform(5, 40)
    conn = link.session.conn
    world.exchange.mute(conn, None, True)

    def end() -> None:
        if link in world.links.values():
            link.tainted.update(() if catch_up else link.session.channels)
            world.exchange.mute(conn, None, False, catch_up)

    world.later(seconds, end)
    return seconds


@_on_link
def dead_channel(world: World, link: Link, rng: random.Random) -> float:
    """The exchange serves one channel no more, without a word; the socket goes on."""
    chan_ids = link.session.channel_ids()
    if not chan_ids:
        return 0.0
    world.exchange.mute(link.session.conn, [rng.choice(chan_ids)], True, heartbeats=False)
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
    world.exchange.maintenance = True
    world.exchange.halt(True)
    for link in world.links.values():
        link.session.info(MAINTENANCE)


def _resume(world: World, said: bool) -> None:
    world.exchange.maintenance = False
    world.exchange.halt(False)
    for link in world.links.values():
        if said:
            link.session.info(RESUMED)


@_on_link
def restart(world: World, link: Link, rng: random.Random) -> float:
    link.session.info(RESTART)
    link.closing_ns = world.now_ns + S
    return 1.0


@_on_link
def junk(world: World, link: Link, rng: random.Random) -> float:
    """A frame that is none, between two that are."""
    for _ in range(rng.randint(1, 3)):
        link.wire.append((world.now_ns, Frame(rng.choice(_JUNK), EVENT, 0, 0, world.now_ns)))
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
