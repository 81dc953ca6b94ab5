"""Deribit: books by their chain of change ids, trades, tickers, and that damage never leaves a wrong book proved."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_controller.exchanges.deribit.decoder import DeribitDecoder, channel_of
from data_controller.market.layout import Proof, ProofBy
from data_controller.market.rows import Control, Kind
from data_controller.market.tables import Channel
from tests.exchanges.faulting import Guarded, captured, frames_of, hostile, wrong_proofs
from tests.exchanges.feeding import Session

BOOK = "book.BTC-PERPETUAL.100ms"


def notice(channel: str, data: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


SNAPSHOT = notice(
    BOOK,
    {
        "type": "snapshot",
        "timestamp": 1554373962454,
        "instrument_name": "BTC-PERPETUAL",
        "change_id": 297217,
        "bids": [["new", 5042.34, 30], ["new", 5041.94, 20]],
        "asks": [["new", 5042.64, 40], ["new", 5043.3, 40]],
    },
)
CHANGE = notice(
    BOOK,
    {
        "type": "change",
        "timestamp": 1554373911330,
        "prev_change_id": 297217,
        "instrument_name": "BTC-PERPETUAL",
        "change_id": 297218,
        "bids": [["delete", 5041.94, 0], ["delete", 5042.34, 0]],
        "asks": [["change", 5042.64, 1.5]],
    },
)
TRADES = notice(
    "trades.BTC-PERPETUAL.100ms",
    [
        {
            "trade_seq": 30289442,
            "trade_id": "48079269",
            "timestamp": 1590484512188,
            "tick_direction": 2,
            "price": 8950,
            "mark_price": 8948.9,
            "instrument_name": "BTC-PERPETUAL",
            "index_price": 8955.88,
            "direction": "sell",
            "amount": 10,
        }
    ],
)
TICKER = notice(
    "ticker.BTC-PERPETUAL.100ms",
    {
        "timestamp": 1623060194301,
        "stats": {"volume_usd": 284061480, "volume": 7871.02, "price_change": 0.6229, "low": 35213.5, "high": 36824.5},
        "state": "open",
        "settlement_price": 36169.49,
        "open_interest": 502097590,
        "min_price": 35898.37,
        "max_price": 36991.72,
        "mark_price": 36446.51,
        "last_price": 36457.5,
        "instrument_name": "BTC-PERPETUAL",
        "index_price": 36441.64,
        "funding_8h": 0.0000211,
        "current_funding": 0,
        "best_bid_price": 36442.5,
        "best_bid_amount": 5000,
        "best_ask_price": 36443,
        "best_ask_amount": 100,
    },
)


def changed(number: int, previous: int, price: float = 5042.0, size: float = 1.0) -> dict[str, Any]:
    body = {"type": "change", "timestamp": 1, "change_id": number, "prev_change_id": previous, "asks": []}
    return notice(BOOK, {**body, "bids": [["new", price, size]]})


def test_changes_that_name_the_one_before_keep_the_book_proved() -> None:
    session = Session(DeribitDecoder)
    session.feed(SNAPSHOT, CHANGE)
    assert session.tables.channels == [Channel("deribit", "BTC-PERPETUAL", "book", "", "100ms")]
    assert session.proof() is Proof.PROVED
    assert session.books.books[0]["proof_by"] == ProofBy.CHAIN
    assert session.sides() == ({}, {"5042.64": "1.5", "5043.3": "40"})


def test_a_broken_chain_breaks_the_book_until_its_next_snapshot() -> None:
    session = Session(DeribitDecoder)
    session.feed(SNAPSHOT)
    rows = session.feed(changed(297230, 297225), changed(297231, 297230))
    assert [r["kind"] for r in rows] == [Kind.GAP]
    assert session.proof() is Proof.BROKEN
    session.feed(notice(BOOK, {**SNAPSHOT["params"]["data"], "change_id": 297300}), changed(297305, 297300))
    assert session.proof() is Proof.PROVED


def test_a_repeated_change_is_dropped() -> None:
    session = Session(DeribitDecoder)
    session.feed(SNAPSHOT, CHANGE, changed(297220, 297218), CHANGE)
    assert session.proof() is Proof.PROVED
    assert session.decoder.counters["duplicates"] == 1
    assert session.sides()[0] == {"5042": "1"}


def test_a_grouped_book_comes_whole_and_nothing_proves_it() -> None:
    session = Session(DeribitDecoder)
    body = {"timestamp": 1554375447971, "instrument_name": "ETH-PERPETUAL", "change_id": 109615}
    whole = {**body, "bids": [[160, 40]], "asks": [[161, 20], [162, 1]]}
    session.feed(notice("book.ETH-PERPETUAL.100.1.100ms", whole), notice("book.ETH-PERPETUAL.100.1.100ms", whole))
    assert session.tables.channels == [Channel("deribit", "ETH-PERPETUAL", "book", "group 100", "100ms", 1)]
    assert session.proof() is Proof.UNVERIFIABLE
    assert session.sides() == ({"160": "40"}, {"161": "20", "162": "1"})


def test_trades_tickers_and_candles_are_read() -> None:
    session = Session(DeribitDecoder)
    candle = {"volume": 0.05219351, "tick": 1573645080000, "open": 8869.79, "low": 8788.25, "high": 8870.3}
    rows = session.feed(
        TRADES, TRADES, TICKER, notice("chart.trades.BTC-PERPETUAL.1", {**candle, "cost": 460, "close": 8791.25})
    )
    trades = [r for r in rows if r["kind"] == Kind.TRADE]
    assert [(int(r["ref"]), int(r["price"]), int(r["side"])) for r in trades] == [(30289442, 8950, -1)]
    assert [int(r["price"]) for r in rows if r["kind"] == Kind.MARK] == [3644651]
    assert [int(r["price"]) for r in rows if r["kind"] == Kind.FUNDING] == [0]
    assert [(int(r["price"]), int(r["size"]), int(r["side"])) for r in rows if r["kind"] == Kind.QUOTE] == [
        (364425, 5000, 1),
        (36443, 100, -1),
    ]
    assert session.decoder.side_rows["candles"][0]["mts"] == 1573645080000
    assert session.tables.channels[-1] == Channel("deribit", "BTC-PERPETUAL", "candles", "1m")


def test_a_side_without_orders_and_a_negative_funding_are_read() -> None:
    session = Session(DeribitDecoder)
    body = {**TICKER["params"]["data"], "best_bid_price": None, "best_ask_price": 0.0, "current_funding": -1.5e-7}
    rows = session.feed(notice("ticker.BTC-PERPETUAL.100ms", body))
    assert [Kind(r["kind"]) for r in rows[1:]] == [Kind.MARK, Kind.INDEX, Kind.FUNDING]
    assert (int(rows[3]["price"]), int(rows[3]["price_scale"])) == (-15, 8)


def test_answers_are_read() -> None:
    session = Session(DeribitDecoder)
    rows = session.feed(
        {"jsonrpc": "2.0", "id": 3, "result": [BOOK, "user.orders.any.any.raw", 5]},
        {"jsonrpc": "2.0", "id": 8, "error": {"code": 11050, "message": "bad_request"}},
        {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}},
    )
    assert [(Control(r["ref"]), int(r["price"]), int(r["size"])) for r in rows] == [
        (Control.SUBSCRIBED, 0, 4),
        (Control.ERROR, 11050, 8),
    ]
    assert session.decoder.counters["heartbeats"] == 1
    assert channel_of("deribit", "book.BTC-PERPETUAL.raw") == Channel("deribit", "BTC-PERPETUAL", "book", "", "raw")


@pytest.mark.parametrize(
    "data",
    [
        {"type": "change", "change_id": 297218, "bids": [], "asks": []},
        {"type": "change", "change_id": 297218, "prev_change_id": 297217, "bids": []},
        {"type": "change", "change_id": 297218, "prev_change_id": 297217, "bids": [["new", 1, 0]], "asks": []},
        {"type": "change", "change_id": 297218, "prev_change_id": 297217, "bids": [["old", 1, 1]], "asks": []},
        {"type": "other", "change_id": 297218, "prev_change_id": 297217, "bids": [], "asks": []},
        {"type": "snapshot", "change_id": 297218, "bids": [[1, 2]], "asks": []},
        [],
        None,
    ],
)
def test_what_is_outside_the_protocol_is_kept_and_unproves(data: Any) -> None:
    session = Session(DeribitDecoder)
    session.feed(SNAPSHOT, notice(BOOK, data))
    assert session.decoder.counters["quarantined"] == 1
    assert session.proof() is Proof.BROKEN


def test_the_capture_has_no_gap() -> None:
    session = Session(DeribitDecoder, keep=False)
    seen = session.replay(captured("cryptofeed_2021-04-05/DERIBIT-5dd9ce.0"))
    counters = session.decoder.counters
    assert seen["frame"] == counters["frames"] == 461
    assert (counters["book_snapshots"], counters["book_updates"], counters["quotes"]) == (10, 177, 273)
    assert counters["quarantined"] == counters["unknown_events"] == counters["sequence_gaps"] == 0
    assert session.proofs() == Counter({("PROVED", "CHAIN"): 10})
    assert session.total("gaps") == session.total("crossed") == session.total("unknown_deletes") == 0


def test_damage_never_leaves_a_wrong_book_proved() -> None:
    path = captured("cryptofeed_2021-04-05/DERIBIT-5dd9ce.0")
    book = re.compile(rb'"channel":"(book\.[^"]+)"')
    found = frames_of(path, lambda f: book.search(f) is not None, 400)
    most = Counter(match[1] for f in found if (match := book.search(f)) is not None).most_common(1)[0][0]
    frames = [f for f in found if most in f]
    assert len(frames) > 20
    faults = ["drop", "duplicate", "late duplicate", "swap", "cut", "garbage"]
    proved, wrong = wrong_proofs(DeribitDecoder, frames, faults, 6, first=0, last=len(frames) - 6)
    assert wrong == []
    assert 10 <= proved < 36


@given(st.lists(hostile([json.dumps(m).encode() for m in (SNAPSHOT, CHANGE, TRADES, TICKER)]), max_size=5))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_hostile_frames_are_rows_or_quarantine(frames: list[bytes]) -> None:
    session = Guarded(DeribitDecoder)
    session.feed(SNAPSHOT, CHANGE, *frames, SNAPSHOT)
    assert session.decoder.counters["frames"] == len(frames) + 3
    session.check()
