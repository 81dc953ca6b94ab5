"""Config section of the ingest shell: bounds of messages, buffers, reconnects and connection rate."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from data_controller.settings import Section, hot, restart

MIB = 1 << 20


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

    @model_validator(mode="after")
    def _bucket(self) -> Self:
        if self.connection_burst >= self.connections_per_minute:
            raise ValueError(
                f"expected connection_burst below connections_per_minute ({self.connections_per_minute}),"
                f" was {self.connection_burst}"
            )
        return self
