"""Binance for the fault schedules: a stream of changes spliced to a fetched book, proved by its chain of update ids."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from urllib.parse import urlsplit

from data_controller.exchanges.binance.decoder import BinanceDecoder, BinanceUsdmDecoder
from data_controller.exchanges.binance.subscriptions import BinanceSubscriptions, BinanceUsdmSubscriptions
from data_controller.simulator import view
from data_controller.simulator.binance.venue import BinanceVenue
from data_controller.simulator.exchange import Exchange, Frame
from data_controller.simulator.state import EVENT
from data_controller.simulator.view import AMOUNT_DECIMALS

from .client import Client
from .styles import Entry, Link, Style, TrueSides, price_of, row_of


class Binance(Style):
    """The truth is the book as of the newest update id that the client was given: by its stream, or by a snapshot."""

    name = "binance"
    flavour = "spot"
    decoder = BinanceDecoder
    subscriptions: ClassVar[Any] = BinanceSubscriptions
    checked = 0
    sequenced = True
    junk = (
        b'{"error":{"code":2,"msg":"Invalid request"},"id":null}',
        b'{"error":{"code":"x"}}',
        b'{"code":-1003,"msg":"too many"}',
        b'{"result":7,"id":3}',
        b'{"stream":"btcusdt@depth@100ms","data":{"U":9,"u":3}}',
        b'{"stream":"btcusdt@depth@100ms","data":{"U":"9","u":"x"}}',
        b'{"stream":"btcusdt@depth@100ms","data":[]}',
        b'{"stream":"btcusdt@depth@100ms"}',
        b'{"stream":1,"data":{}}',
        b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","U":1,"u":9,"pu":0,"b":[["1.0"]],"a":[]}}',
    )

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self.venue = BinanceVenue(exchange, self.flavour)
        self._books: list[dict[int, view.Book]] = [{} for _ in self.venue.symbols]  # by update id, all there were
        self._newest: dict[int, int] = {}  # channel row -> newest update id that the client was given
        self.moved()

    @staticmethod
    def symbols(settings: Any) -> list[str]:
        return ["t" + symbol.removesuffix("T") for symbol in settings.instruments]

    def session(self, url: str) -> Any:
        session = self.venue.open(urlsplit(url).path)
        assert session is not None, f"expected a path of the venue, was {url}"
        return session

    def fetch(self, url: str) -> tuple[int, bytes]:
        parts = urlsplit(url)
        answer = self.venue.rest(f"{parts.path}?{parts.query}")
        return answer.status, answer.body

    def spoil(self, kind: str, count: int) -> None:
        self.venue.rest_faults[kind] = count

    def heal(self) -> None:
        self.venue.rest_faults.clear()

    def moved(self) -> None:
        for books, steps in zip(self._books, self.venue.steps, strict=True):
            for step in reversed(steps):
                if step.last in books:
                    break
                books[step.last] = step.book

    def given(self, client: Client, conn: int, link: Link, frame: Frame) -> set[int]:
        link.ever.update(link.session.channels)
        stream = link.ever.get(frame.chan_id)
        if stream is None or stream.channel != "book" or not frame.seq:
            return set()
        row = row_of(client, conn, stream.symbol)
        if row < 0:  # its first frame, which is how the client learns of it
            row = next(r for r in client.wanted if client.tables.channels[r].symbol == stream.symbol)
        self._newest[row] = max(self._newest.get(row, 0), frame.seq)
        return {row}

    def subscribed(self, row: int) -> None:
        self._newest.pop(row, None)

    def answered(self, row: int, body: bytes) -> None:
        self._newest[row] = max(self._newest.get(row, 0), int(json.loads(body)["lastUpdateId"]))

    def truth(self, client: Client, row: int, conn: int, link: Link) -> tuple[TrueSides, bool] | None:
        newest = self._newest.get(row)
        if newest is None:
            return None
        i = self.venue.row_of[client.tables.channels[row].symbol]
        book = self._books[i].get(newest)
        if book is None:  # a snapshot between two steps
            book = self.venue.book_at(i, newest)
            assert book is not None, f"expected a book as of {newest}"
            self._books[i][newest] = book
        places = self.venue.places[i]
        bids, asks = (
            [Entry(price_of(k, places), (amount, AMOUNT_DECIMALS)) for k, amount in sorted(side.items(), reverse=down)]
            for side, down in zip(book, (True, False), strict=True)
        )
        return (bids, asks), False

    def event_of(self, frame: Frame) -> str:
        if frame.kind != EVENT:
            return ""
        message = json.loads(frame.data)
        return "subscribed" if isinstance(message.get("result"), list) else "answer"

    def breaks(self, frame: Frame, by: int) -> list[Frame]:
        return []


class BinanceUsdm(Binance):
    """The futures: changes name the one before them."""

    name = "binance_usdm"
    flavour = "usdm"
    decoder = BinanceUsdmDecoder
    subscriptions = BinanceUsdmSubscriptions
