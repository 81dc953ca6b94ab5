"""Checksum kernels against zlib, against Python-made text, and against published books."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.market.checksums import ENTRIES, LONGEST, SCRATCH_BYTES, book_checksum, register
from data_controller.market.layout import LEVEL, ChecksumRule
from data_controller.market.numbers import MAX_SCALE, scan_number

Entry = tuple[str, str, int]


def as_levels(entries: list[Entry]) -> np.ndarray:
    """LEVELs of (price text, amount text, order id)."""
    levels = np.zeros(len(entries), LEVEL)
    for level, (price, amount, ref) in zip(levels, entries, strict=True):
        for name, text, bit in (("price", price, 8), ("size", amount, 16)):
            data = np.frombuffer(text.encode(), np.uint8).copy()
            _, digits, scale, flags, _ = scan_number(data.ctypes.data, data.ctypes.data + len(data))
            level[f"{name}_digits"], level[f"{name}_scale"] = digits, scale
            level["flags"] |= bit * (flags & 1)
        level["ref"] = ref
    return levels


def expected_text(bids: list[Entry], asks: list[Entry], orders: bool) -> str:
    """The rule in plain Python."""
    parts: list[str] = []
    for i in range(25):
        if i < len(bids):
            parts += [str(bids[i][2]) if orders else bids[i][0], bids[i][1]]
        if i < len(asks):
            parts += [str(asks[i][2]) if orders else asks[i][0], "-" + asks[i][1]]
    return ":".join(parts)


def signed(text: str) -> int:
    crc = zlib.crc32(text.encode())
    return crc - (1 << 32) if crc >= 1 << 31 else crc


def checksum(bids: list[Entry], asks: list[Entry], rule: ChecksumRule) -> int:
    """What the kernel gives, twice: with the texts computed, then with them remembered; asks' levels stand first."""
    levels = np.concatenate([as_levels(asks), as_levels(bids)])
    scratch = np.zeros(SCRATCH_BYTES, np.uint8)
    book = (np.int64(rule), levels.ctypes.data, len(asks), len(bids), 0, len(asks))
    computed = book_checksum(*book, scratch.ctypes.data)
    scratch[:] = 0
    remembered = book_checksum(*book, scratch.ctypes.data)
    assert remembered == computed and not scratch.any()
    return int(computed)


@given(st.binary(max_size=300), st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_the_register_is_zlibs_at_any_place(data: bytes, start: int) -> None:
    array = np.frombuffer(b"x" * start + data + b"tail", np.uint8).copy()
    begin = array.ctypes.data + start
    ones = np.uint64(0xFFFFFFFF)
    assert register(ones, begin, begin + len(data)) ^ ones == zlib.crc32(data)


number = st.one_of(
    st.integers(1, 10**12).map(str),
    st.tuples(st.integers(0, 10**7), st.integers(1, 10**8)).map(lambda t: f"{t[0]}.{t[1]:08d}".rstrip("0")),
    st.tuples(st.integers(1, 9), st.integers(7, 20)).map(lambda t: f"{t[0]}e-{t[1]}"),
    st.tuples(st.integers(11, 99), st.integers(7, 20)).map(lambda t: f"{t[0] / 10}e-{t[1]}"),
).filter(lambda t: not t.endswith(".") and ".0e" not in t)
entries = st.lists(st.tuples(number, number, st.integers(1, 10**17)), max_size=30)


@given(entries, entries, st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_checksum_is_that_of_the_text_which_the_rule_says(bids: list[Entry], asks: list[Entry], orders: bool) -> None:
    rule = ChecksumRule.BITFINEX_ORDERS if orders else ChecksumRule.BITFINEX_PRICES
    assert checksum(bids, asks, rule) == signed(expected_text(bids, asks, orders))


def test_the_longest_text_of_an_entry_fits_its_tables() -> None:
    entry = ("0.000000" + "9" * 15 + "1", "0.0000" + "9" * 17 + "1", 10**18 - 1)
    assert checksum([entry] * 30, [entry] * 30, ChecksumRule.BITFINEX_PRICES) == signed(
        expected_text([entry] * 30, [entry] * 30, False)
    )
    assert 2 * len("0." + "0" * MAX_SCALE) + len(":-:") <= LONGEST


def test_an_empty_book_has_the_checksum_of_no_text() -> None:
    assert checksum([], [], ChecksumRule.BITFINEX_PRICES) == 0


def test_only_the_first_25_entries_of_a_side_count() -> None:
    bids = [(str(1000 - k), "1.5", k + 1) for k in range(30)]
    assert checksum(bids, [], ChecksumRule.BITFINEX_PRICES) == checksum(
        bids[:ENTRIES], [], ChecksumRule.BITFINEX_PRICES
    )


@pytest.mark.parametrize(
    ("bids", "asks", "expected"),
    [
        # Published with the open-source library bmoscon/orderbook: 25 bids, three asks, an exponent with capital E.
        (
            "60000 0.02675957 1000 0.002168 600 0.009 500 1 300 0.6 100 0.1 70 0.5 30 1.2 6 1 2 4 1 17.388385 0.9 10 "
            "0.7 10 0.6 10 0.5 20 0.4 14 0.3 10 0.2 10 0.1 59 0.04 10 0.02 1 0.01 17 0.00002 10 0.000002 10 2E-7 10",
            "70000 0.05670774 2000000 0.001 20000000 0.00004",
            167208263,
        ),
    ],
)
def test_a_published_book_has_its_published_checksum(bids: str, asks: str, expected: int) -> None:
    def read(side: str) -> list[Entry]:
        words = side.split()
        return [(words[k], words[k + 1], 1) for k in range(0, len(words), 2)]

    assert checksum(read(bids), read(asks), ChecksumRule.BITFINEX_PRICES) == expected
