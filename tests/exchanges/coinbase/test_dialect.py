"""Coinbase's requests, byte for byte; its config; and the key that must not be able to trade."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from data_controller.errors import ConfigError
from data_controller.exchanges.coinbase import keys
from data_controller.exchanges.coinbase.dialect import CoinbaseDialect
from data_controller.exchanges.coinbase.settings import CoinbaseSettings
from data_controller.market.tables import Channel

DIALECT = CoinbaseDialect()
FILES: dict[str, Any] = {name: Path(name) for name in ("api_key_file", "api_secret_file", "api_passphrase_file")}
KEY = keys.Key("the key", base64.b64encode(b"the secret").decode(), 'pass "phrase"')


def test_a_product_is_its_channels() -> None:
    own = CoinbaseSettings(instruments=("BTC/USD", "ETH-EUR"), tickers=False, orders=True, **FILES)
    assert DIALECT.channels(own) == [
        [
            Channel("coinbase", product, "book"),
            Channel("coinbase", product, "book", "R0"),
            Channel("coinbase", product, "trades"),
        ]
        for product in ("BTC-USD", "ETH-EUR")
    ]
    orders = Channel("coinbase", "BTC-USD", "book", "R0")
    assert DIALECT.snapshot_url(own, orders) == "https://api.exchange.coinbase.com/products/BTC-USD/book?level=3"
    assert DIALECT.snapshot_url(own, Channel("coinbase", "BTC-USD", "book")) is None


def test_requests_are_what_the_documents_say() -> None:
    own = CoinbaseSettings(instruments=("BTC/USD",))
    asked = DIALECT.subscribe(own, DIALECT.channels(own)[0], 1)
    assert asked == (
        b'{"type":"subscribe","channels":[{"name":"level2_batch","product_ids":["BTC-USD"]},'
        b'{"name":"matches","product_ids":["BTC-USD"]},{"name":"ticker","product_ids":["BTC-USD"]},'
        b'{"name":"heartbeat","product_ids":["BTC-USD"]}]}'
    )
    assert DIALECT.unsubscribe(own, DIALECT.channels(own)[0][:1], 2) == (
        b'{"type":"unsubscribe","channels":[{"name":"level2_batch","product_ids":["BTC-USD"]}]}'
    )


def test_a_signature_is_put_where_the_dialect_left_room() -> None:
    own = CoinbaseSettings(instruments=("BTC/USD",), book_channel="level2", **FILES)
    asked = DIALECT.subscribe(own, [Channel("coinbase", "BTC-USD", "book")], 1)
    told = json.loads(keys.signed(asked, KEY, 1_700_000_000))
    expected = hmac.new(b"the secret", b"1700000000GET/users/self/verify", hashlib.sha256).digest()
    assert told["signature"] == base64.b64encode(expected).decode()
    assert (told["key"], told["passphrase"], told["timestamp"]) == ("the key", 'pass "phrase"', "1700000000")
    assert b"@" not in keys.signed(asked, KEY, 1_700_000_000)
    assert keys.signed(b'{"type":"unsubscribe"}', KEY, 1) == b'{"type":"unsubscribe"}'


def test_what_is_public_is_asked_for_unsigned() -> None:
    own = CoinbaseSettings(instruments=("BTC/USD",), orders=True, **FILES)
    book, orders, trades, _ = DIALECT.channels(own)[0]
    assert [keys.SIGNATURE.encode() in DIALECT.subscribe(own, [c], 1) for c in (book, orders, trades)] == [
        False,
        True,
        False,
    ]


def test_a_config_that_coinbase_would_refuse_is_refused_here() -> None:
    with pytest.raises(ValidationError, match="BTC/USD"):
        CoinbaseSettings(instruments=("btcusd",))
    with pytest.raises(ValidationError, match="once"):
        CoinbaseSettings(instruments=("BTC/USD", "BTC-USD"))
    with pytest.raises(ValidationError, match="api_passphrase_file"):
        CoinbaseSettings(orders=True, api_key_file=Path("key"), api_secret_file=Path("secret"))


def test_the_question_is_an_order_that_can_never_be() -> None:
    request = keys.permissions_request("https://api.exchange.coinbase.com/", KEY, 1_700_000_000)
    assert (request.method, request.url, request.body) == ("POST", "https://api.exchange.coinbase.com/orders", b"{}")
    expected = hmac.new(b"the secret", b"1700000000POST/orders{}", hashlib.sha256).digest()
    assert request.headers["CB-ACCESS-SIGN"] == base64.b64encode(expected).decode()
    with pytest.raises(ConfigError, match="base64"):
        keys.signature("not base64!", "1", "GET", "/")


def test_a_key_is_taken_only_where_ordering_is_forbidden() -> None:
    keys.refuse_if_it_can_trade(403, b'{"message":"Forbidden"}')
    with pytest.raises(ConfigError, match="may place orders"):
        keys.refuse_if_it_can_trade(400, b'{"message":"product_id is required"}')
    for status, body in (
        (401, b'{"message":"Invalid API Key"}'),
        (429, b""),
        (500, b""),
        (0, b""),
        (403, b"<html>Attention required</html>"),
        (403, b'{"message":"IP does not match IP whitelist"}'),
    ):
        with pytest.raises(ConfigError, match="what the key may do"):
            keys.refuse_if_it_can_trade(status, body)
    with pytest.raises(ConfigError, match="clock of this machine"):
        keys.refuse_if_it_can_trade(400, b'{"message":"request timestamp expired"}')
