"""The bridge's messages as rows and books."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_controller.exchanges.ccxt.decoder import CcxtDecoder, trade_ref
from data_controller.exchanges.ccxt.settings import CcxtSettings, channel_of, key_of, wanted
from data_controller.exchanges.protocols import Rows
from data_controller.market.books import Books
from data_controller.market.layout import BrokenBy, Proof
from data_controller.market.rows import Flag, Kind
from data_controller.market.tables import Instrument, Tables
from tests.exchanges.bitfinex.feeding import T0, Session, flags, kinds

BOOK, TRADES = "book:25:kraken:BTC/USD", "trades:0:kraken:BTC/USD"


class Bridged(Session):
    """A session on the bridge's protocol."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.decoder: Any = CcxtDecoder(self.tables)
        self.books = Books(self.tables)
        self.last_recv_ns = np.zeros(8, np.int64)
        self.buffer = Rows()
        self.rows, self.codes = [], []
        self.seq, self.now_ns = 1, T0
        self.open()

    def ready(self) -> Bridged:
        self.feed({"type": "hello", "version": 1, "ccxt": "4.5"}, {"type": "heartbeat"})
        self.feed(*({"type": "subscribed", "channel": key} for key in (BOOK, TRADES)))
        return self


def book(bids: Any, asks: Any, ms: int = 0, channel: str = BOOK) -> dict[str, Any]:
    return {"type": "book", "channel": channel, "ms": ms, "bids": bids, "asks": asks}


GOOD = book([["30000.5", "1.25"], ["30000", "2"]], [["30001", "0.00000001"]], ms=1_700_000_000_123)


def test_a_book_is_whole_each_time_and_never_more_than_unverifiable() -> None:
    session = Bridged().ready()
    rows = session.feed(GOOD)
    assert kinds(rows) == ["RESET", "SET", "SET", "SET"]
    assert [flags(row) for row in rows[:3]] == [Flag.SNAPSHOT] * 3
    assert flags(rows[3]) == Flag.SNAPSHOT | Flag.LAST
    assert {int(row["exch_ns"]) for row in rows} == {1_700_000_000_123_000_000}
    assert session.sides() == ({"30000.5": "1.25", "30000": "2"}, {"30001": "1e-08"})
    assert session.proof() is Proof.UNVERIFIABLE
    session.feed(book([["29000", "1"]], []))
    assert session.sides() == ({"29000": "1"}, {})
    session.feed(book([], []))
    assert session.sides() == ({}, {}) and session.proof() is Proof.UNVERIFIABLE


def test_the_tables_say_whose_it_is_and_that_it_is_merged() -> None:
    session = Bridged().ready()
    assert session.tables.instruments == [Instrument("ccxt", "kraken:BTC/USD", "BTC", "USD", "BTC/USD")]
    assert [c.precision for c in session.tables.channels] == ["merged", ""]


def test_trades_have_number_ids_and_hashes_of_others() -> None:
    session = Bridged().ready()
    trades = [["77", 1_700_000_000_000, "30000.10", "0.5", "buy"], ["a-b", 0, "30000", "1", "sell"]]
    rows = session.feed({"type": "trades", "channel": TRADES, "trades": trades})
    assert kinds(rows) == ["TRADE", "TRADE"]
    assert [(int(r["ref"]), int(r["side"]), int(r["price"]), int(r["price_scale"])) for r in rows] == [
        (77, 1, 3000010, 2),
        (trade_ref("a-b"), -1, 30000, 0),
    ]
    assert [flags(r) for r in rows] == [Flag(0), Flag.LAST]
    assert 0 < trade_ref("a-b") < 1 << 62


@pytest.mark.parametrize("said", ["lost", "error", "unsubscribed"])
def test_what_is_lost_or_over_leaves_no_book_to_be_used_until_a_fresh_one(said: str) -> None:
    session = Bridged().ready()
    session.feed(GOOD)
    session.feed({"type": said, "channel": BOOK, "reason": "x"})
    assert session.proof() in (Proof.BROKEN, Proof.EMPTY)
    if said == "lost":
        session.feed(GOOD)
        assert session.proof() is Proof.UNVERIFIABLE
    else:
        assert kinds(session.feed(GOOD)) == ["CONTROL.UNKNOWN_CHANNEL"]


def test_a_dead_bridge_breaks_its_books_and_a_new_one_brings_them_back() -> None:
    session = Bridged().ready()
    session.feed(GOOD)
    session.close()
    assert session.proof() is Proof.BROKEN
    assert session.books.books[0]["broken_by"] == BrokenBy.CLOSED
    session.open()
    session.ready().feed(GOOD)
    assert session.proof() is Proof.UNVERIFIABLE


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"[]",
        b"7",
        b"\xff",
        {"type": "book"},
        {"type": "book", "channel": "book:25:kraken"},
        {"type": "subscribed", "channel": "book:99999:kraken:BTC/USD"},
        {"type": "hello", "version": "1"},
        {"type": "nonsense", "channel": BOOK},
        {"type": "trades", "channel": BOOK, "trades": []},
        book([["1"]], []),
        book([["-1", "1"]], []),
        book([["0", "1"]], []),
        book([["1e5", "1"]], []),
        book([[1.5, 1]], []),
        book([["1", "٣"]], []),
        book({}, []),
        book([["1", "1"]] * 1001, []),
        book([], [], ms=-1),
        {"type": "trades", "channel": TRADES, "trades": [["1", 0, "1", "0", "buy"]]},
        {"type": "trades", "channel": TRADES, "trades": [["1", 0, "1", "1", "up"]]},
        {"type": "trades", "channel": TRADES, "trades": [[1, 0, "1", "1", "buy"]]},
    ],
)
def test_a_frame_that_cannot_be_read_unproves_every_book_and_is_kept(bad: Any) -> None:
    session = Bridged().ready()
    session.feed(GOOD)
    assert kinds(session.feed(bad))[-1] == "CONTROL.QUARANTINED"
    assert session.proof() is Proof.BROKEN
    assert len(session.decoder.side_rows["quarantine"]) == 1


def test_more_digits_than_a_row_holds_break_the_book_and_nothing_else() -> None:
    session = Bridged().ready()
    session.feed(book([["1." + "1" * 30, "1"]], []))
    assert session.proof() is Proof.BROKEN
    assert session.books.books[0]["broken_by"] == BrokenBy.INEXACT


def test_batches_cut_anywhere_give_the_same_rows() -> None:
    messages = [GOOD, {"type": "lost", "channel": BOOK}, GOOD, {"type": "heartbeat"}, b"?", GOOD]
    one, many = Bridged().ready(), Bridged().ready()
    one.feed(*messages)
    many.feed(*messages, size=1)
    assert [r.tobytes() for r in one.rows] == [r.tobytes() for r in many.rows]


words = st.sampled_from([BOOK, TRADES, "book", "trades", "lost", "subscribed", "1", "0.5", "buy", "x", "", "1e9"])
values = st.recursive(
    st.one_of(words, st.integers(-5, 1 << 70), st.floats(), st.none(), st.booleans()),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=12,
)
messages = st.dictionaries(
    st.sampled_from(["type", "channel", "bids", "asks", "trades", "ms", "version"]), values, max_size=7
)


@given(st.lists(st.one_of(messages.map(json.dumps).map(str.encode), st.binary(max_size=40)), max_size=8))
def test_no_bytes_raise_or_leave_a_row_that_means_nothing(frames: list[bytes]) -> None:
    session = Bridged().ready()
    session.feed(*frames)
    for row in session.rows:
        if row["kind"] in (Kind.SET, Kind.TRADE):
            assert row["price"] > 0 or row["flags"] & Flag.INEXACT
            assert row["channel"] in (0, 1)
    assert session.proof() is not Proof.PROVED


def test_keys_and_channels_are_each_others_and_settings_name_bad_instruments() -> None:
    settings = CcxtSettings(instruments=("kraken:BTC/USD", "okx:BTC/USDT:USDT"), depth=50)
    channels = wanted(settings)
    assert len(channels) == 4
    assert [channel_of(key_of(channel)) for channel in channels] == channels
    for bad in ("BTC/USD", "kraken", "Kraken:BTC/USD", "kraken:btc/usd", ":BTC/USD"):
        with pytest.raises(ValueError, match="exchange:NAME"):
            CcxtSettings(instruments=(bad,))
    with pytest.raises(ValueError, match="each entry once"):
        CcxtSettings(instruments=("kraken:BTC/USD", "kraken:BTC/USD"))
