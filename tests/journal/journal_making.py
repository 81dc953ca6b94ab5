"""What the journal's tests share: records by hand, a journal of them on disk, and reading one back as plain tuples."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from data_controller.journal import JournalSettings, read
from data_controller.journal.arena import Arena
from data_controller.journal.recovery import recover
from data_controller.journal.writer import JournalWriter
from data_controller.records import NO_CONNECTION, Batch, Kind, Start, sequence

Row = tuple[int, int, int, bytes]  # kind, conn, recv_ns, payload
Record = tuple[int, int, int, int, bytes]  # seq, recv_ns, kind, conn, payload

T0 = 1_617_643_607 * 10**9
START = msgspec.json.encode(
    Start(
        run=1,
        code="0.0.0",
        lock="",
        platform="none",
        config={"exchange": "bitfinex"},
        instruments=[],
        channels=[],
        restored={},
    )
)
ROWS: list[Row] = [
    (Kind.START, NO_CONNECTION, T0, START),
    (Kind.OPENED, 0, T0 + 1_000, b"wss://exchange.example/ws/2"),
    (Kind.SENT, 0, T0 + 2_000, b'{"event":"conf","flags":65536}'),
    (Kind.FRAME, 0, T0 + 3_000, b'{"event":"info","version":2,"platform":{"status":1}}'),
    (Kind.FRAME, 0, T0 + 4_500, b"[17,[[1.5,2,0.25],[1.6,1,-3e-7]],1]"),
    (Kind.FRAME, 0, T0 + 4_500, b'[17,"hb",2]'),
    (Kind.PULSE, NO_CONNECTION, T0 + 100_000_000, b""),
    (Kind.FRAME, 0, T0 + 100_000_001, bytes(range(0, 256, 8))),
    (Kind.CLOSED, 0, T0 + 200_000_000, "the peer went away \u2013 1006".encode()),
]
SETTINGS = JournalSettings(arena_bytes=1 << 14, arena_records=256, arenas=4, min_free_bytes=0, segment_bytes=1 << 16)


def batch_of(rows: Iterable[Row], first_seq: int) -> tuple[Batch, int]:
    """A batch of `rows` and how many there are."""
    arena = Arena(1 << 16, 4096, first_seq)
    for kind, conn, recv_ns, payload in rows:
        assert arena.push(kind, conn, recv_ns, payload) >= 0
    return arena.batch, arena.filled


def write(directory: Path, pieces: Iterable[Iterable[Row]], *, close: bool = True) -> list[Record]:
    """A journal of a new run whose batches are `pieces`; returns what it holds. Left open with `close=False`."""
    run = recover(directory).run
    writer = JournalWriter(SETTINGS, directory, run)
    expected: list[Record] = []
    for rows in pieces:
        rows = list(rows)
        first = sequence(run, len(expected))
        batch, n = batch_of(rows, first)
        writer.append(batch, 0, n)
        expected += [(first + i, row[2], int(row[0]), row[1], row[3]) for i, row in enumerate(rows)]
    writer.sync()
    if close:
        writer.close()
    else:
        writer.abandon()
    return expected


def records_of(batches: Iterable[Batch]) -> list[Record]:
    """Every record of `batches` as a tuple."""
    return [
        (batch.first_seq + i, int(batch.recv_ns[i]), int(batch.kind[i]), int(batch.conn[i]), batch.payload(i))
        for batch in batches
        for i in range(len(batch.recv_ns))
    ]


def records(path: Path) -> list[Record]:
    """Every record of the journal at `path`."""
    return records_of(read(path))


def put(path: Path, content: bytes) -> None:
    """Make `content` the file at `path`, as a new file: some filesystems sync one that is cut and written again."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)
