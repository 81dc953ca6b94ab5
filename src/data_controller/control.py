"""What the engine and its onlookers say to each other over one Unix socket: the messages, and the asking side.

Both directions are JSON, one message a line. A connection carries one `Request` and is answered by one `Reply`; after
`subscribe_feed` it stays open and carries `Feed`s, one for each empty line the reader sends (the subscription itself
counts as the first). A slow reader therefore gets the newest feed and never a backlog, whatever the kernel buffers.

Floats that are no number (NaN, infinite) travel as null, so every float here that may be unknown is `float | None`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import getpass
import os
import socket
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import msgspec

from data_controller.errors import ControlError

SOCKET_NAME = "engine.sock"
POINTER_NAME = "engine.sock.path"
LOCK_NAME = "engine.lock"
MAX_SOCKET_PATH_BYTES = 103
"""The shortest `sun_path` among our platforms (macOS) less its final zero."""
MAX_REQUEST_BYTES = 1 << 20
MAX_FEED_BYTES = 16 << 20
ALERTS_KEPT = 64
"""How many of its newest alerts an engine repeats in every feed."""

What = Literal["status", "reload", "subscribe", "unsubscribe", "stop", "kill", "resume", "subscribe_feed"]
Mode = Literal["HALTED", "REDUCING", "ACTIVE"]
Phase = Literal["starting", "prehistory", "live", "stopping"]
Severity = Literal["info", "warning", "critical"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked.

    `kill` and `resume` carry `{"reason": ...}` in `body`, `subscribe` and `unsubscribe` `{"exchange": ..,
    "instrument": ...}`.
    """

    what: What
    who: str = ""
    body: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: `body` where `ok`, else `error`."""

    ok: bool
    body: dict[str, Any] = {}
    error: str = ""


class Histogram(msgspec.Struct, frozen=True):
    """Counts between bounds: `counts[i]` values lie in (bounds[i - 1], bounds[i]], the last above all bounds.

    Unit of `bounds` and `sum`: the one the histogram's name ends in (`_seconds`).
    """

    bounds: list[float]  # ascending
    counts: list[int]  # one more than bounds
    sum: float | None
    count: int


class ChannelStat(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic of one kind of stream of one exchange since the engine started."""

    exchange: str
    channel: str  # book, trades, ticker, candles
    frames: int
    events: int
    late_ms: float | None = None  # arrival minus the venue's time, of each instrument's last message: their median


class BookStat(msgspec.Struct, frozen=True, kw_only=True):
    """One book: how far it can be trusted, and its top."""

    exchange: str
    symbol: str
    precision: str = ""
    proof: str = "EMPTY"  # market.layout.Proof
    proof_by: str = "NOTHING"
    usable: bool = False
    age_ms: float | None = None  # since its last change
    bid: float | None = None
    ask: float | None = None
    checks_ok: int = 0
    checks_bad: int = 0
    gaps: int = 0
    resyncs: int = 0


class QueueStat(msgspec.Struct, frozen=True, kw_only=True):
    """One bounded queue."""

    name: str
    depth: int
    peak: int
    capacity: int


class PositionStat(msgspec.Struct, frozen=True, kw_only=True):
    """One open position; `size` is in base units, short below zero, money in quote units."""

    exchange: str
    symbol: str
    size: float | None
    entry: float | None = None
    mark: float | None = None
    unrealised: float | None = None


class KillStat(msgspec.Struct, frozen=True, kw_only=True):
    """The kill switch as the engine sees it; unknown reads as active."""

    active: bool = True
    reason: str = ""
    who: str = ""
    since_ns: int = 0


class AlertEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something a person should hear of; the one alert type of the whole system."""

    id: int  # ascending within its source and run
    t_ns: int
    severity: Severity
    name: str  # stable key: dedupe and the runbook hang on it
    text: str
    state: Literal["firing", "still_firing", "resolved"] = "firing"
    source: str = "engine"
    since_ns: int = 0  # first of its row, 0 where the source does not follow it
    count: int = 1  # times since then


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's state, once a pulse; newest wins. Zero is closed: an empty feed says halted and killed."""

    t_ns: int = 0  # engine time: the simulator's in a demo's pre-history
    run: int = 0
    started_ns: int = 0
    pid: int = 0
    info: dict[str, str] = {}  # version, code, config, bundle: labels of the build
    mode: Mode = "HALTED"
    phase: Phase = "starting"
    counters: dict[str, int] = {}  # monotone within a run
    gauges: dict[str, float | None] = {}
    histograms: dict[str, Histogram] = {}  # monotone within a run
    channels: list[ChannelStat] = []
    books: list[BookStat] = []  # up to half a second old
    queues: list[QueueStat] = []
    components: dict[str, str] = {}  # name -> "ok", "degraded" or "failed", then ": why"
    positions: list[PositionStat] = []
    kill: KillStat = KillStat()
    alerts: list[AlertEvent] = []  # the newest ALERTS_KEPT, ids ascending: readers skip those they know


_encode = msgspec.json.Encoder().encode
_decode_request = msgspec.json.Decoder(Request).decode
_decode_reply = msgspec.json.Decoder(Reply).decode
_decode_feed = msgspec.json.Decoder(Feed).decode


def encode_feed(feed: Feed) -> bytes:
    """`feed` as one line, for `ControlServer.publish`."""
    return _encode(feed) + b"\n"


def encode_reply(reply: Reply) -> bytes:
    """`reply` as one line."""
    return _encode(reply) + b"\n"


def decode_request(line: bytes) -> Request:
    """The request in `line`; ControlError says what is wrong with it."""
    try:
        return _decode_request(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ControlError(f"expected one request as a JSON line, was {line[:80]!r}: {error}") from error


def socket_path(state_dir: Path) -> Path:
    """Where the engine of `state_dir` listens: in it, or where its pointer file says if that path is too long."""
    direct = state_dir.absolute() / SOCKET_NAME
    if len(os.fsencode(direct)) <= MAX_SOCKET_PATH_BYTES:
        return direct
    try:
        pointed = Path((state_dir / POINTER_NAME).read_text(encoding="utf-8").strip())
    except OSError:
        return direct
    _require_private(pointed.parent)
    return pointed


def choose_socket_path(state_dir: Path) -> Path:
    """The path to bind for `state_dir`: in it where that is short enough, else in a private runtime directory."""
    direct = state_dir.absolute() / SOCKET_NAME
    if len(os.fsencode(direct)) <= MAX_SOCKET_PATH_BYTES:
        return direct
    name = sha256(os.fsencode(state_dir.resolve())).hexdigest()[:16] + ".sock"
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if not base:
            continue
        path = Path(base) / f"data-controller-{os.getuid()}" / name
        if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
            continue
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _require_private(path.parent)
        except (OSError, ControlError):
            continue
        return path
    raise ControlError(
        f"expected a private runtime directory for the control socket, as {direct} is longer than"
        f" {MAX_SOCKET_PATH_BYTES} bytes; shorten the state directory or set XDG_RUNTIME_DIR"
    )


def _require_private(directory: Path) -> None:
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ControlError(
            f"expected {directory} to be a directory of user {os.getuid()} with mode 700,"
            f" was mode {stat.S_IMODE(status.st_mode):o} of user {status.st_uid}; remove it"
        )


def engine_pid(state_dir: Path) -> int | None:
    """The process number in the engine's lock file, alive or not; None where there is none."""
    try:
        return int((state_dir / LOCK_NAME).read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return None


class StateLock:
    """One process a state directory: an flock'ed file with the holder's pid, free again however its process ends.

    A forked child shares the lock while it lives; start children by spawn or exec, where the descriptor is closed.
    """

    def __init__(self, state_dir: Path, name: str = LOCK_NAME, holder: str = "engine") -> None:
        self.path = state_dir / name
        self.holder = holder
        self._fd = -1

    def acquire(self) -> StateLock:
        """Self, holding the lock; ControlError names the process that holds it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise ControlError(
                f"another {self.holder} (pid {pid}) holds {self.path}; stop it first, or use another state directory"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd
        return self

    def release(self) -> None:
        """Let the next one in; the file stays, as removing it would let two in."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> StateLock:
        return self if self._fd >= 0 else self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _absent(state_dir: Path, path: Path, error: OSError | ValueError) -> ControlError:
    start = "start it with `data-controller run -c FILE`"
    if isinstance(error, FileNotFoundError):
        return ControlError(f"engine is not running: no socket at {path}; {start}")
    if isinstance(error, ConnectionRefusedError):
        pid = engine_pid(state_dir)
        return ControlError(f"engine is not running: its last one (pid {pid}) left {path} behind; {start}")
    return ControlError(f"engine cannot be reached at {path}: {error}")


def request(
    state_dir: Path, what: What, body: dict[str, Any] | None = None, *, who: str = "", timeout_s: float = 5.0
) -> dict[str, Any]:
    """The engine's answer to one request; ControlError where it is not there, silent, or says no."""
    path = socket_path(state_dir)
    line = _encode(Request(what=what, who=who or default_who("cli"), body=body or {})) + b"\n"
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(os.fspath(path))
            with contextlib.suppress(BrokenPipeError):  # refused before it was asked: the reason waits to be read
                client.sendall(line)
            answer = bytearray()
            while not answer.endswith(b"\n"):
                client.settimeout(max(deadline - time.monotonic(), 0.001))
                piece = client.recv(1 << 16)
                if not piece:
                    raise ControlError(f"the engine closed the connection before it answered `{what}`")
                answer += piece
        except (TimeoutError, BlockingIOError) as error:
            raise _silent(state_dir, what, timeout_s) from error
        except OSError as error:
            raise _absent(state_dir, path, error) from error
    return _unpack(bytes(answer))


async def request_async(
    state_dir: Path, what: What, body: dict[str, Any] | None = None, *, who: str = "", timeout_s: float = 5.0
) -> dict[str, Any]:
    """What `request` gives, without a thread that waits: a caller that is cancelled leaves nothing behind."""
    path = socket_path(state_dir)
    line = _encode(Request(what=what, who=who or default_who("cli"), body=body or {})) + b"\n"
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(os.fspath(path), limit=MAX_FEED_BYTES)
            try:
                with contextlib.suppress(BrokenPipeError):
                    writer.write(line)
                    await writer.drain()
                answer = await reader.readline()
            finally:
                writer.close()
    except TimeoutError as error:
        raise _silent(state_dir, what, timeout_s) from error
    except (OSError, ValueError) as error:
        raise _absent(state_dir, path, error) from error
    if not answer:
        raise ControlError(f"the engine closed the connection before it answered `{what}`")
    return _unpack(answer)


def _silent(state_dir: Path, what: str, timeout_s: float) -> ControlError:
    return ControlError(
        f"the engine (pid {engine_pid(state_dir)}) did not answer `{what}` within {timeout_s:g} s;"
        " if it hangs, the latch file stops it: `data-controller kill --reason ...`"
    )


def _unpack(line: bytes) -> dict[str, Any]:
    try:
        reply = _decode_reply(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ControlError(f"expected a reply as a JSON line, was {line[:80]!r}: {error}") from error
    if not reply.ok:
        raise ControlError(reply.error or "the engine refused without a reason")
    return reply.body


def default_who(through: str) -> str:
    """Who is asking, as `through:user`, for audit lines and the latch."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = str(os.getuid())
    return f"{through}:{user}"


def backoff_s(first_s: float = 0.1, most_s: float = 2.0) -> Iterator[float]:
    """Delays between attempts: doubling from `first_s` to `most_s`, for ever."""
    delay = first_s
    while True:
        yield delay
        delay = min(delay * 2, most_s)


class FeedClient:
    """Follows an engine's feed across its restarts; `latest` is the newest feed, `error` why there is no newer one."""

    def __init__(self, state_dir: Path, who: str = "") -> None:
        self.state_dir = state_dir
        self.who = who or default_who("feed")
        self.latest: Feed | None = None
        self.received_ns: int | None = None  # time.monotonic_ns() of `latest`
        self.connected = False
        self.error = "not connected yet"
        self.connections = 0

    def age_s(self) -> float | None:
        """Seconds since the newest feed arrived, None before the first; the feed's own time plays no part."""
        return None if self.received_ns is None else (time.monotonic_ns() - self.received_ns) / 1e9

    async def feeds(self) -> AsyncIterator[Feed]:
        """Feeds as they come, newest only, for ever; reconnects with backoff."""
        delays = backoff_s()
        while True:
            try:
                async for feed in self._one_connection():
                    delays = backoff_s()
                    yield feed
            except (OSError, ControlError, ValueError) as error:
                self.error = str(error) or type(error).__name__
            finally:
                self.connected = False
            await asyncio.sleep(next(delays))

    async def _one_connection(self) -> AsyncIterator[Feed]:
        path = socket_path(self.state_dir)
        try:
            reader, writer = await asyncio.open_unix_connection(os.fspath(path), limit=MAX_FEED_BYTES)
        except OSError as error:
            raise _absent(self.state_dir, path, error) from error
        try:
            writer.write(_encode(Request(what="subscribe_feed", who=self.who)) + b"\n")
            _unpack(await reader.readline())
            self.connected, self.error = True, ""
            self.connections += 1
            while line := await reader.readline():
                try:
                    feed = _decode_feed(line)
                except msgspec.MsgspecError as error:
                    raise ControlError(f"expected a feed as a JSON line, was {line[:80]!r}: {error}") from error
                self.latest, self.received_ns = feed, time.monotonic_ns()
                yield feed
                writer.write(b"\n")  # ready for the next: what came meanwhile is dropped over there
            raise ControlError("the engine closed the feed")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
