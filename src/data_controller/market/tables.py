"""Instrument and channel tables: rows only ever added, so that an id is a row and means the same for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

Stream = Literal["book", "trades", "quotes", "ticker", "candles", "derivative", "liquidations"]
"""Kinds of channels: quotes are best bid and ask alone; derivative is mark and index price and funding."""


class Instrument(NamedTuple):
    """One row of the instrument table: what is traded, by the venue's own name."""

    venue: str
    symbol: str  # as the venue writes it: tBTCUSD
    base: str = ""
    quote: str = ""
    name: str = ""  # as everybody writes it: BTC/USD, BTC/USDT:USDT; empty where nobody said


class Channel(NamedTuple):
    """One row of the channel table: one stream of one instrument in one rendering."""

    venue: str
    symbol: str
    stream: Stream
    precision: str = (
        ""  # book: P0..P4 aggregated, R0 raw orders, P0T..P4T rates by term, with ids; candles: 1m, 5m, ...
    )
    frequency: str = ""  # book: F0 real time, F1 every 2 s
    length: int = 0  # book: entries a side


class Tables:
    """Both tables with their reverse look-up. Rows are appended, never changed or reused."""

    def __init__(self, instruments: list[Instrument] | None = None, channels: list[Channel] | None = None) -> None:
        self.instruments: list[Instrument] = []
        self.channels: list[Channel] = []
        self.channel_instrument: list[int] = []  # row of the instrument, by channel row
        self.describe: Callable[[str, str], Instrument] = Instrument  # what is known of a symbol that comes up
        self._instrument_row: dict[tuple[str, str], int] = {}
        self._channel_row: dict[Channel, int] = {}
        for instrument in instruments or ():
            self.instrument(instrument)
        for channel in channels or ():
            self.channel(channel)

    def instrument(self, instrument: Instrument) -> int:
        """Row of `instrument`, appended where new; venue and symbol identify it."""
        key = (instrument.venue, instrument.symbol)
        row = self._instrument_row.setdefault(key, len(self.instruments))
        if row == len(self.instruments):
            self.instruments.append(instrument)
        return row

    def channel(self, channel: Channel) -> int:
        """Row of `channel`, appended where new (and its instrument with it)."""
        row = self._channel_row.setdefault(channel, len(self.channels))
        if row == len(self.channels):
            self.channels.append(channel)
            self.channel_instrument.append(self.instrument(self.describe(channel.venue, channel.symbol)))
        return row

    def dump(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Instruments and channels as plain rows, for a START record."""
        return [i._asdict() for i in self.instruments], [c._asdict() for c in self.channels]

    @classmethod
    def load(cls, instruments: list[dict[str, Any]], channels: list[dict[str, Any]]) -> Tables:
        """The tables that `dump` wrote, same rows."""
        return cls([Instrument(**i) for i in instruments], [Channel(**c) for c in channels])
