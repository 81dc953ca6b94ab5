"""Config of prediction: which bundle answers, on which tiers, for which horizons."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from data_controller.settings import Section, restart


class PredictionSettings(Section):
    """`prediction:` in the config file."""

    bundle: Path | None = restart(None, description="directory of the model bundle; none = the one in the package")
    tiers: tuple[Literal["compiled", "numpy"], ...] = restart(
        ("compiled", "numpy"), description="rungs in the order they are tried; below the last there is no prediction"
    )
    horizons_s: tuple[int, ...] | None = restart(
        None, description="horizons to act on, a subset of the bundle's; none = all of them"
    )

    @field_validator("tiers")
    @classmethod
    def _each_tier_once(cls, tiers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tiers)) != len(tiers):
            raise ValueError(f"expected each tier at most once, was {', '.join(tiers)} (`prediction.tiers`)")
        return tiers

    @field_validator("horizons_s")
    @classmethod
    def _horizons_rise(cls, horizons: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if horizons is not None and (not horizons or list(horizons) != sorted(set(horizons)) or horizons[0] <= 0):
            raise ValueError(f"expected rising positive seconds, was {list(horizons)} (`prediction.horizons_s`)")
        return horizons
