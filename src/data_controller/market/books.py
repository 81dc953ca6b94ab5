"""Order books as arrays: L2 levels and L3 orders, best first, in one pool that all compiled rooms read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.kernels import kernel
from data_controller.market._words import address_of, move_bytes, record_at
from data_controller.market.checksums import SCRATCH_BYTES
from data_controller.market.layout import BOOK, LEVEL, Proof
from data_controller.market.numbers import to_float
from data_controller.market.pages import pages
from data_controller.market.tables import Channel, Tables

CELL = np.dtype([("ref", "<i8"), ("price", "<f8"), ("side", "<i8")])
"""A cell of the id index of an L3 book: where order `ref` stands; side 0 is a free cell."""

_LEVEL_BYTES = LEVEL.itemsize
level_at = record_at(LEVEL)
cell_at = record_at(CELL)
# In the kernels below `levels` and `index` are the addresses of those arrays; `first` and `cell0` count items.

UNKNOWN_LENGTH = 1000
"""Entries a side assumed at first where a book's channel does not say."""
MIN_CAPACITY = 64
MAX_CAPACITY = 1 << 18
"""Entries a side beyond which a book is not widened: it breaks. The deepest seen held 57,419 orders a side."""


def capacity_for(length: int) -> int:
    """Entries a side to keep room for: twice the subscribed length, as new entries come before the old ones leave."""
    return max(MIN_CAPACITY, 2 * (length or UNKNOWN_LENGTH))


def _cells(book: np.void) -> int:
    """Cells of the id index of a book: a power of two, of which entries never fill more than half."""
    return 1 << (4 * int(book["capacity"]) - 1).bit_length() if book["depth"] == 3 else 0


def _depth(channel: Channel) -> int:
    if channel.stream != "book":
        return 0
    return 3 if channel.precision == "R0" or channel.precision.endswith("T") else 2


class Books:
    """Owner of the arrays that the market kernels work on.

    `books[row]` belongs to row `row` of the channel table; its depth is 0 where that channel is no book. `ensure` and
    `widen` may replace the arrays, so callers read the attributes again after them.
    """

    def __init__(self, tables: Tables, accept_mask: int = 1 << Proof.PROVED) -> None:
        self.accept_mask = accept_mask  # what books of channels still to come start with
        self.books: NDArray[np.void] = np.zeros(0, BOOK)  # [channels]
        self.levels: NDArray[np.void] = np.zeros(0, LEVEL)  # [all books' bids and asks, and room for more]
        self.index: NDArray[np.void] = np.zeros(0, CELL)  # [all L3 books' id cells, and room for more]
        self.scratch: NDArray[np.uint8] = np.zeros(SCRATCH_BYTES, np.uint8)
        self._used_levels = self._used_cells = 0
        self.ensure(tables)

    def ensure(self, tables: Tables) -> bool:
        """Grow the arrays to the channel table; True where `books` was replaced."""
        have = len(self.books)
        if have == len(tables.channels):
            return False
        books = np.zeros(len(tables.channels), BOOK)
        books[:have] = self.books
        for row in range(have, len(books)):
            channel, book = tables.channels[row], books[row]
            book["channel"] = row
            book["instrument"] = tables.channel_instrument[row]
            book["depth"] = _depth(channel)
            if book["depth"] == 0:
                continue
            book["accept"] = self.accept_mask
            book["length"] = channel.length
            book["capacity"] = capacity_for(channel.length)
        self.books = books
        self._place(range(have, len(books)))
        return True

    def widen(self, row: int) -> None:
        """Double the room of book `row`, which is full; other books stay where they are while there is room."""
        self.books[row]["capacity"] *= 2
        self._place(range(row, row + 1))

    def packed(self) -> dict[str, Any]:
        """All books with the entries they hold and no room besides, as plain arrays."""
        books, parts, at = self.books.copy(), [], 0
        for row in np.flatnonzero(books["depth"]).tolist():
            for side, first in ((1, "bid0"), (-1, "ask0")):
                parts.append(self.side(row, side))
                books[row][first] = at
                at += len(parts[-1])
        levels = np.concatenate([part.view("V48") for part in parts]).view(LEVEL) if parts else np.zeros(0, LEVEL)
        return {"accept_mask": self.accept_mask, "books": books, "levels": levels}

    def unpack(self, packed: dict[str, Any]) -> None:
        """Become what was `packed`."""
        self.accept_mask, self.books, self.levels = packed["accept_mask"], packed["books"].copy(), packed["levels"]
        self.index, self._used_levels = np.zeros(0, CELL), len(self.levels)  # no room: all move to arrays with some
        self._place(range(len(self.books)))

    def _place(self, rows: range) -> None:
        """Give each book of `rows` new bands behind all others and move its entries there.

        Where the arrays have no room for that, every book moves to larger ones. The rest of those is only address
        space until a book needs it; the bands that a widened book leaves are lost until then.
        """
        levels, index = self.levels, self.index
        wanted = [row for row in rows if self.books[row]["depth"]]
        n_levels, n_cells = self._room(wanted)
        if self._used_levels + n_levels > len(levels) or self._used_cells + n_cells > len(index):
            wanted = np.flatnonzero(self.books["depth"]).tolist()
            n_levels, n_cells = self._room(wanted)
            levels, index = pages(2 * n_levels, LEVEL), pages(2 * n_cells, CELL)
            self._used_levels = self._used_cells = 0
        for row in wanted:
            self._move(row, levels, index)
        self.levels, self.index = levels, index

    def _room(self, rows: list[int]) -> tuple[int, int]:
        """Levels and id cells that the books of `rows` need."""
        room = [(4 * int(book["capacity"]), _cells(book)) for book in (self.books[row] for row in rows)]
        return sum(levels for levels, _ in room), sum(cells for _, cells in room)

    def _move(self, row: int, levels: NDArray[np.void], index: NDArray[np.void]) -> None:
        """Lay book `row` out behind what is used of `levels` and `index`, which may be the arrays it stands in."""
        book = self.books[row]
        capacity, cells = int(book["capacity"]), _cells(book)
        n_bid, n_ask, bid0, ask0 = (int(book[name]) for name in ("n_bid", "n_ask", "bid0", "ask0"))
        book["band_bid"], book["band_ask"] = self._used_levels, self._used_levels + 2 * capacity
        book["bid0"], book["ask0"] = book["band_bid"] + capacity // 2, book["band_ask"] + capacity // 2
        for now, was, n in ((int(book["bid0"]), bid0, n_bid), (int(book["ask0"]), ask0, n_ask)):
            levels[now : now + n] = self.levels[was : was + n]
        self._used_levels += 4 * capacity
        if cells:
            book["index0"], book["index_mask"] = self._used_cells, cells - 1
            self._used_cells += cells
            _index_again(self.books, row, levels, index)

    def side(self, row: int, side: int) -> NDArray[np.void]:
        """A view of the LEVEL entries of book `row`, best first: bids where `side` > 0, asks otherwise."""
        book = self.books[row]
        first, n = (book["bid0"], book["n_bid"]) if side > 0 else (book["ask0"], book["n_ask"])
        return self.levels[first : first + n]


@kernel
def price_rank(levels: Any, first: Any, n: Any, side: Any, price: Any) -> Any:
    """How many of the `n` entries are better than `price`."""
    lo = np.int64(0)
    hi = np.int64(min(n, 4))
    # Most changes are near the best price: bounds double from there, so that far entries stay out of the cache.
    if side > 0:
        while hi < n and level_at(levels, first + hi - 1).price > price:
            lo = hi
            hi = min(n, 4 * hi)
        while lo < hi:
            mid = (lo + hi) >> 1
            if level_at(levels, first + mid).price > price:
                lo = mid + 1
            else:
                hi = mid
    else:
        while hi < n and level_at(levels, first + hi - 1).price < price:
            lo = hi
            hi = min(n, 4 * hi)
        while lo < hi:
            mid = (lo + hi) >> 1
            if level_at(levels, first + mid).price < price:
                lo = mid + 1
            else:
                hi = mid
    return lo


@kernel
def order_rank(levels: Any, first: Any, n: Any, side: Any, price: Any, ref: Any, queued: Any) -> Any:
    """How many of the `n` orders stand before order `ref` at `price`.

    Those are better ones, and of that price the smaller ids; where the side is `queued`, all that came before it, which
    is every one of that price if it is not there yet.
    """
    if queued:
        at = price_rank(levels, first, n, side, price)
        while at < n and level_at(levels, first + at).price == price and level_at(levels, first + at).ref != ref:
            at += 1
        return at
    lo = np.int64(0)
    hi = np.int64(n)
    while lo < hi:
        mid = (lo + hi) >> 1
        here = level_at(levels, first + mid)
        before = here.ref < ref if here.price == price else (here.price > price) == (side > 0)
        if before:
            lo = mid + 1
        else:
            hi = mid
    return lo


@kernel
def find_cell(index: Any, cell0: Any, mask: Any, ref: Any) -> Any:
    """The cell of order `ref`, or the free one where it would go; a book's index is never more than half full."""
    at = np.int64((np.uint64(ref) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while cell_at(index, cell0 + at).side != 0 and cell_at(index, cell0 + at).ref != ref:
        at = (at + 1) & mask
    return at


@kernel
def free_cell(index: Any, cell0: Any, mask: Any, at: Any) -> None:
    """Empty cell `at` and move later ones of its run back, so that no tombstone remains (D. Knuth, 6.4 R)."""
    hole = at
    while True:
        at = (at + 1) & mask
        if cell_at(index, cell0 + at).side == 0:
            break
        home = (
            np.int64((np.uint64(cell_at(index, cell0 + at).ref) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32))
            & mask
        )
        if ((at - home) & mask) >= ((at - hole) & mask):
            to, of = cell_at(index, cell0 + hole), cell_at(index, cell0 + at)
            to.ref = of.ref
            to.price = of.price
            to.side = of.side
            hole = at
    cell_at(index, cell0 + hole).side = 0


@kernel
def clear_index(book: Any, index: Any) -> None:
    """Forget every order id of an L3 book."""
    if book.depth == 3:
        for at in range(book.index_mask + 1):
            cell_at(index, book.index0 + at).side = 0


@kernel
def insert_entry(book: Any, levels: Any, side: Any, at: Any) -> None:
    """Open entry `at` of a side that is not full, moving whichever end of it is shorter."""
    if side > 0:
        first, n, band = book.bid0, book.n_bid, book.band_bid
        book.n_bid = n + 1
    else:
        first, n, band = book.ask0, book.n_ask, book.band_ask
        book.n_ask = n + 1
    before = 2 * at < n
    if first == band if before else first + n == band + 2 * book.capacity:
        centre = band + book.capacity - n // 2
        move_bytes(levels + centre * _LEVEL_BYTES, levels + first * _LEVEL_BYTES, n * _LEVEL_BYTES)
        first = centre
    base = levels + first * _LEVEL_BYTES
    if before:
        move_bytes(base - _LEVEL_BYTES, base, at * _LEVEL_BYTES)
        first -= 1
    else:
        here = base + at * _LEVEL_BYTES
        move_bytes(here + _LEVEL_BYTES, here, (n - at) * _LEVEL_BYTES)
    if side > 0:
        book.bid0 = first
    else:
        book.ask0 = first


@kernel
def remove_entry(book: Any, levels: Any, side: Any, at: Any) -> None:
    """Close entry `at` of a side, moving whichever end of it is shorter."""
    if side > 0:
        first, n = book.bid0, book.n_bid
        book.n_bid = n - 1
    else:
        first, n = book.ask0, book.n_ask
        book.n_ask = n - 1
    base = levels + first * _LEVEL_BYTES
    if 2 * at < n:
        move_bytes(base + _LEVEL_BYTES, base, at * _LEVEL_BYTES)
        if side > 0:
            book.bid0 = first + 1
        else:
            book.ask0 = first + 1
    else:
        here = base + at * _LEVEL_BYTES
        move_bytes(here, here + _LEVEL_BYTES, (n - at - 1) * _LEVEL_BYTES)


@kernel
def write_entry(level: Any, row: Any, price: Any, size: Any) -> None:
    """Fill a LEVEL from an event row."""
    level.price = price
    level.size = size
    level.price_digits = row.price
    level.size_digits = row.size
    level.ref = row.ref
    level.price_scale = row.price_scale
    level.size_scale = row.size_scale
    level.flags = row.flags & 24
    level.text_bytes = 0


@kernel
def untouched(book: Any) -> None:
    """A message begins: as yet it has touched no level of an L2 book; of an L3 book nobody keeps count."""
    first = book.capacity if book.depth == 2 else 0
    book.touched_bid = first
    book.touched_ask = first


@kernel
def set_level(book: Any, levels: Any, row: Any, price: Any, size: Any) -> None:
    """Apply a SET row to an L2 book whose side is not full."""
    side = row.side
    first = book.bid0 if side > 0 else book.ask0
    n = book.n_bid if side > 0 else book.n_ask
    at = price_rank(levels, first, n, side, price)
    known = at < n and level_at(levels, first + at).price == price
    if side > 0:
        book.touched_bid = min(book.touched_bid, at)
    else:
        book.touched_ask = min(book.touched_ask, at)
    if row.size == 0:
        if known:
            remove_entry(book, levels, side, at)
        else:
            book.unknown_deletes += 1
        return
    if not known:
        insert_entry(book, levels, side, at)
    write_entry(level_at(levels, (book.bid0 if side > 0 else book.ask0) + at), row, price, size)


@kernel
def cancel_order(book: Any, levels: Any, index: Any, ref: Any) -> Any:
    """Take order `ref` out of an L3 book; False where it is not there."""
    at = find_cell(index, book.index0, book.index_mask, ref)
    cell = cell_at(index, book.index0 + at)
    side = cell.side
    if side == 0:
        return False
    first = book.bid0 if side > 0 else book.ask0
    n = book.n_bid if side > 0 else book.n_ask
    remove_entry(book, levels, side, order_rank(levels, first, n, side, cell.price, ref, book.queued))
    free_cell(index, book.index0, book.index_mask, at)
    return True


@kernel
def set_order(book: Any, levels: Any, index: Any, row: Any, price: Any, size: Any) -> None:
    """Apply an ADD or CHANGE row to an L3 book whose side is not full: order `ref` now rests there."""
    side = np.int64(row.side)
    ref = row.ref
    at = find_cell(index, book.index0, book.index_mask, ref)
    cell = cell_at(index, book.index0 + at)
    first = book.bid0 if side > 0 else book.ask0
    if cell.side == side and cell.price == price:
        n = book.n_bid if side > 0 else book.n_ask
        level = level_at(levels, first + order_rank(levels, first, n, side, price, ref, book.queued))
        # Where arrival counts, an order that grows goes to the end of its queue.
        if not book.queued or size <= level.size:
            write_entry(level, row, price, size)
            return
    if cell.side != 0:
        cancel_order(book, levels, index, ref)
        at = find_cell(index, book.index0, book.index_mask, ref)
    first = book.bid0 if side > 0 else book.ask0
    n = book.n_bid if side > 0 else book.n_ask
    rank = order_rank(levels, first, n, side, price, ref, book.queued)
    insert_entry(book, levels, side, rank)
    write_entry(level_at(levels, (book.bid0 if side > 0 else book.ask0) + rank), row, price, size)
    cell = cell_at(index, book.index0 + at)
    cell.ref = ref
    cell.price = price
    cell.side = side


@kernel
def reduce_order(book: Any, levels: Any, index: Any, row: Any) -> Any:
    """Take a REDUCE row's size off its order: 1 done, 0 there is no such order, -1 it holds less or too many digits."""
    cell = cell_at(index, book.index0 + find_cell(index, book.index0, book.index_mask, row.ref))
    side = cell.side
    if side == 0:
        return 0
    first = book.bid0 if side > 0 else book.ask0
    n = book.n_bid if side > 0 else book.n_ask
    level = level_at(levels, first + order_rank(levels, first, n, side, cell.price, row.ref, book.queued))
    has, scale = np.int64(level.size_digits), np.int64(level.size_scale)
    less = np.int64(row.size)
    for _ in range(scale, np.int64(row.size_scale)):
        if has >= 100_000_000_000_000_000:
            return -1
        has *= 10
        scale += 1
    for _ in range(np.int64(row.size_scale), scale):
        if less >= 100_000_000_000_000_000:
            return -1
        less *= 10
    if has < less:
        return -1
    if has == less:
        cancel_order(book, levels, index, row.ref)
        return 1
    level.size_digits = has - less
    level.size_scale = scale
    level.size = to_float(has - less, scale)
    level.flags = level.flags & ~16
    level.text_bytes = 0
    return 1


@kernel
def trim_prices(book: Any, levels: Any, index: Any) -> None:
    """Take out the orders beyond the first `length` prices of either side."""
    for side in (1, -1):
        first = book.bid0 if side > 0 else book.ask0
        n = book.n_bid if side > 0 else book.n_ask
        if n <= book.length:
            continue
        prices = 0
        keep = np.int64(0)
        while keep < n:
            if keep == 0 or level_at(levels, first + keep).price != level_at(levels, first + keep - 1).price:
                prices += 1
                if prices > book.length:
                    break
            keep += 1
        for k in range(n - 1, keep - 1, -1):
            free_cell(
                index,
                book.index0,
                book.index_mask,
                find_cell(index, book.index0, book.index_mask, level_at(levels, first + k).ref),
            )
        if side > 0:
            book.n_bid = keep
        else:
            book.n_ask = keep


@kernel
def _index_again(books: Any, row: Any, levels_array: Any, index_array: Any) -> None:
    """Enter every order of L3 book `row` into its index, which is empty."""
    book = books[row]
    levels, index = address_of(levels_array), address_of(index_array)
    for k in range(book.n_bid + book.n_ask):
        bid = k < book.n_bid
        level = level_at(levels, book.bid0 + k if bid else book.ask0 + k - book.n_bid)
        cell = cell_at(index, book.index0 + find_cell(index, book.index0, book.index_mask, level.ref))
        cell.ref = level.ref
        cell.price = level.price
        cell.side = 1 if bid else -1


def as_dicts(books: Books, row: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Bids and asks of book `row`, best first, as plain values: for people and tests."""

    def plain(levels: NDArray[np.void]) -> list[dict[str, Any]]:
        return [{"price": float(v["price"]), "size": float(v["size"]), "ref": int(v["ref"])} for v in levels]

    return plain(books.side(row, +1)), plain(books.side(row, -1))
