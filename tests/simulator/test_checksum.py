"""The exchange's checksum, read twice: compiled for speed, and plain."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.simulator.checksum import checksum
from data_controller.simulator.truth import ClientBook, parse
from data_controller.simulator.wire import crc32

VECTORS = Path(__file__).parents[3] / "shared/data/raw_ws/bitfinex/checksum_vectors"


def test_the_documents_example_of_the_text():
    bids = [("6000", "1"), ("5900", "2")]
    asks = [("6100", "-3"), ("6200", "-4")]
    expected = zlib.crc32(b"6000:1:6100:-3:5900:2:6200:-4")
    assert checksum(bids, asks) & 0xFFFFFFFF == expected


def test_a_side_that_is_short_lets_the_other_go_on():
    expected = zlib.crc32(b"1:1:2:-1:3:-2e-7")
    assert checksum([("1", "1")], [("2", "-1"), ("3", "-2e-7")]) & 0xFFFFFFFF == expected
    assert checksum([], []) == 0


def test_only_twenty_five_entries_a_side_count():
    side = [(str(i), "1") for i in range(30)]
    assert checksum(side, []) == checksum(side[:25], [])
    assert checksum(side[:24], []) != checksum(side[:25], [])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_the_compiled_crc_is_zlibs(data):
    buffer = np.frombuffer(b"xy" + data + b"z", np.uint8).copy()
    assert crc32(buffer, 2, 2 + len(data)) == zlib.crc32(data)


@pytest.mark.skipif(not VECTORS.exists(), reason="the published vectors are not beside this checkout")
def test_every_published_vector_is_met():
    met = 0
    for path in sorted(VECTORS.glob("*.jsonl")):
        book = None
        for line in path.read_bytes().splitlines():
            # One file writes exponents as Python's Decimal does; the wire has a small e.
            message = parse(line.replace(b"E-", b"e-")) if line.strip() else {}
            if isinstance(message, dict):
                book = ClientBook(raw=message["prec"] == "R0") if message.get("event") == "subscribed" else book
            elif message[1] == "cs":
                assert book is not None
                assert book.checksum() == int(message[2]), path.name
                met += 1
            elif book is not None:
                book.apply(message[1])
    assert met >= 7
