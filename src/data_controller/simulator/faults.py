"""Faults between the exchange and a client: a transform over the frames of one connection, without a socket.

A fault is armed on a `Link` and strikes the frames that fit its filter, after letting `after` of them pass.
What each kind does:

    drop          the frame is lost (its sequence number with it)
    duplicate     the frame is sent twice
    corrupt       one digit of the frame becomes another digit, or one byte another byte (`byte`)
    reorder       the frame is sent behind the next `span` frames
    stall         nothing is sent for `duration_ns`, then everything that waited
    mute          the exchange itself falls silent but for heartbeats for `duration_ns`; numbering goes on. What
                  changed meanwhile is sent at the end, or with `catch_up` False never
    silent        one channel is served no more, without a word and without heartbeats; the connection goes on
    disconnect    the connection ends in place of the frame
    cut           the connection ends in the middle of the frame's bytes
    lost_ack      the next `subscribed`, `unsubscribed` or `conf` is never sent
    late_ack      the next such answer is sent behind the next `span` frames
    slow          the client stops reading: frames wait until `limit_bytes` do, then the exchange hangs up
    maintenance   info 20060, silence but for heartbeats for `duration_ns`, then info 20061; what changed meanwhile is
                  never sent: a client that does not resubscribe holds a stale book
    restart       info 20051; the connection ends `duration_ns` later
    checksum      the next checksum is a wrong number
    wrong_ack     the next acknowledgement speaks of something that nobody asked for
    huge          in place of the frame comes one frame of `limit_bytes`
    endless       a message that goes on in fragments for `limit_bytes`; with `frame` snapshot, a snapshot without end
    bomb          a compressed frame that unfolds to `limit_bytes`

The last three end the connection, if the client has not; without a socket `flood` names them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np

from data_controller.errors import SimulatorError
from data_controller.simulator import state as layout
from data_controller.simulator.exchange import Exchange, Frame
from data_controller.simulator.session import MAINTENANCE, RESTART, RESUMED
from data_controller.simulator.truth import Log

COMMON = (
    "drop",
    "duplicate",
    "corrupt",
    "byte",
    "reorder",
    "stall",
    "mute",
    "silent",
    "disconnect",
    "cut",
    "lost_ack",
    "late_ack",
    "slow",
    "maintenance",
    "restart",
)
FLOODS = ("huge", "endless", "bomb")
KINDS = (*COMMON, "checksum", "wrong_ack", *FLOODS)
_ON_ACKS = ("lost_ack", "late_ack", "wrong_ack")
_CHECKSUMS = (b'"checksum":', b'"cs",')
_TIMED = ("mute", "silent", "maintenance", "restart")  # they act on the session, not on a frame
_KIND_OF = {name: kind for kind, name in layout.KIND_NAMES.items()}
SECOND = 1_000_000_000


@dataclass(slots=True)
class Fault:
    """One fault and the frames it waits for. The defaults strike the next array frame, once."""

    kind: str
    symbol: str | None = None  # only frames of this instrument's channels
    channel: str | None = None  # only frames of book, trades, ticker or candles channels
    frame: str | None = None  # only snapshot, update, te, tu, cs, hb or event frames
    after: int = 0  # let so many fitting frames pass first
    count: int = 1  # strike so many fitting frames
    probability: float = 1.0  # of striking a fitting frame
    span: int = 1
    duration_ns: int = 2 * SECOND
    limit_bytes: int = 1 << 20
    catch_up: bool = True
    seed: int = 1
    until_ns: int = field(default=0, init=False)  # set while a timed fault lasts
    struck: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SimulatorError(f"expected a fault among {', '.join(KINDS)}, was {self.kind!r}")
        if self.frame is not None and self.frame not in _KIND_OF:
            raise SimulatorError(f"expected a frame kind among {', '.join(_KIND_OF)}, was {self.frame!r}")


def fault(**values: Any) -> Fault:
    """A Fault from plain values, as they come over the control port; SimulatorError where one is unknown."""
    known = {f.name for f in fields(Fault) if f.init}
    unknown = sorted(set(values) - known)
    if unknown or "kind" not in values:
        raise SimulatorError(f"expected a kind and any of {', '.join(sorted(known))}, was {unknown or values}")
    return Fault(**values)


class Speaks(Protocol):
    """What the faults need of a session, whatever its protocol."""

    exchange: Exchange
    conn: int
    flags: int
    channels: dict[int, Any]
    unserved: str
    hung_up: str
    acks: tuple[bytes, ...]

    def handle(self, text: str | bytes) -> None:
        """Take one message of the client."""

    def take(self, now_ns: int | None = None) -> list[Frame]:
        """The frames that wait."""

    def close(self) -> None:
        """The connection ended."""

    def info(self, code: int) -> None:
        """Tell the client of a restart or a maintenance."""

    def channel_ids(self, symbol: str | None = None, channel: str | None = None) -> list[int]:
        """Ids of the open channels."""

    def mute(self, chan_ids: list[int] | None, muted: bool, catch_up: bool = True, heartbeats: bool = True) -> None:
        """Silence channels or let them speak again."""

    def stats(self) -> list[dict[str, Any]]:
        """The channels as the control port tells of them."""


class Link:
    """The way from a session to its client, with the faults armed on it.

    `receive` and `poll` mirror the session's, with the faults in between. When `closed` is set, the connection has to
    be ended after sending what they returned; `fragment` is then a part of a frame's bytes to send before it ends.
    """

    def __init__(self, session: Speaks) -> None:
        self.session = session
        self.faults: list[Fault] = []
        self.closed = ""
        self.fragment = b""
        self.flood: tuple[str, int] | None = None  # what comes in place of everything else, and how many bytes of it
        self.struck: dict[str, int] = {}
        self.meant = Log()
        self._held: list[Frame] = []  # frames that a stall or a slow client keeps back
        self._held_bytes = 0
        self._late: list[tuple[int, Frame]] = []  # frames to send after so many others

    def arm(self, *faults: Fault) -> None:
        """Arm faults; each is looked at for every frame, in the order of arming."""
        self.faults.extend(faults)

    def heal(self) -> None:
        """Take back every fault; what is held back goes out at the next flush, silent channels catch up."""
        self.faults.clear()
        self.session.mute(None, False)

    def receive(self, text: str | bytes) -> list[bytes]:
        """Take one message of the client; returns what to send now."""
        self.session.handle(text)
        return [frame.data for frame in self.flush(self.session.exchange.now_ns)]

    def poll(self, now_ns: int) -> list[bytes]:
        """Run the market on to `now_ns`; returns what to send now."""
        self.session.exchange.advance(now_ns)
        return [frame.data for frame in self.flush(now_ns)]

    def flush(self, now_ns: int) -> list[Frame]:
        """What to send now of the frames that wait in the session; nothing once the connection is to end."""
        if self.closed:
            return []
        self._timed(now_ns)
        out: list[Frame] = []
        waiting = self.session.take()
        self.meant.extend(waiting)
        for frame in waiting:
            if not self._pass(frame, now_ns, out):
                break
        if self.session.hung_up and not self.closed:
            self.closed = self.session.hung_up
        return self._hold(out, now_ns)

    def _timed(self, now_ns: int) -> None:
        """Begin and end the faults that act on the session rather than on a frame."""
        for armed in list(self.faults):
            if armed.kind not in _TIMED or armed.after > 0:
                continue
            if armed.kind == "silent":
                self._silence(armed)
                continue
            if armed.until_ns == 0:
                armed.until_ns = now_ns + armed.duration_ns
                self._count(armed)
                self._begin(armed)
            elif now_ns >= armed.until_ns:
                self.faults.remove(armed)
                self._end(armed)

    def _silence(self, armed: Fault) -> None:
        """Let the oldest channel that fits die, once there is one."""
        session = self.session
        chan_ids = session.channel_ids(armed.symbol, armed.channel)
        if chan_ids:
            session.mute(chan_ids[:1], True, heartbeats=False)
            self.faults.remove(armed)
            self._count(armed)

    def _begin(self, armed: Fault) -> None:
        session = self.session
        if armed.kind == "restart":
            session.info(RESTART)
            return
        if armed.kind == "maintenance":
            session.info(MAINTENANCE)
        session.mute(self._chan_ids(armed), True)

    def _end(self, armed: Fault) -> None:
        session = self.session
        if armed.kind == "restart":
            self.closed = "restart"
            return
        catch_up = armed.catch_up and armed.kind != "maintenance"
        session.mute(self._chan_ids(armed), False, catch_up)
        if armed.kind == "maintenance":
            session.info(RESUMED)

    def _chan_ids(self, armed: Fault) -> list[int] | None:
        if armed.symbol is None and armed.channel is None:
            return None
        return self.session.channel_ids(armed.symbol, armed.channel)

    def _pass(self, frame: Frame, now_ns: int, out: list[Frame]) -> bool:
        """Put what becomes of a frame into `out`; False where the connection ends with it."""
        sent = [frame]
        for armed in list(self.faults):
            if not self._fits(armed, frame):
                continue
            if armed.after > 0:
                armed.after -= 1
                continue
            if armed.kind in _TIMED:
                continue
            if armed.probability < 1.0 and _draw(armed) >= armed.probability:
                continue
            self._count(armed)
            sent = self._strike(armed, sent, now_ns)
            armed.struck += 1
            if armed.struck >= armed.count and armed.kind not in ("stall", "slow"):
                self.faults.remove(armed)
            if self.closed or not sent:
                break
        out.extend(sent)
        if sent and self._late:
            self._late = [(left - 1, late) for left, late in self._late]
            out.extend(late for left, late in self._late if left <= 0)
            self._late = [(left, late) for left, late in self._late if left > 0]
        return not self.closed

    def _strike(self, armed: Fault, sent: list[Frame], now_ns: int) -> list[Frame]:
        frame = sent[0]
        match armed.kind:
            case "drop" | "lost_ack":
                return []
            case "duplicate":
                return [*sent, frame]
            case "corrupt" | "byte":
                return [frame._replace(data=corrupted(frame.data, armed)), *sent[1:]]
            case "reorder" | "late_ack":
                self._late.append((armed.span, frame))
                return sent[1:]
            case "disconnect":
                self.closed = "disconnect"
                return []
            case "cut":
                self.closed = "cut"
                self.fragment = frame.data[: max(1, len(frame.data) // 2)]
                return []
            case "checksum":
                return [frame._replace(data=miscounted(frame.data, armed)), *sent[1:]]
            case "wrong_ack":
                return [frame._replace(data=misnamed(frame.data)), *sent[1:]]
            case "huge" | "endless" | "bomb":
                self.closed = "flood"
                self.flood = armed.kind, armed.limit_bytes
                return []
            case _:  # stall, slow
                if armed.until_ns == 0:
                    armed.until_ns = now_ns + armed.duration_ns if armed.kind == "stall" else 1 << 62
                return sent

    def _hold(self, out: list[Frame], now_ns: int) -> list[Frame]:
        holding = [f for f in self.faults if f.kind in ("stall", "slow") and f.until_ns]
        for armed in holding:
            if now_ns >= armed.until_ns:
                self.faults.remove(armed)
        if not any(now_ns < f.until_ns for f in holding):
            out = self._held + out
            self._held, self._held_bytes = [], 0
            return out
        self._held += out
        self._held_bytes += sum(len(frame.data) for frame in out)
        limits = [f.limit_bytes for f in holding if f.kind == "slow"]
        if limits and self._held_bytes > min(limits):
            self.closed = "slow"
        return []

    def _fits(self, armed: Fault, frame: Frame) -> bool:
        if armed.kind in _ON_ACKS:
            return frame.kind == layout.EVENT and frame.data.startswith(self.session.acks)
        if armed.kind == "checksum" and not any(mark in frame.data for mark in _CHECKSUMS):
            return False
        if armed.frame is None:
            if frame.kind == layout.EVENT and armed.kind not in ("disconnect", "stall", "slow"):
                return False
        elif frame.kind != _KIND_OF[armed.frame]:
            return False
        if armed.symbol is None and armed.channel is None:
            return True
        return frame.chan_id in self.session.channel_ids(armed.symbol, armed.channel)

    def _count(self, armed: Fault) -> None:
        self.struck[armed.kind] = self.struck.get(armed.kind, 0) + 1


def corrupted(data: bytes, armed: Fault) -> bytes:
    """The bytes with one digit changed to another digit (`corrupt`) or one byte to another (`byte`).

    A digit is taken from the payload: behind the channel id, before the sequence and the time.
    """
    raw = bytearray(data)
    if armed.kind == "byte":
        at = int(_draw(armed) * len(raw))
        raw[at] ^= 1 + int(_draw(armed) * 255)
        return bytes(raw)
    check = raw.find(b'"cs",')
    stop = raw.find(b",", check + 5) if check > 0 else raw.rfind(b"]", 0, len(raw) - 1)
    if (check > 0 and stop < 0) or raw[:1] == b"{":
        stop = len(raw)
    levels = max(raw.find(b'"b":['), raw.find(b'"bids":['))  # of a book that is an object: what stands in it
    digits = [i for i in range(max(raw.find(b","), levels), stop) if 48 <= raw[i] <= 57]
    if not digits:
        return bytes(raw)
    at = digits[int(_draw(armed) * len(digits))]
    raw[at] = 48 + (raw[at] - 48 + 1 + int(_draw(armed) * 9)) % 10
    return bytes(raw)


def miscounted(data: bytes, armed: Fault) -> bytes:
    """The bytes with another checksum."""
    mark = next(mark for mark in _CHECKSUMS if mark in data)
    at = data.index(mark) + len(mark)
    stop = at
    while stop < len(data) and (48 <= data[stop] <= 57 or data[stop] == 45):
        stop += 1
    wrong = int(data[at:stop]) ^ (1 + int(_draw(armed) * 0xFFFF))
    return data[:at] + str(wrong).encode() + data[stop:]


def misnamed(data: bytes) -> bytes:
    """An acknowledgement that speaks of an instrument, or answers a request, that there never was."""
    message = json.loads(data)
    if isinstance(message.get("result"), dict) and "symbol" in message["result"]:
        message["result"]["symbol"] = "WRONG/USD"
    elif "symbol" in message:
        message |= {"symbol": "tWRONG", "pair": "WRONG"}
    elif isinstance(message.get("id"), int):
        message["id"] += 1_000_000
    return json.dumps(message, separators=(",", ":")).encode()


def _draw(armed: Fault) -> float:
    armed.seed, value = _next(armed.seed)
    return value


def _next(seed: int) -> tuple[int, float]:
    """The next seed and a float in [0, 1) from it (splitmix64)."""
    mask = (1 << 64) - 1
    seed = (seed + 0x9E3779B97F4A7C15) & mask
    z = seed
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return seed, ((z ^ z >> 31) >> 11) / (1 << 53)


def random_faults(seed: int, count: int, frames: int, kinds: tuple[str, ...] = COMMON) -> list[Fault]:
    """`count` faults drawn by `seed`, spread over about `frames` frames of a connection."""
    rng = np.random.Generator(np.random.PCG64(seed))
    faults = []
    for _ in range(count):
        kind = kinds[int(rng.integers(len(kinds)))]
        drawn = Fault(
            kind,
            after=0 if kind in ("lost_ack", "late_ack") else int(rng.integers(frames)),
            count=int(rng.integers(1, 4)),
            span=int(rng.integers(1, 6)),
            duration_ns=int(rng.integers(1, 30)) * SECOND // 2,
            catch_up=bool(rng.integers(2)),
            limit_bytes=int(rng.integers(1, 64)) << 10,
            seed=int(rng.integers(1 << 62)),
        )
        if kind in ("drop", "duplicate", "corrupt", "byte", "reorder") and rng.integers(2):
            drawn.frame = ("snapshot", "update", "te", "tu", "cs")[int(rng.integers(5))]
            drawn.after //= 4
        elif kind in ("disconnect", "cut") and rng.integers(2):
            drawn.frame, drawn.after = "snapshot", int(rng.integers(3))
        faults.append(drawn)
    return faults


def describe(armed: Fault) -> str:
    """A fault as JSON, without what is at its default: the line for a log or a failing test."""
    plain = Fault(armed.kind)
    shown = {f.name: getattr(armed, f.name) for f in fields(Fault) if getattr(armed, f.name) != getattr(plain, f.name)}
    return json.dumps({"kind": armed.kind} | shown)
