"""Binance's depth steps and what they are made of: changes, update ids, trade ids."""

from __future__ import annotations

from typing import NamedTuple

from data_controller.simulator import view

Change = tuple[int, int, int]
"""Side (0 bids, 1 asks), grid price, amount (0: the level is gone)."""
_FIRST_TRADE = 1_000_000_000


class Step(NamedTuple):
    """A depth step: the ids it used, one a change, and the book after it."""

    first: int
    last: int
    before: int  # the last id before it
    ns: int
    changes: list[Change]
    book: view.Book


class Told(NamedTuple):
    """Where a depth stream of one speed stands."""

    last: int
    book: view.Book


def trade_id(trade: view.Trade) -> int:
    """A trade's id: consecutive within its symbol."""
    return _FIRST_TRADE + trade.number


def number_of(trade_id: int) -> int:
    """The number of the trade that has an id, as `view.Trade` counts."""
    return trade_id - _FIRST_TRADE


def changed(old: view.Book, new: view.Book) -> list[Change]:
    """What turns one book into the other, levels that go first, so that it crosses at no point between."""
    gone = [(which, k, 0) for which in (0, 1) for k in old[which] if k not in new[which]]
    rest = [(which, k, amount) for which in (0, 1) for k, amount in new[which].items() if old[which].get(k) != amount]
    return gone + rest


def applied(book: view.Book, changes: list[Change]) -> view.Book:
    """The book after changes."""
    out = (dict(book[0]), dict(book[1]))
    for which, k, amount in changes:
        if amount:
            out[which][k] = amount
        else:
            out[which].pop(k, None)
    return out
