"""Kraken's data-only key: its signature, what it may do, and the token that the level3 channel asks for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Any

import msgspec

from data_controller.errors import ConfigError
from data_controller.exchanges.streaming.keys import KeyRequest, refused, unknown

TOKEN = "@kraken-token@"
"""Stands for the token in what the dialect asks; `with_token` puts it there."""

_MS = 1_000_000
_INFO, _TOKEN = "/0/private/GetApiKeyInfo", "/0/private/GetWebSocketsToken"
_REQUEST = re.compile(rb',?"req_id":[0-9]+')
_TOKEN_LIFE_S = 14 * 60.0
"""A minute less than the venue's fifteen."""
_HARMLESS = ("query", "export", "view", "read")


def signature(path: str, nonce: int, body: bytes, secret: str) -> str:
    """`API-Sign` of a request (Kraken's documents, Spot REST authentication); ConfigError: `secret` is no base64."""
    try:
        key = base64.b64decode(secret, validate=True)
    except binascii.Error:
        raise ConfigError("expected Kraken's API secret as base64, was otherwise (`kraken.api_secret_file`)") from None
    digest = hashlib.sha256(str(nonce).encode() + body).digest()
    return base64.b64encode(hmac.new(key, path.encode() + digest, hashlib.sha512).digest()).decode()


def _signed(rest_url: str, path: str, key: str, secret: str, nonce: int) -> KeyRequest:
    body = f"nonce={nonce}".encode()
    headers = {
        "API-Key": key,
        "API-Sign": signature(path, nonce, body, secret),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return KeyRequest("POST", rest_url.rstrip("/") + path, headers, body)


def permissions_request(rest_url: str, key: str, secret: str, nonce: int) -> KeyRequest:
    """Asks what the key may do; `nonce` must grow from request to request (ms since 1970 will do)."""
    return _signed(rest_url, _INFO, key, secret, nonce)


def token_request(rest_url: str, key: str, secret: str, nonce: int) -> KeyRequest:
    """Asks for a token, which must be used within 15 minutes and then lasts as long as its connection."""
    return _signed(rest_url, _TOKEN, key, secret, nonce)


def _result(status: int, body: bytes) -> dict[str, object]:
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        answer = None
    result = answer.get("result") if isinstance(answer, dict) else None
    if status != 200 or not isinstance(result, dict):
        errors = answer.get("error") if isinstance(answer, dict) else None
        raise unknown("kraken", f"status {status}, {errors or 'no result'}")
    return result


def refuse_if_it_can_trade(status: int, body: bytes) -> None:
    """ConfigError unless the answer to `permissions_request` lists rights of reading alone."""
    permissions = _result(status, body).get("permissions")
    if not isinstance(permissions, list) or not all(isinstance(p, str) for p in permissions):
        raise unknown("kraken", "an answer without permissions")
    for permission in permissions:
        words = str(permission).lower().replace("_", "-").split("-")
        if words[0] not in _HARMLESS and not any(word.startswith(("websocket", "ws")) for word in words):
            raise refused("kraken", f"this one has the permission {permission!r}")


def token_of(status: int, body: bytes) -> str:
    """The token in the answer to `token_request`; ConfigError where there is none."""
    token = _result(status, body).get("token")
    if not isinstance(token, str) or not token:
        raise unknown("kraken", "an answer without a token")
    return token


def with_token(message: bytes, token: str) -> bytes:
    """`message` with the token where the dialect left room for it."""
    return message.replace(msgspec.json.encode(TOKEN), msgspec.json.encode(token))


class KrakenCredentials:
    """Credentials (see streaming.keys) of Kraken Spot: the key fetches a token, and the token alone is sent."""

    files = ("api_key_file", "api_secret_file")
    places = (msgspec.json.encode(TOKEN),)
    token_life_s = _TOKEN_LIFE_S

    def permissions_request(self, settings: Any, key: tuple[str, ...], now_ns: int) -> KeyRequest:
        """Asks what the key may do."""
        return permissions_request(settings.rest_url, key[0], key[1], now_ns // _MS)

    def refuse_if_it_can_trade(self, status: int, body: bytes) -> None:
        """As the function of this name."""
        refuse_if_it_can_trade(status, body)

    def token_request(self, settings: Any, key: tuple[str, ...], now_ns: int) -> KeyRequest:
        """Asks for a token."""
        return token_request(settings.rest_url, key[0], key[1], now_ns // _MS)

    def token_of(self, status: int, body: bytes) -> str:
        """As the function of this name."""
        return token_of(status, body)

    def gist(self, message: bytes) -> bytes:
        """`message` without its number."""
        return _REQUEST.sub(b"", message)

    def filled(self, message: bytes, key: tuple[str, ...], token: str, now_ns: int) -> bytes:
        """`message` with the token."""
        return with_token(message, token)
