"""SQL over everything on disk: committed files of the lake, the journal's records the engine's tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from data_controller.errors import LakeError
from data_controller.journal.format import JOURNAL_SCHEMA, record_batch
from data_controller.journal.reader import Reader
from data_controller.lake.catalogue import Catalogue, File
from data_controller.lake.tables import read_table, segments_of
from data_controller.market.rows import Kind
from data_controller.records import Kind as RecordKind

RECORDS = "records"
EVENTS = "_events"
ALIASES = {"decisions": "audit"}
_READING = ("SELECT", "EXPLAIN", "PRAGMA")
_HIVE = ("exchange", "channel", "instrument", "date")


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of a query: column names, and values by row."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


class Query:
    """A DuckDB in memory with a view a channel of the lake, `records`, and a table for each of the engine's."""

    def __init__(
        self, catalogue: Catalogue | None = None, journal: Path | None = None, tables: Path | None = None
    ) -> None:
        import duckdb

        self._duckdb = duckdb
        self._db = duckdb.connect(config={"autoinstall_known_extensions": "false"})
        self._catalogue = catalogue
        self._journal = journal
        self._tables = tables
        self._channels = _views(catalogue) if catalogue is not None else []

    def names(self) -> list[str]:
        """Tables and views that a query may name."""
        engine = []
        if self._tables is not None and self._tables.is_dir():
            engine = [path.name for path in self._tables.iterdir() if segments_of(self._tables, path.name)]
        aliases = [alias for alias, name in ALIASES.items() if name in engine]
        return sorted({*self._channels, *engine, *aliases, *([RECORDS] if self._journal else [])})

    def run(self, sql: str) -> Answer:
        """The answer to one statement that reads; LakeError where it is another, or DuckDB refuses it."""
        names = self.names()
        try:
            self._check(sql)
            named = self._named(sql)
            for name in names:
                if name in named if named is not None else re.search(rf"\b{re.escape(name)}\b", sql, re.IGNORECASE):
                    self._provide(name)
            result = self._db.execute(sql)
            columns = [column[0] for column in (result.description if result is not None else None) or []]
            return Answer(columns, result.fetchall() if columns else [])
        except self._duckdb.Error as error:
            text = " ".join(str(error).split())[:600]
            have = ", ".join(names) or "none"
            raise LakeError(f"expected SQL that DuckDB takes, was: {text}; tables here: {have}") from error
        except RuntimeError as error:
            if "interrupted" in str(error).lower():  # so DuckDB says Ctrl-C
                raise KeyboardInterrupt from error
            raise

    def _check(self, sql: str) -> None:
        """One statement, and none that writes: neither the lake nor any other file."""
        kinds = [statement.type.name for statement in self._db.extract_statements(sql)]
        if len(kinds) != 1:
            raise LakeError(f"expected one statement, was {len(kinds)}: ask one after another")
        if kinds[0] not in (*_READING, "MULTI"):  # a PIVOT is several
            raise LakeError(f"expected a statement that reads ({', '.join(_READING)}), was {kinds[0]}")

    def _named(self, sql: str) -> set[str] | None:
        """Tables that a statement names, None where DuckDB cannot tell."""
        try:
            return {name.lower() for name in self._db.get_table_names(sql)}
        except self._duckdb.Error:
            return None

    def _provide(self, name: str) -> None:
        if name in self._channels:
            assert self._catalogue is not None
            self._provide_channel(self._catalogue, name)
        elif name == RECORDS:
            assert self._journal is not None
            self._db.register("_records", _records(self._journal))
            kinds = " ".join(f"WHEN {kind.value} THEN '{kind.name}'" for kind in RecordKind)
            self._db.execute(
                f"CREATE OR REPLACE TABLE {RECORDS} AS SELECT seq, seq >> 40 AS run, recv_ns, "
                f"make_timestamp_ns(recv_ns) AS recv_time, CASE kind {kinds} END AS kind, conn, payload FROM _records"
            )
            self._db.unregister("_records")
        else:
            assert self._tables is not None
            table = read_table(self._tables, ALIASES.get(name, name), damages=[])
            self._db.register(f"_{name}", table)
            times = [c for c in table.schema.names if c.endswith("_ns")]
            more = "".join(f', make_timestamp_ns("{c}") AS "{c.removesuffix("_ns")}_time"' for c in times)
            self._db.execute(f'CREATE OR REPLACE VIEW "{name}" AS SELECT *{more} FROM "_{name}"')

    def _provide_channel(self, catalogue: Catalogue, name: str) -> None:
        """A view of the channel's rows; where those are a side table's, its event rows are another view's."""
        channel = name.removesuffix(EVENTS)
        files = catalogue.files(channel=channel)
        events = [file for file in files if file.events]
        other = [file for file in files if not file.events]
        if events and (name != channel or not other):
            self._provide_files(catalogue, f"_{name}", events)
            self._db.execute(f'CREATE OR REPLACE VIEW "{name}" AS SELECT {_event_columns()} FROM "_{name}"')
            return
        self._provide_files(catalogue, f"_{name}", other)
        columns = [c[0] for c in self._db.execute(f'SELECT * FROM "_{name}" LIMIT 0').description or []]
        times = [c for c in columns if c.endswith("_ns")]
        more = "".join(f', make_timestamp_ns(nullif("{c}", 0)) AS "{c.removesuffix("_ns")}_time"' for c in times)
        self._db.execute(f'CREATE OR REPLACE VIEW "{name}" AS SELECT *{more} FROM "_{name}"')

    def _provide_files(self, catalogue: Catalogue, view: str, files: list[File]) -> None:
        store = catalogue.store
        paths = [store.path(file.path) for file in files]
        if store.is_local:
            listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            types = "{'exchange': VARCHAR, 'channel': VARCHAR, 'instrument': VARCHAR, 'date': DATE}"
            self._db.execute(
                f'CREATE OR REPLACE VIEW "{view}" AS '
                f"SELECT * FROM read_parquet([{listed}], union_by_name = true, "
                f"hive_partitioning = true, hive_types = {types}, hive_types_autocast = false)"
            )
            return
        kinds = pa.schema([(key, pa.date32() if key == "date" else pa.string()) for key in _HIVE])
        partitioning = pads.partitioning(kinds, flavor="hive")
        pieces = [
            pads.dataset(
                path,
                filesystem=store.filesystem,
                format="parquet",
                partitioning=partitioning,
                partition_base_dir=store.root,
            )
            for path in paths
        ]
        schema = pa.unify_schemas([piece.schema for piece in pieces], promote_options="permissive")
        whole = pads.dataset(
            paths,
            filesystem=store.filesystem,
            format="parquet",
            schema=schema,
            partitioning=partitioning,
            partition_base_dir=store.root,
        )
        self._db.register(view, whole)


def _views(catalogue: Catalogue) -> list[str]:
    """Names of the views of a lake: its channels, and the event rows of those that are side tables."""
    kinds: dict[str, set[bool]] = {}
    for file in catalogue.all_files():
        kinds.setdefault(file.channel, set()).add(file.events)
    return sorted(kinds) + sorted(f"{name}{EVENTS}" for name, both in kinds.items() if len(both) == 2)


def _event_columns() -> str:
    kinds = " ".join(f"WHEN {kind.value} THEN '{kind.name}'" for kind in Kind)
    return ", ".join(
        (
            "seq",
            "part",
            "recv_ns",
            "make_timestamp_ns(recv_ns) AS recv_time",
            "make_timestamp_ns(nullif(exch_ns, 0)) AS exch_time",
            "exchange",
            "instrument",
            "date",
            "precision",
            "frequency",
            "length",
            f"CASE kind {kinds} END AS kind",
            "side",
            "price / pow(10.0, price_scale) AS price",
            "size / pow(10.0, size_scale) AS size",
            "ref",
            "flags",
            "exch_ns",
            "price AS price_digits",
            "size AS size_digits",
            "price_scale",
            "size_scale",
            "channel_row",
        )
    )


def _records(journal: Path) -> pa.RecordBatchReader:
    """The journal's records, read once as they are asked for."""

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in Reader(journal, on_damage="report", merge=1 << 16):
            yield record_batch(batch, 0, len(batch.recv_ns))

    return pa.RecordBatchReader.from_batches(JOURNAL_SCHEMA, batches())
