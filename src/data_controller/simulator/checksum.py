"""The exchange's book checksum in plain Python: strings joined by colons and zlib's CRC-32, a second reading."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

LEVELS = 25


def checksum(bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> int:
    """Signed 32-bit checksum of a book.

    Entries are (price or order id, signed amount), as texts of the wire, best first. The best 25 of each side
    alternate, bid first; where a side has fewer, the other goes on alone.
    """
    pairs: Iterable[tuple[str, str] | None] = chain.from_iterable(zip_longest(bids[:LEVELS], asks[:LEVELS]))
    crc = zlib.crc32(":".join(part for pair in pairs if pair is not None for part in pair).encode())
    return crc - (1 << 32) if crc >= 1 << 31 else crc
