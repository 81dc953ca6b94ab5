"""Coinbase Exchange's data-only key: its signature over a subscription, and the question what it may do."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any, NamedTuple

import msgspec

from data_controller.errors import ConfigError
from data_controller.exchanges.streaming.keys import KeyRequest, refused, unknown

KEY, PASSPHRASE, TIMESTAMP, SIGNATURE = "@coinbase-key@", "@coinbase-passphrase@", "@timestamp@", "@signature@"
"""Stand for the parts of a signed subscription in what the dialect asks; `signed` puts them there."""

_VERIFY, _ORDERS = "/users/self/verify", "/orders"
_IMPOSSIBLE = b"{}"
_S = 1_000_000_000


class Key(NamedTuple):
    """A key of the Exchange: three texts that it shows once."""

    key: str
    secret: str
    passphrase: str


def signature(secret: str, timestamp: str, method: str, path: str, body: bytes = b"") -> str:
    """`CB-ACCESS-SIGN` (Coinbase's documents, Exchange authentication); ConfigError where `secret` is no base64."""
    try:
        key = base64.b64decode(secret, validate=True)
    except binascii.Error:
        raise ConfigError(
            "expected Coinbase's API secret as base64, was otherwise (`coinbase.api_secret_file`)"
        ) from None
    digest = hmac.new(key, f"{timestamp}{method}{path}".encode() + body, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def signed(message: bytes, key: Key, timestamp_s: int) -> bytes:
    """`message` with key, passphrase, time and signature where the dialect left room for them."""
    timestamp = str(timestamp_s)
    places = {
        KEY: key.key,
        PASSPHRASE: key.passphrase,
        TIMESTAMP: timestamp,
        SIGNATURE: signature(key.secret, timestamp, "GET", _VERIFY),
    }
    for place, value in places.items():
        message = message.replace(msgspec.json.encode(place), msgspec.json.encode(value))
    return message


def permissions_request(rest_url: str, key: Key, timestamp_s: int) -> KeyRequest:
    """Asks whether the key can trade, by an order that can never be: without product, side and size.

    The Exchange has no request that lists a key's rights. It looks at them first: a key that can only view is
    forbidden to order at all, another one is told what the order lacks.
    """
    timestamp = str(timestamp_s)
    headers = {
        "CB-ACCESS-KEY": key.key,
        "CB-ACCESS-SIGN": signature(key.secret, timestamp, "POST", _ORDERS, _IMPOSSIBLE),
        "CB-ACCESS-TIMESTAMP": timestamp,
        "CB-ACCESS-PASSPHRASE": key.passphrase,
        "Content-Type": "application/json",
    }
    return KeyRequest("POST", rest_url.rstrip("/") + _ORDERS, headers, _IMPOSSIBLE)


def refuse_if_it_can_trade(status: int, body: bytes) -> None:
    """ConfigError unless the answer to `permissions_request` says that the key is forbidden to order.

    A page of whoever stands before the Exchange says nothing of the key, nor does a complaint about the address we ask
    from or about our clock, which the Exchange answers with 400 or 401.
    """
    said = _message_of(body)
    if status == 403 and said and "whitelist" not in said and "ip " not in said:
        return
    if status in (200, 400, 422) and "timestamp" not in said:
        raise refused("coinbase", "this one may place orders")
    clock = ": the clock of this machine is wrong" if "timestamp" in said else ""
    raise unknown("coinbase", f"status {status}{clock}")


def _message_of(body: bytes) -> str:
    """The Exchange's own words in an answer, in lower case; empty where there are none."""
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    said = answer.get("message") if isinstance(answer, dict) else None
    return said.lower() if isinstance(said, str) else ""


class CoinbaseCredentials:
    """Credentials (see streaming.keys) of Coinbase Exchange: each subscription is signed, and there are no tokens."""

    files = ("api_key_file", "api_secret_file", "api_passphrase_file")
    places = tuple(msgspec.json.encode(place) for place in (KEY, PASSPHRASE, TIMESTAMP, SIGNATURE))
    token_life_s = 0.0

    def permissions_request(self, settings: Any, key: tuple[str, ...], now_ns: int) -> KeyRequest:
        """Asks whether the key can trade."""
        return permissions_request(settings.rest_url, Key(*key), now_ns // _S)

    def refuse_if_it_can_trade(self, status: int, body: bytes) -> None:
        """As the function of this name."""
        refuse_if_it_can_trade(status, body)

    def token_request(self, settings: Any, key: tuple[str, ...], now_ns: int) -> KeyRequest:
        """Never asked for."""
        raise unknown("coinbase", "asked for a token, which it has none of")

    def token_of(self, status: int, body: bytes) -> str:
        """Never asked for."""
        raise unknown("coinbase", "asked for a token, which it has none of")

    def gist(self, message: bytes) -> bytes:
        """`message` itself, which has no number."""
        return message

    def filled(self, message: bytes, key: tuple[str, ...], token: str, now_ns: int) -> bytes:
        """`message` with key, passphrase, time and signature."""
        return signed(message, Key(*key), now_ns // _S)
