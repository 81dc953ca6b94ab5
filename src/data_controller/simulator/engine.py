"""The one compiled loop of the simulated exchange: market events, `tu`, heartbeats and slow books in time order."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.kernels import kernel
from data_controller.simulator.matching import best
from data_controller.simulator.numbers import below, exponential, value
from data_controller.simulator.orderflow import advance_latent, step
from data_controller.simulator.state import ASK, BID, BOOK, TAPE, TE, TRADES
from data_controller.simulator.wire import FRAME_MAX, send_heartbeat, send_trade, send_tu, update_book

SECOND = 1_000_000_000
HEARTBEAT_NS = 15 * SECOND
FRAMES_PER_CHANNEL = 600
"""Frames that one event can make on one channel at most: 2 * 250 entries out or changed, trades, a checksum."""
_BYTES_PER_FRAME = 128


@kernel
def has_room(state: Any, channels: int) -> Any:
    """True where the arena takes one more event's frames on that many channels."""
    clock = state.clock[0]
    frames = channels * FRAMES_PER_CHANNEL
    return clock.n + frames < len(state.frames) and clock.pos + frames * _BYTES_PER_FRAME + FRAME_MAX < len(state.data)


@kernel
def publish(state: Any, i: int, trades_before: int) -> None:
    """Tell every channel of an instrument what its last event changed: `te` first, then books."""
    total = state.market[i].trades
    for j in range(state.n_by_instrument[i]):
        row = state.by_instrument[i, j]
        channel = state.channels[row]
        channel.dirty = 1
        if channel.muted or channel.kind != TRADES:
            continue
        for t in range(max(trades_before, total - TAPE), total):
            trade = state.tape[i, t & (TAPE - 1)]
            send_trade(state, row, TE, trade.id, trade.mts, trade.amount, trade.k)
    for j in range(state.n_by_instrument[i]):
        row = state.by_instrument[i, j]
        channel = state.channels[row]
        if channel.kind == BOOK and channel.slow == 0 and channel.muted == 0:
            update_book(state, row)


@kernel
def second(state: Any) -> None:
    """What happens each whole second: latent drifts are logged, silent channels beat, slow books are sent."""
    clock = state.clock[0]
    now = clock.now_ns
    log = state.latent[clock.seconds % len(state.latent)]
    for i in range(len(state.market)):
        if clock.halted == 0:
            advance_latent(state, i, now)
        log[i].ns = now
        log[i].drift = state.market[i].drift
        log[i].fair = state.market[i].fair
        log[i].mid = 0.5 * (value(best(state, i, BID)) + value(best(state, i, ASK)))
    clock.seconds += 1
    even = (now // SECOND) % 2 == 0
    for row in range(len(state.channels)):
        channel = state.channels[row]
        if channel.active == 0:
            continue
        if even and channel.slow == 1 and channel.dirty == 1 and channel.kind == BOOK and channel.muted == 0:
            update_book(state, row)
            channel.dirty = 0
        if channel.muted != 2 and now - channel.sent_ns >= HEARTBEAT_NS:
            send_heartbeat(state, row)


@kernel
def run(state: Any, until_ns: int) -> bool:
    """Advance the exchange to `until_ns`, inclusive; False where the arena is full first (drain it, call again)."""
    clock = state.clock[0]
    n = len(state.market)
    busiest = 1
    for i in range(n):
        busiest = max(busiest, state.n_by_instrument[i])
    slow = 1
    for row in range(len(state.channels)):
        channel = state.channels[row]
        slow += channel.active * channel.slow
    while True:
        due = np.int64(1) << 62
        if clock.head != clock.tail:
            due = state.pending[clock.tail & (len(state.pending) - 1)].due_ns
        event = clock.event_ns if clock.halted == 0 else np.int64(1) << 62
        now = min(event, due, clock.timer_ns)
        if now > until_ns:
            clock.now_ns = max(clock.now_ns, until_ns)
            return True
        clock.now_ns = max(clock.now_ns, now)
        if now == clock.timer_ns:
            if not has_room(state, slow + len(state.channels) // FRAMES_PER_CHANNEL + 1):
                return False
            second(state)
            clock.timer_ns += SECOND
        elif now == due:
            if not has_room(state, busiest // FRAMES_PER_CHANNEL + 1):
                return False
            send_tu(state)
        else:
            if not has_room(state, busiest):
                return False
            i = below(state.rng, n)
            before = state.market[i].trades
            step(state, i)
            clock.events += 1
            clock.event_ns = now + max(np.int64(1), np.int64(clock.gap_ns * exponential(state.rng)))
            if state.n_by_instrument[i] > 0:
                publish(state, i, before)
