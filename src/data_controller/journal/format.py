"""The bytes of a journal: its Arrow schema and versions, file names, and how batches and headers are protected.

A segment is one Arrow IPC stream that any Arrow reader opens. Over that, each batch carries in its custom metadata
`first` (number of its first row), `count` and `crc` (CRC-32 over the logical bytes of its columns), and the schema's
metadata carries what the file is and a `crc` of its own. Tables of the lake use the same protection.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_controller.errors import JournalError
from data_controller.records import SCHEMA_VERSION, Batch

END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
OPEN_SUFFIX = ".open"
READ_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)

JOURNAL_SCHEMA = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("recv_ns", pa.int64(), nullable=False),
        pa.field("kind", pa.uint8(), nullable=False),
        pa.field("conn", pa.int32(), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Version:
    """How one schema version is read: its columns, and the step that turns its batch into the current one."""

    schema: pa.Schema
    upgrade: Callable[[pa.RecordBatch], pa.RecordBatch]


VERSIONS: dict[int, Version] = {1: Version(JOURNAL_SCHEMA, lambda batch: batch)}
"""Every version that was ever released. A new one adds an entry, and its predecessors' steps learn to reach it."""
assert SCHEMA_VERSION in VERSIONS

_SEGMENT_NAME = re.compile(r"(?P<name>[a-z0-9_]+)-(?P<run>\d{7})-(?P<number>\d{6})\.arrows(?P<open>\.open)?")


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """What a segment's file name says; ordered as the segments were written."""

    name: str
    run: int
    number: int
    open: bool = False

    def __str__(self) -> str:
        return f"{self.name}-{self.run:07d}-{self.number:06d}.arrows{OPEN_SUFFIX if self.open else ''}"

    @classmethod
    def parse(cls, file_name: str) -> SegmentName | None:
        """The parts of `file_name`, None where it is not a segment's."""
        match = _SEGMENT_NAME.fullmatch(file_name)
        if match is None:
            return None
        return cls(match["name"], int(match["run"]), int(match["number"]), match["open"] is not None)


def _header_crc(schema: pa.Schema, metadata: dict[str, str]) -> int:
    lines = [f"{key}={metadata[key]}" for key in sorted(metadata)]
    lines += [f"{column.name}:{column.type}:{column.nullable}" for column in schema]
    return zlib.crc32("\n".join(lines).encode())


def with_header(schema: pa.Schema, metadata: dict[str, str]) -> pa.Schema:
    """`schema` with `metadata` and a checksum over both; `kind` and `version` are the keys every segment has."""
    return schema.with_metadata({**metadata, "crc": f"{_header_crc(schema, metadata):08x}"})


def header_of(schema: pa.Schema) -> dict[str, str] | None:
    """The checked metadata of a segment's schema; None where it is damaged or was never ours."""
    try:
        metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
        crc = int(metadata.pop("crc"), 16)
    except (KeyError, ValueError):
        return None
    return metadata if crc == _header_crc(schema, metadata) else None


def version_of(header: dict[str, str], file: object) -> Version:
    """The version that a journal's checked header names; raises JournalError where this program is too old for it."""
    number = int(header["version"])
    if number not in VERSIONS:
        raise JournalError(
            f"expected a journal of version {SCHEMA_VERSION} or older, was version {number} ({file}): "
            "read it with the release that wrote it, or a newer one"
        )
    return VERSIONS[number]


def _bytes_of(buffer: pa.Buffer, start: int, stop: int) -> memoryview:
    if stop > buffer.size:
        raise ValueError(f"expected a buffer of at least {stop} bytes, was {buffer.size}")
    return memoryview(buffer)[start:stop]


def _array_crc(array: pa.Array, crc: int) -> int:
    """CRC-32 over what `array` holds, whatever its offset, padding or absent validity."""
    kind, n, start = array.type, len(array), array.offset
    if array.null_count:
        crc = zlib.crc32(memoryview(array.is_valid().cast(pa.uint8()).buffers()[1])[:n], crc)
    if n == 0:
        return crc
    if pa.types.is_boolean(kind):
        return zlib.crc32(memoryview(array.fill_null(False).cast(pa.uint8()).buffers()[1])[:n], crc)
    if pa.types.is_primitive(kind) or pa.types.is_fixed_size_binary(kind):
        width = kind.byte_width
        return zlib.crc32(_bytes_of(array.buffers()[1], start * width, (start + n) * width), crc)
    if pa.types.is_binary(kind) or pa.types.is_string(kind) or pa.types.is_list(kind):
        offsets_buffer = array.buffers()[1]
        offsets = np.frombuffer(_bytes_of(offsets_buffer, start * 4, (start + n + 1) * 4), np.int32)
        low, high = int(offsets[0]), int(offsets[-1])
        if low < 0 or high < low:
            raise ValueError(f"expected rising offsets, were {low} .. {high}")
        crc = zlib.crc32((offsets - offsets[0] if low else offsets).data, crc)
        if pa.types.is_list(kind):
            return _array_crc(array.values.slice(low, high - low), crc)
        return zlib.crc32(_bytes_of(array.buffers()[2], low, high), crc) if high > low else crc
    if pa.types.is_fixed_size_list(kind):
        width = kind.list_size
        return _array_crc(array.values.slice(start * width, n * width), crc)
    raise ValueError(f"expected a column of a fixed width, binary, string or list, was {kind}")


def batch_crc(batch: pa.RecordBatch, first: int) -> int:
    """CRC-32 of a batch's rows and of their place in the stream; raises ValueError where its buffers do not fit."""
    crc = zlib.crc32(first.to_bytes(8, "little") + batch.num_rows.to_bytes(8, "little"))
    for column in batch.columns:
        if len(column) != batch.num_rows:
            raise ValueError(f"expected columns of {batch.num_rows} rows, was {len(column)}")
        crc = _array_crc(column, crc)
    return crc


def record_batch(batch: Batch, low: int, high: int, schema: pa.Schema = JOURNAL_SCHEMA) -> pa.RecordBatch:
    """Records `low..high` of `batch` as Arrow: views of its memory, but for `seq` and offsets not from 0."""
    n = high - low
    offsets = batch.offsets[low : high + 1]
    start, stop = int(offsets[0]), int(offsets[-1])
    if start:
        offsets = offsets - offsets[0]
    first = batch.first_seq + low
    columns = [
        _plain(pa.int64(), np.arange(first, first + n, dtype=np.int64)),
        _plain(pa.int64(), batch.recv_ns[low:high]),
        _plain(pa.uint8(), batch.kind[low:high]),
        _plain(pa.int32(), batch.conn[low:high]),
        pa.Array.from_buffers(pa.binary(), n, [None, pa.py_buffer(offsets), pa.py_buffer(batch.data[start:stop])], 0),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _plain(kind: pa.DataType, values: NDArray[Any]) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)], 0)


class Encoder:
    """Turns batches of one schema into the protected messages of its stream."""

    def __init__(self, schema: pa.Schema, zstd_level: int = 1) -> None:
        self.schema = schema
        self.header: bytes = schema.serialize().to_pybytes()
        self._options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", zstd_level), use_threads=False)

    def message(self, batch: pa.RecordBatch, first: int) -> memoryview:
        """One batch as it goes into the file. Compression and checksum run without the GIL."""
        crc = batch_crc(batch, first)
        sink = pa.BufferOutputStream()
        writer = pa.ipc.new_stream(sink, self.schema, options=self._options)
        writer.write_batch(
            batch, custom_metadata={"first": str(first), "count": str(batch.num_rows), "crc": f"{crc:08x}"}
        )
        return memoryview(sink.getvalue())[len(self.header) :]


def checked(batch: pa.RecordBatch, metadata: Any) -> int:
    """Number of a batch's first row; raises ValueError where its bytes are not what was written."""
    if metadata is None:
        raise ValueError("expected a checksum, was none")
    first, count, crc = int(metadata["first"]), int(metadata["count"]), int(metadata["crc"], 16)
    if count != batch.num_rows or count == 0:
        raise ValueError(f"expected {count} rows, was {batch.num_rows}")
    if first < 0 or batch_crc(batch, first) != crc:
        raise ValueError("checksum mismatch")
    return first
