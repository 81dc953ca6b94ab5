"""Seeded fault schedules of a style: each a world, a list of faults at times, and what came of it; `make torture`."""

from __future__ import annotations

import random
from typing import Any

from data_controller.exchanges.binance.settings import BinanceSettings, BinanceUsdmSettings
from data_controller.exchanges.bitfinex.settings import BitfinexSettings, BookSettings
from data_controller.exchanges.kraken.settings import KrakenSettings

from .injections import faults_of
from .style_binance import Binance, BinanceUsdm
from .style_kraken import Kraken
from .styles import Bitfinex, Style
from .world import S, World

STYLES: dict[str, type[Style]] = {style.name: style for style in (Bitfinex, Binance, BinanceUsdm, Kraken)}

SYMBOLS = ("tBTCUSD", "tXRPUSD", "tSHIB:USD")
START_S = 60.0  # until every book is proved for the first time
# Until every book is proved again after the last fault. A lost end of maintenance takes 150 s alone, and a channel that
# faults on top of each other had refused three times in a row is tried again after 300 s.
PATIENCE_S = 400.0
WATCH_S = 3.0  # a fault that unproves nothing in this time had no effect yet


def settings_for(rng: random.Random, style: str = "bitfinex") -> Any:
    """What the client of a schedule asks for."""
    if style == "kraken":
        return _kraken(rng)
    if style != "bitfinex":
        return _binance(rng, BinanceSettings if style == "binance" else BinanceUsdmSettings)
    books = [BookSettings(precision="P0", length=25)]
    if rng.random() < 0.6:
        books.append(BookSettings(precision="R0", length=25))
    if rng.random() < 0.2:
        books.append(BookSettings(precision="P0", length=100))
    if rng.random() < 0.2:
        books.append(BookSettings(precision="P1", length=25))
    if rng.random() < 0.15:
        books.append(BookSettings(precision="P0", length=1))
    return BitfinexSettings(
        instruments=SYMBOLS[: rng.randint(1, 3)],
        books=tuple(books),
        trades=rng.random() < 0.7,
        tickers=rng.random() < 0.2,
        max_channels_per_connection=rng.choice((3, 25)),
    )


def _binance(rng: random.Random, section: type[BinanceSettings]) -> BinanceSettings:
    return section(
        instruments=("BTCUSDT", "XRPUSDT")[: rng.randint(1, 2)],
        book_speed=rng.choice(section.speeds[-2:]) if rng.random() < 0.3 else "100ms",
        trades=rng.random() < 0.5,
        quotes=rng.random() < 0.2,
        channel_silent_after_s=30.0,
    )


def _kraken(rng: random.Random) -> KrakenSettings:
    return KrakenSettings(
        instruments=("BTC/USD", "XRP/USD")[: rng.randint(1, 2)],
        book_depth=10 if rng.random() < 0.7 else 25,
        trades=rng.random() < 0.5,
        tickers=rng.random() < 0.2,
        channel_silent_after_s=30.0,
    )


def run(seed: int, only: str = "", style: str = "bitfinex") -> dict[str, Any]:
    """Play schedule `seed` of `style`; `only` names the one fault to use.

    Even seeds have one fault after another, each timed until every book is proved again; odd ones have many at once.
    """
    rng = random.Random(seed)
    faults = faults_of(style)
    world = World(seed, settings_for(rng, style), STYLES[style])
    times: list[tuple[str, float, float | None]] = []  # fault, how long it lasts, until all books are proved
    names: list[str] = []
    _until_proved(world, START_S)
    if not world.client.all_proved():
        world.violations.append(f"not every book was proved within {START_S:g} s of a faultless start")
    if seed % 2 == 0:
        for _ in range(3):
            names.append(only or rng.choice(sorted(faults)))
            times.append(_one(world, names[-1], rng))
    else:
        for _ in range(rng.randint(3, 8)):
            names.append(only or rng.choice(sorted(faults)))
            faults[names[-1]](world, rng)
            _pass(world, rng.choice((0.02, 0.2, 2.0, 12.0)))
        end_ns = world.now_ns
        _quiet(world)
        times.append(("several at once", (world.now_ns - end_ns) / S, _recover(world, end_ns)))
    _pass(world, WATCH_S)
    if not world.client.all_proved():
        _recover(world, world.now_ns)
    world.compare_with_exchange()
    return {
        "seed": seed,
        "faults": names,
        "violations": world.violations[:5],
        "times": times,
        "frames": world.frames,
        "compared": world.compared,
        "proof_s": world.client.proof_s,
        "alerts": sorted({alert.name for alert in world.alerts}),
        "resyncs": world.client.subs.counters["resyncs"],
        "reconnects": world.client.subs.counters["reconnects"],
        "checks_ok": int(world.client.books.books["checks_ok"].sum()),
        "breaks": int(world.client.books.books["breaks"].sum()),
        "checks_bad": int(world.client.books.books["checks_bad"].sum()),
        "seconds": (world.now_ns - 1_700_000_000 * S) / S,
    }


def _one(world: World, name: str, rng: random.Random) -> tuple[str, float, float | None]:
    """The fault, how long it lasts, and seconds from its start to all books proved again; None: it unproved none."""
    at_ns = world.now_ns
    lasts_s = faults_of(world.style.name)[name](world, rng)
    took_s = None
    while world.now_ns < at_ns + int((lasts_s + WATCH_S) * S):
        world.step()
        if not world.client.all_proved():
            _pass(world, max(0.0, lasts_s - (world.now_ns - at_ns) / S))
            took_s = _recover(world, at_ns)
            break
    _quiet(world)
    _recover(world, world.now_ns)
    return name, lasts_s, took_s


def _quiet(world: World) -> None:
    """Let what was set in motion end, and take back what found no occasion."""
    while world.ahead:
        world.step()
    _pass(world, WATCH_S)
    for link in world.links.values():
        link.mangles.clear()
    world.on_link.clear()
    world.lose_requests = world.lose_answers = 0
    world.style.heal()


def _recover(world: World, at_ns: int) -> float:
    _until_proved(world, PATIENCE_S)
    if not world.client.all_proved():
        states = [(c["state"], [ch["state"] for ch in c["channels"]]) for c in world.client.subs.state()["connections"]]
        world.violations.append(f"not every book was proved again within {PATIENCE_S:g} s: {states}")
    return (world.now_ns - at_ns) / S


def _until_proved(world: World, seconds: float) -> None:
    until_ns = world.now_ns + int(seconds * S)
    while world.now_ns < until_ns and not (world.client.all_proved() and world.links):
        world.step()


def _pass(world: World, seconds: float) -> None:
    for _ in range(int(seconds * S) // world.style.step_ns):
        world.step()
