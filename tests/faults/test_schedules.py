"""A seeded sample of the fault schedules: no book says PROVED and differs, and every one is proved again."""

from __future__ import annotations

import random

import pytest

from data_controller.exchanges.bitfinex.settings import BitfinexSettings
from data_controller.market.layout import BrokenBy, Proof
from data_controller.simulator.exchange import Frame

from .injections import FAULTS
from .schedules import PATIENCE_S, _until_proved, run
from .styles import Link
from .world import S, World

SAMPLE = range(60)


@pytest.mark.parametrize("seed", SAMPLE)
def test_no_book_says_proved_and_differs_whatever_happens(seed: int) -> None:
    result = run(seed)
    assert result["violations"] == [], f"{result['faults']}: {result['violations']}"
    assert result["compared"] > 0


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_after_each_fault_every_book_is_proved_again(name: str) -> None:
    result = run(1000, only=name)
    assert result["violations"] == []
    assert all(took is None or took < PATIENCE_S for _, _, took in result["times"])


@pytest.mark.parametrize("name", ["duplicate", "duplicate_late", "stall_with_heartbeats"])
def test_what_loses_nothing_costs_nothing(name: str) -> None:
    result = run(1002, only=name)
    assert [took for _, _, took in result["times"]] == [None, None, None]
    assert (result["resyncs"], result["reconnects"]) == (0, 0)


@pytest.mark.parametrize("name", ["corrupt_check", "double_unsubscribed", "lost_unsubscribed", "dead_channel"])
def test_one_book_that_fails_is_resynced_alone(name: str) -> None:
    result = run(1004, only=name)
    assert result["resyncs"] > 0
    assert result["reconnects"] == 0


@pytest.mark.parametrize("name", ["drop", "reorder"])
def test_a_socket_that_lost_something_is_opened_again_and_no_book_is_resynced(name: str) -> None:
    result = run(1006, only=name)
    assert result["reconnects"] > 0
    assert result["resyncs"] == 0


def test_a_channel_refused_too_often_is_given_up_aloud_and_proved_again_by_itself() -> None:
    world = _world("tBTCUSD", "tXRPUSD")
    (link,) = world.links.values()
    FAULTS["refused_subscription"](world, random.Random(1))
    world._later.clear()  # the exchange refuses for longer than the three tries last
    world.later(20.0, lambda: setattr(link.session, "unserved", ""))
    while not world.alerts:
        world.step()
    _until_proved(world, PATIENCE_S)
    assert world.client.all_proved() and not world.client.subs.counters["reconnects"]
    assert [alert.name for alert in world.alerts] == ["bitfinex_channel_refused", "bitfinex_channel_back"]
    assert world.violations == []


def test_a_book_whose_channel_died_is_unusable_before_the_exchange_answers_and_proved_again_after() -> None:
    world = _world("tBTCUSD", "tXRPUSD")
    (link,) = world.links.values()
    dead = min(link.session.channels)
    world.exchange.mute(link.session.conn, [dead], True, heartbeats=False)
    died_ns = world.now_ns
    while world.client.all_proved():
        world.step()
    broken_by = world.client.books.books["broken_by"].tolist()
    assert sorted(broken_by) == [BrokenBy.NOTHING, BrokenBy.SILENT]
    assert 40.0 <= (world.now_ns - died_ns) / S < 41.0
    assert dead in link.session.channels  # the answer to the unsubscribe is still to come
    _until_proved(world, 5.0)
    assert world.client.all_proved() and dead not in link.session.channels
    assert world.violations == []


def test_in_maintenance_no_book_is_usable_and_afterwards_all_are_proved_again() -> None:
    world = _world()
    seconds = FAULTS["maintenance"](world, random.Random(3))
    while world.client.all_proved():
        world.step()
    while world.ahead:
        assert not world.client.books.books["usable"].any()
        world.step()
    _until_proved(world, 5.0)
    assert world.client.all_proved() and seconds > 5.0
    assert world.violations == []


def test_equal_seeds_give_equal_schedules_and_others_do_not() -> None:
    assert run(7) == run(7)
    assert run(7) != run(9)


def _world(*instruments: str) -> World:
    world = World(5, BitfinexSettings(instruments=instruments or ("tBTCUSD",), trades=False, tickers=False))
    while not world.client.all_proved():
        world.step()
    return world


def test_the_rule_is_not_vacuous_a_book_that_is_made_to_differ_is_found() -> None:
    world = _world()
    world.client.books.side(0, +1)[3]["size_digits"] += 1
    for _ in range(200):
        world.step()
    assert "is PROVED by all it was sent and differs" in world.violations[0]


def test_the_rule_is_not_vacuous_a_session_that_ignores_gaps_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _world()
    receive = world._receive

    def forgetful(conn: int, link: Link, frame: Frame) -> None:
        if frame.seq:
            world.client.decoder._conns[conn]["last_seq"] = frame.seq - 1  # it never learns that a number is missing
        receive(conn, link, frame)

    monkeypatch.setattr(world, "_receive", forgetful)
    FAULTS["drop_many"](world, random.Random(1))
    for _ in range(1000):
        world.step()
        if world.violations:
            break
    assert "differs" in world.violations[0]


def test_a_falsified_entry_breaks_its_book_at_the_next_checksum_and_not_before() -> None:
    world = _world()
    FAULTS["corrupt_digit"](world, random.Random(1))
    (link,) = world.links.values()
    while not link.tainted:
        world.step()
    while world.client.books.books[0]["proof"] == Proof.PROVED:
        world.step()
    assert world.client.books.books[0]["checks_bad"] == 1
    assert world.violations == []
