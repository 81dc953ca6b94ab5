"""Tardis's downloadable CSV files: incremental books, trades, book snapshots and derivative tickers."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from data_controller.errors import ImportFormatError
from data_controller.exchanges.rows.frame import ZERO, Decimal, Header, Row, decimal_of
from data_controller.lake.importers._journal import (
    MAX_NS,
    DraftJournal,
    Report,
    build,
    confirmed,
    lines_of,
    open_capture,
)
from data_controller.lake.importers._rows import RESET, SNAPSHOT, VENUE, Cell, Message, Messages, header_of, push
from data_controller.market.rows import Kind
from data_controller.market.tables import Stream

COMMON = ("exchange", "symbol", "timestamp", "local_timestamp")
TRADES = (*COMMON, "id", "side", "price", "amount")
BOOK = (*COMMON, "is_snapshot", "side", "price", "amount")
DERIVATIVE = (
    *COMMON,
    "funding_timestamp",
    "funding_rate",
    "predicted_funding_rate",
    "open_interest",
    "last_price",
    "index_price",
    "mark_price",
)
"""Columns by type of file, in Tardis's order; `snapshot_columns` has those of a book_snapshot_N."""
_SIDES = {"bid": 1, "buy": 1, "ask": -1, "sell": -1, "unknown": 0, "": 0}
_FLAGS = {"true": True, "false": False}
_TEXT = re.compile(r"[\x21-\x7e]{1,64}", re.ASCII)

Reader = Callable[[list[str]], Cell]


def snapshot_columns(length: int) -> tuple[str, ...]:
    """Columns of a `book_snapshot_{length}` file."""
    levels = [
        f"{side}[{at}].{what}" for at in range(length) for side in ("asks", "bids") for what in ("price", "amount")
    ]
    return (*COMMON, *levels)


def import_tardis(files: Path | Sequence[Path], out: Path) -> Report:
    """Import Tardis CSV files, plain, gzipped or bzipped, merged by `local_timestamp`, into a new journal `out`.

    A file's type is told by its columns: `incremental_book_L2`, `trades`, `book_snapshot_N` or `derivative_ticker`.
    Numbers are taken digit for digit. A line that cannot be read is kept in the table `quarantine`, and every channel
    of its file has a gap there. Raises ImportFormatError where a file is none of these or none holds a row,
    JournalError where `out` is taken.
    """
    paths = [files] if isinstance(files, Path) else list(files)

    def fill(journal: DraftJournal) -> None:
        streams = [_in_order(_messages(path, journal), at, journal) for at, path in enumerate(paths)]
        for at_ns, _, message in heapq.merge(*streams, key=lambda item: item[:2]):
            push(journal, message._replace(recv_ns=at_ns))

    named = ", ".join(map(str, paths))
    return build(out, VENUE, False, fill, f"expected rows of Tardis CSV files, was none in {named}")


def _in_order(messages: Iterator[Message], at: int, journal: DraftJournal) -> Iterator[tuple[int, int, Message]]:
    last_ns = 0
    for message in messages:
        if message.recv_ns < last_ns:
            journal.counts["clamped_times"] += 1
        last_ns = max(last_ns, message.recv_ns)
        yield last_ns, at, message


def _messages(path: Path, journal: DraftJournal) -> Iterator[Message]:
    with open_capture(path) as file:
        lines = lines_of(file, path)
        read = _reader(next(lines, (0, b""))[1], path)

        def parse(line: bytes) -> Cell | str:
            try:
                return read(line.decode("utf-8").split(","))
            except (ValueError, KeyError, IndexError) as error:  # a UnicodeDecodeError is a ValueError
                return f"not a row of this file: {type(error).__name__}: {error}"[:200]

        yield from Messages(journal).of(confirmed(lines, parse, journal, path))


def _reader(header: bytes, path: Path) -> Reader:
    columns = tuple(header.decode("utf-8", "replace").lstrip("\ufeff").split(","))
    makers: list[tuple[tuple[str, ...], Callable[[list[int]], Reader]]] = [
        (TRADES, _trades),
        (BOOK, _book),
        (DERIVATIVE, _derivative),
    ]
    length = sum(1 for column in columns if column.endswith(".price")) // 2
    if 0 < length <= 1000:
        makers.append((snapshot_columns(length), lambda at: _snapshots(at, length)))
    for wanted, make in makers:
        if set(wanted) == set(columns) and len(wanted) == len(columns):
            read, n = make([columns.index(name) for name in wanted]), len(columns)

            def checked(cells: list[str], read: Reader = read, n: int = n) -> Cell:
                if len(cells) != n:
                    raise ValueError(f"expected {n} columns, was {len(cells)}")
                return read(cells)

            return checked
    raise ImportFormatError(
        f"expected a Tardis file of trades, incremental_book_L2, book_snapshot_N or derivative_ticker, had the columns "
        f"{','.join(columns)[:200]!r}: {path}"
    )


@lru_cache(maxsize=4096)
def _header(venue: str, symbol: str, stream: Stream, length: int = 0) -> Header:
    if not _TEXT.fullmatch(venue) or not _TEXT.fullmatch(symbol):
        raise ValueError("expected an exchange and a symbol of 1 to 64 characters, was otherwise")
    return header_of(venue, symbol, stream, "", length)


def _ns(text: str) -> int:
    at_ns = int(text) * 1000 if text.isascii() and text.isdigit() and len(text) <= 16 else -1
    if not 0 <= at_ns <= MAX_NS:
        raise ValueError(f"expected microseconds up to {MAX_NS // 1000}, was {text[:40]!r}")
    return at_ns


def trade_id(text: str) -> int:
    """A trade's id as 63 bits: itself where it is such a number, else a hash of it; 0 where there is none."""
    if not text:
        return 0
    if text.isascii() and text.isdigit() and len(text) <= 18 and (text == "0" or text[0] != "0"):
        return int(text)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def _trades(at: list[int]) -> Reader:
    venue, symbol, stamp, local, number, side, price, amount = at
    trade = int(Kind.TRADE)

    def read(cells: list[str]) -> Cell:
        size = _unsigned(cells[amount])
        if size.digits == 0 and not size.inexact:
            raise ValueError("expected a trade of some size, was 0")
        row = Row(trade, _SIDES[cells[side]], _price(cells[price]), size, trade_id(cells[number]), _ns(cells[stamp]))
        return Cell(_ns(cells[local]), _header(cells[venue], cells[symbol], "trades"), [row])

    return read


def _price(text: str) -> Decimal:
    value = decimal_of(text)
    if value.negative or (value.digits == 0 and not value.inexact):
        raise ValueError(f"expected a price above 0, was {text[:40]!r}")
    return value


def _unsigned(text: str) -> Decimal:
    value = decimal_of(text)
    if value.negative:
        raise ValueError(f"expected a size of 0 or more, was {text[:40]!r}")
    return value


def _book(at: list[int]) -> Reader:
    venue, symbol, stamp, local, is_snapshot, side, price, amount = at
    level = int(Kind.SET)

    def read(cells: list[str]) -> Cell:
        snapshot = _FLAGS[cells[is_snapshot].lower()]
        sign = _SIDES[cells[side]]
        if sign == 0:
            raise ValueError(f"expected bid or ask, was {cells[side][:40]!r}")
        flags = SNAPSHOT if snapshot else 0
        row = Row(level, sign, _price(cells[price]), _unsigned(cells[amount]), 0, _ns(cells[stamp]), flags)
        return Cell(_ns(cells[local]), _header(cells[venue], cells[symbol], "book"), [row], snapshot)

    return read


def _snapshots(at: list[int], length: int) -> Reader:
    venue, symbol, stamp, local, *levels = at
    level = int(Kind.SET)

    def read(cells: list[str]) -> Cell:
        exch_ns = _ns(cells[stamp])
        rows = [RESET._replace(exch_ns=exch_ns)]
        for k in range(0, len(levels), 2):
            price, amount = cells[levels[k]], cells[levels[k + 1]]
            if price:  # a book that is less deep leaves cells empty
                sign = -1 if k % 4 == 0 else 1
                rows.append(Row(level, sign, _price(price), _unsigned(amount), 0, exch_ns, SNAPSHOT))
        header = _header(cells[venue], cells[symbol], "book", length)
        return Cell(_ns(cells[local]), header, rows, snapshot=True, whole=True)

    return read


def _derivative(at: list[int]) -> Reader:
    venue, symbol, stamp, local, due, funding, predicted, interest, last, index, mark = at
    others = (("open_interest", interest), ("last_price", last), ("predicted_funding_rate", predicted))

    def read(cells: list[str]) -> Cell:
        exch_ns = _ns(cells[stamp])
        rows = [
            Row(int(kind), 0, _price(cells[column]), ZERO, 0, exch_ns)
            for kind, column in ((Kind.MARK, mark), (Kind.INDEX, index))
            if cells[column]
        ]
        if cells[funding]:
            due_ns = _ns(cells[due]) if cells[due] else 0
            rows.append(Row(int(Kind.FUNDING), 0, decimal_of(cells[funding]), ZERO, due_ns, exch_ns))
        for _, column in others:
            if cells[column]:
                decimal_of(cells[column])
        table = {name: float(cells[column]) for name, column in others if cells[column]}
        header = _header(cells[venue], cells[symbol], "derivative")
        return Cell(_ns(cells[local]), header, rows, table=table or None)

    return read
