"""Kraken v1: what its frames become, what proves a book, and that damage never leaves a wrong book proved."""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_controller.exchanges.kraken_v1.decoder import KrakenV1Decoder, channel_of
from data_controller.market.layout import Proof
from data_controller.market.rows import Control, Flag, Kind
from data_controller.market.tables import Channel
from tests.exchanges.faulting import Guarded, captured, frames_of, hostile, wrong_proofs
from tests.exchanges.feeding import Session

BOOK_ACK = (
    '{"channelID":320,"channelName":"book-10","event":"subscriptionStatus","pair":"XBT/USD","status":"subscribed",'
    '"subscription":{"depth":10,"name":"book"}}'
)
SNAPSHOT = (
    '[320,{"as":[["5541.30000","2.50700000","1534614248.123678"],["5541.80000","0.33000000","1534614098.345543"]],'
    '"bs":[["5541.20000","1.52900000","1534614248.765567"],["5539.90000","0.30000000","1534614241.769870"]]},'
    '"book-10","XBT/USD"]'
)
TRADES = (
    '[321,[["5541.20000","0.15850568","1534614057.321597","s","l",""],'
    '["6060.00000","0.02455000","1534614057.324998","b","l",""]],"trade","XBT/USD"]'
)
SPREAD = '[322,["5698.40000","5700.00000","1542057299.545897","1.01234567","0.98765432"],"spread","XBT/USD"]'
CANDLE = (
    '[42,["1542057314.748456","1542057360.435743","3586.70000","3586.70000","3586.60000","3586.60000","3586.68894",'
    '"0.03373000",2],"ohlc-1","XBT/USD"]'
)
TICKER = (
    '[340,{"a":["5525.40000",1,"1.000"],"b":["5525.10000",1,"1.000"],"c":["5525.10000","0.00398963"],'
    '"h":["5783.00000","5783.00000"],"l":["5505.00000","5505.00000"],"o":["5760.70000","5763.40000"],'
    '"p":["5631.44067","5653.78939"],"t":[11493,16267],"v":["2634.11501494","3591.17907851"]},"ticker","XBT/USD"]'
)
# The vector of the documents' page on the checksum of book messages.
DOCUMENTED_ASKS = [
    ("0.05005", "0.00000500"),
    ("0.05010", "0.00000500"),
    ("0.05015", "0.00000500"),
    ("0.05020", "0.00000500"),
    ("0.05025", "0.00000500"),
    ("0.05030", "0.00000500"),
    ("0.05035", "0.00000500"),
    ("0.05040", "0.00000500"),
    ("0.05045", "0.00000500"),
    ("0.05050", "0.00000500"),
]
DOCUMENTED_BIDS = [
    ("0.05000", "0.00000500"),
    ("0.04995", "0.00000500"),
    ("0.04990", "0.00000500"),
    ("0.04980", "0.00000500"),
    ("0.04975", "0.00000500"),
    ("0.04970", "0.00000500"),
    ("0.04965", "0.00000500"),
    ("0.04960", "0.00000500"),
    ("0.04955", "0.00000500"),
    ("0.04950", "0.00000500"),
]


def update(side: str, *entries: tuple[str, str], expected: int = 0) -> list[Any]:
    return [320, {side: [[p, v, "1534614335.345903"] for p, v in entries], "c": str(expected)}, "book-10", "XBT/USD"]


def expected_of(asks: list[tuple[str, str]], bids: list[tuple[str, str]]) -> int:
    digits = "".join(n.replace(".", "").lstrip("0") for entry in asks[:10] + bids[:10] for n in entry)
    return zlib.crc32(digits.encode())


def with_book() -> Session:
    session = Session(KrakenV1Decoder)
    session.feed(BOOK_ACK, SNAPSHOT)
    return session


def test_a_book_waits_for_its_first_checksum_and_is_proved_by_it() -> None:
    session = with_book()
    assert session.tables.channels == [Channel("kraken_v1", "XBT/USD", "book", length=10)]
    assert session.proof() is Proof.PENDING
    asks = [("5541.30000", "2.50700000"), ("5541.80000", "0.33000000")]
    bids = [("5541.20000", "1.52900000"), ("5540.00000", "7.00000000"), ("5539.90000", "0.30000000")]
    rows = session.feed(update("b", bids[1], expected=expected_of(asks, bids)))
    assert [row["kind"] for row in rows] == [Kind.SET, Kind.CHECK]
    assert rows[0]["exch_ns"] == 1534614335345903000
    assert session.proof() is Proof.PROVED
    session.feed(update("b", bids[1], expected=expected_of(asks, bids) ^ 1))
    assert session.proof() is Proof.BROKEN


def test_the_documents_checksum_is_ours() -> None:
    # "0.05005" with volume "0.00000500" is written 5005500.
    assert expected_of(DOCUMENTED_ASKS, DOCUMENTED_BIDS) == 974947235
    session = Session(KrakenV1Decoder)
    asks = [[p, v, "1582905487.684110"] for p, v in DOCUMENTED_ASKS]
    bids = [[p, v, "1582905486.493008"] for p, v in DOCUMENTED_BIDS]
    session.feed(BOOK_ACK, [320, {"as": asks, "bs": bids}, "book-10", "XBT/USD"])
    session.feed(update("a", DOCUMENTED_ASKS[0], expected=974947235))
    assert session.proof() is Proof.PROVED


def test_what_lies_beyond_the_depth_is_dropped_without_a_word() -> None:
    session = with_book()
    session.feed(*(update("b", (f"{5000 + k}.00000", "1.00000000")) for k in range(3)))
    session = Session(KrakenV1Decoder)
    levels = [[f"{5000 - k}.0", "1.0", "1582905487.684110"] for k in range(10)]
    session.feed(BOOK_ACK, [320, {"as": [], "bs": levels}, "book-10", "XBT/USD"])
    bids = [("5001.0", "2.0")] + [(level[0], level[1]) for level in levels[:9]]
    session.feed(update("b", ("5001.0", "2.0"), expected=expected_of([], bids)))
    assert session.proof() is Proof.PROVED
    assert list(session.sides()[0]) == ["5001", *(str(5000 - k) for k in range(9))]


def test_two_sides_come_in_two_objects_with_one_checksum() -> None:
    session = with_book()
    message = [
        320,
        {"a": [["5541.30000", "0.00000000", "1534614335.345903"]]},
        {"b": [["5541.20000", "0.00000000", "1534614335.345903"]], "c": "0"},
        "book-10",
        "XBT/USD",
    ]
    expected = expected_of([("5541.80000", "0.33000000")], [("5539.90000", "0.30000000")])
    message[2]["c"] = str(expected)  # type: ignore[index]
    rows = session.feed(message)
    assert [(row["kind"], row["side"], bool(row["flags"] & Flag.LAST)) for row in rows] == [
        (Kind.SET, -1, False),
        (Kind.SET, 1, True),
        (Kind.CHECK, 0, True),
    ]
    assert session.proof() is Proof.PROVED


def test_trades_spreads_tickers_and_candles_are_read() -> None:
    session = Session(KrakenV1Decoder)
    rows = session.feed(TRADES, SPREAD, TICKER, CANDLE)
    trades = [row for row in rows if row["kind"] == Kind.TRADE]
    assert [(r["price"], r["price_scale"], r["size"], r["side"]) for r in trades] == [
        (554120000, 5, 15850568, -1),
        (606000000, 5, 2455000, 1),
    ]
    quotes = [row for row in rows if row["kind"] == Kind.QUOTE]
    assert [(r["price"], r["size"], r["side"]) for r in quotes] == [
        (569840000, 101234567, 1),
        (570000000, 98765432, -1),
    ]
    assert quotes[0]["exch_ns"] == 1542057299545897000
    assert session.decoder.side_rows["ticker"][0]["last"] == 5525.1
    candle = session.decoder.side_rows["candles"][0]
    assert (candle["mts"], candle["open"], candle["volume"]) == (1542057300436, 3586.7, 0.03373)
    assert [c.stream for c in session.tables.channels] == ["trades", "quotes", "ticker", "candles"]


def test_a_refusal_and_an_end_are_told() -> None:
    session = with_book()
    rows = session.feed(
        '{"errorMessage":"Subscription depth not supported","event":"subscriptionStatus","pair":"XBT/USD",'
        '"status":"error","reqid":7,"subscription":{"depth":42,"name":"book"}}',
        BOOK_ACK.replace('"subscribed"', '"unsubscribed"'),
        SNAPSHOT,
    )
    assert [(Control(row["ref"]), row["size"]) for row in rows] == [(Control.ERROR, 7), (Control.UNSUBSCRIBED, 0)]
    assert session.proof() is Proof.EMPTY
    assert session.decoder.counters["retired_channel"] == 1


@pytest.mark.parametrize(
    "frame",
    [
        b"{",
        b"[]",
        b"3",
        b'[320,"book-10","XBT/USD"]',
        b'[320,{"b":[["1","2"]],"c":"3"},"book-10","XBT/USD"]',
        b'[320,{"b":[["-1","2","1.0"]],"c":"3"},"book-10","XBT/USD"]',
        b'[320,{"b":[["1","2","1.0"]]},"book-10","XBT/USD"]',
        b'[320,{"b":[],"c":"3"},"book-10","XBT/USD"]',
        b'[321,[["1","2","3.0","x","l",""]],"trade","XBT/USD"]',
        b'{"event":"subscriptionStatus","status":"subscribed"}',
    ],
)
def test_what_is_outside_the_protocol_is_kept_and_unproves(frame: bytes) -> None:
    session = with_book()
    session.feed(TRADES.replace("XBT/USD", "XBT/USD"), frame)
    assert session.decoder.counters["quarantined"] == 1
    assert session.proof() is Proof.BROKEN


def test_a_stream_of_another_kind_is_counted_and_left_alone() -> None:
    session = with_book()
    assert session.feed('[1,{"x":1},"ownTrades","XBT/USD"]', '[1,["a"],"trade","no pair"]') == []
    assert session.decoder.counters["unknown_events"] == 2
    assert channel_of("kraken_v1", "ohlc", "XBT/USD") == Channel("kraken_v1", "XBT/USD", "candles", "1m")


@pytest.mark.parametrize(
    ("file", "frames", "counts"),
    [
        ("KRAKEN-c197c0.0.gz", 14636, {"book_snapshots": 10, "book_updates": 14496, "checksums": 14496}),
        ("KRAKEN-82ac16.0", 142, {"trades": 28}),
        ("KRAKEN-4b7396.0", 152, {"tickers": 22}),
    ],
)
def test_the_captures_are_read_whole(file: str, frames: int, counts: dict[str, int]) -> None:
    session = Session(KrakenV1Decoder, keep=False)
    seen = session.replay(captured(f"cryptofeed_2021-04-05/{file}"))
    counters = session.decoder.counters
    assert seen["frame"] == counters["frames"] == frames
    assert counters["quarantined"] == counters["unknown_events"] == counters["unknown_channel"] == 0
    assert {key: counters[key] for key in counts} == counts
    assert session.total("checks_ok") == counts.get("checksums", 0)
    assert session.total("checks_bad") == session.total("gaps") == session.total("crossed") == 0
    assert session.proofs() == (Counter({("PROVED", "CHECKSUM"): 10}) if "checksums" in counts else Counter())


def test_damage_never_leaves_a_wrong_book_proved() -> None:
    path = captured("cryptofeed_2021-04-05/KRAKEN-c197c0.0.gz")
    frames = frames_of(path, lambda f: b"KAVA/USD" in f, 250)
    faults = ["drop", "duplicate", "late duplicate", "swap", "cut", "garbage", "digit"]
    proved, wrong = wrong_proofs(KrakenV1Decoder, frames, faults, 5, first=1, last=200, top=10)
    assert wrong == []
    assert 0 < proved < 35


@given(st.lists(hostile([f.encode() for f in (BOOK_ACK, SNAPSHOT, TRADES, SPREAD, CANDLE, TICKER)]), max_size=4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_hostile_frames_are_rows_or_quarantine(frames: list[bytes]) -> None:
    session = Guarded(KrakenV1Decoder)
    session.feed(BOOK_ACK, SNAPSHOT, update("b", ("5540.0", "1.0")), *frames, SNAPSHOT)
    assert session.decoder.counters["frames"] == len(frames) + 4
    session.check()
