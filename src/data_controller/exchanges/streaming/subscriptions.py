"""Decides what to ask of a venue of named streams: a function of control rows, broken books and pulses, in row order.

A connection (slot):

    IDLE      nothing to carry           channel placed here        -> OPENING   Open
    OPENING   Open asked                 OPENED                     -> GREETING  Send greeting; none: READY
    GREETING  greeting sent              CONFIGURED                 -> READY     Send subscribe, several channels each
                                         refused, or no answer      -> CLOSING   Reconnect
    READY     channels may be asked for  sequence gap, restart, silence, answer lost twice, end of its life near
                                                                    -> CLOSING   Reconnect
    CLOSING   Reconnect asked            every row but CLOSED is of a socket already given up
    any open  CLOSED                     channels wait; carries any -> OPENING Open, else -> IDLE

A channel, on a READY slot:

    WAITING  wanted, not asked for  due                  -> ASKED    Send subscribe
    ASKED    subscribe sent         SUBSCRIBED           -> LIVE     Fetch, for a book spliced to a fetched snapshot
                                    refused with others  -> WAITING, to be asked for alone
                                    it is served already -> LEAVING  Send unsubscribe, as nothing else begins it anew
                                    refused alone        -> WAITING with back-off; third time -> FAILED, Alert
                                                            (once an outage; info when it is LIVE again)
                                    no answer            -> asked once more, then Reconnect
                                    repeated and refused -> Reconnect: it may be live there
    LIVE     acknowledged           book broken, unproved for too long, or without a snapshot
                                                         -> LIVE     Fetch, for a book spliced to a fetched snapshot
                                                         -> LEAVING  Send unsubscribe, for any other
                                    silent channel       -> LEAVING  Send unsubscribe: no snapshot revives a stream
    LEAVING  unsubscribe sent       UNSUBSCRIBED         -> WAITING, due after the back-off
                                    no answer            -> asked once more, then Reconnect
    FAILED   given up               due                  -> ASKED    Send subscribe; refused: FAILED, later each time
                                    slot opened anew, maintenance over, or reload  -> WAITING

Where the venue acknowledges nothing (`Limits.acknowledged`) SUBSCRIBED comes with the first data, or the decoder hears
of the channel; only a book whose stream begins with a snapshot must come in time, and LEAVING ends with time alone.

Rules above the tables. A resync concerns one book, a reload those channels that it names; neither touches a
neighbour. A fetched snapshot that is too old, failed or did not come is fetched again after a back-off, a few at a
time; after some of no use the stream begins anew too. Requests wait for the connection's pace. A connection whose
life nears its end is opened anew before the venue ends it, when no other is under way, and in any case a little
before the end. In maintenance nothing is asked, resynced or called silent; its end asks for everything again. The
shell opens nothing by itself: CLOSED is answered with Open, and the shell adds back-off and rate limits. A decoder
tells SUBSCRIBED when a subscription begins, and not each time that the venue lists what it serves: told twice, a book
starts over. Deadlines are looked at on pulses only. A row is taken at its own arrival time, so that actions do not
depend on how records were batched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Action, Alert, Send
from data_controller.exchanges.streaming.deadlines import Deadlines
from data_controller.exchanges.streaming.dialect import Dialect
from data_controller.exchanges.streaming.moves import HELD_THERE, REFUSALS_BEFORE_GIVING_UP, Moves
from data_controller.exchanges.streaming.settings import StreamingSettings
from data_controller.exchanges.streaming.slots import (
    MAX_SLOTS,
    ChannelState,
    Slot,
    Slots,
    SlotState,
    Subscription,
)
from data_controller.market.layout import BrokenBy
from data_controller.market.rows import Control
from data_controller.market.tables import Tables

MAINTENANCE_MOST_S = 600
"""A maintenance that is not declared over by then is ended by us."""
_S = 1_000_000_000


class StreamSubscriptions:
    """Keeps the wanted channels live on as many connections as they need; slots are `first_conn` and up.

    Pure and deterministic: time comes in, actions go out, and equal calls give equal actions.
    """

    def __init__(self, dialect: Dialect, settings: StreamingSettings, tables: Tables, first_conn: int = 0) -> None:
        self._dialect = dialect
        self._slots = Slots(tables, first_conn)
        self._moves = Moves(dialect, settings, self._slots)
        self._deadlines = Deadlines(self._moves)
        self._heard: dict[int, None] = {}  # rows ASKED of a venue that acknowledges nothing, of which data came
        self.counters = self._moves.counters

    def start(self, now_ns: int) -> list[Action]:
        """Opens of the connections that the config's channels need; rows for them are added to the tables."""
        return self.reload(self._moves.settings, now_ns)

    def reload(self, settings: StreamingSettings, now_ns: int) -> list[Action]:
        """Actions that make `settings` true: channels new in it are asked for, others given up, failed ones tried."""
        self._moves.settings = settings
        groups = [[self._slots.tables.channel(c) for c in group] for group in self._dialect.channels(settings)]
        rows = dict.fromkeys(row for group in groups for row in group)
        for slot in self._slots:
            for ch in list(slot.channels.values()):
                ch.wanted = ch.row in rows
                if not ch.wanted:
                    self._moves.let_go(slot, ch, now_ns)
                elif ch.state is ChannelState.FAILED:
                    ch.enter(ChannelState.WAITING, now_ns, now_ns)
                    ch.refusals = ch.given_up = 0
        actions: list[Action] = []
        left = [row for group in groups for row in self._place(settings, group)]
        if left:
            text = f"{len(left)} channels found no room on {MAX_SLOTS} connections: reload again once old ones are gone"
            actions.append(Alert("critical", f"{self._dialect.venue}_channels_left_out", text))
        for slot in self._slots:
            actions += self._moves.serve(slot, now_ns)
        return actions

    def _place(self, settings: StreamingSettings, group: list[int]) -> list[int]:
        """Put what is new in `group` on connections, one address at a time; returns what finds no room."""
        by_url: dict[str, list[int]] = {}
        for row in dict.fromkeys(group):
            if self._slots.find(row) is None:
                by_url.setdefault(self._dialect.url(settings, [self._slots.tables.channels[row]]), []).append(row)
        limits = self._dialect.limits
        most = settings.most_channels(limits.channels_per_connection)
        left: list[int] = []
        for url, rows in by_url.items():
            left += self._slots.place(rows, url, most, limits.requests_per_s)
        return left

    def on_control(self, row: np.void, now_ns: int) -> list[Action]:
        """Actions after a CONTROL row."""
        slot = self._slots.by_conn(int(row["part"]))
        if slot is None:
            return []
        now_ns = int(row["recv_ns"]) or now_ns
        self._slots.tell(now_ns, f"control {int(row['ref'])} {int(row['price'])}", slot, int(row["channel"]))
        actions = self._on_control(slot, row, now_ns)
        return actions + self._moves.serve(slot, now_ns) if slot.behind else actions

    def _on_control(self, slot: Slot, row: np.void, now_ns: int) -> list[Action]:
        code, channel, value = int(row["ref"]), int(row["channel"]), int(row["price"])
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
                return self._on_subscribed(slot, channel, now_ns)
            case Control.UNSUBSCRIBED:
                return self._on_unsubscribed(slot, channel, now_ns)
            case Control.FETCHED:
                ch = slot.channels.get(channel)
                live = ch is not None and ch.state is ChannelState.LIVE
                of_use = int(row["size"]) == 1
                return self._moves.fetched(ch, of_use, value, now_ns) if ch is not None and live else []
            case Control.ERROR:
                return self._on_error(slot, channel, value, int(row["size"]), now_ns)
            case Control.SEQUENCE_GAP:
                return self._moves.reconnect(slot, "the sequence says that messages were lost", now_ns)
            case Control.RESTART:
                return self._moves.reconnect(slot, "the exchange asks to reconnect", now_ns)
            case Control.MAINTENANCE_START:
                slot.maintenance_until_ns = now_ns + MAINTENANCE_MOST_S * _S
                return []
            case Control.MAINTENANCE_END:
                return self._on_maintenance_end(slot, now_ns)
            case Control.QUARANTINED:
                return self._on_quarantined(slot, channel, now_ns)
        return []

    def on_broken(self, channel: int, broken_by: int, now_ns: int) -> list[Action]:
        """Actions after the book of `channel` broke, or after it fell silent, book or not: resync it alone.

        A GAP waits for the row that says what was lost (sequence, quarantine, close), at the latest for the next
        pulse: where the socket lost something, one Reconnect is better than a resync of each book.
        """
        found = self._slots.find(channel)
        if found is None or broken_by in (BrokenBy.CLOSED, BrokenBy.MAINTENANCE):  # its CONTROL row says what to do
            return []
        slot, ch = found
        self._slots.tell(now_ns, f"broken {broken_by}", slot, channel)
        if broken_by == BrokenBy.GAP:
            slot.gapped[channel] = None
            return []
        return self._moves.resync(slot, ch, now_ns, stream=broken_by == BrokenBy.SILENT)

    def on_pulse(self, now_ns: int, last_recv_ns: NDArray[np.int64], books: NDArray[np.void]) -> list[Action]:
        """Actions that deadlines ask for; `last_recv_ns` is by connection slot, `books` are rows of layout.BOOK."""
        actions: list[Action] = []
        for row in self._heard:
            found = self._slots.find(row)
            if found is not None and found[1].state is ChannelState.ASKED:
                actions += self._moves.live(*found, now_ns)
        self._heard.clear()
        for slot in self._slots:
            if slot.open:
                heard_ns = int(last_recv_ns[slot.conn]) if slot.conn < len(last_recv_ns) else 0
                actions += self._deadlines.of_slot(slot, max(heard_ns, slot.opened_ns), now_ns)
        actions += self._moves.lost_fetches(now_ns)
        return actions + self._deadlines.of_lives(now_ns) + self._deadlines.of_books(now_ns, books)

    def silent(self, now_ns: int, heard_ns: NDArray[np.int64]) -> list[int]:
        """LIVE channels without data for too long, and those given up of which no answer says that they are over.

        `heard_ns` is by channel row, 0 unknown.
        """
        if not self._dialect.limits.acknowledged:
            self._note_heard(heard_ns)
        quiet = self._take_left(heard_ns)
        after_ns = int(self._moves.settings.channel_silent_after_s * _S)
        if not after_ns:
            return quiet
        for row in np.flatnonzero((heard_ns != 0) & (now_ns - heard_ns > after_ns)).tolist():
            found = self._slots.find(row)
            # One that was asked for again is given its time from then on, whatever was heard before.
            live = found is not None and found[0].talks and found[1].state is ChannelState.LIVE
            if found is not None and live and now_ns - found[1].since_ns > after_ns:
                quiet.append(row)
        return quiet

    def _take_left(self, heard_ns: NDArray[np.int64]) -> list[int]:
        """Channels given up since the last call that nobody asked for again: what they said is no market any more."""
        left = [row for row in self._moves.left if row < len(heard_ns) and self._slots.find(row) is None]
        self._moves.left.clear()
        return left

    def _note_heard(self, heard_ns: NDArray[np.int64]) -> None:
        for slot in self._slots:
            for ch in slot.channels.values() if slot.talks else ():
                asked = ch.state is ChannelState.ASKED and ch.request and ch.row < len(heard_ns)
                if asked and int(heard_ns[ch.row]) > ch.since_ns:
                    self._heard[ch.row] = None

    def state(self) -> dict[str, Any]:
        """What a status display shows: each connection with its channels, and the counters."""
        return {"connections": self._slots.dump(), "counters": dict(self.counters)}

    def validate(self) -> None:
        """Check every invariant; AssertionError tells which failed and the events that led to it."""
        self._slots.validate(self._moves.settings.most_channels(self._dialect.limits.channels_per_connection))

    # Connections

    def _on_opened(self, slot: Slot, now_ns: int) -> list[Action]:
        self._slots.forget(slot, now_ns)
        slot.opened_ns = slot.pinged_ns = now_ns
        if not slot.channels:
            return self._moves.reconnect(slot, "carries nothing any more", now_ns)
        greeting = self._dialect.greeting(self._moves.settings)
        if greeting is None:
            slot.state = SlotState.READY
            return self._moves.serve(slot, now_ns)
        slot.state, slot.deadline_ns = SlotState.GREETING, self._moves.answer_due(now_ns)
        slot.pace.spend(now_ns)
        return [Send(slot.conn, greeting)]

    def _on_closed(self, slot: Slot, now_ns: int) -> list[Action]:
        if slot.state in (SlotState.IDLE, SlotState.OPENING):
            return []
        self._slots.forget(slot, now_ns)
        slot.state = SlotState.IDLE
        return self._moves.serve(slot, now_ns)

    def _on_configured(self, slot: Slot, size: int, now_ns: int) -> list[Action]:
        if slot.state is not SlotState.GREETING:
            return []
        if size < 0:
            slot.refused_greetings += 1
            actions = self._moves.reconnect(slot, "the greeting was refused", now_ns)
            if slot.refused_greetings == REFUSALS_BEFORE_GIVING_UP:
                text = f"connection {slot.conn}: its greeting was refused {slot.refused_greetings} times: check the key"
                actions.append(Alert("critical", f"{self._dialect.venue}_greeting_refused", text))
            return actions
        slot.state, slot.deadline_ns, slot.refused_greetings = SlotState.READY, 0, 0
        return self._moves.serve(slot, now_ns)

    def _on_maintenance_end(self, slot: Slot, now_ns: int) -> list[Action]:
        slot.maintenance_until_ns = 0
        slot.gapped.clear()
        if slot.state is SlotState.GREETING:
            slot.deadline_ns = self._moves.answer_due(now_ns)
            return []
        for ch in list(slot.channels.values()):
            if not ch.wanted:
                self._moves.let_go(slot, ch, now_ns)
            if ch.state is ChannelState.FAILED:
                ch.enter(ChannelState.WAITING, now_ns, now_ns)
            elif ch.state is ChannelState.LIVE:
                ch.resyncs.not_before_ns = now_ns
                ch.enter(ChannelState.LEAVING, now_ns)
            elif ch.deadline_ns and ch.request:
                ch.deadline_ns = self._moves.answer_due(now_ns)
        return self._moves.serve(slot, now_ns)

    def _on_quarantined(self, slot: Slot, channel: int, now_ns: int) -> list[Action]:
        ch = slot.channels.get(channel)
        if ch is not None:
            slot.gapped.pop(channel, None)
            return self._moves.resync(slot, ch, now_ns) if ch.is_book else []
        if slot.gapped and not slot.maintenance_until_ns:
            return self._moves.reconnect(slot, "a frame that could not be read may have been of any channel", now_ns)
        return []

    # Channels

    def _on_subscribed(self, slot: Slot, channel: int, now_ns: int) -> list[Action]:
        ch = slot.channels.get(channel)
        if ch is None:
            return self._moves.disown(slot, channel, now_ns)
        match ch.state:
            case ChannelState.ASKED:
                return self._moves.live(slot, ch, now_ns)
            case ChannelState.LIVE:
                # Told twice: whoever reads the row starts the book over, and no second snapshot comes.
                ch.fetch_due_ns = ch.fetch_deadline_ns = 0
                return self._moves.resync(slot, ch, now_ns) if ch.is_book else []
            case ChannelState.LEAVING:
                return []
            case ChannelState.WAITING if ch.alone and not ch.refusals:  # another one of its request was refused
                return self._moves.live(slot, ch, now_ns)
        return self._moves.reconnect(slot, "a channel came that was not asked for yet", now_ns)

    def _on_unsubscribed(self, slot: Slot, channel: int, now_ns: int) -> list[Action]:
        ch = slot.channels.get(channel)
        held = ch is not None and ch.state in (ChannelState.LIVE, ChannelState.LEAVING)
        # ASKED is not: this is the second answer to an unsubscribe that was sent twice.
        if slot.strays.pop(channel, None) is None and ch is not None and held:
            self._moves.release(slot, ch, now_ns)
        return self._moves.serve(slot, now_ns)

    def _on_error(self, slot: Slot, channel: int, code: int, request: int, now_ns: int) -> list[Action]:
        """The request it answers is known by its channel, by its number, or by being the only one on its way."""
        if slot.strays.pop(channel, None) is not None:
            return self._moves.serve(slot, now_ns)
        named = self._answered(slot, channel, request)
        if not named:
            text = f"connection {slot.conn}: answered with error {code}: compare the SENT records before it"
            return [Alert("warning", f"{self._dialect.venue}_error", text)]
        asked = [ch for ch in named if ch.state is ChannelState.ASKED]
        if any(ch.repeated for ch in asked):
            return self._moves.reconnect(slot, "refused the second time: the first answer may have been lost", now_ns)
        actions: list[Action] = []
        for ch in named:
            if ch.state is ChannelState.LEAVING or not ch.wanted:  # not held there: as good as an answer
                self._moves.release(slot, ch, now_ns)
            elif code == HELD_THERE and slot.talks:
                self._moves.back_off(ch, now_ns)
                ch.enter(ChannelState.LEAVING, now_ns)
            elif slot.maintenance_until_ns or len(asked) > 1:
                ch.enter(ChannelState.WAITING, now_ns, now_ns)
                ch.alone = ch.alone or len(asked) > 1
            else:
                actions += self._moves.refuse(slot, ch, code, now_ns)
        return actions + self._moves.serve(slot, now_ns)

    def _answered(self, slot: Slot, channel: int, request: int) -> list[Subscription]:
        ch = slot.channels.get(channel)
        if ch is not None:
            return [ch] if ch.request else []
        if not request:
            flying = {ch.request for ch in slot.channels.values() if ch.request}
            request = flying.pop() if len(flying) == 1 else 0
        return slot.in_flight(request)
