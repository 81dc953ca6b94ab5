"""Memory of the simulated exchange: the dtypes its kernels share, and how a fresh one is laid out."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

ORDERS_MAX = 1024
"""Resting orders a side and instrument; a side that is full takes no more."""
TAPE = 64
"""Trades remembered an instrument, a power of two; a trades snapshot sends the last 30."""
OWNED_MAX = 256
"""Resting orders of people at once."""
CANDLES = 512
"""Minutes remembered an instrument."""
PENDING = 1 << 14
"""`tu` messages waiting at once; more of them are sent early."""
CHANNELS_PER_INSTRUMENT = 512
WINDOW_MAX = 250
LATENT_ROWS = 1 << 14
"""Seconds of the latent drift remembered: four and a half hours."""


def constant(number: int) -> int:
    """An int that numba does not take for a literal: a function is compiled again for each literal it is given."""
    return cast(int, np.int64(number))


BID, ASK = constant(0), constant(1)
ZERO = constant(0)

ORDER = np.dtype([("key", "<i8"), ("amount", "<i8"), ("id", "<i8")])
"""A resting order; `key` is the grid price, negated for bids, so that small keys are best on both sides."""
LEVEL = np.dtype([("key", "<i8"), ("amount", "<i8"), ("count", "<i8")])

MARKET = np.dtype(
    [
        ("fair", "<f8"),  # latent price that informed orders steer to
        ("anchor", "<f8"),  # price it is drawn back to over half a day
        ("drift", "<f8"),  # latent drift, relative per second: the planted signal
        ("drift_sd", "<f8"),  # its stationary standard deviation
        ("sigma", "<f8"),  # noise of the fair price, relative per square root of a second
        ("latent_ns", "<i8"),  # when fair and drift were last advanced
        ("unit", "<i8"),  # median order amount, 1e-8
        ("lot", "<i8"),  # amounts are multiples of it, so that a float holds each sum exactly
        ("least", "<i8"),  # a smaller remainder is filled with the rest
        ("trades", "<i8"),  # trades so far; the last TAPE are on the tape
        ("open_k", "<i8"),
        ("high_k", "<i8"),
        ("low_k", "<i8"),
        ("last_k", "<i8"),
        ("volume", "<f8"),
        ("minutes", "<i8"),  # candles so far
    ]
)
TRADE = np.dtype([("id", "<i8"), ("mts", "<i8"), ("amount", "<i8"), ("k", "<i8")])  # amount > 0: the taker bought
CANDLE = np.dtype(
    [("mts", "<i8"), ("open", "<i8"), ("close", "<i8"), ("high", "<i8"), ("low", "<i8"), ("volume", "<f8")]
)
PENDING_TU = np.dtype(
    [("due_ns", "<i8"), ("instrument", "<i8"), ("id", "<i8"), ("mts", "<i8"), ("amount", "<i8"), ("k", "<i8")]
)

# One integer type throughout, so that each kernel compiles for one signature only.
CHANNEL = np.dtype(
    [
        ("active", "<i8"),
        ("kind", "<i8"),  # BOOK ... CANDLES_KIND
        ("precision", "<i8"),  # 0..4, RAW
        ("slow", "<i8"),  # frequency F1: at most one burst every two seconds
        ("muted", "<i8"),  # 1: nothing but heartbeats is sent; 2: nothing at all
        ("dirty", "<i8"),  # something changed since the last burst
        ("conn", "<i8"),
        ("instrument", "<i8"),
        ("length", "<i8"),
        ("since_check", "<i8"),  # book messages since the last checksum
        ("chan_id", "<i8"),
        ("sent_ns", "<i8"),  # last message of any kind
    ]
)
BOOK, TRADES, TICKER, CANDLE_KIND = 1, 2, 3, 4
RAW = 5

CONNECTION = np.dtype([("flags", "<i8"), ("seq", "<i8"), ("muted", "<u1")])
TIMESTAMP, SEQ_ALL, OB_CHECKSUM = 32768, 65536, 131072

CLOCK = np.dtype(
    [
        ("now_ns", "<i8"),
        ("event_ns", "<i8"),  # the next market event
        ("timer_ns", "<i8"),  # the next whole second
        ("gap_ns", "<f8"),  # mean time between market events over all instruments
        ("order_id", "<i8"),
        ("trade_id", "<i8"),
        ("due_ns", "<i8"),  # of the last `tu` put in line
        ("head", "<i8"),
        ("tail", "<i8"),
        ("events", "<i8"),
        ("seconds", "<i8"),  # rows written to `latent`
        ("check_every", "<i8"),
        ("depth", "<i8"),  # orders a side that the flow keeps up
        ("tau_s", "<f8"),  # time constant of the drift
        ("dust", "<f8"),  # share of orders of less than 100 lots
        ("halted", "<u1"),
        # where the next frame goes
        ("n", "<i8"),
        ("pos", "<i8"),
    ]
)

FRAME = np.dtype([("end", "<i8"), ("ns", "<i8"), ("seq", "<i8"), ("conn", "<i4"), ("row", "<i4"), ("kind", "<i4")])
"""A frame in the arena: where it ends, when it was made, its sequence (0: unnumbered), whose it is, what it is."""
SNAPSHOT, UPDATE, TE, TU, CHECK, HEARTBEAT, EVENT, OTHER = (constant(n) for n in range(1, 9))
KIND_NAMES = {
    SNAPSHOT: "snapshot",
    UPDATE: "update",
    TE: "te",
    TU: "tu",
    CHECK: "cs",
    HEARTBEAT: "hb",
    EVENT: "event",
    OTHER: "other",
}

LATENT = np.dtype([("ns", "<i8"), ("drift", "<f8"), ("fair", "<f8"), ("mid", "<f8")])


class State(NamedTuple):
    """Every array a kernel of the simulator touches."""

    rng: NDArray[np.uint64]  # [1]
    clock: NDArray[np.void]  # [1] CLOCK
    market: NDArray[np.void]  # [instruments] MARKET
    orders: NDArray[np.void]  # [instruments, 2, ORDERS_MAX] ORDER, best first
    n_orders: NDArray[np.int64]  # [instruments, 2]
    levels: NDArray[np.void]  # [instruments, 2, ORDERS_MAX] LEVEL, best first
    n_levels: NDArray[np.int64]  # [instruments, 2]
    tape: NDArray[np.void]  # [instruments, TAPE] TRADE
    makers: NDArray[np.int64]  # [instruments, TAPE] whose order each trade on the tape met
    owned: NDArray[np.int64]  # [OWNED_MAX] orders of people, which the flow neither cancels nor moves; 0: none
    candles: NDArray[np.void]  # [instruments, CANDLES] CANDLE
    pending: NDArray[np.void]  # [PENDING] PENDING_TU
    channels: NDArray[np.void]  # [rows] CHANNEL
    windows: NDArray[np.void]  # [rows, 2, WINDOW_MAX] LEVEL: what the client was last told
    n_windows: NDArray[np.int64]  # [rows, 2]
    by_instrument: NDArray[np.int64]  # [instruments, CHANNELS_PER_INSTRUMENT] channel rows
    n_by_instrument: NDArray[np.int64]  # [instruments]
    connections: NDArray[np.void]  # [slots] CONNECTION
    fresh: NDArray[np.void]  # [2, WINDOW_MAX] LEVEL, scratch
    latent: NDArray[np.void]  # [LATENT_ROWS, instruments] LATENT, a ring
    scratch: NDArray[np.uint8]  # checksum text
    frames: NDArray[np.void]  # [m] FRAME
    data: NDArray[np.uint8]  # [b] frame bytes, end to end


def allocate(instruments: int, rows: int, slots: int, frames: int, data: int) -> State:
    """A zeroed state for that many instruments, channels, connections, frames and bytes."""
    return State(
        rng=np.zeros(1, np.uint64),
        clock=np.zeros(1, CLOCK),
        market=np.zeros(instruments, MARKET),
        orders=np.zeros((instruments, 2, ORDERS_MAX), ORDER),
        n_orders=np.zeros((instruments, 2), np.int64),
        levels=np.zeros((instruments, 2, ORDERS_MAX), LEVEL),
        n_levels=np.zeros((instruments, 2), np.int64),
        tape=np.zeros((instruments, TAPE), TRADE),
        makers=np.zeros((instruments, TAPE), np.int64),
        owned=np.zeros(OWNED_MAX, np.int64),
        candles=np.zeros((instruments, CANDLES), CANDLE),
        pending=np.zeros(PENDING, PENDING_TU),
        channels=np.zeros(rows, CHANNEL),
        windows=np.zeros((rows, 2, WINDOW_MAX), LEVEL),
        n_windows=np.zeros((rows, 2), np.int64),
        by_instrument=np.zeros((instruments, CHANNELS_PER_INSTRUMENT), np.int64),
        n_by_instrument=np.zeros(instruments, np.int64),
        connections=np.zeros(slots, CONNECTION),
        fresh=np.zeros((2, WINDOW_MAX), LEVEL),
        latent=np.zeros((LATENT_ROWS, instruments), LATENT),
        scratch=np.zeros(1 << 16, np.uint8),
        frames=np.zeros(frames, FRAME),
        data=np.zeros(data, np.uint8),
    )


def grown(state: State, rows: int, slots: int) -> State:
    """The same state with room for more channels and connections."""

    def wider(array: NDArray[Any], n: int) -> NDArray[Any]:
        out = np.zeros((n, *array.shape[1:]), array.dtype)
        out[: len(array)] = array
        return out

    return state._replace(
        channels=wider(state.channels, rows),
        windows=wider(state.windows, rows),
        n_windows=wider(state.n_windows, rows),
        connections=wider(state.connections, slots),
    )
