"""Segments: one Arrow stream file, written so that a crash loses only its tail, read so that damage stays local."""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_controller.errors import JournalError
from data_controller.journal.files import DiskFile, SegmentFile, sync_directory
from data_controller.journal.format import (
    END_OF_STREAM,
    OPEN_SUFFIX,
    READ_OPTIONS,
    Encoder,
    checked,
    header_of,
)

Opener = Callable[[Path], SegmentFile]

# What reading foreign or damaged bytes may raise; an end mark in the wrong place is StopIteration.
_ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, LookupError, MemoryError, EOFError, StopIteration)
_MAX_METADATA = 1 << 20


class SegmentWriter:
    """Writes one segment as `<name>.open` and renames it when it is whole. Not thread-safe: one thread owns it."""

    def __init__(self, path: Path, encoder: Encoder, opener: Opener = DiskFile) -> None:
        """Creates the file with its header, not yet durable; raises OSError."""
        self.path = path
        self.open_path = path.with_name(path.name + OPEN_SUFFIX)
        self._encoder = encoder
        self._file = opener(self.open_path)
        self._digest = hashlib.sha256()
        self.bytes = 0  # whole messages only
        self.rows = 0
        self.first = -1  # number of the first row, -1 while empty
        self._unsure = False  # an fsync failed: the kernel may call the next one good though pages are lost
        try:
            self._put(encoder.header)
        except OSError:
            self._file.close()
            self.open_path.unlink(missing_ok=True)
            raise

    def _put(self, data: bytes | memoryview) -> None:
        try:
            self._file.write(data)
        except OSError:
            self._file.truncate(self.bytes)
            raise
        self._digest.update(data)
        self.bytes += len(data)

    def append(self, batch: pa.RecordBatch, first: int) -> None:
        """Append a batch whose first row is number `first`; where that fails the file is cut back to what it was."""
        self._put(self._encoder.message(batch, first))
        self.rows += batch.num_rows
        if self.first < 0:
            self.first = first

    def sync(self) -> None:
        """Return when all that was appended is on the medium; after one failure it only fails."""
        if self._unsure:
            raise OSError(errno.EIO, "an earlier fsync failed")
        self._unsure = True
        self._file.fsync()
        self._unsure = False

    def finish(self) -> str:
        """End the stream, make it durable and rename it; returns its SHA-256 in hex. An empty segment is removed."""
        if self.rows == 0:
            self._file.close()
            self.open_path.unlink()
            return ""
        self._put(END_OF_STREAM)
        self.sync()
        self._file.close()
        self.open_path.rename(self.path)
        sync_directory(self.path.parent)
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Close and leave the `.open` file for recovery."""
        with contextlib.suppress(OSError):
            self._file.close()


@dataclass(frozen=True, slots=True)
class Piece:
    """A whole batch of a segment and where its bytes lie."""

    batch: pa.RecordBatch
    first: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes of a segment that hold no whole batch."""

    start: int
    stop: int
    reason: str


class SegmentBytes:
    """The bytes of one segment file with its schema; iterating gives its whole batches and the holes between them."""

    def __init__(self, path: Path, fallback: pa.Schema | None = None, data: NDArray[np.uint8] | None = None) -> None:
        """Reads the file, or takes `data` as what it holds.

        `fallback` is the schema to try where the file's own header is damaged. Raises JournalError where the
        file cannot be read, is empty, or is no segment at all.
        """
        self.path = path
        try:
            self.data: NDArray[np.uint8] = np.fromfile(path, np.uint8) if data is None else data
        except OSError as error:
            raise JournalError(f"expected a segment, was unreadable: {path}: {error.strerror or error}") from error
        if not self.data.size:
            raise JournalError(f"expected a segment, was empty: {path}")
        self._buffer = pa.py_buffer(self.data)
        self.header: dict[str, str] | None = None
        self.schema: pa.Schema | None = None
        self._body = 0
        try:
            source = pa.BufferReader(self._buffer)
            schema = pa.ipc.open_stream(source, options=READ_OPTIONS).schema
            self.header = header_of(schema)
            if self.header is not None:
                self.schema, self._body = schema, source.tell()
        except _ARROW_ERRORS:
            pass
        if self.schema is None and fallback is not None:
            self.schema = fallback
        if self.schema is not None:
            self._header_message: bytes = self.schema.serialize().to_pybytes()

    def __iter__(self) -> Iterator[Piece | Hole]:
        """Pieces and holes in file order; together they cover every byte but the header and the end mark."""
        if self.schema is None:
            yield Hole(0, self.data.size, "the header is damaged")
            return
        position = self._body
        if self.header is not None:
            source = pa.BufferReader(self._buffer)
            stream = pa.ipc.open_stream(source, options=READ_OPTIONS)
            while True:
                try:
                    item = stream.read_next_batch_with_custom_metadata()
                    piece = Piece(item.batch, checked(item.batch, item.custom_metadata), position, source.tell())
                except _ARROW_ERRORS:
                    break
                if piece.batch.schema.names != self.schema.names:
                    break
                yield piece
                position = piece.stop
        yield from self._carefully(position)

    def _carefully(self, position: int) -> Iterator[Piece | Hole]:
        """The same from `position` on, one message at a time, past whatever is damaged."""
        end = self.data.size
        candidates: NDArray[np.int64] | None = None
        while position < end:
            if end - position == len(END_OF_STREAM) and self.data[position:].tobytes() == END_OF_STREAM:
                return
            if candidates is None:
                candidates = self._candidates(position)
            start, found = position, None
            reason = "the end mark is missing"
            for candidate in candidates[np.searchsorted(candidates, position) :].tolist():
                try:
                    found = self._decode(candidate)
                    break
                except _ARROW_ERRORS as error:
                    if candidate == start:
                        reason = " ".join(str(error).split())[:200]
            if found is None:
                yield Hole(start, end, reason)
                return
            if found.start > start:
                yield Hole(start, found.start, reason)
            yield found
            position = found.stop
        yield Hole(end, end, "the end mark is missing")

    def _candidates(self, position: int) -> NDArray[np.int64]:
        """Where from `position` on a message may begin: 8-byte aligned, the continuation mark, a plausible length."""
        words = self.data[: self.data.size // 8 * 8].view("<u4").reshape(-1, 2)[position // 8 :]
        lengths = words[:, 1].astype(np.int64)
        rows = np.flatnonzero((words[:, 0] == 0xFFFFFFFF) & (lengths > 0) & (lengths < _MAX_METADATA))
        starts = (rows + position // 8) * 8
        return starts[starts + 8 + lengths[rows] <= self.data.size]

    def _decode(self, position: int) -> Piece:
        """The whole batch at `position`; raises one of the errors above where there is none."""
        source = pa.BufferReader(self._buffer.slice(position))
        pa.ipc.read_message(source)
        stop = position + source.tell()
        message: Any = self._header_message + self.data[position:stop].tobytes()
        item = pa.ipc.open_stream(pa.py_buffer(message), options=READ_OPTIONS).read_next_batch_with_custom_metadata()
        return Piece(item.batch, checked(item.batch, item.custom_metadata), position, stop)
