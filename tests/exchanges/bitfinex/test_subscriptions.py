"""The Bitfinex session's decisions, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_controller.actions import Alert, Open, Reconnect, Send
from data_controller.exchanges.bitfinex import requests
from data_controller.exchanges.bitfinex.settings import BitfinexSettings
from data_controller.market.layout import BOOK, BrokenBy, Proof
from data_controller.market.rows import Control

from .venue import FLAGS, Rig, S

SYMBOLS = tuple(f"tCO{i:02d}USD" for i in range(30))


def _book_rig(n: int = 3, **settings: Any) -> Rig:
    """`n` instruments with one book each, everything live."""
    rig = Rig(instruments=SYMBOLS[:n], trades=False, tickers=False, **settings)
    rig.start()
    rig.settle()
    assert rig.live_everywhere()
    return rig


def _unsubscribes(actions: list[Any]) -> list[bytes]:
    return [a.payload for a in actions if isinstance(a, Send) and b"unsubscribe" in a.payload]


# Opening


def test_a_session_opens_configures_and_only_then_subscribes() -> None:
    rig = Rig(instruments=("tBTCUSD",), candles=("1m",))
    assert rig.start() == [Open(0, "bitfinex", "wss://api-pub.bitfinex.com/ws/2")]
    assert rig.perform(rig.subs.on_control(_opened(rig), rig.now_ns)) == [Send(0, b'{"event":"conf","flags":229376}')]
    assert rig.row(Control.INFO, price=2) == []
    assert rig.row(Control.CONFIGURED, size=FLAGS) == [
        Send(
            0,
            b'{"event":"subscribe","channel":"book","symbol":"tBTCUSD","prec":"P0","freq":"F0","len":"25"}',
        ),
        Send(0, b'{"event":"subscribe","channel":"trades","symbol":"tBTCUSD"}'),
        Send(0, b'{"event":"subscribe","channel":"ticker","symbol":"tBTCUSD"}'),
        Send(0, b'{"event":"subscribe","channel":"candles","key":"trade:1m:tBTCUSD"}'),
    ]
    assert rig.states() == ["SUBSCRIBING"] * 4
    for channel in (2, 0, 3, 1):  # answers come in any order
        assert rig.row(Control.SUBSCRIBED, channel=channel, price=500 + channel) == []
    assert rig.states() == ["LIVE"] * 4


def _opened(rig: Rig) -> np.void:
    from .venue import control

    rig.open[0] = True
    return control(Control.OPENED, 0, rig.now_ns)


@pytest.mark.parametrize("flags", [-1, 0, 65536, 131072 + 65536])
def test_flags_that_are_not_all_in_force_end_the_connection_and_the_third_time_a_person_hears_it(flags: int) -> None:
    rig = Rig(instruments=("tBTCUSD",))
    rig.start()
    for _ in range(3):
        assert rig.alerts == []
        rig.connect()
        actions = rig.row(Control.CONFIGURED, size=flags)
        assert isinstance(actions[0], Reconnect)
    assert [a.name for a in rig.alerts] == ["bitfinex_conf_refused"]
    rig.settle()
    assert rig.live_everywhere()


def test_a_conf_that_is_not_answered_ends_the_connection() -> None:
    rig = Rig(instruments=("tBTCUSD",))
    rig.start()
    rig.connect()
    assert rig.pulse(9.9) == []
    assert rig.pulse(0.1) == [Reconnect(0, "conf was not answered")]


def test_no_connection_carries_more_than_25_channels_and_an_instrument_stays_together() -> None:
    rig = Rig(instruments=SYMBOLS, candles=("1m",))  # 4 channels each: 6 instruments a connection
    assert [a.conn for a in rig.start() if isinstance(a, Open)] == [0, 1, 2, 3, 4]
    rig.settle()
    assert rig.live_everywhere()
    for connection in rig.subs.state()["connections"]:
        symbols = [ch["symbol"] for ch in connection["channels"]]
        assert len(symbols) == 24
        assert all(symbols.count(symbol) == 4 for symbol in symbols)


def test_an_instrument_of_more_channels_than_a_connection_holds_is_cut() -> None:
    widths = ("1m", "5m", "15m")
    rig = Rig(instruments=("tBTCUSD",), candles=widths, max_channels_per_connection=4)
    rig.start()
    rig.settle()
    assert [len(c["channels"]) for c in rig.subs.state()["connections"]] == [4, 2]
    assert rig.live_everywhere()


def test_slots_are_numbered_from_the_first_given_and_rows_of_others_are_not_looked_at() -> None:
    rig = Rig(first_conn=7, instruments=("tBTCUSD",))
    assert [a.conn for a in rig.start() if isinstance(a, Open)] == [7]
    assert rig.row(Control.OPENED, conn=6) == []
    assert rig.row(Control.OPENED, conn=8) == []
    rig.settle()
    assert rig.live_everywhere()


def test_another_protocol_version_is_alerted() -> None:
    rig = _book_rig(1)
    (alert,) = rig.row(Control.INFO, price=3)
    assert isinstance(alert, Alert)
    assert (alert.severity, alert.name) == ("critical", "bitfinex_version")


def test_an_info_without_a_version_is_not_taken_for_another_one() -> None:
    assert _book_rig(1).row(Control.INFO, price=0, size=20000) == []


def test_reloads_faster_than_old_channels_go_leave_out_aloud_what_finds_no_room() -> None:
    rig = Rig(max_channels_per_connection=1, trades=False, tickers=False)
    waiting: list[Any] = []  # the venue is slow to let go
    for i in range(3):
        _reload(rig, instruments=tuple(f"tX{i}{n:04d}USD" for n in range(128)))
        rig.connect()
        while rig.inbox:
            if rig.inbox[0][1]["event"] == "unsubscribe":
                waiting.append(rig.inbox.pop(0))
            else:
                rig.answer()
    assert [a.name for a in rig.alerts] == ["bitfinex_channels_left_out"]
    assert len(rig.slots()) == 256
    rig.inbox += waiting
    rig.settle()
    _reload(rig)
    rig.settle()
    assert rig.live_everywhere()
    assert len(rig.subscribed) == 128


# Resync


@pytest.mark.parametrize("by", [BrokenBy.CHECKSUM, BrokenBy.OVERFLOW, BrokenBy.INEXACT, BrokenBy.STALE])
def test_a_book_that_breaks_is_asked_for_again_alone(by: BrokenBy) -> None:
    rig = _book_rig(3)
    chan_id = rig.chan_id(1)
    assert rig.broken(1, by) == [Send(0, b'{"event":"unsubscribe","chanId":%d}' % chan_id)]
    assert rig.broken(1, by) == []  # already on its way
    assert rig.states() == ["LIVE", "UNSUBSCRIBING", "LIVE"]
    (subscribe,) = rig.row(Control.UNSUBSCRIBED, channel=1, price=chan_id)
    assert subscribe == Send(0, requests.subscribe(rig.tables.channels[1]))
    assert rig.subs.counters["resyncs"] == 1
    assert rig.subs.counters["reconnects"] == 0


def test_a_book_that_breaks_again_and_again_waits_longer_each_time_up_to_the_maximum() -> None:
    rig = _book_rig(1)
    waits = []
    for _ in range(9):
        rig.broken(0, BrokenBy.CHECKSUM)
        rig.answer()
        waited = 0.0
        while rig.states() == ["WAITING"]:
            rig.pulse(0.5)
            waited += 0.5
        waits.append(waited)
        rig.settle()
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    rig.pulse(120.5)  # it held
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.answer()
    assert rig.states() == ["SUBSCRIBING"]


def test_a_gap_that_the_sequence_shows_reconnects_once_and_resyncs_no_book() -> None:
    rig = _book_rig(3)
    for channel in range(3):
        assert rig.broken(channel, BrokenBy.GAP) == []
    actions = rig.row(Control.SEQUENCE_GAP, size=2)
    assert actions == [Reconnect(0, "the sequence says that messages were lost")]
    assert rig.slots() == ["OPENING"]
    rig.settle()
    assert rig.live_everywhere()
    assert rig.subs.counters["resyncs"] == 0
    assert rig.subs.counters["reconnects"] == 1


def test_a_gap_of_one_channel_that_nothing_else_explains_is_resynced_at_the_next_pulse() -> None:
    rig = _book_rig(3)
    rig.broken(1, BrokenBy.GAP)
    assert len(_unsubscribes(rig.pulse(0.1))) == 1
    assert rig.states() == ["LIVE", "UNSUBSCRIBING", "LIVE"]


def test_an_unreadable_frame_of_a_known_channel_resyncs_that_channel_alone() -> None:
    rig = _book_rig(3)
    rig.broken(2, BrokenBy.GAP)
    assert len(_unsubscribes(rig.row(Control.QUARANTINED, channel=2))) == 1
    assert rig.pulse(0.1) == []
    assert rig.states() == ["LIVE", "LIVE", "UNSUBSCRIBING"]


def test_an_unreadable_frame_that_may_be_of_any_channel_reconnects_where_books_broke_and_not_where_none_did() -> None:
    rig = _book_rig(2)
    assert rig.row(Control.QUARANTINED) == []
    rig.broken(0, BrokenBy.GAP)
    rig.broken(1, BrokenBy.GAP)
    assert isinstance(rig.row(Control.QUARANTINED)[0], Reconnect)


def test_a_close_is_answered_with_open_and_books_broken_by_it_are_not_resynced() -> None:
    rig = _book_rig(2)
    assert rig.broken(0, BrokenBy.CLOSED) == []
    rig.broken(1, BrokenBy.GAP)
    del rig.open[0]
    assert rig.row(Control.CLOSED) == [Open(0, "bitfinex", rig.settings.url)]
    assert rig.row(Control.CLOSED) == []
    rig.subscribed.clear()
    rig.inbox.clear()
    rig.settle()
    assert rig.live_everywhere()
    assert rig.subs.counters["resyncs"] == 0


@pytest.mark.parametrize("code", [Control.DUPLICATE, Control.PONG])
def test_what_needs_no_answer_gets_none(code: Control) -> None:
    rig = _book_rig(1)
    assert rig.row(code) == []
    assert rig.states() == ["LIVE"]


def test_rows_of_a_socket_that_was_given_up_change_nothing() -> None:
    rig = _book_rig(2)
    rig.subs.on_control(_row(rig, Control.RESTART), rig.now_ns)
    for code in (Control.SEQUENCE_GAP, Control.ERROR, Control.SUBSCRIBED, Control.MAINTENANCE_START):
        assert rig.subs.on_control(_row(rig, code), rig.now_ns) == []
    assert rig.slots() == ["CLOSING"]
    assert rig.subs.counters["reconnects"] == 1


def _row(rig: Rig, code: Control) -> np.void:
    from .venue import control

    return control(code, 0, rig.now_ns, 0, 999)


# Lost answers


def test_a_subscribe_without_an_answer_is_repeated_once_and_then_the_connection_goes() -> None:
    rig = _book_rig(2)
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.answer()
    rig.inbox.clear()  # the subscribe is lost
    assert rig.pulse(9.9) == []
    assert rig.pulse(0.1) == [Send(0, requests.subscribe(rig.tables.channels[0]))]
    rig.inbox.clear()
    assert rig.pulse(9.9) == []
    assert rig.pulse(0.1) == [Reconnect(0, "a request was not answered twice")]


def test_a_repeated_subscribe_that_is_answered_is_as_good_as_the_first() -> None:
    rig = _book_rig(2)
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.answer()
    rig.inbox.clear()
    rig.pulse(10)
    rig.settle()
    assert rig.live_everywhere()
    assert rig.subs.counters["reconnects"] == 0


@pytest.mark.parametrize("named", [True, False])
def test_a_dup_after_a_lost_answer_reconnects_since_the_id_cannot_be_known(named: bool) -> None:
    rig = _book_rig(3)
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.broken(1, BrokenBy.CHECKSUM)
    rig.answer()
    rig.answer()
    rig.pulse(10)
    assert rig.states() == ["SUBSCRIBING", "SUBSCRIBING", "LIVE"]
    actions = rig.row(Control.ERROR, channel=0 if named else -1, price=10301)
    assert actions == [Reconnect(0, "subscribed already, but the answer was lost")]


def test_a_dup_of_a_channel_whose_answer_came_late_is_no_reason_to_reconnect() -> None:
    rig = _book_rig(1)
    assert rig.row(Control.ERROR, channel=0, price=10301) == []
    assert rig.row(Control.ERROR, price=10301) == []
    assert rig.states() == ["LIVE"]


def test_an_unsubscribe_without_an_answer_is_repeated_and_its_refusal_is_an_answer() -> None:
    rig = _book_rig(2)
    chan_id = rig.chan_id(0)
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.inbox.clear()
    del rig.subscribed[0, chan_id]  # done, but the answer is lost
    assert rig.pulse(10) == [Send(0, requests.unsubscribe(chan_id))]
    rig.answer()  # 10400, without a channel
    assert rig.states() == ["SUBSCRIBING", "LIVE"]
    rig.settle()
    assert rig.live_everywhere()


def test_an_unsubscribe_that_failed_by_id_is_an_answer_for_that_channel() -> None:
    rig = _book_rig(2)
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.broken(1, BrokenBy.CHECKSUM)
    rig.row(Control.ERROR, price=0, size=rig.chan_id(1))
    assert rig.states() == ["UNSUBSCRIBING", "SUBSCRIBING"]
    assert rig.row(Control.ERROR, price=0, size=12345) == []


# Refusals


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("code", [10300, 10302, 11000, 10001])
def test_a_refused_subscription_is_tried_three_times_and_given_up_aloud(code: int, named: bool) -> None:
    rig = _book_rig(2)
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.answer()
    channel = 0 if named else -1
    for wait in (1, 2):
        rig.row(Control.ERROR, channel=channel, price=code)
        rig.inbox.clear()
        assert rig.states() == ["WAITING", "LIVE"]
        assert rig.pulse(wait - 0.1) == []
        assert len(rig.pulse(0.1)) == 1
    rig.row(Control.ERROR, channel=channel, price=code)
    assert rig.states() == ["FAILED", "LIVE"]
    assert rig.alerts[-1].name == "bitfinex_channel_refused"
    assert rig.alerts[-1].severity == "critical"
    assert str(code) in rig.alerts[-1].text
    assert rig.pulse(299.9) == []
    rig.perform(rig.subs.reload(rig.settings, rig.now_ns))  # a person looked at it
    rig.inbox = rig.inbox[-1:]
    rig.settle()
    assert rig.live_everywhere()


def _refuse_until_given_up(rig: Rig, tries: int = 3) -> None:
    """Refuse channel 0 from its next subscription on."""
    for _ in range(tries):
        while rig.states()[0] != "SUBSCRIBING":
            rig.pulse(1)
        rig.row(Control.ERROR, channel=0, price=10300)
        rig.inbox.clear()
    assert rig.states()[0] == "FAILED"


def test_a_channel_given_up_is_tried_again_later_each_time_with_one_alert_and_word_when_it_is_back() -> None:
    rig = _book_rig(2)
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.answer()
    _refuse_until_given_up(rig)
    for wait in (300, 600, 1200, 2400, 3600, 3600):
        assert rig.pulse(wait - 0.1) == []
        assert rig.pulse(0.1) == [Send(0, requests.subscribe(rig.tables.channels[0]))]
        rig.row(Control.ERROR, channel=0, price=10300)
        rig.inbox.clear()
        assert rig.states() == ["FAILED", "LIVE"]
    assert [(alert.severity, alert.name) for alert in rig.alerts] == [("critical", "bitfinex_channel_refused")]
    assert rig.subs.counters["given_up"] == 1
    rig.pulse(3600)
    rig.settle()
    assert rig.live_everywhere()
    assert [(alert.severity, alert.name) for alert in rig.alerts[1:]] == [("info", "bitfinex_channel_back")]
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.answer()
    _refuse_until_given_up(rig)
    assert [alert.severity for alert in rig.alerts] == ["critical", "info", "critical"]
    assert rig.pulse(299.9) == []


def test_a_channel_given_up_is_tried_on_a_new_socket_without_a_second_alert() -> None:
    rig = _book_rig(2)
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.answer()
    _refuse_until_given_up(rig)
    rig.row(Control.RESTART)
    rig.connect()
    rig.answer()  # conf
    _refuse_until_given_up(rig)
    assert [alert.severity for alert in rig.alerts] == ["critical"]


def test_a_channel_given_up_is_tried_when_a_maintenance_is_over() -> None:
    rig = _book_rig(2)
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.answer()
    _refuse_until_given_up(rig)
    rig.row(Control.MAINTENANCE_START)
    assert rig.pulse(140, heard=False) == []
    rig.row(Control.MAINTENANCE_END)
    rig.last_recv_ns[:] = rig.now_ns
    rig.settle()
    assert rig.live_everywhere()


def test_an_error_nobody_named_is_alerted_and_harms_no_channel() -> None:
    rig = _book_rig(2)
    (alert,) = rig.row(Control.ERROR, price=10000)
    assert isinstance(alert, Alert)
    assert alert.name == "bitfinex_error"
    assert rig.states() == ["LIVE", "LIVE"]


@pytest.mark.parametrize("limit", [1, 3, 7, 24])
def test_channels_beyond_the_venues_limit_move_to_further_connections(limit: int) -> None:
    rig = Rig(instruments=SYMBOLS[:8], trades=True, tickers=True)
    rig.limit = limit
    rig.start()
    rig.settle()
    assert rig.live_everywhere()
    assert max(len(c["channels"]) for c in rig.subs.state()["connections"]) == limit
    assert rig.subs.counters["reconnects"] == 0


def test_a_limit_of_no_channel_at_all_is_a_refusal_and_opens_no_endless_connections() -> None:
    rig = Rig(instruments=SYMBOLS[:2], trades=False, tickers=False)
    rig.limit = 0
    rig.start()
    for _ in range(10):
        rig.settle()
        rig.pulse(10)
    assert rig.slots() == ["READY"]
    assert rig.states() == ["FAILED", "FAILED"]


# Subscriptions that nobody asked for


def test_data_of_an_unknown_channel_is_unsubscribed_once_unless_an_answer_is_awaited() -> None:
    rig = _book_rig(2)
    assert rig.row(Control.UNKNOWN_CHANNEL, price=77) == [Send(0, requests.unsubscribe(77))]
    assert rig.row(Control.UNKNOWN_CHANNEL, price=77) == []
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.answer()  # the refusal of 77
    rig.answer()  # the unsubscribed book: its subscribe is out now
    assert rig.states() == ["SUBSCRIBING", "LIVE"]
    assert rig.row(Control.UNKNOWN_CHANNEL, price=78) == []
    rig.settle()
    assert rig.live_everywhere()


def test_an_answer_for_a_channel_that_is_elsewhere_is_unsubscribed() -> None:
    rig = _book_rig(2)
    other = rig.tables.channel(rig.tables.channels[0]._replace(symbol="tOTHUSD"))
    assert rig.row(Control.SUBSCRIBED, channel=other, price=99) == [Send(0, requests.unsubscribe(99))]


def test_two_ids_for_one_channel_reconnect() -> None:
    rig = _book_rig(2)
    assert isinstance(rig.row(Control.SUBSCRIBED, channel=0, price=999)[0], Reconnect)


def test_a_flood_of_unknown_channels_reconnects_in_the_end() -> None:
    rig = _book_rig(1)
    for chan_id in range(1000, 1064):
        rig.row(Control.UNKNOWN_CHANNEL, price=chan_id)
    assert isinstance(rig.row(Control.UNKNOWN_CHANNEL, price=1064)[0], Reconnect)


def test_a_channel_that_the_venue_lets_go_unasked_is_asked_for_again_with_back_off() -> None:
    rig = _book_rig(1)
    assert len(rig.row(Control.UNSUBSCRIBED, channel=0, price=rig.chan_id(0))) == 1
    rig.subscribed.clear()
    rig.settle()
    assert rig.row(Control.UNSUBSCRIBED, channel=0, price=rig.chan_id(0)) == []
    rig.subscribed.clear()
    assert len(rig.pulse(1)) == 1


# Restart and maintenance


def test_a_restart_reconnects() -> None:
    rig = _book_rig(1)
    assert rig.row(Control.RESTART) == [Reconnect(0, "the exchange asks to reconnect")]


def test_in_maintenance_nothing_is_asked_or_silent_and_its_end_asks_for_every_channel_again() -> None:
    rig = _book_rig(3)
    before = dict(rig.subscribed)
    assert rig.row(Control.MAINTENANCE_START) == []
    assert rig.broken(0, BrokenBy.CHECKSUM) == []
    assert rig.broken(1, BrokenBy.GAP) == []
    assert rig.broken(2, BrokenBy.MAINTENANCE) == []
    assert rig.pulse(149, heard=False) == []
    assert len(_unsubscribes(rig.row(Control.MAINTENANCE_END))) == 3
    rig.last_recv_ns[:] = rig.now_ns
    rig.settle()
    assert rig.live_everywhere()
    assert not before.keys() & rig.subscribed.keys()
    assert rig.subs.counters["resyncs"] == 0


def test_a_maintenance_that_is_not_declared_over_ends_with_a_reconnect() -> None:
    rig = _book_rig(1)
    rig.row(Control.MAINTENANCE_START)
    assert rig.pulse(149.9, heard=False) == []
    assert rig.pulse(0.1, heard=False) == [Reconnect(0, "maintenance was not declared over in time")]


def test_answers_awaited_when_maintenance_begins_get_their_time_again_when_it_ends() -> None:
    rig = Rig(instruments=SYMBOLS[:3], trades=False, tickers=False)
    rig.start()
    rig.connect()
    rig.answer()  # conf
    rig.answer()  # first channel is live
    rig.inbox.clear()
    rig.row(Control.MAINTENANCE_START)
    rig.row(Control.ERROR, channel=1, price=10300)
    assert rig.states() == ["LIVE", "WAITING", "SUBSCRIBING"]
    assert rig.pulse(100) == []
    rig.row(Control.MAINTENANCE_END)
    assert rig.states() == ["UNSUBSCRIBING", "SUBSCRIBING", "SUBSCRIBING"]
    assert rig.pulse(9.9) == []
    rig.settle()
    rig.pulse(0.1)
    rig.settle()
    assert rig.live_everywhere()


def test_a_socket_that_closes_in_maintenance_is_opened_again() -> None:
    rig = _book_rig(1)
    rig.row(Control.MAINTENANCE_START)
    rig.drop(0)
    rig.settle()
    assert rig.live_everywhere()
    assert not rig.subs.state()["connections"][0]["maintenance"]


# Silence and stale books


def test_a_silent_socket_is_a_dead_one_and_others_are_left_alone() -> None:
    rig = Rig(instruments=SYMBOLS[:2], trades=False, tickers=False, max_channels_per_connection=1)
    rig.start()
    rig.settle()
    rig.now_ns += 20 * S
    rig.last_recv_ns[1] = rig.now_ns
    assert rig.pulse(0, heard=False) == []
    rig.now_ns += 1
    assert rig.pulse(0, heard=False) == [Reconnect(0, "silent for 20 s")]


def test_a_new_socket_is_not_blamed_for_the_silence_of_the_old_one() -> None:
    rig = _book_rig(1)
    rig.now_ns += 100 * S
    rig.drop(0)
    rig.settle()
    assert rig.pulse(19, heard=False) == []
    assert rig.pulse(2, heard=False) == [Reconnect(0, "silent for 20 s")]


def test_a_book_without_its_snapshot_is_asked_for_again() -> None:
    rig = _book_rig(2)
    rig.book(0, proof=Proof.BROKEN, snapshot_ns=rig.now_ns - S)  # what it knows is from before
    rig.book(1, proof=Proof.PROVED, snapshot_ns=rig.now_ns, updated_ns=rig.now_ns)
    assert rig.pulse(9.9) == []
    assert rig.pulse(0.1) == [Send(0, requests.unsubscribe(rig.chan_id(0)))]


def test_an_answer_told_twice_empties_the_book_which_is_asked_for_again() -> None:
    rig = _book_rig(2)
    (unsubscribe,) = rig.row(Control.SUBSCRIBED, channel=0, price=rig.chan_id(0))
    assert unsubscribe == Send(0, requests.unsubscribe(rig.chan_id(0)))
    rig.settle()
    assert rig.live_everywhere()


def test_a_book_that_was_emptied_behind_its_snapshot_is_asked_for_again() -> None:
    rig = _book_rig(1)
    rig.book(0, proof=Proof.EMPTY, snapshot_ns=rig.now_ns)
    assert rig.pulse(9.9) == []
    assert len(_unsubscribes(rig.pulse(0.1))) == 1


def test_a_broken_book_that_nobody_reported_is_asked_for_again() -> None:
    rig = _book_rig(1)
    rig.book(0, proof=Proof.BROKEN, snapshot_ns=rig.now_ns)
    assert len(_unsubscribes(rig.pulse(0.1))) == 1


def test_a_book_without_its_proof_for_too_long_is_asked_for_again() -> None:
    rig = _book_rig(2)
    rig.book(0, proof=Proof.PENDING, snapshot_ns=rig.now_ns)
    rig.book(1, proof=Proof.UNVERIFIABLE, snapshot_ns=rig.now_ns, updated_ns=rig.now_ns + 50 * S)
    assert rig.pulse(59.9) == []
    assert rig.pulse(0.1) == [Send(0, requests.unsubscribe(rig.chan_id(0)))]


def _heard(rig: Rig, *seconds_ago: float) -> Any:
    return np.array([rig.now_ns - int(s * S) if s >= 0 else 0 for s in seconds_ago], np.int64)


def test_a_proved_book_that_never_changes_is_quiet_and_not_asked_for_again() -> None:
    rig = _book_rig(1)
    rig.book(0, proof=Proof.PROVED, snapshot_ns=rig.now_ns, checked_ns=rig.now_ns)
    assert rig.pulse(86400) == []


def test_a_channel_without_even_a_heartbeat_is_silent_and_resynced_alone_whatever_it_is() -> None:
    rig = Rig(instruments=("tBTCUSD",), candles=("1m",))
    rig.start()
    rig.settle()
    assert rig.subs.silent(rig.now_ns, _heard(rig, 40, 40, 0, 0)) == []
    assert rig.subs.silent(rig.now_ns, _heard(rig, 40.1, 39, 41, -1)) == [0, 2]
    for channel in range(4):
        (send,) = rig.broken(channel, BrokenBy.SILENT)
        assert send == Send(0, requests.unsubscribe(rig.chan_id(channel)))
    assert rig.subs.silent(rig.now_ns, _heard(rig, 50, 50, 50, 50)) == []  # on its way
    rig.settle()
    assert rig.live_everywhere()
    assert rig.subs.counters["reconnects"] == 0


def test_in_maintenance_no_channel_is_silent() -> None:
    rig = _book_rig(1)
    rig.row(Control.MAINTENANCE_START)
    assert rig.subs.silent(rig.now_ns, _heard(rig, 100)) == []


def test_a_channel_of_nobody_or_of_a_socket_given_up_is_not_silent() -> None:
    rig = _book_rig(1)
    assert rig.subs.silent(rig.now_ns, _heard(rig, 0, 100)) == []
    rig.subs.on_control(_row(rig, Control.RESTART), rig.now_ns)
    assert rig.subs.silent(rig.now_ns, _heard(rig, 100)) == []


def test_a_book_row_that_is_not_in_use_is_not_looked_at() -> None:
    rig = _book_rig(1)
    rig.books = np.zeros(4, BOOK)
    assert rig.pulse(10_000) == []


# Reload


def _reload(rig: Rig, **values: Any) -> None:
    rig.settings = BitfinexSettings(**{**rig.settings.model_dump(), **values})
    rig.perform(rig.subs.reload(rig.settings, rig.now_ns))


def test_a_reload_subscribes_what_is_new_and_lets_go_what_is_not_wanted_any_more() -> None:
    rig = _book_rig(3)
    kept = rig.chan_id(1)
    _reload(rig, instruments=(SYMBOLS[1], SYMBOLS[5]))
    rig.settle()
    assert rig.live_everywhere()
    assert [ch["symbol"] for ch in rig.subs.state()["connections"][0]["channels"]] == [SYMBOLS[1], SYMBOLS[5]]
    assert rig.chan_id(1) == kept


def test_a_reload_to_nothing_ends_the_connection_and_a_later_one_opens_it_again() -> None:
    rig = _book_rig(3)
    _reload(rig, instruments=())
    rig.settle()
    assert rig.slots() == ["IDLE"]
    assert rig.open == {}
    _reload(rig, instruments=SYMBOLS[:1])
    rig.settle()
    assert rig.slots() == ["READY"]
    assert rig.live_everywhere()


def test_a_channel_given_up_while_its_answer_is_awaited_goes_when_the_answer_comes() -> None:
    rig = Rig(instruments=SYMBOLS[:2], trades=False, tickers=False)
    rig.start()
    rig.connect()
    rig.answer()
    _reload(rig, instruments=SYMBOLS[:1])
    rig.settle()
    assert rig.live_everywhere()
    assert list(rig.subscribed.values()) == [0]


def test_an_instrument_that_comes_back_before_it_is_gone_is_subscribed_once() -> None:
    rig = _book_rig(2)
    _reload(rig, instruments=SYMBOLS[:1])
    _reload(rig, instruments=SYMBOLS[:2])
    rig.settle()
    assert rig.live_everywhere()


# Everything at once


_EVENTS = st.one_of(
    st.tuples(st.just("answer"), st.just(0)),
    st.tuples(st.just("lose"), st.just(0)),
    st.tuples(st.just("pulse"), st.sampled_from([0, 1, 5, 10, 21, 160])),
    st.tuples(st.just("drop"), st.integers(0, 3)),
    st.tuples(st.just("connect"), st.just(0)),
    st.tuples(st.just("broken"), st.integers(0, 11)),
    st.tuples(st.just("gap"), st.integers(0, 11)),
    st.tuples(st.just("limit"), st.integers(1, 6)),
    st.tuples(st.just("reload"), st.integers(0, 5)),
    st.tuples(st.just("reorder"), st.just(0)),
    st.tuples(st.just("twice"), st.just(0)),
    st.tuples(
        st.sampled_from([*Control]),
        st.tuples(
            st.integers(0, 3),
            st.integers(-1, 12),
            st.sampled_from([0, 2, 101, 102, 105, 999, 10000, 10300, 10301, 10305, 10400]),
        ),
    ),
)


def _play(events: list[tuple[Any, Any]]) -> Rig:
    rig = Rig(instruments=SYMBOLS[:4], max_channels_per_connection=6)
    rig.start()
    for what, arg in events:
        match what:
            case Control():
                conn, channel, value = arg
                if what in (Control.OPENED, Control.CLOSED) and bool(rig.open.get(conn)) == (what == Control.OPENED):
                    continue  # the shell never says these unless they are so
                if what == Control.CLOSED:
                    rig.drop(conn)
                elif rig.open.get(conn):
                    rig.row(what, conn, channel, value, FLAGS)
            case "answer":
                rig.answer()
            case "lose":
                del rig.inbox[:1]
            case "pulse":
                rig.pulse(arg, heard=arg < 20)
            case "drop":
                rig.drop(arg)
            case "connect":
                rig.connect()
            case "broken":
                rig.broken(arg, BrokenBy.CHECKSUM)
            case "gap":
                rig.broken(arg, BrokenBy.GAP)
            case "limit":
                rig.limit = arg
            case "reload":
                _reload(rig, instruments=SYMBOLS[:arg])
            case "reorder":
                rig.inbox.reverse()
            case "twice":
                rig.inbox += rig.inbox[:1]
    return rig


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_EVENTS, max_size=60))
def test_after_any_history_a_venue_that_behaves_ends_with_every_wanted_channel_live(events: list[Any]) -> None:
    rig = _play(events)  # invariants are checked after every step
    rig.limit = 25
    for _ in range(60):
        rig.settle()
        rig.pulse(10)
    rig.perform(rig.subs.reload(rig.settings, rig.now_ns))
    rig.settle()
    assert rig.live_everywhere(), rig.subs.state()
    wanted = len(rig.settings.instruments) * 3
    assert len(rig.subscribed) == wanted


@settings(max_examples=30, deadline=None)
@given(st.lists(_EVENTS, max_size=40))
def test_equal_histories_give_equal_actions(events: list[Any]) -> None:
    assert _play(events).log == _play(events).log


def test_the_invariants_are_not_vacuous() -> None:
    rig = _book_rig(2)
    first, second = rig.subs._slots.by_conn(0).channels.values()  # type: ignore[union-attr]
    second.chan_id = first.chan_id
    with pytest.raises(AssertionError, match=r"has an id twice.*what led to it"):
        rig.subs.validate()
