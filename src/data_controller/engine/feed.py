"""The engine's state for whoever watches: one Feed a pulse, built from counters that the rooms keep anyway."""

from __future__ import annotations

import os
from collections import deque
from typing import Any

import numpy as np

from data_controller.control import (
    ALERTS_KEPT,
    AlertEvent,
    BookStat,
    ChannelStat,
    Feed,
    Histogram,
    KillStat,
    Mode,
    Phase,
    PositionStat,
    QueueStat,
)
from data_controller.engine.core import Core
from data_controller.journal.timing import TIMING_BOUNDS_NS, Timing
from data_controller.killswitch.latch import LatchState
from data_controller.market.layout import Proof, ProofBy


class FeedBuilder:
    """Knows where each figure of the feed is kept; `build` reads them and changes nothing."""

    def __init__(self, core: Core, *, run: int, info: dict[str, str], started_ns: int) -> None:
        self._core = core
        self._run = run
        self._info = info
        self._started_ns = started_ns
        self.phase: Phase = "starting"
        self.queues: list[Any] = []  # callables that return a QueueStat
        self.gauges: dict[str, float | None] = {}
        self.components: dict[str, str] = {}
        self._alerts: deque[AlertEvent] = deque(maxlen=ALERTS_KEPT)
        self._alert_id = 0

    def alert(self, severity: Any, name: str, text: str, t_ns: int) -> AlertEvent:
        """Add an alert to what the feed repeats."""
        self._alert_id += 1
        event = AlertEvent(id=self._alert_id, t_ns=t_ns, severity=severity, name=name, text=text)
        self._alerts.append(event)
        return event

    def build(self, latch: LatchState) -> Feed:
        """The feed of this moment."""
        core, pipeline = self._core, self._core.pipeline
        now_ns = pipeline.now_ns
        recorder = core.recorder
        counters = dict(pipeline.counters)
        counters["journal_bytes"] = recorder.bytes_written
        counters["journal_records_lost"] = recorder.records_lost
        counters["orders_left"] = core.orders_left
        counters["orders_stopped"] = core.orders_stopped
        counters.update(pipeline.totals())
        return Feed(
            t_ns=now_ns,
            run=self._run,
            started_ns=self._started_ns,
            pid=os.getpid(),
            info=self._info,
            mode=self.mode(latch),
            phase=self.phase,
            counters=counters,
            gauges={**self.gauges, "orders_held": float(core.orders_held)},
            histograms={
                "wire_to_decision_seconds": core.wire_to_decision.to_feed(),
                "tick_to_decision_seconds": core.tick_to_decision.to_feed(),
                "prediction_latency_seconds": core.prediction.to_feed(),
                "loop_step_seconds": core.step_time.to_feed(),
                "tick_slice_seconds": core.slice_time.to_feed(),
                "journal_barrier_seconds": timing_to_feed(recorder.barrier),
                "journal_fsync_seconds": timing_to_feed(recorder.fsync),
            },
            channels=self._channels(),
            books=self._books(now_ns),
            queues=[
                QueueStat(name="journal", depth=recorder.depth, peak=recorder.peak, capacity=recorder.capacity),
                *(queue() for queue in self.queues),
            ],
            components=dict(self.components),
            positions=self._positions(),
            kill=KillStat(active=latch.active, reason=latch.reason, who=latch.who, since_ns=latch.t_ns),
            alerts=list(self._alerts),
        )

    def mode(self, latch: LatchState) -> Mode:
        """The engine's mode: the worst of kill switch, journal and risk state."""
        pipeline = self._core.pipeline
        if pipeline.setup is None or not pipeline.vitals.journal_ok:
            return "HALTED"
        return "REDUCING" if latch.active or pipeline.latched else "ACTIVE"

    def _channels(self) -> list[ChannelStat]:
        pipeline = self._core.pipeline
        events: dict[tuple[str, str], list[int]] = {}
        routes = pipeline.routes.array
        counts = zip(routes["messages"].tolist(), routes["rows"].tolist(), strict=True)
        for channel, (messages, rows) in zip(pipeline.tables.channels, counts, strict=False):
            total = events.setdefault((channel.venue, channel.stream), [0, 0])
            total[0] += messages
            total[1] += rows
        return [
            ChannelStat(exchange=venue, channel=stream, frames=frames, events=rows)
            for (venue, stream), (frames, rows) in events.items()
        ]

    def _books(self, now_ns: int) -> list[BookStat]:
        pipeline = self._core.pipeline
        stats = []
        books, levels = pipeline.books.books, pipeline.books.levels
        for row, channel in enumerate(pipeline.tables.channels[: len(books)]):
            book = books[row]
            if book["depth"] == 0:
                continue
            stats.append(
                BookStat(
                    exchange=channel.venue,
                    symbol=channel.symbol,
                    precision=channel.precision,
                    proof=Proof(book["proof"]).name,
                    proof_by=ProofBy(book["proof_by"]).name,
                    usable=bool(book["usable"]),
                    age_ms=(now_ns - int(book["updated_ns"])) / 1e6 if book["updated_ns"] else None,
                    bid=float(levels[book["bid0"]]["price"]) if book["n_bid"] else None,
                    ask=float(levels[book["ask0"]]["price"]) if book["n_ask"] else None,
                    checks_ok=int(book["checks_ok"]),
                    checks_bad=int(book["checks_bad"]),
                    gaps=int(book["gaps"]),
                    resyncs=int(book["breaks"]),
                )
            )
        return stats

    def _positions(self) -> list[PositionStat]:
        pipeline = self._core.pipeline
        if pipeline.setup is None:
            return []
        stats = []
        for i in np.flatnonzero(pipeline.trader.portfolio["position"]):
            held, instrument = pipeline.trader.portfolio[i], pipeline.tables.instruments[i]
            size, entry, mark = float(held["position"]), float(held["average_price"]), float(held["mark"])
            stats.append(
                PositionStat(
                    exchange=instrument.venue,
                    symbol=instrument.symbol,
                    size=size,
                    entry=entry,
                    mark=mark if mark == mark else None,
                    unrealised=size * (mark - entry) if mark == mark else None,
                )
            )
        return stats


def timing_to_feed(timing: Timing) -> Histogram:
    """A journal Timing as a histogram in seconds."""
    return Histogram(
        bounds=[bound / 1e9 for bound in TIMING_BOUNDS_NS],
        counts=list(timing.buckets),
        sum=timing.total_ns / 1e9,
        count=timing.count,
    )
