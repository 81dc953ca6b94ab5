"""What each fault does to the frames of a connection."""

from __future__ import annotations

import json
from typing import Any

import pytest

from data_controller.errors import SimulatorError
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.faults import Fault, Link, corrupted, fault, random_faults
from data_controller.simulator.session import Session

from .simulator_client import ALL_FLAGS, SECOND, Client, subscribe


def linked(seed: int = 5) -> tuple[Exchange, Link, Client, int]:
    exchange = Exchange(seed, 1)
    link = Link(Session(exchange))
    client = Client()
    client.feed(link.receive(json.dumps({"event": "conf", "flags": ALL_FLAGS})))
    return exchange, link, client, subscribe(link, client, "book")


def holes(client: Client) -> int:
    return sum(b != a + 1 for a, b in zip(client.sequences, client.sequences[1:], strict=False))


def meant(link: Link) -> list[bytes]:
    return [frame.data for frame in link.meant.frames]


def test_without_a_fault_everything_passes_unchanged():
    exchange, link, _, _ = linked()
    before = len(link.meant.frames)
    assert link.poll(exchange.now_ns + 5 * SECOND) == meant(link)[before:]


def test_drop_loses_one_frame_and_its_number():
    exchange, link, client, _ = linked()
    link.arm(Fault("drop", frame="update", after=10))
    try:
        client.feed(link.poll(exchange.now_ns + 5 * SECOND))
    except KeyError:
        pytest.fail("the lost frame made a later delete unknown: choose another seed")
    assert holes(client) == 1


def test_duplicate_sends_the_same_bytes_twice():
    exchange, link, _, _ = linked()
    before = len(link.meant.frames)
    link.arm(Fault("duplicate", after=3))
    sent = link.poll(exchange.now_ns + SECOND)
    expected = meant(link)[before:]
    assert sent == [*expected[:4], *expected[3:]]


@pytest.mark.parametrize("seed", range(30))
def test_corrupt_changes_one_digit_of_the_payload_and_nothing_else(seed):
    data = b"[17126,[43213,3,-0.48236481],812,1700000000123]"
    changed = corrupted(data, Fault("corrupt", seed=seed))
    differences = [i for i in range(len(data)) if data[i] != changed[i]]
    assert len(differences) == 1
    assert data.index(b",") < differences[0] < data.index(b"],812")
    assert chr(changed[differences[0]]).isdigit()


def test_a_corrupt_frame_shows_in_the_next_checksum():
    _, link, client, _ = linked()
    link.arm(Fault("corrupt", frame="snapshot"))
    client.feed(link.receive('{"event":"subscribe","channel":"book","symbol":"tBTCUSD","len":"100"}'))
    assert client.checksums[-1][1] is False


def test_reorder_sends_a_frame_behind_its_followers():
    exchange, link, _, _ = linked()
    before = len(link.meant.frames)
    link.arm(Fault("reorder", after=2, span=3))
    sent = link.poll(exchange.now_ns + SECOND)
    expected = meant(link)[before:]
    assert sent == [*expected[:2], *expected[3:6], expected[2], *expected[6:]]


def test_a_stall_keeps_everything_back_and_then_sends_all_of_it():
    exchange, link, _, _ = linked()
    before = len(link.meant.frames)
    link.arm(Fault("stall", duration_ns=40 * SECOND))
    start = exchange.now_ns
    assert link.poll(start + 10 * SECOND) == []
    assert link.poll(start + 39 * SECOND) == []
    sent = link.poll(start + 60 * SECOND)
    assert sent == meant(link)[before:]


@pytest.mark.parametrize("catch_up", [True, False])
def test_mute_leaves_heartbeats_and_an_unbroken_sequence(catch_up):
    exchange, link, client, chan_id = linked()
    link.arm(Fault("mute", duration_ns=40 * SECOND, catch_up=catch_up))
    start = exchange.now_ns
    client.feed(link.poll(start))
    client.arrays.clear()
    client.feed(link.poll(start + 39 * SECOND))
    assert [body[1] for body in client.arrays] == ["hb", "hb"]
    client.feed(link.poll(start + 40 * SECOND))
    try:
        client.feed(link.poll(start + 50 * SECOND))
    except KeyError:
        assert not catch_up
        return
    assert holes(client) == 0
    truth = exchange.true_book("tBTCUSD")
    assert (client.books[chan_id].sides() == (truth.bids, truth.asks)) is catch_up


def test_disconnect_ends_the_connection_in_place_of_a_frame():
    exchange, link, _, _ = linked()
    before = len(link.meant.frames)
    link.arm(Fault("disconnect", after=5))
    sent = link.poll(exchange.now_ns + 5 * SECOND)
    assert sent == meant(link)[before : before + 5]
    assert link.closed == "disconnect"
    assert link.poll(exchange.now_ns + SECOND) == []


def test_cut_ends_it_inside_a_snapshot():
    _, link, _, _ = linked()
    link.arm(Fault("cut", frame="snapshot"))
    answers = link.receive('{"event":"subscribe","channel":"book","symbol":"tBTCUSD","prec":"R0"}')
    assert [json.loads(answer)["event"] for answer in answers] == ["subscribed"]
    assert link.closed == "cut"
    assert meant(link)[-2].startswith(link.fragment)
    assert 0 < len(link.fragment) < len(meant(link)[-2])


def test_a_lost_ack_is_never_sent_but_the_snapshot_is():
    _, link, _, _ = linked()
    link.arm(Fault("lost_ack"))
    answers = link.receive('{"event":"subscribe","channel":"trades","symbol":"tBTCUSD"}')
    assert len(answers) == 1
    assert isinstance(json.loads(answers[0]), list)


def test_a_late_ack_comes_behind_its_snapshot():
    _, link, _, _ = linked()
    link.arm(Fault("late_ack", span=1))
    first, second = link.receive('{"event":"subscribe","channel":"trades","symbol":"tBTCUSD"}')
    assert isinstance(json.loads(first), list)
    assert json.loads(second)["event"] == "subscribed"


def test_a_slow_client_is_hung_up_on_when_its_buffer_is_full():
    exchange, link, _, _ = linked()
    link.arm(Fault("slow", limit_bytes=10_000))
    polls = 0
    while not link.closed:
        assert link.poll(exchange.now_ns + SECOND) == []
        polls += 1
        assert polls < 60
    assert link.closed == "slow"
    assert polls > 2


def test_maintenance_is_announced_and_leaves_a_stale_book():
    exchange, link, client, chan_id = linked()
    link.arm(Fault("maintenance", duration_ns=60 * SECOND))
    start = exchange.now_ns
    client.feed(link.poll(start))
    assert client.events[-1]["code"] == 20060
    client.feed(link.poll(start + 59 * SECOND))
    client.feed(link.poll(start + 60 * SECOND))
    assert client.events[-1]["code"] == 20061
    truth = exchange.true_book("tBTCUSD")
    assert client.books[chan_id].sides() != (truth.bids, truth.asks)
    client.feed(link.receive(json.dumps({"event": "unsubscribe", "chanId": chan_id})))
    fresh = subscribe(link, client, "book")
    truth = exchange.true_book("tBTCUSD")
    assert client.books[fresh].sides() == (truth.bids, truth.asks)


def test_a_restart_is_announced_before_the_connection_ends():
    exchange, link, client, _ = linked()
    link.arm(Fault("restart", duration_ns=2 * SECOND))
    client.feed(link.poll(exchange.now_ns + SECOND))
    assert [event["code"] for event in client.events if event["event"] == "info" and "code" in event] == [20051]
    assert not link.closed
    link.poll(exchange.now_ns + 2 * SECOND)
    assert link.closed == "restart"


def test_a_filter_strikes_only_its_channel():
    exchange = Exchange(5, 2)
    link = Link(Session(exchange))
    client = Client()
    client.feed(link.receive(json.dumps({"event": "conf", "flags": ALL_FLAGS})))
    first = subscribe(link, client, "book", "tBTCUSD")
    second = subscribe(link, client, "book", "tETHUSD")
    link.arm(Fault("drop", symbol="tETHUSD", channel="book", count=10_000))
    sent = link.poll(exchange.now_ns + 5 * SECOND)
    assert {json.loads(data)[0] for data in sent} == {first}
    assert second in {frame.chan_id for frame in link.meant.frames}


def test_probability_strikes_a_share_of_the_frames():
    exchange, link, _, _ = linked()
    before = len(link.meant.frames)
    link.arm(Fault("drop", count=1_000_000, probability=0.25, seed=3))
    sent = link.poll(exchange.now_ns + 60 * SECOND)
    total = len(link.meant.frames) - before
    assert 0.18 < 1 - len(sent) / total < 0.32


def test_the_log_rebuilds_the_book_as_of_any_sequence():
    exchange, link, client, chan_id = linked()
    for _ in range(10):
        client.feed(link.poll(exchange.now_ns + SECOND))
        assert link.meant.book(chan_id, client.sequences[-1]).sides() == client.books[chan_id].sides()
    early = link.meant.book(chan_id, client.sequences[5])
    assert early.sides() != client.books[chan_id].sides()


@pytest.mark.parametrize("precision", ["P0", "R0"])
def test_the_log_knows_what_kind_of_book_a_channel_was(precision):
    exchange, link, client, _ = linked()
    chan_id = subscribe(link, client, "book", prec=precision, len="100")
    client.feed(link.poll(exchange.now_ns + 5 * SECOND))
    client.feed(link.receive(json.dumps({"event": "unsubscribe", "chanId": chan_id})))
    assert link.meant.book(chan_id).sides() == client.books[chan_id].sides()
    with pytest.raises(SimulatorError, match="expected the snapshot"):
        link.meant.book(4)


def test_a_silent_channel_says_nothing_more_not_even_a_heartbeat_and_the_others_go_on():
    exchange = Exchange(3, 1)
    link = Link(Session(exchange))
    client = Client()
    client.feed(link.receive(json.dumps({"event": "conf", "flags": ALL_FLAGS})))
    dead = subscribe(link, client, "book")
    alive = subscribe(link, client, "book", prec="R0")
    link.arm(Fault("silent", channel="book"))
    link.poll(exchange.now_ns + SECOND)
    assert link.struck == {"silent": 1} and link.faults == []
    said = link.poll(exchange.now_ns + 40 * SECOND)
    assert not any(frame.startswith(b"[%d," % dead) for frame in said)
    assert any(frame.startswith(b"[%d," % alive) for frame in said)
    assert b'"unsubscribed"' in link.receive(json.dumps({"event": "unsubscribe", "chanId": dead}))[-1]
    client.feed(link.receive(json.dumps({"event": "subscribe", "channel": "book", "symbol": "tBTCUSD"})))
    assert client.books


@pytest.mark.parametrize("seed", range(40))
def test_any_schedule_of_faults_leaves_the_exchange_itself_true(seed):
    exchange = Exchange(seed, 2)
    for fault_seed in range(3):
        link = Link(Session(exchange))
        link.arm(*random_faults(100 * seed + fault_seed, 6, 600))
        link.receive(json.dumps({"event": "conf", "flags": ALL_FLAGS}))
        for symbol in exchange.symbols:
            for precision in ("P0", "R0"):
                link.receive(json.dumps({"event": "subscribe", "channel": "book", "symbol": symbol, "prec": precision}))
        for _ in range(20):
            link.poll(exchange.now_ns + SECOND)
            if link.closed:
                break
        link.session.close()
    healthy = Link(Session(exchange))
    client = Client()
    client.feed(healthy.receive(json.dumps({"event": "conf", "flags": ALL_FLAGS})))
    chan_id = subscribe(healthy, client, "book")
    client.feed(healthy.poll(exchange.now_ns + 10 * SECOND))
    truth = exchange.true_book("tBTCUSD")
    assert client.books[chan_id].sides() == (truth.bids, truth.asks)
    assert all(good for _, good in client.checksums)


def test_random_faults_are_drawn_by_their_seed():
    def shape(faults: list[Fault]) -> list[Any]:
        return [(f.kind, f.after, f.count, f.span, f.duration_ns, f.frame, f.seed) for f in faults]

    assert shape(random_faults(4, 8, 1000)) == shape(random_faults(4, 8, 1000))
    assert shape(random_faults(4, 8, 1000)) != shape(random_faults(5, 8, 1000))


@pytest.mark.parametrize(
    "values", [{"kind": "explode"}, {"kind": "drop", "wher": 1}, {}, {"kind": "cut", "frame": "x"}]
)
def test_an_unknown_fault_is_refused(values):
    with pytest.raises(SimulatorError, match="expected"):
        fault(**values)
