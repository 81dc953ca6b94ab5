"""Config of the market core: which proofs of a book the engine acts on, and how old one may be."""

from __future__ import annotations

from typing import Literal

from data_controller.market.layout import Proof
from data_controller.settings import Section, hot


class ProofSettings(Section):
    """What a book must have behind it before features, gate and paper broker use it."""

    act_on: tuple[Literal["PROVED", "UNVERIFIABLE"], ...] = hot(("PROVED",))
    max_age_s: float = hot(60.0, gt=0)

    @property
    def accept_mask(self) -> int:
        """`act_on` as bits `1 << Proof`."""
        mask = 0
        for name in self.act_on:
            mask |= 1 << Proof[name]
        return mask

    @property
    def max_age_ns(self) -> int:
        """`max_age_s` in nanoseconds."""
        return round(self.max_age_s * 1e9)
