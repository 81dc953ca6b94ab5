"""Books as arrays against books as dictionaries, and the room they take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.market import core
from data_controller.market.books import CELL, Books, as_dicts, capacity_for
from data_controller.market.layout import ChecksumRule, Proof
from data_controller.market.rows import EVENT, RULE_SHIFT, Control, Flag, Kind, Promise
from data_controller.market.tables import Channel, Tables


def channel(precision: str = "P0", length: int = 25, symbol: str = "tBTCUSD", venue: str = "bitfinex") -> Channel:
    """A book channel."""
    return Channel(venue, symbol, "book", precision, "F0", length)


def row(kind: Kind, **fields: Any) -> np.ndarray:
    """One event row as an array of one; every message is one row long where nothing is said."""
    event = np.zeros(1, EVENT)
    event["kind"] = kind
    event["flags"] = Flag.LAST
    event["recv_ns"] = 1
    for name, value in fields.items():
        event[name] = value
    return event


def apply(books: Books, event: np.ndarray) -> int:
    """apply_row on one row."""
    return core.apply_row(event, 0, books.books, books.levels, books.index, books.scratch)


def alive(precision: str, length: int = 25) -> Books:
    """One subscribed, empty book."""
    books = Books(Tables(channels=[channel(precision, length)]))
    apply(books, row(Kind.CONTROL, ref=Control.SUBSCRIBED))
    apply(books, row(Kind.RESET, flags=Flag.SNAPSHOT | Flag.LAST))
    return books


levels = st.tuples(st.sampled_from((1, -1)), st.integers(1, 60), st.sampled_from((0, 1)), st.integers(0, 9))


@given(st.lists(levels, max_size=150))
@settings(max_examples=150, deadline=None)
def test_an_l2_book_is_a_dictionary_of_prices_in_order(steps: list[tuple[int, int, int, int]]) -> None:
    books = alive("P0")
    model: dict[int, dict[float, float]] = {1: {}, -1: {}}
    unknown = crossed = 0
    for side, price, scale, size in steps:
        # the same price comes with and without a trailing zero
        event = row(Kind.SET, side=side, price=price * 10**scale, price_scale=scale, size=size, size_scale=1)
        assert apply(books, event) == core.BOOK_CHANGED
        if size:
            model[side][float(price)] = size / 10
        elif model[side].pop(float(price), None) is None:
            unknown += 1
        crossed += bool(model[1] and model[-1] and max(model[1]) >= min(model[-1]))
    bids, asks = as_dicts(books, 0)
    assert {b["price"]: b["size"] for b in bids} == model[1]
    assert {a["price"]: a["size"] for a in asks} == model[-1]
    assert [b["price"] for b in bids] == sorted(model[1], reverse=True)
    assert [a["price"] for a in asks] == sorted(model[-1])
    assert books.books[0]["unknown_deletes"] == unknown
    assert books.books[0]["crossed"] == crossed
    assert books.books[0]["events"] == len(steps)


orders = st.tuples(
    st.sampled_from((1, -1)), st.integers(1, 40), st.integers(1, 8), st.integers(0, 9), st.sampled_from((1, 1 << 40))
)


@given(st.lists(orders, max_size=200))
@settings(max_examples=150, deadline=None)
def test_an_l3_book_is_a_dictionary_of_orders_sorted_by_price_and_id(steps: list[tuple[int, ...]]) -> None:
    books = alive("R0", 100)
    model: dict[int, tuple[int, float, float]] = {}
    unknown = 0
    for side, small, price, size, factor in steps:
        ref = small * factor
        if size == 0:
            assert apply(books, row(Kind.CANCEL, ref=ref, side=side)) == core.BOOK_CHANGED
            unknown += model.pop(ref, None) is None
        else:
            apply(books, row(Kind.CHANGE, ref=ref, side=side, price=price, size=size))
            model[ref] = (side, float(price), float(size))
    bids, asks = as_dicts(books, 0)
    for side, got in ((1, bids), (-1, asks)):
        want = sorted((-side * p, ref, s) for ref, (own, p, s) in model.items() if own == side)
        assert [(-side * o["price"], o["ref"], o["size"]) for o in got] == want
    assert books.books[0]["unknown_deletes"] == unknown
    cells = books.index[books.index["side"] != 0]
    assert sorted(cells["ref"].tolist()) == sorted(model)
    assert apply(books, row(Kind.RESET, flags=Flag.SNAPSHOT | Flag.LAST)) == core.BOOK_CHANGED
    assert not books.index["side"].any()


@pytest.mark.parametrize(("precision", "kind"), [("P0", Kind.SET), ("R0", Kind.ADD)])
def test_a_side_deeper_than_its_arrays_breaks_the_book_and_touches_no_neighbour(precision: str, kind: Kind) -> None:
    books = Books(Tables(channels=[channel(precision, symbol="tA"), channel(precision, symbol="tB")]))
    for b in (0, 1):
        apply(books, row(Kind.CONTROL, ref=Control.SUBSCRIBED, channel=b))
        apply(books, row(Kind.RESET, flags=Flag.SNAPSHOT | Flag.LAST, channel=b))
    apply(books, row(kind, channel=1, side=1, price=7, size=7, ref=7))
    codes = [
        apply(books, row(kind, side=side, price=100 - side * k, size=1, ref=100 + k - side * 1000 + 1000))
        for side in (-1, 1)
        for k in range(1, capacity_for(25) + (side == 1))
    ]
    assert codes == [core.BOOK_CHANGED] * len(codes)
    assert apply(books, row(kind, side=1, price=200, size=1, ref=9999)) == core.BROKE
    assert books.books[0]["broken_by"] == 3
    assert as_dicts(books, 1) == ([{"price": 7.0, "size": 7.0, "ref": 7}], [])


def test_levels_keep_their_text_and_their_padding_is_zero() -> None:
    books = alive("P0")
    flags = Flag.LAST | Flag.PRICE_EXPONENT | Flag.SIZE_EXPONENT
    apply(books, row(Kind.SET, side=1, price=15, price_scale=8, size=7, size_scale=7, ref=3, flags=flags))
    level = books.side(0, 1)[0]
    assert (level["price"], level["size"], level["ref"], level["text_bytes"]) == (1.5e-7, 7e-7, 3, 0)
    assert level["flags"] == Flag.PRICE_EXPONENT | Flag.SIZE_EXPONENT


def test_arrays_grow_with_the_table_and_keep_what_they_hold() -> None:
    tables = Tables(channels=[channel("R0")])
    books = Books(tables)
    assert books.ensure(tables) is False
    apply(books, row(Kind.CONTROL, ref=Control.SUBSCRIBED))
    apply(books, row(Kind.RESET, flags=Flag.SNAPSHOT | Flag.LAST))
    apply(books, row(Kind.ADD, side=1, price=5, size=2, ref=11))
    tables.channel(Channel("bitfinex", "tBTCUSD", "trades"))
    tables.channel(channel("R0", 250, "tETHUSD"))
    assert books.ensure(tables) is True
    assert books.books["depth"].tolist() == [3, 0, 3]
    assert books.books["instrument"].tolist() == [0, 0, 1]
    apply(books, row(Kind.CHANGE, side=1, price=6, size=2, ref=11))
    assert as_dicts(books, 0)[0] == [{"price": 6.0, "size": 2.0, "ref": 11}]
    blocks = [(int(b["bid0"]), int(b["ask0"]), int(b["capacity"])) for b in books.books[[0, 2]]]
    assert blocks == [(33, 160, 64), (506, 1506, 500)]
    assert len(books.levels) >= 4 * 564
    assert len(books.index) >= 256 + 2048
    assert books.index.dtype == CELL


def test_a_full_book_of_unknown_length_is_widened_and_goes_on() -> None:
    books = Books(Tables(channels=[channel("R0", 0), channel("P0", 0, "tETHUSD"), channel("P0", 25, "tXRPUSD")]))
    rng = np.random.default_rng(1)
    capacity = capacity_for(0)
    prices = rng.permutation(np.arange(1, 3 * capacity + 1)).tolist()
    for c, add in ((0, Kind.ADD), (1, Kind.SET)):
        apply(books, row(Kind.RESET, channel=c))
        for price in prices:
            event = row(add, side=1, price=price, size=2, ref=price if c == 0 else 1, channel=c)
            if apply(books, event) == core.FULL:
                books.widen(c)
                assert apply(books, event) == core.BOOK_CHANGED
        assert [entry["price"] for entry in as_dicts(books, c)[0]] == sorted(prices, reverse=True)
        assert books.books[c]["capacity"] == 4 * capacity
    for price in prices[::2]:
        apply(books, row(Kind.CANCEL, ref=price, channel=0))
        apply(books, row(Kind.SET, side=1, price=price, size=0, channel=1))
    for c in (0, 1):
        assert [entry["price"] for entry in as_dicts(books, c)[0]] == sorted(prices[1::2], reverse=True)
        assert books.books[c]["unknown_deletes"] == 0


def test_packed_books_take_what_they_hold_and_go_on_as_they_were() -> None:
    tables = Tables(channels=[channel("R0", 25), Channel("bitfinex", "tBTCUSD", "trades"), channel("P0", 0, "tETHUSD")])
    first, again = Books(tables), Books(Tables())
    rng = np.random.default_rng(2)
    for c in (0, 2):
        apply(first, row(Kind.CONTROL, ref=Control.SUBSCRIBED, channel=c))
        apply(first, row(Kind.RESET, flags=Flag.SNAPSHOT | Flag.LAST, channel=c))
    for step in range(400):
        if step == 200:
            packed = first.packed()
            assert len(packed["levels"]) == sum(first.books["n_bid"]) + sum(first.books["n_ask"])
            again.unpack(packed)
        side, price, ref = rng.choice((1, -1)), int(rng.integers(1, 40)), int(rng.integers(1, 30))
        kind = Kind.CANCEL if rng.random() < 0.3 else Kind.ADD
        events = [
            row(kind, side=side, price=price, size=2, ref=ref, channel=0),
            row(Kind.SET, side=side, price=price, size=int(rng.integers(0, 3)), ref=1, channel=2),
        ]
        for books in (first, again) if step >= 200 else (first,):
            for event in events:
                apply(books, event)
    for c in (0, 2):
        assert as_dicts(first, c) == as_dicts(again, c)
        own, other = first.books[c], again.books[c]
        for name in ("proof", "events", "unknown_deletes", "crossed", "capacity", "n_bid", "n_ask"):
            assert own[name] == other[name]


def test_a_trimmed_book_keeps_its_subscribed_length() -> None:
    books = Books(Tables(channels=[channel("P0", 10)]))
    promise = Promise.TRIMMED | ChecksumRule.KRAKEN << RULE_SHIFT
    apply(books, row(Kind.CONTROL, ref=Control.SUBSCRIBED, size=promise))
    apply(books, row(Kind.RESET))
    for price in range(1, 14):
        apply(books, row(Kind.SET, side=1, price=price, size=2, ref=1))
    assert [entry["price"] for entry in as_dicts(books, 0)[0]] == list(range(13, 3, -1))
    assert books.books[0]["checksum_rule"] == ChecksumRule.KRAKEN


def queued(length: int = 0) -> Books:
    """One subscribed, empty L3 book whose orders stand by arrival; cut to `length` prices where that is not 0."""
    books = Books(Tables(channels=[channel("R0", length)]))
    apply(books, row(Kind.CONTROL, ref=Control.SUBSCRIBED, size=Promise.QUEUED | (Promise.TRIMMED if length else 0)))
    apply(books, row(Kind.RESET, flags=Flag.SNAPSHOT | Flag.LAST))
    return books


arrivals = st.tuples(
    st.sampled_from((Kind.CHANGE, Kind.REDUCE, Kind.CANCEL)), st.integers(1, 12), st.integers(1, 4), st.integers(1, 9)
)


@given(st.lists(arrivals, max_size=120))
@settings(max_examples=150, deadline=None)
def test_a_queued_book_is_a_list_of_orders_by_price_and_arrival(steps: list[tuple[Kind, int, int, int]]) -> None:
    books = queued()
    model: list[list[int]] = []  # [price, id, size in tenths], in order of arrival
    unknown = 0
    for kind, ref, price, size in steps:
        known = next((order for order in model if order[1] == ref), None)
        if kind is Kind.REDUCE and known is not None and known[2] < size:
            continue
        apply(books, row(kind, side=1, ref=ref, price=price, size=size * 10, size_scale=2))
        if kind is Kind.CHANGE:
            if known is not None and known[0] == price and known[2] >= size:
                known[2] = size
            else:
                if known is not None:
                    model.remove(known)
                model.append([price, ref, size])
        elif known is None:
            unknown += 1
        else:
            known[2] -= size
            if kind is Kind.CANCEL or known[2] == 0:
                model.remove(known)
    expected = [(p, ref, size) for p, ref, size in sorted(model, key=lambda order: -order[0])]
    found = [(e["price"], e["ref"], round(e["size"] * 10)) for e in as_dicts(books, 0)[0]]
    assert found == expected
    assert books.books[0]["unknown_deletes"] == unknown


def test_what_is_taken_from_an_order_is_exact_whatever_the_scales() -> None:
    books = queued()
    apply(books, row(Kind.ADD, side=-1, ref=5, price=7, size=3, size_scale=1))
    apply(books, row(Kind.REDUCE, side=-1, ref=5, price=7, size=10000001, size_scale=8))
    (level,) = books.side(0, -1)
    assert (level["size_digits"], level["size_scale"]) == (19999999, 8)
    assert level["size"] == 0.19999999
    assert apply(books, row(Kind.REDUCE, side=-1, ref=5, price=7, size=2, size_scale=1)) == core.BROKE
    assert books.books[0]["proof"] == Proof.BROKEN


def test_digits_that_do_not_fit_after_a_trade_break_the_book() -> None:
    books = queued()
    apply(books, row(Kind.ADD, side=1, ref=5, price=7, size=10**17, size_scale=0))
    assert apply(books, row(Kind.REDUCE, side=1, ref=5, price=7, size=1, size_scale=8)) == core.BROKE


def test_a_trimmed_book_of_orders_keeps_its_prices_and_forgets_the_rest() -> None:
    books = queued(3)
    for ref, price in enumerate([9, 9, 8, 7, 7, 7], 1):
        apply(books, row(Kind.ADD, side=1, ref=ref, price=price, size=1))
    apply(books, row(Kind.ADD, side=1, ref=10, price=10, size=1))
    assert [(e["price"], e["ref"]) for e in as_dicts(books, 0)[0]] == [(10, 10), (9, 1), (9, 2), (8, 3)]
    apply(books, row(Kind.CANCEL, ref=5))
    assert books.books[0]["unknown_deletes"] == 1
    apply(books, row(Kind.CANCEL, ref=10))
    apply(books, row(Kind.CHANGE, side=1, ref=6, price=7, size=2))
    assert [(e["price"], e["ref"]) for e in as_dicts(books, 0)[0]] == [(9, 1), (9, 2), (8, 3), (7, 6)]
    apply(books, row(Kind.RESET, flags=Flag.SNAPSHOT | Flag.LAST))
    assert not books.index["side"].any()


def test_a_new_book_is_empty_and_not_usable_whatever_the_config_acts_on() -> None:
    books = Books(Tables(channels=[channel()]), accept_mask=0xFF)
    assert books.books[0]["proof"] == Proof.EMPTY
    assert books.books[0]["usable"] == 0
