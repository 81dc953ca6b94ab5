"""Captures of other recorders: hftbacktest's collector, an NDJSON recorder of Binance, a log of Bitstamp's feed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from data_controller.errors import ImportFormatError
from data_controller.lake.importers._journal import (
    GIVE_UP_LINES,
    DraftJournal,
    Entry,
    Parse,
    Report,
    build,
    entries_of,
    fetched,
    lines_of,
    open_capture,
)
from data_controller.records import Kind

DEPTH_ADDRESSES = {
    "binance": "https://api.binance.com/api/v3/depth?symbol={symbol}&limit=1000",
    "binance_usdm": "https://fapi.binance.com/fapi/v1/depth?symbol={symbol}&limit=1000",
    "binance_coinm": "https://dapi.binance.com/dapi/v1/depth?symbol={symbol}&limit=1000",
}
"""Where a collector fetches a book's snapshot, by dialect."""

_COLLECTED = re.compile(rb"(\d{18,19}) (\{.*)", re.DOTALL)
_STREAM = re.compile(rb'\{"stream":"([a-z0-9_]+)@')
_LOGGED = re.compile(rb"(\d{12,13}) ([a-z_]+ \{.*)", re.DOTALL)
_SECONDS_UNTIL = 10**11
"""A `ts_local` below is in seconds, one above in milliseconds."""


class _Wrapped(msgspec.Struct):
    """A line of the NDJSON recorder."""

    ts_local: msgspec.Raw
    symbol: str
    type: str
    data: msgspec.Raw


def import_hftbacktest(files: Path | Sequence[Path], exchange: str, out: Path) -> Report:
    """Import files of hftbacktest's collector (`LOCAL_NS JSON` a line), oldest first, as one connection.

    A REST snapshot among the frames becomes a FETCHED record with the address that the collector asks for the symbol
    of the file's streams. Times, bad lines and errors as in `import_cryptofeed`.
    """
    paths = [files] if isinstance(files, Path) else list(files)
    address = _address(exchange)

    def fill(journal: DraftJournal) -> None:
        for path in paths:
            for entry in entries_of(path, _collected(address, path), journal):
                journal.push(entry.kind, entry.recv_ns, entry.payload)

    named = ", ".join(map(str, paths))
    return build(out, exchange, False, fill, f"expected lines of `LOCAL_NS JSON`, was no such line in {named}")


def import_ndjson(file: Path, exchange: str, out: Path) -> Report:
    """Import lines of `{"ts_local": ..., "symbol": ..., "type": ..., "data": {...}}`.

    `snapshot` lines become FETCHED records, events frames, `exchangeInfo` is passed over and counted in `notes`. The
    recorder wrote the venue's own event time in place of the receive time on events, so START says that times are made
    up. Times, bad lines and errors as in `import_cryptofeed`.
    """
    address = _address(exchange)

    def fill(journal: DraftJournal) -> None:
        journal.counts["notes"] = 0
        for entry in entries_of(file, lambda line: _unwrapped(line, address, journal), journal):
            journal.push(entry.kind, entry.recv_ns, entry.payload)

    expected = f'expected lines of {{"ts_local", "symbol", "type", "data"}}, was no such line in {file}'
    return build(out, exchange, True, fill, expected)


def import_bitstamp_log(file: Path, exchange: str, out: Path) -> Report:
    """Import a log of Bitstamp's order feed, a line `LOCAL_MS EVENT JSON`; a frame is `EVENT JSON`.

    Times, bad lines and errors as in `import_cryptofeed`.
    """

    def fill(journal: DraftJournal) -> None:
        for entry in entries_of(file, _logged, journal):
            journal.push(entry.kind, entry.recv_ns, entry.payload)

    return build(out, exchange, False, fill, f"expected lines of `LOCAL_MS EVENT JSON`, was no such line in {file}")


def _address(exchange: str) -> str:
    if exchange not in DEPTH_ADDRESSES:
        raise ImportFormatError(f"expected --exchange {' or '.join(DEPTH_ADDRESSES)} for this format, was {exchange!r}")
    return DEPTH_ADDRESSES[exchange]


def _collected(address: str, path: Path) -> Parse:
    symbol = _first_symbol(path)

    def parse(line: bytes) -> Entry | str | None:
        match = _COLLECTED.fullmatch(line)
        if match is None:
            return "not a line of `LOCAL_NS JSON`"
        recv_ns, text = int(match[1]), match[2]
        if text.startswith(b'{"stream"') or not text.startswith(b'{"lastUpdateId"'):
            return Entry(recv_ns, Kind.FRAME, text)
        if not symbol:
            return "a snapshot in a file that names no symbol"
        return Entry(recv_ns, Kind.FETCHED, fetched(address.format(symbol=symbol), text))

    return parse


def _first_symbol(path: Path) -> str:
    """The symbol of the first stream that the file names; the collector writes a file for each."""
    with open_capture(path) as file:
        for number, line in lines_of(file, path):
            match = _COLLECTED.fullmatch(line)
            stream = _STREAM.match(match[2]) if match else None
            if stream:
                return stream[1].decode().upper()
            if number >= GIVE_UP_LINES:
                break
    return ""


_wrapped = msgspec.json.Decoder(_Wrapped).decode


def _unwrapped(line: bytes, address: str, journal: DraftJournal) -> Entry | str | None:
    try:
        found: Any = _wrapped(line)
        stamp = Decimal(bytes(memoryview(found.ts_local)).decode())
        if not 0 <= stamp < 10**19:  # an exponent may stand for more digits than there is memory
            return "its time is absurd"
        recv_ns = int(stamp * (10**9 if stamp < _SECONDS_UNTIL else 10**6))
    except (msgspec.MsgspecError, ValueError, InvalidOperation, OverflowError, RecursionError):
        return "not a line of the recorder"
    data = bytes(memoryview(found.data))
    if not found.symbol.isalnum() or len(found.symbol) > 40 or not data.startswith(b"{"):
        return "expected a symbol and an object, was otherwise"
    if found.type == "exchangeInfo":
        journal.counts["notes"] += 1
        return None
    if found.type == "snapshot":
        return Entry(recv_ns, Kind.FETCHED, fetched(address.format(symbol=found.symbol), data))
    return Entry(recv_ns, Kind.FRAME, data)


def _logged(line: bytes) -> Entry | str | None:
    match = _LOGGED.fullmatch(line)
    return Entry(int(match[1]) * 10**6, Kind.FRAME, match[2]) if match else "not a line of `LOCAL_MS EVENT JSON`"
