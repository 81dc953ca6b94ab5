"""What features cost: nanoseconds an event, microseconds an instrument a tick, bytes an instrument.

Books of 25 levels a side, every message changes one level (half of them among the first five), so that what is timed
is what a live P0 channel brings. The tick is timed over 100 instruments with full windows, at a whole minute (minutes
are summed there) and at any other second. Run: python -m benchmarks features
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.features.accumulate import on_book, on_trade
from data_controller.features.closing import end_second, store
from data_controller.features.compute import compute_all
from data_controller.features.layout import MINUTE_S, SECOND_NS
from data_controller.features.observe import observe_all
from data_controller.features.parameters import load_parameters
from data_controller.features.settings import FeatureSettings
from data_controller.features.state import FeatureState
from data_controller.kernels import kernel
from data_controller.market.layout import BOOK, LEVEL
from data_controller.market.rows import EVENT

INSTRUMENTS = 100
DEPTH = 25
EVENTS = 200_000
TIMED = 2_000
SLICE = 4
START_S = 1_700_000_010


@kernel
def change(books: NDArray[np.void], levels: NDArray[np.void], i: int, k: int, size: float) -> None:
    """One message: level `k` (bids, then asks) of book `i` holds `size`."""
    first = books[i].bid0 if k < DEPTH else books[i].ask0 - DEPTH
    levels[first + k].size = size


@kernel
def drive(
    acc: NDArray[np.void],
    books: NDArray[np.void],
    levels: NDArray[np.void],
    places: NDArray[np.int64],
    sizes: NDArray[np.float64],
    begin_ns: int,
    step_ns: int,
    params: NDArray[np.void],
    count: bool,
) -> None:
    """Messages over all instruments in turn; `count` says whether the feature engine sees them."""
    for n in range(places.shape[0]):
        i = n % acc.shape[0]
        change(books, levels, i, places[n], sizes[n])
        if count:
            on_book(acc, i, books, i, levels, begin_ns + n * step_ns, params)


@kernel
def drive_trades(acc: NDArray[np.void], rows: NDArray[np.void]) -> None:
    """Every row to its instrument."""
    for r in range(rows.shape[0]):
        on_trade(acc, r % acc.shape[0], rows, r)


def market() -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Books and levels of INSTRUMENTS books, each side DEPTH levels."""
    books = np.zeros(INSTRUMENTS, BOOK)
    levels = np.zeros(INSTRUMENTS * 2 * DEPTH, LEVEL)
    rank = np.arange(DEPTH)
    for i in range(INSTRUMENTS):
        bid0, ask0 = 2 * i * DEPTH, (2 * i + 1) * DEPTH
        book = books[i]
        book["depth"], book["usable"], book["n_bid"], book["n_ask"] = 2, 1, DEPTH, DEPTH
        book["bid0"], book["ask0"], book["snapshot_ns"], book["updated_ns"] = bid0, ask0, 1, START_S * SECOND_NS
        levels["price"][bid0 : bid0 + DEPTH] = 100.0 - 0.01 * rank
        levels["price"][ask0 : ask0 + DEPTH] = 100.01 + 0.01 * rank
    levels["size"] = 1.0
    return books, levels


def nanoseconds(call: Callable[[slice], Any]) -> float:
    """Median time an event of `call`, over TIMED new events a call: short, so that few are preempted."""
    call(slice(0, TIMED))
    took = []
    for begin in range(0, EVENTS, TIMED):
        start = time.perf_counter_ns()
        call(slice(begin, begin + TIMED))
        took.append(time.perf_counter_ns() - start)
    return median(took) / TIMED


def measure() -> dict[str, Any]:
    """ns a book event and a trade, us an instrument a tick (median slice of four), us to close, bytes; all warm."""
    rng = np.random.default_rng(1)
    state = FeatureState(INSTRUMENTS, FeatureSettings(), load_parameters())
    state.lead(0)
    books, levels = market()
    primary = np.arange(INSTRUMENTS, dtype=np.int32)
    near = rng.integers(0, 5, EVENTS) + DEPTH * rng.integers(0, 2, EVENTS)
    places = np.where(rng.uniform(size=EVENTS) < 0.5, near, rng.integers(0, 2 * DEPTH, EVENTS))
    sizes = rng.integers(1, 800, EVENTS) / 8
    rows = np.zeros(EVENTS, EVENT)
    rows["recv_ns"], rows["side"] = START_S * SECOND_NS, rng.choice([-1, 1], EVENTS)
    rows["price"], rows["price_scale"] = rng.integers(9_990, 10_010, EVENTS), 2
    rows["size"], rows["size_scale"] = rng.integers(1, 10_000, EVENTS), 3

    per_second = 10 * INSTRUMENTS
    closing = []
    for k in range(3700):
        second = START_S + k
        part = slice(k * per_second % (EVENTS - per_second), None)
        begin_ns, step_ns = second * SECOND_NS + 1, SECOND_NS // per_second
        messages = places[part][:per_second], sizes[part][:per_second]
        drive(state.acc, books, levels, *messages, begin_ns, step_ns, state.params, True)
        rows["recv_ns"][:INSTRUMENTS] = second * SECOND_NS + 1
        drive_trades(state.acc, rows[:INSTRUMENTS])
        levels["price"] *= 1.0 + 1e-5 * rng.normal()
        start = time.perf_counter_ns()
        close(state, books, levels, primary, second)
        closing.append(time.perf_counter_ns() - start)
        if second >= START_S + 3600:
            tick(state, books, levels, primary, second)
    slices = [tick(state, books, levels, primary, second) for _ in range(20)]

    minute = []
    for k in range(1, 4 * MINUTE_S):
        close(state, books, levels, primary, second + k)
        took = tick(state, books, levels, primary, second + k)
        if (second + k) % MINUTE_S == MINUTE_S - 1:
            minute.append(took)

    def messages(part: slice, count: bool) -> None:
        begin_ns = (second + 300) * SECOND_NS
        drive(state.acc, books, levels, places[part], sizes[part], begin_ns, 1, state.params, count)

    return {
        "ns_per_book_event": nanoseconds(lambda part: messages(part, True))
        - nanoseconds(lambda part: messages(part, False)),
        "ns_per_trade": nanoseconds(lambda part: drive_trades(state.acc, rows[part])),
        "us_per_instrument_tick": median(took for s in slices for took in s) / SLICE,
        "us_per_instrument_tick_at_minute": median(took for s in minute for took in s) / SLICE,
        "us_to_close_a_second_of_100": median(closing) / 1e3,
        "valid_columns": float(state.valid.mean()),
        "bytes_per_instrument": state.nbytes() // INSTRUMENTS,
    }


def close(
    state: FeatureState, books: NDArray[np.void], levels: NDArray[np.void], primary: NDArray[np.int32], second: int
) -> None:
    """End a second of all instruments and store it."""
    end_second(state.acc, state.closed, state.bins, second, books, primary, levels, state.params)
    store(state.closed, state.bins, state.hist, 0, INSTRUMENTS, second)


def tick(
    state: FeatureState, books: NDArray[np.void], levels: NDArray[np.void], primary: NDArray[np.int32], second: int
) -> list[float]:
    """Microseconds of each slice of SLICE instruments of one tick."""
    s, took = state, []
    start = time.perf_counter_ns()
    for first in range(0, INSTRUMENTS, SLICE):
        now_ns = (second + 1) * SECOND_NS
        observe_all(s.obs, books, primary, levels, s.closed, first, first + SLICE, now_ns, s.params)
        compute_all(s.bins, s.hist, s.obs, first, first + SLICE, second, s.params, s.values, s.valid)
        now = time.perf_counter_ns()
        took.append((now - start) / 1e3)
        start = now
    return took
