"""What the lake holds: files count from the moment that a commit lists them, and nobody reads any other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_controller.errors import LakeError
from data_controller.lake.layout import COMMITS, EVENT_SCHEMA, VERSION, events_of, partition_of
from data_controller.lake.store import Store
from data_controller.market.rows import EVENT


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A journal segment that went into a commit, whole."""

    name: str
    sha256: str
    bytes: int
    records: int
    run: int
    number: int
    first_seq: int
    last_seq: int
    first_recv_ns: int
    last_recv_ns: int


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit was made from; `kind` journal, or what another job says of itself."""

    kind: str
    journal: str = ""  # identity of the journal
    segments: list[Segment] = []
    damages: list[str] = []  # what could not be read of them


class File(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A committed file; what it holds is empty where its writer had no use for it."""

    path: str
    sha256: str
    rows: int
    bytes: int = 0
    exchange: str = ""
    channel: str = ""
    instrument: str = ""
    date: str = ""
    precision: str = ""
    frequency: str = ""
    length: int = 0
    row: int = -1  # row of the run's channel table
    first_seq: int = -1
    last_seq: int = -1
    first_recv_ns: int = 0
    last_recv_ns: int = 0
    checkpoint_rows: int = 0  # rows at its head that write out the book as the day began
    events: bool = False  # True: EVENT rows


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the lake: files that appear together, and where they came from."""

    version: int = VERSION
    code: str = ""  # version of the program that made it
    source: Source
    files: list[File] = []
    rows: dict[str, int] = {}  # by exchange/channel
    seal: str = ""  # SHA-256 over all the rest, empty where its writer gave none


def sealed(commit: Commit) -> bytes:
    """The commit's file."""
    body = msgspec.structs.replace(commit, seal="")
    seal = hashlib.sha256(msgspec.json.encode(body)).hexdigest()
    return msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(commit, seal=seal)), indent=1) + b"\n"


def commit_name(run: int, number: int) -> str:
    """File name of the commit whose first segment is `number` of engine start `run`."""
    return f"{COMMITS}/{run:07d}-{number:06d}.json"


class Catalogue:
    """The committed files of a lake as they are now."""

    def __init__(self, store: Store, damages: list[str] | None = None) -> None:
        """Reads the commits; LakeError where one is damaged, unless a list for `damages` is given."""
        self.store = store
        self.commits: dict[str, Commit] = {}
        for name in store.names(COMMITS):
            if not name.endswith(".json"):
                continue
            try:
                self.commits[name] = _read_commit(store, name)
            except LakeError as error:
                if damages is None:
                    raise
                damages.append(str(error))

    @property
    def segments(self) -> dict[str, Segment]:
        """Journal segments that are in the lake, by name, in order."""
        found = [segment for commit in self.commits.values() for segment in commit.source.segments]
        return {segment.name: segment for segment in sorted(found, key=lambda s: (s.run, s.number))}

    @property
    def journal(self) -> str:
        """Identity of the journal that the lake is made from, empty where none."""
        return next((c.source.journal for c in self.commits.values() if c.source.journal), "")

    def files(
        self,
        *,
        channel: str | None = None,
        exchange: str | None = None,
        instrument: str | None = None,
        dates: Iterable[str] | None = None,
        **exact: Any,
    ) -> list[File]:
        """Committed files that match, in the order of their first record."""
        wanted = set(dates) if dates is not None else None
        found = [
            file
            for file in self.all_files()
            if (channel is None or file.channel == channel)
            and (exchange is None or file.exchange == exchange)
            and (instrument is None or file.instrument == instrument)
            and (wanted is None or file.date in wanted)
            and all(getattr(file, name) == value for name, value in exact.items())
        ]
        # The second file of one record has a longer name: part-…-2.
        return sorted(found, key=lambda f: (f.date, f.first_seq, len(f.path), f.path))

    def all_files(self) -> Iterator[File]:
        """Every committed file, with what its path says of it."""
        for commit in self.commits.values():
            for file in commit.files:
                yield file if file.channel else _completed(file)

    def channels(self) -> list[str]:
        """Names of the channels that have files."""
        return sorted({file.channel for file in self.all_files()})

    def table(self, file: File, *, damaged: bool = False) -> pa.Table:
        """All columns of a committed file; LakeError where it cannot be read.

        Nor is it read where its bytes are not those that were committed, unless `damaged` asks for what is left of it.
        """
        content = self.store.read(file.path)
        if not damaged and hashlib.sha256(content).hexdigest() != file.sha256:
            raise LakeError(
                f"expected the bytes that were committed, was damage (SHA-256 differs): {file.path}: `verify` says more"
            )
        try:
            return pq.read_table(pa.BufferReader(content), use_threads=False, partitioning=None)
        except (pa.ArrowException, OSError, ValueError) as error:
            text = " ".join(str(error).split())[:200]
            raise LakeError(f"expected a Parquet file, was damaged: {file.path}: {text}") from error

    def events(self, file: File, *, damaged: bool = False) -> NDArray[np.void]:
        """EVENT rows of a committed file; LakeError where it holds others, and as `table` raises it."""
        table = self.table(file, damaged=damaged)
        if not table.schema.equals(EVENT_SCHEMA):
            raise LakeError(f"expected event rows, was a file of other columns: {file.path}")
        return events_of(table) if table.num_rows else np.zeros(0, EVENT)


def _completed(file: File) -> File:
    parts = partition_of(file.path)
    known = {name: parts[name] for name in ("exchange", "channel", "instrument", "date") if name in parts}
    return msgspec.structs.replace(file, **known)


def _read_commit(store: Store, name: str) -> Commit:
    try:
        commit = msgspec.json.decode(memoryview(store.read(name)), type=Commit)
    except (msgspec.MsgspecError, ValueError) as error:
        raise LakeError(f"expected a commit as it was written, was damaged: {name}: {error}") from error
    if commit.version > VERSION:
        raise LakeError(
            f"expected a commit of version {VERSION} or older, was version {commit.version} ({name}): "
            "read the lake with the release that wrote it, or a newer one"
        )
    if commit.seal:
        body = msgspec.json.encode(msgspec.structs.replace(commit, seal=""))
        if hashlib.sha256(body).hexdigest() != commit.seal:
            raise LakeError(f"expected a commit as it was written, was another: {name}: its seal does not fit")
    return commit
