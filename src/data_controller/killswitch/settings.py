"""Config of the kill switch."""

from __future__ import annotations

from data_controller.settings import Section, restart


class KillSwitchSettings(Section):
    """How the latch file is handled."""

    lock_wait_s: float = restart(
        0.2,
        gt=0,
        le=5,
        description="How long setting the latch waits for another process that is changing it; then it sets KILL too.",
    )
