"""What is said to Bitstamp, byte for byte, and its config."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from data_controller.exchanges.bitstamp.dialect import DIALECT
from data_controller.exchanges.bitstamp.settings import BitstampSettings
from data_controller.exchanges.bitstamp.subscriptions import BitstampSubscriptions
from data_controller.market.tables import Channel, Tables


def test_requests_and_addresses_are_literal() -> None:
    config = BitstampSettings(instruments=("BTC/USD",), orders=True)
    (group,) = DIALECT.channels(config)
    prices, orders, trades = group
    assert DIALECT.subscribe(config, [prices], 1) == (
        b'{"event":"bts:subscribe","data":{"channel":"diff_order_book_btcusd"}}'
    )
    assert DIALECT.subscribe(config, [orders], 1) == (
        b'{"event":"bts:subscribe","data":{"channel":"live_orders_btcusd"}}'
    )
    assert DIALECT.unsubscribe(config, [trades], 1) == (
        b'{"event":"bts:unsubscribe","data":{"channel":"live_trades_btcusd"}}'
    )
    assert DIALECT.snapshot_url(config, prices) == "https://www.bitstamp.net/api/v2/order_book/btcusd/"
    assert DIALECT.snapshot_url(config, orders) == "https://www.bitstamp.net/api/v2/order_book/btcusd/?group=2"
    assert DIALECT.snapshot_url(config, trades) is None
    assert DIALECT.ping() == b'{"event":"bts:heartbeat"}'
    assert DIALECT.url(config, group) == "wss://ws.bitstamp.net"


def test_instruments_are_named_either_way_and_only_once() -> None:
    assert BitstampSettings(instruments=("ETH/BTC", "btcusd")).instruments == ("ethbtc", "btcusd")
    with pytest.raises(ValidationError, match="expected each instrument once"):
        BitstampSettings(instruments=("BTC/USD", "btcusd"))
    with pytest.raises(ValidationError, match="expected instruments such as BTC/USD or btcusd"):
        BitstampSettings(instruments=("BTCUSD",))


def test_the_subscriptions_open_a_connection_for_what_is_wanted() -> None:
    tables = Tables()
    actions = BitstampSubscriptions(BitstampSettings(instruments=("BTC/USD",)), tables).start(1)
    assert [type(action).__name__ for action in actions] == ["Open"]
    assert tables.channels == [Channel("bitstamp", "btcusd", "book"), Channel("bitstamp", "btcusd", "trades")]
