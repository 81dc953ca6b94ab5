"""bitFlyer's frames to rows and books."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.bitflyer.decoder import BitflyerDecoder, channel_of
from data_controller.exchanges.bitflyer.dialect import DIALECT
from data_controller.exchanges.bitflyer.settings import BitflyerSettings
from data_controller.exchanges.bitflyer.subscriptions import BitflyerSubscriptions
from data_controller.market.layout import Proof
from data_controller.market.rows import Control, Kind
from data_controller.market.tables import Channel, Tables
from tests.exchanges.feeding import RAW, Session, capture
from tests.exchanges.mutations import damaged, mutated, survives

CAPTURE = RAW / "cryptofeed_2021-04-05" / "BITFLYER-ac44d0.0.gz"


def told(channel: str, message: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "channelMessage", "params": {"channel": channel, "message": message}}


def board(bids: dict[float, float], asks: dict[float, float], *, whole: bool = False) -> dict[str, Any]:
    """Changes of a board, or all of it."""
    sides = [[{"price": p, "size": s} for p, s in side.items()] for side in (bids, asks)]
    name = "lightning_board_snapshot_BTC_JPY" if whole else "lightning_board_BTC_JPY"
    return told(name, {"mid_price": 35625.0, "bids": sides[0], "asks": sides[1]})


def test_a_book_begins_with_a_whole_board_and_nothing_proves_it() -> None:
    session = Session(BitflyerDecoder)
    session.feed(board({30640.0: 3.0}, {}))
    assert session.proof() == Proof.EMPTY
    session.feed(board({33350.0: 1.0, 33349.0: 2.0}, {36690.0: 9.0}, whole=True))
    assert session.proof() == Proof.UNVERIFIABLE
    session.feed(board({33350.0: 0.0, 33348.5: 5.0}, {36691.0: 0.01}))
    assert session.sides() == ({"33349": "2", "33348.5": "5"}, {"36690": "9", "36691": "0.01"})
    session.feed(board({33340.0: 1.0}, {36690.0: 9.0}, whole=True))
    assert session.sides() == ({"33340": "1"}, {"36690": "9"})
    assert len(session.tables.channels) == 1


def test_orders_without_a_price_wait_for_an_auction_and_are_no_level() -> None:
    session = Session(BitflyerDecoder)
    session.feed(board({0.0: 1.5, 10.0: 1.0}, {0.0: 2.0, 11.0: 1.0}, whole=True))
    assert session.sides() == ({"10": "1"}, {"11": "1"})


def test_a_lost_frame_breaks_the_book_until_the_next_whole_board() -> None:
    session = Session(BitflyerDecoder)
    session.feed(board({10.0: 1.0}, {11.0: 1.0}, whole=True), b'{"jsonrpc":')
    assert session.proof() == Proof.BROKEN
    session.feed(board({9.0: 1.0}, {}))
    assert session.proof() == Proof.BROKEN
    session.feed(board({10.0: 1.0}, {11.0: 1.0}, whole=True))
    assert session.proof() == Proof.UNVERIFIABLE


def test_executions_come_once_and_an_auction_has_no_taker() -> None:
    session = Session(BitflyerDecoder)
    execution = {
        "id": 39361,
        "side": "SELL",
        "price": 35100,
        "size": 0.01,
        "exec_date": "2015-07-07T10:44:33.5478100Z",
        "buy_child_order_acceptance_id": "JRF20150707-014356-184990",
        "sell_child_order_acceptance_id": "JRF20150707-104433-186048",
    }
    message = [execution, execution | {"id": 39362, "side": "BUY"}, execution | {"id": 39363, "side": ""}]
    rows = session.feed(told("lightning_executions_BTC_JPY", message), told("lightning_executions_BTC_JPY", message))
    trades = [r for r in rows if r["kind"] == Kind.TRADE]
    assert [(int(r["ref"]), int(r["side"]), int(r["part"])) for r in trades] == [
        (39361, -1, 0),
        (39362, 1, 1),
        (39363, 0, 2),
    ]
    assert int(trades[0]["exch_ns"]) == 1436265873547810000
    assert session.decoder.counters["trades_repeated"] == 3


def test_tickers_and_answers() -> None:
    session = Session(BitflyerDecoder)
    ticker = {"product_code": "BTC_JPY", "best_bid": 30000, "best_ask": 36640, "ltp": 31690, "volume_by_product": 6819}
    rows = session.feed(
        told("lightning_ticker_BTC_JPY", ticker),
        {"jsonrpc": "2.0", "id": 1, "result": True},
        {"jsonrpc": "2.0", "id": 2, "error": {"code": -32602, "message": "Invalid params"}},
    )
    (row,) = session.decoder.side_rows["ticker"]
    assert (row["bid"], row["ask"], row["last"], row["volume"]) == (30000, 36640, 31690, 6819)
    assert (int(rows[-1]["ref"]), int(rows[-1]["price"]), int(rows[-1]["size"])) == (Control.ERROR, -32602, 2)
    assert channel_of("lightning_board_x") is None


def test_requests_are_literal_and_a_book_is_two_channels_of_the_venue() -> None:
    config = BitflyerSettings(instruments=("BTC/JPY", "FX_BTC_JPY"), tickers=True)
    group = DIALECT.channels(config)[0]
    assert [DIALECT.subscribe(config, [channel], 7).decode() for channel in group] == [
        f'{{"jsonrpc":"2.0","method":"subscribe","params":{{"channel":"lightning_{name}_BTC_JPY"}},"id":7}}'
        for name in ("board", "board_snapshot", "executions", "ticker")
    ]
    assert DIALECT.unsubscribe(config, group[2:3], 8) == (
        b'{"jsonrpc":"2.0","method":"unsubscribe","params":{"channel":"lightning_executions_BTC_JPY"},"id":8}'
    )
    tables = Tables()
    actions = BitflyerSubscriptions(config, tables).start(1)
    assert [type(action).__name__ for action in actions] == ["Open"]
    assert Channel("bitflyer", "FX_BTC_JPY", "book") in tables.channels


@pytest.mark.skipif(not CAPTURE.exists(), reason="needs shared/data")
def test_the_capture_of_2021_is_read_whole() -> None:
    session = Session(BitflyerDecoder, keep=False)
    assert session.replay(CAPTURE)["frame"] == 3902
    counters = session.decoder.counters
    assert (counters["frames"], counters["quarantined"]) == (3902, 0)
    assert (counters["book_snapshots"], counters["trades"], counters["tickers"]) == (247, 115, 933)
    assert counters["book_updates"] + counters["stale_updates"] == 2625
    assert session.proofs() == {("UNVERIFIABLE", "NOTHING"): 10}
    assert session.total("crossed") == 0


@pytest.mark.skipif(not CAPTURE.exists(), reason="needs shared/data")
@pytest.mark.parametrize("seed", range(3))
def test_damage_never_leaves_a_proved_book(seed: int) -> None:
    frames = [payload for what, _, _, payload in capture(CAPTURE) if what == "frame"][:400]
    session = Session(BitflyerDecoder)
    for frame in damaged(frames, random.Random(seed)):
        session.feed(frame)
        assert not any(proof == "PROVED" for proof, _ in session.proofs())


FRAMES = [
    json.dumps(m).encode()
    for m in (
        board({10.0: 1.0}, {11.0: 1.0}, whole=True),
        board({9.0: 1.0}, {12.0: 1.0}),
        told(
            "lightning_executions_BTC_JPY",
            [{"id": 1, "side": "BUY", "price": 1, "size": 1, "exec_date": "2015-07-07T10:44:33Z"}],
        ),
        told("lightning_ticker_BTC_JPY", {"best_bid": 1, "ltp": 2}),
    )
]


@settings(max_examples=60, deadline=None)
@given(st.lists(mutated(FRAMES), min_size=1, max_size=12))
def test_hostile_frames_become_rows_or_quarantine(frames: list[bytes]) -> None:
    session = Session(BitflyerDecoder)
    survives(session, frames)
