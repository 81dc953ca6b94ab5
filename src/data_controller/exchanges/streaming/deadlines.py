"""What falls due as time passes on a venue of named streams: looked at on pulses, each answered with one move."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action
from data_controller.exchanges.streaming.attention import unsure
from data_controller.exchanges.streaming.moves import Moves
from data_controller.exchanges.streaming.slots import ChannelState, Slot, SlotState, Subscription
from data_controller.market.layout import Proof

RENEWED_AT, RENEWED_LATEST = 0.95, 0.99
"""Parts of its life after which a connection is opened anew: where nothing else is under way, and in any case."""

_S = 1_000_000_000


class Deadlines:
    """Silence, lost answers, pings, the end of a connection's life, and books that wait for too long."""

    def __init__(self, moves: Moves) -> None:
        self._moves = moves

    def of_slot(self, slot: Slot, heard_ns: int, now_ns: int) -> list[Action]:
        """Actions for an open `slot`, last heard of at `heard_ns`."""
        limits, settings = self._moves.dialect.limits, self._moves.settings
        if slot.maintenance_until_ns and now_ns >= slot.maintenance_until_ns:
            return self._moves.reconnect(slot, "maintenance was not declared over in time", now_ns)
        if not slot.maintenance_until_ns:
            if now_ns - heard_ns > int(settings.silent_after_s * _S):
                return self._moves.reconnect(slot, f"silent for {settings.silent_after_s:g} s", now_ns)
            if slot.state is SlotState.GREETING and now_ns >= slot.deadline_ns:
                self._moves.counters["lost_answers"] += 1
                return self._moves.reconnect(slot, "the greeting was not answered", now_ns)
        actions: list[Action] = []
        if limits.ping_every_s and now_ns - slot.pinged_ns >= int(limits.ping_every_s * _S):
            actions.append(self._moves.ping(slot, now_ns))
        if not slot.talks:
            return actions
        for row in list(slot.gapped):
            actions += self._moves.resync(slot, slot.channels[row], now_ns)
        slot.gapped.clear()
        slot.strays = {row: until_ns for row, until_ns in slot.strays.items() if not until_ns or now_ns < until_ns}
        unsettled = [ch for ch in slot.channels.values() if ch.state is not ChannelState.LIVE]
        if slot.channels and not unsettled and not slot.strays:  # nearly always
            return actions
        for ch in unsettled:
            if not ch.request or not ch.deadline_ns or now_ns < ch.deadline_ns:
                continue
            if ch.state is ChannelState.LEAVING and not limits.acknowledged:
                if not ch.wanted:
                    self._moves.left[ch.row] = None
                self._moves.release(slot, ch, now_ns)
                continue
            self._moves.counters["lost_answers"] += 1
            if ch.state is ChannelState.ASKED and not ch.wanted:  # whether it is held there is unknown
                ch.enter(ChannelState.LEAVING, now_ns)
                continue
            if ch.repeated:
                return actions + self._moves.reconnect(slot, "a request was not answered twice", now_ns)
            ch.request, ch.repeated, ch.deadline_ns = 0, True, 0
        return actions + self._moves.serve(slot, now_ns)

    def of_lives(self, now_ns: int) -> list[Action]:
        """Open the connection anew that is nearest to the end of its life, one at a time."""
        life_ns = int(self._moves.dialect.limits.connection_life_s * _S)
        if not life_ns:
            return []
        old = [s for s in self._moves.slots if s.talks and now_ns - s.opened_ns >= int(life_ns * RENEWED_AT)]
        actions: list[Action] = []
        for slot in sorted(old, key=lambda s: s.opened_ns):
            others = all(s.settled() for s in self._moves.slots if s is not slot)
            if others or now_ns - slot.opened_ns >= int(life_ns * RENEWED_LATEST):
                self._moves.counters["renewals"] += 1
                actions += self._moves.reconnect(slot, "the venue would soon end it", now_ns)
        return actions

    def of_books(self, now_ns: int, books: NDArray[np.void]) -> list[Action]:
        """Resyncs of LIVE books without a snapshot, broken, or too long unproved; those that nothing proves in turn."""
        actions: list[Action] = []
        for i in unsure(books):
            found = self._moves.slots.find(int(books["channel"][i]))
            if found is not None and self._overdue(found[1], books[i], now_ns):
                self._moves.slots.tell(now_ns, f"book {Proof(int(books['proof'][i])).name}", found[0], found[1].row)
                actions += self._moves.resync(*found, now_ns)
        every_ns = int(self._moves.settings.resnapshot_every_s * _S)
        if every_ns:
            for i in np.flatnonzero((books["depth"] > 0) & (books["proof"] == Proof.UNVERIFIABLE)).tolist():
                found = self._moves.slots.find(int(books["channel"][i]))
                if found is None or found[1].state is not ChannelState.LIVE or found[1].fetching or not found[0].talks:
                    continue
                if now_ns - max(int(books["snapshot_ns"][i]), found[1].fresh_ns) >= every_ns:
                    actions += self._moves.resnapshot(*found, now_ns)
        return actions

    def _overdue(self, ch: Subscription, book: np.void, now_ns: int) -> bool:
        """Whether the unsure `book` of `ch` has had its time."""
        if ch.state is not ChannelState.LIVE or ch.fetching:
            return False
        settings, snapshot_ns = self._moves.settings, int(book["snapshot_ns"])
        if book["proof"] == Proof.EMPTY or snapshot_ns < ch.since_ns:
            return now_ns - ch.fresh_ns >= int(settings.ack_timeout_s * _S)
        if book["proof"] == Proof.BROKEN:
            return True
        return now_ns - max(int(book["checked_ns"]), snapshot_ns) >= int(settings.unproved_after_s * _S)
