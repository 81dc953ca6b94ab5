"""Connections of a venue of named streams and the channels placed on them: what Subscriptions move, what must hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from data_controller.exchanges.streaming.backoff import Backoff
from data_controller.exchanges.streaming.pace import Pace
from data_controller.market.tables import Channel, Tables

MAX_SLOTS = 256
"""Connections that one venue may have at any time."""
MAX_STRAYS = 64
"""Channels nobody asked for that one connection may show before it is reopened."""


class SlotState(IntEnum):
    """Where a connection stands."""

    IDLE = 0
    OPENING = 1
    GREETING = 2
    READY = 3
    CLOSING = 4


class ChannelState(IntEnum):
    """Where a channel stands."""

    WAITING = 0
    ASKED = 1
    LIVE = 2
    LEAVING = 3
    FAILED = 4


@dataclass(slots=True)
class Subscription:
    """One channel on its slot."""

    row: int  # row of the channel table
    channel: Channel
    state: ChannelState = ChannelState.WAITING
    request: int = 0  # ASKED, LEAVING: number of the request in flight, 0 while it is still to be sent
    since_ns: int = 0  # when `state` was entered, or its request was sent
    deadline_ns: int = 0  # WAITING, FAILED: not before; ASKED, LEAVING: answer due, 0 where none must come
    repeated: bool = False  # ASKED, LEAVING: sent twice, or about to be
    alone: bool = False  # a request that named it among others was refused: next time it is asked for by itself
    refusals: int = 0  # in a row
    given_up: int = 0  # times in a row; 0 once it is live
    wanted: bool = True  # False: goes away once the venue has let it go
    resyncs: Backoff = field(default_factory=Backoff)
    fetch_due_ns: int = 0  # LIVE: its snapshot is to be fetched from then on; 0: no
    fetch_deadline_ns: int = 0  # LIVE: it was, and its answer is due; 0: no
    in_vain: int = 0  # LIVE: snapshots in a row that did not fit
    fresh_ns: int = 0  # LIVE: when a snapshot was last asked for or promised

    @property
    def is_book(self) -> bool:
        """True where there is a book to keep right."""
        return self.channel.stream == "book"

    @property
    def fetching(self) -> bool:
        """True where a fetched snapshot is still to come."""
        return bool(self.fetch_due_ns or self.fetch_deadline_ns)

    def enter(self, state: ChannelState, now_ns: int, deadline_ns: int = 0) -> None:
        """Take `state` afresh: nothing in flight, nothing sent twice, no snapshot on its way."""
        self.state, self.since_ns, self.deadline_ns = state, now_ns, deadline_ns
        self.request, self.repeated = 0, False
        self.fetch_due_ns = self.fetch_deadline_ns = self.in_vain = 0


@dataclass(slots=True)
class Slot:
    """One connection."""

    conn: int
    url: str
    pace: Pace
    state: SlotState = SlotState.IDLE
    opened_ns: int = 0
    pinged_ns: int = 0  # when we last spoke to keep it alive
    deadline_ns: int = 0  # GREETING: answer due; else 0
    maintenance_until_ns: int = 0  # 0: none
    refused_greetings: int = 0  # in a row
    behind: bool = False  # requests wait for the pace
    unconfirmed: bool = False  # something was asked whose answer names no channel
    channels: dict[int, Subscription] = field(default_factory=dict)  # by channel row, in order of placement
    gapped: dict[int, None] = field(default_factory=dict)  # broken by GAP; the row that says why may still follow
    strays: dict[int, int] = field(default_factory=dict)  # rows nobody asked for -> until when; 0: not unsubscribed yet

    @property
    def open(self) -> bool:
        """True where rows of this connection mean anything."""
        return self.state in (SlotState.GREETING, SlotState.READY)

    @property
    def talks(self) -> bool:
        """True where a channel may be asked for now."""
        return self.state is SlotState.READY and not self.maintenance_until_ns

    def in_flight(self, request: int) -> list[Subscription]:
        """Channels that request number `request` named and that still await its answer; none for 0."""
        return [ch for ch in self.channels.values() if request and ch.request == request]

    def settled(self) -> bool:
        """True where nothing is under way: empty, or READY with every channel LIVE or FAILED and every snapshot in."""
        if not self.channels:
            return True
        done = (ChannelState.LIVE, ChannelState.FAILED)
        return self.talks and all(ch.state in done and not ch.fetching for ch in self.channels.values())


class Slots:
    """All slots of one venue, numbered from `first_conn` on; a slot is never removed, only idle."""

    def __init__(self, tables: Tables, first_conn: int) -> None:
        self.tables = tables
        self.story: deque[tuple[int, str, int, int]] = deque(maxlen=64)  # now_ns, event, connection, channel
        self._first_conn = first_conn
        self._slots: list[Slot] = []
        self._carrier: dict[int, Slot] = {}  # by channel row

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def by_conn(self, conn: int) -> Slot | None:
        """The slot of connection `conn`, None where it is another venue's."""
        index = conn - self._first_conn
        return self._slots[index] if 0 <= index < len(self._slots) else None

    def find(self, row: int) -> tuple[Slot, Subscription] | None:
        """Channel `row` with the slot that carries it, None where none does."""
        slot = self._carrier.get(row)
        return None if slot is None else (slot, slot.channels[row])

    def place(self, rows: list[int], url: str, limit: int, requests_per_s: float) -> list[int]:
        """Put channels `rows` on the first slot of `url` that holds them all; a group beyond `limit` is cut.

        Returns the rows for which MAX_SLOTS connections leave no room.
        """
        for lo in range(0, len(rows), limit):
            part = rows[lo : lo + limit]
            slot = self._with_room(url, limit - len(part))
            if slot is None:
                if len(self._slots) == MAX_SLOTS:
                    return rows[lo:]
                slot = Slot(self._first_conn + len(self._slots), url, Pace(requests_per_s))
                self._slots.append(slot)
            slot.url = url
            for row in part:
                slot.channels[row] = Subscription(row, self.tables.channels[row])
                self._carrier[row] = slot
        return []

    def _with_room(self, url: str, most: int) -> Slot | None:
        for slot in self._slots:
            # Whoever is about to be opened for nothing can go elsewhere as well.
            free = not slot.channels and slot.state in (SlotState.IDLE, SlotState.CLOSING)
            if (free or slot.url == url) and len(slot.channels) <= most:
                return slot
        return None

    def drop(self, slot: Slot, row: int) -> None:
        """Channel `row` is no more."""
        del slot.channels[row]
        del self._carrier[row]
        slot.gapped.pop(row, None)

    def forget(self, slot: Slot, now_ns: int) -> None:
        """Nothing that was asked or granted on the old socket holds on the next one."""
        slot.deadline_ns = slot.maintenance_until_ns = 0
        slot.behind = slot.unconfirmed = False
        slot.gapped.clear()
        slot.strays.clear()
        for row, ch in list(slot.channels.items()):
            if ch.wanted:
                ch.enter(ChannelState.WAITING, now_ns, now_ns)
                ch.refusals = 0
            else:
                self.drop(slot, row)

    def tell(self, now_ns: int, event: str, slot: Slot, channel: int) -> None:
        """Add to the story that a broken invariant tells."""
        self.story.append((now_ns, event, slot.conn, channel))

    def dump(self) -> list[dict[str, Any]]:
        """Each connection with its channels, as plain values."""
        return [
            {
                "conn": slot.conn,
                "url": slot.url,
                "state": slot.state.name,
                "maintenance": bool(slot.maintenance_until_ns),
                "opened_ns": slot.opened_ns,
                "channels": [
                    {
                        **ch.channel._asdict(),
                        "row": ch.row,
                        "state": ch.state.name,
                        "since_ns": ch.since_ns,
                        "refusals": ch.refusals,
                        "fetching": ch.fetching,
                        "retry_ns": ch.deadline_ns if ch.state is ChannelState.FAILED else 0,
                    }
                    for ch in slot.channels.values()
                ],
            }
            for slot in self._slots
        ]

    def validate(self, limit: int) -> None:
        """Check every invariant; AssertionError tells which failed and the events that led to it."""
        seen: dict[int, int] = {}
        self._must(len(self._slots) <= MAX_SLOTS, f"{len(self._slots)} connections")
        for slot in self._slots:
            name = f"connection {slot.conn} ({slot.state.name})"
            self._must(len(slot.channels) <= limit, f"{name} carries {len(slot.channels)} channels")
            self._must(len(slot.strays) <= MAX_STRAYS, f"{name} has {len(slot.strays)} strays")
            self._must(not set(slot.strays) & {r for r, c in slot.channels.items() if c.request}, f"{name} and strays")
            self._must((slot.deadline_ns > 0) == (slot.state is SlotState.GREETING), f"{name} and its deadline")
            self._must(not slot.channels or slot.state is not SlotState.IDLE, f"{name} carries channels")
            self._must(slot.open or not slot.maintenance_until_ns, f"{name} is in maintenance")
            self._must(set(slot.gapped) <= set(slot.channels), f"{name} waits for what it does not carry")
            for row, ch in slot.channels.items():
                name = f"channel {row} ({ch.state.name}) on {slot.conn} ({slot.state.name})"
                self._must(row == ch.row and row not in seen, f"{name} is also on {seen.get(row)}")
                self._must(self._carrier.get(row) is slot, f"{name} is not found")
                seen[row] = slot.conn
                waits = ch.state in (ChannelState.WAITING, ChannelState.FAILED)
                self._must(waits or slot.state is SlotState.READY, f"{name} needs a READY slot")
                self._must(ch.deadline_ns > 0 or ch.state is not ChannelState.FAILED, f"{name} has no second try")
                answerable = ch.state in (ChannelState.ASKED, ChannelState.LEAVING)
                self._must(answerable or not (ch.request or ch.repeated), f"{name} awaits {ch.request}")
                self._must(ch.state is ChannelState.LIVE or not ch.fetching, f"{name} fetches")
                self._must(not (ch.fetch_due_ns and ch.fetch_deadline_ns), f"{name} fetches twice")
                self._must(ch.wanted or answerable or slot.maintenance_until_ns > 0, f"{name} is not wanted")
        self._must(len(self._carrier) == len(seen), "a channel is found on a slot that does not carry it")

    def _must(self, holds: bool, what: str) -> None:
        assert holds, f"{what}; what led to it: {list(self.story)}"
