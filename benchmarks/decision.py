"""What one grid tick costs after its features: the ladder's answer and the Trader's decisions, for 100 instruments.

Prints median, p99 and max in microseconds of `Ladder.predict`, `Trader.on_answer` and `Trader.on_time`; the decision
must stay below 200 µs. Run: python benchmarks/decision.py [instruments] [rounds]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_controller.market.layout import BOOK, LEVEL, Proof
from data_controller.prediction.bundle import FORMAT, Golden, Manifest, Normalisation, load, save
from data_controller.prediction.forward import OUTPUTS, linear, prepare
from data_controller.prediction.ladder import Ladder
from data_controller.prediction.settings import PredictionSettings
from data_controller.trading.rows import State
from data_controller.trading.settings import RiskSettings, TradingSettings
from data_controller.trading.trader import Trader

FEATURES, DEPTH = 64, 25
HORIZONS_S = (60, 300, 900)


def timed(call: Callable[[int], Any], rounds: int) -> str:
    """Median, p99 and max of `call(k)` in microseconds."""
    for k in range(20):
        call(k)
    took = np.empty(rounds)
    for k in range(rounds):
        start = time.perf_counter_ns()
        call(20 + k)
        took[k] = time.perf_counter_ns() - start
    median, high = np.percentile(took, [50, 99]) / 1e3
    return f"median {median:7.1f}  p99 {high:7.1f}  max {took.max() / 1e3:7.1f} µs"


def ladder() -> Ladder:
    """A ladder over a linear bundle of random weights."""
    rng = np.random.default_rng(1)
    weight = rng.normal(0, 0.02, (len(HORIZONS_S), 4, FEATURES)).astype(np.float32)
    bias = np.zeros((len(HORIZONS_S), 4), np.float32)
    columns = [f"c{k}" for k in range(FEATURES)]
    manifest = Manifest(
        format=FORMAT,
        name="benchmark",
        architecture="linear",
        sizes={},
        catalogue_hash="benchmark",
        columns=columns,
        window=1,
        horizons_s=list(HORIZONS_S),
        outputs=list(OUTPUTS),
        normalisation=Normalisation(
            centre=[0.0] * FEATURES, scale=[1.0] * FEATURES, clip=[5.0] * FEATURES, log=[False] * FEATURES
        ),
        label="none",
        trained_on="nothing",
        live_money=False,
        notice="random weights",
        training={},
        metrics={},
        code_version="",
    )
    features = rng.normal(size=(4, 1, FEATURES)).astype(np.float32)
    valid = np.ones(features.shape, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        parameters = prepare(manifest.normalisation, weight, bias, 1)
        outputs, usable = linear(np, parameters, features, valid != 0)
        save(path, manifest, weight, bias, Golden(features, valid, outputs, usable.astype(np.uint8)))
        return Ladder(PredictionSettings(), load(path, "benchmark", columns))


def market(n: int) -> tuple[Any, Any, Any]:
    """Proved books of 25 levels a side around 100."""
    books, levels = np.zeros(n, BOOK), np.zeros(2 * DEPTH * n, LEVEL)
    books["depth"], books["usable"], books["proof"] = 2, 1, Proof.PROVED
    books["n_bid"] = books["n_ask"] = DEPTH
    books["bid0"] = np.arange(n) * 2 * DEPTH
    books["ask0"] = books["bid0"] + DEPTH
    for i in range(n):
        lo = 2 * DEPTH * i
        levels["price"][lo : lo + DEPTH] = 99.995 - 0.01 * np.arange(DEPTH)
        levels["price"][lo + DEPTH : lo + 2 * DEPTH] = 100.005 + 0.01 * np.arange(DEPTH)
        levels["size"][lo : lo + 2 * DEPTH] = 0.3
    return books, np.arange(n, dtype=np.int32), levels


def main(n: int = 100, rounds: int = 2000) -> None:
    """Time the three calls."""
    rng = np.random.default_rng(2)
    steps = ladder()
    features = rng.normal(size=(n, 1, FEATURES)).astype(np.float32)
    valid = np.ones(features.shape, np.uint8)
    view = market(n)
    trading = TradingSettings(fee_bps=0.0, min_edge_bps=0.5, allow_short=True)
    trader = Trader(trading, RiskSettings(max_orders_minute=4000, max_total_quote=1e9), n, HORIZONS_S)
    trader.set_state(State.ACTIVE)
    trader.set_latched(False)
    trader.set_journal_ok(True)
    ones = np.ones(n, np.uint8)
    step_ns = 10**9
    answers = [steps.predict(rng.normal(size=features.shape).astype(np.float32), valid).outputs for _ in range(64)]
    for out in answers:
        out[..., 2] *= 40

    def on_answer(k: int) -> None:
        now = (1_750_000_000 + k) * step_ns
        trader.on_answer(2 * k, now, now, answers[k % 64], ones, ones, *view)
        trader.actions()

    def whole(k: int) -> None:
        on_answer(k)
        trader.on_time(2 * k + 1, (1_750_000_000 + k) * step_ns + step_ns // 2, *view)
        trader.fills()

    def on_time(k: int) -> None:
        trader.on_time(0, (1_760_000_000 + k) * step_ns, *view)
        trader.actions(), trader.fills()

    print(f"{n} instruments, {len(HORIZONS_S)} horizons, {FEATURES} features, {rounds} rounds")
    print("Ladder.predict          ", timed(lambda k: steps.predict(features, valid), rounds))
    print("Trader.on_answer        ", timed(on_answer, rounds))
    print("on_answer + on_time     ", timed(whole, rounds))
    print("Trader.on_time          ", timed(on_time, rounds))
    print({k: v for k, v in trader.counters.items() if v})


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
