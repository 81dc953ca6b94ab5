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
                "prec": channel.precision,
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
    raise ConfigError(f"expected a stream out of book, trades, ticker, candles, was {channel.stream!r}")


def unsubscribe(chan_id: int) -> bytes:
    """Gives the venue's channel `chan_id` up."""
    return _encode({"event": "unsubscribe", "chanId": chan_id})
