"""Kraken v2 for the fault schedules: snapshots by stream, every message of a book with a checksum of its best ten."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from data_controller.exchanges.kraken.decoder import KrakenDecoder
from data_controller.exchanges.kraken.subscriptions import KrakenSubscriptions
from data_controller.simulator import view
from data_controller.simulator.exchange import Exchange, Frame
from data_controller.simulator.kraken.venue import KrakenVenue
from data_controller.simulator.state import EVENT, SNAPSHOT
from data_controller.simulator.view import AMOUNT_DECIMALS

from .client import Client
from .styles import Entry, Link, Style, TrueSides, price_of, row_of

_CHECKSUM = re.compile(rb'"checksum":(\d+)')


class Kraken(Style):
    """The truth is the book, cut to its depth, as of the last frame of its channel that the client was given.

    Nothing but the checksum shows a lost frame. So a channel on whose way something happened to a frame counts as
    falsified from then on: its book must be right as far as the checksum reaches, where the checksum said so.
    """

    name = "kraken"
    decoder = KrakenDecoder
    subscriptions = KrakenSubscriptions
    checked = 10
    sequenced = False
    junk = (
        b'{"method":"subscribe","success":false,"error":"what","req_id":"x"}',
        b'{"method":"subscribe","success":true,"result":[]}',
        b'{"method":"subscribe","success":true,"result":{"channel":"book","symbol":"BTC/USD","depth":7}}',
        b'{"method":"pong","req_id":4}',
        b'{"error":"Malformed request","success":false}',
        b'{"channel":"book","type":"update","data":[]}',
        b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD"}]}',
        b'{"channel":"book","type":"what","data":[{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":1}]}',
        b'{"channel":"instrument","type":"update","data":{"pairs":[{"symbol":1}]}}',
        b'{"channel":"status","type":"update","data":[{"system":"online"}]}',
        b'{"channel":7,"data":[]}',
    )

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self.venue = KrakenVenue(exchange)
        self._books: list[dict[int, view.Book]] = [{} for _ in self.venue.symbols]  # by stamp, all there were
        self._last: dict[int, tuple[int, int]] = {}  # channel row -> stamp of the last frame given, its channel id
        self.moved()

    @staticmethod
    def symbols(settings: Any) -> list[str]:
        return ["t" + symbol.replace("/", "") for symbol in settings.instruments]

    def session(self, url: str) -> Any:
        session = self.venue.open(urlsplit(url).path)
        assert session is not None, f"expected a path of the venue, was {url}"
        return session

    def moved(self) -> None:
        for books, moments in zip(self._books, self.venue.moments, strict=True):
            for moment in reversed(moments):
                if moment.stamp in books:
                    break
                books[moment.stamp] = moment.book

    def given(self, client: Client, conn: int, link: Link, frame: Frame) -> set[int]:
        link.ever.update(link.session.channels)
        stream = link.ever.get(frame.chan_id)
        if stream is None or stream.channel != "book" or not frame.seq:
            return set()
        row = row_of(client, conn, stream.symbol)
        if row < 0:
            return set()
        self._last[row] = frame.seq, frame.chan_id
        return {row}

    def truth(self, client: Client, row: int, conn: int, link: Link) -> tuple[TrueSides, bool] | None:
        stamp, chan_id = self._last.get(row, (0, 0))
        channel = client.tables.channels[row]
        i = self.venue.row_of[channel.symbol]
        book = self._books[i].get(stamp)
        if book is None:
            return None
        places = self.venue.places[i]
        bids, asks = (
            [Entry(price_of(k, places), (amount, AMOUNT_DECIMALS)) for k, amount in side.items()]
            for side in self.venue.windows(book, channel.length)
        )
        return (bids, asks), chan_id in link.tainted

    def event_of(self, frame: Frame) -> str:
        if frame.kind == SNAPSHOT and frame.data.startswith(b'{"channel":"instrument"'):
            return "conf"
        if frame.kind != EVENT:
            return ""
        message = json.loads(frame.data)
        if message.get("success") is not True:
            return "answer"
        return {"subscribe": "subscribed", "unsubscribe": "unsubscribed"}.get(message["method"], "answer")

    def breaks(self, frame: Frame, by: int) -> list[Frame]:
        found = _CHECKSUM.search(frame.data)
        assert found is not None, f"expected a checksum, was {frame.data!r}"
        wrong = b"%d" % (int(found[1]) ^ by)
        return [frame._replace(data=frame.data[: found.start(1)] + wrong + frame.data[found.end(1) :])]

    def entry(self, frame: Frame) -> tuple[int, int]:
        return frame.data.index(b'"bids"'), frame.data.index(b'"checksum"')

    def kick(self, link: Link, chan_id: int) -> None:
        stream = link.session.channels[chan_id]
        link.session.handle(
            json.dumps({"method": "unsubscribe", "params": {"channel": stream.name, "symbol": [stream.symbol]}})
        )

    def maintain(self, link: Link, on: bool, said: bool) -> None:
        self.exchange.halt(on)
        if said:
            status = {"system": "maintenance" if on else "online", "api_version": "v2"}
            text = json.dumps({"channel": "status", "type": "update", "data": [status]}, separators=(",", ":"))
            link.session.say(text.encode())
