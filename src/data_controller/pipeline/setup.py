"""What a pipeline is built from: the sections of the config that its rooms read, and the venues' makers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.exchanges.protocols import Decoder, Subscriptions
from data_controller.features.parameters import Parameters
from data_controller.features.settings import FeatureSettings
from data_controller.market.settings import ProofSettings
from data_controller.market.tables import Tables
from data_controller.trading.settings import RiskSettings, TradingSettings


@dataclass(frozen=True, slots=True)
class VenueSetup:
    """One venue of the config: how its decoder and its subscriptions are made."""

    name: str
    make_decoder: Callable[[Tables], Decoder]
    make_subscriptions: Callable[[Tables, int], Subscriptions] | None  # tables, first connection slot; None: no wish
    settings: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """Everything the pipeline is told besides records; the engine derives it from a START's config."""

    venues: tuple[VenueSetup, ...]
    proof: ProofSettings
    features: FeatureSettings
    trading: TradingSettings
    risk: RiskSettings
    parameters: Parameters
    window: int = 1  # feature rows a prediction looks at
    horizons_s: tuple[int, ...] = ()
    needed: NDArray[np.uint8] | None = None  # [features] 1: the bundle looks at it; None: at all of them
    config_hash: str = ""  # of the config that all this was made from; kept with every decision
    record_only: bool = False  # books and proof, no features and nothing after them
