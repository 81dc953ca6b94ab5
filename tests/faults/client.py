"""The session's side as an engine puts it together: records in, books behind the decoder, actions out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from data_controller.actions import Action
from data_controller.exchanges.bitfinex.decoder import BitfinexDecoder
from data_controller.exchanges.bitfinex.subscriptions import BitfinexSubscriptions
from data_controller.exchanges.protocols import Rows
from data_controller.market.books import Books
from data_controller.market.core import BROKE, CONTROL, FULL, apply_row
from data_controller.market.layout import BrokenBy, Proof
from data_controller.market.proof import fall_silent, refresh
from data_controller.market.rows import Control
from data_controller.market.settings import ProofSettings
from data_controller.market.tables import Tables
from data_controller.records import Batch, Kind


class Client:
    """`perform` is called with every list of actions, after Subscriptions' invariants were checked."""

    def __init__(
        self,
        settings: Any,
        perform: Callable[[list[Action]], None],
        decoder: Any = BitfinexDecoder,
        subscriptions: Any = BitfinexSubscriptions,
    ) -> None:
        self.tables = Tables()
        self.decoder = decoder(self.tables)
        self.subs = subscriptions(settings, self.tables)
        self.proof = ProofSettings()
        self.books = Books(self.tables, self.proof.accept_mask)
        self.wanted: list[int] = []  # rows of the books that the config asks for
        self.serving: dict[int, tuple[int, int]] = {}  # channel row -> (connection, channel id), as acknowledged
        self.subscribed: list[int] = []  # rows whose stream began, until somebody takes note
        self.proof_s: list[float] = []  # from a book's break or subscription to its proof, virtual seconds
        self._unproved_ns: dict[int, int] = {}
        self._perform = perform
        self._rows = Rows()
        self._last_recv_ns = np.zeros(512, np.int64)
        self._seq = 0

    def start(self, now_ns: int) -> None:
        """Ask for the connections."""
        self._do(self.subs.start(now_ns))
        self.books.ensure(self.tables)
        self.wanted = [row for row, channel in enumerate(self.tables.channels) if channel.stream == "book"]
        self._unproved_ns = dict.fromkeys(self.wanted, now_ns)

    def all_proved(self) -> bool:
        """True where every book that the config asks for is PROVED."""
        return bool((self.books.books["proof"][self.wanted] == Proof.PROVED).all())

    def record(self, kind: Kind, conn: int, now_ns: int, data: bytes = b"") -> set[int]:
        """Take a record; the rows of the books it touched."""
        self._seq += 1
        self._rows.stop = 0
        if kind is Kind.OPENED:
            self.decoder.opened(conn, self._seq, now_ns, self._rows)
        elif kind is Kind.CLOSED:
            self.decoder.closed(conn, self._seq, now_ns, self._rows)
        elif kind is Kind.FRAME:
            payload = np.frombuffer(data, np.uint8).copy()
            batch = Batch(
                self._seq,
                np.array([now_ns]),
                np.array([kind], np.uint8),
                np.array([conn], np.int32),
                np.array([0, len(payload)], np.int32),
                payload,
            )
            after = self.decoder.decode(batch, 0, 1, self._rows, self._last_recv_ns)
            assert after == 1, f"expected the decoder to consume one frame, was {after}: {data[:200]!r}"
        return self._apply(now_ns)

    def fetched(self, conn: int, request: str, status: int, body: bytes, now_ns: int, asked_ns: int = 0) -> set[int]:
        """Take a REST answer; the rows of the books it touched."""
        self._seq += 1
        self._rows.stop = 0
        touched: set[int] = set()
        for _ in self.decoder.fetched(conn, request, status, body, self._seq, now_ns, self._rows, asked_ns):
            touched |= self._apply(now_ns)
            self._rows.stop = 0
        return touched | self._apply(now_ns)

    def pulse(self, now_ns: int) -> None:
        """Look at deadlines."""
        books = self.books.books
        if refresh(books, now_ns, self.proof.max_age_ns, self.proof.accept_mask):
            for row in np.flatnonzero((books["proof"] == Proof.BROKEN) & (books["broken_ns"] == now_ns)):
                self._do(self.subs.on_broken(int(row), int(books[row]["broken_by"]), now_ns))
        self._do(self.subs.on_pulse(now_ns, self._last_recv_ns, books))
        for row in self.subs.silent(now_ns, self.decoder.heard_ns):
            fall_silent(books, row, now_ns)
            self._do(self.subs.on_broken(row, BrokenBy.SILENT, now_ns))
        self._time(now_ns)

    def _time(self, now_ns: int) -> None:
        """Note since when books are not proved, and how long it took where they are again."""
        for row, proof in zip(self.wanted, self.books.books["proof"][self.wanted].tolist(), strict=True):
            if proof != Proof.PROVED:
                self._unproved_ns.setdefault(row, now_ns)
            elif row in self._unproved_ns:
                self.proof_s.append((now_ns - self._unproved_ns.pop(row)) / 1e9)

    def _apply(self, now_ns: int) -> set[int]:
        self.books.ensure(self.tables)  # a falsified frame may name what nobody asked for
        books, rows = self.books, self._rows
        touched: set[int] = set()
        for r in range(rows.stop):
            row = rows.array[r]
            channel = int(row["channel"])
            while (code := apply_row(rows.array, r, books.books, books.levels, books.index, books.scratch)) == FULL:
                books.widen(channel)
            if channel >= 0 and books.books[channel]["depth"]:
                touched.add(channel)
            if code == CONTROL:
                if int(row["ref"]) == Control.SUBSCRIBED:
                    self.serving[channel] = int(row["part"]), int(row["price"])
                    self.subscribed.append(channel)
                self._do(self.subs.on_control(row, now_ns))
            elif code == BROKE:
                self._do(self.subs.on_broken(channel, int(books.books[channel]["broken_by"]), now_ns))
        self._time(now_ns)
        return touched

    def _do(self, actions: list[Action]) -> None:
        self.subs.validate()
        self._perform(actions)
