"""Data-only API keys: requests that ask a venue what a key may do, and what is written where a secret will stand.

A dialect is pure and its bytes are journaled, so it writes a placeholder; whoever sends them puts the secret there and
keeps the bytes without it. A key that may do more than read is refused: what nobody can misuse cannot be stolen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from data_controller.errors import ConfigError


class KeyRequest(NamedTuple):
    """A signed REST request; `headers` and `body` hold secrets, so neither is ever logged or journaled."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


def refused(venue: str, why: str) -> ConfigError:
    """The error about a key that may do more than read."""
    return ConfigError(
        f"expected a key of {venue} that can only read market data, but {why}; make one without trading and"
        f" withdrawal rights (`{venue}.api_key_file`)"
    )


def unknown(venue: str, what: str) -> ConfigError:
    """The error about an answer that does not say what a key may do: unknown is not success."""
    return ConfigError(f"expected {venue} to say what the key may do, was {what}; the key is not used (`{venue}`)")
