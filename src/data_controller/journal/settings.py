"""Config of the journal: how often it is made durable, how large its segments are, and what disk it may use."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from data_controller.settings import Section, hot, restart


class JournalSettings(Section):
    """The `journal:` section; a limit of 0 means no limit."""

    flush_interval_ms: int = hot(1000, ge=10, le=60_000)  # a kill loses at most this much
    segment_bytes: int = hot(128 << 20, ge=1 << 16, le=1 << 30)  # a segment ends when it is this large
    segment_s: int = hot(3600, ge=1)  # or spans this much engine time
    max_bytes: int = hot(0, ge=0)  # whole segments, oldest first, make room
    retention_days: float = hot(0.0, ge=0.0)  # segments older than this are deleted
    min_free_bytes: int = hot(256 << 20, ge=0)  # recording stops before the disk has less than this
    arena_bytes: int = restart(4 << 20, ge=1 << 12, le=1 << 30)
    arena_records: int = restart(65_536, ge=16, le=1 << 24)
    arenas: int = restart(8, ge=3, le=256)  # all of them full means that reading pauses
    zstd_level: int = restart(1, ge=1, le=19)  # 3 costs up to 1.7 times the time for the same bytes

    @model_validator(mode="after")
    def _budget_holds_a_segment(self) -> Self:
        if self.max_bytes and self.max_bytes < 2 * self.segment_bytes:
            raise ValueError(
                f"expected 0 or at least twice journal.segment_bytes ({2 * self.segment_bytes}), "
                f"was {self.max_bytes} (`journal.max_bytes`)"
            )
        return self
