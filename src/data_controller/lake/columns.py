"""Rows as Arrow: the schema of a structured array or of dicts, and batches of a table in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_controller.errors import TableError

Rows = NDArray[Any] | Sequence[Mapping[str, Any]]


def schema_of(dtype: np.dtype[Any]) -> pa.Schema:
    """The table schema of a structured dtype: a field of shape [n] becomes a fixed-size list.

    Raises TableError where the dtype has no fields or one that no table holds.
    """
    if dtype.fields is None or dtype.names is None:
        raise TableError(f"expected a structured array, was {dtype}")
    return pa.schema([(name, _type_of(dtype.fields[name][0])) for name in dtype.names])


def _type_of(dtype: np.dtype[Any]) -> pa.DataType:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        kind = _type_of(base)
        for length in reversed(shape):
            kind = pa.list_(kind, length)
        return kind
    if dtype.kind == "S":
        return pa.binary()
    if dtype.kind == "U":
        return pa.string()
    try:
        return pa.from_numpy_dtype(dtype)
    except pa.ArrowException as error:
        raise TableError(f"expected a column of numbers, text or bytes, was {dtype}") from error


def _column(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    flat = np.ascontiguousarray(values).reshape(-1)
    lengths: list[int] = []
    while pa.types.is_fixed_size_list(kind):
        lengths.append(kind.list_size)
        kind = kind.value_type
    array = pa.array(flat, kind)
    for length in reversed(lengths):
        array = pa.FixedSizeListArray.from_arrays(array, length)
    return array


def _plain(value: Any) -> Any:
    """A dict as JSON text: a table's columns hold numbers, text, bytes and lists."""
    return msgspec.json.encode(value, enc_hook=str).decode() if isinstance(value, Mapping) else value


def _inferred(rows: Sequence[Mapping[str, Any]]) -> pa.Schema:
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for key in row:
            columns.setdefault(key, [])
    for key, values in columns.items():
        values += [_plain(row.get(key)) for row in rows]
    fields = []
    for key, values in columns.items():
        kind = pa.array(values).type
        fields.append((key, pa.string() if pa.types.is_null(kind) else kind))
    return pa.schema(fields)


def to_record_batch(rows: Rows, schema: pa.Schema | None = None) -> pa.RecordBatch:
    """`rows` as Arrow, in `schema` or in one taken from them; raises TableError where they do not fit it."""
    try:
        if isinstance(rows, np.ndarray):
            own = schema_of(rows.dtype)
            schema = schema or own
            if own.names != schema.names:
                raise TableError(f"expected the columns {schema.names}, was {own.names}")
            return pa.RecordBatch.from_arrays(
                [_column(rows[column.name], column.type) for column in schema], schema=schema
            )
        schema = schema or _inferred(rows)
        names = set(schema.names)
        for row in rows:
            if unknown := row.keys() - names:
                raise TableError(f"expected the columns {schema.names}, was also {sorted(unknown)}")
        plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
        return pa.RecordBatch.from_pylist(plain, schema=schema)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise TableError(f"expected rows of {schema}, was: {' '.join(str(error).split())[:300]}") from error
