"""Upbit's frames to rows and books."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.upbit.decoder import UpbitDecoder
from data_controller.market.layout import Proof
from data_controller.market.rows import Control, Kind
from tests.exchanges.feeding import RAW, Session
from tests.exchanges.mutations import mutated, survives

CAPTURE = RAW / "cryptofeed_2021-04-05" / "UPBIT-d78752.0.gz"
BOOK = {
    "ty": "orderbook",
    "cd": "KRW-BTC",
    "tms": 1617646620673,
    "tas": 3.0,
    "tbs": 2.0,
    "obu": [{"ap": 41.4, "bp": 41.2, "as": 9354.4915888, "bs": 24347.9}, {"ap": 41.5, "bp": 0.0, "as": 1.0, "bs": 0.0}],
    "st": "REALTIME",
}
TRADE = {
    "ty": "trade",
    "cd": "KRW-BTC",
    "tms": 1617646621082,
    "ttms": 1617646620000,
    "tp": 41.2,
    "tv": 12111.68782622,
    "ab": "ASK",
    "sid": 1617646620000000,
}
LONG = {
    "type": "orderbook",
    "code": "KRW-ETH",
    "timestamp": 1617646620673,
    "orderbook_units": [{"ask_price": 2.0, "bid_price": 1.0, "ask_size": 4.0, "bid_size": 3.0}],
}


def test_every_message_is_the_whole_book_and_an_empty_place_is_no_level() -> None:
    session = Session(UpbitDecoder)
    session.feed(BOOK)
    assert session.proof() == Proof.UNVERIFIABLE
    assert session.sides() == ({"41.2": "24347.9"}, {"41.4": "9354.4915888", "41.5": "1"})
    session.feed(BOOK | {"obu": [{"ap": 2.16e-5, "bp": 2e-05, "as": 1.0, "bs": 2.0}]})
    assert session.sides() == ({"2e-05": "2"}, {"2.16e-05": "1"})


def test_long_names_say_the_same() -> None:
    session = Session(UpbitDecoder)
    session.feed(LONG)
    assert session.sides() == ({"1": "3"}, {"2": "4"})
    (_, row) = session.feed(
        {
            "type": "trade",
            "code": "KRW-ETH",
            "trade_price": 1.5,
            "trade_volume": 2,
            "ask_bid": "BID",
            "trade_timestamp": 7,
            "sequential_id": 9,
        }
    )
    assert (int(row["side"]), int(row["ref"]), int(row["exch_ns"])) == (1, 9, 7_000_000)


def test_trades_come_once_and_a_seller_takes_bids() -> None:
    session = Session(UpbitDecoder)
    rows = [r for r in session.feed(TRADE, TRADE) if r["kind"] == Kind.TRADE]
    assert [(int(r["side"]), int(r["price"]), int(r["size"])) for r in rows] == [(-1, 412, 1211168782622)]


def test_a_lost_frame_breaks_the_book_until_its_next_message() -> None:
    session = Session(UpbitDecoder)
    session.feed(BOOK, b"{")
    assert session.proof() == Proof.BROKEN
    session.feed(BOOK)
    assert session.proof() == Proof.UNVERIFIABLE


def test_tickers_status_and_errors() -> None:
    session = Session(UpbitDecoder)
    rows = session.feed(
        {"ty": "ticker", "cd": "KRW-BTC", "tp": 5, "hp": 6, "lp": 4, "atv24h": 7},
        {"status": "UP"},
        {"error": {"name": "INVALID_AUTH", "message": "x"}},
    )
    assert [Control(int(r["ref"])).name for r in rows] == ["SUBSCRIBED", "ERROR"]
    assert session.decoder.side_rows["ticker"][0]["last"] == 5
    assert session.decoder.counters["quarantined"] == 0


@pytest.mark.skipif(not CAPTURE.exists(), reason="needs shared/data")
def test_the_capture_of_2021_is_read_whole() -> None:
    session = Session(UpbitDecoder, keep=False)
    assert session.replay(CAPTURE)["frame"] == 1733
    counters = session.decoder.counters
    assert (counters["frames"], counters["quarantined"]) == (1733, 0)
    assert (counters["book_snapshots"], counters["trades"]) == (1061, 672)
    assert set(session.proofs()) == {("UNVERIFIABLE", "NOTHING")}
    assert session.total("crossed") == 0


FRAMES = [json.dumps(m).encode() for m in (BOOK, TRADE, LONG)]


@settings(max_examples=60, deadline=None)
@given(st.lists(mutated(FRAMES), min_size=1, max_size=12))
def test_hostile_frames_become_rows_or_quarantine(frames: list[bytes]) -> None:
    survives(Session(UpbitDecoder), frames)
