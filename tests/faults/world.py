"""A whole session without sockets on a virtual clock: simulated exchange, faulty wire, decoder, books, Subscriptions.

The wire is where faults act. What the exchange meant to send is kept beside it, so that after every frame a book that
says PROVED can be compared with what it should hold as of that frame's sequence on that connection.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from data_controller.actions import Action, Alert, Fetch, Open, Reconnect, Send
from data_controller.ingest.backoff import delays
from data_controller.ingest.limiter import TokenBucket
from data_controller.ingest.settings import IngestSettings
from data_controller.market.layout import Proof
from data_controller.records import Kind
from data_controller.simulator.exchange import Exchange, Frame

from .client import Client
from .styles import Bitfinex, Link, Style, same, title

S = 1_000_000_000
PULSE_NS = 100_000_000
LATENCY_NS = 10_000_000  # one way
CONNECT_NS = 60_000_000


class World:
    """Client and exchange; `violations` are the sentences that must not be."""

    def __init__(
        self, seed: int, settings: Any, style: type[Style] = Bitfinex, frames_per_second: float = 24.0
    ) -> None:
        self.rng = random.Random(seed)
        self.exchange = Exchange(
            seed + 1, style.symbols(settings), ticks_per_second=frames_per_second, depth=style.depth
        )
        self.style = style(self.exchange)
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
        self.lose_answers = 0  # of REST
        self.answers_take_s = (0.02, 0.3)
        self._urls: dict[int, str] = {}
        self._asked: list[tuple[int, int, Link, str]] = []  # due, connection, link, address
        self._answers: list[tuple[int, int, Link, str, int, bytes, int]] = []
        self.client = Client(settings, self._perform, style.decoder, style.subscriptions)
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
        """Let 20 or 50 ms pass."""
        self.now_ns += self.style.step_ns
        now_ns = self.now_ns
        for due in [item for item in self._later if item[0] <= now_ns]:
            self._later.remove(due)
            due[1]()
        for conn, due_ns in list(self._opening.items()):
            if now_ns >= due_ns:
                self._open(conn)
        self.exchange.advance(now_ns)
        self.style.moved()
        while self._requests and self._requests[0][0] <= now_ns:
            _, conn, link, payload = self._requests.popleft()
            if self.links.get(conn) is link:
                self._drain(link)
                link.session.handle(payload)
        for conn, link in list(self.links.items()):
            self._drain(link)
            self._deliver(conn, link)
            if link.session.hung_up:
                self.violations.append(f"the venue hung up: {link.session.hung_up}, at {self._at()}")
                self.hang_up(conn)
            elif link.closing_ns and now_ns >= link.closing_ns:
                self.hang_up(conn)
        self._rest()
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
            link.send(frame, self.now_ns, LATENCY_NS)

    def _rest(self) -> None:
        """Answer what was fetched, and let the client have answers that are due."""
        for item in [asked for asked in self._asked if asked[0] <= self.now_ns]:
            self._asked.remove(item)
            asked_at_ns, conn, link, url = item
            status, body = self.style.fetch(url)
            if self.lose_answers:
                self.lose_answers -= 1
                continue
            due_ns = self.now_ns + int(self.rng.uniform(*self.answers_take_s) * S)
            self._answers.append((due_ns, conn, link, url, status, body, asked_at_ns - LATENCY_NS))
        for answer in [answer for answer in self._answers if answer[0] <= self.now_ns]:
            self._answers.remove(answer)
            _, conn, link, url, status, body, asked_ns = answer
            if self.links.get(conn) is link:  # the shell drops what an earlier socket asked for
                self._answer(conn, url, status, body, asked_ns)

    def _open(self, conn: int) -> None:
        del self._opening[conn]
        if self.now_ns < self.refuse_connections_until_ns:
            self._opening[conn] = self.now_ns + self._wait_ns(conn, 0.0)
            return
        link = self.links[conn] = Link(self.style, self.style.session(self._urls[conn]))
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
        changed = self.style.given(self.client, conn, link, frame)
        checks_ok = self.client.books.books["checks_ok"].copy()
        touched = self.client.record(Kind.FRAME, conn, self.now_ns, frame.data)
        if self.client.subscribed:  # by this frame: what it says further comes behind
            self._subscribed()
            changed |= self.style.given(self.client, conn, link, frame)
        self._consume()
        for row in sorted(changed | touched):
            known = row < len(checks_ok)
            self._compare(row, known and int(self.client.books.books["checks_ok"][row]) > int(checks_ok[row]))

    def _answer(self, conn: int, url: str, status: int, body: bytes, asked_ns: int = 0) -> None:
        used = int(self.client.decoder.counters["fetched_in_vain"])
        touched = self.client.fetched(conn, url, status, body, self.now_ns, asked_ns)
        if int(self.client.decoder.counters["fetched_in_vain"]) == used:
            for row in touched:
                self.style.answered(row, body)
        self._consume()
        for row in sorted(touched):
            self._compare(row, False)

    def _subscribed(self) -> None:
        for row in self.client.subscribed:
            self.style.subscribed(row)
        self.client.subscribed.clear()

    def _consume(self) -> None:
        """Hand over what the shell recorded besides frames."""
        while self._records:
            kind, conn = self._records.popleft()
            self.client.record(kind, conn, self.now_ns)

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Open(conn=conn, url=url):
                    self._urls[conn] = url
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
                case Fetch(conn=conn, url=url):
                    link = self.links.get(conn)
                    if link is not None:
                        self._asked.append((self.now_ns + LATENCY_NS, conn, link, url))
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
        conn = self.client.serving.get(row, (-1, 0))[0]
        link = self.links.get(conn)
        found = None if link is None else self.style.truth(self.client, row, conn, link)
        if found is None:
            self.violations.append(f"{self._name(row)} is PROVED and nobody serves it, at {self._at()}")
            return
        sides, falsified = found
        if falsified and not just_checked:
            return
        self.compared += 1
        for side, true in zip((+1, -1), sides, strict=True):
            own = self.client.books.side(row, side)
            if falsified:
                own, true = own[: self.style.checked], true[: self.style.checked]
            if not same(own, true, with_refs=not falsified):
                how = "by a checksum" if falsified else "by all it was sent"
                self.violations.append(f"{self._name(row)} is PROVED {how} and differs, side {side}, at {self._at()}")
                return

    def compare_with_exchange(self) -> None:
        """Compare the true books themselves with the exchange's own state, where nothing is on the wire."""
        for name in self.style.differences(self.client, self.links):
            self.violations.append(f"the log of {name} differs from the exchange at {self._at()}")

    def _name(self, row: int) -> str:
        return title(self.client.tables.channels[row])

    def _at(self) -> str:
        return f"{(self.now_ns - 1_700_000_000 * S) / S:.2f} s"
