"""Config of the monitor: when something is degraded, when it has failed, and how alerts repeat."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from data_controller.settings import Section, hot, restart


class MonitoringSettings(Section):
    """Thresholds of health, and the manners of alerts."""

    enabled: bool = restart(True, description="Whether `run` and `demo` start the monitor process.")
    feed_degraded_s: float = hot(1.0, gt=0, description="Age of the engine's last feed that is degraded.")
    feed_failed_s: float = hot(5.0, gt=0, description="Age of the engine's last feed that means the engine hangs.")
    loop_lag_degraded_s: float = hot(0.05, gt=0, description="Lateness of the engine's loop that is degraded.")
    loop_lag_failed_s: float = hot(1.0, gt=0, description="Lateness of the engine's loop that is failed.")
    venue_clock_degraded_s: float = hot(
        30.0, gt=0, description="How far a venue's times may lie from ours before its clock is degraded."
    )
    disk_free_degraded_bytes: int = hot(5 << 30, ge=0, description="Free disk below this is degraded.")
    disk_free_failed_bytes: int = hot(1 << 30, ge=0, description="Free disk below this is failed.")
    memory_free_degraded_ratio: float = hot(0.10, ge=0, le=1, description="Available memory below this is degraded.")
    memory_free_failed_ratio: float = hot(0.03, ge=0, le=1, description="Available memory below this is failed.")
    queue_degraded_ratio: float = hot(0.8, gt=0, le=1, description="A queue filled above this is degraded.")
    rate_window_s: float = hot(5.0, ge=1, le=60, description="Span over which ingest rates are averaged.")
    alert_repeat_s: float = hot(900.0, gt=0, description="How often an alert that goes on is said again.")
    alert_resolve_s: float = hot(10.0, ge=0, description="How long a condition must be gone before it is resolved.")
    alert_quiet_s: float = hot(
        300.0, gt=0, description="Silence after which an alert that the engine raised counts as resolved."
    )
    alert_log_bytes: int = hot(10_000_000, ge=10_000, description="Size at which alerts.log is rotated; 3 are kept.")
    linger_s: float = restart(
        3600.0,
        ge=0,
        description="How long the monitor goes on saying `failed` after both the engine and its starter are gone.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, mild, grave in (
            ("feed", self.feed_degraded_s, self.feed_failed_s),
            ("loop_lag", self.loop_lag_degraded_s, self.loop_lag_failed_s),
            ("disk_free", -self.disk_free_degraded_bytes, -self.disk_free_failed_bytes),
            ("memory_free", -self.memory_free_degraded_ratio, -self.memory_free_failed_ratio),
        ):
            if mild > grave:
                raise ValueError(f"expected {name} to be degraded before it is failed, was the other way round")
        return self
