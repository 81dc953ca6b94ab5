"""Messages of one socket that wait for their secrets, in order: what is journaled never holds one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from data_controller.errors import DataControllerError


class Secrets(Protocol):
    """Whoever knows what belongs in a venue's messages. Texts of its errors hold no secret."""

    def needed(self, venue: str, payload: bytes) -> bool:
        """Whether `payload` has a place for a secret."""
        ...

    async def filled(self, venue: str, payload: bytes) -> bytes:
        """`payload` with its secrets; DataControllerError where it must not be sent. It returns within seconds."""
        ...


class Outbox:
    """Fills one socket's messages in the order they came, and hands each on.

    `transmit(wire, payload)` sends: `wire` holds the secrets, `payload` is the message without them. `refuse(payload,
    reason)` hears of one that is not sent.
    """

    def __init__(
        self,
        secrets: Secrets,
        venue: str,
        transmit: Callable[[bytes, bytes], None],
        refuse: Callable[[bytes, str], None],
    ) -> None:
        self.waiting_bytes = 0
        self._secrets = secrets
        self._venue = venue
        self._transmit = transmit
        self._refuse = refuse
        self._waiting: deque[bytes] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def holds(self, payload: bytes) -> bool:
        """Whether `payload` must wait: for its own secrets, or behind another message."""
        return bool(self._waiting) or self._secrets.needed(self._venue, payload)

    def put(self, payload: bytes) -> None:
        """Send `payload` when its turn has come and its secrets are known."""
        self._waiting.append(payload)
        self.waiting_bytes += len(payload)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name=f"secrets of {self._venue}")

    def close(self) -> None:
        """The socket is gone, and what waited is nobody's."""
        self._closed = True
        self._waiting.clear()
        self.waiting_bytes = 0
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        while self._waiting:
            payload = self._waiting[0]
            wire, reason = payload, ""
            try:
                if self._secrets.needed(self._venue, payload):
                    wire = await self._secrets.filled(self._venue, payload)
            except DataControllerError as error:
                reason = str(error)
            except Exception as error:  # its text is not known to be free of secrets
                reason = f"expected the secrets of {self._venue}, was {type(error).__name__}"
            if self._closed:
                return
            self._waiting.popleft()
            self.waiting_bytes -= len(payload)
            if reason:
                self._refuse(payload, reason)
            else:
                self._transmit(wire, payload)
        self._task = None
