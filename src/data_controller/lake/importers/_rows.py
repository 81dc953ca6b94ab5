"""Tables of rows as a journal: rows that belong together become one frame of the venue `rows`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from data_controller.exchanges.rows.frame import MAX_ROWS, VERSION, ZERO, Header, Row, pack, pack_table
from data_controller.lake.importers._journal import DraftJournal, Lost
from data_controller.market.rows import Flag, Kind
from data_controller.market.tables import Stream
from data_controller.records import Kind as Record

VENUE = "rows"
SNAPSHOT = int(Flag.SNAPSHOT)
RESET = Row(int(Kind.RESET), 0, ZERO, ZERO, flags=SNAPSHOT)
_GAP = Row(int(Kind.GAP), 0, ZERO, ZERO)


class Cell(NamedTuple):
    """What a line of a table says; lines in succession of one channel, arrival and exchange time are one message."""

    recv_ns: int
    header: Header
    rows: list[Row]
    snapshot: bool = False  # rows of a snapshot
    whole: bool = False  # the line is a message of its own, a snapshot with its RESET
    of_one_time: bool = False  # rows of a snapshot that another time ends
    table: dict[str, float] | None = None  # instead of rows, or beside them


class Message(NamedTuple):
    """A frame and its arrival."""

    recv_ns: int
    frame: bytes


def header_of(venue: str, symbol: str, stream: Stream, precision: str = "", length: int = 0) -> Header:
    """A header of frames that are not numbered."""
    return Header(v=VERSION, venue=venue, symbol=symbol, stream=stream, precision=precision, length=length)


class Messages:
    """Cells of one file as messages. Where a line in between is lost, all channels have a gap.

    A snapshot that lacks a line, or may lack it as the line before its first one is lost, is no snapshot: its book
    stays BROKEN until the next one.
    """

    def __init__(self, journal: DraftJournal) -> None:
        self._journal = journal
        self._channels: dict[Header, int] = {}  # arrival of the snapshot that its next rows may go on, -1 none

    def of(self, cells: Iterable[Cell | Lost]) -> Iterator[Message]:
        """The frames of `cells`, in their order."""
        waiting: list[Cell] = []
        lost, recv_ns = False, 0
        for cell in cells:
            if isinstance(cell, Lost):
                yield from self._made(waiting)
                waiting, lost = [], True
                continue
            if waiting and (cell.whole or not _together(waiting[-1], cell)):
                yield from self._made(waiting)
                waiting = []
            recv_ns = cell.recv_ns
            if lost:
                lost = False
                if cell.snapshot and not cell.whole:  # the line may have been one of it
                    self._channels[cell.header] = recv_ns
                yield from self._lose(recv_ns)
            waiting.append(cell)
        yield from self._made(waiting)
        if lost:
            yield from self._lose(recv_ns)

    def _lose(self, recv_ns: int) -> Iterator[Message]:
        """A line is missing: what it said is unknown, of whatever channel it was."""
        for header in self._channels:
            yield Message(recv_ns, pack(header, [_GAP]))

    def _made(self, cells: list[Cell]) -> Iterator[Message]:
        if not cells:
            return
        first = cells[0]
        rows = [row for cell in cells for row in cell.rows]
        if rows:
            if self._begins(first):
                rows.insert(0, RESET._replace(exch_ns=rows[0].exch_ns))
            if len(rows) > MAX_ROWS:
                reason = f"expected a message of at most {MAX_ROWS} rows, was {len(rows)}"
                self._journal.garbage(0, repr(first.header).encode(), reason)
                rows = [_GAP]
            yield Message(first.recv_ns, pack(first.header, rows))
        table = [cell.table for cell in cells if cell.table is not None]
        if table:
            yield Message(first.recv_ns, pack_table(first.header, table))

    def _begins(self, first: Cell) -> bool:
        """Whether a snapshot begins with this cell, which then wants a RESET."""
        last_ns = self._channels.get(first.header, -1)
        snapshot = first.snapshot and not first.whole
        self._channels[first.header] = first.recv_ns if snapshot else -1
        return snapshot and (last_ns < 0 or (first.of_one_time and first.recv_ns != last_ns))


def _together(a: Cell, b: Cell) -> bool:
    return (
        a.recv_ns == b.recv_ns
        and a.header == b.header
        and a.snapshot == b.snapshot
        and not a.whole
        and a.header.stream == "book"
        and bool(a.rows and b.rows)
        and a.rows[-1].exch_ns == b.rows[0].exch_ns
    )


def push(journal: DraftJournal, message: Message) -> None:
    """Append a message to the journal; all files of an import share one connection, as channels may lie in several."""
    journal.push(Record.FRAME, message.recv_ns, message.frame)
