"""CRC-32 of books in the venues' own text: Bitfinex prices and raw orders, Kraken, OKX and its kin.

A checksum covers the text of 20 or 50 entries, of which few change between two checksums. A CRC is linear, so each
LEVEL keeps the register that its own text alone leaves behind, and a book's register is folded from those: moved on by
the length of the next text, then exclusive-or'ed with its register (M. Adler's `crc32_combine`, with a table a length).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.kernels import kernel
from data_controller.market._words import load_byte, load_word, record_at, store_byte
from data_controller.market.layout import LEVEL, ChecksumRule
from data_controller.market.numbers import TEXT_SPACE, write_number
from data_controller.market.rows import Flag

ENTRIES = 25
"""Entries a side that the checksums of Bitfinex and OKX cover."""
KRAKEN_ENTRIES = 10

_PRICE_EXPONENT = int(Flag.PRICE_EXPONENT)
_SIZE_EXPONENT = int(Flag.SIZE_EXPONENT)
_ORDERS = int(ChecksumRule.BITFINEX_ORDERS)
_KRAKEN = int(ChecksumRule.KRAKEN)
_KRAKEN_ORDERS = int(ChecksumRule.KRAKEN_ORDERS)
_OKX = int(ChecksumRule.OKX)
_COLON = 58
LONGEST = 55
"""No entry's text is longer: two numbers of 25 bytes, a sign and two colons."""

SCRATCH_BYTES = LONGEST + TEXT_SPACE
"""Size of the buffer for an entry's text: the longest and the slack of its 8-byte stores."""


def _tables() -> NDArray[np.uint32]:
    """Slicing-by-16 tables of the reflected IEEE polynomial, [16, 256] (M. Kounavis and F. Berry, 2008)."""
    tables = np.zeros((16, 256), np.uint32)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
        tables[0, byte] = crc
    for row in range(1, 16):
        below = tables[row - 1]
        tables[row] = below >> np.uint32(8) ^ tables[0][below & np.uint32(0xFF)]
    return tables


def _moves(table: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """[length, byte of the register, its value]: what that byte becomes behind `length` zero bytes."""
    moves = np.zeros((LONGEST + 1, 4, 256), np.uint32)
    moves[0] = np.arange(256, dtype=np.uint32) << (np.arange(4, dtype=np.uint32) * np.uint32(8))[:, None]
    for length in range(1, LONGEST + 1):
        before = moves[length - 1]
        moves[length] = before >> np.uint32(8) ^ table[before & np.uint32(0xFF)]
    return moves


_T = _tables().reshape(-1)
_MOVES = _moves(_T[:256]).reshape(-1)
_BY_TOP = np.argsort(_T[:256] >> np.uint32(24)).astype(np.uint32)
"""Index into the first table by the top byte of its value: each occurs once."""
_FF = np.uint64(0xFF)
_ONES = np.uint64(0xFFFFFFFF)
_level_at = record_at(LEVEL)


@kernel
def register(crc: Any, p: Any, end: Any) -> Any:
    """The CRC-32 (IEEE 802.3) register `crc`, uint64, behind the bytes between addresses `p` and `end`."""
    while p + 16 <= end:
        a = load_word(p) ^ crc
        b = load_word(p + 8)
        crc = np.uint64(
            _T[np.uint64(3840) + (a & _FF)]
            ^ _T[np.uint64(3584) + (a >> np.uint64(8) & _FF)]
            ^ _T[np.uint64(3328) + (a >> np.uint64(16) & _FF)]
            ^ _T[np.uint64(3072) + (a >> np.uint64(24) & _FF)]
            ^ _T[np.uint64(2816) + (a >> np.uint64(32) & _FF)]
            ^ _T[np.uint64(2560) + (a >> np.uint64(40) & _FF)]
            ^ _T[np.uint64(2304) + (a >> np.uint64(48) & _FF)]
            ^ _T[np.uint64(2048) + (a >> np.uint64(56))]
            ^ _T[np.uint64(1792) + (b & _FF)]
            ^ _T[np.uint64(1536) + (b >> np.uint64(8) & _FF)]
            ^ _T[np.uint64(1280) + (b >> np.uint64(16) & _FF)]
            ^ _T[np.uint64(1024) + (b >> np.uint64(24) & _FF)]
            ^ _T[np.uint64(768) + (b >> np.uint64(32) & _FF)]
            ^ _T[np.uint64(512) + (b >> np.uint64(40) & _FF)]
            ^ _T[np.uint64(256) + (b >> np.uint64(48) & _FF)]
            ^ _T[b >> np.uint64(56)]
        )
        p += 16
    while p < end:
        crc = (crc >> np.uint64(8)) ^ np.uint64(_T[(crc ^ np.uint64(load_byte(p))) & _FF])
        p += 1
    return crc


@kernel
def _write_entry(p: Any, level: Any, rule: Any, ask: Any) -> Any:
    """The text of one entry at address `p`, by the venue's rule; returns the address behind it."""
    flags = np.int64(level.flags)
    if rule in (_KRAKEN, _KRAKEN_ORDERS):
        p = write_number(p, level.price_digits, np.int64(0), np.int64(0))
        return write_number(p, level.size_digits, np.int64(0), np.int64(0))
    orders = rule == _ORDERS
    digits = level.ref if orders else level.price_digits
    scale = np.int64(0) if orders else np.int64(level.price_scale)
    p = write_number(p, digits, scale, np.int64(0) if orders else flags & _PRICE_EXPONENT)
    store_byte(p, 58)
    store_byte(p + 1, 45)
    p += 2 if ask and rule != _OKX else 1
    p = write_number(p, level.size_digits, np.int64(level.size_scale), flags & _SIZE_EXPONENT)
    store_byte(p, 58)
    return p + 1


@kernel
def _remember_text(level: Any, rule: Any, ask: Any, scratch: Any) -> None:
    """Set length and register of a LEVEL's own text."""
    end = _write_entry(scratch, level, rule, ask)
    level.text_bytes = end - scratch
    level.text_crc = register(np.uint64(0), scratch, end)


@kernel
def _behind(crc: Any, level: Any) -> Any:
    """The register `crc` behind the text of `level`."""
    row = np.uint64(level.text_bytes) << np.uint64(10)
    return np.uint64(
        _MOVES[row + (crc & _FF)]
        ^ _MOVES[row + np.uint64(256) + (crc >> np.uint64(8) & _FF)]
        ^ _MOVES[row + np.uint64(512) + (crc >> np.uint64(16) & _FF)]
        ^ _MOVES[row + np.uint64(768) + (crc >> np.uint64(24))]
        ^ level.text_crc
    )


@kernel
def _add(crc: Any, level: Any, rule: Any, ask: Any, scratch: Any) -> Any:
    """The register `crc` behind the text of `level`, which is made where it is not known."""
    if level.text_bytes == 0:
        _remember_text(level, rule, ask, scratch)
    return _behind(crc, level)


@kernel
def _add_prices(crc: Any, levels: Any, first: Any, n: Any, rule: Any, ask: Any, scratch: Any) -> Any:
    """The register `crc` behind every order of a side's first KRAKEN_ENTRIES prices."""
    prices = 0
    for i in range(n):
        level = _level_at(levels, first + i)
        if i == 0 or level.price != _level_at(levels, first + i - 1).price:
            prices += 1
            if prices > KRAKEN_ENTRIES:
                break
        crc = _add(crc, level, rule, ask, scratch)
    return crc


@kernel
def book_checksum(rule: Any, levels: Any, bid0: Any, n_bid: Any, ask0: Any, n_ask: Any, scratch: Any) -> Any:
    """The checksum that the venue of `rule` sends for a book: signed 32 bits, Kraken's unsigned.

    Bitfinex's text: for each of the first 25 entries the bid's price (or order id) and amount, then the ask's with its
    amount negative, joined by colons; a side that has run out is skipped. OKX's is the same with both amounts unsigned.
    Kraken's: ten asks, then ten bids, each the digits of price and size without point and leading zeros; of its single
    orders all those of ten prices a side. `levels` is
    the address of the LEVELs, whose `text_bytes` and `text_crc` are filled in where they are not known; SCRATCH_BYTES
    from `scratch` on may be written.
    """
    crc = _ONES
    if rule == _KRAKEN_ORDERS:
        crc = _add_prices(crc, levels, ask0, n_ask, rule, True, scratch)
        crc = _add_prices(crc, levels, bid0, n_bid, rule, False, scratch)
        return np.int64(crc ^ _ONES)
    if rule == _KRAKEN:
        for i in range(min(KRAKEN_ENTRIES, n_ask)):
            crc = _add(crc, _level_at(levels, ask0 + i), rule, True, scratch)
        for i in range(min(KRAKEN_ENTRIES, n_bid)):
            crc = _add(crc, _level_at(levels, bid0 + i), rule, False, scratch)
        return np.int64(crc ^ _ONES)
    for i in range(min(ENTRIES, max(n_bid, n_ask))):
        if i < n_bid:
            crc = _add(crc, _level_at(levels, bid0 + i), rule, False, scratch)
        if i < n_ask:
            crc = _add(crc, _level_at(levels, ask0 + i), rule, True, scratch)
    if n_bid + n_ask > 0:
        # Every entry's text ends in a colon, the book's does not: one step back.
        at = np.uint64(_BY_TOP[crc >> np.uint64(24)])
        crc = ((crc ^ np.uint64(_T[at])) << np.uint64(8)) | (at ^ np.uint64(_COLON))
    crc ^= _ONES
    return np.int64(crc) - (0x100000000 if crc >= np.uint64(0x80000000) else 0)
