"""Kraken's requests, byte for byte; its config; and the key that must not be able to trade."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from data_controller.errors import ConfigError
from data_controller.exchanges.kraken import keys
from data_controller.exchanges.kraken.dialect import KrakenDialect
from data_controller.exchanges.kraken.settings import KrakenSettings
from data_controller.market.tables import Channel

DIALECT = KrakenDialect()
FILES: dict[str, Any] = {"api_key_file": Path("key"), "api_secret_file": Path("secret")}
SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="


def test_an_instrument_is_its_channels_and_its_orders_go_by_themselves() -> None:
    own = KrakenSettings(instruments=("BTC/USD",), book_depth=25, candles_min=(5,), orders=True, **FILES)
    public, orders = DIALECT.channels(own)
    assert public == [
        Channel("kraken", "BTC/USD", "book", length=25),
        Channel("kraken", "BTC/USD", "trades"),
        Channel("kraken", "BTC/USD", "ticker"),
        Channel("kraken", "BTC/USD", "candles", "5m"),
    ]
    assert orders == [Channel("kraken", "BTC/USD", "book", "R0", length=100)]
    assert DIALECT.url(own, public) == "wss://ws.kraken.com/v2"
    assert DIALECT.url(own, orders) == "wss://ws-l3.kraken.com/v2"


def test_requests_are_what_the_documents_say() -> None:
    own = KrakenSettings(instruments=("BTC/USD",))
    assert DIALECT.greeting(own) == b'{"method":"subscribe","params":{"channel":"instrument","snapshot":true}}'
    book = Channel("kraken", "BTC/USD", "book", length=25)
    assert DIALECT.subscribe(own, [book], 7) == (
        b'{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":25,"snapshot":true},"req_id":7}'
    )
    assert DIALECT.unsubscribe(own, [book], 8) == (
        b'{"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":25},"req_id":8}'
    )
    assert json.loads(DIALECT.subscribe(own, [Channel("kraken", "BTC/USD", "quotes")], 9))["params"] == {
        "channel": "ticker",
        "symbol": ["BTC/USD"],
        "event_trigger": "bbo",
        "snapshot": True,
    }
    assert json.loads(DIALECT.subscribe(own, [Channel("kraken", "BTC/USD", "candles", "5m")], 9))["params"] == {
        "channel": "ohlc",
        "symbol": ["BTC/USD"],
        "interval": 5,
        "snapshot": True,
    }
    assert (
        json.loads(DIALECT.subscribe(own, [Channel("kraken", "BTC/USD", "trades")], 9))["params"]["channel"] == "trade"
    )


def test_the_token_is_put_where_the_dialect_left_room_and_is_nowhere_else() -> None:
    orders = Channel("kraken", "BTC/USD", "book", "R0", length=10)
    asked = DIALECT.subscribe(KrakenSettings(), [orders], 1)
    assert b"secret" not in asked
    told = json.loads(keys.with_token(asked, 'se"cret'))
    assert told["params"] == {
        "channel": "level3",
        "symbol": ["BTC/USD"],
        "depth": 10,
        "token": 'se"cret',
        "snapshot": True,
    }


def test_a_config_that_kraken_would_refuse_is_refused_here() -> None:
    with pytest.raises(ValidationError, match="BTC/USD"):
        KrakenSettings(instruments=("XBTUSD",))
    with pytest.raises(ValidationError, match="once"):
        KrakenSettings(instruments=("BTC/USD", "BTC/USD"))
    with pytest.raises(ValidationError, match="api_key_file"):
        KrakenSettings(orders=True)
    with pytest.raises(ValidationError, match="candle widths"):
        KrakenSettings(candles_min=(7,))


def test_the_documents_signature_is_ours() -> None:
    body = b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
    assert keys.signature("/0/private/AddOrder", 1616492376594, body, SECRET) == (
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    )
    request = keys.permissions_request("https://api.kraken.com", "k", SECRET, 5)
    assert (request.method, request.url, request.body) == (
        "POST",
        "https://api.kraken.com/0/private/GetApiKeyInfo",
        b"nonce=5",
    )
    assert keys.token_request("http://localhost:1", "k", SECRET, 5).url.endswith("/0/private/GetWebSocketsToken")
    with pytest.raises(ConfigError, match="base64"):
        keys.signature("/", 1, b"", "not base64!")


def info(*permissions: str) -> bytes:
    return json.dumps({"error": [], "result": {"apiKeyName": "data", "permissions": list(permissions)}}).encode()


def test_a_key_that_can_only_read_is_taken() -> None:
    keys.refuse_if_it_can_trade(200, info())
    keys.refuse_if_it_can_trade(200, info("query-funds", "query-open-trades", "export-data", "access-websockets"))


@pytest.mark.parametrize("permission", ["modify-trades", "close-trades", "withdraw-funds", "earn-funds", "new"])
def test_a_key_that_can_do_more_is_refused_by_name(permission: str) -> None:
    with pytest.raises(ConfigError, match=permission):
        keys.refuse_if_it_can_trade(200, info("query-funds", permission))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"nonsense"),
        (200, b'{"error":[],"result":{}}'),
        (200, b'{"error":["EAPI:Invalid key"]}'),
        (502, info()),
    ],
)
def test_a_key_of_which_nothing_is_known_is_not_used(status: int, body: bytes) -> None:
    with pytest.raises(ConfigError, match="what the key may do"):
        keys.refuse_if_it_can_trade(status, body)


def test_a_token_is_read_from_its_answer() -> None:
    assert keys.token_of(200, b'{"error":[],"result":{"token":"1Dwc4lzSwNWOAwkMdqhssNNFhs1ed606d1WcF3XfEMw"}}') == (
        "1Dwc4lzSwNWOAwkMdqhssNNFhs1ed606d1WcF3XfEMw"
    )
    with pytest.raises(ConfigError):
        keys.token_of(200, b'{"error":["EGeneral:Permission denied"]}')
