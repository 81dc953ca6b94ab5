"""The manifest: which segments a journal has, with counts, spans and hashes, and what retention took away."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec

from data_controller.errors import JournalCorrupt, JournalError
from data_controller.journal.files import append_durably, replace_durably, sync_directory
from data_controller.journal.settings import JournalSettings

MANIFEST = "manifest.json"
RUNS = "runs"
RETENTION = "retention.json"
DELETED_KEPT = 1000
"""How many deleted segments the manifest names; the totals count all."""
_DAY_NS = 86_400 * 10**9


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A closed segment."""

    name: str
    run: int
    number: int
    records: int
    first_seq: int
    last_seq: int
    first_recv_ns: int
    last_recv_ns: int
    bytes: int
    sha256: str
    note: str = ""  # what recovery had to do with it, or why it was deleted


class Manifest(msgspec.Struct, kw_only=True):
    """The content of `manifest.json`; `run` is the last engine start's number."""

    version: int = 1
    run: int = 0
    segments: list[Entry] = []
    deleted: list[Entry] = []
    deleted_segments: int = 0
    deleted_records: int = 0
    deleted_bytes: int = 0


class _Sealed(msgspec.Struct):
    manifest: msgspec.Raw
    crc: str


def load(directory: Path) -> Manifest | None:
    """The manifest of `directory`, None where there is none; raises JournalCorrupt where it is damaged."""
    path = directory / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalError(f"expected to read {path}, was {error.strerror}") from error
    try:
        sealed = msgspec.json.decode(content, type=_Sealed)
        body = bytes(sealed.manifest)
        if sealed.crc != f"{zlib.crc32(body):08x}":
            raise ValueError("checksum mismatch")
        return msgspec.json.decode(body, type=Manifest)
    except (ValueError, msgspec.MsgspecError) as error:
        raise JournalCorrupt(
            f"expected a manifest as it was written, was damaged: {path}: {error}; "
            "starting the engine on it rebuilds it from the segments"
        ) from error


def save(directory: Path, manifest: Manifest) -> None:
    """Replace the manifest of `directory`, durably and all at once; raises OSError."""
    body = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    content = b'{"manifest":' + body + b',"crc":"%08x"}\n' % zlib.crc32(body)
    replace_durably(directory / MANIFEST, content)


def last_run(directory: Path) -> int:
    """The highest run number that the `runs` file of `directory` holds, 0 where none; torn lines do not count."""
    try:
        lines = (directory / RUNS).read_bytes().split(b"\n")
    except FileNotFoundError:
        return 0
    highest = 0
    for line in lines:
        number, _, crc = line.partition(b" ")
        if number.isdigit() and crc == b"%08x" % zlib.crc32(number):
            highest = max(highest, int(number))
    return highest


def claim_run(directory: Path, run: int) -> None:
    """Note durably that `run` was given out; raises OSError."""
    number = b"%d" % run
    append_durably(directory / RUNS, b"%s %08x\n" % (number, zlib.crc32(number)))


class Retention(msgspec.Struct, kw_only=True):
    """What a compactor lets the writer delete; the content of `retention.json`."""

    run: int = 0  # the last segment that is in the lake, and so may go
    number: int = 0
    drop: dict[str, str] = {}  # segments that are to go, and why


def load_retention(directory: Path) -> Retention | None:
    """What the compactor of `directory` allows; None where there is none, nothing at all where it cannot be read."""
    try:
        return msgspec.json.decode((directory / RETENTION).read_bytes(), type=Retention)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError):
        return Retention()


def save_retention(directory: Path, retention: Retention) -> None:
    """Replace what `load_retention` reads; raises OSError."""
    replace_durably(directory / RETENTION, msgspec.json.encode(retention) + b"\n")


def make_room(directory: Path, manifest: Manifest, settings: JournalSettings, open_bytes: int, now_ns: int) -> int:
    """Delete whole segments, oldest first, until age and budget hold; returns how many. The manifest is saved first.

    The open segment (`open_bytes`) counts towards the budget and is never deleted; a crash between saving and
    deleting is finished by the next start. Where a compactor is at work, what is not in the lake yet is not deleted
    either, and what it wants deleted is.
    """
    doomed: list[tuple[Entry, str]] = []
    total = open_bytes + sum(entry.bytes for entry in manifest.segments)
    oldest_ns = now_ns - round(settings.retention_days * _DAY_NS)
    allowed = load_retention(directory)
    for entry in manifest.segments:
        if allowed is not None and (entry.run, entry.number) > (allowed.run, allowed.number):
            break
        if allowed is not None and entry.name in allowed.drop:
            reason = allowed.drop[entry.name]
        elif settings.retention_days and entry.last_recv_ns < oldest_ns:
            reason = "older than journal.retention_days"
        elif settings.max_bytes and total > settings.max_bytes:
            reason = "beyond journal.max_bytes"
        else:
            break
        total -= entry.bytes
        doomed.append((entry, reason))
    if not doomed:
        return 0
    manifest.segments = manifest.segments[len(doomed) :]
    manifest.deleted = [
        *manifest.deleted,
        *(msgspec.structs.replace(entry, note=reason) for entry, reason in doomed),
    ][-DELETED_KEPT:]
    manifest.deleted_segments += len(doomed)
    manifest.deleted_records += sum(entry.records for entry, _ in doomed)
    manifest.deleted_bytes += sum(entry.bytes for entry, _ in doomed)
    save(directory, manifest)
    for entry, _ in doomed:
        (directory / entry.name).unlink(missing_ok=True)
    sync_directory(directory)
    return len(doomed)
