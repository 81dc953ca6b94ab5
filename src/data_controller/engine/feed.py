"""The engine's state for whoever watches: one Feed a pulse, built from counters that the rooms keep anyway."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from statistics import median
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
from data_controller.prediction.ladder import NONE
from data_controller.records import SEQ_COUNT_BITS

_NAMES = {
    "checks_ok": "checksums_ok",
    "checks_bad": "checksums_bad",
    "trading_orders": "orders",
    "trading_fills": "fills",
    "trading_decisions_refused_invalid": "decisions_refused_invalid",
}
"""What a room counts under a name of its own -> the name that summaries and metrics use."""

BOOKS_IN_A_PART = 64
BOOKS_EVERY = 5

_PROOFS = [proof.name for proof in Proof]
_PROVED_BY = [by.name for by in ProofBy]
_BOOK_FIELDS = ["channel", "proof", "proof_by", "usable", "updated_ns", "n_bid", "n_ask"]
_BOOK_FIELDS += ["checks_ok", "checks_bad", "gaps", "breaks"]


class FeedBuilder:
    """Knows where each figure of the feed is kept; `build` reads them and changes nothing."""

    def __init__(self, core: Core, *, run: int, info: dict[str, str], started_ns: int) -> None:
        self._core = core
        self._run = run
        self.info = info
        self._started_ns = started_ns
        self.phase: Phase = "starting"
        self.queues: list[Callable[[], QueueStat]] = []
        self.counters: list[Callable[[], dict[str, int]]] = []
        self.gauges: list[Callable[[], dict[str, float | None]]] = []
        self.components: dict[str, str] = {}  # beside those that can be read off
        self._alerts: deque[AlertEvent] = deque(maxlen=ALERTS_KEPT)
        self._alert_id = 0
        self._fed = 0  # feeds since the books were asked for as they stand
        self._kept: list[BookStat] = []

    def alert(self, severity: Any, name: str, text: str, t_ns: int) -> AlertEvent:
        """Add an alert to what the feed repeats."""
        self._alert_id += 1
        event = AlertEvent(id=self._alert_id, t_ns=t_ns, severity=severity, name=name, text=text)
        self._alerts.append(event)
        return event

    def build(self, latch: LatchState) -> Feed:
        """The feed of this moment."""
        self._fed = 0
        parts = self.in_parts(latch)
        while True:
            try:
                next(parts)
            except StopIteration as done:
                feed: Feed = done.value
                return feed

    def in_parts(self, latch: LatchState) -> Generator[None, None, Feed]:
        """The feed, a fraction of a millisecond at a time, so that frames can come in between.

        The list of books is made anew for every BOOKS_EVERY-th of them: people look at it, and it is the longest part.
        """
        core, recorder, queues = self._core, self._core.recorder, self.queues
        counters = self._counters()
        yield
        gauges: dict[str, float | None] = {"orders_held": float(core.orders_held), "equity": self._equity()}
        for measured in self.gauges:
            gauges.update(measured())
        yield
        core.note_steps()
        yield
        histograms = {
            "wire_to_decision_seconds": core.wire_to_decision.to_feed(),
            "tick_to_decision_seconds": core.tick_to_decision.to_feed(),
            "prediction_latency_seconds": core.prediction.to_feed(),
        }
        yield
        histograms |= {
            "step_seconds": core.step_time.to_feed(),
            "tick_slice_seconds": core.slice_time.to_feed(),
            "journal_barrier_seconds": timing_to_feed(recorder.barrier),
            "journal_fsync_seconds": timing_to_feed(recorder.fsync),
        }
        yield
        channels = self._channels()
        yield
        self._fed += 1
        if self._fed % BOOKS_EVERY == 1:
            books: list[BookStat] = []
            for first in range(0, len(core.pipeline.books.books), BOOKS_IN_A_PART):
                books += self._books(first)
                yield
            self._kept = books
        journal = QueueStat(name="journal", depth=recorder.depth, peak=recorder.peak, capacity=recorder.capacity)
        return Feed(
            t_ns=core.pipeline.now_ns,
            run=self._run,
            started_ns=self._started_ns,
            pid=os.getpid(),
            info=self.info,
            mode=self.mode(latch),
            phase=self.phase,
            counters=counters,
            gauges=gauges,
            histograms=histograms,
            channels=channels,
            books=self._kept,
            queues=[journal, *(queue() for queue in queues)],
            components={"journal": self._journal(), "prediction": self._prediction(), **self.components},
            positions=self._positions(),
            kill=KillStat(active=latch.active, reason=latch.reason, who=latch.who, since_ns=latch.t_ns),
            alerts=list(self._alerts),
        )

    def _counters(self) -> dict[str, int]:
        core, recorder = self._core, self._core.recorder
        counters = dict(core.pipeline.counters)
        counters |= {
            "records": recorder.next_seq & (1 << SEQ_COUNT_BITS) - 1,
            "journal_bytes": recorder.bytes_written,
            "journal_records_lost": recorder.records_lost,
            "journal_errors": int(recorder.failure is not None),
            "orders_left": core.orders_left,
            "orders_stopped": core.orders_stopped,
        }
        counters.update({_NAMES.get(name, name): count for name, count in core.pipeline.totals().items()})
        for counted in self.counters:
            counters.update(counted())
        return counters

    def mode(self, latch: LatchState) -> Mode:
        """The engine's mode: the worst of kill switch, journal and risk state."""
        pipeline = self._core.pipeline
        if pipeline.setup is None or not pipeline.vitals.journal_ok:
            return "HALTED"
        return "REDUCING" if latch.active or pipeline.latched else "ACTIVE"

    def _journal(self) -> str:
        recorder = self._core.recorder
        if recorder.failure is not None:
            return f"failed: {recorder.failure}"
        if recorder.should_pause:
            return f"degraded: {recorder.depth} of {recorder.capacity} arenas wait for the disk, reading is paused"
        return "ok" if recorder.journal_ok else "failed: closed"

    def _prediction(self) -> str:
        core = self._core
        setup, ladder, reply = core.pipeline.setup, core.ladder, core.answered
        if setup is not None and setup.record_only:
            return "ok: not wanted, the engine only records"
        if ladder is None:
            return "failed: no model bundle"
        failed = ladder.refused if reply is None else reply.failed
        why = "; ".join(f"{tier}: {text}" for tier, text in failed.items())
        if (reply is not None and reply.tier == NONE) or not ladder.tiers:
            return f"failed: no tier answers, nothing new is entered ({why})"
        by = "not asked yet" if reply is None else f"by {reply.tier}"
        return f"degraded: {by} ({why})" if failed else f"ok: {by}"

    def _equity(self) -> float | None:
        pipeline = self._core.pipeline
        return None if pipeline.setup is None else float(pipeline.trader.risk["equity"][0])

    def _channels(self) -> list[ChannelStat]:
        routes = self._core.pipeline.routes
        n = len(routes.streams)
        frames = np.bincount(routes.stream_of, routes.array["messages"], n).tolist()
        events = np.bincount(routes.stream_of, routes.array["rows"], n).tolist()
        late: list[list[int]] = [[] for _ in range(n)]
        for stream, late_ns in zip(routes.stream_of.tolist(), routes.array["late_ns"].tolist(), strict=True):
            if late_ns:
                late[stream].append(late_ns)
        return [
            ChannelStat(
                exchange=venue,
                channel=name,
                frames=int(messages),
                events=int(rows),
                late_ms=median(waits) / 1e6 if waits else None,
            )
            for (venue, name), messages, rows, waits in zip(routes.streams, frames, events, late, strict=True)
        ]

    def _books(self, first: int) -> list[BookStat]:
        """Those among BOOKS_IN_A_PART channel rows from `first` on."""
        pipeline = self._core.pipeline
        channels, price, now_ns = pipeline.tables.channels, pipeline.books.levels["price"], pipeline.now_ns
        books = pipeline.books.books[first : first + BOOKS_IN_A_PART]
        live = books[books["depth"] > 0]
        if not len(live):
            return []
        # One conversion a column: a hundred books, field by field, would hold the loop for a millisecond.
        bids, asks = price[live["bid0"]].tolist(), price[live["ask0"]].tolist()
        stats = []
        for row, bid, ask in zip(live[_BOOK_FIELDS].tolist(), bids, asks, strict=True):
            channel, proof, proof_by, usable, updated_ns, n_bid, n_ask, checks_ok, checks_bad, gaps, breaks = row
            name = channels[channel]
            stats.append(
                BookStat(
                    exchange=name.venue,
                    symbol=name.symbol,
                    precision=name.precision,
                    proof=_PROOFS[proof],
                    proof_by=_PROVED_BY[proof_by],
                    usable=bool(usable),
                    age_ms=(now_ns - updated_ns) / 1e6 if updated_ns else None,
                    bid=bid if n_bid else None,
                    ask=ask if n_ask else None,
                    checks_ok=checks_ok,
                    checks_bad=checks_bad,
                    gaps=gaps,
                    resyncs=breaks,
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
