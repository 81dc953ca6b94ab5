"""CRC-32 of books in the venues' own text: Bitfinex price and raw order books."""

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
"""Entries a side that Bitfinex's checksum covers."""

_PRICE_EXPONENT = int(Flag.PRICE_EXPONENT)
_SIZE_EXPONENT = int(Flag.SIZE_EXPONENT)
_ORDERS = int(ChecksumRule.BITFINEX_ORDERS)
_LONGEST = 32

SCRATCH_BYTES = 4 * ENTRIES * _LONGEST + TEXT_SPACE
"""Size of the buffer that `bitfinex_text` needs: the longest text and the slack of its 8-byte stores."""


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


_T = _tables().reshape(-1)
_FF = np.uint64(0xFF)
_level_at = record_at(LEVEL)


@kernel
def crc32(p: Any, end: Any) -> Any:
    """CRC-32 (IEEE 802.3) of the bytes between addresses `p` and `end`, unsigned, as an int64."""
    crc = np.uint64(0xFFFFFFFF)
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
    return np.int64(crc ^ np.uint64(0xFFFFFFFF))


@kernel
def _write_entry(p: Any, level: Any, orders: Any, ask: Any) -> Any:
    """`field:amount:` of one entry at address `p`; returns the address behind it."""
    flags = np.int64(level.flags)
    digits = level.ref if orders else level.price_digits
    scale = np.int64(0) if orders else np.int64(level.price_scale)
    p = write_number(p, digits, scale, np.int64(0) if orders else flags & _PRICE_EXPONENT)
    store_byte(p, 58)
    store_byte(p + 1, 45)
    p += 2 if ask else 1
    p = write_number(p, level.size_digits, np.int64(level.size_scale), flags & _SIZE_EXPONENT)
    store_byte(p, 58)
    return p + 1


@kernel
def bitfinex_text(rule: Any, levels: Any, bid0: Any, n_bid: Any, ask0: Any, n_ask: Any, start: Any) -> Any:
    """Write the text that Bitfinex's checksum covers at address `start`; returns the address behind it.

    For each of the first 25 entries: the bid's price (or order id) and amount, then the ask's with its amount
    negative, joined by colons; a side that has run out is skipped. `levels` is the address of the LEVELs, and
    SCRATCH_BYTES from `start` on may be written.
    """
    orders = rule == _ORDERS
    p = start
    for i in range(ENTRIES):
        if i < n_bid:
            p = _write_entry(p, _level_at(levels, bid0 + i), orders, False)
        if i < n_ask:
            p = _write_entry(p, _level_at(levels, ask0 + i), orders, True)
    return p - 1 if p > start else p


@kernel
def bitfinex_checksum(rule: Any, levels: Any, bid0: Any, n_bid: Any, ask0: Any, n_ask: Any, scratch: Any) -> Any:
    """The signed 32-bit checksum that Bitfinex sends for a book; `scratch` is the address of SCRATCH_BYTES."""
    crc = crc32(scratch, bitfinex_text(rule, levels, bid0, n_bid, ask0, n_ask, scratch))
    return crc - 0x100000000 if crc >= 0x80000000 else crc
