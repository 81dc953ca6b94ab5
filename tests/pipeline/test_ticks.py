"""A tick takes the books as they stand, however deep they have become since the last one."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_controller.market import core
from data_controller.market.books import Books
from data_controller.market.rows import EVENT, Control, Flag, Kind
from data_controller.market.tables import Channel, Tables
from data_controller.pipeline.digest import Digests
from data_controller.pipeline.tick import Ticks
from tests.features.stream import START_S, new_state

SECOND_NS = 1_000_000_000


def deepen(books: Books, prices: range) -> None:
    """A bid and an ask for every price, in a book that is widened where it is full."""
    event = np.zeros(1, EVENT)
    event["recv_ns"] = 1
    for kind, ref in ((Kind.CONTROL, Control.SUBSCRIBED), (Kind.RESET, 0)):
        event["kind"], event["ref"], event["flags"] = kind, ref, Flag.SNAPSHOT | Flag.LAST
        core.apply_row(event, 0, books.books, books.levels, books.index, books.scratch)
    event["kind"], event["flags"], event["size"] = Kind.SET, Flag.LAST, 2
    for price in prices:
        for side in (1, -1):
            event["side"], event["price"], event["ref"] = side, price if side > 0 else 10**6 + price, 1
            if core.apply_row(event, 0, books.books, books.levels, books.index, books.scratch) == core.FULL:
                books.widen(0)
                core.apply_row(event, 0, books.books, books.levels, books.index, books.scratch)


def tick(ticks: Ticks, books: Books, second: int) -> None:
    actions: list[Any] = []
    for _ in ticks.end_second(second * SECOND_NS, books, np.zeros(1, np.int32), actions, tick=True):
        pass


def deep() -> Books:
    return Books(Tables(channels=[Channel("binance", "BTCUSDT", "book", "", "100ms", 0)]))


def test_a_book_that_was_widened_between_two_ticks_is_taken_whole() -> None:
    books, digests, expected = deep(), Digests(), Digests()
    ticks = Ticks(new_state(), digests, 4, None)
    tick(ticks, books, START_S)
    deepen(books, range(1, 20_000))
    tick(ticks, books, START_S + 1)

    tick(Ticks(new_state(), expected, 4, None), deep(), START_S)
    tick(Ticks(new_state(), expected, 4, None), books, START_S + 1)
    assert books.books[0]["n_bid"] == books.books[0]["n_ask"] == 19_999
    assert digests.books.result() == expected.books.result()


def test_the_window_holds_the_last_ticks_and_is_invalid_before_the_first() -> None:
    ticks, books = Ticks(new_state(), Digests(), 3, None), deep()
    for second in range(2):
        tick(ticks, books, START_S + second)
    values, valid = ticks.question.features, ticks.question.valid
    assert values.shape == valid.shape == (1, 3, ticks.values.shape[1])
    assert not valid[0, 0].any()
    assert np.array_equal(values[0, 2], ticks.values[0], equal_nan=True)
    assert np.array_equal(valid[0, 2], ticks.valid[0])
