"""The pipeline: a function of the records in their order, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action, Alert, Predict, Tell
from data_controller.errors import ProtocolError
from data_controller.exchanges.protocols import Decoder, Rows, Subscriptions
from data_controller.features.state import SECOND_NS, FeatureState
from data_controller.market.books import Books
from data_controller.market.layout import LEVEL, BrokenBy
from data_controller.market.tables import Tables
from data_controller.pipeline.digest import Digests
from data_controller.pipeline.loop import STOP_BROKE, STOP_CONTROL, STOP_WATCH, copy_books, first_later, first_row_later, run
from data_controller.pipeline.routes import Routes
from data_controller.pipeline.setup import Setup
from data_controller.records import Answer, Batch, Command, Kind, Pulse, Start
from data_controller.trading.trader import Trader

CONNECTIONS_PER_VENUE = 256
"""Connection slot // this = the venue's place in the config."""

MAX_SILENCE_NS = 6 * 3600 * SECOND_NS
"""After a longer hole in the records the grid starts anew: no window reaches across it."""

INSTRUMENTS_PER_SLICE = 4
LEVELS_PER_SLICE = 2048

_pulse = msgspec.json.Decoder(Pulse)
_start = msgspec.json.Decoder(Start)
_command = msgspec.json.Decoder(Command)
_answer = msgspec.msgpack.Decoder(Answer)


class Pipeline:
    """Records in, actions out.

    `configure(start)` gives the Setup for a START record; a later START begins anew (the digests go on). A tick's features
    are computed in slices: `pending` says that `work()` has something to do; `advance()` finishes it before the next tick.
    """

    def __init__(self, configure: Callable[[Start], Setup]) -> None:
        self._configure = configure
        self.digests = Digests()
        self.counters: dict[str, int] = dict.fromkeys(
            ("frames", "events", "ticks", "feature_rows", "predictions", "predictions_differ", "decisions")
            + ("decisions_refused_invalid", "controls", "breaks", "trades", "starts", "bad_records", "abnormal"),
            0,
        )
        self.rows = Rows()
        self.setup: Setup | None = None
        self.tables = Tables()
        self.decoders: list[Decoder] = []
        self.subscriptions: list[Subscriptions | None] = []
        self.books = Books()
        self.latched = ""  # why no new risk is taken, by the kill switch; empty: it is clear
        self.journal_ok = True
        self.vitals = Pulse()
        self.now_ns = 0  # arrival of the last record
        self.pending = False
        self._work: Iterator[None] | None = None
        self._second_end_ns = 0
        self._actions: list[Action] = []
        self._recomputed: dict[int, tuple[NDArray[np.float32], NDArray[np.uint8]]] = {}
        self._book_head = np.zeros((0, 4), np.int64)
        self._book_levels = np.zeros(0, LEVEL)

    # records

    def advance(self, batch: Batch, lo: int, hi: int) -> list[Action]:
        """Consume records `lo..hi` of `batch` and return what is to be done, in order."""
        while lo < hi:
            end = hi
            if self._second_end_ns and batch.recv_ns[hi - 1] > self._second_end_ns:
                end = first_later(batch.recv_ns, lo, hi, self._second_end_ns)
                if end == lo:
                    self._pass_time(int(batch.recv_ns[lo]))
                    continue
            lo = self._consume(batch, lo, end)
        actions, self._actions = self._actions, []
        return actions

    def work(self) -> list[Action]:
        """Do one slice of the pending tick (a fraction of a millisecond) and return what is to be done."""
        if self._work is not None and next(self._work, self) is self:
            self._work, self.pending = None, False
        actions, self._actions = self._actions, []
        return actions

    def recomputed(self, tick_ns: int, outputs: NDArray[np.float32], valid: NDArray[np.uint8]) -> None:
        """Give the prediction that replay recomputed: it is digested and compared, the recorded one acts."""
        self._recomputed[tick_ns] = (outputs, valid)

    def _consume(self, batch: Batch, lo: int, end: int) -> int:
        kind = batch.kind[lo]
        if kind == Kind.FRAME:
            venue = int(batch.conn[lo]) // CONNECTIONS_PER_VENUE
            if not 0 <= venue < len(self.decoders):
                self.counters["bad_records"] += 1
                self.now_ns = int(batch.recv_ns[lo])
                return lo + 1
            decoder = self.decoders[venue]
            self.rows.stop = 0
            after = decoder.decode(batch, lo, end, self.rows, self.last_recv_ns)
            self.counters["frames"] += after - lo
            self.now_ns = int(batch.recv_ns[after - 1])
            if self.rows.stop:
                self._apply()
            if self._due_ns < self.now_ns:
                self._pass_time(self.now_ns)
            for table, rows in decoder.side_rows.items():
                if rows:
                    self._actions.append(Tell(table, rows[:]))
                    rows.clear()
            return after
        self.now_ns = int(batch.recv_ns[lo])
        if self._due_ns < self.now_ns:
            self._pass_time(self.now_ns)
        self._single(int(kind), batch, lo)
        return lo + 1

    def _single(self, kind: int, batch: Batch, i: int) -> None:
        seq = batch.first_seq + i
        if kind == Kind.PULSE:
            self._on_pulse(batch.payload(i))
        elif kind == Kind.ANSWER:
            self._on_answer(seq, _answer.decode(batch.payload(i)))
        elif kind in (Kind.OPENED, Kind.CLOSED):
            conn = int(batch.conn[i])
            venue = conn // CONNECTIONS_PER_VENUE
            if 0 <= venue < len(self.decoders):
                self.last_recv_ns[conn] = self.now_ns
                self.rows.stop = 0
                decoder = self.decoders[venue]
                (decoder.opened if kind == Kind.OPENED else decoder.closed)(conn, seq, self.now_ns, self.rows)
                self._apply()
        elif kind == Kind.COMMAND:
            self._on_command(_command.decode(batch.payload(i)))
        elif kind == Kind.START:
            self._on_start(_start.decode(batch.payload(i)))

    # rows

    def _apply(self) -> None:
        """Run the decoded rows through books, features and watches."""
        if len(self.tables.channels) != self.routes.channels:
            self._grow()
        array, hi = self.rows.array, self.rows.stop
        self.digests.events.add(array[:hi], hi)
        self.counters["events"] += hi
        books, features, lo = self.books, self.features, 0
        while lo < hi:
            end = hi
            if array["recv_ns"][hi - 1] > self._due_ns:
                end = first_row_later(array, lo, hi, self._due_ns)
                if end == lo:
                    self._pass_time(int(array["recv_ns"][lo]))
                    continue
            lo, why, detail = run(
                array,
                lo,
                end,
                books.books,
                books.levels,
                books.index,
                books.scratch,
                self.routes.array,
                features.acc,
                features.params,
                self.trader.watch,
            )
            if why == STOP_CONTROL:
                self._on_control(array[lo - 1])
            elif why == STOP_BROKE:
                self._on_broken(array[lo - 1], detail)
            elif why == STOP_WATCH:
                row = array[lo - 1]
                instrument = int(self.routes.array[row["channel"]]["instrument"])
                self.trader.on_watch(
                    instrument, detail, int(row["seq"]), int(row["recv_ns"]), books.books, self.routes.primary, books.levels
                )
                self._after_trading()

    def _on_control(self, row: np.void) -> None:
        self.counters["controls"] += 1
        subscriptions = self.subscriptions[int(row["part"]) // CONNECTIONS_PER_VENUE]
        if subscriptions is not None:
            self._actions += subscriptions.on_control(row, int(row["recv_ns"]))

    def _on_broken(self, row: np.void, broken_by: int) -> None:
        self._finish()
        self.counters["breaks"] += 1
        channel, now_ns = int(row["channel"]), int(row["recv_ns"])
        book = self.books.books[channel]
        route = self.routes.array[channel]
        since_ns = max(int(book["checked_ns"]), int(book["snapshot_ns"]))
        if route["primary"] and broken_by == BrokenBy.CHECKSUM:
            self.features.invalidate(int(route["instrument"]), since_ns, now_ns)
        name = self.tables.channels[channel]
        self._actions.append(
            Tell(
                "gaps",
                [
                    {
                        "seq": int(row["seq"]),
                        "recv_ns": now_ns,
                        "since_ns": since_ns,
                        "venue": name.venue,
                        "symbol": name.symbol,
                        "channel": channel,
                        "reason": BrokenBy(broken_by).name,
                        "missing": int(row["ref"]) if broken_by == BrokenBy.GAP else 0,
                    }
                ],
            )
        )
        subscriptions = self.subscriptions[self._venue_of_channel(channel)]
        if subscriptions is not None:
            self._actions += subscriptions.on_broken(channel, broken_by, now_ns)

    def _venue_of_channel(self, channel: int) -> int:
        return self._venue_row[self.tables.channels[channel].venue]

    def _grow(self) -> None:
        self.books.ensure(self.tables)
        self.routes.ensure(self.tables)
        self.features.grow(len(self.tables.instruments))
        self.trader.grow(len(self.tables.instruments))
        leader = self._setup.features.leader
        if leader:
            self.features.set_leader(self.routes.instrument_named(leader))

    # time

    @property
    def _due_ns(self) -> int:
        return self.trader.next_due_ns

    def _pass_time(self, now_ns: int) -> None:
        """Do what was due before `now_ns`, in order: fills and time-outs, then the ends of seconds."""
        if self._second_end_ns and now_ns - self._second_end_ns > MAX_SILENCE_NS:
            self._finish()
            self.features.reset()
            self._second_end_ns = now_ns // SECOND_NS * SECOND_NS + SECOND_NS
        while True:
            due_ns = self._due_ns
            if min(due_ns, self._second_end_ns) >= now_ns:
                return
            if due_ns <= self._second_end_ns:
                self.trader.on_time(due_ns, self.books.books, self.routes.primary, self.books.levels)
                self._after_trading()
            else:
                self._close_second()

    def _close_second(self) -> None:
        end_ns = self._second_end_ns
        self._second_end_ns = end_ns + SECOND_NS
        if self._setup.record_only:
            return
        self.features.close_second(end_ns // SECOND_NS - 1, self.books.books, self.routes.primary, self.books.levels)
        if end_ns // SECOND_NS % self._setup.features.grid_interval_s == 0:
            self._tick(end_ns)

    def _tick(self, tick_ns: int) -> None:
        self._finish()
        self.counters["ticks"] += 1
        self.features.observe(tick_ns, self.books.books, self.routes.primary, self.books.levels)
        books = self.books.books
        if self._book_head.shape[0] != books.shape[0]:
            self._book_head = np.zeros((books.shape[0], 4), np.int64)
        total = int(books["n_bid"].sum() + books["n_ask"].sum())
        if self._book_levels.shape[0] < total:
            self._book_levels = np.zeros(total + LEVELS_PER_SLICE, LEVEL)
        n = copy_books(books, self.books.levels, self._book_head, self._book_levels)
        self._work = self._tick_work(tick_ns, n)
        self.pending = True

    def _tick_work(self, tick_ns: int, n_levels: int) -> Iterator[None]:
        """The tick's features, slice by slice, then the prediction's question, then the digest of the books as they were."""
        features = self.features
        n = features.instruments
        for first in range(0, n, INSTRUMENTS_PER_SLICE):
            features.compute(tick_ns, first, min(first + INSTRUMENTS_PER_SLICE, n))
            yield
        values, valid = features.values[:n].copy(), features.valid[:n].copy()
        self.counters["feature_rows"] += n
        digests = self.digests
        digests.features.add_int(tick_ns)
        digests.features.add(values, n)
        digests.features.add(valid, 0)
        self._tick_values = (tick_ns, values, valid)
        self._actions.append(Tell("features", features.table_rows(tick_ns)))
        yield
        window, window_valid = self._window_of(values, valid)
        self._actions.append(Predict(tick_ns, window, window_valid))
        yield
        digests.books.add_int(tick_ns)
        digests.books.add(self._book_head, len(self._book_head))
        for first in range(0, n_levels, LEVELS_PER_SLICE):
            digests.books.add(self._book_levels[first : min(first + LEVELS_PER_SLICE, n_levels)], 0)
            yield

    def _window_of(
        self, values: NDArray[np.float32], valid: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The last `window` feature rows of every instrument, oldest first; ticks before its first are invalid."""
        window = self._setup.window
        if window == 1:
            return values[:, None, :], valid[:, None, :]
        n, f = values.shape
        past_values, past_valid = self._past
        rows = np.zeros((n, window, f), np.float32)
        flags = np.zeros((n, window, f), np.uint8)
        known = min(n, past_values.shape[0])
        rows[:known, :-1] = past_values[:known, 1:]
        flags[:known, :-1] = past_valid[:known, 1:]
        rows[:, -1], flags[:, -1] = values, valid
        self._past = (rows, flags)
        return rows, flags

    def _finish(self) -> None:
        """Complete the pending tick at once: what follows would change what it reads."""
        if self._work is not None:
            for _ in self._work:
                pass
            self._work, self.pending = None, False

    # single records

    def _on_start(self, start: Start) -> None:
        self._finish()
        self.counters["starts"] += 1
        self._setup = self.setup = setup = self._configure(start)
        self.tables = tables = Tables.load(start.instruments, start.channels)
        self._venue_row = {venue.name: row for row, venue in enumerate(setup.venues)}
        self.decoders = [venue.make_decoder(tables) for venue in setup.venues]
        self.subscriptions = [
            venue.make_subscriptions(tables, row * CONNECTIONS_PER_VENUE) if venue.make_subscriptions else None
            for row, venue in enumerate(setup.venues)
        ]
        self.last_recv_ns = np.zeros(CONNECTIONS_PER_VENUE * max(1, len(setup.venues)), np.int64)
        self.books = Books(setup.proof)
        self.features = FeatureState(setup.features, setup.parameters)
        self.trader = Trader(setup.trading, setup.risk, setup.horizons_s)
        self.trader.restore(start.restored.get("trader", {}))
        self.routes = Routes()
        self._past = (np.zeros((0, setup.window, 0), np.float32), np.zeros((0, setup.window, 0), np.uint8))
        self._tick_values: tuple[int, NDArray[np.float32], NDArray[np.uint8]] | None = None
        self._grow()
        self._second_end_ns = self.now_ns // SECOND_NS * SECOND_NS + SECOND_NS
        self.latched = str(start.restored.get("latch", "")) if start.restored.get("latch") else ""
        self.journal_ok = True
        self._set_mode()
        for subscriptions in self.subscriptions:
            if subscriptions is not None:
                self._actions += subscriptions.start(self.now_ns)

    def _on_pulse(self, payload: bytes) -> None:
        if payload:
            self.vitals = _pulse.decode(payload)
            if self.vitals.journal_ok != self.journal_ok:
                self.journal_ok = self.vitals.journal_ok
                self._set_mode()
        for channel in self.books.refresh(self.now_ns):
            route = self.routes.array[channel]
            if route["primary"]:
                self.features.on_break(int(route["instrument"]), self.now_ns)
        for subscriptions in self.subscriptions:
            if subscriptions is not None:
                self._actions += subscriptions.on_pulse(self.now_ns, self.last_recv_ns, self.books.books)

    def _on_command(self, command: Command) -> None:
        if command.what == "kill":
            self.latched = command.reason or "killed"
        elif command.what == "resume":
            self.latched = ""
        elif command.what == "reload":
            self._reload(command.body)
        self._set_mode()

    def _reload(self, config: dict[str, Any]) -> None:
        setup = self._configure(Start(run=0, code="", lock="", platform="", config=config, instruments=[], channels=[], restored={}))
        self._setup = self.setup = setup
        self.books.set_proof(setup.proof)
        self.trader.set_settings(setup.trading, setup.risk)
        for venue, subscriptions in zip(setup.venues, self.subscriptions, strict=True):
            if subscriptions is not None:
                self._actions += subscriptions.reload(venue.settings, self.now_ns)
        self._grow()

    def _set_mode(self) -> None:
        """The worst of what is known: a dead journal halts, a latch lets risk only shrink."""
        mode = "HALTED" if not self.journal_ok else "REDUCING" if self.latched else "ACTIVE"
        self.trader.set_state(mode)

    def _on_answer(self, seq: int, answer: Answer) -> None:
        outputs = np.frombuffer(answer.outputs, "<f4").reshape(answer.shape)
        valid = np.frombuffer(answer.valid, np.uint8)
        shown, shown_valid = self._recomputed.pop(answer.tick_ns, (outputs, valid))
        n = answer.shape[0]
        self.counters["predictions"] += n
        if not (np.array_equal(shown, outputs) and np.array_equal(shown_valid, valid)):
            self.counters["predictions_differ"] += 1
        digests = self.digests
        digests.predictions.add_int(answer.tick_ns)
        digests.predictions.add(np.ascontiguousarray(shown), n)
        digests.predictions.add(np.ascontiguousarray(shown_valid), 0)
        tick = self._tick_values
        if tick is None or tick[0] != answer.tick_ns:
            self.counters["late_answers"] = self.counters.get("late_answers", 0) + 1
            return
        decisions = self.trader.on_answer(
            seq, self.now_ns, answer.tick_ns, outputs, valid, self.books.books, self.routes.primary, self.books.levels
        )
        digests.decisions.add(decisions, len(decisions))
        self.counters["decisions"] += len(decisions)
        if len(decisions):
            self._actions.append(Tell("decisions", (decisions.copy(), tick[1], tick[2], outputs, answer)))
        self._after_trading()

    def _after_trading(self) -> None:
        fills = self.trader.fills()
        if len(fills):
            self.digests.decisions.add(fills, 0)
            self._actions.append(Tell("fills", fills.copy()))
        self._actions += self.trader.actions()
