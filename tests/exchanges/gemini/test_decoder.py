"""Gemini's frames to rows and books."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.gemini.decoder import GeminiDecoder
from data_controller.market.layout import Proof
from data_controller.market.rows import Control, Flag, Kind
from tests.exchanges.feeding import RAW, Session, capture
from tests.exchanges.mutations import damaged, mutated, survives

CAPTURE = RAW / "cryptofeed_2021-04-05" / "GEMINI-e6096f.0.gz"
TRADE = {
    "type": "trade",
    "symbol": "BTCUSD",
    "event_id": 169841458,
    "timestamp": 1560976400428,
    "price": "9004.21",
    "quantity": "0.09110253",
    "side": "buy",
}
FIRST = {
    "type": "l2_updates",
    "symbol": "BTCUSD",
    "changes": [["buy", "9122.04", "0.00121425"], ["buy", "9122.03", "1"], ["sell", "9122.07", "0.98942292"]],
    "trades": [TRADE, TRADE | {"event_id": 169841457, "side": "sell"}],
    "auction_events": [],
}
CHANGE = {"type": "l2_updates", "symbol": "BTCUSD", "changes": [["sell", "9122.05", "2"], ["buy", "9122.04", "0"]]}


def test_the_first_message_is_the_book_and_past_trades_and_nothing_proves_it() -> None:
    session = Session(GeminiDecoder)
    rows = session.feed(FIRST, CHANGE)
    assert session.proof() == Proof.UNVERIFIABLE
    assert session.sides() == ({"9122.03": "1"}, {"9122.05": "2", "9122.07": "0.98942292"})
    trades = [r for r in rows if r["kind"] == Kind.TRADE]
    assert [(int(r["side"]), bool(r["flags"] & Flag.SNAPSHOT), int(r["channel"])) for r in trades] == [
        (1, True, 1),
        (-1, True, 1),
    ]
    assert session.feed(TRADE) == []  # told in the first message
    (row,) = session.feed(TRADE | {"event_id": 169841459})
    assert (int(row["ref"]), int(row["exch_ns"])) == (169841459, 1560976400428 * 10**6)


def test_changes_before_the_first_message_or_behind_a_loss_do_nothing() -> None:
    session = Session(GeminiDecoder)
    session.feed(CHANGE)
    assert session.proof() == Proof.EMPTY
    session.feed(FIRST, b"{", CHANGE)
    assert session.proof() == Proof.BROKEN
    session.feed(FIRST)
    assert session.proof() == Proof.UNVERIFIABLE


def test_heartbeats_errors_and_the_unknown() -> None:
    session = Session(GeminiDecoder)
    rows = session.feed(
        {"type": "heartbeat", "timestamp": 1}, {"result": "error", "reason": "x"}, {"type": "auction_open"}
    )
    assert [Control(int(r["ref"])).name for r in rows] == ["ERROR"]
    counters = session.decoder.counters
    assert (counters["heartbeats"], counters["unknown_events"], counters["quarantined"]) == (1, 1, 0)


@pytest.mark.skipif(not CAPTURE.exists(), reason="needs shared/data")
def test_the_capture_of_2021_is_read_whole() -> None:
    session = Session(GeminiDecoder, keep=False)
    assert session.replay(CAPTURE)["frame"] == 1804
    counters = session.decoder.counters
    assert (counters["frames"], counters["quarantined"], counters["heartbeats"]) == (1804, 0, 24)
    assert (counters["book_snapshots"], counters["book_updates"], counters["trades"]) == (10, 1748, 22)
    assert counters["trade_snapshot_rows"] == 500
    assert session.proofs() == {("UNVERIFIABLE", "NOTHING"): 10}
    assert session.total("crossed") == 0


@pytest.mark.skipif(not CAPTURE.exists(), reason="needs shared/data")
@pytest.mark.parametrize("seed", range(3))
def test_damage_never_leaves_a_proved_book(seed: int) -> None:
    frames = [payload for what, _, _, payload in capture(CAPTURE) if what == "frame"][:400]
    session = Session(GeminiDecoder)
    for frame in damaged(frames, random.Random(seed)):
        session.feed(frame)
        assert not any(proof == "PROVED" for proof, _ in session.proofs())


FRAMES = [json.dumps(m).encode() for m in (FIRST, CHANGE, TRADE, {"type": "heartbeat", "timestamp": 1})]


@settings(max_examples=60, deadline=None)
@given(st.lists(mutated(FRAMES), min_size=1, max_size=12))
def test_hostile_frames_become_rows_or_quarantine(frames: list[bytes]) -> None:
    survives(Session(GeminiDecoder), frames)
