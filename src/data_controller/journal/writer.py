"""The journal's writer: puts records into segments, ends them, lists them; called by one thread, knows no queue."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

from data_controller.errors import JournalFull
from data_controller.journal import manifest as manifests
from data_controller.journal.files import DiskFile, free_bytes
from data_controller.journal.format import JOURNAL_SCHEMA, Encoder, SegmentName, record_batch, with_header
from data_controller.journal.manifest import Entry, Manifest
from data_controller.journal.segment import Opener, SegmentWriter
from data_controller.journal.settings import JournalSettings
from data_controller.records import SCHEMA_VERSION, Batch

NAME = "journal"


class JournalWriter:
    """Appends batches to the open segment of `run`; every error leaves what was written before it whole."""

    def __init__(
        self,
        settings: JournalSettings,
        directory: Path,
        run: int,
        *,
        opener: Opener = DiskFile,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        """Opens the first segment; raises JournalError or OSError."""
        self.settings = settings
        self._directory = directory
        self._run = run
        self._opener = opener
        self._free = free
        self._manifest = manifests.load(directory) or Manifest()
        self._manifest.run = max(self._manifest.run, run)
        self._number = 0
        self._closed_bytes = 0
        self._first_recv_ns = 0
        self._last_recv_ns = 0
        self._last_seq = -1
        self._segment: SegmentWriter | None = None
        self.check_room()
        self._segment = self._open()

    @property
    def bytes(self) -> int:
        """Bytes this run has on disk, deleted segments included."""
        return self._closed_bytes + (self._segment.bytes if self._segment else 0)

    @property
    def last_seq(self) -> int:
        """The last record that was written, -1 before the first."""
        return self._last_seq

    def _open(self) -> SegmentWriter:
        self._number += 1
        header = {
            "kind": NAME,
            "version": str(SCHEMA_VERSION),
            "run": str(self._run),
            "number": str(self._number),
            "platform": platform.platform(),
        }
        name = SegmentName(NAME, self._run, self._number)
        encoder = Encoder(with_header(JOURNAL_SCHEMA, header), self.settings.zstd_level)
        return SegmentWriter(self._directory / str(name), encoder, self._opener)

    def check_room(self) -> None:
        """Raises JournalFull where the disk has less than `min_free_bytes` left."""
        if not self.settings.min_free_bytes:
            return
        free = self._free(self._directory)
        if free < self.settings.min_free_bytes:
            raise JournalFull(
                f"expected {self.settings.min_free_bytes} bytes free (`journal.min_free_bytes`), was {free} "
                f"at {self._directory}: free space, or lower journal.max_bytes, then restart"
            )

    def append(self, batch: Batch, low: int, high: int) -> None:
        """Write records `low..high` of `batch`; raises OSError or JournalError, the file is then as before."""
        if self._segment is None:
            self._segment = self._open()
        segment = self._segment
        empty = segment.rows == 0
        segment.append(record_batch(batch, low, high), batch.first_seq + low)
        if empty:
            self._first_recv_ns = int(batch.recv_ns[low])
        self._last_recv_ns = int(batch.recv_ns[high - 1])
        self._last_seq = batch.first_seq + high - 1

    def sync(self) -> None:
        """Return when all that was appended is on the medium; raises OSError."""
        if self._segment is not None:
            self._segment.sync()

    def end_segment_if_due(self) -> bool:
        """End the segment where it reached its size or span; True where it did. What it held is then durable."""
        segment = self._segment
        if segment is None or segment.rows == 0:
            return False
        span_ns = self._last_recv_ns - self._first_recv_ns
        if segment.bytes < self.settings.segment_bytes and span_ns < self.settings.segment_s * 10**9:
            return False
        self._end_segment()
        manifests.make_room(self._directory, self._manifest, self.settings, 0, self._last_recv_ns)
        return True

    def _end_segment(self) -> None:
        segment = self._segment
        if segment is None:
            return
        sha256 = segment.finish()
        self._segment = None
        self._closed_bytes += segment.bytes
        if not segment.rows:
            return
        self._manifest.segments = [
            *self._manifest.segments,
            Entry(
                name=segment.path.name,
                run=self._run,
                number=self._number,
                records=segment.rows,
                first_seq=segment.first,
                last_seq=self._last_seq,
                first_recv_ns=self._first_recv_ns,
                last_recv_ns=self._last_recv_ns,
                bytes=segment.bytes,
                sha256=sha256,
            ),
        ]
        manifests.save(self._directory, self._manifest)

    def close(self) -> None:
        """End the open segment and list it."""
        self._end_segment()

    def abandon(self) -> None:
        """Leave the open segment to recovery: after an error nothing more is written."""
        if self._segment is not None:
            self._segment.abandon()
            self._segment = None
