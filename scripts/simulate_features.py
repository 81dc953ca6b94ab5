"""Features of the simulated exchange without sockets: what the demo's bundle is fitted on, reproducible by seed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np

from data_controller.actions import Tell
from data_controller.config import parse
from data_controller.engine.setup import setup_of
from data_controller.journal.arena import Arena
from data_controller.pipeline.pipeline import CONNECTIONS_PER_VENUE, Pipeline
from data_controller.records import NO_CONNECTION, Kind, Start
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.session import Session

STEP_NS = 100_000_000
CHANNELS_A_CONNECTION = 24


def simulate(seed: int, hours: float, instruments: int = 8) -> dict[str, np.ndarray[Any, Any]]:
    """tick_ns, instrument, values, valid and mid of every feature row of `hours` simulated hours."""
    exchange = Exchange(seed, instruments)
    config = parse({"exchanges": {"bitfinex": {}}})
    pipeline = Pipeline(lambda start: setup_of(config, None, wishes=False))
    arena = Arena(32 << 20, 1 << 18)
    begin_ns = exchange.now_ns
    start = Start(
        run=1, code="", lock="", platform="", config=config.effective(), instruments=[], channels=[], restored={}
    )
    arena.push(Kind.START, NO_CONNECTION, begin_ns, msgspec.json.encode(start))
    sessions = []
    for first in range(0, instruments, CHANNELS_A_CONNECTION // 2):
        session = Session(exchange)
        arena.push(Kind.OPENED, len(sessions), begin_ns, b"simulated")
        asks: list[dict[str, Any]] = [{"event": "conf", "flags": 229376}]
        for symbol in exchange.symbols[first : first + CHANNELS_A_CONNECTION // 2]:
            asks.append({"event": "subscribe", "channel": "book", "symbol": symbol, "prec": "P0", "len": "25"})
            asks.append({"event": "subscribe", "channel": "trades", "symbol": symbol})
        for ask in asks:
            for frame in session.receive(json.dumps(ask)):
                arena.push(Kind.FRAME, len(sessions), begin_ns, frame)
        sessions.append(session)
    assert len(sessions) <= CONNECTIONS_PER_VENUE
    told: list[tuple[Any, ...]] = []
    now_ns, end_ns = begin_ns, begin_ns + int(hours * 3600e9)
    while now_ns < end_ns:
        now_ns += STEP_NS
        exchange.advance(now_ns)
        frames = [(frame.ns, conn, frame.data) for conn, session in enumerate(sessions) for frame in session.take()]
        for at_ns, conn, data in sorted(frames, key=lambda frame: frame[0]):
            arena.push(Kind.FRAME, conn, at_ns, data)
        arena.push(Kind.PULSE, NO_CONNECTION, now_ns, b"")
        actions = pipeline.advance(arena.batch, 0, arena.filled)
        while pipeline.pending:
            actions += pipeline.work()
        told += [action.rows for action in actions if isinstance(action, Tell) and action.table == "features"]
        arena.reset(arena.batch.first_seq + arena.filled)
    n = instruments
    return {
        "tick_ns": np.repeat(np.array([tick_ns for tick_ns, *_ in told], np.int64), n),
        "instrument": np.tile(np.arange(n, dtype=np.int32), len(told)),
        "mid": np.concatenate([mid for _, mid, _, _ in told]),
        "values": np.concatenate([values for *_, values, _ in told]),
        "valid": np.concatenate([valid for *_, valid in told]) != 0,
    }
