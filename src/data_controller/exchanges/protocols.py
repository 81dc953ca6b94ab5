"""What a venue must provide: a Decoder that turns bytes into rows, and Subscriptions that decide what to ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_controller.market.tables import Tables


class Rows:
    """A bounded buffer of EVENT rows: a decoder appends at `stop`, `array[start:stop]` waits to be applied."""

    def __init__(self, capacity: int = 1 << 16) -> None:
        from data_controller.market.rows import EVENT

        self.array: NDArray[np.void] = np.zeros(capacity, EVENT)
        self.start = 0
        self.stop = 0

    @property
    def room(self) -> int:
        """Rows that can still be appended."""
        return len(self.array) - self.stop

    def clear(self) -> None:
        """Begin anew at the front; what was there has been applied and is needed no more."""
        self.start = self.stop = 0


class RecordBatch(Protocol):
    """The shape of records.Batch, by structure: exchanges need not know the room it comes from."""

    first_seq: int
    recv_ns: NDArray[np.int64]
    kind: NDArray[np.uint8]
    conn: NDArray[np.int32]
    offsets: NDArray[np.int32]
    data: NDArray[np.uint8]


class Decoder(Protocol):
    """Frames of one venue in, rows out; depends on received bytes (and their order) alone."""

    tables: Tables
    wire_seq: NDArray[np.int64]  # [at least the batch] the venue's own number of each record of the batch, 0 none
    side_rows: dict[
        str, list[dict[str, Any]]
    ]  # table -> rows off the hot path: tickers, candles, quarantine; drained by the caller

    @property
    def counters(self) -> dict[str, int]:
        """Monotone counts by name."""
        ...

    @property
    def heard_ns(self) -> NDArray[np.int64]:
        """[channels] Arrival of each live channel's last frame, heartbeats included; 0 where nothing serves it."""
        ...

    def opened(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """A connection opened: forget what slot `conn` knew; append its CONTROL row."""

    def closed(self, conn: int, seq: int, recv_ns: int, rows: Rows) -> None:
        """A connection ended: append GAP rows for its channels, then its CONTROL row."""

    def fetched(
        self, conn: int, request: str, status: int, body: bytes, seq: int, recv_ns: int, rows: Rows, asked_ns: int = 0
    ) -> Iterator[None]:
        """Append the rows of a REST answer, such as a snapshot that a stream of changes is spliced to.

        Yields where `rows` is full, for the caller to apply what is there and clear it. `request` is the address;
        `asked_ns` is when it was asked for, 0 unknown.
        """
        ...

    def decode(self, batch: RecordBatch, lo: int, hi: int, rows: Rows, last_recv_ns: NDArray[np.int64]) -> int:
        """Decode FRAMEs `lo..hi` of this venue's connections into `rows`.

        Returns the index of the first record not consumed: `hi`, or earlier at a record that is no FRAME or
        belongs to a connection of another venue (slot not opened here), or where `rows` has no room for another
        frame. It always consumes at least one frame when `rows` is empty. `last_recv_ns[conn]` is set to the
        arrival of the connection's last frame.
        """
        ...


class Subscriptions(Protocol):
    """Decides what to ask of the venue; a function of control rows, broken books and pulses, in row order."""

    def start(self, now_ns: int) -> list[Any]:
        """Actions that open the connections the config asks for."""
        ...

    def on_control(self, row: np.void, now_ns: int) -> list[Any]:
        """Actions after a CONTROL row."""
        ...

    def on_broken(self, channel: int, broken_by: int, now_ns: int) -> list[Any]:
        """Actions after the book of `channel` broke, or after it fell silent, book or not: resync it alone."""
        ...

    def reload(self, settings: Any, now_ns: int) -> list[Any]:
        """Actions that make the venue's new config section true."""
        ...

    def on_pulse(self, now_ns: int, last_recv_ns: NDArray[np.int64], books: NDArray[np.void]) -> list[Any]:
        """Actions that deadlines ask for: silent sockets, lost acks, stale books. `last_recv_ns` by connection slot."""
        ...

    def silent(self, now_ns: int, heard_ns: NDArray[np.int64]) -> list[int]:
        """Channels that should have been heard of since `heard_ns` (Decoder.heard_ns) and were not.

        Looked at on pulses, after `on_pulse`: a socket that is silent as a whole is not a matter of its channels. The
        caller breaks each one's book, tells its features, and asks `on_broken` with BrokenBy.SILENT what to do.
        """
        ...
