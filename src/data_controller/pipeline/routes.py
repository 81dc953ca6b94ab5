"""Where a channel's rows go: its instrument, and whether its book is the one that features and trading read."""

from __future__ import annotations

import numpy as np

from data_controller.market.tables import Channel, Tables
from data_controller.pipeline.loop import ROUTE


class Routes:
    """Follows the channel table: `array` by channel row, `primary` by instrument row (book row, -1 none)."""

    def __init__(self, *, record_only: bool = False) -> None:
        """With `record_only` no row goes to features and trading, whichever book would be theirs."""
        self._record_only = record_only
        self.channels = 0
        self.array = np.zeros(0, ROUTE)
        self.primary = np.zeros(0, np.int32)
        self.streams: list[tuple[str, str]] = []  # venue and stream, each once
        self.stream_of = np.zeros(0, np.int64)  # [channels] row of `streams`
        self._row: dict[str, int] = {}

    def ensure(self, tables: Tables) -> None:
        """Take in the rows that `tables` gained."""
        self.channels = len(tables.channels)
        old, self.array = self.array, np.zeros(self.channels, ROUTE)
        for name in ("rows", "messages", "late_ns"):
            self.array[name][: len(old)] = old[name]
        self.array["instrument"] = tables.channel_instrument
        self.primary = np.full(len(tables.instruments), -1, np.int32)
        self._row = {f"{i.venue}:{i.symbol}": row for row, i in enumerate(tables.instruments)}
        kinds = [(channel.venue, channel.stream) for channel in tables.channels]
        self.streams = list(dict.fromkeys(kinds))
        self.stream_of = np.array([self.streams.index(kind) for kind in kinds], np.int64)
        best: dict[int, tuple[bool, str, int, int]] = {}
        for row, channel in enumerate(tables.channels):
            if channel.stream != "book":
                continue
            instrument = tables.channel_instrument[row]
            rank = _rank(channel, row)
            if instrument not in best or rank < best[instrument]:
                best[instrument] = rank
                self.primary[instrument] = row
        if not self._record_only:
            self.array["primary"][self.primary[self.primary >= 0]] = 1

    def instrument_named(self, name: str) -> int:
        """Row of the instrument `venue:symbol`, -1 where it is not (yet) known."""
        return self._row.get(name, -1)


def _rank(channel: Channel, row: int) -> tuple[bool, str, int, int]:
    """Smallest is best: price levels before raw orders, finest precision, deepest, first come."""
    return channel.precision.startswith("R"), channel.precision, -channel.length, row
