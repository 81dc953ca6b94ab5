"""What can be done with a connection or a channel of a venue of named streams; when, Subscriptions decide."""

from __future__ import annotations

from collections.abc import Iterator

from data_controller.actions import Action, Alert, Fetch, Open, Reconnect, Send
from data_controller.exchanges.streaming.backoff import doubling_ns
from data_controller.exchanges.streaming.dialect import Dialect
from data_controller.exchanges.streaming.settings import StreamingSettings
from data_controller.exchanges.streaming.slots import MAX_STRAYS, ChannelState, Slot, Slots, SlotState, Subscription
from data_controller.market.tables import Channel

REFUSALS_BEFORE_GIVING_UP = 3
MAX_FETCHES = 4
"""Snapshots under way at a time: the rest waits here, where it can still be forgotten."""
FETCHES_IN_VAIN = 3
"""Snapshots in a row that did not fit, after which the stream begins anew as well: only then do changes wait."""
HELD_THERE = -(1 << 40)
"""Code (CONTROL ERROR's price) by which a decoder says that the venue serves the channel already."""
COUNTERS = (
    "resyncs",
    "resnapshots",
    "fetches",
    "reconnects",
    "renewals",
    "lost_answers",
    "refusals",
    "strays",
    "given_up",
)

_OK = 200
_REFUSED = (400, 404)
_S = 1_000_000_000


class Moves:
    """Moves of slots and channels from state to state, each with the actions that it takes."""

    def __init__(self, dialect: Dialect, settings: StreamingSettings, slots: Slots) -> None:
        self.dialect = dialect
        self.settings = settings  # a reload puts others in its place
        self.slots = slots
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self.left: dict[int, None] = {}  # channel rows given up on a venue that does not say so, for `silent`
        self._requests = 0  # the number of the last one
        self._to_fetch: dict[int, None] = {}  # channel rows whose snapshot is due some time
        self._fetched: dict[int, None] = {}  # channel rows whose snapshot is on its way

    # Connections

    def serve(self, slot: Slot, now_ns: int) -> list[Action]:
        """Whatever `slot` can do now for its channels, as far as its pace allows."""
        if slot.state is SlotState.IDLE and slot.channels:
            slot.state = SlotState.OPENING
            return [Open(slot.conn, self.dialect.venue, slot.url)]
        if slot.state is SlotState.READY and not slot.channels:
            return self.reconnect(slot, "carries nothing any more", now_ns)
        if not slot.talks:
            return []
        slot.behind = False
        leaving = [ch.row for ch in slot.channels.values() if ch.state is ChannelState.LEAVING and not ch.request]
        leaving += [row for row, until_ns in slot.strays.items() if not until_ns]
        actions = [self._unsubscribe(slot, rows, now_ns) for rows in self._paced(slot, leaving, now_ns)]
        if not slot.behind:
            actions += [
                self._subscribe(slot, rows, now_ns) for rows in self._paced(slot, self._due(slot, now_ns), now_ns)
            ]
        slot.unconfirmed |= bool(actions)
        return actions + self._confirm(slot, now_ns)

    def _confirm(self, slot: Slot, now_ns: int) -> list[Action]:
        """Ask what the venue serves by now, where its answers do not say: once behind all that was asked."""
        if not slot.unconfirmed or slot.behind:
            return []
        payload = self.dialect.confirm(self.settings, self._requests + 1)
        if payload is not None and not slot.pace.take(now_ns):
            slot.behind = True
            return []
        slot.unconfirmed = False
        if payload is None:
            return []
        self._requests += 1
        return [Send(slot.conn, payload)]

    def _due(self, slot: Slot, now_ns: int) -> list[int]:
        """Channels to be asked for now.

        A rendering waits for another of the same stream that still has to go: a venue may not tell them apart.
        """
        going = {(ch.channel.symbol, ch.channel.stream) for ch in slot.channels.values() if not ch.wanted}
        going |= {self.slots.tables.channels[row][1:3] for row in slot.strays}
        rows = []
        for ch in slot.channels.values():
            waits = ch.state in (ChannelState.WAITING, ChannelState.FAILED) and now_ns >= ch.deadline_ns
            again = ch.state is ChannelState.ASKED and not ch.request
            if (waits or again) and (ch.channel.symbol, ch.channel.stream) not in going:
                rows.append(ch.row)
        return rows

    def _paced(self, slot: Slot, rows: list[int], now_ns: int) -> Iterator[list[int]]:
        """`rows` by the request that names them, as far as the pace lets requests through.

        One request names channels of one rendering, unless `limits.mixed`: some venues can say no more at a time.
        """
        mixed = self.dialect.limits.mixed
        alike: dict[tuple[object, ...], list[int]] = {}
        for row in rows:
            ch = slot.channels.get(row)
            alone = row if ch is not None and ch.alone and ch.state is not ChannelState.LEAVING else -1
            rendering = () if mixed else self.slots.tables.channels[row][2:]
            alike.setdefault((alone, *rendering), []).append(row)
        most = self.dialect.limits.channels_per_request
        for group in alike.values():
            for lo in range(0, len(group), most):
                if not slot.pace.take(now_ns):
                    slot.behind = True
                    return
                yield group[lo : lo + most]

    def reconnect(self, slot: Slot, reason: str, now_ns: int) -> list[Action]:
        """Give the socket up; its CLOSED row says when it is gone."""
        self.counters["reconnects"] += 1
        self.slots.tell(now_ns, f"reconnect: {reason}", slot, -1)
        self.slots.forget(slot, now_ns)
        slot.state = SlotState.CLOSING
        return [Reconnect(slot.conn, reason)]

    def ping(self, slot: Slot, now_ns: int) -> Action:
        """Keep the connection alive; it counts as a request, but never waits behind one."""
        slot.pinged_ns = now_ns
        slot.pace.spend(now_ns)
        return Send(slot.conn, self.dialect.ping())

    # Channels

    def _subscribe(self, slot: Slot, rows: list[int], now_ns: int) -> Action:
        self._requests += 1
        for row in rows:
            ch = slot.channels[row]
            ch.since_ns, ch.deadline_ns = now_ns, self._answer_due(ch, now_ns)
            ch.state, ch.request = ChannelState.ASKED, self._requests
        channels = [self.slots.tables.channels[row] for row in rows]
        return Send(slot.conn, self.dialect.subscribe(self.settings, channels, self._requests))

    def _answer_due(self, ch: Subscription, now_ns: int) -> int:
        """When an answer to a subscribe sent now is lost; 0 where first data is the answer and may take its time."""
        told = self.dialect.limits.acknowledged or (ch.is_book and self.snapshot_url(ch) is None)
        return self.answer_due(now_ns) if told else 0

    def _unsubscribe(self, slot: Slot, rows: list[int], now_ns: int) -> Action:
        self._requests += 1
        for row in rows:
            ch = slot.channels.get(row)
            if ch is None:
                slot.strays[row] = self.answer_due(now_ns)
            else:
                ch.since_ns, ch.deadline_ns, ch.request = now_ns, self.answer_due(now_ns), self._requests
        channels = [self.slots.tables.channels[row] for row in rows]
        return Send(slot.conn, self.dialect.unsubscribe(self.settings, channels, self._requests))

    def live(self, slot: Slot, ch: Subscription, now_ns: int) -> list[Action]:
        """The venue serves `ch` from here on."""
        ch.enter(ChannelState.LIVE, now_ns)
        ch.fresh_ns, ch.alone = now_ns, False
        if not ch.wanted:
            return self._served(slot, ch) + self.leave(slot, ch, now_ns)
        if not ch.is_book or self.snapshot_url(ch) is None:
            return self._served(slot, ch) + self.fetch_due(now_ns)
        self._queue_fetch(ch, now_ns)
        return self.fetch_due(now_ns)

    def _served(self, slot: Slot, ch: Subscription) -> list[Action]:
        """All that `ch` needs can be had: a book that is spliced needs its snapshot too."""
        given_up, ch.refusals, ch.given_up = ch.given_up, 0, 0
        if not given_up:
            return []
        text = f"connection {slot.conn}: {name(ch.channel)} is served again"
        return [Alert("info", f"{self.dialect.venue}_channel_back", text)]

    def leave(self, slot: Slot, ch: Subscription, now_ns: int) -> list[Action]:
        """Unsubscribe `ch`; what comes after that, its being wanted decides."""
        if slot.talks:
            ch.enter(ChannelState.LEAVING, now_ns)
        return self.serve(slot, now_ns)

    def resync(self, slot: Slot, ch: Subscription, now_ns: int, *, stream: bool = False) -> list[Action]:
        """Get the book of `ch` anew, alone: a fetched snapshot where its stream is spliced to one, else asked again.

        At once the first time, later each time it breaks before it held for long enough. With `stream` it is the
        stream that is in doubt: no snapshot would help that.
        """
        if ch.state is not ChannelState.LIVE or not slot.talks:
            return []
        if not stream and ch.is_book and self.snapshot_url(ch) is not None:
            if ch.fetching:
                return []
            self.back_off(ch, now_ns)
            self._queue_fetch(ch, ch.resyncs.not_before_ns)
            return self.fetch_due(now_ns)
        self.back_off(ch, now_ns)
        return self.leave(slot, ch, now_ns)

    def resnapshot(self, slot: Slot, ch: Subscription, now_ns: int) -> list[Action]:
        """Get a book that nothing proves anew; nothing failed, so that no back-off grows."""
        self.counters["resnapshots"] += 1
        if self.snapshot_url(ch) is None:
            ch.resyncs.not_before_ns = now_ns
            return self.leave(slot, ch, now_ns)
        self._queue_fetch(ch, now_ns)
        return self.fetch_due(now_ns)

    def back_off(self, ch: Subscription, now_ns: int) -> None:
        """Note a resync, and from when on `ch` may be asked for."""
        settings = self.settings
        ch.resyncs.note(
            now_ns, settings.resync_backoff_s, settings.resync_backoff_max_s, settings.resync_stable_after_s
        )
        self.counters["resyncs"] += 1

    def let_go(self, slot: Slot, ch: Subscription, now_ns: int) -> None:
        """Give a channel up that is wanted no more; one whose answer is awaited goes when the answer comes."""
        silent_ask = ch.state is ChannelState.ASKED and not ch.deadline_ns
        if (ch.state is ChannelState.LIVE or silent_ask) and slot.talks:
            ch.enter(ChannelState.LEAVING, now_ns)
        elif ch.state in (ChannelState.WAITING, ChannelState.FAILED):
            self.slots.drop(slot, ch.row)

    def release(self, slot: Slot, ch: Subscription, now_ns: int) -> None:
        """The venue holds `ch` no more: asked for again where wanted, after its back-off."""
        if not ch.wanted:
            self.slots.drop(slot, ch.row)
            return
        if ch.state is ChannelState.LIVE:  # the venue let it go unasked
            self.back_off(ch, now_ns)
        given_up = ch.refusals >= REFUSALS_BEFORE_GIVING_UP
        state = ChannelState.FAILED if given_up else ChannelState.WAITING
        ch.enter(state, now_ns, max(ch.resyncs.not_before_ns, now_ns))

    def disown(self, slot: Slot, row: int, now_ns: int) -> list[Action]:
        """A channel that nobody asked for here: unsubscribed once, in maintenance at its end."""
        ours = 0 <= row < len(self.slots.tables.channels)
        if not ours or row in slot.strays or slot.state is not SlotState.READY:
            return []
        if len(slot.strays) >= MAX_STRAYS:
            return self.reconnect(slot, f"more than {MAX_STRAYS} channels that nobody asked for", now_ns)
        slot.strays[row] = 0
        self.counters["strays"] += 1
        return self.serve(slot, now_ns)

    def refuse(self, slot: Slot, ch: Subscription, code: int, now_ns: int) -> list[Action]:
        """The venue refused a wanted `ch` with `code`: asked later, after some in a row much later and aloud."""
        self.counters["refusals"] += 1
        settings = self.settings
        ch.refusals += 1
        ch.alone = True
        delay_ns = doubling_ns(ch.refusals, settings.resync_backoff_s, settings.resync_backoff_max_s)
        ch.enter(ChannelState.WAITING, now_ns, now_ns + delay_ns)
        if ch.refusals < REFUSALS_BEFORE_GIVING_UP:
            return []
        retry_ns, alerts = self._give_up(slot, ch, code)
        ch.enter(ChannelState.FAILED, now_ns, now_ns + retry_ns)
        return alerts

    def _give_up(self, slot: Slot, ch: Subscription, code: int) -> tuple[int, list[Action]]:
        """In how long `ch` is tried again, and what a person is told."""
        ch.given_up += 1
        settings = self.settings
        retry_ns = doubling_ns(ch.given_up, settings.retry_given_up_after_s, settings.retry_given_up_max_s)
        if ch.given_up > 1:
            return retry_ns, []
        self.counters["given_up"] += 1
        text = (
            f"connection {slot.conn}: {name(ch.channel)} was refused {ch.refusals} times, last with {code}: check the"
            f" symbol; it is tried again in {retry_ns / _S:g} s"
        )
        return retry_ns, [Alert("critical", f"{self.dialect.venue}_channel_refused", text)]

    # Snapshots

    def snapshot_url(self, ch: Subscription) -> str | None:
        """Where the snapshot of a book is fetched, None where its stream brings it."""
        return self.dialect.snapshot_url(self.settings, ch.channel)

    def _queue_fetch(self, ch: Subscription, due_ns: int) -> None:
        ch.fetch_due_ns, ch.fetch_deadline_ns = due_ns, 0
        self._fetched.pop(ch.row, None)
        self._to_fetch[ch.row] = None

    def fetch_due(self, now_ns: int) -> list[Action]:
        """Fetches of the snapshots that are due, a few at a time."""
        for row in list(self._fetched):
            found = self.slots.find(row)
            if found is None or not found[1].fetch_deadline_ns:
                del self._fetched[row]
        actions: list[Action] = []
        for row in list(self._to_fetch):
            if len(self._fetched) >= MAX_FETCHES:
                break
            found = self.slots.find(row)
            if found is None or not found[1].fetch_due_ns:
                del self._to_fetch[row]
                continue
            slot, ch = found
            url = self.snapshot_url(ch)
            if now_ns < ch.fetch_due_ns or not slot.talks:
                continue
            del self._to_fetch[row]
            if url is None:  # since a reload the stream brings it, to whoever asks anew
                actions += self.leave(slot, ch, now_ns)
                continue
            self._fetched[row] = None
            ch.fetch_due_ns, ch.fetch_deadline_ns, ch.fresh_ns = 0, self.answer_due(now_ns), now_ns
            self.counters["fetches"] += 1
            actions.append(Fetch(slot.conn, self.dialect.venue, url))
        return actions

    def fetched(self, ch: Subscription, of_use: bool, status: int, now_ns: int) -> list[Action]:
        """A snapshot of `ch` came, of use or not, or a refusal; what nobody waits for can only have been of use."""
        if of_use:
            ch.fetch_due_ns = ch.fetch_deadline_ns = ch.in_vain = 0
            found = self.slots.find(ch.row)
            return ([] if found is None else self._served(*found)) + self.fetch_due(now_ns)
        if ch.fetch_deadline_ns:
            self.back_off(ch, now_ns)
            if status in _REFUSED:
                self.counters["refusals"] += 1
                ch.refusals += 1
                found = self.slots.find(ch.row)
                if ch.refusals >= REFUSALS_BEFORE_GIVING_UP and found is not None:
                    retry_ns, actions = self._give_up(found[0], ch, status)
                    ch.resyncs.not_before_ns = now_ns + retry_ns
                    return actions + self.leave(*found, now_ns) + self.fetch_due(now_ns)
            ch.in_vain += status == _OK
            if ch.in_vain >= FETCHES_IN_VAIN:
                found = self.slots.find(ch.row)
                return [] if found is None else self.leave(*found, now_ns) + self.fetch_due(now_ns)
            self._queue_fetch(ch, ch.resyncs.not_before_ns)
        return self.fetch_due(now_ns)

    def lost_fetches(self, now_ns: int) -> list[Action]:
        """Snapshots that did not come in time are fetched again, after their back-off."""
        for row in list(self._fetched):
            found = self.slots.find(row)
            if found is not None and 0 < found[1].fetch_deadline_ns <= now_ns:
                self.counters["lost_answers"] += 1
                self.back_off(found[1], now_ns)
                self._queue_fetch(found[1], found[1].resyncs.not_before_ns)
        return self.fetch_due(now_ns)

    def answer_due(self, now_ns: int) -> int:
        """When an answer to what is asked now is lost."""
        return now_ns + int(self.settings.ack_timeout_s * _S)


def name(channel: Channel) -> str:
    """What a person calls `channel`: `book BTCUSDT 100ms`."""
    parts = (channel.stream, channel.symbol, channel.precision, channel.frequency, channel.length or "")
    return " ".join(str(part) for part in parts if part)
