"""A pre-history: scripted records run through the engine on their own clock, before the live part."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Open
from data_controller.engine.core import Core, Network, Silent
from data_controller.records import NO_CONNECTION, Kind

_OPENED, _CLOSED, _PULSE = int(Kind.OPENED), int(Kind.CLOSED), int(Kind.PULSE)


class Chunk(Protocol):
    """Scripted records: columns as in records.Batch, at most a pulse's worth of time."""

    @property
    def recv_ns(self) -> NDArray[np.int64]: ...
    @property
    def kind(self) -> NDArray[np.uint8]: ...
    @property
    def conn(self) -> NDArray[np.int32]: ...
    @property
    def offsets(self) -> NDArray[np.int32]: ...
    @property
    def data(self) -> NDArray[np.uint8]: ...


class Scripted(Silent):
    """A network that asks nothing and remembers which connections were wanted and never opened by the script."""

    def __init__(self) -> None:
        self.wanted: dict[int, Open] = {}

    def open(self, action: Open) -> None:
        """Not now: at the start of the live part."""
        self.wanted[action.conn] = action


class PreHistory:
    """Plays chunks into a core; `end` hands what is still wanted to the real network."""

    def __init__(self, core: Core, network: Network) -> None:
        self._core = core
        self._network = network
        self._scripted = Scripted()
        core.network = self._scripted

    def play(self, chunk: Chunk) -> None:
        """Take one chunk as if it had just come, and a pulse behind it."""
        core, data, offsets = self._core, chunk.data.data, chunk.offsets.tolist()
        push = core.recorder.push
        columns = zip(chunk.kind.tolist(), chunk.conn.tolist(), chunk.recv_ns.tolist(), strict=True)
        for i, (kind, conn, recv_ns) in enumerate(columns):
            if kind == _OPENED:
                self._scripted.wanted.pop(conn, None)
            elif kind == _CLOSED:
                core.network = self._network  # what the pipeline asks for now is meant
            push(kind, conn, recv_ns, data[offsets[i] : offsets[i + 1]])
        push(_PULSE, NO_CONNECTION, int(chunk.recv_ns[-1]), b"")
        core.step()

    def end(self) -> None:
        """From here on the network is real."""
        self._core.network = self._network
        for action in self._scripted.wanted.values():
            self._network.open(action)
