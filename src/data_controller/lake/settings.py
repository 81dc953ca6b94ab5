"""Config of the lake: where it lies, when it is compacted, and how long the journal behind it is kept."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from data_controller.settings import Secret, Section, hot, restart


class LakeSettings(Section):
    """The `lake:` section; a limit of 0 means no limit."""

    uri: str = restart("", description="folder or URI (`s3://bucket/path`) of the lake; empty: `lake` in the state_dir")
    compact: bool = hot(True, description="turn closed journal segments into the lake, in a process of its own")
    compact_interval_s: float = hot(
        60.0, gt=0, le=86_400, description="how often to look for closed segments; 0 is refused"
    )
    compact_nice: int = restart(10, ge=0, le=19, description="how far that process steps back for others")
    retention_days: float = hot(
        0.0, ge=0, description="journal segments older than this are deleted, once they are in the lake"
    )
    journal_disk_budget_bytes: int = hot(
        0, ge=0, description="the oldest segments that are in the lake make room beyond this"
    )
    explain_retention_days: float = hot(
        30.0, ge=0, description="segments that a decision of the audit rests on are kept this long all the same"
    )
    s3_endpoint: str = restart("", description="address of an S3 server that is not Amazon's: `http://127.0.0.1:9000`")
    s3_region: str = restart("", description="region of the bucket; empty: as the environment says")
    s3_access_key: Secret | None = restart(None, description="empty: as the environment says")
    s3_secret_key: Secret | None = restart(None)

    @model_validator(mode="after")
    def _both_keys(self) -> Self:
        if (self.s3_access_key is None) != (self.s3_secret_key is None):
            raise ValueError("expected both of `lake.s3_access_key` and `lake.s3_secret_key`, or neither, was one")
        return self
