"""Deribit's frames to event rows: what the compiled scan leaves to Python."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from data_controller.exchanges.deribit import _scanner as scanner
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming import state
from data_controller.exchanges.streaming.decoder import AGAIN, StreamDecoder
from data_controller.exchanges.streaming.tape import name
from data_controller.market.rows import Control, Promise
from data_controller.market.tables import Channel

_NAME = re.compile(r"(book|trades|ticker|chart\.trades)\.([A-Za-z0-9_-]{2,40})((?:\.[A-Za-z0-9]{1,8}){1,3})")


def channel_of(venue: str, stream: str) -> Channel | None:
    """The channel of a stream as Deribit names it (`book.BTC-PERPETUAL.raw`), None where it is none of ours."""
    match = _NAME.fullmatch(stream)
    if match is None:
        return None
    parts = match[3][1:].split(".")
    if match[1] == "book":
        # book.X.INTERVAL, or book.X.GROUP.DEPTH.INTERVAL, which is the whole book each time.
        if len(parts) == 1:
            return Channel(venue, match[2], "book", "", parts[0])
        if len(parts) == 3 and parts[1].isascii() and parts[1].isdigit():
            return Channel(venue, match[2], "book", f"group {parts[0]}", parts[2], int(parts[1]))
        return None
    if len(parts) != 1:
        return None
    if match[1] == "chart.trades":
        return Channel(venue, match[2], "candles", parts[0] if parts[0] == "1D" else f"{parts[0]}m")
    return Channel(venue, match[2], "trades" if match[1] == "trades" else "quotes", "", parts[0])


class DeribitDecoder(StreamDecoder):
    """Decoder of Deribit's public channels; see `streaming.decoder`."""

    venue: ClassVar[str] = "deribit"
    scan: ClassVar[Any] = scanner.scan

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        params = message.get("params")
        stream = params.get("channel") if isinstance(params, dict) else None
        if not isinstance(params, dict) or not isinstance(stream, str):
            return self._answer(message, conn, seq, recv_ns, rows)
        cell = self._cell(conn, name(stream))
        if cell is None:
            return AGAIN if self._join(conn, stream, seq, recv_ns, rows) else None
        cell["heard_ns"] = recv_ns
        row = int(cell["row"])
        try:
            body = params["data"]
            if self.tables.channels[row].stream != "candles":
                return "expected a channel's name in the protocol's own spelling, was otherwise"
            else:
                values = {key: float(body[key]) for key in ("open", "close", "high", "low", "volume")}
                self._tell("candles", state.C_CANDLES, seq, recv_ns, row, {"mts": int(body["tick"]), **values})
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            return f"expected a message of {stream}, was otherwise: {error!r}"
        return None

    def _join(self, conn: int, stream: str, seq: int, recv_ns: int, rows: Rows) -> bool:
        channel = channel_of(self.venue, stream)
        if channel is None:
            self._counts[state.C_UNKNOWN_EVENTS] += 1
            return False
        whole = channel.stream == "book" and channel.length > 0
        promise = Promise.CHAINED if channel.stream == "book" and not whole else Promise(0)
        known = self._meet(conn, name(stream), channel, seq, recv_ns, rows, promise=promise)
        cell = self._cell(conn, name(stream))
        if cell is not None:
            cell["option"] = scanner.WHOLE if whole else scanner.CHANGES
        return known

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """The answer to a request (the names that are subscribed now, or an error), or a heartbeat."""
        self._counts[state.C_ENVELOPES] += 1
        request = message.get("id")
        number = request if type(request) is int and 0 <= request < 1 << 62 else 0
        error = message.get("error")
        if isinstance(error, dict):
            code = error.get("code")
            if type(code) is not int or abs(code) >= 1 << 31:
                return "expected an integer as code, was otherwise"
            self._control(rows, seq, recv_ns, conn, Control.ERROR, price=code, size=number)
            return None
        if message.get("method") == "heartbeat":
            self._counts[state.C_HEARTBEATS] += 1
            return None
        if "result" not in message:
            return "expected a channel's data or an answer, was other JSON"
        names = message["result"]
        for stream in names[: state.MAX_LIVE] if isinstance(names, list) else ():
            if rows.room < 2:
                return "expected at most as many channels as the row buffer holds, was more"
            if isinstance(stream, str) and self._cell(conn, name(stream)) is None:
                self._join(conn, stream, seq, recv_ns, rows)
        return None
