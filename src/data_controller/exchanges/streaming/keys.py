"""Data-only API keys: requests that ask a venue what a key may do, and what is written where a secret will stand.

A dialect is pure and its bytes are journaled, so it writes a placeholder; whoever sends them puts the secret there and
keeps the bytes without it. A key that may do more than read is refused: what nobody can misuse cannot be stolen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from data_controller.errors import ConfigError


class KeyRequest(NamedTuple):
    """A signed REST request; `headers` and `body` hold secrets, so neither is ever logged or journaled."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


class KeyRefused(ConfigError):  # noqa: N818 - the state is the name
    """The venue says that a key may do more than read."""


class Credentials(Protocol):
    """How a venue's data-only key is used: pure; whoever reads the files and asks the venue hands in what it got.

    `key` has the contents of `files` in their order. `now_ns` grows from request to request by a millisecond or more.
    """

    files: tuple[str, ...]  # fields of the venue's settings that name the key's files
    places: tuple[bytes, ...]  # what stands in a message where a secret belongs
    token_life_s: float  # how long a token may wait for its use; 0: the venue has none

    def permissions_request(self, settings: Any, key: tuple[str, ...], now_ns: int) -> KeyRequest:
        """Asks what the key may do."""
        ...

    def refuse_if_it_can_trade(self, status: int, body: bytes) -> None:
        """KeyRefused where the answer says that the key may do more than read, ConfigError where it says nothing."""
        ...

    def token_request(self, settings: Any, key: tuple[str, ...], now_ns: int) -> KeyRequest:
        """Asks for a token; only where `token_life_s` is not 0."""
        ...

    def token_of(self, status: int, body: bytes) -> str:
        """The token in an answer; ConfigError where there is none."""
        ...

    def gist(self, message: bytes) -> bytes:
        """What `message` asks for, equal where it is asked again."""
        ...

    def filled(self, message: bytes, key: tuple[str, ...], token: str, now_ns: int) -> bytes:
        """`message` with secrets where its placeholders stood."""
        ...


def unsent(request: str, status: int) -> dict[str, Any] | None:
    """The message of ours in a FETCHED record that says it was never sent, None where the record is a REST answer."""
    if status or not request.startswith("{"):
        return None
    try:
        message = msgspec.json.decode(request)
    except msgspec.DecodeError:
        return None
    return message if isinstance(message, dict) else None


def refused(venue: str, why: str) -> KeyRefused:
    """The error about a key that may do more than read."""
    return KeyRefused(
        f"expected a key of {venue} that can only read market data, but {why}; make one without trading and"
        f" withdrawal rights (`{venue}.api_key_file`)"
    )


def unknown(venue: str, what: str) -> ConfigError:
    """The error about an answer that does not say what a key may do: unknown is not success."""
    return ConfigError(f"expected {venue} to say what the key may do, was {what}; the key is not used (`{venue}`)")
