"""A request that was never sent, for want of a key: its channel hears a refusal, its neighbours nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_controller import exchanges
from data_controller.actions import Reconnect, Send
from data_controller.exchanges.streaming.keys import unsent
from data_controller.market.rows import Control, Kind
from tests.exchanges.feeding import Session

S = 1_000_000_000
FILES = ("api_key_file", "api_secret_file", "api_passphrase_file")


class Talk(Session):
    """A venue's decoder with its subscriptions, whose actions are kept."""

    def __init__(self, name: str, **settings: Any) -> None:
        venue = exchanges.venue(name)
        super().__init__(venue.decoder, opened=False)
        assert venue.settings is not None and venue.subscriptions is not None
        self.subscriptions = venue.subscriptions(venue.settings(**settings), self.tables)
        self.subscriptions.start(self.now_ns)

    def control(self, rows: list[Any]) -> list[Any]:
        """Actions after the CONTROL rows among `rows`."""
        actions = []
        for row in rows:
            if row["kind"] == Kind.CONTROL:
                actions += self.subscriptions.on_control(row, self.now_ns)
        return actions

    def opens(self, conn: int = 0) -> list[bytes]:
        """What is sent on a fresh connection."""
        before = len(self.rows)
        self.open(conn)
        return [a.payload for a in self.control(self.rows[before:]) if isinstance(a, Send)]

    def states(self) -> dict[str, str]:
        channels = [ch for slot in self.subscriptions.state()["connections"] for ch in slot["channels"]]
        return {f"{ch['stream']} {ch['precision']}".strip(): ch["state"] for ch in channels}


@pytest.mark.parametrize(("status", "text"), [(200, '{"a":1}'), (0, "https://x/book?level=3"), (0, "[1]"), (0, "{")])
def test_a_rest_answer_is_no_message_of_ours(status: int, text: str) -> None:
    assert unsent(text, status) is None


def test_a_kraken_request_that_was_not_sent_is_a_refusal_of_its_number() -> None:
    files = {name: Path("x") for name in FILES[:2]}
    talk = Talk("kraken", instruments=("BTC/USD",), orders=True, books=False, trades=False, tickers=False, **files)
    (greeting,) = talk.opens()
    asked = talk.control(talk.feed({"error": "Unsupported channel", "method": "subscribe", "success": False}))
    (payload,) = [a.payload for a in asked if isinstance(a, Send)]
    assert b"@kraken-token@" in payload and greeting != payload
    for attempt in range(3):
        assert talk.states() == {"book R0": "ASKED"}
        rows = talk.fetch(payload.decode(), b"a reason", status=0)
        assert [(r["ref"], r["size"]) for r in rows] == [(Control.ERROR, 1 + attempt)]
        actions = talk.control(rows)
        assert not any(isinstance(a, Reconnect) for a in actions)
        assert talk.states() == {"book R0": "FAILED" if attempt == 2 else "WAITING"}
        talk.now_ns += 10 * S
        talk.books.ensure(talk.tables)
        heard = talk.last_recv_ns
        heard[0] = talk.now_ns
        sent = talk.subscriptions.on_pulse(talk.now_ns, heard, talk.books.books)
        payload = next((a.payload for a in sent if isinstance(a, Send) and b"level3" in a.payload), b"")
    talk.subscriptions.validate()


def test_a_coinbase_request_that_was_not_sent_is_a_refusal_of_its_channels_alone() -> None:
    files = {name: Path("x") for name in FILES}
    talk = Talk("coinbase", instruments=("BTC/USD", "ETH/USD"), orders=True, books=False, tickers=False, **files)
    full, matches = talk.opens()
    assert b"@signature@" in full and b"@signature@" not in matches
    rows = talk.fetch(full.decode(), b"a reason", status=0)
    assert [talk.tables.channels[r["channel"]].symbol for r in rows] == ["BTC-USD", "ETH-USD"]
    assert all(r["ref"] == Control.ERROR for r in rows)
    assert not any(isinstance(a, Reconnect) for a in talk.control(rows))
    assert talk.states() == {"book R0": "WAITING", "trades": "ASKED"}
    talk.subscriptions.validate()
