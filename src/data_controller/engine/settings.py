"""How the engine's loop runs: its pulse, its clock's limits, and how long it may take to stop."""

from __future__ import annotations

from data_controller.settings import Section, hot, restart


class EngineSettings(Section):
    """The loop and its clock. None of it changes what a replay computes: that is decided by records alone."""

    pulse_ms: int = restart(
        100, ge=10, le=1000, description="how often the clock is a record; deadlines are looked at on pulses only"
    )
    vitals_ms: int = restart(
        1000, ge=100, le=60_000, description="how often memory, disk, fsync time and loop lag ride on a pulse"
    )
    clock_step_ms: int = restart(
        1000,
        ge=10,
        le=60_000,
        description="a wall clock that jumped this far ends the run; a new start anchors the clock again",
    )
    clock_slew_ppm: int = restart(
        500, ge=0, le=500, description="how fast the engine's clock may be pulled towards the wall clock"
    )
    state_save_s: float = hot(
        5.0, gt=0, le=300, description="how often positions, risk counters and latch state are saved"
    )
    spin_us: int = hot(
        200,
        ge=0,
        le=10_000,
        description="how long the loop stays awake after a frame, so that the next one need not wake a core, at the"
        " price of that core's idle time; 0 = sleep at once",
    )
    stop_timeout_s: float = hot(
        10.0, gt=0, le=300, description="how long a stop may drain, flush and fsync before the process ends anyway"
    )
