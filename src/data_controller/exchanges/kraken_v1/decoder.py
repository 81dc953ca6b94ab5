"""Kraken v1's frames to event rows: what the compiled scan leaves to Python."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np

from data_controller.exchanges.kraken_v1 import _scanner as scanner
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN, StreamDecoder
from data_controller.market.layout import ChecksumRule
from data_controller.market.rows import Control, Promise
from data_controller.market.tables import Channel

_PAIR = re.compile(r"[A-Z0-9.]{1,20}/[A-Z0-9.]{1,20}")
_NAME = re.compile(r"(book|ohlc)(?:-(\d{1,5}))?")
_PLAIN = {"trade": "trades", "spread": "quotes", "ticker": "ticker"}
_DEPTH = 10
"""Levels a side of a book whose subscription did not say."""
_S = 1_000_000_000


def channel_of(venue: str, name: str, pair: str) -> Channel | None:
    """The channel of a stream as Kraken v1 names it (`book-1000`, `trade`), None where it is none of ours."""
    if not _PAIR.fullmatch(pair):
        return None
    plain = _PLAIN.get(name)
    if plain is not None:
        return Channel(venue, pair, plain)  # type: ignore[arg-type]
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    if match[1] == "ohlc":
        return Channel(venue, pair, "candles", f"{match[2] or 1}m")
    return Channel(venue, pair, "book", length=int(match[2] or _DEPTH))


class KrakenV1Decoder(StreamDecoder):
    """Decoder of Kraken's public v1 streams; see `streaming.decoder`."""

    venue: ClassVar[str] = "kraken_v1"
    scan: ClassVar[Any] = scanner.scan

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if isinstance(message, dict):
            return self._answer(message, conn, seq, recv_ns, rows)
        # A list: the scan has seen that it ends in two strings.
        name, pair = message[-2], message[-1]
        key = state.key_of(name, pair)
        cell = self._cell(conn, key)
        if cell is None:
            channel = channel_of(self.venue, name, pair)
            if channel is None:
                self._counts[state.C_UNKNOWN_EVENTS] += 1
                return None
            return AGAIN if self._join(conn, key, channel, seq, recv_ns, rows) else None
        cell["heard_ns"] = recv_ns
        row = int(cell["row"])
        try:
            if self.tables.channels[row].stream == "ticker":
                self._ticker(message[1], seq, recv_ns, row)
            elif self.tables.channels[row].stream == "candles":
                _, end, o, high, low, close, _, volume, _ = message[1]
                width_s = 60 * int(self.tables.channels[row].precision.removesuffix("m"))
                values = {"open": o, "close": close, "high": high, "low": low, "volume": volume}
                mts = round((float(end) - width_s) * 1000)
                self._tell(
                    "candles",
                    state.C_CANDLES,
                    seq,
                    recv_ns,
                    row,
                    {"mts": mts, **{key: float(v) for key, v in values.items()}},
                )
            else:
                return "expected a change, a trade or a spread of this stream, was otherwise"
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            return f"expected a {name} message, was otherwise: {error!r}"
        return None

    def _ticker(self, body: dict[str, Any], seq: int, recv_ns: int, row: int) -> None:
        values = {
            "bid": float(body["b"][0]),
            "bid_size": float(body["b"][2]),
            "ask": float(body["a"][0]),
            "ask_size": float(body["a"][2]),
            "change": float(body["c"][0]) - float(body["o"][1]),
            "last": float(body["c"][0]),
            "volume": float(body["v"][1]),
            "high": float(body["h"][1]),
            "low": float(body["l"][1]),
        }
        self._tell("ticker", state.C_TICKERS, seq, recv_ns, row, values)

    def _join(self, conn: int, key: np.uint64, channel: Channel, seq: int, recv_ns: int, rows: Rows) -> bool:
        if channel.stream != "book":
            return self._meet(conn, key, channel, seq, recv_ns, rows)
        promise = Promise.CHECKSUMMED | Promise.TRIMMED
        return self._meet(conn, key, channel, seq, recv_ns, rows, promise=promise, rule=ChecksumRule.KRAKEN)

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """The venue's status, or what became of a subscription."""
        self._counts[state.C_ENVELOPES] += 1
        event = message.get("event")
        if event == "systemStatus":
            self._control(rows, seq, recv_ns, conn, Control.INFO)
            return None
        if event == "pong":
            self._control(rows, seq, recv_ns, conn, Control.PONG)
            return None
        if event != "subscriptionStatus":
            return "expected a status, a heartbeat or a stream, was other JSON"
        request = message.get("reqid")
        number = request if type(request) is int and 0 <= request < 1 << 62 else 0
        name, pair, status = message.get("channelName"), message.get("pair"), message.get("status")
        if status == "error":
            self._control(rows, seq, recv_ns, conn, Control.ERROR, size=number)
            return None
        if not isinstance(name, str) or not isinstance(pair, str) or status not in ("subscribed", "unsubscribed"):
            return "expected channelName, pair and status of a subscription, was otherwise"
        channel = channel_of(self.venue, name, pair)
        if channel is None:
            self._counts[state.C_UNKNOWN_EVENTS] += 1
        elif status == "subscribed":
            self._join(conn, state.key_of(name, pair), channel, seq, recv_ns, rows)
        else:
            self._part(conn, state.key_of(name, pair), seq, recv_ns, rows)
        return None
