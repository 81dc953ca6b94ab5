"""The end of a second: what is taken at once, and the work that follows in slices, a tick's features among it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action, Predict, Tell
from data_controller.features.closing import end_second, store
from data_controller.features.compute import compute_all
from data_controller.features.layout import SECOND_NS
from data_controller.features.observe import observe_all
from data_controller.features.state import FeatureState
from data_controller.market.books import Books
from data_controller.market.layout import BOOK, LEVEL
from data_controller.market.pages import pages
from data_controller.pipeline.digest import Digests
from data_controller.pipeline.loop import copy_books

STORED_PER_SLICE = 25
INSTRUMENTS_PER_SLICE = 4
LEVELS_PER_SLICE = 2048


class Ticks:
    """Closes seconds, takes what a tick needs from the live books, and computes the rest piece by piece.

    What slices read was copied when the second ended, so they may come late without changing a bit.
    """

    def __init__(self, features: FeatureState, digests: Digests, window: int, needed: NDArray[np.uint8] | None) -> None:
        """`needed` [features] is 1 where the bundle looks; None: everywhere."""
        self.features = features
        self.question: Predict  # of the last tick whose features are complete
        self.asked_ns = 0  # that tick
        self.values: NDArray[np.float32] = np.zeros((0, 0), np.float32)  # of that tick, [instruments, features]
        self.valid: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
        self.complete: NDArray[np.uint8] = np.zeros(0, np.uint8)  # of that tick, [instruments] 1: all needed is valid
        self._digests = digests
        self._window = window
        self._needed = slice(None) if needed is None else np.flatnonzero(needed)
        self._past_values = np.zeros((0, window, 0), np.float32)
        self._past_valid = np.zeros((0, window, 0), np.uint8)
        self._head = np.zeros((0, 4), np.int64)
        self._books: NDArray[np.void] = np.zeros(0, BOOK)  # as the tick saw them, with
        self._levels: NDArray[np.void] = np.zeros(0, LEVEL)  # theirs

    def end_second(
        self, end_ns: int, books: Books, primary: NDArray[np.int32], actions: list[Action], *, tick: bool
    ) -> Iterator[None]:
        """End the second that ends at `end_ns`; returns the slices still to do, which append to `actions`.

        A `tick` also takes the books as they stand and goes on to features, the question and the digests.
        """
        f = self.features
        second = end_ns // SECOND_NS - 1
        end_second(f.acc, f.closed, f.bins, second, books.books, primary, books.levels, f.params)
        if not tick:
            return self._store(len(primary), second)
        if len(self._books) != len(books.books):
            self._head = np.zeros((len(books.books), 4), np.int64)
            self._books = np.zeros(len(books.books), BOOK)
        if len(self._levels) != len(books.levels):  # a channel is new, or a book was widened
            self._levels = pages(len(books.levels), LEVEL)
        held = copy_books(books.books, books.levels, self._head, self._books, self._levels)
        return self._slices(end_ns, primary, held, actions)

    def _store(self, instruments: int, second: int) -> Iterator[None]:
        f = self.features
        for first in range(0, instruments, STORED_PER_SLICE):
            store(f.closed, f.bins, f.hist, first, min(first + STORED_PER_SLICE, instruments), second)
            yield

    def _slices(self, tick_ns: int, primary: NDArray[np.int32], held: int, actions: list[Action]) -> Iterator[None]:
        f = self.features
        instruments, second = len(primary), tick_ns // SECOND_NS - 1
        yield from self._store(instruments, second)
        for first in range(0, instruments, INSTRUMENTS_PER_SLICE):
            stop = min(first + INSTRUMENTS_PER_SLICE, instruments)
            observe_all(f.obs, self._books, primary, self._levels, f.closed, first, stop, tick_ns, f.params)
            compute_all(f.bins, f.hist, f.obs, first, stop, second, f.params, f.values, f.valid)
            yield
        self.values, self.valid = f.values[:instruments].copy(), f.valid[:instruments].copy()
        self.complete = np.all(self.valid[:, self._needed], axis=1).view(np.uint8)
        features = self._digests.features
        features.add_int(tick_ns)
        features.add(self.values, instruments)
        features.add(self.valid, 0)
        self.question, self.asked_ns = Predict(tick_ns, *self._windows()), tick_ns
        yield
        actions.append(self.question)  # alone in its slice: whoever answers takes its time
        yield
        actions.append(Tell("features", (tick_ns, f.obs["mid"][:instruments].copy(), self.values, self.valid)))
        yield
        books = self._digests.books
        books.add_int(tick_ns)
        books.add(self._head, len(self._head))
        for first in range(0, held, LEVELS_PER_SLICE):
            books.add(self._levels[first : min(first + LEVELS_PER_SLICE, held)], 0)
            yield

    def _windows(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The last `window` rows of every instrument, oldest first; rows before its first tick are invalid."""
        if self._window == 1:
            return self.values[:, None, :], self.valid[:, None, :]
        n, columns = self.values.shape
        values = np.zeros((n, self._window, columns), np.float32)
        valid = np.zeros((n, self._window, columns), np.uint8)
        known = len(self._past_values)
        if known:
            values[:known, :-1] = self._past_values[:, 1:]
            valid[:known, :-1] = self._past_valid[:, 1:]
        values[:, -1], valid[:, -1] = self.values, self.valid
        self._past_values, self._past_valid = values, valid
        return values, valid
