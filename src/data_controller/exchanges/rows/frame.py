"""A frame of rows: one line of JSON that says whose they are, then the rows themselves, packed as EVENT.

Sequence number, arrival, channel and place in the record are the reader's to say and are zero in a frame. Candles and
tickers, which are no rows, are a JSON list of objects in the rows' place.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from data_controller.market.numbers import MAX_DIGITS, MAX_SCALE, PRICE_LIMIT
from data_controller.market.rows import EVENT, Flag, Kind
from data_controller.market.tables import Channel, Stream

VERSION = 1
MAX_ROWS = 57_000
"""Rows of a frame; a decoder's buffer of 65,536 holds them with room for a GAP on every channel."""
MAX_HEADER_BYTES = 4096
MAX_TABLE_ROWS = 1 << 14

TABLE_COLUMNS = {
    "candles": ("mts", "open", "close", "high", "low", "volume"),
    "ticker": ("bid", "bid_size", "ask", "ask_size", "last", "volume"),
    "derivative": ("open_interest", "last_price", "predicted_funding_rate"),
}
"""Columns of what is no row; all are numbers."""

KINDS: dict[str, tuple[Kind, ...]] = {
    "orders": (Kind.RESET, Kind.ADD, Kind.CHANGE, Kind.CANCEL, Kind.GAP),
    "book": (Kind.RESET, Kind.SET, Kind.GAP),
    "trades": (Kind.TRADE, Kind.GAP),
    "quotes": (Kind.QUOTE, Kind.GAP),
    "derivative": (Kind.MARK, Kind.INDEX, Kind.FUNDING, Kind.GAP),
    "liquidations": (Kind.LIQUIDATION, Kind.GAP),
}
"""What may come on a channel, by stream; a book of precision R0 is one of orders."""

ALLOWED_FLAGS = int(Flag.LAST | Flag.SNAPSHOT | Flag.PRICE_EXPONENT | Flag.SIZE_EXPONENT | Flag.INEXACT)

_ROW = struct.Struct("<qqqqqqiIbbBbI")
assert _ROW.size == EVENT.itemsize
_NUMBER = re.compile(r"(-?)(\d{1,64})(?:\.(\d{1,64}))?(?:[eE]([+-]?\d{1,3}))?", re.ASCII)


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whose rows these are. With `number`, frames of the channel are numbered one by one, and that proves its book."""

    v: int
    venue: str
    symbol: str
    stream: Stream
    precision: str = ""
    frequency: str = ""
    length: int = 0
    base: str = ""
    quote: str = ""
    number: int = 0

    @property
    def channel(self) -> Channel:
        """The row of the channel table."""
        return Channel(self.venue, self.symbol, self.stream, self.precision, self.frequency, self.length)


class Decimal(NamedTuple):
    """A number as on the wire: `digits / 10**scale`."""

    digits: int  # unsigned
    scale: int
    negative: bool
    exponent: bool  # the text had one
    inexact: bool  # more digits than a row holds


class Row(NamedTuple):
    """One event before it is packed; `price` may be signed only where the kind says so (a funding rate)."""

    kind: int
    side: int
    price: Decimal
    size: Decimal
    ref: int = 0
    exch_ns: int = 0
    flags: int = 0


ZERO = Decimal(0, 0, False, False, False)


@lru_cache(maxsize=1 << 16)
def decimal_of(text: str) -> Decimal:
    """The number in `text` digit for digit; ValueError where it is none, or 10**18 and more."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a decimal number, was {text[:40]!r}")
    fraction = match[3] or ""
    exponent = int(match[4] or 0)
    significant = (match[2] + fraction).lstrip("0")
    scale = len(fraction) - exponent
    if not significant:
        return Decimal(0, scale if 0 <= scale <= MAX_SCALE else 0, bool(match[1]), False, False)
    if len(significant) - scale > MAX_DIGITS:
        raise ValueError(f"expected a number below 1e18, was {text[:40]!r}")
    small = exponent < 0 and len(significant) - 1 - scale < 0
    if len(significant) > MAX_DIGITS or scale > MAX_SCALE:
        return Decimal(0, 0, bool(match[1]), small, True)
    digits = int(significant)
    if scale < 0:
        digits, scale = digits * 10**-scale, 0
    return Decimal(digits, scale, bool(match[1]), small, False)


def text_of(digits: int, scale: int, exponent: bool = False) -> str:
    """A number's wire text: what `decimal_of` reads as the same digits and scale. A negative one keeps its sign."""
    sign, written = ("-" if digits < 0 else ""), str(abs(digits))
    if exponent:
        head, tail = written[0], written[1:]
        return f"{sign}{head}{'.' if tail else ''}{tail}e{len(tail) - scale}"
    if scale == 0:
        return sign + written
    written = written.rjust(scale + 1, "0")
    return f"{sign}{written[:-scale]}.{written[-scale:]}"


def pack(header: Header, rows: Sequence[Row]) -> bytes:
    """The frame of `rows`, which are one message: the last one ends it."""
    last = len(rows) - 1
    parts = [msgspec.json.encode(header), b"\n"]
    for at, (kind, side, price, size, ref, exch_ns, flags) in enumerate(rows):
        if price.exponent:
            flags |= Flag.PRICE_EXPONENT
        if size.exponent:
            flags |= Flag.SIZE_EXPONENT
        if price.inexact or size.inexact or price.digits >= PRICE_LIMIT:
            flags |= Flag.INEXACT
        if at == last:
            flags |= Flag.LAST
        digits = -price.digits if price.negative and kind == Kind.FUNDING else price.digits
        parts.append(
            _ROW.pack(0, 0, exch_ns, digits, size.digits, ref, 0, 0, price.scale, size.scale, kind, side, flags)
        )
    return b"".join(parts)


def pack_table(header: Header, table: Sequence[dict[str, float]]) -> bytes:
    """The frame of candles, tickers or what a derivative says besides prices: rows of `TABLE_COLUMNS`."""
    return msgspec.json.encode(header) + b"\n" + msgspec.json.encode(table)


class Frame(NamedTuple):
    """A frame taken apart and checked: `rows` of EVENT, or `table` rows."""

    header: Header
    rows: NDArray[np.void]
    table: list[dict[str, Any]]


_header = msgspec.json.Decoder(Header).decode
_table = msgspec.json.Decoder(list[dict[str, float]]).decode


def unpack(frame: bytes) -> Frame:
    """The frame's parts; ValueError with what was expected and found where anything in it is not as it says."""
    first, found, body = frame.partition(b"\n")
    if not found or len(first) > MAX_HEADER_BYTES:
        raise ValueError("expected a line of JSON and rows behind it, was otherwise")
    try:
        header = _header(first)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"expected a header of rows, was otherwise: {error}") from error
    if header.v != VERSION:
        raise ValueError(f"expected version {VERSION}, was {header.v}")
    _check_header(header)
    if header.stream in TABLE_COLUMNS and body[:1] == b"[":
        return Frame(header, np.zeros(0, EVENT), _read_table(header, body))
    if header.stream not in KINDS:
        raise ValueError(f"expected a list of {header.stream} rows, was otherwise")
    if not body or len(body) % EVENT.itemsize or len(body) > MAX_ROWS * EVENT.itemsize:
        raise ValueError(f"expected 1 to {MAX_ROWS} rows of {EVENT.itemsize} bytes, was {len(body)} bytes")
    rows = np.frombuffer(body, EVENT)
    _check_rows(rows, header)
    return Frame(header, rows, [])


def _check_header(header: Header) -> None:
    texts = (header.venue, header.symbol, header.precision, header.frequency, header.base, header.quote)
    if not header.venue or not header.symbol or any(len(text) > 64 or not text.isprintable() for text in texts):
        raise ValueError("expected a venue and a symbol of 1 to 64 printable characters, was otherwise")
    if not 0 <= header.length <= 1 << 18 or not 0 <= header.number < 1 << 62:
        raise ValueError(f"expected a length and a number of 0 or more, was {header.length} and {header.number}")


def _read_table(header: Header, body: bytes) -> list[dict[str, Any]]:
    columns = set(TABLE_COLUMNS[header.stream])
    needed = columns if header.stream != "derivative" else set()  # not every venue says all of it
    try:
        table: list[dict[str, Any]] = _table(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"expected a list of objects of numbers, was otherwise: {error}") from error
    if not 0 < len(table) <= MAX_TABLE_ROWS or any(not needed <= row.keys() <= columns for row in table):
        raise ValueError(f"expected 1 to {MAX_TABLE_ROWS} objects of {sorted(columns)}, was otherwise")
    if any(abs(value) >= 1e18 for row in table for value in row.values()):
        raise ValueError("expected numbers below 1e18, was otherwise")
    for row in table:
        if header.stream == "candles":
            row["mts"] = int(row["mts"])
        row.update(dict.fromkeys(columns - row.keys(), math.nan))
    return table


def _check_rows(rows: NDArray[np.void], header: Header) -> None:
    kind, flags, side = rows["kind"], rows["flags"], rows["side"]
    if rows["seq"].any() or rows["recv_ns"].any() or rows["channel"].any() or rows["part"].any():
        raise ValueError("expected seq, recv_ns, channel and part of 0, was otherwise")
    stream = "orders" if header.stream == "book" and header.precision == "R0" else str(header.stream)
    if not np.isin(kind, KINDS[stream]).all():
        raise ValueError(f"expected the kinds {[k.name for k in KINDS[stream]]}, was {np.unique(kind).tolist()}")
    if (flags & ~np.uint32(ALLOWED_FLAGS)).any():
        raise ValueError("expected no other flags than LAST, SNAPSHOT, EXPONENT and INEXACT, was otherwise")
    price, size, exact = rows["price"], rows["size"], flags & int(Flag.INEXACT) == 0
    limit = 10**MAX_DIGITS
    bare = np.isin(kind, (Kind.RESET, Kind.CANCEL, Kind.GAP))
    if ((np.abs(price) >= limit) | (size < 0) | (size >= limit) | (rows["exch_ns"] < 0)).any():
        raise ValueError("expected numbers of at most 18 digits and times of 0 or more, was otherwise")
    if ((price < 0) & (kind != Kind.FUNDING) & ~bare).any() or (price[exact & (kind == Kind.SET)] == 0).any():
        raise ValueError("expected prices above 0, was otherwise")
    if (exact & ~bare & (kind != Kind.FUNDING) & (price >= PRICE_LIMIT)).any():
        raise ValueError("expected INEXACT on a price of more than 15 digits, was without")
    for scale in (rows["price_scale"], rows["size_scale"]):
        if ((scale < 0) | (scale > MAX_SCALE)).any():
            raise ValueError(f"expected scales of 0 to {MAX_SCALE}, was otherwise")
    sided = np.isin(kind, (Kind.SET, Kind.ADD, Kind.CHANGE, Kind.QUOTE))
    if (np.abs(side) > 1).any() or (side[sided] == 0).any():
        raise ValueError("expected a side of 1 or -1, was otherwise")
    if (exact & (kind == Kind.TRADE) & (size == 0)).any():
        raise ValueError("expected trades of some size, was 0")
    _check_messages(kind, flags)


def _check_messages(kind: NDArray[np.uint8], flags: NDArray[np.uint32]) -> None:
    """A message ends with LAST; only its first row may be RESET; all of it is a snapshot or none of it."""
    last = flags & int(Flag.LAST) != 0
    if not last[-1]:
        raise ValueError("expected the last row to end its message, was open")
    first = np.r_[True, last[:-1]]
    snapshot = flags & int(Flag.SNAPSHOT) != 0
    if (~first & (kind == Kind.RESET)).any() or ((kind == Kind.RESET) & ~snapshot).any():
        raise ValueError("expected RESET to begin a snapshot, was inside one or no snapshot")
    if (~first[1:] & (snapshot[1:] != snapshot[:-1])).any():
        raise ValueError("expected a message that is a snapshot or is none, was both")
    gap = kind == Kind.GAP
    if (gap & ~(first & last)).any():
        raise ValueError("expected a GAP to be its own message, was part of another")
