"""Gaps as data: which channels are not to be trusted now, since when and why, and what ended each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.market.layout import BrokenBy, Proof
from data_controller.market.tables import Channel

START = "START"
"""Reason of the gap from an engine's start to the first proof of a book."""

_GOOD = (int(Proof.PROVED), int(Proof.UNVERIFIABLE))
_OF_THE_CONNECTION = (BrokenBy.CLOSED.name, BrokenBy.MAINTENANCE.name)


@dataclass(slots=True)
class _Open:
    seq: int  # of the first row that told of it
    began_ns: int  # when that was
    since_ns: int
    reason: str
    snapshot_ns: int  # the book's last snapshot then


class Gaps:
    """Gaps of one engine start by channel row; every method that returns rows returns those of the table `gaps`.

    A gap is told when it begins (`ended_ns` 0) and when it ended, with `began_seq` naming its first row: a break while
    the channel is in a gap already is one more row of the same gap. Ends are looked at on pulses, and where there are
    none (a capture has no pulses) at the end of each second. It is false where no gap is open.
    """

    def __init__(self, channels: list[Channel], start_ns: int) -> None:
        self._channels = channels
        self._start_ns = start_ns
        self._open: dict[int, _Open] = {}
        self._met: set[int] = set()  # books that were subscribed to before
        self._conn: dict[int, int] = {}  # channel row -> the connection that serves it
        self._opened_ns: dict[int, int] = {}  # connection -> when it was opened

    def __bool__(self) -> bool:
        return bool(self._open)

    def opened(self, conn: int, now_ns: int) -> None:
        """Connection `conn` is open."""
        self._opened_ns[conn] = now_ns

    def subscribed(self, channel: int, conn: int, seq: int, now_ns: int) -> list[dict[str, Any]]:
        """The venue serves `channel`; the first time a book is not proved yet, which is a gap since the start."""
        self._conn[channel] = conn
        if channel in self._met or self._channels[channel].stream != "book":
            return []
        self._met.add(channel)
        return [self.begin(channel, START, seq, now_ns, self._start_ns, 0)]

    def begin(
        self, channel: int, reason: str, seq: int, now_ns: int, since_ns: int, snapshot_ns: int
    ) -> dict[str, Any]:
        """`channel` broke, fell silent or lost something: what it says since `since_ns` is not to be trusted."""
        gap = self._open.setdefault(channel, _Open(seq, now_ns, since_ns, reason, snapshot_ns))
        return self._row(channel, reason, seq, now_ns, since_ns, gap.seq)

    def look(
        self, seq: int, now_ns: int, books: NDArray[np.void], heard_ns: Callable[[int], int]
    ) -> list[dict[str, Any]]:
        """Rows of the gaps that ended by now; `heard_ns(channel)` is when a channel was last heard of."""
        rows = []
        for channel, gap in list(self._open.items()):
            is_book = channel < len(books) and books[channel]["depth"] != 0
            if int(books[channel]["proof"]) not in _GOOD if is_book else heard_ns(channel) <= gap.began_ns:
                continue
            del self._open[channel]
            reconnected = self._opened_ns.get(self._conn.get(channel, -1), 0) >= gap.began_ns
            if gap.reason == START:
                how = "start"
            elif reconnected or (not is_book and gap.reason in _OF_THE_CONNECTION):
                how = "reconnect"
            elif is_book and int(books[channel]["snapshot_ns"]) == gap.snapshot_ns:
                how = "checksum"
            else:
                how = "resync"
            row = self._row(channel, gap.reason, seq, now_ns, gap.since_ns, gap.seq)
            rows.append(row | {"ended_ns": now_ns, "healed_by": how})
        return rows

    def _row(self, channel: int, reason: str, seq: int, now_ns: int, since_ns: int, began_seq: int) -> dict[str, Any]:
        name = self._channels[channel]
        return {
            "seq": seq,
            "recv_ns": now_ns,
            "since_ns": since_ns,
            "venue": name.venue,
            "symbol": name.symbol,
            "channel": channel,
            "stream": name.stream,
            "precision": name.precision,
            "reason": reason,
            "began_seq": began_seq,
            "ended_ns": 0,
            "healed_by": "",
        }
