"""A seeded sample of the fault schedules of the spliced and the checksummed style, and the bugs that they found."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from data_controller.exchanges.binance.settings import BinanceSettings
from data_controller.exchanges.kraken.settings import KrakenSettings
from data_controller.market.layout import Proof
from data_controller.simulator.exchange import Frame

from .injections import faults_of
from .schedules import PATIENCE_S, STYLES, _until_proved, run
from .style_binance import Binance
from .style_kraken import Kraken
from .styles import Link
from .world import S, World

FURTHER = [name for name in STYLES if name != "bitfinex"]


@pytest.mark.parametrize("style", FURTHER)
@pytest.mark.parametrize("seed", range(8))
def test_no_book_says_proved_and_differs_whatever_happens(style: str, seed: int) -> None:
    result = run(seed, style=style)
    assert result["violations"] == [], f"{result['faults']}: {result['violations']}"
    assert result["compared"] > 0


def _binance() -> World:
    return _proved(World(5, BinanceSettings(instruments=("BTCUSDT",), trades=False), Binance))


def _kraken() -> World:
    settings = KrakenSettings(instruments=("BTC/USD",), trades=False, tickers=False, book_depth=10)
    return _proved(World(5, settings, Kraken))


def _proved(world: World) -> World:
    _until_proved(world, 60.0)
    assert world.client.all_proved() and world.violations == []
    return world


@pytest.mark.parametrize("make", [_binance, _kraken])
def test_the_rule_is_not_vacuous_a_book_that_is_made_to_differ_is_found(make: Callable[[], World]) -> None:
    world = make()
    world.client.books.side(0, +1)[3]["size_digits"] += 1
    if world.style.checked:  # whose next checksum finds it before we would
        world._compare(0, False)
    for _ in range(50):
        world.step()
    assert "is PROVED by all it was sent and differs" in world.violations[0]


def test_the_rule_is_not_vacuous_a_decoder_that_ignores_a_gap_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _binance()
    receive = world._receive

    def forgetful(conn: int, link: Link, frame: Frame) -> None:
        first = frame.data.partition(b'"U":')[2].partition(b",")[0]
        if first:
            cells = world.client.decoder._cells
            cells["last"][cells["state"] == 1] = int(first) - 1  # as if what came before had been there
        receive(conn, link, frame)

    monkeypatch.setattr(world, "_receive", forgetful)
    faults_of("binance")["drop_many"](world, random.Random(1))
    for _ in range(1000):
        world.step()
        if world.violations:
            break
    assert "differs" in world.violations[0]


def test_the_rule_is_not_vacuous_a_decoder_that_skips_checksums_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _kraken()
    record = world.client.record

    def trusting(*arguments: Any) -> set[int]:
        world.client.books.books["checksum_rule"] = 0
        touched = record(*arguments)
        world.client.books.books["checks_ok"] += 1
        return touched

    monkeypatch.setattr(world.client, "record", trusting)
    faults_of("kraken")["drop_many"](world, random.Random(1))
    for _ in range(1000):
        world.step()
        if world.violations:
            break
    assert "differs" in world.violations[0]


def test_a_snapshot_that_comes_late_does_not_put_a_good_book_back() -> None:
    world = _binance()
    (conn,) = world.links
    url = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=1000"
    status, body = world.style.fetch(url)
    last = int(world.client.decoder._cells["last"].max())
    while int(world.client.decoder._cells["last"].max()) < last + 5:
        world.step()
    world._answer(conn, url, status, body)
    assert world.client.all_proved() and world.client.decoder.counters["fetched_in_vain"] == 1
    assert world.violations == []


def test_a_book_that_the_venue_says_it_serves_already_is_asked_for_anew() -> None:
    world = _kraken()
    (link,) = world.links.values()
    faults_of("kraken")["double_unsubscribed"](world, random.Random(1))
    at_ns = world.now_ns
    while world.now_ns < at_ns + 30 * S:
        world.step()
    _until_proved(world, PATIENCE_S)
    assert world.client.all_proved() and world.client.subs.counters["given_up"] == 0
    assert world.client.books.books[0]["proof"] == Proof.PROVED
    assert (world.now_ns - at_ns) / S < 60.0 and link in world.links.values()
    assert world.violations == []
