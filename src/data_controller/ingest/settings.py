"""Config section of the ingest shell: bounds of messages, buffers, reconnects, connection rate and REST requests."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from data_controller.settings import Section, hot, restart

MIB = 1 << 20


class RestSettings(Section):
    """Bounds that hold for every REST request of every venue."""

    timeout_s: float = hot(20.0, gt=0, le=600)  # one attempt: connection, request and whole answer together
    attempts: int = hot(5, ge=1, le=20)
    backoff_first_s: float = hot(0.5, gt=0, le=300)  # at most this before the second attempt, then doubling, jittered
    backoff_max_s: float = hot(30.0, gt=0, le=3600)
    retry_after_max_s: float = hot(120.0, gt=0, le=86400)  # a venue that asks for a longer pause is given up for now
    max_body_bytes: int = hot(16 * MIB, ge=1024, le=256 * MIB)  # unpacked; a longer answer is cut off and refused
    budget_share: float = restart(0.8, gt=0, le=1)  # of what a venue allows
    max_waiting: int = hot(64, ge=1, le=4096)  # requests of one venue under way; more are refused at once


class IngestSettings(Section):
    """Bounds that hold for every connection of every venue."""

    max_message_bytes: int = restart(16 * MIB, ge=1024, le=256 * MIB)  # a larger message ends its connection
    read_buffer_bytes: int = restart(256 * 1024, ge=4096, le=64 * MIB)  # at first; grows to the largest frame
    send_buffer_bytes: int = hot(MIB, ge=1024, le=64 * MIB)  # more unsent than this: the peer does not read
    connect_timeout_s: float = hot(10.0, gt=0, le=300)  # name, TCP, TLS and handshake together
    reconnect_first_s: float = hot(1.0, gt=0, le=300)  # second attempt in a row; the first is immediate, then doubling
    reconnect_max_s: float = hot(60.0, gt=0, le=3600)
    stable_after_s: float = hot(60.0, gt=0, le=3600)  # a connection that lasted this long starts over
    unreachable_after_s: float = hot(30.0, gt=0, le=3600)  # without a connection for longer: an alert
    connection_burst: int = restart(15, ge=1, le=1000)  # connections that may be opened at once
    connections_per_minute: int = restart(20, ge=2, le=1000)  # never more in any 60 s

    rest: RestSettings = Field(default_factory=RestSettings, description="REST requests")

    @model_validator(mode="after")
    def _bucket(self) -> Self:
        if self.connection_burst >= self.connections_per_minute:
            raise ValueError(
                f"expected connection_burst below connections_per_minute ({self.connections_per_minute}),"
                f" was {self.connection_burst}"
            )
        return self
