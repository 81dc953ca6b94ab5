"""Books whose changes come by stream and whose snapshot is fetched: changes wait, then are put behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import dropwhile, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import StreamDecoder
from data_controller.exchanges.streaming.scanning import RESERVE
from data_controller.exchanges.streaming.snapshots import Snapshot
from data_controller.market.layout import BrokenBy
from data_controller.market.rows import Control, copy_rows
from data_controller.market.tables import Channel, Tables

MAX_HELD_ROWS = 1 << 17
"""Rows, and messages, that wait for one book's snapshot; beyond, the oldest messages are dropped."""
MAX_EARLY = 64
"""Snapshots kept of books whose stream has not been heard of yet; beyond, the oldest is dropped."""


class Held(NamedTuple):
    """A change that waits: the numbers it spans, the one before it (0 where the venue gives none), its rows."""

    first: int
    last: int
    prev: int
    rows: NDArray[np.void]


class SplicedDecoder(StreamDecoder):
    """A StreamDecoder whose books wait for a fetched snapshot.

    A venue's class says whose snapshot an answer is (`_asked`), reads it (`_read_snapshot`), and how changes join it
    (`_joins`: -1 the change is older, 0 it fits, 1 something between is missing). The scan returns `state.hold(...)`
    for a change of a book in phase NEW, checks the first one behind a snapshot in phase SPLICING as `_joins` does, and
    later ones by their chain; where one is missing it writes a GAP, sets the phase to NEW and holds the change.
    """

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self._held: dict[int, deque[Held]] = {}  # by channel row
        self._held_rows: dict[int, int] = {}
        self._since_ns: dict[int, int] = {}  # by channel row: snapshots asked for before this tell of another stream
        self._early: dict[Channel, tuple[Snapshot, int]] = {}

    def _asked(self, request: str) -> Channel | None:
        """The book whose snapshot the answer to `request` is, None where it is none."""
        raise NotImplementedError

    def _read_snapshot(self, body: bytes) -> Snapshot | None:
        """The snapshot in `body`, None where it is no such thing."""
        raise NotImplementedError

    def _joins(self, last: int, first: int, until: int, prev: int) -> int:
        """How a change of the numbers `first..until` behind `prev` stands to a snapshot at `last`: -1, 0 or 1."""
        raise NotImplementedError

    def fetched(
        self, conn: int, request: str, status: int, body: bytes, seq: int, recv_ns: int, rows: Rows, asked_ns: int = 0
    ) -> Iterator[None]:
        """Take a snapshot, put the changes that waited behind it, and say in a FETCHED row whether it fitted.

        One that was asked for before its stream began, or before something of it was lost, is of no use: nothing says
        what happened in between. Where nobody knows when it was asked for (a capture), it may come before its stream.
        """
        channel = self._asked(request)
        if channel is None:
            return
        self._counts[state.C_FETCHED] += 1
        snapshot = self._read_snapshot(body) if status == 200 else None
        cell = self._cell_of(channel)
        used = False
        if snapshot is not None and cell is None and not asked_ns:
            self._early.pop(channel, None)
            while len(self._early) >= MAX_EARLY:
                del self._early[next(iter(self._early))]
            self._early[channel] = (snapshot, conn)
            used = True
        elif snapshot is not None and cell is not None:
            old = self._outdated(cell, snapshot) or 0 < asked_ns < self._since_ns.get(int(cell["row"]), 0)
            fitting = None if old else self._fitting(cell, snapshot)
            if fitting is not None:
                yield from self._splice(cell, snapshot, fitting, seq, recv_ns, rows)
                used = True
        if not rows.room:
            yield
        if not used:
            self._counts[state.C_FETCHED_IN_VAIN] += 1
        row = self.tables.channel(channel) if channel in self.tables.channels else -1
        self._control(rows, seq, recv_ns, conn, Control.FETCHED, channel=row, price=status, size=int(used))

    def _outdated(self, cell: np.void, snapshot: Snapshot) -> bool:
        """Whether changes behind `snapshot` are in the book already, and are not sent again: its answer came late."""
        return bool(cell["phase"] != state.NEW and snapshot.last < cell["last"])

    def _fitting(self, cell: np.void, snapshot: Snapshot) -> list[Held] | None:
        """The changes that waited and go behind the snapshot; None where they begin too late or one is missing."""
        waiting = self._held.get(int(cell["row"]), deque())
        # Only those at the front can be older: behind one that joins, numbers may begin anew.
        fitting = list(dropwhile(lambda h: self._joins(snapshot.last, h.first, h.last, h.prev) < 0, waiting))
        if fitting and self._joins(snapshot.last, fitting[0].first, fitting[0].last, fitting[0].prev) > 0:
            return None
        return fitting if all(self._follows(a, b) for a, b in pairwise(fitting)) else None

    def _splice(
        self, cell: np.void, snapshot: Snapshot, fitting: list[Held], seq: int, recv_ns: int, rows: Rows
    ) -> Iterator[None]:
        """Write the snapshot and what follows it, in parts where `rows` is too small for it."""
        row = int(cell["row"])
        self._counts[state.C_STALE_UPDATES] += len(self._held.get(row, ())) - len(fitting)
        self._counts[state.C_BOOK_SNAPSHOTS] += 1
        self._counts[state.C_BOOK_UPDATES] += len(fitting)
        part = 0
        for message in (snapshot.rows, *(held.rows for held in fitting)):
            while len(message):
                if not rows.room:
                    yield
                now, message = message[: rows.room], message[rows.room :]
                self._write(rows, now, seq, recv_ns, row, part)
                part += len(now)
        cell["phase"] = state.CHAINED if fitting else state.SPLICING
        cell["last"] = fitting[-1].last if fitting else snapshot.last
        self._held.pop(row, None)
        self._held_rows.pop(row, None)

    def _follows(self, before: Held, behind: Held) -> bool:
        """Whether two changes that waited are neighbours."""
        return behind.prev == before.last if behind.prev else behind.first == before.last + 1

    def _write(self, rows: Rows, message: NDArray[np.void], seq: int, recv_ns: int, row: int, part: int) -> None:
        own = rows.array[rows.stop : rows.stop + len(message)]
        own.view(np.uint8)[:] = message.view(np.uint8)
        own["seq"], own["recv_ns"], own["channel"] = seq, recv_ns, row
        own["part"] = np.arange(part, part + len(message))
        rows.stop += len(message)

    def _meet(
        self, conn: int, key: np.uint64, channel: Channel, seq: int, recv_ns: int, rows: Rows, **how: Any
    ) -> bool:
        if not super()._meet(conn, key, channel, seq, recv_ns, rows, **how):
            return False
        row = self.tables.channel(channel)
        self._since_ns[row] = recv_ns
        self._held.pop(row, None)
        self._held_rows.pop(row, None)
        early = self._early.pop(channel, None)
        cell = self._cell(conn, key)
        if early is not None and cell is not None and rows.room > len(early[0].rows) + RESERVE:
            for _ in self._splice(cell, early[0], [], seq, recv_ns, rows):
                raise AssertionError("expected room for a snapshot that is shorter than it")
        return True

    def _gaps(self, rows: Rows, seq: int, recv_ns: int, conn: int, cause: BrokenBy) -> None:
        super()._gaps(rows, seq, recv_ns, conn, cause)
        for row, stream in self._serving.items():
            if stream[0] == conn:
                self._since_ns[row] = recv_ns

    def _hold(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        slot = self._conns[conn]
        rows.stop = int(slot["held_start"])
        message = copy_rows(rows.array[rows.stop : int(slot["held_stop"])])
        row = int(self._cells[int(slot["held_cell"])]["row"])
        waiting = self._held.setdefault(row, deque())
        waiting.append(Held(int(slot["held_first"]), int(slot["held_last"]), int(slot["held_prev"]), message))
        self._counts[state.C_HELD] += 1
        total = self._held_rows.get(row, 0) + len(message) + 1
        while total > MAX_HELD_ROWS and len(waiting) > 1:
            total -= len(waiting.popleft().rows) + 1
            self._counts[state.C_HELD_DROPPED] += 1
        self._held_rows[row] = total

    def _forget(self, conn: int) -> None:
        for row, stream in self._serving.items():
            if stream[0] == conn:
                self._held.pop(row, None)
                self._held_rows.pop(row, None)
        self._early = {channel: early for channel, early in self._early.items() if early[1] != conn}
        super()._forget(conn)
