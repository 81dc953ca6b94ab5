"""What the shared Subscriptions must be told of a venue: addresses, requests, limits; plain values, pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from data_controller.market.tables import Channel


class Limits(NamedTuple):
    """What the venue allows and promises. Times in seconds; 0 stands for no such limit."""

    channels_per_connection: int
    channels_per_request: int = 1  # how many one subscribe or unsubscribe may name
    requests_per_s: float = 0.0  # requests a connection may send
    connection_life_s: float = 0.0  # the venue ends a connection by then; ours are renewed a little before
    ping_every_s: float = 0.0  # how often we must speak; 0: never
    mixed: bool = False  # whether one request may name channels of different kinds
    acknowledged: bool = True  # whether SUBSCRIBED rows come from an answer; else from the first data


class Dialect(Protocol):
    """One venue's requests. Holds no state: equal arguments give equal bytes."""

    venue: str
    limits: Limits

    def channels(self, settings: Any) -> list[list[Channel]]:
        """The channels that `settings` want, grouped by what should share a connection: an instrument's, mostly."""
        ...

    def url(self, settings: Any, channels: Sequence[Channel]) -> str:
        """The address of a connection that will carry `channels`; channels of different addresses never share one."""
        ...

    def greeting(self, settings: Any) -> bytes | None:
        """What is said first on a fresh connection, and answered with a CONFIGURED row; None: nothing."""
        ...

    def subscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        """Asks for `channels`; `request` is a number that an answer may repeat (CONTROL ERROR rows have it as size)."""
        ...

    def unsubscribe(self, settings: Any, channels: Sequence[Channel], request: int) -> bytes:
        """Gives `channels` up."""
        ...

    def confirm(self, settings: Any, request: int) -> bytes | None:
        """What is sent behind requests whose own answer does not name their channels; its answer names them all."""
        ...

    def ping(self) -> bytes:
        """Keeps the connection alive; asked for only where `limits.ping_every_s` is set."""
        ...

    def snapshot_url(self, settings: Any, channel: Channel) -> str | None:
        """Where a book's snapshot is fetched that its stream is spliced to; None where the stream brings its own."""
        ...
