"""A whole session without sockets on a virtual clock: simulated exchange, faulty wire, decoder, books, Subscriptions.

The wire is where faults act. What the exchange meant to send is kept beside it, so that after every frame a book that
says PROVED can be compared with what it should hold as of that frame's sequence on that connection.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Generator
from decimal import Decimal
from functools import lru_cache
from typing import Any

from data_controller.actions import Action, Alert, Open, Reconnect, Send
from data_controller.exchanges.bitfinex.settings import BitfinexSettings
from data_controller.ingest.backoff import delays
from data_controller.ingest.limiter import TokenBucket
from data_controller.ingest.settings import IngestSettings
from data_controller.market.layout import Proof
from data_controller.records import Kind
from data_controller.simulator.exchange import Exchange, Frame
from data_controller.simulator.session import Session
from data_controller.simulator.state import EVENT, SNAPSHOT, UPDATE
from data_controller.simulator.truth import ClientBook, parse

from .client import Client

S = 1_000_000_000
STEP_NS = 20_000_000
PULSE_NS = 100_000_000
LATENCY_NS = 10_000_000  # one way
CONNECT_NS = 60_000_000
CHECKED = 25  # entries a side that a checksum covers

Mangle = Callable[[Frame], list[Frame] | None]
"""Takes a frame as sent; the frames that go on instead, or None where it has nothing to do with this one."""


class Link:
    """One connection from the exchange's side, its wire, and the true books as of what the client was given."""

    def __init__(self, exchange: Exchange) -> None:
        self.session = Session(exchange)
        self._ever: dict[int, dict[str, Any]] = {}
        self.wire: deque[tuple[int, Frame]] = deque()  # (due, frame)
        self.mangles: list[Mangle] = []
        self.stalled_until_ns = 0
        self.closing_ns = 0  # the exchange hangs up at this time; 0 never
        self.meant: deque[Frame] = deque()  # sent, not yet part of `truth`
        self.truth: dict[int, ClientBook] = {}
        self.tainted: set[int] = set()  # channel ids whose data was falsified in a way only a checksum can show

    def send(self, frame: Frame, now_ns: int) -> None:
        """Put a frame of the exchange on the wire, past the faults that wait for it."""
        self.meant.append(frame)
        frames = [frame]
        for mangle in list(self.mangles):
            instead = mangle(frame)
            if instead is not None:
                frames = instead
                break
        self.wire.extend((now_ns + LATENCY_NS, f) for f in frames)

    def advance_truth(self, seq: int) -> set[int]:
        """Bring the true books to sequence `seq`; the channel ids that changed."""
        changed: set[int] = set()
        while self.meant and self.meant[0].seq <= seq:
            frame = self.meant.popleft()
            if frame.kind not in (SNAPSHOT, UPDATE) or frame.chan_id not in self._books():
                continue
            payload = parse(frame.data)[1]
            book = self.truth.get(frame.chan_id)
            if book is None or frame.kind == SNAPSHOT:
                raw = self._books()[frame.chan_id]["prec"] == "R0"
                book = self.truth[frame.chan_id] = ClientBook(raw)
            try:
                book.apply(payload)
            except KeyError:
                # Where the exchange forgot something, what it sends does not fit together, to whomever.
                assert frame.chan_id in self.tainted, f"the exchange deletes what is not there: {frame.data!r}"
            changed.add(frame.chan_id)
        return changed

    def _books(self) -> dict[int, dict[str, Any]]:
        """Book channels ever open here: closed ones may still have frames on the wire."""
        for chan_id, fields in self.session.channels.items():
            if fields["channel"] == "book":
                self._ever[chan_id] = fields
        return self._ever


class World:
    """Client and exchange; `violations` are the sentences that must not be."""

    def __init__(self, seed: int, settings: BitfinexSettings, frames_per_second: float = 24.0) -> None:
        self.rng = random.Random(seed)
        self.exchange = Exchange(seed + 1, list(settings.instruments), ticks_per_second=frames_per_second)
        self.now_ns = self.exchange.now_ns
        self.violations: list[str] = []
        self.compared = 0
        self.frames = 0
        self.alerts: list[Alert] = []
        self.links: dict[int, Link] = {}
        self.refuse_connections_until_ns = 0
        self.on_link: list[Callable[[Link], None]] = []  # one-shot, for the next connection
        self.lose_requests = 0
        self._later: list[tuple[int, Callable[[], None]]] = []
        self.client = Client(settings, self._perform)
        self._records: deque[tuple[Kind, int]] = deque()
        self._requests: deque[tuple[int, int, Link, bytes]] = deque()
        self._opening: dict[int, int] = {}
        self._opened_ns: dict[int, int] = {}
        self._delays: dict[int, Generator[float, float, None]] = {}
        self._limiter = TokenBucket()
        self._pulse_ns = self.now_ns
        self.client.start(self.now_ns)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Have `what` happen after `seconds`."""
        self._later.append((self.now_ns + int(seconds * S), what))

    @property
    def ahead(self) -> int:
        """How many things `later` has still to do."""
        return len(self._later)

    def step(self) -> None:
        """Let 20 ms pass."""
        self.now_ns += STEP_NS
        now_ns = self.now_ns
        for due in [item for item in self._later if item[0] <= now_ns]:
            self._later.remove(due)
            due[1]()
        for conn, due_ns in list(self._opening.items()):
            if now_ns >= due_ns:
                self._open(conn)
        self.exchange.advance(now_ns)
        while self._requests and self._requests[0][0] <= now_ns:
            _, conn, link, payload = self._requests.popleft()
            if self.links.get(conn) is link:
                self._drain(link)
                link.session.handle(payload)
        for conn, link in list(self.links.items()):
            self._drain(link)
            self._deliver(conn, link)
            if link.closing_ns and now_ns >= link.closing_ns:
                self.hang_up(conn)
        while now_ns - self._pulse_ns >= PULSE_NS:
            self._pulse_ns += PULSE_NS
            self.client.pulse(self.now_ns)
            self._consume()

    def hang_up(self, conn: int) -> None:
        """The connection ends, from whichever side; what is on the wire is lost."""
        link = self.links.pop(conn, None)
        if link is not None:
            link.session.close()
            self._records.append((Kind.CLOSED, conn))
            self._consume()

    # The exchange's side

    def _drain(self, link: Link) -> None:
        for frame in link.session.take():
            link.send(frame, self.now_ns)

    def _open(self, conn: int) -> None:
        del self._opening[conn]
        if self.now_ns < self.refuse_connections_until_ns:
            self._opening[conn] = self.now_ns + self._wait_ns(conn, 0.0)
            return
        link = self.links[conn] = Link(self.exchange)
        while self.on_link:
            self.on_link.pop(0)(link)
        self._opened_ns[conn] = self.now_ns
        self._records.append((Kind.OPENED, conn))
        self._consume()

    def _wait_ns(self, conn: int, lasted_s: float) -> int:
        pace = self._delays.get(conn)
        if pace is None:
            s = IngestSettings()
            pace = self._delays[conn] = delays(self.rng, s.reconnect_first_s, s.reconnect_max_s, s.stable_after_s)
            delay_s = next(pace)
        else:
            delay_s = pace.send(lasted_s)
        at_ns = self.now_ns + int(delay_s * S)
        while wait_ns := self._limiter.take(at_ns):
            at_ns += wait_ns
        return at_ns - self.now_ns + CONNECT_NS

    # The client's side

    def _deliver(self, conn: int, link: Link) -> None:
        while link.wire and link.wire[0][0] <= self.now_ns >= link.stalled_until_ns:
            _, frame = link.wire.popleft()
            if self.links.get(conn) is not link:
                return  # given up meanwhile
            self._receive(conn, link, frame)

    def _receive(self, conn: int, link: Link, frame: Frame) -> None:
        self.frames += 1
        changed = link.advance_truth(frame.seq)
        checks_ok = self.client.books.books["checks_ok"].copy()
        touched = self.client.record(Kind.FRAME, conn, self.now_ns, frame.data)
        self._consume()
        rows = {row for row, at in self.client.serving.items() if at[0] == conn and at[1] in changed} | touched
        for row in sorted(rows):
            self._compare(row, int(self.client.books.books["checks_ok"][row]) > int(checks_ok[row]))

    def _consume(self) -> None:
        """Hand over what the shell recorded besides frames."""
        while self._records:
            kind, conn = self._records.popleft()
            self.client.record(kind, conn, self.now_ns)

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Open(conn=conn):
                    lasted_s = (self.now_ns - self._opened_ns.get(conn, self.now_ns)) / S
                    self._opening[conn] = self.now_ns + self._wait_ns(conn, lasted_s)
                case Send(conn=conn, payload=payload):
                    link = self.links.get(conn)
                    if link is None:
                        continue
                    if self.lose_requests:
                        self.lose_requests -= 1
                        continue
                    self._requests.append((self.now_ns + LATENCY_NS, conn, link, payload))
                case Reconnect(conn=conn):
                    link = self.links.pop(conn, None)
                    if link is not None:
                        link.session.close()
                        self._records.append((Kind.CLOSED, conn))
                case Alert():
                    self.alerts.append(action)

    # The truth

    def _compare(self, row: int, just_checked: bool) -> None:
        """The rule: PROVED means equal to the true book; what was falsified counts when a checksum said it is right."""
        book = self.client.books.books[row]
        if book["usable"] and book["proof"] != Proof.PROVED:
            self.violations.append(f"{self._name(row)} is usable and {Proof(int(book['proof'])).name}")
        if book["proof"] != Proof.PROVED:
            return
        conn, chan_id = self.client.serving.get(row, (-1, 0))
        link = self.links.get(conn)
        if link is None or chan_id not in link.truth:
            self.violations.append(f"{self._name(row)} is PROVED and nobody serves it")
            return
        falsified = chan_id in link.tainted
        if falsified and not just_checked:
            return
        self.compared += 1
        raw = link.truth[chan_id].raw
        for side, true in zip((+1, -1), link.truth[chan_id].sides(), strict=True):
            own = self.client.books.side(row, side)
            if falsified:
                own, true = own[:CHECKED], true[:CHECKED]
            price, count = (1, 0) if raw else (0, 1)
            digits, scales = own["size_digits"].tolist(), own["size_scale"].tolist()
            same = (
                own["price"].tolist() == [float(entry[price]) for entry in true]
                and list(zip(digits, scales, strict=True)) == [exact(entry[2]) for entry in true]
                and (falsified or own["ref"].tolist() == [int(entry[count]) for entry in true])
            )
            if not same:
                how = "by a checksum" if falsified else "by all it was sent"
                self.violations.append(f"{self._name(row)} is PROVED {how} and differs, side {side}, at {self._at()}")
                return

    def compare_with_exchange(self) -> None:
        """Compare the true books themselves with the exchange's own state, where nothing is on the wire.

        Not those that the exchange itself falsified, nor those it closed without the client having heard of it.
        """
        for row, (conn, chan_id) in self.client.serving.items():
            channel = self.client.tables.channels[row]
            link = self.links.get(conn)
            if channel.stream != "book" or link is None or link.wire or link.meant or chan_id not in link.truth:
                continue
            if chan_id in link.tainted or chan_id not in link.session.channels:
                continue
            want = self.exchange.true_book(channel.symbol, channel.precision, channel.length)
            if link.truth[chan_id].sides() != (want.bids, want.asks):
                self.violations.append(f"the log of {self._name(row)} differs from the exchange at {self._at()}")

    def _name(self, row: int) -> str:
        channel = self.client.tables.channels[row]
        return f"{channel.symbol} {channel.precision}/{channel.length}"

    def _at(self) -> str:
        return f"{(self.now_ns - 1_700_000_000 * S) / S:.2f} s"


@lru_cache(1 << 16)
def exact(text: str) -> tuple[int, int]:
    """Digits and digits after the point of a number's text, sign dropped."""
    if "e" in text:
        text = format(Decimal(text), "f")
    whole, _, rest = text.lstrip("-").partition(".")
    return int(whole + rest), len(rest)


def event_of(frame: Frame) -> str:
    """The `event` of an unnumbered frame, empty for others."""
    return str(json.loads(frame.data)["event"]) if frame.kind == EVENT else ""
