"""Tables of rows as a journal: rows that belong together become one frame of the venue `rows`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from data_controller.exchanges.rows.frame import MAX_ROWS, VERSION, ZERO, Header, Row, pack, pack_table
from data_controller.lake.importers._journal import DraftJournal
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
    table: dict[str, float] | None = None  # instead of rows, or beside them


class Message(NamedTuple):
    """A frame and its arrival."""

    recv_ns: int
    frame: bytes


def header_of(venue: str, symbol: str, stream: Stream, precision: str = "", length: int = 0) -> Header:
    """A header of frames that are not numbered."""
    return Header(v=VERSION, venue=venue, symbol=symbol, stream=stream, precision=precision, length=length)


class Messages:
    """Cells of one file as messages. `lost` says that a line in between could not be read: all channels have a gap."""

    def __init__(self, journal: DraftJournal) -> None:
        self._journal = journal
        self._lost = False
        self._in_snapshot: dict[Header, bool] = {}

    def lose(self) -> None:
        """A line is missing: what it said is unknown, of whatever channel it was."""
        self._lost = True

    def of(self, cells: Iterable[Cell]) -> Iterator[Message]:
        """The frames of `cells`, in their order."""
        waiting: list[Cell] = []
        for cell in cells:
            if waiting and (self._lost or cell.whole or not _together(waiting[-1], cell)):
                yield from self._made(waiting)
                waiting = []
            if self._lost:
                self._lost = False
                for header in self._in_snapshot:
                    yield Message(cell.recv_ns, pack(header, [_GAP]))
                self._in_snapshot = dict.fromkeys(self._in_snapshot, False)
            waiting.append(cell)
        if waiting:
            yield from self._made(waiting)

    def _made(self, cells: list[Cell]) -> Iterator[Message]:
        first = cells[0]
        rows = [row for cell in cells for row in cell.rows]
        if rows:
            if first.snapshot and not first.whole and not self._in_snapshot.get(first.header, False):
                rows.insert(0, RESET._replace(exch_ns=rows[0].exch_ns))
            self._in_snapshot[first.header] = first.snapshot
            if len(rows) > MAX_ROWS:
                reason = f"expected a message of at most {MAX_ROWS} rows, was {len(rows)}"
                self._journal.garbage(0, repr(first.header).encode(), reason)
                self._in_snapshot[first.header] = False
                rows = [_GAP]
            yield Message(first.recv_ns, pack(first.header, rows))
        table = [cell.table for cell in cells if cell.table is not None]
        if table:
            yield Message(first.recv_ns, pack_table(first.header, table))


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
