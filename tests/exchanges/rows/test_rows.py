"""Frames of rows: what is packed comes out as it was, what is not as it says is refused, numbers prove a book."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller import exchanges
from data_controller.exchanges.rows.decoder import RowsDecoder
from data_controller.exchanges.rows.frame import (
    MAX_ROWS,
    ZERO,
    Header,
    Row,
    decimal_of,
    pack,
    pack_table,
    text_of,
    unpack,
)
from data_controller.market.layout import Proof
from data_controller.market.rows import EVENT, Flag, Kind
from tests.exchanges.feeding import Session

SNAPSHOT = int(Flag.SNAPSHOT)
BOOK = Header(v=1, venue="somewhere", symbol="A/B", stream="book")
TRADES = Header(v=1, venue="somewhere", symbol="A/B", stream="trades")
RESET = Row(int(Kind.RESET), 0, ZERO, ZERO, flags=SNAPSHOT)


def level(side: int, price: str, size: str, flags: int = 0) -> Row:
    return Row(int(Kind.SET), side, decimal_of(price), decimal_of(size), flags=flags)


def snapshot(header: Header = BOOK) -> bytes:
    return pack(header, [RESET, level(1, "1.50", "2", SNAPSHOT), level(-1, "1.60", "3e-7", SNAPSHOT)])


def numbered(number: int) -> Header:
    return Header(v=1, venue="somewhere", symbol="A/B", stream="book", number=number)


def test_rows_are_an_import_only_venue() -> None:
    assert exchanges.venue("rows") == exchanges.Venue(RowsDecoder, None, None)
    assert "rows" in exchanges.names()


def test_a_frame_becomes_the_rows_it_holds_and_its_book_is_unverifiable() -> None:
    session = Session(RowsDecoder)
    rows = session.feed(snapshot(), pack(BOOK, [level(1, "1.55", "4"), level(1, "1.50", "0")]))
    assert [Kind(row["kind"]).name for row in rows] == ["CONTROL", "RESET", "SET", "SET", "SET", "SET"]
    assert [(int(r["price"]), int(r["price_scale"]), int(r["part"]), int(r["flags"])) for r in rows[2:]] == [
        (150, 2, 1, SNAPSHOT),
        (160, 2, 2, SNAPSHOT | Flag.LAST | Flag.SIZE_EXPONENT),
        (155, 2, 0, 0),
        (150, 2, 1, Flag.LAST),
    ]
    assert session.proof() is Proof.UNVERIFIABLE
    assert session.sides() == ({"1.55": "4"}, {"1.6": "3e-07"})
    assert session.tables.channels[0] == BOOK.channel
    counters = session.decoder.counters
    assert (counters["frames"], counters["book_snapshots"], counters["book_updates"]) == (2, 1, 1)


def test_numbered_frames_prove_a_book_and_a_missing_number_breaks_it() -> None:
    session = Session(RowsDecoder)
    session.feed(snapshot(numbered(7)))
    assert session.proof() is Proof.PROVED
    change = [level(1, "1.51", "1")]
    session.feed(pack(numbered(8), change), pack(numbered(8), change))
    assert (session.proof(), session.decoder.counters["duplicates"]) == (Proof.PROVED, 1)
    session.feed(pack(numbered(11), change))
    assert (session.proof(), session.decoder.counters["missing"]) == (Proof.BROKEN, 2)
    session.feed(snapshot(numbered(12)))
    assert session.proof() is Proof.PROVED


def test_a_bad_frame_is_kept_and_unproves_the_books_of_its_connection() -> None:
    session = Session(RowsDecoder)
    session.feed(snapshot(numbered(1)), b"{}")
    assert session.proof() is Proof.BROKEN
    (kept,) = session.decoder.side_rows["quarantine"]
    assert kept["bytes"] == b"{}"


def test_a_closed_connection_is_a_gap_of_its_channels_and_another_begins_anew() -> None:
    session = Session(RowsDecoder)
    session.feed(snapshot())
    session.close()
    assert session.proof() is Proof.BROKEN
    session.open()
    session.feed(snapshot())
    assert session.proof() is Proof.UNVERIFIABLE


def test_candles_and_what_a_derivative_says_besides_prices_are_side_rows() -> None:
    session = Session(RowsDecoder)
    candle = {"mts": 60_000.0, "open": 1.0, "close": 2.0, "high": 3.0, "low": 0.5, "volume": 7.0}
    candles = Header(v=1, venue="x", symbol="A", stream="candles", precision="1m")
    derivative = Header(v=1, venue="x", symbol="A", stream="derivative")
    rate = Row(int(Kind.FUNDING), 0, decimal_of("-0.00010"), ZERO, ref=8)
    rows = session.feed(
        pack_table(candles, [candle]), pack_table(derivative, [{"open_interest": 5.0}]), pack(derivative, [rate])
    )
    assert session.decoder.side_rows["candles"][0]["mts"] == 60_000
    assert session.decoder.side_rows["derivative"][0]["open_interest"] == 5.0
    assert np.isnan(session.decoder.side_rows["derivative"][0]["last_price"])
    assert (int(rows[-1]["price"]), int(rows[-1]["price_scale"])) == (-10, 5)


def test_frames_fill_the_buffer_to_its_end_and_go_on_when_it_is_empty() -> None:
    session = Session(RowsDecoder, keep=False)
    many = [RESET, *(level(1, str(at), "1", SNAPSHOT) for at in range(1, MAX_ROWS))]
    session.feed(pack(BOOK, many), snapshot(), pack(TRADES, [Row(int(Kind.TRADE), 0, ZERO._replace(digits=1), ZERO)]))
    assert session.kinds[Kind.SET] == MAX_ROWS - 1 + 2
    assert session.decoder.counters["quarantined"] == 1, "a trade of no size"


BAD: list[tuple[str, dict[str, Any]]] = [
    ("seq", {"seq": 1}),
    ("recv_ns", {"recv_ns": 1}),
    ("channel", {"channel": 1}),
    ("part", {"part": 1}),
    ("kind", {"kind": int(Kind.TRADE)}),
    ("control", {"kind": int(Kind.CONTROL)}),
    ("no kind", {"kind": 99}),
    ("flags", {"flags": 1 << 20 | 3}),
    ("checkpoint", {"flags": int(Flag.CHECKPOINT) | 3}),
    ("negative price", {"price": -1}),
    ("price 0", {"price": 0}),
    ("long price", {"price": 10**15}),
    ("longer price", {"price": 10**18}),
    ("negative size", {"size": -1}),
    ("scale", {"price_scale": 23}),
    ("negative scale", {"size_scale": -1}),
    ("side", {"side": 2}),
    ("no side", {"side": 0}),
    ("time", {"exch_ns": -1}),
    ("open message", {"flags": SNAPSHOT}),
    ("half a snapshot", {"flags": int(Flag.LAST)}),
]


@pytest.mark.parametrize(("what", "change"), BAD, ids=[what for what, _ in BAD])
def test_a_row_that_is_not_as_a_row_must_be_refuses_its_frame(what: str, change: dict[str, Any]) -> None:
    head, _, body = snapshot().partition(b"\n")
    rows = np.frombuffer(body, EVENT).copy()
    for name, value in change.items():
        rows[-1][name] = value
    with pytest.raises(ValueError, match="expected"):
        unpack(head + b"\n" + rows.tobytes())


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\n",
        b"{}\n",
        snapshot()[:-1],
        snapshot() + b"x",
        snapshot().replace(b'"v":1', b'"v":2'),
        snapshot().replace(b'"book"', b'"ship"'),
        snapshot().replace(b'"A/B"', b'""'),
        snapshot().replace(b'"A/B"', b'"A\\n"'),
        snapshot().replace(b'"A/B"', b'"A","more":1'),
        b'{"v":1,"venue":"x","symbol":"A","stream":"candles"}\n[{"mts":1}]',
        b'{"v":1,"venue":"x","symbol":"A","stream":"candles"}\n[]',
        b'{"v":1,"venue":"x","symbol":"A","stream":"ticker"}\n' + bytes(64),
        b"[" * 100_000,
    ],
)
def test_a_frame_of_another_shape_is_refused(frame: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        unpack(frame)


def test_only_the_first_row_of_a_message_begins_a_snapshot() -> None:
    with pytest.raises(ValueError, match="RESET"):
        unpack(pack(BOOK, [level(1, "1", "1", SNAPSHOT), RESET]))
    with pytest.raises(ValueError, match="GAP"):
        unpack(pack(BOOK, [Row(int(Kind.GAP), 0, ZERO, ZERO), level(1, "1", "1")]))


@pytest.mark.parametrize("text", ["0", "1", "1.50", "0.00010", "123456789.123456789", "7e-7", "1.5e-10", "-0.5"])
def test_a_number_keeps_its_text(text: str) -> None:
    value = decimal_of(text)
    assert text_of(-value.digits if value.negative else value.digits, value.scale, value.exponent) == text


@pytest.mark.parametrize("text", ["", ".5", "1.", "+1", "1e", "nan", "inf", "0x1", "1,5", "٣", "1e999", "9" * 19, " 1"])
def test_what_is_no_number_of_a_market_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        decimal_of(text)


def test_more_digits_than_a_row_holds_are_inexact() -> None:
    assert decimal_of("0.1234567890123456789").inexact
    assert decimal_of("1e3")[:2] == (1000, 0)
    frame = unpack(pack(BOOK, [level(1, "1234567890.123456", "1")]))
    assert frame.rows[0]["flags"] & Flag.INEXACT


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 400), value=st.integers(0, 255))
def test_one_changed_byte_never_ends_a_decoder(at: int, value: int) -> None:
    frame = bytearray(snapshot())
    frame[at % len(frame)] = value
    session = Session(RowsDecoder)
    session.feed(snapshot(), bytes(frame), snapshot())
    assert session.proof() is Proof.UNVERIFIABLE
