"""Kinds and columns of a record: everything the pipeline cannot compute itself, in the order it was taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 1
SEQ_COUNT_BITS = 40
"""`seq` = engine start's number in the high 23 bits, count within that start in the low 40."""


class Kind(IntEnum):
    """What a record holds; the payload's shape is in parentheses."""

    START = 1  # an engine start (Start, JSON)
    OPENED = 2  # a connection is open (its address, UTF-8)
    CLOSED = 3  # a connection ended (the reason, UTF-8)
    FRAME = 4  # exact bytes received
    FETCHED = 5  # a REST answer (Fetched, JSON)
    PULSE = 6  # every 100 ms (Pulse, JSON; empty where nothing was measured)
    ANSWER = 7  # a prediction's answer (Answer, MessagePack)
    REPORT = 8  # a Freqtrade reply or message, exact bytes
    COMMAND = 9  # who wants what (Command, JSON)
    SENT = 10  # exact bytes sent: proof, not input


NO_CONNECTION = -1
ENGINE_STOPS = "the engine stops"
CAPTURE_ENDS = "the capture ends"
"""Reasons of CLOSED records behind which nothing more was wanted: the books before them were not lost."""


@dataclass(slots=True)
class Batch:
    """Records side by side: the columns that the loop fills, the journal writes and replay reads.

    Record `i` has sequence `first_seq + i` and payload `data[offsets[i]:offsets[i + 1]]`. Times do not decrease.
    All arrays are C-contiguous and writable, so that compiled code sees one type live and in replay. `times`, `kinds`
    and `conns` view the first three columns for Python: an item of a memoryview is an int at a third of the price.
    """

    first_seq: int
    recv_ns: NDArray[np.int64]  # [n] engine time of arrival, Unix ns
    kind: NDArray[np.uint8]  # [n] Kind
    conn: NDArray[np.int32]  # [n] connection slot, NO_CONNECTION where none
    offsets: NDArray[np.int32]  # [n + 1]
    data: NDArray[np.uint8]  # payload bytes, end to end
    times: memoryview[int] = field(init=False, repr=False)
    kinds: memoryview[int] = field(init=False, repr=False)
    conns: memoryview[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.times, self.kinds, self.conns = self.recv_ns.data, self.kind.data, self.conn.data

    def payload(self, i: int) -> bytes:
        """A copy of record `i`'s payload."""
        return self.data[self.offsets[i] : self.offsets[i + 1]].tobytes()


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """First record of every engine start: what the run depends on besides the records after it."""

    schema: int = SCHEMA_VERSION
    run: int  # number of this start in its state directory: the high bits of seq
    code: str  # package version and hash of its sources
    lock: str  # hash of the versions installed, empty where nobody said
    platform: str
    config: dict[str, Any]  # the whole tree, secrets masked
    instruments: list[dict[str, Any]]  # market.tables.Instrument, in row order
    channels: list[dict[str, Any]]  # market.tables.Channel, in row order
    restored: dict[str, Any]  # positions, risk, latch, open commands as loaded from disk
    made_up_times: bool = False  # True where an import invented the receive times


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A REST answer: what was asked (the address), how it ended, exact body. Its record has the slot that asked."""

    request: str
    status: int  # HTTP status; 0: no answer came, and the body says why
    body: bytes
    asked_ns: int = 0  # engine time when it was asked for; 0 unknown, as in a capture


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """Heartbeat of the engine's clock; vitals ride on it once a second and are None otherwise."""

    clock_offset_ns: int = 0  # wall clock minus engine clock when last compared
    loop_lag_ns: int | None = None  # worst lateness of the loop since the last vitals
    rss_bytes: int | None = None
    disk_free_bytes: int | None = None
    fsync_ns: int | None = None  # slowest fsync since the last vitals
    journal_ok: bool = True  # False: recording has stopped; no new risk


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A predictor's answer for one tick, for every instrument at once."""

    tick_ns: int  # the grid tick it answers
    bundle: str  # hash of the bundle that answered
    tier: str  # which rung answered
    failed: dict[str, str]  # rung -> why it did not
    shape: tuple[int, int, int]  # instruments, horizons, outputs
    outputs: bytes  # float32, little-endian, C order
    valid: bytes  # uint8 per instrument: 0 where the inputs did not suffice


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What a person or a program asked of the engine."""

    who: str
    what: str  # kill, resume, reload, subscribe, unsubscribe, activate, stop
    reason: str = ""
    body: dict[str, Any] = {}


def sequence(run: int, count: int) -> int:
    """The number of record `count` of engine start `run`."""
    if not 0 <= run < 1 << 23:
        raise ValueError(f"expected a run number of 23 bits, was {run}")
    return run << SEQ_COUNT_BITS | count
