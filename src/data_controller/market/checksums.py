"""CRC-32 of books in the venues' own text: Bitfinex price and raw order books."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.kernels import kernel
from data_controller.market._words import load_word
from data_controller.market.layout import ChecksumRule
from data_controller.market.numbers import TEXT_SPACE, write_number
from data_controller.market.rows import Flag

ENTRIES = 25
"""Entries a side that Bitfinex's checksum covers."""

_PRICE_EXPONENT = int(Flag.PRICE_EXPONENT)
_SIZE_EXPONENT = int(Flag.SIZE_EXPONENT)
_ORDERS = int(ChecksumRule.BITFINEX_ORDERS)
_LONGEST = 32

SCRATCH_BYTES = 4 * ENTRIES * _LONGEST + TEXT_SPACE
"""Size of the buffer that `bitfinex_text` needs: the longest text, slack of its 8-byte stores."""


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


@kernel
def crc32(data: Any, start: Any, stop: Any) -> Any:
    """CRC-32 (IEEE 802.3) of `data[start:stop]`, unsigned, as an int64."""
    crc = np.uint64(0xFFFFFFFF)
    p = np.int64(start)
    while p + 16 <= stop:
        a = load_word(data, p) ^ crc
        b = load_word(data, p + 8)
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
    while p < stop:
        crc = (crc >> np.uint64(8)) ^ np.uint64(_T[(crc ^ np.uint64(data[p])) & _FF])
        p += 1
    return np.int64(crc ^ np.uint64(0xFFFFFFFF))


@kernel
def _write_entry(out: Any, p: Any, level: Any, orders: Any, ask: Any) -> Any:
    """`field:amount:` of one entry at `out[p]`; returns the index behind it."""
    flags = np.int64(level.flags)
    if orders:
        p = write_number(out, p, level.ref, 0, 0)
    else:
        p = write_number(out, p, level.price_digits, np.int64(level.price_scale), flags & _PRICE_EXPONENT)
    out[p] = 58
    p += 1
    if ask:
        out[p] = 45
        p += 1
    p = write_number(out, p, level.size_digits, np.int64(level.size_scale), flags & _SIZE_EXPONENT)
    out[p] = 58
    return p + 1


@kernel
def bitfinex_text(rule: Any, levels: Any, bid0: Any, n_bid: Any, ask0: Any, n_ask: Any, out: Any) -> Any:
    """Write the text that Bitfinex's checksum covers to `out[:end]`; returns `end`.

    For each of the first 25 entries: the bid's price (or order id) and amount, then the ask's with its amount
    negative, joined by colons; a side that has run out is skipped. `out` holds SCRATCH_BYTES or more.
    """
    orders = rule == _ORDERS
    p: Any = np.int64(0)
    for i in range(ENTRIES):
        if i < n_bid:
            p = _write_entry(out, p, levels[bid0 + i], orders, False)
        if i < n_ask:
            p = _write_entry(out, p, levels[ask0 + i], orders, True)
    return p - 1 if p > 0 else p


@kernel
def bitfinex_checksum(rule: Any, levels: Any, bid0: Any, n_bid: Any, ask0: Any, n_ask: Any, out: Any) -> Any:
    """The signed 32-bit checksum that Bitfinex sends for a book of these levels."""
    crc = crc32(out, 0, bitfinex_text(rule, levels, bid0, n_bid, ask0, n_ask, out))
    return crc - 0x100000000 if crc >= 0x80000000 else crc
