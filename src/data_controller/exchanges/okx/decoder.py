"""OKX's v5 frames to event rows: what the compiled scan leaves to Python, and the splice to a fetched book."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec
import numpy as np

from data_controller.exchanges.okx import _scanner as scanner
from data_controller.exchanges.protocols import RecordBatch, Rows
from data_controller.exchanges.streaming import scanning, state
from data_controller.exchanges.streaming.decoder import AGAIN, MAX_CHANNELS
from data_controller.exchanges.streaming.snapshots import Snapshot, read_levels
from data_controller.exchanges.streaming.splice import Held, SplicedDecoder
from data_controller.exchanges.streaming.tape import name
from data_controller.market.layout import ChecksumRule
from data_controller.market.rows import Control, Kind, Promise
from data_controller.market.tables import Channel

_REQUEST = re.compile(r"/market/books\?(?:.*&)?instId=([A-Za-z0-9_-]+)")
_NAME = re.compile(r"[A-Za-z0-9_-]{2,60}")
_BOOKS = {"books": 400, "books-l2-tbt": 400, "books50-l2-tbt": 50, "books5": 5}
_DERIVATIVE = ("mark-price", "index-tickers", "funding-rate")
_RESTART = "64008"
"""Code of the notice that the connection will be closed for an upgrade."""
MOST_ENTRIES = 2000
"""Entries taken of a message that Python reads."""
_MS = 1_000_000


class _Answer(msgspec.Struct):
    code: str = ""
    data: list[msgspec.Raw] = []


class OkxDecoder(SplicedDecoder):
    """Decoder of OKX's public v5 streams; see `streaming.decoder`.

    Books are proved by their chain of `seqId`, and by their checksums where these are not 0; those of before the chain
    existed by checksum alone.
    """

    venue: ClassVar[str] = "okx"
    scan: ClassVar[Any] = scanner.scan
    ticker: ClassVar[dict[str, str]] = {
        "bid": "bidPx",
        "bid_size": "bidSz",
        "ask": "askPx",
        "ask_size": "askSz",
        "last": "last",
        "volume": "vol24h",
        "high": "high24h",
        "low": "low24h",
    }
    """Name of each value of a ticker at the venue."""

    def _unusual(self, status: int, batch: RecordBatch, i: int, rows: Rows) -> bool:
        if status == scanning.BAD_JSON:
            frame = batch.data[batch.offsets.item(i) : batch.offsets.item(i + 1)]
            if len(frame) == 4 and frame.tobytes() == b"pong":
                self._counts[state.C_FRAMES] += 1
                self._counts[state.C_HEARTBEATS] += 1
                self._control(rows, batch.first_seq + i, batch.recv_ns.item(i), batch.conn.item(i), Control.PONG)
                return True
        return super()._unusual(status, batch, i, rows)

    def _message(self, message: Any, conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        if not isinstance(message, dict):
            return "expected an object, was other JSON"
        if "event" in message:
            return self._answer(message, conn, seq, recv_ns, rows)
        arg, data = message.get("arg"), message.get("data")
        if not isinstance(arg, dict) or not isinstance(data, list):
            return "expected a stream's name and a list of its data, was otherwise"
        stream, symbol = arg.get("channel"), arg.get("instId", arg.get("instType", ""))
        if not isinstance(stream, str) or not isinstance(symbol, str):
            return "expected a channel's and an instrument's name, was otherwise"
        key = state.key_of(stream, symbol)
        cell = self._cell(conn, key)
        if cell is None:
            channel = self.channel_of(stream, symbol)
            if channel is None:
                self._counts[state.C_UNKNOWN_EVENTS] += 1
                return None
            if not self._join(conn, key, channel, self._how(stream), seq, recv_ns, rows):
                return None
            cell = self._cell(conn, key)
            if cell is None or cell["stream"] != state.OTHER:
                return AGAIN
        elif cell["stream"] == state.BOOK and cell["option"] == scanner.SEQUENCED and _unnumbered(message):
            # A capture of before the chain existed: its books have checksums alone, and are told anew so.
            channel = self.tables.channels[int(cell["row"])]
            return AGAIN if self._join(conn, key, channel, scanner.CHECKED, seq, recv_ns, rows) else None
        if cell["stream"] != state.OTHER:
            return "expected levels, best prices or trades of this stream, was otherwise"
        cell["heard_ns"] = recv_ns
        return self._other(stream, int(cell["row"]), data, seq, recv_ns, rows)

    def channel_of(self, stream: str, symbol: str) -> Channel | None:
        """The channel of a stream as OKX names it (`books`, `BTC-USDT`), None where it is none of ours."""
        if not _NAME.fullmatch(symbol):
            return None
        if stream in _BOOKS:
            return Channel(self.venue, symbol, "book", "", stream, _BOOKS[stream])
        if stream in ("trades", "trades-all"):
            return Channel(self.venue, symbol, "trades", "" if stream == "trades" else "all")
        if stream == "bbo-tbt":
            return Channel(self.venue, symbol, "quotes")
        if stream == "tickers":
            return Channel(self.venue, symbol, "ticker")
        if stream.startswith("candle") and len(stream) <= 16:
            return Channel(self.venue, symbol, "candles", stream.removeprefix("candle"))
        if stream in _DERIVATIVE:
            return Channel(self.venue, symbol, "derivative", stream)
        if stream == "liquidation-orders":
            return Channel(self.venue, symbol, "liquidations")
        return None

    def _how(self, stream: str) -> int:
        """What proves the books of `stream`."""
        return scanner.WHOLE if stream == "books5" else scanner.SEQUENCED

    def _join(
        self, conn: int, key: np.uint64, channel: Channel, option: int, seq: int, recv_ns: int, rows: Rows
    ) -> bool:
        how: dict[str, Any] = {}
        if channel.stream == "book":
            promises = {scanner.SEQUENCED: Promise.SEQUENCED, scanner.CHECKED: Promise.CHECKSUMMED}
            how = {"promise": promises.get(option, Promise(0)), "rule": ChecksumRule.OKX}
        known = self._meet(conn, key, channel, seq, recv_ns, rows, **how)
        cell = self._cell(conn, key)
        if known and cell is not None:
            cell["option"] = option if channel.stream == "book" else 0
            cell["spare"] = recv_ns if channel.stream == "trades" else 0
        return known

    def _answer(self, message: dict[str, Any], conn: int, seq: int, recv_ns: int, rows: Rows) -> str | None:
        """What OKX says of a request: yes, no, or that the connection will end."""
        self._counts[state.C_ENVELOPES] += 1
        event, arg = message["event"], message.get("arg")
        if event in ("subscribe", "unsubscribe"):
            if not isinstance(arg, dict):
                return "expected the stream that the answer is about, was none"
            stream, symbol = arg.get("channel"), arg.get("instId", arg.get("instType", ""))
            if not isinstance(stream, str) or not isinstance(symbol, str):
                return "expected a channel's and an instrument's name, was otherwise"
            key = state.key_of(stream, symbol)
            if event == "unsubscribe":
                self._part(conn, key, seq, recv_ns, rows)
                return None
            channel = self.channel_of(stream, symbol)
            if channel is None:
                self._unknown(conn, seq, recv_ns, rows)
            else:
                self._join(conn, key, channel, self._how(stream), seq, recv_ns, rows)
        elif event == "error" or event == "notice":
            code = message.get("code")
            if isinstance(code, int):
                code = str(code)
            if not isinstance(code, str) or not code.isascii() or not code.isdigit() or len(code) > 9:
                return "expected digits as code, was otherwise"
            if event == "notice":
                told = Control.RESTART if code == _RESTART else Control.INFO
                self._control(rows, seq, recv_ns, conn, told, size=int(code))
            else:
                request = str(message.get("id", ""))
                number = int(request) if request.isascii() and request.isdigit() and len(request) < 18 else 0
                row = -1
                if isinstance(arg, dict):
                    channel = self.channel_of(str(arg.get("channel", "")), str(arg.get("instId", "")))
                    if channel in self.tables.channels:
                        row = self.tables.channel(channel)
                self._control(rows, seq, recv_ns, conn, Control.ERROR, channel=row, price=int(code), size=number)
        return None

    def _other(self, stream: str, row: int, data: list[Any], seq: int, recv_ns: int, rows: Rows) -> str | None:
        """Tickers, candles, mark and index prices, funding rates, liquidations."""
        if len(data) > MOST_ENTRIES:
            return f"expected at most {MOST_ENTRIES} entries, was {len(data)}"
        if stream == "liquidation-orders":
            return self._liquidations(data, seq, recv_ns, rows)
        first = rows.stop
        try:
            if stream == "tickers":
                self._tell_all("ticker", state.C_TICKERS, [self._ticker(row, entry, seq, recv_ns) for entry in data])
            elif stream.startswith("candle"):
                self._tell_all("candles", state.C_CANDLES, [_candle(row, entry, seq, recv_ns) for entry in data])
            else:
                for entry in data:
                    self._derivative(stream, row, entry, seq, recv_ns, rows)
        except (KeyError, TypeError, ValueError, OverflowError, IndexError, AttributeError) as error:
            rows.stop = first
            return f"expected a {stream} message, was otherwise: {error!r}"
        number(rows, first)
        return None

    def _ticker(self, row: int, entry: Any, seq: int, recv_ns: int) -> dict[str, Any]:
        values = {key: float(entry.get(own) or 0) for key, own in self.ticker.items()}
        values["change"] = values["last"] - float(entry.get("open24h") or 0)
        return {"seq": seq, "recv_ns": recv_ns, "channel": row, **values}

    def _derivative(self, stream: str, row: int, entry: Any, seq: int, recv_ns: int, rows: Rows) -> None:
        """Mark or index price, or the funding rate with the time it is due (`ref`, ns)."""
        exch_ns = ns_of(entry.get("ts") or 0)
        if stream == "mark-price":
            self._event(rows, seq, recv_ns, Kind.MARK, row, price=entry["markPx"], exch_ns=exch_ns)
        elif stream == "index-tickers":
            self._event(rows, seq, recv_ns, Kind.INDEX, row, price=entry["idxPx"], exch_ns=exch_ns)
        else:
            due_ns = ns_of(entry["fundingTime"])
            self._event(rows, seq, recv_ns, Kind.FUNDING, row, price=entry["fundingRate"], ref=due_ns, exch_ns=exch_ns)
        self._counts[state.C_DERIVATIVES] += 1

    def _liquidations(self, data: list[Any], seq: int, recv_ns: int, rows: Rows) -> str | None:
        """Those of instruments that the tables know: the stream tells of every one of its type."""
        known = {one.symbol for one in self.tables.instruments if one.venue == self.venue}
        told: list[tuple[int, str, str, int, int]] = []
        first = -1
        try:
            for entry in data:
                symbol = str(entry["instId"])
                row = self._liquidated(symbol) if symbol in known else -1
                for order in entry["details"] if row >= 0 else ():
                    side = {"buy": 1, "sell": -1}[order["side"]]
                    told.append((row, str(order["bkPx"]), str(order["sz"]), side, ns_of(order["ts"])))
            if len(told) > MOST_ENTRIES:
                return f"expected at most {MOST_ENTRIES} liquidations, was {len(told)}"
            first = rows.stop
            for row, price, size, side, exch_ns in told:
                self._event(
                    rows, seq, recv_ns, Kind.LIQUIDATION, row, price=price, size=size, side=side, exch_ns=exch_ns
                )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            rows.stop = first if first >= 0 else rows.stop
            return f"expected a liquidation-orders message, was otherwise: {error!r}"
        number(rows, first)
        self._counts[state.C_LIQUIDATIONS] += len(told)
        return None

    def _liquidated(self, symbol: str) -> int:
        """The row of the channel that liquidations of `symbol` go to, -1 where the table is full.

        It has no SUBSCRIBED row of its own: what was subscribed is the stream of its type.
        """
        channel = Channel(self.venue, symbol, "liquidations")
        if len(self.tables.channels) >= MAX_CHANNELS and channel not in self.tables.channels:
            return -1
        return self.tables.channel(channel)

    # the splice

    def _asked(self, request: str) -> Channel | None:
        match = _REQUEST.search(request)
        if match is None:
            return None
        books = [
            channel
            for channel in self.tables.channels
            if channel.stream == "book" and channel.symbol == match[1] and channel.venue == self.venue
        ]
        live = [channel for channel in books if self._cell_of(channel) is not None]
        return (live or books or [Channel(self.venue, match[1], "book", "", "books", _BOOKS["books"])])[0]

    def _read_snapshot(self, body: bytes) -> Snapshot | None:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        if answer.code != "0" or len(answer.data) != 1:
            return None
        return read_levels(bytes(answer.data[0]), last=_SEQ, bids=_BIDS, asks=_ASKS)

    def _fitting(self, cell: np.void, snapshot: Snapshot) -> list[Held] | None:
        return super()._fitting(cell, snapshot) if cell["option"] == scanner.SEQUENCED else None

    def _joins(self, last: int, first: int, until: int, prev: int) -> int:
        if prev == last:  # numbers may begin anew after a maintenance
            return 0
        if until <= last:
            return -1
        return 0 if prev <= last else 1


_SEQ, _BIDS, _ASKS = name("seqId"), name("bids"), name("asks")


def _unnumbered(message: dict[str, Any]) -> bool:
    """Whether a snapshot has no `seqId`."""
    entries = message["data"]
    snapshot = message.get("action") == "snapshot"
    return snapshot and bool(entries) and all(isinstance(e, dict) and "seqId" not in e for e in entries)


def ns_of(ms: str | int) -> int:
    """A time in ms as ns; ValueError where it is none that 64 bits hold."""
    value = int(ms)
    if not 0 <= value < 9_000_000_000_000:
        raise ValueError(f"expected a time in ms, was {ms!r}")
    return value * _MS


def _candle(row: int, entry: Any, seq: int, recv_ns: int) -> dict[str, Any]:
    """Written out, as a first message brings a thousand of them."""
    return {
        "seq": seq,
        "recv_ns": recv_ns,
        "channel": row,
        "mts": int(entry[0]),
        "open": float(entry[1]),
        "high": float(entry[2]),
        "low": float(entry[3]),
        "close": float(entry[4]),
        "volume": float(entry[5]),
    }


def number(rows: Rows, first: int) -> None:
    """Give the rows from `first` on their places in their record."""
    rows.array["part"][first : rows.stop] = np.arange(rows.stop - first)
