"""The simulated market: the same for the same seed, healthy for hours, with a signal of known strength."""

from __future__ import annotations

import numpy as np
import pytest

from data_controller.errors import SimulatorError
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.instruments import instrument_names
from data_controller.simulator.orderflow import plan
from data_controller.simulator.session import Session

from .simulator_client import SECOND

PINNED = {
    1: "095b01789bf9433f9781c4a4298b927357879d5f7a0f9252867a7a51b0a11b24",
    7: "c7f24f6518d38c60e44d9854afe6a4e70a34a14d800f2dbaf00c467473209778",
}


@pytest.mark.parametrize("seed", sorted(PINNED))
def test_a_seed_gives_the_pinned_market(seed):
    exchange = Exchange(seed, 4)
    exchange.advance(exchange.now_ns + 60 * SECOND)
    assert exchange.digest() == PINNED[seed]


def test_the_market_is_the_same_in_other_slices_and_whoever_listens():
    alone = Exchange(9, 3)
    alone.advance(alone.now_ns + 30 * SECOND)
    watched = Exchange(9, 3)
    session = Session(watched)
    start = watched.now_ns
    for step in range(1, 301):
        watched.advance(start + step * SECOND // 10)
        if step == 100:
            session.receive('{"event":"subscribe","channel":"book","symbol":"tETHUSD","prec":"R0"}')
            session.receive('{"event":"subscribe","channel":"trades","symbol":"tETHUSD"}')
    assert watched.digest() == alone.digest()


def test_another_seed_is_another_market():
    first, second = Exchange(1, 2), Exchange(2, 2)
    assert first.digest() != second.digest()


def test_instruments_are_named_like_the_exchange_names_them():
    names = instrument_names(100)
    assert names[:3] == ["tBTCUSD", "tETHUSD", "tSOLUSD"]
    assert names[-1] == "tS88USD"
    assert len(set(names)) == 100


def test_two_hours_are_healthy():
    exchange = Exchange(3, 12)
    spreads = []
    for _ in range(720):
        exchange.advance_raw(exchange.now_ns + 10 * SECOND)
        state = exchange._state
        assert state.n_levels.min() >= 25
        steps = state.levels[:, 1, 0]["key"] + state.levels[:, 0, 0]["key"]
        assert steps.min() >= 1
        spreads.append(steps)
    assert 1.0 <= np.median(spreads) <= 3.0
    assert np.mean(np.array(spreads) <= 3) > 0.7
    for symbol in exchange.symbols:
        mid = exchange.latent(symbol).mid
        assert mid.min() / mid[0] > 0.8
        assert mid.max() / mid[0] < 1.25


def correlation(exchange: Exchange, symbol: str, horizon_s: int) -> float:
    latent = exchange.latent(symbol)
    returns = np.log(latent.mid[horizon_s:] / latent.mid[:-horizon_s])
    return float(np.corrcoef(latent.drift[:-horizon_s], returns)[0, 1])


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.6])
def test_the_planted_signal_has_the_strength_asked_for(strength):
    measured = []
    for seed in (1, 2, 3, 4):
        exchange = Exchange(seed, 12, ticks_per_second=12 * 10, strength=strength or 1e-9)
        exchange.advance_raw(exchange.now_ns + 7200 * SECOND)
        measured += [correlation(exchange, symbol, 60) for symbol in exchange.symbols]
    error = np.std(measured, ddof=1) / np.sqrt(len(measured))
    assert error < 0.03
    assert abs(np.mean(measured) - strength) < 4 * error


def test_volatility_is_what_was_asked_for_where_the_grid_can_carry_it():
    exchange = Exchange(2, 8, ticks_per_second=8 * 50, volatility_bps=5.0)
    exchange.advance_raw(exchange.now_ns + 7200 * SECOND)
    mids = [exchange.latent(symbol).mid for symbol in exchange.symbols[:7]]
    measured = [1e4 * np.std(np.log(mid[60:] / mid[:-60])) for mid in mids]
    assert np.mean(measured) == pytest.approx(5.0, rel=0.2)


@pytest.mark.parametrize(("instruments", "rate"), [(1, 5.0), (2, 100.0), (8, 400.0)])
def test_frames_come_at_about_the_rate_asked_for(instruments, rate):
    exchange = Exchange(4, instruments, ticks_per_second=rate)
    session = Session(exchange)
    session.handle('{"event":"conf","flags":131072}')
    for symbol in exchange.symbols:
        for channel in ("book", "trades"):
            session.handle(f'{{"event":"subscribe","channel":"{channel}","symbol":"{symbol}"}}')
    session.take()
    seconds = int(12_000 / rate)
    assert len(session.take(exchange.now_ns + seconds * SECOND)) == pytest.approx(seconds * rate, rel=0.2)


@pytest.mark.parametrize(
    "settings",
    [
        {"strength": 1.0},
        {"strength": -0.1},
        {"strength": 0.99, "horizon_s": 600.0},
        {"ticks_per_second": 0.0},
        {"ticks_per_second": float("nan")},
        {"ticks_per_second": float("inf")},
        {"ticks_per_second": 1e-300},
        {"instruments": 0},
        {"instruments": ["tBTCUSD", "tBTCUSD"]},
        {"depth": 5},
    ],
)
def test_an_impossible_market_is_refused(settings):
    with pytest.raises(SimulatorError, match="expected"):
        Exchange(1, **settings)


def test_the_plan_solves_for_the_strength():
    result = plan(0.3, 60.0, 120.0, 6.0, 1e9, 1e-9)
    a = 60.0 / 120.0
    g = 120.0 * (1 - np.exp(-a))
    q = 2 * 120.0**2 * (a - 1 + np.exp(-a))
    variance = result.drift_sd**2 * q + result.sigma**2 * 60.0
    assert variance == pytest.approx((6e-4) ** 2)
    assert result.drift_sd * g / np.sqrt(variance) == pytest.approx(0.3)


def test_a_rebased_market_goes_on_where_it_stopped():
    exchange = Exchange(5, 2)
    exchange.advance(exchange.now_ns + 5 * SECOND)
    before, book = exchange.events, exchange.true_book("tBTCUSD")
    exchange.rebase(exchange.now_ns + 3600 * SECOND)
    assert (exchange.events, exchange.true_book("tBTCUSD")) == (before, book)
    exchange.advance(exchange.now_ns + 10 * SECOND)
    assert 50 < exchange.events - before < 400
    with pytest.raises(SimulatorError, match="expected a time"):
        exchange.rebase(0)


def test_a_halted_market_does_not_move():
    exchange = Exchange(5, 2)
    exchange.halt(True)
    before = exchange.events
    exchange.advance(exchange.now_ns + 100 * SECOND)
    assert exchange.events == before
    exchange.halt(False)
    exchange.advance(exchange.now_ns + 10 * SECOND)
    assert exchange.events - before < 400


def test_the_arena_grows_rather_than_lose_a_frame():
    exchange = Exchange(5, 1)
    sessions = [Session(exchange) for _ in range(120)]
    for session in sessions:
        session.receive('{"event":"subscribe","channel":"book","symbol":"tBTCUSD"}')
    assert len(exchange._state.frames) == 1 << 16
    exchange.advance(exchange.now_ns + 2 * SECOND)
    assert len(exchange._state.frames) > 1 << 16
    texts = {b"".join(frame.data.partition(b",")[2] for frame in session.take()) for session in sessions}
    assert len(texts) == 1
    assert len(texts.pop()) > 300
