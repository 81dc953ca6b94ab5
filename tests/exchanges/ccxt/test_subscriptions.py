"""What the bridge is asked for, event by event."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from data_controller.actions import Alert, Open, Reconnect, Send
from data_controller.exchanges.ccxt.settings import CcxtSettings
from data_controller.exchanges.ccxt.subscriptions import CcxtSubscriptions
from data_controller.market.books import Books
from data_controller.market.layout import Proof
from data_controller.market.rows import EVENT, Control, Kind
from data_controller.market.tables import Tables

CONN = 256
S = 10**9
T0 = 1_700_000_000 * S


class Rig:
    def __init__(self, *instruments: str, **more: Any) -> None:
        self.tables = Tables()
        self.settings = CcxtSettings(instruments=instruments, trades=False, **more)
        self.subs = CcxtSubscriptions(self.settings, self.tables, CONN)
        self.books = Books(self.tables)
        self.now_ns = T0

    def control(self, code: Control, channel: int = -1, price: int = 0, part: int = CONN) -> list[Any]:
        row = np.zeros(1, EVENT)[0]
        row["kind"], row["ref"], row["channel"], row["price"] = Kind.CONTROL, code, channel, price
        row["part"], row["recv_ns"] = part, self.now_ns
        return self.subs.on_control(row, self.now_ns)

    def pulse(self, after_s: float = 0.1, heard: bool = True) -> list[Any]:
        self.now_ns += int(after_s * S)
        self.books.ensure(self.tables)
        last = np.zeros(512, np.int64)
        last[CONN] = self.now_ns if heard else 0
        return self.subs.on_pulse(self.now_ns, last, self.books.books)


def asked(actions: list[Any]) -> list[tuple[str, str]]:
    found = []
    for action in actions:
        assert isinstance(action, Send) and action.conn == CONN
        said = json.loads(action.payload)
        found.append((said["op"], said["channel"].rpartition(":kraken:")[2]))
    return found


def test_channels_are_asked_for_when_the_connection_opens_and_again_on_the_next() -> None:
    rig = Rig("kraken:BTC/USD", "kraken:ETH/USD")
    assert rig.subs.start(T0) == [Open(CONN, "ccxt", "ws://127.0.0.1:8791/")]
    both = [("subscribe", "BTC/USD"), ("subscribe", "ETH/USD")]
    assert asked(rig.control(Control.OPENED)) == both
    assert rig.control(Control.OPENED, part=3) == []
    assert rig.control(Control.CLOSED) == [Open(CONN, "ccxt", "ws://127.0.0.1:8791/")]
    assert rig.pulse() == []
    assert asked(rig.control(Control.OPENED)) == both


def test_a_request_names_exchange_symbol_stream_and_depth() -> None:
    rig = Rig("okx:BTC/USDT:USDT", depth=50)
    rig.subs.start(T0)
    (send,) = rig.control(Control.OPENED)
    assert json.loads(send.payload) == {
        "op": "subscribe",
        "channel": "book:50:okx:BTC/USDT:USDT",
        "exchange": "okx",
        "symbol": "BTC/USDT:USDT",
        "stream": "book",
        "depth": 50,
    }


def test_a_reload_touches_only_what_changed() -> None:
    rig = Rig("kraken:BTC/USD", "kraken:ETH/USD")
    rig.subs.start(T0)
    rig.control(Control.OPENED)
    new = CcxtSettings(instruments=("kraken:ETH/USD", "kraken:XRP/USD"), trades=False)
    assert asked(rig.subs.reload(new, T0)) == [("unsubscribe", "BTC/USD"), ("subscribe", "XRP/USD")]
    assert rig.subs.reload(new, T0) == []


def test_nothing_wanted_opens_nothing_until_something_is() -> None:
    rig = Rig()
    assert rig.subs.start(T0) == []
    new = CcxtSettings(instruments=("kraken:ETH/USD",), trades=False)
    assert rig.subs.reload(new, T0) == [Open(CONN, "ccxt", "ws://127.0.0.1:8791/")]


def test_a_silent_bridge_is_hung_up_on() -> None:
    rig = Rig("kraken:BTC/USD")
    rig.subs.start(T0)
    rig.control(Control.OPENED)
    assert rig.pulse(9, heard=False) == []
    (action,) = rig.pulse(2, heard=False)
    assert isinstance(action, Reconnect)


def test_a_refused_channel_is_told_once_and_tried_again_later() -> None:
    rig = Rig("kraken:BTC/USD")
    rig.subs.start(T0)
    rig.control(Control.OPENED)
    (alert,) = rig.control(Control.ERROR, channel=0)
    assert isinstance(alert, Alert) and alert.name == "ccxt_channel_refused"
    assert rig.pulse(299) == []
    assert asked(rig.pulse(2)) == [("subscribe", "BTC/USD")]
    assert rig.control(Control.ERROR, channel=0) == []


def test_a_book_that_does_not_come_is_asked_for_anew() -> None:
    rig = Rig("kraken:BTC/USD")
    rig.subs.start(T0)
    rig.control(Control.OPENED)
    assert rig.pulse(59) == []
    assert asked(rig.pulse(2)) == [("unsubscribe", "BTC/USD"), ("subscribe", "BTC/USD")]
    assert rig.pulse(2) == []
    rig.books.books[0]["proof"] = Proof.UNVERIFIABLE
    assert rig.pulse(600) == []


def test_a_bridge_of_another_version_is_an_alert() -> None:
    rig = Rig("kraken:BTC/USD")
    rig.subs.start(T0)
    assert rig.control(Control.INFO, price=1) == []
    (alert,) = rig.control(Control.INFO, price=2)
    assert isinstance(alert, Alert) and alert.severity == "critical"
