"""Settings of the feature engine."""

from __future__ import annotations

from pathlib import Path

from data_controller.features.layout import MAX_LEVELS
from data_controller.settings import Section, restart


class FeatureSettings(Section):
    """The grid, what the cost features assume, who leads, and where the fitted parameters lie."""

    grid_interval_s: int = restart(1, ge=1, le=5, description="Seconds between two ticks; bins are always one second.")
    order_size_quote: float = restart(
        1000.0, gt=0.0, le=1e12, description="Order size that cost to trade assumes, in quote currency."
    )
    leader: str = restart(
        "", description="`venue:symbol` whose 5 s return all see as leader_r_5; empty: that feature is invalid."
    )
    levels: int = restart(MAX_LEVELS, ge=1, le=MAX_LEVELS, description="Price levels a side in integrated OFI.")
    parameters: Path | None = restart(None, description="Parameter file (JSON); empty: the plain default.")
