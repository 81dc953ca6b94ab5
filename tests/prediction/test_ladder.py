from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_controller.errors import BundleError
from data_controller.prediction.bundle import Bundle
from data_controller.prediction.ladder import NONE, Ladder, NumpyTier
from data_controller.prediction.settings import PredictionSettings
from tests.prediction.bundles import WINDOW, bundle


class Faulty(NumpyTier):
    """A tier that answers its golden vectors and then does what a test wants."""

    name = "faulty"

    def __init__(self, made: Bundle, fault: str, good: int = 1) -> None:
        super().__init__(made)
        self.fault, self.good = fault, good

    def predict(self, features, valid):  # type: ignore[no-untyped-def]
        outputs, usable = super().predict(features, valid)
        self.good -= 1
        if self.good >= 0:
            return outputs, usable
        if self.fault == "raises":
            raise RuntimeError("device lost")
        if self.fault == "batch":
            return outputs[1:], usable
        if self.fault == "usable":
            return outputs, usable[1:]
        if self.fault == "type":
            return outputs.astype(np.float64), usable
        if self.fault == "nothing":
            return None, usable
        k = {"nan": 2, "negative": 0, "above one": 1, "no deviation": 3, "off": 2}[self.fault]
        value = {"nan": np.nan, "negative": -0.1, "above one": 1.1, "no deviation": 0.0, "off": 0.5}[self.fault]
        outputs = outputs.copy()
        outputs[..., k] = value
        return outputs, usable


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    return bundle(tmp_path)


def inputs(n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(9).normal(size=(n, WINDOW, 3)).astype(np.float32)
    return features, np.ones(features.shape, np.uint8)


def test_an_answer_names_its_bundle_and_its_tier(made: Bundle) -> None:
    features, valid = inputs()
    valid[2] = 0
    reply = Ladder(PredictionSettings(), made).predict(features, valid)
    assert (reply.bundle, reply.tier, reply.failed) == (made.hash, "compiled", {})
    assert reply.valid.tolist() == [1, 1, 0, 1]
    assert (reply.outputs.shape, reply.outputs.dtype, reply.outputs.flags.c_contiguous) == ((4, 2, 4), np.float32, True)
    assert np.isnan(reply.outputs[2]).all()


@pytest.mark.parametrize(
    "fault", ["raises", "batch", "usable", "type", "nothing", "nan", "negative", "above one", "no deviation"]
)
def test_a_tier_that_fails_costs_a_rung_and_the_answer_says_why(made: Bundle, fault: str) -> None:
    ladder = Ladder(PredictionSettings(), made, [Faulty(made, fault), NumpyTier(made)])
    reply = ladder.predict(*inputs())
    assert (reply.tier, list(reply.failed)) == ("numpy", ["faulty"])
    assert reply.failed["faulty"]
    assert reply.valid.all()
    assert ladder.counters == {"faulty": 0, "numpy": 1, NONE: 0}


def test_below_the_last_tier_nothing_is_valid(made: Bundle) -> None:
    reply = Ladder(PredictionSettings(), made, [Faulty(made, "raises")]).predict(*inputs())
    assert (reply.tier, reply.failed) == (NONE, {"faulty": "RuntimeError: device lost"})
    assert not reply.valid.any()
    assert np.isnan(reply.outputs).all()
    assert reply.outputs.shape == (4, 2, 4)


@pytest.mark.parametrize("fault", ["off", "raises", "nan", "batch"])
def test_a_tier_that_misses_the_golden_vectors_is_left_out_and_every_answer_says_so(made: Bundle, fault: str) -> None:
    ladder = Ladder(PredictionSettings(), made, [Faulty(made, fault, good=0), NumpyTier(made)])
    assert [tier.name for tier in ladder.tiers] == ["numpy"]
    assert ladder.refused["faulty"].startswith("golden vectors")
    assert ladder.predict(*inputs()).failed == ladder.refused


def test_only_the_horizons_of_the_config_are_answered_in_their_order(made: Bundle) -> None:
    both = Ladder(PredictionSettings(), made).predict(*inputs())
    ladder = Ladder(PredictionSettings(horizons_s=(300,)), made)
    assert ladder.horizons_s == (300,)
    assert ladder.predict(*inputs()).outputs.tobytes() == both.outputs[:, 1:].tobytes()


def test_a_horizon_that_the_bundle_lacks_is_refused(made: Bundle) -> None:
    with pytest.raises(BundleError, match=r"expected horizons among \[60, 300\], was \[900\]"):
        Ladder(PredictionSettings(horizons_s=(60, 900)), made)


@pytest.mark.parametrize("shape", [(4, 3), (4, WINDOW + 1, 3), (4, WINDOW, 2)])
def test_inputs_of_another_shape_are_the_callers_error(made: Bundle, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected features and validity of shape"):
        Ladder(PredictionSettings(), made).predict(np.zeros(shape, np.float32), np.zeros(shape, np.uint8))


def test_the_same_inputs_give_the_same_bits(made: Bundle, tmp_path: Path) -> None:
    one, two = (Ladder(PredictionSettings(), made) for _ in range(2))
    one.predict(*inputs(50))
    assert one.predict(*inputs()).outputs.tobytes() == two.predict(*inputs()).outputs.tobytes()
    other = Ladder(PredictionSettings(), bundle(tmp_path, 2))
    assert other.predict(*inputs()).outputs.tobytes() != two.predict(*inputs()).outputs.tobytes()


def test_no_instruments_is_an_empty_answer(made: Bundle) -> None:
    reply = Ladder(PredictionSettings(), made).predict(*inputs(0))
    assert (reply.tier, reply.outputs.shape) == ("compiled", (0, 2, 4))
