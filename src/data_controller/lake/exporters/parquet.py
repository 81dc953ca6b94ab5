"""Event rows as one Parquet file, with the names of their channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from data_controller.lake.columns import to_record_batch
from data_controller.lake.exporters._base import Chunk, Report

FILE = "rows.parquet"


class ParquetExporter:
    """`rows.parquet`: an event row's columns as they are, and venue, symbol, stream and precision of its channel."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._writer: parquet.ParquetWriter | None = None
        self._rows = 0

    def take(self, chunk: Chunk) -> None:
        """Write the rows of `chunk`."""
        if not len(chunk.rows):
            return
        batch = to_record_batch(chunk.rows)
        at = chunk.rows["channel"]
        for name in ("venue", "symbol", "stream", "precision"):
            words = [*(getattr(channel, name) for channel in chunk.tables.channels), ""]
            codes = np.where(at < 0, len(words) - 1, at).astype(np.int32)
            column = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(words, pa.string()))
            batch = batch.append_column(name, column.cast(pa.string()))
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._path, batch.schema, compression="zstd")
        self._writer.write_batch(batch)
        self._rows += len(chunk.rows)

    def finish(self, last_recv_ns: int) -> Report:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
        return {"files": {FILE: self._rows} if self._writer is not None else {}}
