"""The compiled loop's two ends, for every venue's `scan`: what to do before a frame is read, and how it went."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.exchanges.streaming.rows import ABSURD, NO_ROOM, REFUSED, UNUSUAL
from data_controller.exchanges.streaming.state import HELD
from data_controller.kernels import kernel

DONE = 0
"""All frames asked for are consumed."""
FOREIGN = 1
"""The record is no FRAME, or its connection is not open here."""
FULL = 2
"""The buffer has no room for the frame."""
BAD_REFUSED = 3
BAD_ABSURD = 4
BAD_JSON = 5
BAD_ROWS = 6
BAD_TOKENS = 7
"""More tokens than the tape holds: a longer one is tried."""
PYTHON = 8
"""Well-formed, and a matter for Python."""
HOLD = 9
"""A change that waits for its book's snapshot."""

RESERVE = 4200
"""Free rows a frame needs at least: a GAP for every live stream, and controls."""

_FRAME = 4  # records.Kind.FRAME, which this room may not import
_STATUS = {REFUSED: BAD_REFUSED, ABSURD: BAD_ABSURD, UNUSUAL: PYTHON, HELD: HOLD}
_STATUS_OF = np.array([0] + [_STATUS.get(-k, 0) for k in range(1, 6)])


@kernel
def enter(i: Any, kinds: Any, conn: Any, conns: Any, rows: Any, stop: Any, recv_ns: Any, last_recv_ns: Any) -> Any:
    """0 where record `i` is a frame to be read now, else FOREIGN or FULL."""
    c = np.int64(conn[i])
    if kinds[i] != _FRAME or c < 0 or c >= len(conns) or conns[c].open == 0:
        return FOREIGN
    if len(rows) - stop < RESERVE:
        return FULL
    if c < len(last_recv_ns):
        last_recv_ns[c] = recv_ns[i]
    return 0


@kernel
def leave(i: Any, stop: Any, r: Any) -> Any:
    """The result of a scan that ends at record `i`, whose reader returned `r` below 0."""
    if r == NO_ROOM:
        return pack(i, stop, BAD_ROWS if stop == 0 else FULL)
    return pack(i, stop, _STATUS_OF[-r])


@kernel
def pack(i: Any, stop: Any, status: Any) -> Any:
    """The record that `status` is about, the row behind the last one, and the status, as one number."""
    return (np.int64(i) << 40) | (np.int64(stop) << 8) | np.int64(status)
