"""What a source of history gives: pages of rows in the order of their times, and how far they are complete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import pyarrow as pa

from data_controller.errors import ConfigError, RestRefused

What = Literal["candles", "trades", "tickers"]
MS = 1_000_000
DIGITS = pa.decimal128(38, 18)
"""Prices and sizes exactly as decimals; no market needs more than 18 digits behind the point."""
_LAST_DIGIT = Decimal("1E-18")
_EXACT = Context(prec=38, traps=[Inexact, InvalidOperation])
"""As wide as `DIGITS`: the default one has 28 digits, and would round or refuse numbers that fit."""

SCHEMAS: dict[str, pa.Schema] = {
    "candles": pa.schema(
        [
            ("open_ns", pa.int64()),
            ("width", pa.string()),
            ("open", DIGITS),
            ("high", DIGITS),
            ("low", DIGITS),
            ("close", DIGITS),
            ("volume", DIGITS),
        ]
    ),
    "trades": pa.schema(
        [("exch_ns", pa.int64()), ("id", pa.string()), ("side", pa.int8()), ("price", DIGITS), ("size", DIGITS)]
    ),
    "tickers": pa.schema([("exch_ns", pa.int64()), ("bid", DIGITS), ("ask", DIGITS)]),
}
"""Columns by what is backfilled; `side` is the taker's: +1 buy, -1 sell, 0 unknown."""
KEYS = {"candles": ("open_ns", ("open_ns",)), "trades": ("exch_ns", ("id",)), "tickers": ("exch_ns", ("exch_ns",))}
"""The column of time, and the columns that make a row the same row."""
CHANNELS = {"candles": "history_candles", "trades": "history_trades", "tickers": "history_tickers"}
"""The lake's channel: apart from those of the journal, whose rows have a `seq` and are proved."""

_WIDTHS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

Row = dict[str, Any]


class Page(NamedTuple):
    """Rows of one answer, and the time before which nothing is missing any more."""

    rows: Sequence[Row]
    complete_to_ns: int


class Source(Protocol):
    """History of one instrument of one venue."""

    name: str  # where it comes from: rest, or ccxt with its version

    def pages(self, from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        """Pages until one is complete to `to_ns`; `complete_to_ns` grows. Raises RestError."""
        ...


def width_ns(width: str) -> int:
    """Length of a candle width such as 1m, 4h or 1d; ConfigError where it is none of a fixed length."""
    unit = _WIDTHS_S.get(width[-1:])
    count = width[:-1]
    if unit is None or not count.isascii() or not count.isdigit() or int(count) == 0:
        raise ConfigError(f"expected a candle width such as 1m, 15m, 1h or 1d, was {width!r} (`--width`)")
    return int(count) * unit * 10**9


def read_json(body: bytes, what: str) -> Any:
    """JSON as plain values, numbers with a point as their own text; RestRefused where it is none."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RestRefused(f"expected JSON of {what}, was not: {error}") from None


_decode = msgspec.json.Decoder(float_hook=str).decode


def decimal(value: Any) -> Decimal:
    """A number exactly as written; RestRefused where it is none or has more digits than the lake holds."""
    try:
        number = Decimal(repr(value) if isinstance(value, float) else str(value))
    except InvalidOperation:
        raise RestRefused(f"expected a number, was {value!r}") from None
    try:
        held = number.quantize(_LAST_DIGIT, context=_EXACT)
    except (InvalidOperation, Inexact):
        held = None
    if held is None or not number.is_finite():
        raise RestRefused(f"expected a number below 1e20 with at most 18 digits behind the point, was {value!r}")
    return held


def whole(value: Any, what: str) -> int:
    """A whole number; RestRefused where it is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise RestRefused(f"expected a whole number as {what}, was {value!r}")
    return value


def candle(open_ns: int, width: str, values: Mapping[str, Any]) -> Row:
    """A row of candles; `values` has open, high, low, close and volume."""
    prices = {name: decimal(values[name]) for name in ("open", "high", "low", "close", "volume")}
    ends = (prices["open"], prices["close"])
    if prices["low"] > min(ends) or max(ends) > prices["high"] or prices["low"] <= 0 or prices["volume"] < 0:
        raise RestRefused(f"expected 0 < low <= open, close <= high and a volume of 0 or more, was {values!r}")
    return {"open_ns": open_ns, "width": width, **prices}


def trade(exch_ns: int, ref: Any, side: int, price: Any, size: Any) -> Row:
    """A row of trades; RestRefused where price or size is 0."""
    row: Row = {
        "exch_ns": exch_ns,
        "id": str(ref),
        "side": side,
        "price": decimal(price),
        "size": decimal(size).copy_abs(),
    }
    if row["price"] <= 0 or row["size"] == 0:
        raise RestRefused(f"expected a trade of a price and a size above 0, was {price!r} and {size!r}")
    return row


def table_of(what: str, rows: Sequence[Row]) -> pa.Table:
    """Rows as Arrow."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMAS[what])
