"""The decisions of a session of named streams, row by row."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from data_controller.actions import Fetch, Open, Reconnect, Send
from data_controller.exchanges.streaming.dialect import Limits
from data_controller.exchanges.streaming.moves import HELD_THERE
from data_controller.market.layout import BrokenBy, Proof
from data_controller.market.rows import Control
from data_controller.market.tables import Channel

from .venue import PING, FakeSettings, Rig, S

SYMBOLS = tuple(f"C{i:02d}" for i in range(30))
URL = "wss://fake/all"
SNAPSHOT = "https://fake/depth/C00:book:full"


def _rig(n: int = 3, limits: Limits | None = None, **settings: Any) -> Rig:
    """`n` instruments with one book each, everything live."""
    rig = Rig(limits or Limits(100, 10), instruments=SYMBOLS[:n], **settings)
    rig.start()
    rig.settle()
    assert rig.live_everywhere()
    return rig


def _says(actions: list[Any]) -> list[tuple[str, list[str]]]:
    """What is asked for or given up by `actions`: (op, names)."""
    messages = [json.loads(a.payload) for a in actions if isinstance(a, Send)]
    return [(m["op"], [name.split(":")[0] for name in m["names"]]) for m in messages]


# Opening


def test_a_session_opens_and_asks_for_several_channels_a_request() -> None:
    rig = Rig(Limits(100, 2), instruments=SYMBOLS[:3], trades=True)
    assert rig.start() == [Open(0, "fake", URL)]
    rig.open[0] = True
    assert rig.row(Control.OPENED) == [
        Send(0, b'{"op": "subscribe", "id": 1, "names": ["C00:book:full", "C01:book:full"]}'),
        Send(0, b'{"op": "subscribe", "id": 2, "names": ["C02:book:full"]}'),
        Send(0, b'{"op": "subscribe", "id": 3, "names": ["C00:trades:", "C01:trades:"]}'),
        Send(0, b'{"op": "subscribe", "id": 4, "names": ["C02:trades:"]}'),
    ]
    assert rig.states() == ["ASKED"] * 6
    for channel in (4, 0, 3, 1, 5, 2):  # answers come in any order
        assert rig.row(Control.SUBSCRIBED, channel=channel) == []
    assert rig.states() == ["LIVE"] * 6


def test_where_answers_name_no_channel_the_venue_is_asked_once_behind_all_requests_what_it_serves() -> None:
    rig = Rig(Limits(100, 10, mixed=True), instruments=SYMBOLS[:2], trades=True, nameless=True)
    rig.start()
    rig.open[0] = True
    assert rig.row(Control.OPENED) == [
        Send(
            0,
            b'{"op": "subscribe", "id": 1, "names": ["C00:book:full", "C00:trades:", "C01:book:full", "C01:trades:"]}',
        ),
        Send(0, b'{"op": "list", "id": 2}'),
    ]
    for channel in range(4):
        assert rig.row(Control.SUBSCRIBED, channel=channel) == []


def test_a_greeting_is_answered_before_anything_is_asked() -> None:
    rig = Rig(instruments=SYMBOLS[:1], greeting=True)
    rig.start()
    rig.open[0] = True
    assert rig.row(Control.OPENED) == [Send(0, b'{"op":"hello"}')]
    assert rig.slots() == ["GREETING"]
    assert _says(rig.row(Control.CONFIGURED)) == [("subscribe", ["C00"])]


def test_a_greeting_refused_ends_the_connection_and_the_third_time_a_person_hears_it() -> None:
    rig = Rig(instruments=SYMBOLS[:1], greeting=True)
    rig.start()
    for _ in range(3):
        assert rig.alerts == []
        rig.connect()
        assert rig.row(Control.CONFIGURED, size=-1)[0] == Reconnect(0, "the greeting was refused")
    assert [a.name for a in rig.alerts] == ["fake_greeting_refused"]
    rig.settle()
    assert rig.live_everywhere()


def test_a_greeting_that_is_not_answered_ends_the_connection() -> None:
    rig = Rig(instruments=SYMBOLS[:1], greeting=True)
    rig.start()
    rig.connect()
    assert rig.pulse(9.9) == []
    assert rig.pulse(0.1) == [Reconnect(0, "the greeting was not answered")]


def test_slots_are_numbered_from_the_first_given_and_rows_of_others_are_not_looked_at() -> None:
    rig = Rig(first_conn=256, instruments=SYMBOLS[:1])
    assert rig.start() == [Open(256, "fake", URL)]
    assert rig.row(Control.OPENED, conn=255) == []
    assert rig.row(Control.OPENED, conn=257) == []
    rig.settle()
    assert rig.live_everywhere()


def test_no_connection_carries_more_channels_than_the_venue_allows_and_an_instrument_stays_together() -> None:
    rig = _rig(5, Limits(5, 10), trades=True)
    carried = [[ch["symbol"] for ch in c["channels"]] for c in rig.subs.state()["connections"]]
    assert carried == [["C00", "C00", "C01", "C01"], ["C02", "C02", "C03", "C03"], ["C04", "C04"]]


def test_a_connection_carries_no_more_channels_than_the_config_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeSettings, "most_channels", lambda self, allowed: min(allowed, 2))
    rig = _rig(5)
    assert [len(c["channels"]) for c in rig.subs.state()["connections"]] == [2, 2, 1]


def test_channels_of_different_addresses_never_share_a_connection() -> None:
    rig = _rig(3, trades=True, apart=True)
    connections = rig.subs.state()["connections"]
    assert [c["url"] for c in connections] == ["wss://fake/book", "wss://fake/trades"]
    assert [{ch["stream"] for ch in c["channels"]} for c in connections] == [{"book"}, {"trades"}]


def test_what_finds_no_room_is_left_out_aloud_and_the_rest_is_served() -> None:
    rig = Rig(Limits(1), instruments=tuple(f"X{i:03d}" for i in range(258)))
    rig.start()
    (alert,) = rig.alerts
    assert (alert.severity, alert.name) == ("critical", "fake_channels_left_out")
    assert alert.text.startswith("2 channels")
    rig.settle()
    assert sorted(row for rows in rig.held.values() for row in rows) == list(range(256))


# Pace


def test_requests_wait_for_the_pace_and_go_out_on_pulses_and_control_rows() -> None:
    rig = Rig(Limits(100, 1, requests_per_s=4.0), instruments=SYMBOLS[:7])
    rig.start()
    rig.connect()
    assert len(rig.said) == 2  # half of a second's requests at once, the other half trickles
    assert rig.pulse(0.4) == []
    assert _says(rig.pulse(0.1)) == [("subscribe", ["C02"])]
    rig.now_ns += S // 2
    rig.answer()
    assert rig.said[-1][1]["names"] == ["C03:book:full"]
    for _ in range(3):
        rig.pulse(0.5)
    rig.settle()
    assert rig.live_everywhere()


def test_below_two_a_second_requests_are_evenly_spaced() -> None:
    rig = Rig(Limits(100, 1, requests_per_s=0.5), instruments=SYMBOLS[:2])
    rig.start()
    rig.connect()
    assert _says(rig.pulse(1.9)) == []
    assert _says(rig.pulse(0.1)) == [("subscribe", ["C01"])]


def test_an_open_connection_is_spoken_to_as_often_as_the_venue_asks() -> None:
    rig = _rig(1, Limits(100, 10, ping_every_s=20.0))
    assert rig.pulse(19.9) == []
    assert rig.pulse(0.1) == [Send(0, PING)]
    assert rig.pulse(19.9) == []
    assert rig.pulse(0.2) == [Send(0, PING)]


# Answers


def test_an_answer_that_does_not_come_is_asked_for_once_more_and_then_the_connection_is_given_up() -> None:
    rig = Rig(instruments=SYMBOLS[:2])
    rig.start()
    rig.connect()
    rig.row(Control.SUBSCRIBED, channel=1)
    assert rig.pulse(9.9) == []
    assert _says(rig.pulse(0.1)) == [("subscribe", ["C00"])]
    assert rig.pulse(9.9) == []
    assert rig.pulse(0.1) == [Reconnect(0, "a request was not answered twice")]
    assert rig.subs.counters["lost_answers"] == 2


def test_a_late_first_answer_is_as_good_as_the_second() -> None:
    rig = Rig(instruments=SYMBOLS[:1])
    rig.start()
    rig.connect()
    rig.pulse(10)
    assert rig.row(Control.SUBSCRIBED, channel=0) == []
    assert rig.pulse(60) == []


def test_a_refusal_of_the_second_asking_opens_the_connection_anew() -> None:
    rig = Rig(instruments=SYMBOLS[:1])
    rig.start()
    rig.connect()
    rig.pulse(10)
    (action,) = rig.row(Control.ERROR, channel=0, price=7)
    assert isinstance(action, Reconnect)


def test_a_refused_request_of_several_channels_is_asked_again_one_by_one() -> None:
    rig = Rig(instruments=SYMBOLS[:3])
    rig.refused = {"C01"}
    rig.start()
    rig.connect()
    assert _says(rig.row(Control.ERROR, price=5, size=1)) == [("subscribe", [f"C0{i}"]) for i in range(3)]
    del rig.inbox[0]
    rig.settle()
    assert rig.states() == ["LIVE", "WAITING", "LIVE"]
    assert rig.alerts == []


def test_a_yes_to_one_of_a_request_that_another_was_refused_of_is_taken() -> None:
    rig = Rig(Limits(channels_per_connection=100, channels_per_request=10, requests_per_s=1), instruments=SYMBOLS[:3])
    rig.refused = {"C01"}
    rig.start()
    rig.connect()
    assert _says(rig.row(Control.ERROR, price=5, size=1)) == []
    rig.inbox.clear()
    for channel in (0, 2):  # as a venue that answers for each says it
        assert rig.row(Control.SUBSCRIBED, channel=channel) == []
        rig.held.setdefault(0, []).append(channel)
    assert rig.states() == ["LIVE", "WAITING", "LIVE"]
    assert _says(rig.pulse(1)) == [("subscribe", ["C01"])]


def test_a_channel_refused_three_times_is_given_up_aloud_tried_later_and_its_return_is_told() -> None:
    rig = Rig(instruments=SYMBOLS[:1])
    rig.refused = {"C00"}
    rig.start()
    rig.settle()
    for seconds in (1, 2):
        assert _says(rig.pulse(seconds - 0.1)) == []
        assert _says(rig.pulse(0.1)) == [("subscribe", ["C00"])]
        rig.settle()
    assert [(a.severity, a.name) for a in rig.alerts] == [("critical", "fake_channel_refused")]
    assert rig.states() == ["FAILED"]
    rig.pulse(299)
    assert _says(rig.pulse(1)) == [("subscribe", ["C00"])]
    rig.settle()
    rig.pulse(599)
    rig.refused.clear()
    assert _says(rig.pulse(1)) == [("subscribe", ["C00"])]
    rig.settle()
    assert rig.live_everywhere()
    assert [(a.severity, a.name) for a in rig.alerts[1:]] == [("info", "fake_channel_back")]


@pytest.mark.parametrize(("channel", "request_number"), [(0, 0), (-1, 1), (-1, 0)])
def test_an_error_is_matched_by_channel_by_number_or_by_being_the_only_request(
    channel: int, request_number: int
) -> None:
    rig = Rig(instruments=SYMBOLS[:1])
    rig.start()
    rig.connect()
    rig.row(Control.ERROR, channel=channel, price=5, size=request_number)
    assert rig.states() == ["WAITING"]
    assert rig.alerts == []


def test_an_error_that_answers_nothing_is_told_and_changes_nothing() -> None:
    rig = _rig(2)
    rig.row(Control.ERROR, price=400, size=77)
    assert [(a.severity, a.name) for a in rig.alerts] == [("warning", "fake_error")]
    assert rig.live_everywhere()


def test_a_channel_that_nobody_asked_for_is_unsubscribed_once() -> None:
    rig = _rig(1)
    stray = rig.tables.channel(Channel("fake", "XX", "trades"))
    assert _says(rig.row(Control.SUBSCRIBED, channel=stray)) == [("unsubscribe", ["XX"])]
    assert rig.row(Control.SUBSCRIBED, channel=stray) == []
    assert rig.row(Control.UNSUBSCRIBED, channel=stray) == []
    assert _says(rig.row(Control.SUBSCRIBED, channel=stray)) == [("unsubscribe", ["XX"])]


def test_more_strays_than_can_be_kept_end_the_connection() -> None:
    rig = _rig(1)
    for i in range(64):
        rig.row(Control.SUBSCRIBED, channel=rig.tables.channel(Channel("fake", f"X{i}", "trades")))
    (action,) = rig.row(Control.SUBSCRIBED, channel=rig.tables.channel(Channel("fake", "Y", "trades")))
    assert isinstance(action, Reconnect)


def test_an_answer_for_another_channel_than_asked_ends_the_connection_alone() -> None:
    rig = Rig(Limits(1, 1), instruments=SYMBOLS[:2], trades=False)
    rig.start()
    rig.settle()
    rig.refused = {"C00"}
    rig.drop(0)
    rig.settle()
    assert rig.states() == ["WAITING", "LIVE"]
    assert rig.row(Control.SUBSCRIBED, 0, 0) == [Reconnect(0, "a channel came that was not asked for yet")]
    assert rig.states() == ["WAITING", "LIVE"]


def test_a_channel_told_of_twice_starts_its_book_over() -> None:
    rig = _rig(2)
    assert _says(rig.row(Control.SUBSCRIBED, channel=1)) == [("unsubscribe", ["C01"])]


def test_a_channel_that_the_venue_lets_go_unasked_is_asked_for_again() -> None:
    rig = _rig(2)
    rig.held[0].remove(0)
    assert _says(rig.row(Control.UNSUBSCRIBED, channel=0)) == [("subscribe", ["C00"])]


def test_without_acknowledgements_a_quiet_channel_is_no_error_but_a_book_without_snapshot_is() -> None:
    rig = Rig(Limits(100, 10, acknowledged=False), instruments=SYMBOLS[:1], trades=True)
    rig.start()
    rig.connect()
    assert _says(rig.pulse(10, heard=False)) == [("subscribe", ["C00"])]
    assert json.loads(rig.log[-1].payload)["names"] == ["C00:book:full"]  # type: ignore[union-attr]
    rig.row(Control.SUBSCRIBED, channel=0)
    for _ in range(10):
        rig.now_ns += 20 * S
        rig.last_recv_ns[:] = rig.now_ns
        assert rig.perform(rig.subs.on_pulse(rig.now_ns, rig.last_recv_ns, rig.books)) == []
    assert rig.states() == ["LIVE", "ASKED"]


def test_without_acknowledgements_a_channel_that_is_wanted_no_more_is_named_once_for_its_book_to_break() -> None:
    rig = Rig(Limits(100, 10, acknowledged=False), instruments=SYMBOLS[:2])
    rig.start()
    rig.connect()
    rig.answer()
    rig.pulse(1)
    assert rig.live_everywhere()
    rig.perform(rig.subs.reload(FakeSettings(instruments=SYMBOLS[1:2]), rig.now_ns))
    rig.now_ns += 20 * S
    rig.last_recv_ns[:] = rig.now_ns
    rig.perform(rig.subs.on_pulse(rig.now_ns, rig.last_recv_ns, rig.books))
    heard_ns = np.full(2, rig.now_ns)
    assert rig.subs.silent(rig.now_ns, heard_ns) == [0]
    assert rig.subs.silent(rig.now_ns, heard_ns) == []


def test_without_acknowledgements_a_channel_given_up_goes_with_time_and_comes_back_with_data() -> None:
    rig = Rig(Limits(100, 10, acknowledged=False), instruments=SYMBOLS[:1])
    rig.start()
    rig.connect()
    rig.answer()
    rig.pulse(1)
    assert rig.live_everywhere()
    rig.broken(0, BrokenBy.CHECKSUM)
    rig.answer()
    assert rig.states() == ["LEAVING"]
    assert _says(rig.pulse(10)) == [("subscribe", ["C00"])]
    rig.answer()
    rig.pulse(1)  # data came, which the decoder has no reason to call a beginning
    rig.pulse(0.1)
    assert rig.states() == ["LIVE"]


# Books and their snapshots


def test_a_book_that_breaks_is_asked_for_again_alone_at_once_and_then_with_back_off() -> None:
    rig = _rig(3)
    assert _says(rig.broken(1, BrokenBy.CHECKSUM)) == [("unsubscribe", ["C01"])]
    rig.answer()
    assert rig.said[-1][1]["op"] == "subscribe"
    rig.settle()
    rig.broken(1, BrokenBy.CROSSED)
    rig.settle()
    assert _says(rig.pulse(0.9)) == []
    assert _says(rig.pulse(0.1)) == [("subscribe", ["C01"])]
    rig.settle()
    assert rig.live_everywhere()


def test_a_book_whose_stream_is_spliced_is_fetched_once_it_is_acknowledged() -> None:
    rig = Rig(instruments=SYMBOLS[:1], trades=True, fetched=True)
    rig.start()
    rig.connect()
    assert rig.row(Control.SUBSCRIBED, channel=1) == []
    assert rig.row(Control.SUBSCRIBED, channel=0) == [Fetch(0, "fake", SNAPSHOT)]
    assert rig.row(Control.FETCHED, channel=0, price=200, size=1) == []
    assert rig.pulse(29) == []


@pytest.mark.parametrize("by", [BrokenBy.CHECKSUM, BrokenBy.OVERFLOW, BrokenBy.CROSSED, BrokenBy.INEXACT])
def test_a_spliced_book_that_breaks_is_fetched_anew_and_its_stream_left_alone(by: BrokenBy) -> None:
    rig = _rig(2, fetched=True)
    assert rig.broken(0, by) == [Fetch(0, "fake", SNAPSHOT)]
    assert rig.broken(0, by) == []  # one is on its way
    rig.settle()
    assert rig.broken(0, by) == []
    assert rig.pulse(1) == [Fetch(0, "fake", SNAPSHOT)]


def test_a_gap_waits_for_the_row_that_says_what_was_lost_or_for_the_next_pulse() -> None:
    rig = _rig(2, fetched=True)
    assert rig.broken(0, BrokenBy.GAP) == []
    assert rig.pulse(0.1) == [Fetch(0, "fake", SNAPSHOT)]
    rig.settle()
    rig.broken(0, BrokenBy.GAP)
    assert isinstance(rig.row(Control.SEQUENCE_GAP)[0], Reconnect)


def test_a_silent_channel_is_asked_for_again_as_no_snapshot_revives_a_stream() -> None:
    rig = _rig(2, fetched=True, channel_silent_after_s=30.0)
    rig.now_ns += 31 * S
    heard_ns = np.array([rig.now_ns, rig.now_ns - 31 * S])
    assert rig.subs.silent(rig.now_ns, heard_ns) == [1]
    assert _says(rig.broken(1, BrokenBy.SILENT)) == [("unsubscribe", ["C01"])]
    rig.settle()
    assert rig.live_everywhere()


def test_a_channel_may_be_quiet_where_the_config_says_so() -> None:
    rig = _rig(1)
    assert rig.subs.silent(rig.now_ns + 86400 * S, np.array([rig.now_ns])) == []


def test_a_snapshot_of_no_use_is_fetched_again_with_back_off() -> None:
    rig = Rig(instruments=SYMBOLS[:1], fetched=True)
    rig.start()
    rig.connect()
    rig.answer()
    assert rig.row(Control.FETCHED, channel=0, price=200, size=0) == [Fetch(0, "fake", SNAPSHOT)]
    assert rig.row(Control.FETCHED, channel=0, price=0, size=0) == []
    assert rig.pulse(0.9) == []
    assert rig.pulse(0.1) == [Fetch(0, "fake", SNAPSHOT)]


def test_a_stream_whose_snapshots_never_fit_begins_anew_as_its_changes_may_not_have_waited() -> None:
    rig = _rig(1, fetched=True)
    actions = rig.broken(0, BrokenBy.CROSSED)
    for _ in range(3):
        while not actions:
            actions = rig.pulse(0.5)
        assert actions == [Fetch(0, "fake", SNAPSHOT)]
        actions = rig.row(Control.FETCHED, channel=0, price=200, size=0)
    assert _says(actions) == [("unsubscribe", ["C00"])]


def test_a_channel_that_the_venue_serves_already_is_given_up_there_and_asked_for_anew() -> None:
    rig = _rig(1)
    assert _says(rig.row(Control.UNSUBSCRIBED, channel=0)) == [("subscribe", ["C00"])]
    assert _says(rig.row(Control.ERROR, channel=0, price=HELD_THERE)) == [("unsubscribe", ["C00"])]
    assert rig.subs.counters["refusals"] == 0


def test_a_snapshot_that_does_not_come_is_fetched_again() -> None:
    rig = Rig(instruments=SYMBOLS[:1], fetched=True)
    rig.start()
    rig.connect()
    rig.answer()
    assert rig.pulse(9.9) == []
    assert rig.pulse(0.1) == [Fetch(0, "fake", SNAPSHOT)]
    assert rig.pulse(9.9) == []
    assert rig.pulse(0.2) == []
    assert rig.pulse(1) == [Fetch(0, "fake", SNAPSHOT)]
    rig.give()
    assert rig.live_everywhere()


@pytest.mark.parametrize("status", [400, 404])
def test_a_book_whose_snapshot_is_refused_three_times_is_given_up_aloud_and_tried_later(status: int) -> None:
    rig = Rig(instruments=SYMBOLS[:1], fetched=True)
    rig.start()
    rig.connect()
    rig.answer()

    def refuse(times: int) -> None:
        for _ in range(times):
            for _ in range(100):
                if rig.asked:
                    break
                rig.pulse(0.1)
            rig.give(status, 0)

    refuse(2)
    assert (rig.states(), rig.alerts) == (["LIVE"], [])
    refuse(1)
    rig.settle()  # its stream is given up too
    assert (rig.states(), rig.held) == (["FAILED"], {0: []})
    assert [(a.severity, a.name) for a in rig.alerts] == [("critical", "fake_channel_refused")]
    for seconds in (300, 600):
        assert _says(rig.pulse(seconds - 1)) == []
        assert _says(rig.pulse(1)) == [("subscribe", ["C00"])]
        rig.answer()
        assert len(rig.alerts) == 1
        if seconds == 300:
            refuse(1)
            rig.settle()
            assert rig.states() == ["FAILED"]
    rig.settle()
    assert rig.live_everywhere()
    assert [(a.severity, a.name) for a in rig.alerts[1:]] == [("info", "fake_channel_back")]


def test_a_book_whose_stream_brings_the_snapshot_since_a_reload_begins_anew() -> None:
    rig = _rig(1, fetched=True)
    rig.broken(0, BrokenBy.CROSSED)
    rig.reload(fetched=False)
    rig.asked.clear()
    rig.pulse(9)  # the answer is lost
    rig.pulse(1)
    actions = rig.pulse(1)
    assert _says(actions) == [("unsubscribe", ["C00"])]
    rig.settle()
    assert rig.live_everywhere()


def test_few_snapshots_are_on_their_way_at_a_time() -> None:
    rig = Rig(instruments=SYMBOLS[:9], fetched=True)
    rig.start()
    rig.connect()
    rig.answer()
    assert len(rig.asked) == 4
    rig.give()
    assert len(rig.asked) == 4
    rig.settle()
    assert rig.live_everywhere()
    assert rig.subs.counters["fetches"] == 9


def test_a_book_pending_for_too_long_is_asked_for_again() -> None:
    rig = _rig(2)
    rig.book(1, proof=Proof.PENDING, snapshot_ns=rig.now_ns, checked_ns=rig.now_ns)
    assert rig.pulse(29) == []
    assert rig.pulse(29) == []
    assert _says(rig.pulse(2)) == [("unsubscribe", ["C01"])]


@pytest.mark.parametrize("fetched", [False, True])
def test_a_book_without_its_snapshot_is_asked_for_again(fetched: bool) -> None:
    rig = _rig(1, fetched=fetched)
    rig.book(0, proof=Proof.EMPTY)
    assert rig.pulse(9.9) == []
    actions = rig.pulse(0.1)
    assert actions == [Fetch(0, "fake", SNAPSHOT)] if fetched else _says(actions) == [("unsubscribe", ["C00"])]


@pytest.mark.parametrize("fetched", [False, True])
def test_a_book_that_nothing_proves_is_asked_for_anew_now_and_then(fetched: bool) -> None:
    rig = _rig(1, fetched=fetched, resnapshot_every_s=25.0)
    rig.book(0, proof=Proof.UNVERIFIABLE, snapshot_ns=rig.now_ns)
    assert rig.pulse(24) == []
    for _ in range(3):
        actions = rig.pulse(1)
        assert actions == [Fetch(0, "fake", SNAPSHOT)] if fetched else _says(actions) == [("unsubscribe", ["C00"])]
        rig.settle()
        rig.books["snapshot_ns"] = rig.now_ns
        assert rig.live_everywhere()
        assert rig.pulse(24) == []
    assert rig.subs.counters["resyncs"] == 0


# Connections that end


@pytest.mark.parametrize("code", [Control.RESTART, Control.SEQUENCE_GAP])
def test_a_connection_that_restarts_or_lost_something_is_opened_anew(code: Control) -> None:
    rig = _rig(2)
    assert isinstance(rig.row(code)[0], Reconnect)
    assert rig.open == {0: False}  # CLOSED was answered with Open
    rig.settle()
    assert rig.live_everywhere()


def test_a_connection_without_any_frame_is_opened_anew() -> None:
    rig = _rig(1)
    assert rig.pulse(30, heard=False) == []
    assert rig.pulse(0.1, heard=False) == [Reconnect(0, "silent for 30 s")]


def test_a_quarantined_frame_of_a_channel_resyncs_it_and_of_nobody_those_that_broke() -> None:
    rig = _rig(2)
    assert rig.row(Control.QUARANTINED) == []
    assert _says(rig.row(Control.QUARANTINED, channel=1)) == [("unsubscribe", ["C01"])]
    rig.settle()
    rig.broken(0, BrokenBy.GAP)
    assert isinstance(rig.row(Control.QUARANTINED)[0], Reconnect)


def test_connections_are_renewed_before_their_end_one_at_a_time() -> None:
    rig = _rig(3, Limits(1, 1, connection_life_s=1000.0))
    for _ in range(94):
        assert rig.pulse(10) == []
    assert rig.pulse(10) == [Reconnect(0, "the venue would soon end it")]
    assert rig.pulse(1) == []  # while the first is under way
    rig.settle()
    assert rig.pulse(1) == [Reconnect(1, "the venue would soon end it")]
    assert rig.pulse(37) == []
    assert rig.pulse(2) == [Reconnect(2, "the venue would soon end it")]  # the end is too near to wait for the second
    rig.settle()
    assert rig.live_everywhere()
    assert rig.subs.counters["renewals"] == 3


def test_maintenance_asks_for_nothing_and_its_end_for_everything() -> None:
    rig = _rig(2)
    rig.row(Control.MAINTENANCE_START)
    assert rig.broken(0, BrokenBy.CHECKSUM) == []
    assert rig.reload(instruments=SYMBOLS[:3]) == []
    assert rig.pulse(100, heard=False) == []
    assert _says(rig.row(Control.MAINTENANCE_END)) == [("unsubscribe", ["C00", "C01"]), ("subscribe", ["C02"])]
    rig.settle()
    assert rig.live_everywhere()


def test_maintenance_without_an_end_is_ended() -> None:
    rig = _rig(1)
    rig.row(Control.MAINTENANCE_START)
    assert rig.pulse(599, heard=False) == []
    assert isinstance(rig.pulse(1, heard=False)[0], Reconnect)


# Reload


def test_instruments_that_come_and_go_touch_nobody_else() -> None:
    rig = _rig(3)
    assert _says(rig.reload(instruments=("C00", "C02", "C03"))) == [("unsubscribe", ["C01"]), ("subscribe", ["C03"])]
    assert rig.states() == ["LIVE", "LEAVING", "LIVE", "ASKED"]
    rig.settle()
    assert rig.live_everywhere()
    assert rig.subs.counters["reconnects"] == 0


def test_a_connection_with_nothing_left_is_closed_and_not_opened_again() -> None:
    rig = _rig(1)
    rig.reload(instruments=())
    rig.settle()
    assert (rig.slots(), rig.open) == (["IDLE"], {})


def test_another_rendering_of_a_book_is_asked_for_once_the_old_one_is_gone() -> None:
    rig = _rig(1)
    assert _says(rig.reload(books=("top",))) == [("unsubscribe", ["C00"])]
    assert _says(rig.row(Control.UNSUBSCRIBED, channel=0)) == [("subscribe", ["C00"])]


def test_an_instrument_that_comes_back_before_it_is_gone_is_live_again() -> None:
    rig = _rig(2)
    rig.reload(instruments=SYMBOLS[:1])
    rig.reload(instruments=SYMBOLS[:2])
    rig.settle()
    assert rig.live_everywhere()


def test_a_reload_tries_what_was_given_up() -> None:
    rig = Rig(instruments=SYMBOLS[:1])
    rig.refused = {"C00"}
    rig.start()
    for seconds in (0, 1, 2):
        rig.pulse(seconds)
        rig.settle()
    assert rig.states() == ["FAILED"]
    rig.refused.clear()
    assert _says(rig.reload()) == [("subscribe", ["C00"])]


def test_the_invariants_are_not_vacuous() -> None:
    rig = _rig(2)
    next(iter(rig.subs._slots)).channels[0].request = 5
    with pytest.raises(AssertionError, match=r"awaits 5; what led to it"):
        rig.subs.validate()
