"""Connections and the channels placed on them: the state that Subscriptions moves, and what must always hold of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from data_controller.exchanges.bitfinex import requests
from data_controller.exchanges.bitfinex.settings import MAX_CONNECTIONS, BitfinexSettings
from data_controller.exchanges.streaming.backoff import Backoff
from data_controller.market.tables import Channel, Tables

VENUE = "bitfinex"
MAX_SLOTS = 2 * MAX_CONNECTIONS
"""Connections at any time: a reload may need new ones before the old ones are empty."""
MAX_STRAYS = 64
"""Subscriptions nobody asked for that one connection may show before it is reopened."""


class SlotState(IntEnum):
    """Where a connection stands."""

    IDLE = 0
    OPENING = 1
    CONFIGURING = 2
    READY = 3
    CLOSING = 4


class ChannelState(IntEnum):
    """Where a channel stands."""

    WAITING = 0
    SUBSCRIBING = 1
    LIVE = 2
    UNSUBSCRIBING = 3
    FAILED = 4


ASKED = (ChannelState.SUBSCRIBING, ChannelState.UNSUBSCRIBING)
"""States in which an answer is awaited."""


@dataclass(slots=True)
class Subscription:
    """One channel on its slot."""

    row: int  # row of the channel table
    request: bytes  # its subscribe message
    is_book: bool
    state: ChannelState = ChannelState.WAITING
    chan_id: int = 0  # the venue's id while LIVE or UNSUBSCRIBING, else 0
    since_ns: int = 0  # when `state` was entered
    deadline_ns: int = 0  # WAITING, FAILED: not before; SUBSCRIBING, UNSUBSCRIBING: answer due; LIVE: 0
    repeated: bool = False  # the request in flight was sent twice
    refusals: int = 0  # in a row
    given_up: int = 0  # times in a row; 0 once it is live
    resyncs: Backoff = field(default_factory=Backoff)
    wanted: bool = True  # False: goes away once the venue has let it go

    def wait(self, now_ns: int, due_ns: int) -> None:
        """Back to WAITING, to be asked for from `due_ns` on."""
        self.state, self.chan_id, self.repeated = ChannelState.WAITING, 0, False
        self.since_ns, self.deadline_ns = now_ns, due_ns


@dataclass(slots=True)
class Slot:
    """One connection."""

    conn: int
    limit: int  # channels it may carry; lower than the config's once the venue said so
    state: SlotState = SlotState.IDLE
    opened_ns: int = 0
    deadline_ns: int = 0  # CONFIGURING: answer to conf due; else 0
    maintenance_until_ns: int = 0  # 0: none
    refused_confs: int = 0  # in a row
    channels: dict[int, Subscription] = field(default_factory=dict)  # by channel row, in order of placement
    gapped: dict[int, None] = field(default_factory=dict)  # broken by GAP; the row that says why may still follow
    strays: dict[int, None] = field(default_factory=dict)  # ids that nobody wants, unsubscribed or about to be

    @property
    def open(self) -> bool:
        """True where rows of this connection mean anything."""
        return self.state in (SlotState.CONFIGURING, SlotState.READY)

    @property
    def talks(self) -> bool:
        """True where a channel may be asked for now."""
        return self.state is SlotState.READY and not self.maintenance_until_ns

    def asked(self, state: ChannelState) -> list[Subscription]:
        """Channels in `state`, in order of placement."""
        return [ch for ch in self.channels.values() if ch.state is state]

    def by_id(self, chan_id: int) -> Subscription | None:
        """The channel that holds the venue's id `chan_id`, None for 0."""
        return next((ch for ch in self.channels.values() if chan_id and ch.chan_id == chan_id), None)

    def forget(self, now_ns: int) -> None:
        """Nothing that was asked or granted on the old socket holds on the next one."""
        self.deadline_ns = self.maintenance_until_ns = 0
        self.gapped.clear()
        self.strays.clear()
        for row, ch in list(self.channels.items()):
            if ch.wanted:
                ch.wait(now_ns, now_ns)
                ch.refusals = 0
            else:
                del self.channels[row]


class Slots:
    """All slots of one venue, numbered from `first_conn` on; a slot is never removed, only idle."""

    def __init__(self, tables: Tables, first_conn: int) -> None:
        self.tables = tables
        self.story: deque[tuple[int, str, int, int]] = deque(maxlen=64)  # now_ns, event, connection, channel
        self._first_conn = first_conn
        self._slots: list[Slot] = []

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def by_conn(self, conn: int) -> Slot | None:
        """The slot of connection `conn`, None where it is another venue's."""
        index = conn - self._first_conn
        return self._slots[index] if 0 <= index < len(self._slots) else None

    def by_row(self, row: int) -> Slot | None:
        """The slot that carries channel `row`, None where none does."""
        return next((slot for slot in self._slots if row in slot.channels), None)

    def has_room(self, but: Slot) -> bool:
        """True where one more channel can be placed without slot `but`."""
        spare = any(len(slot.channels) < slot.limit for slot in self._slots if slot is not but)
        return spare or len(self._slots) < MAX_SLOTS

    def place(self, rows: list[int], limit: int) -> list[int]:
        """Put channels `rows` on the first slot that holds them all; a group beyond `limit` is cut.

        Returns the rows for which MAX_SLOTS connections leave no room.
        """
        for lo in range(0, len(rows), limit):
            part = rows[lo : lo + limit]
            slot = next((s for s in self._slots if len(s.channels) + len(part) <= s.limit), None)
            if slot is None:
                if len(self._slots) == MAX_SLOTS:
                    return rows[lo:]
                slot = Slot(self._first_conn + len(self._slots), limit)
                self._slots.append(slot)
            for row in part:
                channel = self.tables.channels[row]
                slot.channels[row] = Subscription(row, requests.subscribe(channel), channel.stream == "book")
        return []

    def dump(self) -> list[dict[str, Any]]:
        """Each connection with its channels, as plain values."""
        return [
            {
                "conn": slot.conn,
                "state": slot.state.name,
                "maintenance": bool(slot.maintenance_until_ns),
                "opened_ns": slot.opened_ns,
                "channels": [
                    {
                        **self.tables.channels[ch.row]._asdict(),
                        "row": ch.row,
                        "state": ch.state.name,
                        "chan_id": ch.chan_id,
                        "since_ns": ch.since_ns,
                        "refusals": ch.refusals,
                        "retry_ns": ch.deadline_ns if ch.state is ChannelState.FAILED else 0,
                    }
                    for ch in slot.channels.values()
                ],
            }
            for slot in self._slots
        ]

    def validate(self) -> None:
        """Check every invariant; AssertionError tells which failed and the events that led to it."""
        seen: dict[int, int] = {}
        for slot in self._slots:
            name = f"connection {slot.conn} ({slot.state.name})"
            self._must(len(slot.strays) <= MAX_STRAYS, f"{name} has {len(slot.strays)} strays")
            self._must((slot.deadline_ns > 0) == (slot.state is SlotState.CONFIGURING), f"{name} and its deadline")
            self._must(not slot.channels or slot.state is not SlotState.IDLE, f"{name} carries channels")
            self._must(slot.open or not slot.maintenance_until_ns, f"{name} is in maintenance")
            ids = [ch.chan_id for ch in slot.channels.values() if ch.chan_id]
            self._must(len(ids) == len(set(ids)), f"{name} has an id twice: {ids}")
            for row, ch in slot.channels.items():
                name = f"channel {row} ({ch.state.name}) on {name}"
                self._must(row == ch.row and row not in seen, f"{name} is also on {seen.get(row)}")
                seen[row] = slot.conn
                held = ch.state in (ChannelState.LIVE, ChannelState.UNSUBSCRIBING)
                self._must(held == (ch.chan_id != 0), f"{name} has id {ch.chan_id}")
                asked = ch.state in ASKED
                self._must(slot.state is SlotState.READY or not (asked or held), f"{name} needs a READY slot")
                self._must(
                    ch.deadline_ns > 0 or not (asked or ch.state is ChannelState.FAILED),
                    f"{name} waits without a deadline",
                )
                self._must(ch.wanted or asked or slot.maintenance_until_ns > 0, f"{name} is not wanted")

    def _must(self, holds: bool, what: str) -> None:
        assert holds, f"{what}; what led to it: {list(self.story)}"


def wanted(settings: BitfinexSettings) -> list[list[Channel]]:
    """Channels that `settings` asks for, those of an instrument together."""
    groups = []
    for symbol in settings.instruments:
        group = [Channel(VENUE, symbol, "book", b.precision, b.frequency, b.length) for b in settings.books]
        group += [Channel(VENUE, symbol, "trades")] if settings.trades else []
        group += [Channel(VENUE, symbol, "ticker")] if settings.tickers else []
        group += [Channel(VENUE, symbol, "candles", width) for width in settings.candles]
        groups.append(group)
    return groups
