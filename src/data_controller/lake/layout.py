"""How the lake lies on disk: partitions, columns and their encodings, the same for every venue and every channel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_controller.errors import TableError
from data_controller.lake.columns import schema_of, to_record_batch
from data_controller.market.rows import EVENT, Kind
from data_controller.market.tables import Channel

VERSION = 1
COMMITS = "_commits"
DAY_NS = 86_400 * 10**9
NOBODY = "_"
"""Exchange or instrument of rows that belong to none: control rows of a connection."""
CONTROL = "control"
"""Channel of control rows that belong to no stream."""
CONNECTIONS_PER_VENUE = 256
"""As the pipeline numbers connections."""

PART = re.compile(r"part-(?P<seq>\d{19})-(?P<row>-?\d{1,6})(?:-\d+)?\.parquet")
_KEYS = ("exchange", "channel", "instrument", "date")
_DELTA = ("seq", "recv_ns", "exch_ns", "price", "size", "ref")
"""Columns whose neighbours are near each other; dictionaries would only grow there."""

_WORD = pa.dictionary(pa.int32(), pa.string())
_EVENT_NAMES = {"channel": "channel_row"}  # `channel` is the partition's
EVENT_SCHEMA = pa.schema(
    [pa.field(_EVENT_NAMES.get(field.name, field.name), field.type, nullable=False) for field in schema_of(EVENT)]
    + [pa.field("precision", _WORD), pa.field("frequency", _WORD), pa.field("length", pa.int32())]
)
"""Every field of an EVENT row, and which rendering of the channel it belongs to."""

GAP_SCHEMA = pa.schema(
    [
        ("seq", pa.int64()),
        ("recv_ns", pa.int64()),
        ("since_ns", pa.int64()),
        ("venue", pa.string()),
        ("symbol", pa.string()),
        ("channel_row", pa.int64()),
        ("stream", pa.string()),
        ("precision", pa.string()),
        ("reason", pa.string()),
        ("began_seq", pa.int64()),
        ("ended_ns", pa.int64()),
        ("healed_by", pa.string()),
    ]
)
SCHEMAS = {"gaps": GAP_SCHEMA}


class Key(NamedTuple):
    """Whose rows a file holds."""

    exchange: str
    channel: str  # stream or side table
    instrument: str  # as the venue writes it
    date: str  # UTC day of the record
    precision: str = ""
    frequency: str = ""
    length: int = 0
    row: int = -1  # row of the run's channel table

    @property
    def folder(self) -> str:
        """The partition's path below the lake."""
        values = (self.exchange, self.channel, self.instrument, self.date)
        return "/".join(f"{key}={quote(value, safe='')}" for key, value in zip(_KEYS, values, strict=True))


def partition_of(path: str) -> dict[str, str]:
    """Keys and values in a file's path."""
    parts = (part.partition("=") for part in path.split("/")[:-1])
    return {key: unquote(value) for key, sign, value in parts if sign}


def date_of(ns: int) -> str:
    """The UTC day of a time, as 2026-11-25."""
    return str(np.datetime64(ns // DAY_NS, "D"))


def key_of(channel: Channel, row: int, date: str) -> Key:
    """The key of rows of channel `row` of a run."""
    return Key(
        channel.venue,
        channel.stream,
        channel.symbol,
        date,
        channel.precision,
        channel.frequency,
        channel.length,
        row,
    )


def split(
    rows: NDArray[np.void], channels: Sequence[Channel], venues: Sequence[str], date: str
) -> Iterator[tuple[Key, NDArray[np.void]]]:
    """EVENT rows by whose they are, each one's in their order."""
    if not len(rows):
        return
    ids = rows["channel"]
    if (ids == ids[0]).all():
        parts = [(int(ids[0]), rows)]
    else:
        # numpy sorts 16 bits by their digits, in a tenth of the time.
        order = np.argsort(ids.astype(np.int16) if len(channels) < 1 << 15 else ids, kind="stable")
        ordered = rows.view("V64")[order].view(EVENT)
        bounds = np.flatnonzero(np.diff(ordered["channel"])) + 1
        parts = [(int(part["channel"][0]), part) for part in np.split(ordered, bounds)]
    for row, part in parts:
        if 0 <= row < len(channels):
            yield key_of(channels[row], row, date), part
            continue
        # A connection's slot tells its venue; what is no control row of a connection is nobody's.
        venue = np.where(part["kind"] == Kind.CONTROL, part["part"] // CONNECTIONS_PER_VENUE, len(venues))
        for number in np.unique(venue).tolist():
            name = venues[number] if number < len(venues) else NOBODY
            yield Key(name, CONTROL, NOBODY, date), part[venue == number]


def event_table(rows: NDArray[np.void], key: Key) -> pa.Table:
    """EVENT rows as Arrow, in EVENT_SCHEMA."""
    n = len(rows)
    columns = [pa.array(np.ascontiguousarray(rows[name])) for name in EVENT.names or ()]
    first = pa.array(np.zeros(n, np.int32))
    columns += [pa.DictionaryArray.from_arrays(first, pa.array([word])) for word in (key.precision, key.frequency)]
    columns.append(pa.array(np.full(n, key.length, np.int32)))
    return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


def events_of(table: pa.Table) -> NDArray[np.void]:
    """The EVENT rows of a table in EVENT_SCHEMA."""
    rows = np.zeros(table.num_rows, EVENT)
    for name in EVENT.names or ():
        rows[name] = table.column(_EVENT_NAMES.get(name, name)).to_numpy()
    return rows


def side_tables(
    channel: str, rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[pa.Table | None, Sequence[Mapping[str, Any]], str]]:
    """Rows of a side table as few tables as hold them, each with its rows; None and why for a row that no column takes.

    A row may fit by itself and not beside others: where a column holds numbers here and text there.
    """
    try:
        yield side_table(channel, rows), rows, ""
    except TableError as error:
        if len(rows) == 1:
            yield None, rows, str(error)
            return
        half = len(rows) // 2
        yield from side_tables(channel, rows[:half])
        yield from side_tables(channel, rows[half:])


def side_table(channel: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of a side table as Arrow; columns that hold nothing are left out, where no schema is given."""
    renamed = [{_EVENT_NAMES.get(name, name): value for name, value in row.items()} for row in rows]
    schema = SCHEMAS.get(channel)
    if schema is None:
        empty = {name for row in renamed for name in row} - {
            name for row in renamed for name, value in row.items() if value is not None
        }
        renamed = [{name: value for name, value in row.items() if name not in empty} for row in renamed]
    return pa.Table.from_batches([to_record_batch(renamed, schema)])


def parquet_options(schema: pa.Schema, events: bool) -> dict[str, Any]:
    """How a file's columns are encoded: deltas where neighbours are near, dictionaries elsewhere, all under zstd."""
    delta = [name for name in _DELTA if name in schema.names and pa.types.is_integer(schema.field(name).type)]
    if not events:
        delta = [name for name in delta if name in ("seq", "recv_ns")]
    return {
        "compression": "zstd",
        "compression_level": 1,  # 3 saves 0.2 bytes a row and costs twice the time
        "use_dictionary": [name for name in schema.names if name not in delta],
        "column_encoding": dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
        "write_statistics": [name for name in schema.names if name.endswith("_ns") or name == "seq"],
        "data_page_version": "2.0",
        "data_page_size": 1 << 20,
    }
