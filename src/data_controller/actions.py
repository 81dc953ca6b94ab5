"""Actions: what the pipeline wants done, as frozen values; the engine's `perform` is one match over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Open:
    """Open a connection in slot `conn`; the shell tries until it is open, with back-off and the venue's rate limit."""

    conn: int
    venue: str
    url: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send exact bytes on connection `conn`."""

    conn: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Drop connection `conn`; its next Open takes effect not before `not_before_ns` (engine time, 0 at once).

    The shell opens nothing by itself: it pushes CLOSED, and the venue's Subscriptions answer that with Open.
    """

    conn: int
    reason: str
    not_before_ns: int = 0


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask a venue's public REST interface for `url`; what comes back is a FETCHED record of slot `conn`.

    Its `request` is `url`; where no answer came for good its status is 0 and its body says why. The shell adds the
    venue's limit, Retry-After and retries. Not before `not_before_ns` (engine time, 0 at once).
    """

    conn: int
    venue: str
    url: str
    not_before_ns: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Predict:
    """Ask the ladder about tick `tick_ns`.

    `features` is float32 [instruments, window, features], raw; `valid` has the same shape, uint8.
    """

    tick_ns: int
    features: NDArray[np.float32]
    valid: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Submit:
    """An order command; it leaves only after the journal is durable up to `seq`."""

    seq: int  # last record its decision used
    command_id: str
    instrument: int
    side: int  # +1 buy, -1 sell
    size: float  # base units
    reason: str  # entry, stop, take_profit, time_out, exit


@dataclass(frozen=True, slots=True)
class Latch:
    """Set the kill switch's latch file. The gate is already closed."""

    reason: str
    who: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Rows for an append-only table."""

    table: str
    rows: Any  # a structured array or a list of dicts with the table's columns


@dataclass(frozen=True, slots=True)
class Alert:
    """Something a person should hear of."""

    severity: str  # info, warning, critical
    name: str  # stable key: dedupe and runbook hang on it
    text: str


Action = Open | Send | Reconnect | Fetch | Predict | Submit | Latch | Tell | Alert
