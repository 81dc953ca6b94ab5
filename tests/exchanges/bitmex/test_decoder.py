"""BitMEX's frames to rows and books."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.bitmex import _scanner as scanner
from data_controller.exchanges.bitmex.decoder import BitmexDecoder
from data_controller.market.layout import BrokenBy, Proof
from data_controller.market.rows import Control, Flag, Kind
from tests.exchanges.feeding import RAW, Session, capture
from tests.exchanges.mutations import damaged, mutated, survives

CAPTURE = RAW / "cryptofeed_2021-04-05" / "BITMEX-d944be.0.gz"
TIME = "2021-04-05T18:41:14.309Z"


def table(action: str, *data: Any, name: str = "orderBookL2", **more: Any) -> dict[str, Any]:
    return {"table": name, "action": action, "data": list(data), **more}


def level(ref: int, side: str, size: int | None = None, price: float | None = None) -> dict[str, Any]:
    values = {"symbol": "XBTUSD", "id": ref, "side": side, "size": size, "price": price}
    return {key: value for key, value in values.items() if value is not None}


PARTIAL = table(
    "partial",
    level(1, "Sell", 10, 63769),
    level(2, "Sell", 20, 63769.5),
    level(3, "Buy", 30, 63768.5),
    keys=["symbol", "id", "side"],
    filter={"symbol": "XBTUSD"},
)
TRADE = {"timestamp": TIME, "symbol": "XBTUSD", "side": "Sell", "size": 7415, "price": 2.16e-06, "trdMatchID": "7e4a-1"}


def test_prices_are_remembered_by_the_level_s_id() -> None:
    session = Session(BitmexDecoder)
    session.feed(PARTIAL, table("update", level(1, "Sell", 15)), table("insert", level(4, "Buy", 5, 63768)))
    assert session.proof() == Proof.UNVERIFIABLE
    assert session.sides() == ({"63768.5": "30", "63768": "5"}, {"63769": "15", "63769.5": "20"})
    session.feed(table("delete", level(2, "Sell"), level(4, "Buy")), table("insert", level(4, "Buy", 6, 63768)))
    assert session.sides() == ({"63768.5": "30", "63768": "6"}, {"63769": "15"})
    session.feed(table("update", level(1, "Buy", 9)))  # a level that changes sides leaves the other one
    assert session.sides() == ({"63769": "9", "63768.5": "30", "63768": "6"}, {})


@pytest.mark.parametrize(
    "frame",
    [
        table("update", level(9, "Sell", 15)),
        table("delete", level(9, "Sell")),
        table("insert", level(1, "Sell", 15, 63769)),
    ],
)
def test_an_id_that_contradicts_what_is_known_tells_of_a_loss(frame: Any) -> None:
    session = Session(BitmexDecoder)
    session.feed(PARTIAL, frame)
    assert (session.proof(), session.books.books[0]["broken_by"]) == (Proof.BROKEN, BrokenBy.GAP)
    session.feed(table("update", level(1, "Sell", 15)))
    assert session.proof() == Proof.BROKEN
    session.feed(PARTIAL)
    assert session.proof() == Proof.UNVERIFIABLE


def test_a_new_snapshot_forgets_the_ids_of_the_one_before() -> None:
    session = Session(BitmexDecoder)
    session.feed(PARTIAL, table("partial", level(5, "Buy", 1, 9.5)), table("update", level(1, "Sell", 15)))
    assert session.proof() == Proof.BROKEN


def test_changes_before_the_snapshot_do_nothing() -> None:
    session = Session(BitmexDecoder)
    session.feed(table("update", level(1, "Sell", 15)))
    assert session.proof() == Proof.EMPTY
    assert session.decoder.counters["stale_updates"] == 1


def test_the_memory_of_prices_grows() -> None:
    session = Session(BitmexDecoder)
    levels = [level(k, "Sell", 1 + k, 1000 + k) for k in range(1, 5000)]
    session.feed(table("partial", *levels), table("update", level(4999, "Sell", 3)))
    assert session.sides()[1]["5999"] == "3"
    for k in range(5000, 8000):
        session.feed(table("insert", level(k, "Sell", 1, 1000 + k)), table("delete", level(k, "Sell")))
    assert session.proof() == Proof.UNVERIFIABLE
    assert len(session.sides()[1]) == 4999
    assert len(session.decoder._entries) <= 1 << 17


def test_what_is_forgotten_makes_room() -> None:
    old, new = np.zeros(64, scanner.ENTRY), np.zeros(64, scanner.ENTRY)
    session = Session(BitmexDecoder)
    session.feed(PARTIAL)
    scanner.enter_entries(session.decoder._entries, session.decoder._cells, old)
    assert old[0]["price"] == 3
    session.feed(table("partial", level(5, "Buy", 1, 9.5)))
    scanner.enter_entries(session.decoder._entries, session.decoder._cells, new)
    assert new[0]["price"] == 1


def test_trades_are_told_once_and_their_ids_are_hashes() -> None:
    session = Session(BitmexDecoder)
    rows = session.feed(
        table("partial", TRADE, name="trade", filter={"symbol": "XBTUSD"}),
        table("insert", TRADE, TRADE | {"trdMatchID": "7e4a-2", "side": "Buy"}, name="trade"),
    )
    trades = [r for r in rows if r["kind"] == Kind.TRADE]
    assert [
        (int(r["side"]), bool(r["flags"] & Flag.SNAPSHOT), int(r["price"]), int(r["price_scale"])) for r in trades
    ] == [
        (-1, True, 216, 8),
        (1, False, 216, 8),
    ]
    assert int(trades[0]["ref"]) != int(trades[1]["ref"])
    assert int(trades[1]["flags"]) & Flag.LAST


def test_a_quote_without_a_side_has_one_row() -> None:
    session = Session(BitmexDecoder)
    quote = {
        "timestamp": TIME,
        "symbol": "XBTUSD",
        "bidSize": 32,
        "bidPrice": 63768.5,
        "askPrice": None,
        "askSize": None,
    }
    rows = session.feed(table("insert", quote, quote | {"askPrice": 63769, "askSize": 10}, name="quote"))
    told = [(int(r["side"]), int(r["size"])) for r in rows if r["kind"] == Kind.QUOTE]
    assert told == [(1, 32), (1, 32), (-1, 10)]


def test_marks_funding_and_liquidations_are_rows() -> None:
    session = Session(BitmexDecoder)
    rows = session.feed(
        table("update", {"symbol": "XBTUSD", "timestamp": TIME, "markPrice": 63768.61}, name="instrument"),
        table(
            "insert",
            {"timestamp": TIME, "symbol": "XBTUSD", "fundingInterval": "x", "fundingRate": 1e-05},
            name="funding",
        ),
        table(
            "insert",
            {"orderID": "a", "symbol": "XBTUSD", "side": "Sell", "price": 63000, "leavesQty": 5},
            name="liquidation",
        ),
        table("delete", {"orderID": "a", "symbol": "XBTUSD"}, name="liquidation"),
    )
    told = [(Kind(r["kind"]).name, int(r["price"]), int(r["price_scale"])) for r in rows if r["kind"] != Kind.CONTROL]
    assert told == [("MARK", 6376861, 2), ("FUNDING", 1, 5), ("LIQUIDATION", 63000, 0)]


def test_a_table_of_many_symbols_has_a_channel_each() -> None:
    session = Session(BitmexDecoder)
    marks = [{"symbol": symbol, "timestamp": TIME, "markPrice": k} for k, symbol in enumerate(("A1", "B2", "A1"), 1)]
    rows = session.feed(table("partial", *marks, name="instrument"), table("update", 7, name="instrument"))
    assert [(int(r["channel"]), int(r["price"])) for r in rows if r["kind"] == Kind.MARK] == [(0, 1), (1, 2), (0, 3)]
    assert session.decoder.counters["quarantined"] == 1


def test_greetings_answers_and_errors() -> None:
    session = Session(BitmexDecoder)
    rows = session.feed(
        {"info": "Welcome to the BitMEX Realtime API."},
        {"success": True, "subscribe": "trade:XBTUSD"},
        {"status": 400, "error": "Unknown table: x", "meta": {}, "request": {}},
        table("insert", {"x": 1}, name="chat"),
    )
    assert [(Control(int(r["ref"])).name, int(r["price"])) for r in rows] == [("INFO", 0), ("ERROR", 400)]
    assert session.decoder.counters["unknown_events"] == 1


@pytest.mark.skipif(not CAPTURE.exists(), reason="needs shared/data")
def test_the_capture_of_2021_is_read_whole() -> None:
    session = Session(BitmexDecoder, keep=False)
    assert session.replay(CAPTURE)["frame"] == 7043
    counters = session.decoder.counters
    assert (counters["frames"], counters["quarantined"], counters["sequence_gaps"]) == (7043, 0, 0)
    assert (counters["book_snapshots"], counters["book_updates"], counters["quotes"]) == (10, 6383, 510)
    assert session.proofs() == {("UNVERIFIABLE", "NOTHING"): 10}
    assert (session.total("crossed"), session.total("unknown_deletes")) == (0, 0)


@pytest.mark.skipif(not CAPTURE.exists(), reason="needs shared/data")
@pytest.mark.parametrize("seed", range(3))
def test_damage_never_leaves_a_proved_book(seed: int) -> None:
    frames = [payload for what, _, _, payload in capture(CAPTURE) if what == "frame"]
    session = Session(BitmexDecoder)
    session.feed(*frames[:61])
    for frame in damaged(frames[61:400], random.Random(seed)):
        session.feed(frame)
        assert not any(proof == "PROVED" for proof, _ in session.proofs())


FRAMES = [
    json.dumps(m).encode()
    for m in (
        PARTIAL,
        table("update", level(1, "Sell", 15)),
        table("delete", level(2, "Sell")),
        table("insert", TRADE, name="trade"),
        table("update", {"symbol": "XBTUSD", "timestamp": TIME, "markPrice": 63768.61}, name="instrument"),
    )
]


@settings(max_examples=60, deadline=None)
@given(st.lists(mutated(FRAMES), min_size=1, max_size=12))
def test_hostile_frames_become_rows_or_quarantine(frames: list[bytes]) -> None:
    session = Session(BitmexDecoder)
    session.feed(PARTIAL)
    survives(session, frames)
