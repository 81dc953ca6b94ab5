"""The pipeline: a function of the records in their order, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action, Predict, Tell
from data_controller.exchanges.naming import described
from data_controller.exchanges.protocols import Decoder, Rows, Subscriptions
from data_controller.features.accumulate import on_break, on_trades_break
from data_controller.features.closing import invalidate
from data_controller.features.layout import SECOND_NS
from data_controller.features.state import FeatureState
from data_controller.kernels import machine_code
from data_controller.market.books import Books
from data_controller.market.layout import BrokenBy, Proof
from data_controller.market.proof import fall_silent, refresh
from data_controller.market.rows import EVENT, Control, copy_rows
from data_controller.market.rows import Kind as RowKind
from data_controller.market.settings import ProofSettings
from data_controller.market.tables import Tables
from data_controller.pipeline.digest import Digests
from data_controller.pipeline.gaps import Gaps
from data_controller.pipeline.loop import (
    STOP_BROKE,
    STOP_CONTROL,
    STOP_FULL,
    STOP_LOST,
    STOP_WATCH,
    first_later,
    first_row_later,
    run,
)
from data_controller.pipeline.routes import Routes
from data_controller.pipeline.setup import Setup
from data_controller.pipeline.tick import Ticks
from data_controller.records import CAPTURE_ENDS, ENGINE_STOPS, Answer, Batch, Command, Fetched, Kind, Pulse, Start
from data_controller.trading.rows import State
from data_controller.trading.trader import Trader

CONNECTIONS_PER_VENUE = 256
"""Connection slot // this = the venue's place in the config."""

MAX_SILENCE_NS = 6 * 3600 * SECOND_NS
"""After a longer hole in the records the grid starts anew: no window reaches across it."""

ROWS_GATHERED = 1024
MAX_ROWS_GATHERED = 1 << 14
"""Applied rows stay where they were decoded until they are hashed in one go: nothing is copied for the digest."""

COUNTERS = (
    "frames",
    "events",
    "ticks",
    "feature_rows",
    "predictions",
    "predictions_differ",
    "decisions",
    "controls",
    "breaks",
    "starts",
    "bad_records",
    "late_answers",
)

_BOOK_COUNTS = ("checks_ok", "checks_bad", "unknown_deletes", "crossed")

Recompute = Callable[[Predict], tuple[NDArray[np.float32], NDArray[np.uint8]]]

# Members of an enum are slow to name, and every record is compared.
_START, _OPENED, _CLOSED, _FRAME = int(Kind.START), int(Kind.OPENED), int(Kind.CLOSED), int(Kind.FRAME)
_PULSE, _ANSWER, _COMMAND, _FETCHED = int(Kind.PULSE), int(Kind.ANSWER), int(Kind.COMMAND), int(Kind.FETCHED)

_ORDERLY = (ENGINE_STOPS.encode(), CAPTURE_ENDS.encode())

_pulse = msgspec.json.Decoder(Pulse).decode
_start = msgspec.json.Decoder(Start).decode
_fetched = msgspec.json.Decoder(Fetched).decode
_command = msgspec.json.Decoder(Command).decode
_answer = msgspec.msgpack.Decoder(Answer).decode


class Pipeline:
    """Records in, actions out.

    `configure(start)` gives the Setup for a START record; a later START begins anew (the digests and `totals` go on).
    A tick's features are computed in slices, and digests where there is time: `pending`: `work()` has something to do;
    `advance()` finishes a tick before anything that it reads can change. `recompute(question)` gives the outputs and
    validity that replay digests and compares in place of a recorded answer. Bad frames raise nothing; a START that
    cannot be set up does.
    """

    def __init__(self, configure: Callable[[Start], Setup], recompute: Recompute | None = None) -> None:
        self._configure = configure
        self._recompute = recompute
        self._digests = Digests()
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self.on_rows: Callable[[NDArray[np.void]], None] | None = None  # takes applied rows in place of their digest
        self.rows = Rows()
        self._row_bytes = self.rows.array.view(np.uint8).data
        self._run = run
        self.setup: Setup | None = None  # None until the first START
        self.tables = Tables()
        self.decoders: list[Decoder] = []
        self.subscriptions: list[Subscriptions | None] = []
        self.books = Books(self.tables)
        self.routes = Routes()
        self.gaps = Gaps([], 0)
        self.trader: Trader
        self.ticks: Ticks
        self.latched = ""  # why the kill switch lets no risk grow; empty: it is clear
        self.vitals = Pulse()
        self.now_ns = 0  # arrival of the last record
        self.answered_tick_ns = 0
        self._work: Iterator[None] | None = None
        self._second_end_ns = 0
        self._silence_looked_at_ns = 0
        self._seq = 0  # the record being consumed
        self._actions: list[Action] = []
        self._proofs_at_end: NDArray[np.uint8] | None = None
        self._batch: Batch | None = None
        self._hi = 0
        self._tick_begun_ns = 0
        self._past: dict[str, int] = {}

    @property
    def digests(self) -> Digests:
        """The digests of everything so far."""
        self._hash_rows()
        return self._digests

    def advance(self, batch: Batch, lo: int, hi: int) -> list[Action]:
        """Consume records `lo..hi` of `batch` and return what is to be done, in order."""
        self._batch, self._hi = batch, hi
        while lo < hi:
            end = hi
            if self._second_end_ns and batch.times[hi - 1] > self._second_end_ns:
                end = first_later(batch.recv_ns, lo, hi, self._second_end_ns)
                if end == lo and batch.kinds[lo] == _START:
                    end = lo + 1  # nobody was there between the last record and this one: no time passed
                elif end == lo:
                    self._pass_time(batch.times[lo])
                    continue
            if batch.kinds[lo] == _FRAME:
                lo = self._consume_frames(batch, lo, end)
            else:
                self._consume_other(batch, lo)
                lo += 1
        return self._drain()

    @property
    def pending(self) -> bool:
        """Whether `work` has something to do."""
        return self._work is not None or self.rows.start >= ROWS_GATHERED or self._digests.decisions.pending

    def work(self) -> list[Action]:
        """Do one slice of what is pending (a fraction of a millisecond) and return what is to be done."""
        if self._work is not None:
            if next(self._work, self) is self:
                self._work = None
        elif self.rows.start >= ROWS_GATHERED:
            self._hash_rows()
        else:
            self._digests.decisions.work()
        return self._drain()

    def wire_numbers(self, lo: int, hi: int) -> NDArray[np.int64]:
        """The venues' own numbers of records `lo..hi` of the batch last advanced over, 0 where a record has none."""
        if len(self.decoders) == 1:
            return self.decoders[0].wire_seq[lo:hi]
        numbers = np.zeros(hi - lo, np.int64)
        if self._batch is not None:
            venue = self._batch.conn[lo:hi] // CONNECTIONS_PER_VENUE
            for row, decoder in enumerate(self.decoders):
                known = decoder.wire_seq[lo:hi]  # as far as this venue's last frame at least
                own = venue[: len(known)] == row
                numbers[: len(known)][own] = known[own]
        return numbers

    def totals(self) -> dict[str, int]:
        """What rooms count per engine start, summed over all starts seen."""
        totals = dict(self._past)
        books = self.books.books
        counts = np.array([books[name] for name in _BOOK_COUNTS]).sum(axis=1).tolist()
        for name, count in zip(_BOOK_COUNTS, counts, strict=True):
            totals[name] = totals.get(name, 0) + count
        rooms = [decoder.counters for decoder in self.decoders]
        rooms += [getattr(s, "counters", {}) for s in self.subscriptions]
        if self.setup is not None:
            rooms.append({f"trading_{name}": value for name, value in self.trader.counters.items()})
        for counters in rooms:
            for name, value in counters.items():
                totals[name] = totals.get(name, 0) + value
        return totals

    def _drain(self) -> list[Action]:
        if not self._actions:
            return []
        actions = self._actions[:]
        self._actions.clear()  # the list itself is shared with the slices of a tick
        return actions

    # records

    def _consume_frames(self, batch: Batch, lo: int, end: int) -> int:
        """Consume frames from `lo` on, as many as one decoder takes at once; returns the record behind them."""
        venue = batch.conns[lo] // CONNECTIONS_PER_VENUE
        if not 0 <= venue < len(self.decoders):
            self.counters["bad_records"] += 1
            return lo + 1
        decoder, rows = self.decoders[venue], self.rows
        after = decoder.decode(batch, lo, end, rows, self.last_recv_ns)
        if after == lo:
            if rows.stop == 0:  # no room is no reason: the connection is not open, as where its OPENED was lost
                self.counters["bad_records"] += 1
                return lo + 1
            self._hash_rows()
            return lo
        self.counters["frames"] += after - lo
        self.now_ns = now_ns = batch.times[after - 1]
        if rows.stop > rows.start:
            self._apply()
        if self.trader.next_due_ns < now_ns:
            self._pass_time(now_ns)
        if any(decoder.side_rows.values()):
            self._tell_side_rows(decoder)
        if rows.stop >= MAX_ROWS_GATHERED:
            self._hash_rows()
        return after

    def _consume_other(self, batch: Batch, lo: int) -> None:
        """Consume record `lo`, which is no frame."""
        kind = batch.kinds[lo]
        self.now_ns = now_ns = batch.times[lo]
        if self.setup is not None and self.trader.next_due_ns < now_ns and kind != _START:
            self._pass_time(now_ns)
        self._seq = batch.first_seq + lo
        if kind == _START:
            self._on_start(_start(batch.payload(lo)))
        elif self.setup is None:
            self.counters["bad_records"] += 1
        elif kind == _PULSE:
            self._on_pulse(batch.payload(lo))
        elif kind == _ANSWER:
            self._on_answer(_answer(batch.payload(lo)))
        elif kind in (_OPENED, _CLOSED):
            self._note_end(kind == _CLOSED and batch.payload(lo) in _ORDERLY)
            self._on_connection(batch.conns[lo], kind == _OPENED)
        elif kind == _FETCHED:
            self._on_fetched(batch.conns[lo], _fetched(batch.payload(lo)))
        elif kind == _COMMAND:
            self._on_command(_command(batch.payload(lo)))

    def _note_end(self, orderly: bool) -> None:
        """Remember how far books were proved when a run began to close its connections in order."""
        if not orderly:
            self._proofs_at_end = None
        elif self._proofs_at_end is None:
            self._proofs_at_end = self.books.books["proof"].copy()

    def proofs(self) -> NDArray[np.uint8]:
        """Proof by channel row: now, or as it was before the run closed its connections."""
        return self.books.books["proof"] if self._proofs_at_end is None else self._proofs_at_end

    def _tell_side_rows(self, decoder: Decoder) -> None:
        for table, rows in decoder.side_rows.items():
            if rows:
                self._actions.append(Tell(table, rows[:]))
                rows.clear()

    def _on_connection(self, conn: int, opened: bool) -> None:
        venue = conn // CONNECTIONS_PER_VENUE
        if not 0 <= venue < len(self.decoders):
            self.counters["bad_records"] += 1
            return
        self.last_recv_ns[conn] = self.now_ns
        if opened:
            self.gaps.opened(conn, self.now_ns)
        decoder = self.decoders[venue]
        self._make_room()
        (decoder.opened if opened else decoder.closed)(conn, self._seq, self.now_ns, self.rows)
        self._apply()

    def _on_fetched(self, conn: int, answer: Fetched) -> None:
        venue = conn // CONNECTIONS_PER_VENUE
        if not 0 <= venue < len(self.decoders):
            self.counters["bad_records"] += 1
            return
        decoder = self.decoders[venue]
        self._make_room()
        parts = decoder.fetched(
            conn, answer.request, answer.status, answer.body, self._seq, self.now_ns, self.rows, answer.asked_ns
        )
        for _ in parts:
            self._apply()
            self._hash_rows()
        self._apply()
        if any(decoder.side_rows.values()):
            self._tell_side_rows(decoder)

    # rows

    def _apply(self) -> None:
        """Run the decoded rows through books, features and watches."""
        if len(self.tables.channels) != self.routes.channels:
            self._grow()
        array, lo, hi = self.rows.array, self.rows.start, self.rows.stop
        self.counters["events"] += hi - lo
        self.rows.start = hi
        books, features = self.books, self.features
        while lo < hi:
            end = hi
            due_ns = self.trader.next_due_ns
            if self.now_ns > due_ns:  # the last row may be later: look
                end = first_row_later(array, lo, hi, due_ns)
                if end == lo:
                    self._pass_time(int(array[lo]["recv_ns"]))
                    continue
            lo, why, detail = self._run(
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
            if self._run is run:
                self._run = machine_code(run)
            if why == STOP_FULL:
                books.widen(detail)
            elif why:
                self._stopped(array[lo - 1], why, detail)

    def release_rows(self) -> None:
        """Hand over the rows that were applied and still wait, to their digest or to `on_rows`."""
        self._hash_rows()

    def _hash_rows(self) -> None:
        """Put the rows that were applied into their digest and begin the buffer anew."""
        rows = self.rows
        if rows.start and self.on_rows is not None:
            self.on_rows(rows.array[: rows.start])
        elif rows.start:
            self._digests.events.add_bytes(self._row_bytes[: rows.start * EVENT.itemsize], rows.start)
        rows.clear()

    def _make_room(self) -> None:
        """See that what a single record makes finds room, whatever came before it."""
        if self.rows.stop >= MAX_ROWS_GATHERED:
            self._hash_rows()

    def _stopped(self, row: np.void, why: int, detail: int) -> None:
        """The loop came upon something that wants Python; `row` is applied."""
        now_ns = int(row["recv_ns"])
        if why == STOP_CONTROL:
            self.counters["controls"] += 1
            if int(row["ref"]) == Control.SUBSCRIBED and int(row["channel"]) >= 0:
                began = self.gaps.subscribed(int(row["channel"]), int(row["part"]), int(row["seq"]), now_ns)
                self._tell_gaps(began)
            subscriptions = self.subscriptions[int(row["part"]) // CONNECTIONS_PER_VENUE]
            if subscriptions is not None:
                self._actions += subscriptions.on_control(row, now_ns)
        elif why == STOP_BROKE:
            self._on_broken(int(row["channel"]), detail, int(row["seq"]), now_ns)
        elif why == STOP_LOST:
            is_gap = row["kind"] == RowKind.GAP
            by = BrokenBy(int(row["size"]) or BrokenBy.GAP) if is_gap else BrokenBy.INEXACT
            self._tell_gaps([self.gaps.begin(int(row["channel"]), by.name, int(row["seq"]), now_ns, now_ns, 0)])
        elif why == STOP_WATCH:
            instrument = int(self.routes.array[row["channel"]]["instrument"])
            books = self.books
            rows = self.trader.on_watch(
                instrument, detail, int(row["seq"]), now_ns, books.books, self.routes.primary, books.levels
            )
            self._after_trading(rows)

    def _on_broken(self, channel: int, broken_by: int, seq: int, now_ns: int, since_ns: int = 0) -> None:
        """Tell of a book that broke, or of a channel that fell silent at `since_ns`, and ask its venue what to do."""
        self._finish()
        self.counters["breaks"] += 1
        book = self.books.books[channel]
        route = self.routes.array[channel]
        name = self.tables.channels[channel]
        since_ns = since_ns or int(book["checked_ns"]) or int(book["snapshot_ns"])
        if broken_by in (BrokenBy.CHECKSUM, BrokenBy.SILENT) and route["primary"]:
            f = self.features
            invalidate(f.bins, f.hist, f.acc, int(route["instrument"]), since_ns, now_ns)
        reason = BrokenBy(broken_by).name
        self._tell_gaps([self.gaps.begin(channel, reason, seq, now_ns, since_ns, int(book["snapshot_ns"]))])
        # Rows of a bus or a table name the venue that they are of, which may be none that anything is asked of here.
        venue = self._venue_row.get(name.venue)
        subscriptions = None if venue is None else self.subscriptions[venue]
        if subscriptions is not None:
            self._actions += subscriptions.on_broken(channel, broken_by, now_ns)

    def _tell_gaps(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._actions.append(Tell("gaps", rows))

    def _look_at_gaps(self, seq: int, now_ns: int) -> None:
        """Tell of the gaps that ended by `now_ns`; only a channel that is no book needs to be heard of for that."""
        heard: list[NDArray[np.int64]] = []

        def heard_ns(channel: int) -> int:
            # Of whichever decoder: rows of a bus or a table name a venue that need not be one of this config.
            if not heard:
                heard.append(np.maximum.reduce([decoder.heard_ns for decoder in self.decoders]))
            return int(heard[0][channel])

        self._tell_gaps(self.gaps.look(seq, now_ns, self.books.books, heard_ns))

    def _grow(self) -> None:
        self.books.ensure(self.tables)
        self.routes.ensure(self.tables)
        self.features.grow(len(self.tables.instruments))
        self.trader.grow(len(self.tables.instruments))
        if self._setup.features.leader:
            self.features.lead(self.routes.instrument_named(self._setup.features.leader))

    # time

    def _pass_time(self, now_ns: int) -> None:
        """Do what was due before `now_ns`, in order: fills and time-outs, then the ends of seconds."""
        if now_ns - self._second_end_ns > MAX_SILENCE_NS:
            self._finish()
            self.features.reset()
            self._second_end_ns = now_ns // SECOND_NS * SECOND_NS + SECOND_NS
        while True:
            due_ns = self.trader.next_due_ns
            if min(due_ns, self._second_end_ns) >= now_ns:
                return
            if due_ns <= self._second_end_ns:
                books = self.books
                rows = self.trader.on_time(
                    self._reached_by(due_ns), due_ns, books.books, self.routes.primary, books.levels
                )
                self._after_trading(rows)
            else:
                self._close_second()

    def _reached_by(self, at_ns: int) -> int:
        """The record by which `at_ns` was reached: the first later one, whatever batch it came in."""
        assert self._batch is not None
        return self._batch.first_seq + int(first_later(self._batch.recv_ns, 0, self._hi, at_ns))

    def _close_second(self) -> None:
        end_ns = self._second_end_ns
        self._second_end_ns = end_ns + SECOND_NS
        if self.gaps:
            self._look_at_gaps(self._reached_by(end_ns), end_ns)
        if self._setup.record_only:
            return
        self._finish()
        tick = end_ns // SECOND_NS % self._setup.features.grid_interval_s == 0
        if tick:
            self.counters["ticks"] += 1
            self.counters["feature_rows"] += len(self.routes.primary)
            self._tick_begun_ns = end_ns
        self._work = self.ticks.end_second(end_ns, self.books, self.routes.primary, self._actions, tick=tick)

    def _finish(self) -> None:
        """Complete the pending tick at once: what follows would change what it reads."""
        if self._work is not None:
            for _ in self._work:
                pass
            self._work = None

    def _ask(self, tick_ns: int) -> None:
        """Complete the features of tick `tick_ns` at once; what only writes the tick down may still come in slices."""
        while self._work is not None and self.ticks.asked_ns != tick_ns:
            if next(self._work, self) is self:
                self._work = None

    # single records

    def begin(self, start: Start) -> None:
        """Set everything up as after a START record, for a caller that brings what came before; nothing is asked."""
        self._on_start(start)
        self._actions.clear()

    def _on_start(self, start: Start) -> None:
        self._finish()
        self._tick_begun_ns = 0  # an answer to the run before this one comes too late
        self._past = self.totals()
        self.counters["starts"] += 1
        self._setup = self.setup = setup = self._configure(start)
        self.tables = tables = Tables.load(start.instruments, start.channels)
        tables.describe = described
        self._venue_row = {venue.name: row for row, venue in enumerate(setup.venues)}
        self.decoders = [venue.make_decoder(tables) for venue in setup.venues]
        self.subscriptions = [
            venue.make_subscriptions(tables, row * CONNECTIONS_PER_VENUE) if venue.make_subscriptions else None
            for row, venue in enumerate(setup.venues)
        ]
        self.last_recv_ns = np.zeros(CONNECTIONS_PER_VENUE * max(1, len(setup.venues)), np.int64)
        self.books = Books(tables)
        self._set_proof(setup.proof)
        self.features = FeatureState(len(tables.instruments), setup.features, setup.parameters)
        self.trader = Trader(setup.trading, setup.risk, len(tables.instruments), setup.horizons_s)
        self.trader.restore(start.restored.get("trader") or {}, self.now_ns)
        self.ticks = Ticks(self.features, self._digests, setup.window, setup.needed)
        self.routes = Routes(record_only=setup.record_only)
        self._proofs_at_end = None
        self.gaps = Gaps(tables.channels, self.now_ns)
        self.latched = str(start.restored.get("latch") or "")
        self.vitals = Pulse()
        self._set_mode()
        for subscriptions in self.subscriptions:
            if subscriptions is not None:
                self._actions += subscriptions.start(self.now_ns)
        self._grow()
        self._second_end_ns = self.now_ns // SECOND_NS * SECOND_NS + SECOND_NS

    def _on_pulse(self, payload: bytes) -> None:
        if payload:
            self.vitals = _pulse(payload)
            self._set_mode()
        self._refresh_proofs()
        for decoder, subscriptions in zip(self.decoders, self.subscriptions, strict=True):
            if subscriptions is not None:
                self._actions += subscriptions.on_pulse(self.now_ns, self.last_recv_ns, self.books.books)
                if self._second_end_ns != self._silence_looked_at_ns:  # once a second is often enough
                    heard_ns = decoder.heard_ns
                    for channel in subscriptions.silent(self.now_ns, heard_ns):
                        self._on_silent(channel, int(heard_ns[channel]))
        self._silence_looked_at_ns = self._second_end_ns
        if self.gaps:
            self._look_at_gaps(self._seq, self.now_ns)

    def _on_silent(self, channel: int, heard_ns: int) -> None:
        """A channel died without a word: since `heard_ns` its book is a guess, and its trades are lost."""
        self._finish()
        fall_silent(self.books.books, channel, self.now_ns)
        route = self.routes.array[channel]
        if route["primary"]:
            on_break(self.features.acc, int(route["instrument"]), self.now_ns)
        elif self.tables.channels[channel].stream == "trades":
            on_trades_break(self.features.acc, int(route["instrument"]), self.now_ns)
        self._on_broken(channel, BrokenBy.SILENT, self._seq, self.now_ns, heard_ns)

    def _set_proof(self, proof: ProofSettings) -> None:
        self.books.accept_mask = self._accept_mask = proof.accept_mask
        self._max_age_ns = proof.max_age_ns

    def _refresh_proofs(self) -> None:
        """Let proofs age; a book that may no longer be used is a gap for its features from here on."""
        books = self.books.books
        usable = books["usable"].copy()
        broke = refresh(books, self.now_ns, self._max_age_ns, self._accept_mask)
        if usable.tobytes() == books["usable"].tobytes():
            return
        for channel in np.flatnonzero(usable & ~books["usable"]):
            route = self.routes.array[channel]
            if route["primary"]:
                self._finish()
                on_break(self.features.acc, int(route["instrument"]), self.now_ns)
            book = books[channel]
            if book["proof"] == Proof.PENDING:  # too long unchecked; a break tells of itself
                since_ns, snapshot_ns = int(book["unproved_since_ns"]), int(book["snapshot_ns"])
                stale = BrokenBy.STALE.name
                self._tell_gaps([self.gaps.begin(int(channel), stale, self._seq, self.now_ns, since_ns, snapshot_ns)])
        if broke:
            for channel in np.flatnonzero((books["proof"] == Proof.BROKEN) & (books["broken_ns"] == self.now_ns)):
                self._on_broken(int(channel), int(books[channel]["broken_by"]), self._seq, self.now_ns)

    def _on_command(self, command: Command) -> None:
        if command.what == "kill":
            self.latched = command.reason or "killed"
        elif command.what == "resume":
            self.latched = ""
        elif command.what == "reload":
            self._reload(command.body)
        self._set_mode()

    def _reload(self, config: dict[str, Any]) -> None:
        # Whether a run only records is no part of its config: what its START said of that goes on.
        restored = {"record_only": self._setup is not None and self._setup.record_only}
        start = Start(
            run=0, code="", lock="", platform="", config=config, instruments=[], channels=[], restored=restored
        )
        self._setup = self.setup = setup = self._configure(start)
        self.trader.set_terms(setup.trading)
        self.trader.set_limits(setup.risk)
        self._set_proof(setup.proof)
        self._refresh_proofs()
        for venue, subscriptions in zip(setup.venues, self.subscriptions, strict=True):
            if subscriptions is not None:
                self._actions += subscriptions.reload(venue.settings, self.now_ns)
        self._grow()

    def _set_mode(self) -> None:
        """Tell the gate what is known: a journal that stopped halts, a latch lets risk only shrink."""
        trader, journal_ok = self.trader, self.vitals.journal_ok
        trader.set_journal_ok(journal_ok)
        trader.set_latched(bool(self.latched))
        trader.set_state(State.HALTED if not journal_ok else State.REDUCING if self.latched else State.ACTIVE)

    def _on_answer(self, answer: Answer) -> None:
        outputs = np.frombuffer(answer.outputs, "<f4").reshape(answer.shape)
        valid = np.frombuffer(answer.valid, np.uint8)
        shown, shown_valid = outputs, valid
        timely = answer.tick_ns == self._tick_begun_ns and len(valid) == len(self.tables.instruments)
        if timely:
            self._ask(answer.tick_ns)
            if self._recompute is not None:
                shown, shown_valid = self._recompute(self.ticks.question)
        if shown.tobytes() != answer.outputs or shown_valid.tobytes() != answer.valid:
            self.counters["predictions_differ"] += 1
        predictions = self._digests.predictions
        predictions.add_int(answer.tick_ns)
        predictions.add(np.ascontiguousarray(shown), len(shown))
        predictions.add(np.ascontiguousarray(shown_valid), 0)
        self.counters["predictions"] += len(valid)
        self._actions.append(Tell("predictions", (answer, outputs, valid)))
        self.answered_tick_ns = answer.tick_ns
        if not timely:
            # A newer tick has begun, or an instrument came since: the answer is of a market that is gone.
            self.counters["late_answers"] += 1
            return
        books = self.books
        rows = self.trader.on_answer(
            self._seq,
            self.now_ns,
            answer.tick_ns,
            outputs,
            valid,
            self.ticks.complete,
            books.books,
            self.routes.primary,
            books.levels,
        )
        self._after_trading(rows, answer, outputs)

    def _after_trading(
        self, rows: NDArray[np.void], answer: Answer | None = None, outputs: NDArray[np.float32] | None = None
    ) -> None:
        """Digest and tell what was decided and filled; orders become actions."""
        fills = self.trader.fills()
        decisions = self._digests.decisions
        if len(rows):
            self.counters["decisions"] += len(rows)
            decisions.add(rows, len(rows))
            # An audit row must hold the limits and the config that it was judged by, not those of a later record.
            terms = (copy_rows(self.trader.limits), len(self.trader.horizons_s), self._setup.config_hash)
            told = (*terms, copy_rows(rows), answer, outputs, self.ticks.values, self.ticks.valid)
            self._actions.append(Tell("decisions", told))
        if len(fills):
            decisions.add(fills, 0)
            self._actions.append(Tell("fills", fills))
        self._actions += self.trader.actions()
