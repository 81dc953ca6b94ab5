"""What is said to Bitfinex, as exact bytes: compact JSON, keys in a fixed order."""

from __future__ import annotations

import msgspec

from data_controller.errors import ConfigError
from data_controller.market.tables import Channel

TIMESTAMP = 32768
SEQ_ALL = 65536
OB_CHECKSUM = 131072
FLAGS = TIMESTAMP | SEQ_ALL | OB_CHECKSUM
"""Asked for on every connection: milliseconds on each message, one sequence a connection, checksums of books."""

BY_PERIOD = "T"
"""Ends the precision of a funding book's channel, P0T to P4T: its levels are told apart by rate and period."""
LIQUIDATIONS = "global"
"""Symbol of the channel that tells of all liquidations; each is a row of its own instrument's channel."""

_encode = msgspec.json.encode


def conf() -> bytes:
    """Switches `FLAGS` on; goes out before the first subscription, so that no message is without its number."""
    return _encode({"event": "conf", "flags": FLAGS})


def subscribe(channel: Channel) -> bytes:
    """Asks for `channel`. Raises ConfigError for a stream that Bitfinex does not have."""
    if channel.stream == "book":
        return _encode(
            {
                "event": "subscribe",
                "channel": "book",
                "symbol": channel.symbol,
                "prec": channel.precision.removesuffix(BY_PERIOD),
                "freq": channel.frequency,
                "len": str(channel.length),
            }
        )
    if channel.stream in ("trades", "ticker"):
        return _encode({"event": "subscribe", "channel": channel.stream, "symbol": channel.symbol})
    if channel.stream == "candles":
        return _encode(
            {"event": "subscribe", "channel": "candles", "key": f"trade:{channel.precision}:{channel.symbol}"}
        )
    if channel.stream == "derivative":
        return _encode({"event": "subscribe", "channel": "status", "key": f"deriv:{channel.symbol}"})
    if channel.stream == "liquidations":
        return _encode({"event": "subscribe", "channel": "status", "key": "liq:global"})
    raise ConfigError(
        f"expected a stream out of book, trades, ticker, candles, derivative, liquidations, was {channel.stream!r}"
    )


def unsubscribe(chan_id: int) -> bytes:
    """Gives the venue's channel `chan_id` up."""
    return _encode({"event": "unsubscribe", "chanId": chan_id})
