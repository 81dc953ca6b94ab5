"""Freqtrade's OHLCV feather: candles of trades, or of a candles channel, that were over when the record ended."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import feather

from data_controller.errors import ConfigError, TableError
from data_controller.exchanges.naming import is_canonical, to_canonical
from data_controller.exchanges.naming import venues as named_venues
from data_controller.lake.exporters._base import Chunk, Report, by_channel, by_fineness, ends, file_name, unheard_ns
from data_controller.market.numbers import MAX_SCALE
from data_controller.market.rows import Control, Flag, Kind
from data_controller.market.tables import Channel

_SPANS_S = {"m": 60, "h": 3600, "d": 86400}
_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "UST", "EUR", "GBP", "JPY", "BTC", "ETH", "BNB", "XBT")
_COLUMNS = ("open", "high", "low", "close", "volume")


def timeframe_ns(timeframe: str) -> int:
    """Nanoseconds of `5m`; TableError where it is no timeframe."""
    match = re.fullmatch(r"([1-9]\d{0,2})([mhd])", timeframe, re.ASCII)
    if match is None:
        raise TableError(f"expected a timeframe such as 1m, 5m, 1h or 1d, was {timeframe!r}")
    return int(match[1]) * _SPANS_S[match[2]] * 10**9


def pair_of(venue: str, symbol: str) -> str:
    """The canonical name of a venue's symbol as far as it can be told; the symbol itself where not."""
    try:
        return symbol if is_canonical(symbol) and venue not in named_venues() else to_canonical(venue, symbol)
    except ConfigError:
        pass
    text = symbol[1:] if re.fullmatch(r"t[A-Z0-9:]{6,}", symbol) else symbol
    parts = re.split(r"[/_:-]", text.upper())
    if len(parts) == 2 and all(parts):
        return f"{parts[0]}/{parts[1]}"
    for quote in _QUOTES if len(parts) == 1 else ():
        if text.upper().endswith(quote) and len(text) > len(quote):
            return f"{text.upper().removesuffix(quote)}/{quote}"
    return text


def name_of(pair: str, timeframe: str) -> str:
    """Freqtrade's own name of the file, below its data folder: what settles in a currency lies in `futures`."""
    name = f"{re.sub(r'[^A-Za-z0-9-]', '_', pair)}-{timeframe}"
    return f"futures/{name}-futures.feather" if ":" in pair else f"{name}.feather"


class _Candle:
    """A candle in the making; prices and volume as integers of one scale, so that no order of adding matters."""

    __slots__ = ("close", "closed", "high", "low", "open", "opened", "volume")

    def __init__(self, price: int, size: int, at: tuple[int, int]) -> None:
        self.open = self.high = self.low = self.close = price
        self.volume = size
        self.opened = self.closed = at

    def add(self, price: int, size: int, at: tuple[int, int]) -> None:
        self.high, self.low = max(self.high, price), min(self.low, price)
        if at < self.opened:
            self.open, self.opened = price, at
        if at >= self.closed:
            self.close, self.closed = price, at
        self.volume += size

    def values(self) -> tuple[float, ...]:
        unit = 10**MAX_SCALE
        return tuple(value / unit for value in (self.open, self.high, self.low, self.close, self.volume))


class _Trades:
    """Candles of one trades channel, and the stretches of time in which every trade was heard."""

    def __init__(self) -> None:
        self.candles: dict[int, _Candle] = {}
        self.heard: list[list[int]] = []  # [from, to]; the last one is open while its end is 0
        self._n = 0

    def take(self, rows: NDArray[np.void], span_ns: int) -> None:
        for row, over in zip(rows, ends(rows), strict=True):
            recv_ns = int(row["recv_ns"])
            if over:
                self.end(unheard_ns(row))
                if row["kind"] == Kind.CONTROL and row["ref"] == Control.SUBSCRIBED:
                    self.heard.append([recv_ns, 0])
            elif row["kind"] == Kind.TRADE and not row["flags"] & Flag.SNAPSHOT:
                if not self.heard or self.heard[-1][1]:
                    self.heard.append([recv_ns, 0])
                if not row["flags"] & Flag.INEXACT:
                    self._add(row, int(row["exch_ns"]) or recv_ns, span_ns)

    def end(self, ended_ns: int) -> None:
        """The run that heard the channel is over."""
        if self.heard and not self.heard[-1][1]:
            self.heard[-1][1] = ended_ns

    def _add(self, row: Any, at_ns: int, span_ns: int) -> None:
        price = int(row["price"]) * 10 ** (MAX_SCALE - int(row["price_scale"]))
        size = int(row["size"]) * 10 ** (MAX_SCALE - int(row["size_scale"]))
        start, self._n = at_ns // span_ns * span_ns, self._n + 1
        candle = self.candles.get(start)
        if candle is None:
            self.candles[start] = _Candle(price, size, (at_ns, self._n))
        else:
            candle.add(price, size, (at_ns, self._n))

    def complete(self, span_ns: int, last_recv_ns: int) -> dict[int, tuple[float, ...]]:
        """Candles all of whose time was heard."""
        stretches = [(begin, end or last_recv_ns) for begin, end in self.heard]
        return {
            start: candle.values()
            for start, candle in self.candles.items()
            if any(begin <= start and start + span_ns <= end for begin, end in stretches)
        }


class _Candles:
    """Candles of one candles channel, each with when it was last told of, and the times that ended what was heard."""

    def __init__(self) -> None:
        self.cuts: list[int] = []
        self._told: dict[int, tuple[int, tuple[float, ...]]] = {}

    def take(self, rows: NDArray[np.void]) -> None:
        anew = (rows["kind"] == Kind.CONTROL) & (rows["ref"] == Control.SUBSCRIBED)
        self.cuts += [unheard_ns(row) for row in rows[ends(rows) & ~anew]]

    def add(self, row: dict[str, Any], span_ns: int) -> None:
        start, told_ns = int(row["mts"]) * 10**6, int(row["recv_ns"])
        if told_ns >= start + span_ns or self._told.get(start, (0,))[0] < start + span_ns:  # the last word stands
            self._told[start] = told_ns, tuple(float(row[name]) for name in _COLUMNS)

    def complete(self, span_ns: int, last_recv_ns: int) -> dict[int, tuple[float, ...]]:
        """Candles whose last word is known: it came when they were over, or they were heard until then."""
        cuts = sorted(self.cuts)

        def heard_to(told_ns: int) -> int:
            at = bisect_left(cuts, told_ns)
            return cuts[at] if at < len(cuts) else last_recv_ns

        return {
            start: values
            for start, (told_ns, values) in self._told.items()
            if max(told_ns, heard_to(told_ns)) >= start + span_ns
        }


class FreqtradeExporter:
    """One file an instrument, by Freqtrade's own names; in a folder for each exchange where there are several.

    They are `BASE_QUOTE-TIMEFRAME.feather`, of futures `futures/BASE_QUOTE_SETTLE-TIMEFRAME-futures.feather`. Of two
    instruments with the same name the second is left out and named in `skipped`.

    A candles channel of that timeframe is taken as it is; else candles are made of trades, by exchange time where it is
    known. A candle is written only where the record covers all of its time: no half of one at either end of it or of a
    run of the engine, none across a gap. Minutes without a trade have no row, as in Freqtrade's own files.
    """

    def __init__(self, folder: Path, timeframe: str) -> None:
        self._folder = folder
        self._timeframe = timeframe
        self._span_ns = timeframe_ns(timeframe)
        self._trades: dict[Channel, _Trades] = {}
        self._candles: dict[Channel, _Candles] = {}

    def take(self, chunk: Chunk) -> None:
        """Keep what `chunk` holds."""
        for channel, rows in by_channel(chunk, {"trades", "candles"}):
            if channel.stream == "trades":
                self._trades.setdefault(channel, _Trades()).take(rows, self._span_ns)
            elif channel.stream == "candles" and channel.precision == self._timeframe:
                self._candles.setdefault(channel, _Candles()).take(rows)
        for row in chunk.candles:
            channel = chunk.tables.channels[row["channel"]]
            if channel.precision == self._timeframe:
                self._candles.setdefault(channel, _Candles()).add(row, self._span_ns)
        for channel in chunk.tables.channels if chunk.ended_ns else ():
            if channel in self._trades:
                self._trades[channel].end(chunk.ended_ns)
            if channel in self._candles:
                self._candles[channel].cuts.append(chunk.ended_ns)

    def finish(self, last_recv_ns: int) -> Report:
        """Write the files."""
        found: dict[tuple[str, str], dict[int, tuple[float, ...]]] = {}
        for heard in (self._candles, self._trades):
            for channel in sorted(heard, key=by_fineness):
                candles = heard[channel].complete(self._span_ns, last_recv_ns)
                if candles:
                    found.setdefault((channel.venue, channel.symbol), candles)
        alone = len({venue for venue, _ in found}) <= 1
        files: Report = {}
        skipped = []
        for (venue, symbol), candles in sorted(found.items()):
            name = name_of(pair_of(venue, symbol), self._timeframe)
            name = name if alone else f"{file_name(venue)}/{name}"
            if name in files:
                skipped.append(f"{venue} {symbol}: {name} is of another instrument")
                continue
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, candles)
            files[name] = len(candles)
        return {"files": files, "skipped": skipped}


def _write(path: Path, candles: dict[int, tuple[float, ...]]) -> None:
    starts = sorted(candles)
    columns: dict[str, Any] = {"date": pa.array(starts, pa.timestamp("ns", "UTC"))}
    for at, name in enumerate(_COLUMNS):
        columns[name] = pa.array([candles[start][at] for start in starts], pa.float64())
    table = pa.table(columns)
    index = {"kind": "range", "name": None, "start": 0, "stop": len(starts), "step": 1}
    metadata = {"index_columns": [index], "columns": [], "column_indexes": []}
    table = table.replace_schema_metadata({"pandas": json.dumps(metadata)})
    feather.write_feather(table, path, compression="lz4", compression_level=9)
