"""The network of a live engine: the WebSocket shell and the REST shell as the one that the core talks to."""

from __future__ import annotations

from data_controller.ingest.rest_shell import RestShell
from data_controller.ingest.websocket import WebSocketShell


class LiveNetwork:
    """Sockets and REST requests side by side (`core.Network`)."""

    def __init__(self, sockets: WebSocketShell, rest: RestShell) -> None:
        self.open, self.send, self.reconnect = sockets.open, sockets.send, sockets.reconnect
        self.fetch = rest.fetch
        self._parts = (sockets, rest)

    def pause(self) -> None:
        """Neither takes more in."""
        for part in self._parts:
            part.pause()

    def resume(self) -> None:
        """Both go on."""
        for part in self._parts:
            part.resume()
