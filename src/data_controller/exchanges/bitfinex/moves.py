"""What can be done with a connection or a channel of Bitfinex, one move at a time; when, Subscriptions decide."""

from __future__ import annotations

from data_controller.actions import Action, Alert, Open, Reconnect, Send
from data_controller.exchanges.bitfinex import requests
from data_controller.exchanges.bitfinex.settings import BitfinexSettings
from data_controller.exchanges.bitfinex.slots import (
    ASKED,
    MAX_STRAYS,
    VENUE,
    ChannelState,
    Slot,
    Slots,
    SlotState,
    Subscription,
)
from data_controller.exchanges.streaming.backoff import doubling_ns

REFUSALS_BEFORE_GIVING_UP = 3
COUNTERS = ("resyncs", "reconnects", "lost_answers", "refusals", "strays", "given_up")

_S = 1_000_000_000


class Moves:
    """Moves of slots and channels from state to state, each with the actions that it takes."""

    def __init__(self, settings: BitfinexSettings, slots: Slots) -> None:
        self.settings = settings  # a reload puts others in its place
        self.slots = slots
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)

    def serve(self, slot: Slot, now_ns: int) -> list[Action]:
        """Whatever `slot` can do now for the channels that wait on it."""
        if slot.state is SlotState.IDLE and slot.channels:
            slot.state = SlotState.OPENING
            return [Open(slot.conn, VENUE, self.settings.url)]
        if slot.state is SlotState.READY and not slot.channels:
            return self.reconnect(slot, "carries nothing any more", now_ns)
        if not slot.talks:
            return []
        due = [ch for ch in slot.asked(ChannelState.WAITING) if now_ns >= ch.deadline_ns]
        return [self.subscribe(slot, ch, now_ns) for ch in due]

    def reconnect(self, slot: Slot, reason: str, now_ns: int) -> list[Action]:
        """Give the socket up; its CLOSED row says when it is gone."""
        self.counters["reconnects"] += 1
        self.tell(now_ns, f"reconnect: {reason}", slot, -1)
        slot.forget(now_ns)
        slot.state = SlotState.CLOSING
        return [Reconnect(slot.conn, reason)]

    def subscribe(self, slot: Slot, ch: Subscription, now_ns: int) -> Action:
        """Ask for `ch`, or once more where no answer came."""
        ch.repeated = ch.state is ChannelState.SUBSCRIBING
        ch.state, ch.since_ns, ch.deadline_ns = ChannelState.SUBSCRIBING, now_ns, self.answer_due(now_ns)
        return Send(slot.conn, ch.request)

    def unsubscribe(self, slot: Slot, ch: Subscription, now_ns: int) -> Action:
        """Ask the venue to let `ch` go, or once more where no answer came."""
        ch.repeated = ch.state is ChannelState.UNSUBSCRIBING
        ch.state, ch.since_ns, ch.deadline_ns = ChannelState.UNSUBSCRIBING, now_ns, self.answer_due(now_ns)
        return Send(slot.conn, requests.unsubscribe(ch.chan_id))

    def resync(self, slot: Slot, ch: Subscription, now_ns: int) -> list[Action]:
        """Ask for `ch` again: at once the first time, later each time it breaks before it held for long enough."""
        if ch.state is not ChannelState.LIVE or not slot.talks:
            return []
        self.back_off(ch, now_ns)
        return [self.unsubscribe(slot, ch, now_ns)]

    def back_off(self, ch: Subscription, now_ns: int) -> None:
        """Note a resync, and from when on `ch` may be asked for: one that held for long enough starts over."""
        settings = self.settings
        ch.resyncs.note(
            now_ns, settings.resync_backoff_s, settings.resync_backoff_max_s, settings.resync_stable_after_s
        )
        self.counters["resyncs"] += 1

    def let_go(self, slot: Slot, ch: Subscription, now_ns: int) -> list[Action]:
        """Give a channel up that is wanted no more; one whose answer is awaited goes when the answer comes."""
        if ch.state is ChannelState.LIVE and slot.talks:
            return [self.unsubscribe(slot, ch, now_ns)]
        if ch.state is not ChannelState.LIVE and ch.state not in ASKED:
            del slot.channels[ch.row]
        return []

    def release(self, slot: Slot, ch: Subscription, now_ns: int) -> list[Action]:
        """The venue holds `ch` no more: asked for again where wanted, after its back-off."""
        if not ch.wanted:
            del slot.channels[ch.row]
            return self.serve(slot, now_ns)
        if ch.state is ChannelState.LIVE:  # the venue let it go unasked
            self.back_off(ch, now_ns)
        ch.wait(now_ns, ch.resyncs.not_before_ns)
        return self.serve(slot, now_ns)

    def disown(self, slot: Slot, chan_id: int, now_ns: int) -> list[Action]:
        """A subscription that nobody wants: unsubscribed once, in maintenance at its end."""
        if chan_id in slot.strays or slot.state is not SlotState.READY:
            return []
        if len(slot.strays) >= MAX_STRAYS:
            return self.reconnect(slot, f"more than {MAX_STRAYS} subscriptions that nobody asked for", now_ns)
        slot.strays[chan_id] = None
        self.counters["strays"] += 1
        return [Send(slot.conn, requests.unsubscribe(chan_id))] if slot.talks else []

    def move(self, slot: Slot, ch: Subscription, now_ns: int) -> list[Action]:
        """`slot` is full by the venue's count: `ch` goes to another connection."""
        del slot.channels[ch.row]
        slot.limit = len(slot.channels)
        if not ch.wanted:
            return []
        self.slots.place([ch.row], self.settings.max_channels_per_connection)
        other = self.slots.by_row(ch.row)
        assert other is not None and other is not slot, "a channel was placed back on a full connection"
        return self.serve(other, now_ns)

    def refuse(self, slot: Slot, ch: Subscription, code: int, now_ns: int) -> list[Action]:
        """The venue answered `ch` with error `code`: later, and after some refusals in a row much later and aloud."""
        self.counters["refusals"] += 1
        if not ch.wanted:
            del slot.channels[ch.row]
            return self.serve(slot, now_ns)
        ch.refusals += 1
        settings = self.settings
        ch.wait(now_ns, now_ns + doubling_ns(ch.refusals, settings.resync_backoff_s, settings.resync_backoff_max_s))
        if ch.refusals < REFUSALS_BEFORE_GIVING_UP:
            return []
        retry_ns = doubling_ns(ch.given_up + 1, settings.retry_given_up_after_s, settings.retry_given_up_max_s)
        ch.state, ch.deadline_ns = ChannelState.FAILED, now_ns + retry_ns
        ch.given_up += 1
        if ch.given_up > 1:
            return []
        self.counters["given_up"] += 1
        request = ch.request.decode()
        text = (
            f"connection {slot.conn}: {request} was refused {ch.refusals} times, last with {code}: check the symbol; it"
            f" is tried again in {retry_ns / _S:g} s"
        )
        return [Alert("critical", "bitfinex_channel_refused", text)]

    def answer_due(self, now_ns: int) -> int:
        """When an answer to what is asked now is lost."""
        return now_ns + int(self.settings.ack_timeout_s * _S)

    def tell(self, now_ns: int, event: str, slot: Slot, channel: int) -> None:
        """Add to the story that a broken invariant tells."""
        self.slots.story.append((now_ns, event, slot.conn, channel))
