"""Any CSV, Parquet or Feather table by a mapping: which column is which field, in which unit, in which words."""

from __future__ import annotations

import csv
import datetime as dt
import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal as Exact
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from data_controller.errors import ImportFormatError
from data_controller.exchanges.rows.frame import Decimal, Header, Row, decimal_of
from data_controller.lake.importers._journal import (
    FAR_AHEAD_NS,
    MAX_NS,
    DraftJournal,
    Lost,
    Report,
    build,
    confirmed,
    lines_of,
    open_capture,
)
from data_controller.lake.importers._rows import RESET, SNAPSHOT, VENUE, Cell, Message, Messages, header_of, push
from data_controller.lake.importers.tardis import trade_id
from data_controller.market.rows import Kind

Column = int | str
"""A column by its name, or by its place from 0 on where the table has no header."""

_TIME = re.compile(r"\d{1,19}(\.\d{1,9})?", re.ASCII)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_SPANS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NEWEST_FIRST_ROWS = 10_000_000

Cells = Callable[[Column], Any]


class Time(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a time stands; `plus` is a second column to add (ms beside a date), `at` is one time for all rows."""

    column: Column | None = None
    unit: str = "ms"  # s, ms, us, ns, iso, or a strptime pattern, which is UTC
    plus: Column | None = None
    plus_unit: Literal["s", "ms", "us", "ns"] = "ms"
    at: str = ""


class Levels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the levels of a side stand, best first: list columns, or as many columns as there are levels."""

    price: Column | list[Column]
    size: Column | list[Column]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files of one layout, in the order of their rows."""

    files: list[str]
    kind: Literal["updates", "snapshots", "trades", "candles"]
    venue: str
    time: Time
    symbol: str = ""
    symbol_column: Column | None = None
    exchange_time: Time | None = None
    price: Column = "price"
    size: Column = "size"
    side: Column = "side"
    buy: tuple[str, ...] = ("buy", "bid", "b", "B", "BUY", "Buy")
    sell: tuple[str, ...] = ("sell", "ask", "s", "S", "a", "SELL", "Sell")
    id: Column | None = None
    bids: Levels | None = None
    asks: Levels | None = None
    snapshot: bool = False  # updates: all rows of one time are a snapshot
    open: Column = "open"
    high: Column = "high"
    low: Column = "low"
    close: Column = "close"
    volume: Column = "volume"
    timeframe: str = ""  # candles: 1m, 5m, 1h, 1d
    header: bool = True  # CSV: the first line names the columns
    skip_lines: int = 0  # CSV: lines before that
    delimiter: str = ","
    newest_first: bool = False


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file that says how tables are read; `sources` are merged by time."""

    sources: list[Source]


def load_mapping(path: Path) -> Mapping:
    """The mapping in a YAML file; ImportFormatError with the first thing wrong in it."""
    try:
        mapping = msgspec.convert(YAML(typ="safe", pure=True).load(path.read_bytes()), Mapping)
    except OSError as error:
        raise ImportFormatError(f"expected a mapping, was unreadable: {path}: {error.strerror}") from error
    except (YAMLError, msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise ImportFormatError(f"expected a mapping of `sources` in {path}, was otherwise: {text}"[:400]) from error
    for source in mapping.sources:
        _check(source, path)
    return mapping


def _check(source: Source, path: Path) -> None:
    said = None
    if not source.symbol and source.symbol_column is None:
        said = "`symbol` or `symbol_column`, was neither"
    elif source.kind == "snapshots" and (source.bids is None or source.asks is None):
        said = "`bids` and `asks` of snapshots, was without"
    elif source.kind == "candles" and _span_ns(source.timeframe) == 0:
        said = f"`timeframe` of candles such as 1m or 1h, was {source.timeframe!r}"
    elif not source.files:
        said = "`files`, was none"
    for time in (source.time, source.exchange_time):
        if time is not None and (time.column is None) == (not time.at):
            said = "either `column` or `at` of a time"
        elif time is not None and time.unit not in (*_UNITS_NS, "iso") and "%" not in time.unit:
            said = f"s, ms, us, ns, iso or a pattern such as %Y-%m-%d as `unit`, was {time.unit!r}"
    if said:
        raise ImportFormatError(f"expected {said} ({path})")


def import_table(mapping: Path, out: Path, data: Path | None = None) -> Report:
    """Import the tables that the YAML file `mapping` describes into a new journal `out`; returns the counts.

    File names are relative to `data`, or to the mapping's own folder. Text is taken digit for digit, a float as the
    shortest decimal that is it. A candle arrives when it is over. Rows that cannot be read are kept in the table
    `quarantine`, and the channels of their source have a gap there. Raises ImportFormatError, JournalError.
    """
    plan = load_mapping(mapping)
    folder = data or mapping.parent

    def fill(journal: DraftJournal) -> None:
        streams = [_in_order(_messages(source, folder, journal), at, journal) for at, source in enumerate(plan.sources)]
        for at_ns, _, message in heapq.merge(*streams, key=lambda item: item[:2]):
            push(journal, message._replace(recv_ns=at_ns))

    return build(out, VENUE, False, fill, f"expected rows in the tables of {mapping}, was none that could be read")


def _in_order(messages: Iterator[Message], at: int, journal: DraftJournal) -> Iterator[tuple[int, int, Message]]:
    last_ns = 0
    for message in messages:
        if message.recv_ns < last_ns:
            journal.counts["clamped_times"] += 1
        last_ns = max(last_ns, message.recv_ns)
        yield last_ns, at, message


def _messages(source: Source, folder: Path, journal: DraftJournal) -> Iterator[Message]:
    span_ns = _span_ns(source.timeframe)
    far_ns = max(FAR_AHEAD_NS, 400 * span_ns)

    def cells() -> Iterator[Cell | Lost]:
        for name in source.files:
            path = folder / name
            rows, look_up = _rows_of(path, source)

            def parse(row: Any, look_up: Callable[[Any], Cells] = look_up) -> Cell | str:
                try:
                    return _read(source, look_up(row))
                except (
                    ValueError,
                    KeyError,
                    IndexError,
                    TypeError,
                    OverflowError,
                    ArithmeticError,
                    csv.Error,
                ) as error:
                    return f"not a row of this table: {type(error).__name__}: {error}"[:200]

            yield from confirmed(rows, parse, journal, path, far_ns=far_ns)

    return Messages(journal).of(cells())


def _rows_of(path: Path, source: Source) -> tuple[Iterator[tuple[int, Any]], Callable[[Any], Cells]]:
    """Numbered rows of a table, and what makes a look-up by column of one."""
    try:
        with path.open("rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise ImportFormatError(f"expected a table to import, was unreadable: {path}: {error.strerror}") from error
    rows: Iterator[tuple[int, Any]]
    look_up: Callable[[Any], Cells]
    if magic[:4] == b"PAR1" or magic == b"ARROW1":
        rows, look_up = _arrow_rows(path, parquet=magic[:4] == b"PAR1"), _by_name
    else:
        rows, look_up = _csv_rows(path, source)
    if source.newest_first:
        held = []
        for row in rows:
            held.append(row)
            if len(held) > _NEWEST_FIRST_ROWS:
                raise ImportFormatError(f"expected at most {_NEWEST_FIRST_ROWS} rows newest first, was more: {path}")
        rows = iter(held[::-1])
    return rows, look_up


def _arrow_rows(path: Path, *, parquet: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    from pyarrow import feather
    from pyarrow import parquet as files

    number = 0
    try:
        if parquet:
            batches = files.ParquetFile(path).iter_batches(batch_size=256)
        else:
            batches = feather.read_table(path).to_batches(max_chunksize=1024)
        for batch in batches:
            columns = [
                column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
                if pa.types.is_timestamp(column.type)
                else column
                for column in batch.columns
            ]
            for row in pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise ImportFormatError(f"expected {path} to be readable, was damaged after row {number}: {text}") from error


def _by_name(row: Any) -> Cells:
    def look_up(column: Column) -> Any:
        return row[column]

    return look_up


def _csv_rows(path: Path, source: Source) -> tuple[Iterator[tuple[int, bytes]], Callable[[Any], Cells]]:
    names: dict[str, int] = {}
    if source.header:
        with open_capture(path) as file:
            for number, line in lines_of(file, path):
                if number == source.skip_lines + 1:
                    cells = next(csv.reader([line.decode("utf-8-sig", "replace")], delimiter=source.delimiter), [])
                    names = {name.strip(): at for at, name in enumerate(cells)}
                    break
    first = source.skip_lines + (1 if source.header else 0)

    def rows() -> Iterator[tuple[int, bytes]]:
        with open_capture(path) as file:
            for number, line in lines_of(file, path):
                if number > first:
                    yield number, line

    def look_up(line: bytes) -> Cells:
        cells = next(csv.reader([line.decode("utf-8")], delimiter=source.delimiter))

        def cell(column: Column) -> str:
            at = column if isinstance(column, int) else names[column]
            if at < 0:
                raise IndexError(at)
            return cells[at].strip(" \0")

        return cell

    return rows(), look_up


def _number(value: Any) -> Decimal:
    """A cell as a number: text as it is written, a float as the shortest decimal that is it."""
    if isinstance(value, str):
        return decimal_of(value)
    if isinstance(value, float):
        text = format(Exact(repr(value)), "f")
        return decimal_of(text.removesuffix(".0"))
    if isinstance(value, (int, Exact)) and not isinstance(value, bool):
        return decimal_of(format(value, "f") if isinstance(value, Exact) else str(value))
    raise TypeError(f"expected a number, was {type(value).__name__}")


def _size(value: Any) -> Decimal:
    number = _number(value)
    if number.negative:
        raise ValueError("expected a size of 0 or more, was negative")
    return number


def _price(value: Any) -> Decimal:
    number = _number(value)
    if number.negative or (number.digits == 0 and not number.inexact):
        raise ValueError("expected a price above 0, was otherwise")
    return number


def _time_ns(time: Time, cells: Cells) -> int:
    value: Any = time.at if time.at else cells(time.column if time.column is not None else "")
    if time.at or time.unit == "iso":
        at = dt.datetime.fromisoformat(str(value))
        at_ns = _since_epoch(at)
    elif time.unit in _UNITS_NS:
        at_ns = _scaled(value, _UNITS_NS[time.unit])
    else:
        at_ns = _since_epoch(dt.datetime.strptime(str(value), time.unit))  # noqa: DTZ007 - made UTC there
    if time.plus is not None:
        at_ns += _scaled(cells(time.plus), _UNITS_NS[time.plus_unit])
    if not 0 <= at_ns <= MAX_NS:
        raise ValueError(f"expected a time from 1970 to 2262, was {str(value)[:40]!r}")
    return at_ns


def _scaled(value: Any, unit_ns: int) -> int:
    text = repr(value) if isinstance(value, float) else str(value)
    if not _TIME.fullmatch(text):
        raise ValueError(f"expected a time of 0 or later, was {text[:40]!r}")
    return int(Exact(text) * unit_ns)


def _since_epoch(at: dt.datetime) -> int:
    utc = at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
    return (utc - _EPOCH) // dt.timedelta(microseconds=1) * 1000


def _span_ns(timeframe: str) -> int:
    """Nanoseconds of `5m`, 0 where it is no timeframe."""
    count, unit = timeframe[:-1], timeframe[-1:]
    return int(count) * _SPANS_S[unit] * 10**9 if count.isdigit() and len(count) < 4 and unit in _SPANS_S else 0


def _read(source: Source, cells: Cells) -> Cell:
    symbol = source.symbol or str(cells(source.symbol_column if source.symbol_column is not None else "")).strip()
    if not 0 < len(symbol) <= 64 or not symbol.isprintable():
        raise ValueError(f"expected a symbol of 1 to 64 characters, was {symbol[:70]!r}")
    recv_ns = _time_ns(source.time, cells)
    exch_ns = _time_ns(source.exchange_time, cells) if source.exchange_time is not None else 0
    if source.kind == "candles":
        return _candle(source, symbol, recv_ns, cells)
    if source.kind == "trades":
        side = _side(source, cells) if source.side != "" else 0
        size = _size(cells(source.size))
        if size.digits == 0 and not size.inexact:
            raise ValueError("expected a trade of some size, was 0")
        number = trade_id(str(cells(source.id))) if source.id is not None else 0
        row = Row(int(Kind.TRADE), side, _price(cells(source.price)), size, number, exch_ns)
        return Cell(recv_ns, _header(source, symbol, "trades"), [row])
    if source.kind == "snapshots":
        return _snapshot(source, symbol, recv_ns, exch_ns, cells)
    side = _side(source, cells)
    flags = SNAPSHOT if source.snapshot else 0
    row = Row(int(Kind.SET), side, _price(cells(source.price)), _size(cells(source.size)), 0, exch_ns, flags)
    return Cell(recv_ns, _header(source, symbol, "book"), [row], source.snapshot, of_one_time=source.snapshot)


def _header(source: Source, symbol: str, stream: Literal["book", "trades"], length: int = 0) -> Header:
    return header_of(source.venue, symbol, stream, "", length)


def _side(source: Source, cells: Cells) -> int:
    word = str(cells(source.side)).strip()
    if word in source.buy:
        return 1
    if word in source.sell:
        return -1
    raise ValueError(f"expected one of {[*source.buy, *source.sell]} as side, was {word[:40]!r}")


def _snapshot(source: Source, symbol: str, recv_ns: int, exch_ns: int, cells: Cells) -> Cell:
    assert source.bids is not None and source.asks is not None
    rows = [RESET._replace(exch_ns=exch_ns)]
    length = 0
    for side, levels in ((1, source.bids), (-1, source.asks)):
        prices, sizes = _listed(levels.price, cells), _listed(levels.size, cells)
        if len(prices) != len(sizes):
            raise ValueError(f"expected as many sizes as prices, was {len(sizes)} and {len(prices)}")
        for price, size in zip(prices, sizes, strict=True):
            rows.append(Row(int(Kind.SET), side, _price(price), _size(size), 0, exch_ns, SNAPSHOT))
        if isinstance(levels.price, list):
            length = len(levels.price)
    return Cell(recv_ns, _header(source, symbol, "book", length), rows, snapshot=True, whole=True)


def _listed(column: Column | list[Column], cells: Cells) -> Sequence[Any]:
    if isinstance(column, list):
        return [value for name in column if (value := cells(name)) not in ("", None)]
    values = cells(column)
    if not isinstance(values, list):
        raise TypeError("expected a list column, was otherwise")
    return values


def _candle(source: Source, symbol: str, start_ns: int, cells: Cells) -> Cell:
    values: dict[str, float] = {"mts": start_ns // 10**6}
    for name in ("open", "high", "low", "close", "volume"):
        number = _size(cells(getattr(source, name)))
        values[name] = number.digits / 10**number.scale
    if (
        not values["low"]
        <= min(values["open"], values["close"])
        <= max(values["open"], values["close"])
        <= values["high"]
    ):
        raise ValueError("expected open and close between low and high, was otherwise")
    header = header_of(source.venue, symbol, "candles", source.timeframe)
    return Cell(start_ns + _span_ns(source.timeframe), header, [], table=values)
