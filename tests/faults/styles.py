"""What the fault schedules must know of a proof style: sessions, truth, what its frames are; one object a world."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from data_controller.exchanges.bitfinex.decoder import BitfinexDecoder
from data_controller.exchanges.bitfinex.subscriptions import BitfinexSubscriptions
from data_controller.market.tables import Channel
from data_controller.simulator import view
from data_controller.simulator.exchange import STEP_NS, Exchange, Frame
from data_controller.simulator.session import Session
from data_controller.simulator.state import CHECK, EVENT, SNAPSHOT, UPDATE
from data_controller.simulator.truth import ClientBook, parse

from .client import Client

Mangle = Callable[[Frame], list[Frame] | None]
"""Takes a frame as sent; the frames that go on instead, or None where it has nothing to do with this one."""


class Entry(NamedTuple):
    """An entry of a true book; `ref` is None where the venue tells none."""

    price: float
    size: tuple[int, int]  # digits, and how many of them stand after the point
    ref: int | None = None


TrueSides = tuple[list[Entry], list[Entry]]
"""Bids and asks, best first."""


class Link:
    """One connection from the exchange's side and its wire."""

    def __init__(self, style: Style, session: Any) -> None:
        self.style = style
        self.session: Any = session
        self.wire: deque[tuple[int, Frame]] = deque()  # (due, frame)
        self.mangles: list[Mangle] = []
        self.stalled_until_ns = 0
        self.closing_ns = 0  # the exchange hangs up at this time; 0 never
        self.meant: deque[Frame] = deque()  # sent, not yet part of `truth`
        self.truth: dict[int, ClientBook] = {}
        self.tainted: set[int] = set()  # channel ids whose data was falsified in a way only a checksum can show
        self.ever: dict[int, Any] = {}  # channels ever open here: closed ones may still have frames on the wire

    def send(self, frame: Frame, now_ns: int, latency_ns: int) -> None:
        """Put a frame of the exchange on the wire, past the faults that wait for it."""
        self.style.sent(self, frame)
        frames = [frame]
        for mangle in list(self.mangles):
            instead = mangle(frame)
            if instead is not None:
                if not self.style.sequenced:
                    self.tainted.add(frame.chan_id)
                frames = instead
                break
        self.wire.extend((now_ns + latency_ns, f) for f in frames)


class Style(ABC):
    """A venue as the fault schedules see it, and the truth about its books as of what the client was given."""

    name: ClassVar[str]
    decoder: ClassVar[Any]
    subscriptions: ClassVar[Any]
    checked: ClassVar[int]  # entries a side that a checksum covers; 0: there is none
    sequenced: ClassVar[bool]  # whether a sequence shows that a frame was lost, so that only falsified ones need a sum
    junk: ClassVar[tuple[bytes, ...]] = ()
    step_ns: ClassVar[int] = STEP_NS  # how often the market is looked at; what follows it by the step misses nothing
    depth: ClassVar[int] = 60  # orders a side of the market: few, so that a schedule is short

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    @staticmethod
    def symbols(settings: Any) -> list[str]:
        """The simulated market's names of the instruments of `settings`."""
        return list(settings.instruments)

    @abstractmethod
    def session(self, url: str) -> Any:
        """A new connection to the exchange."""

    def fetch(self, url: str) -> tuple[int, bytes]:
        """Status and body of a REST answer."""
        raise AssertionError(f"expected a venue that is fetched from, was {self.name}: {url}")

    def moved(self) -> None:
        """The market ran on."""
        return

    def payload(self, data: bytes) -> bytes:
        """What the shell makes of bytes to be sent."""
        return data

    def sent(self, link: Link, frame: Frame) -> None:
        """The exchange sent a frame."""
        return

    @abstractmethod
    def given(self, client: Client, conn: int, link: Link, frame: Frame) -> set[int]:
        """The client is about to be given `frame`: rows of the books whose truth that changes."""

    def subscribed(self, row: int) -> None:
        """The client heard that the stream of a book begins."""
        return

    def answered(self, row: int, body: bytes) -> None:
        """The client put its book on the snapshot in `body`."""
        return

    @abstractmethod
    def truth(self, client: Client, row: int, conn: int, link: Link) -> tuple[TrueSides, bool] | None:
        """The book as it must be, and whether it was falsified on the way; None where nobody serves it."""

    def differences(self, client: Client, links: dict[int, Link]) -> list[str]:
        """Books whose truth differs from the exchange's own state, where nothing is on the wire."""
        return []

    @abstractmethod
    def event_of(self, frame: Frame) -> str:
        """subscribed, unsubscribed or conf where the frame says that, else empty or another word."""

    def is_book(self, link: Link, frame: Frame) -> bool:
        """Whether a frame is of a book."""
        return frame.kind in (SNAPSHOT, UPDATE) and frame.chan_id in link.session.channel_ids(channel="book")

    def is_check(self, link: Link, frame: Frame) -> bool:
        """Whether a frame brings a checksum."""
        return self.is_book(link, frame)

    @abstractmethod
    def breaks(self, frame: Frame, by: int) -> list[Frame]:
        """What to send in place of a frame that `is_check`, so that its book breaks; `by` is a number above 0."""

    def entry(self, frame: Frame) -> tuple[int, int]:
        """Where in an update of a book the first of its entries stands."""
        return frame.data.index(b",["), frame.data.index(b"]")

    def spoil(self, kind: str, count: int) -> None:
        """The next `count` REST answers are spoiled."""
        raise AssertionError(f"expected a venue that is fetched from, was {self.name}")

    def heal(self) -> None:
        """REST answers are good again."""
        return

    def kick(self, link: Link, chan_id: int) -> None:
        """The exchange ends a subscription unasked."""
        raise AssertionError(f"expected a venue that says what it ends, was {self.name}")

    def maintain(self, link: Link, on: bool, said: bool) -> None:
        """The exchange says on a connection that maintenance begins or, where `said`, ends."""
        raise AssertionError(f"expected a venue that tells of its maintenance, was {self.name}")


class Bitfinex(Style):
    """Numbered frames on a connection, and a checksum every so often."""

    name = "bitfinex"
    decoder = BitfinexDecoder
    subscriptions = BitfinexSubscriptions
    checked = 25
    sequenced = True
    step_ns = 20_000_000
    depth = 220
    junk = (
        b'{"event":1}',
        b'{"event":"subscribed"}',
        b'{"event":"subscribed","channel":"book","chanId":"x","symbol":"tBTCUSD"}',
        b'{"event":"info","code":"x"}',
        b'{"event":"error","code":10000,"msg":"what"}',
        b'{"event":"error","code":10305,"msg":"limit"}',
        b'{"event":"pong","ts":1}',
        b"[9999999,[1,1,1],1,1700000000000]",
        b'[9999999,"hb"]',
        b"[1,[NaN,1,1],7,1700000000000]",
    )

    def session(self, url: str) -> Any:
        return Session(self.exchange)

    def sent(self, link: Link, frame: Frame) -> None:
        link.meant.append(frame)

    def given(self, client: Client, conn: int, link: Link, frame: Frame) -> set[int]:
        changed: set[int] = set()
        while link.meant and link.meant[0].seq <= frame.seq:
            meant = link.meant.popleft()
            if meant.kind not in (SNAPSHOT, UPDATE) or meant.chan_id not in self._books(link):
                continue
            payload = parse(meant.data)[1]
            book = link.truth.get(meant.chan_id)
            if book is None or meant.kind == SNAPSHOT:
                raw = self._books(link)[meant.chan_id]["prec"] == "R0"
                book = link.truth[meant.chan_id] = ClientBook(raw)
            try:
                book.apply(payload)
            except KeyError:
                # Where the exchange forgot something, what it sends does not fit together, to whomever.
                assert meant.chan_id in link.tainted, f"the exchange deletes what is not there: {meant.data!r}"
            changed.add(meant.chan_id)
        return {row for row, at in client.serving.items() if at[0] == conn and at[1] in changed}

    @staticmethod
    def _books(link: Link) -> dict[int, Any]:
        for chan_id, fields in link.session.channels.items():
            if fields["channel"] == "book":
                link.ever[chan_id] = fields
        return link.ever

    def truth(self, client: Client, row: int, conn: int, link: Link) -> tuple[TrueSides, bool] | None:
        chan_id = client.serving[row][1]
        book = link.truth.get(chan_id)
        if book is None:
            return None
        price, count = (1, 0) if book.raw else (0, 1)
        bids, asks = ([Entry(float(e[price]), exact(e[2]), int(e[count])) for e in side] for side in book.sides())
        return (bids, asks), chan_id in link.tainted

    def differences(self, client: Client, links: dict[int, Link]) -> list[str]:
        """Not of books that the exchange itself falsified, nor of those it closed without the client knowing."""
        found = []
        for row, (conn, chan_id) in client.serving.items():
            channel = client.tables.channels[row]
            link = links.get(conn)
            if channel.stream != "book" or link is None or link.wire or link.meant or chan_id not in link.truth:
                continue
            if chan_id in link.tainted or chan_id not in link.session.channels:
                continue
            want = self.exchange.true_book(channel.symbol, channel.precision, channel.length)
            if link.truth[chan_id].sides() != (want.bids, want.asks):
                found.append(title(channel))
        return found

    def event_of(self, frame: Frame) -> str:
        return str(json.loads(frame.data)["event"]) if frame.kind == EVENT else ""

    def is_check(self, link: Link, frame: Frame) -> bool:
        return frame.kind == CHECK

    def is_book(self, link: Link, frame: Frame) -> bool:
        return frame.kind in (SNAPSHOT, UPDATE)

    def breaks(self, frame: Frame, by: int) -> list[Frame]:
        chan, tail = frame.data.split(b',"cs",', 1)
        value, rest = tail.split(b",", 1)
        return [frame._replace(data=chan + b',"cs",%d,' % (int(value) ^ by) + rest)]

    def kick(self, link: Link, chan_id: int) -> None:
        link.session.handle(b'{"event":"unsubscribe","chanId":%d}' % chan_id)

    def maintain(self, link: Link, on: bool, said: bool) -> None:
        self.exchange.maintenance = on
        self.exchange.halt(on)
        if said:
            link.session.info(20060 if on else 20061)


def title(channel: Channel) -> str:
    """What a person calls a book."""
    return f"{channel.symbol} {channel.precision}/{channel.length}"


@lru_cache(1 << 16)
def exact(text: str) -> tuple[int, int]:
    """Digits and digits after the point of a number's text, sign dropped."""
    if "e" in text:
        text = format(Decimal(text), "f")
    whole, _, rest = text.lstrip("-").partition(".")
    return int(whole + rest), len(rest)


@lru_cache(1 << 16)
def price_of(k: int, places: int) -> float:
    """The price that a further venue writes for grid price `k` with so many decimals."""
    return float(view.fixed_price(k, places))


def row_of(client: Client, conn: int, symbol: str, precision: str | None = None) -> int:
    """The row of the book of `symbol` that connection `conn` serves, -1 where it serves none."""
    for row, at in client.serving.items():
        channel = client.tables.channels[row]
        fits = channel.stream == "book" and channel.symbol == symbol
        if at[0] == conn and fits and precision in (None, channel.precision):
            return row
    return -1


def same(own: np.ndarray[Any, Any], true: list[Entry], with_refs: bool) -> bool:
    """Whether the LEVEL entries of a side are the true ones."""
    if own["price"].tolist() != [entry.price for entry in true]:
        return False
    sizes = list(zip(own["size_digits"].tolist(), own["size_scale"].tolist(), strict=True))
    if sizes != [entry.size for entry in true]:
        return False
    told = with_refs and bool(true) and true[0].ref is not None
    return not told or own["ref"].tolist() == [entry.ref for entry in true]
