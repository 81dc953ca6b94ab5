"""Load: a whole run's frames made beforehand, cut into websocket streams, sent on time and stamped before each send."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_controller.kernels import kernel
from data_controller.simulator.exchange import Exchange

_PIECE = 1 << 18  # bytes handed to one send call at most
MAX_RATE = 0.0
"""The rate that means: as fast as the sockets take it."""


@kernel
def wrap(data: Any, starts: Any, stops: Any, out: Any, ends: Any) -> int:
    """Copy payloads into `out` as unmasked websocket text frames; `ends[i]` is where frame `i` ends."""
    pos = 0
    for i in range(len(starts)):
        n = stops[i] - starts[i]
        out[pos] = 0x81
        if n < 126:
            out[pos + 1] = n
            pos += 2
        elif n < 65536:
            out[pos + 1] = 126
            out[pos + 2] = n >> 8
            out[pos + 3] = n & 255
            pos += 4
        else:
            out[pos + 1] = 127
            for j in range(8):
                out[pos + 2 + j] = (n >> (56 - 8 * j)) & 255
            pos += 10
        out[pos : pos + n] = data[starts[i] : stops[i]]
        pos += n
        ends[i] = pos
    return pos


def text_frame(payload: bytes) -> bytes:
    """A payload as one unmasked websocket text frame."""
    n = len(payload)
    if n < 126:
        return bytes((0x81, n)) + payload
    if n < 65536:
        return b"\x81\x7e" + n.to_bytes(2, "big") + payload
    return b"\x81\x7f" + n.to_bytes(8, "big") + payload


class Prepared(NamedTuple):
    """One connection's frames of a run, as the bytes that go into its socket."""

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]  # [n] end of frame i
    due_ns: NDArray[np.int64]  # [n] after the start of the run
    seq: NDArray[np.int64]  # [n]


def prepare(exchange: Exchange, duration_s: float, rate: float) -> dict[int, Prepared]:
    """Run the market ahead and return each connection's frames of a run.

    They are spread so that `rate` frames a second are due over `duration_s`, on average. With `MAX_RATE` the market
    runs for `duration_s` and everything is due at once.
    """
    start_ns = exchange.now_ns
    tables: list[NDArray[np.void]] = []
    texts: list[NDArray[np.uint8]] = []
    frames = size = 0
    while frames < rate * duration_s if rate > 0 else not tables:
        part, text = exchange.advance_raw(exchange.now_ns + int(duration_s * (5e7 if rate > 0 else 1e9)))
        part["end"] += size
        frames += len(part)
        size += len(text)
        tables.append(part)
        texts.append(text)
    table, data = np.concatenate(tables), np.concatenate(texts)
    starts = np.zeros(len(table), np.int64)
    starts[1:] = table["end"][:-1]
    due = table["ns"] - start_ns
    if rate > 0 and len(table):
        due = (due * (len(table) / rate * 1e9 / (exchange.now_ns - start_ns))).astype(np.int64)
    else:
        due = np.zeros(len(table), np.int64)
    streams: dict[int, Prepared] = {}
    for conn in exchange.connections():
        mine = np.flatnonzero(table["conn"] == conn)
        if not len(mine):  # of another venue, or without channels
            continue
        lengths = table["end"][mine] - starts[mine]
        out = np.empty(int(lengths.sum()) + 10 * len(mine), np.uint8)
        ends = np.empty(len(mine), np.int64)
        filled = wrap(data, starts[mine], table["end"][mine], out, ends)
        streams[conn] = Prepared(out[:filled], ends, due[mine], table["seq"][mine].copy())
    return streams


class Stream:
    """Sends one connection's prepared frames on its socket; texts put into `inject` go out between two frames."""

    def __init__(self, prepared: Prepared, sock: socket.socket) -> None:
        self.prepared = prepared
        self.sock = sock
        self.inject: deque[bytes] = deque()
        self.stamps = np.zeros(len(prepared.ends), np.int64)  # monotonic ns just before the send call, 0 not sent
        self.blocked = 0  # sends that the socket did not take whole
        self.broken = ""
        self._view = memoryview(prepared.data)  # type: ignore[arg-type]
        self._next = 0  # frame
        self._sent = 0  # byte
        self._promised = 0  # byte up to which frames are due

    @property
    def done(self) -> bool:
        """True when every frame is in the socket, or none can be any more."""
        return bool(self.broken) or self._sent == len(self.prepared.data)

    def next_due_ns(self) -> int:
        """When the next frame is due, after the start; far away where none is left."""
        due = self.prepared.due_ns
        return int(due[self._next]) if self._next < len(due) else 1 << 62

    def send(self, elapsed_ns: int) -> bool:
        """Send what is due; False where nothing was. Stamps cover all frames that this call puts in line."""
        due = self.prepared.due_ns
        upto = self._next
        if upto < len(due) and due[upto] <= elapsed_ns:
            upto = int(np.searchsorted(due, elapsed_ns, "right"))
        whole = self._sent == self._promised
        if whole and self.inject:
            self._write(self.inject.popleft())
        if upto == self._next and whole:
            return False
        try:
            if upto > self._next:
                # At most one piece at a time, so that a stamp is never older than its own send call.
                limit = self._promised + _PIECE
                upto = min(upto, max(self._next + 1, int(np.searchsorted(self.prepared.ends, limit, "right"))))
                self._promised = int(self.prepared.ends[upto - 1])
                self.stamps[self._next : upto] = time.monotonic_ns()
                self._next = upto
            self._sent += self.sock.send(self._view[self._sent : self._promised])
            self.blocked += self._sent < self._promised
        except BlockingIOError:
            self.blocked += 1
        except OSError as error:
            self.broken = str(error)
        return True

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[self.sock.send(data) :]
        except BlockingIOError:
            self.inject.appendleft(data)
        except OSError as error:
            self.broken = str(error)


class Sender(threading.Thread):
    """Sends all streams in time order from a thread of its own, waking at most every `coalesce_us`."""

    def __init__(self, streams: list[Stream], coalesce_us: float) -> None:
        super().__init__(name="load sender", daemon=True)
        self.streams = streams
        self.pause_s = coalesce_us * 1e-6
        self.started_ns = 0
        self.ended_ns = 0
        self.stopping = False

    def run(self) -> None:
        """Send until every stream is done or `stopping` is set.

        A real exchange has cores of its own: where the system lets it, this thread goes before whatever the client's
        other threads do on the cores that it shares with them.
        """
        with contextlib.suppress(OSError, AttributeError):  # no right to, or another system
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        self.started_ns = time.monotonic_ns()
        while not self.stopping and not all(stream.done for stream in self.streams):
            elapsed = time.monotonic_ns() - self.started_ns
            busy = False
            for stream in self.streams:
                busy |= stream.send(elapsed)
            soonest = min(stream.next_due_ns() for stream in self.streams)
            wait_s = (soonest + self.started_ns - time.monotonic_ns()) * 1e-9
            if not busy or wait_s > 0 or self.pause_s > 0:
                time.sleep(min(max(wait_s, self.pause_s, 20e-6), 0.01))
        self.ended_ns = time.monotonic_ns()

    def report(self) -> dict[str, Any]:
        """What was achieved: frames, rate, lateness of sends against the schedule, sends that blocked."""
        late = [s.stamps[s.stamps > 0] - self.started_ns - s.prepared.due_ns[s.stamps > 0] for s in self.streams]
        lateness = np.concatenate(late) if late else np.zeros(0, np.int64)
        frames = len(lateness)
        seconds = (self.ended_ns - self.started_ns) * 1e-9
        quantiles = np.quantile(lateness, [0.5, 0.99, 0.999, 1.0]) / 1e3 if frames else np.zeros(4)
        names = ("p50", "p99", "p999", "max")
        return {
            "frames": frames,
            "bytes": sum(len(s.prepared.data) for s in self.streams),
            "seconds": round(seconds, 6),
            "achieved_rate": round(frames / seconds, 1) if seconds > 0 else 0.0,
            "lateness_us": {name: round(float(q), 1) for name, q in zip(names, quantiles, strict=True)},
            "blocked_sends": sum(s.blocked for s in self.streams),
            "broken": [s.broken for s in self.streams if s.broken],
        }
