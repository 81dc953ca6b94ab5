"""Decides what to ask of Bitfinex: a function of control rows, broken books and pulses, in row order.

A connection (slot):

    IDLE         nothing to carry           channel placed here        -> OPENING      Open
    OPENING      Open asked                 OPENED                     -> CONFIGURING  Send conf
    CONFIGURING  conf sent                  CONFIGURED, all flags      -> READY        Send subscribe, each channel
                                            refused, or no answer      -> CLOSING      Reconnect
    READY        channels may be asked for  sequence gap, restart, silence, answer lost twice
                                                                       -> CLOSING      Reconnect
    CLOSING      Reconnect asked            every row but CLOSED is of a socket already given up
    any open     CLOSED                     channels wait; carries any -> OPENING Open, else -> IDLE

A channel, on a READY slot:

    WAITING        wanted, not asked for      due                 -> SUBSCRIBING    Send subscribe
    SUBSCRIBING    subscribe sent             SUBSCRIBED          -> LIVE
                                              refused             -> WAITING with back-off; third time -> FAILED, Alert
                                                                     (once an outage; info when it is LIVE again)
                                              limit reached       -> WAITING on another slot
                                              no answer           -> asked once more, then Reconnect
                                              dup                 -> Reconnect: live there, but its id was lost
    LIVE           acknowledged               broken, no snapshot, unproved for too long, or silent: no heartbeat
                                                                  -> UNSUBSCRIBING  Send unsubscribe: a resync
    UNSUBSCRIBING  unsubscribe sent           UNSUBSCRIBED        -> WAITING, due after the back-off
                                              no answer           -> asked once more, then Reconnect
    FAILED         given up                   due                 -> SUBSCRIBING    Send subscribe; refused: FAILED,
                                                                     due later each time
                                              slot opened anew, maintenance over, or reload  -> WAITING

Rules above the tables. A resync concerns one book; the whole socket goes only where its sequence says that it lost
something, where it is silent, or where an answer is lost for good. The shell opens nothing by itself: CLOSED is
answered with Open, and the shell adds back-off and the venue's rate limit. In maintenance nothing is asked, resynced or
called silent, and the decoder holds every book unusable; its end asks for every channel again. A channel that is wanted
is never given up for good: the venue may have listed the symbol late. Deadlines are looked at on pulses only. A row is
taken at its own arrival time, so that actions do not depend on how records were batched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action, Alert, Send
from data_controller.exchanges.bitfinex import requests
from data_controller.exchanges.bitfinex.moves import REFUSALS_BEFORE_GIVING_UP, Moves
from data_controller.exchanges.bitfinex.settings import BitfinexSettings
from data_controller.exchanges.bitfinex.slots import (
    ASKED,
    MAX_SLOTS,
    ChannelState,
    Slot,
    Slots,
    SlotState,
    wanted,
)
from data_controller.exchanges.streaming.attention import unsure
from data_controller.market.layout import BrokenBy, Proof
from data_controller.market.rows import Control
from data_controller.market.tables import Tables

API_VERSION = 2

_CONF_FAILED, _DUP, _LIMIT, _UNSUB_FAILED, _NOT_SUBSCRIBED = 10050, 10301, 10305, 10400, 10401
_SUBSCRIPTION_REFUSED = (10300, 10302, 11000)  # failed; unknown channel; not ready, try later
_S = 1_000_000_000


class BitfinexSubscriptions:
    """Keeps the wanted channels live on as many connections as they need; slots are `first_conn` and up.

    Pure and deterministic: time comes in, actions go out, and equal calls give equal actions.
    """

    def __init__(self, settings: BitfinexSettings, tables: Tables, first_conn: int = 0) -> None:
        self._slots = Slots(tables, first_conn)
        self._moves = Moves(settings, self._slots)
        self.counters = self._moves.counters

    def start(self, now_ns: int) -> list[Action]:
        """Opens of the connections that the config's channels need; rows for them are added to the tables."""
        return self.reload(self._moves.settings, now_ns)

    def reload(self, settings: BitfinexSettings, now_ns: int) -> list[Action]:
        """Actions that make `settings` true: channels new in it are asked for, others given up, failed ones tried."""
        self._moves.settings = settings
        groups = [[self._slots.tables.channel(channel) for channel in group] for group in wanted(settings)]
        rows = dict.fromkeys(row for group in groups for row in group)
        actions: list[Action] = []
        for slot in self._slots:
            for ch in list(slot.channels.values()):
                ch.wanted = ch.row in rows
                if not ch.wanted:
                    actions += self._moves.let_go(slot, ch, now_ns)
                elif ch.state is ChannelState.FAILED:
                    ch.wait(now_ns, now_ns)
                    ch.refusals = ch.given_up = 0
        left: list[int] = []
        for group in groups:
            fresh = [row for row in group if self._slots.by_row(row) is None]
            left += self._slots.place(fresh, settings.max_channels_per_connection)
        if left:
            text = f"{len(left)} channels found no room on {MAX_SLOTS} connections: reload again once old ones are gone"
            actions.append(Alert("critical", "bitfinex_channels_left_out", text))
        for slot in self._slots:
            actions += self._moves.serve(slot, now_ns)
        return actions

    def on_control(self, row: np.void, now_ns: int) -> list[Action]:
        """Actions after a CONTROL row."""
        slot = self._slots.by_conn(int(row["part"]))
        if slot is None:
            return []
        now_ns = int(row["recv_ns"]) or now_ns
        code, channel, value = int(row["ref"]), int(row["channel"]), int(row["price"])
        self._moves.tell(now_ns, f"control {code} {value}", slot, channel)
        if code == Control.OPENED:
            return self._on_opened(slot, now_ns)
        if code == Control.CLOSED:
            return self._on_closed(slot, now_ns)
        if not slot.open:
            return []
        match code:
            case Control.CONFIGURED:
                return self._on_configured(slot, int(row["size"]), now_ns)
            case Control.SUBSCRIBED:
                return self._on_subscribed(slot, channel, value, now_ns)
            case Control.UNSUBSCRIBED:
                return self._on_unsubscribed(slot, channel, value, now_ns)
            case Control.ERROR:
                return self._on_error(slot, channel, value, int(row["size"]), now_ns)
            case Control.SEQUENCE_GAP:
                return self._moves.reconnect(slot, "the sequence says that messages were lost", now_ns)
            case Control.RESTART:
                return self._moves.reconnect(slot, "the exchange asks to reconnect", now_ns)
            case Control.MAINTENANCE_START:
                slot.maintenance_until_ns = now_ns + int(self._moves.settings.maintenance_timeout_s * _S)
                return []
            case Control.MAINTENANCE_END:
                return self._on_maintenance_end(slot, now_ns)
            case Control.QUARANTINED:
                return self._on_quarantined(slot, channel, now_ns)
            case Control.UNKNOWN_CHANNEL:
                return self._on_unknown(slot, value, now_ns)
            case Control.INFO if value not in (0, API_VERSION):
                text = f"expected protocol version {API_VERSION}, was {value}: read the venue's change log"
                return [Alert("critical", "bitfinex_version", text)]
        return []

    def on_broken(self, channel: int, broken_by: int, now_ns: int) -> list[Action]:
        """Actions after the book of `channel` broke, or after it fell silent, book or not: resync it alone.

        A GAP waits for the row that says what was lost (sequence, quarantine, close), at the latest for the next
        pulse: where the socket lost something, one Reconnect is better than a resync of each book.
        """
        slot = self._slots.by_row(channel)
        if slot is None or broken_by in (BrokenBy.CLOSED, BrokenBy.MAINTENANCE):  # its CONTROL row says what to do
            return []
        self._moves.tell(now_ns, f"broken {broken_by}", slot, channel)
        if broken_by == BrokenBy.GAP:
            slot.gapped[channel] = None
            return []
        return self._moves.resync(slot, slot.channels[channel], now_ns)

    def on_pulse(self, now_ns: int, last_recv_ns: NDArray[np.int64], books: NDArray[np.void]) -> list[Action]:
        """Actions that deadlines ask for; `last_recv_ns` is by connection slot, `books` are rows of layout.BOOK."""
        actions: list[Action] = []
        for slot in self._slots:
            if slot.open:
                heard_ns = int(last_recv_ns[slot.conn]) if slot.conn < len(last_recv_ns) else 0
                actions += self._on_slot_deadlines(slot, max(heard_ns, slot.opened_ns), now_ns)
        return actions + self._on_books(now_ns, books)

    def silent(self, now_ns: int, heard_ns: NDArray[np.int64]) -> list[int]:
        """LIVE channels without even a heartbeat for too long; `heard_ns` is by channel row, 0 unknown."""
        overdue = (heard_ns != 0) & (now_ns - heard_ns > int(self._moves.settings.channel_silent_after_s * _S))
        found = []
        for row in np.flatnonzero(overdue).tolist():
            slot = self._slots.by_row(row)
            if slot is not None and slot.talks and slot.channels[row].state is ChannelState.LIVE:
                found.append(row)
        return found

    def state(self) -> dict[str, Any]:
        """What a status display shows: each connection with its channels, and the counters."""
        return {"connections": self._slots.dump(), "counters": dict(self.counters)}

    def validate(self) -> None:
        """Check every invariant; AssertionError tells which failed and the events that led to it."""
        self._slots.validate()

    # Connections

    def _on_opened(self, slot: Slot, now_ns: int) -> list[Action]:
        slot.forget(now_ns)
        slot.limit = self._moves.settings.max_channels_per_connection
        slot.opened_ns = now_ns
        if not slot.channels:
            return self._moves.reconnect(slot, "carries nothing any more", now_ns)
        slot.state = SlotState.CONFIGURING
        slot.deadline_ns = self._moves.answer_due(now_ns)
        return [Send(slot.conn, requests.conf())]

    def _on_closed(self, slot: Slot, now_ns: int) -> list[Action]:
        if slot.state in (SlotState.IDLE, SlotState.OPENING):
            return []
        slot.forget(now_ns)
        slot.state = SlotState.IDLE
        return self._moves.serve(slot, now_ns)

    def _on_configured(self, slot: Slot, flags: int, now_ns: int) -> list[Action]:
        if slot.state is not SlotState.CONFIGURING:
            return []
        if flags < 0 or flags & requests.FLAGS != requests.FLAGS:
            slot.refused_confs += 1
            what = f"expected flags {requests.FLAGS} in force, was {flags}"
            actions = self._moves.reconnect(slot, what, now_ns)
            if slot.refused_confs == REFUSALS_BEFORE_GIVING_UP:
                text = f"connection {slot.conn}: {what}, {slot.refused_confs} times in a row: no book can be proved"
                actions.append(Alert("critical", "bitfinex_conf_refused", text))
            return actions
        slot.state, slot.deadline_ns, slot.refused_confs = SlotState.READY, 0, 0
        return self._moves.serve(slot, now_ns)

    def _on_maintenance_end(self, slot: Slot, now_ns: int) -> list[Action]:
        slot.maintenance_until_ns = 0
        slot.gapped.clear()
        if slot.state is SlotState.CONFIGURING:
            slot.deadline_ns = self._moves.answer_due(now_ns)
            return []
        actions: list[Action] = [Send(slot.conn, requests.unsubscribe(chan_id)) for chan_id in slot.strays]
        for ch in list(slot.channels.values()):
            if ch.state in ASKED:
                ch.deadline_ns = self._moves.answer_due(now_ns)
            elif ch.state is ChannelState.FAILED:
                ch.wait(now_ns, now_ns)
            elif ch.state is ChannelState.LIVE:
                ch.resyncs.not_before_ns = now_ns
                actions.append(self._moves.unsubscribe(slot, ch, now_ns))
        return actions + self._moves.serve(slot, now_ns)

    def _on_quarantined(self, slot: Slot, channel: int, now_ns: int) -> list[Action]:
        ch = slot.channels.get(channel)
        if ch is not None:
            slot.gapped.pop(channel, None)
            return self._moves.resync(slot, ch, now_ns) if ch.is_book else []
        if slot.gapped and not slot.maintenance_until_ns:
            return self._moves.reconnect(slot, "a frame that could not be read may have been of any channel", now_ns)
        return []

    # Channels

    def _on_subscribed(self, slot: Slot, channel: int, chan_id: int, now_ns: int) -> list[Action]:
        ch = slot.channels.get(channel)
        if ch is None:
            return self._moves.disown(slot, chan_id, now_ns)
        slot.strays.pop(chan_id, None)
        if ch.chan_id == chan_id:
            # Told twice: whoever reads the row starts the book over, and no second snapshot comes.
            return self._moves.resync(slot, ch, now_ns) if ch.is_book else []
        if ch.chan_id or slot.by_id(chan_id) is not None:
            return self._moves.reconnect(slot, "two subscriptions are mixed up", now_ns)
        if slot.state is not SlotState.READY:
            return self._moves.reconnect(slot, "a channel came before conf was answered", now_ns)
        ch.state, ch.chan_id, ch.since_ns, ch.deadline_ns = ChannelState.LIVE, chan_id, now_ns, 0
        actions: list[Action] = [] if ch.wanted or not slot.talks else [self._moves.unsubscribe(slot, ch, now_ns)]
        if ch.given_up:
            text = f"connection {slot.conn}: {ch.request.decode()} is served again"
            actions.append(Alert("info", "bitfinex_channel_back", text))
        ch.refusals = ch.given_up = 0
        return actions

    def _on_unsubscribed(self, slot: Slot, channel: int, chan_id: int, now_ns: int) -> list[Action]:
        slot.strays.pop(chan_id, None)
        ch = slot.channels.get(channel)
        if ch is None or ch.chan_id != chan_id:
            ch = slot.by_id(chan_id)
        return [] if ch is None else self._moves.release(slot, ch, now_ns)

    def _on_unknown(self, slot: Slot, chan_id: int, now_ns: int) -> list[Action]:
        # While an answer is awaited the id may be the one that it will tell.
        return [] if slot.asked(ChannelState.SUBSCRIBING) else self._moves.disown(slot, chan_id, now_ns)

    # Errors

    def _on_error(self, slot: Slot, channel: int, code: int, chan_id: int, now_ns: int) -> list[Action]:
        """`chan_id` is 0 where the error names none; code 0 with one is an `unsubscribed` that did not succeed."""
        if code in (_UNSUB_FAILED, _NOT_SUBSCRIBED) or (code == 0 and chan_id):
            return self._on_unsubscribe_refused(slot, channel, chan_id, now_ns)
        if code == _CONF_FAILED:
            return self._on_configured(slot, -1, now_ns)
        asked = slot.asked(ChannelState.SUBSCRIBING)
        ch = slot.channels.get(channel)
        if ch is None and len(asked) == 1:
            ch = asked[0]
        actions: list[Action] = []
        if code not in (_DUP, _LIMIT, *_SUBSCRIPTION_REFUSED):
            text = f"connection {slot.conn}: Bitfinex answered with error {code}: compare the SENT records before it"
            actions.append(Alert("warning", "bitfinex_error", text))
        if ch is None:
            # Which request was refused is unknown: the one that gets no answer is asked again on its deadline.
            lost = code == _DUP and any(c.repeated for c in asked)
        elif ch.state is not ChannelState.SUBSCRIBING:
            return actions
        else:
            lost = code == _DUP
        if lost:
            return actions + self._moves.reconnect(slot, "subscribed already, but the answer was lost", now_ns)
        if ch is None:
            return actions
        if slot.maintenance_until_ns:
            ch.wait(now_ns, now_ns)
            return actions
        if code == _LIMIT and any(c.chan_id for c in slot.channels.values()) and self._slots.has_room(but=slot):
            return actions + self._moves.move(slot, ch, now_ns)
        return actions + self._moves.refuse(slot, ch, code, now_ns)

    def _on_unsubscribe_refused(self, slot: Slot, channel: int, chan_id: int, now_ns: int) -> list[Action]:
        """The venue does not hold what we gave up: as good as an answer, where it is clear whose."""
        ch = slot.channels.get(channel) or slot.by_id(chan_id)
        if ch is None and chan_id:
            slot.strays.pop(chan_id, None)
            return []
        if ch is None and slot.strays:
            del slot.strays[next(iter(slot.strays))]
            return []
        asked = slot.asked(ChannelState.UNSUBSCRIBING)
        if ch is None and len(asked) == 1:
            ch = asked[0]
        if ch is None or ch.state is not ChannelState.UNSUBSCRIBING:
            return []
        return self._moves.release(slot, ch, now_ns)

    # Deadlines

    def _on_slot_deadlines(self, slot: Slot, heard_ns: int, now_ns: int) -> list[Action]:
        if slot.maintenance_until_ns:
            late = now_ns >= slot.maintenance_until_ns
            return self._moves.reconnect(slot, "maintenance was not declared over in time", now_ns) if late else []
        if now_ns - heard_ns > int(self._moves.settings.silent_after_s * _S):
            return self._moves.reconnect(slot, f"silent for {self._moves.settings.silent_after_s:g} s", now_ns)
        if slot.state is SlotState.CONFIGURING:
            if now_ns < slot.deadline_ns:
                return []
            self.counters["lost_answers"] += 1
            return self._moves.reconnect(slot, "conf was not answered", now_ns)
        actions: list[Action] = []
        for row in slot.gapped:
            if row in slot.channels:
                actions += self._moves.resync(slot, slot.channels[row], now_ns)
        slot.gapped.clear()
        for ch in slot.channels.values():
            if ch.deadline_ns == 0 or now_ns < ch.deadline_ns:
                continue
            if ch.state in (ChannelState.WAITING, ChannelState.FAILED):
                actions.append(self._moves.subscribe(slot, ch, now_ns))
                continue
            self.counters["lost_answers"] += 1
            if ch.repeated:
                return actions + self._moves.reconnect(slot, "a request was not answered twice", now_ns)
            again = self._moves.subscribe if ch.state is ChannelState.SUBSCRIBING else self._moves.unsubscribe
            actions.append(again(slot, ch, now_ns))
        return actions

    def _on_books(self, now_ns: int, books: NDArray[np.void]) -> list[Action]:
        """Resyncs of LIVE books without a snapshot, broken, or too long unproved."""
        settings = self._moves.settings
        answer_ns, unproved_ns = int(settings.ack_timeout_s * _S), int(settings.unproved_after_s * _S)
        proof, checked, snapshot = books["proof"], books["checked_ns"], books["snapshot_ns"]
        actions: list[Action] = []
        for i in unsure(books):
            row = int(books["channel"][i])
            slot = self._slots.by_row(row)
            ch = None if slot is None else slot.channels[row]
            if slot is None or ch is None or ch.state is not ChannelState.LIVE:
                continue
            if proof[i] == Proof.EMPTY or int(snapshot[i]) < ch.since_ns:
                overdue = now_ns - ch.since_ns >= answer_ns
            elif proof[i] == Proof.BROKEN:
                overdue = True
            else:
                overdue = now_ns - int(max(checked[i], snapshot[i])) >= unproved_ns
            if overdue:
                self._moves.tell(now_ns, f"book {Proof(int(proof[i])).name}", slot, row)
                actions += self._moves.resync(slot, ch, now_ns)
        return actions
