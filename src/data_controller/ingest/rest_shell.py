"""The REST shell: does what Fetch actions ask and pushes what came of it into the sink as FETCHED records."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from data_controller.actions import Alert, Fetch
from data_controller.errors import RestError, RestRefused
from data_controller.ingest.rest import RestClient, redacted
from data_controller.ingest.websocket import Sink
from data_controller.records import Fetched, Kind

_S = 1_000_000_000
_FETCHED = int(Kind.FETCHED)
_encode = msgspec.json.Encoder().encode


class RestShell:
    """All REST requests of an engine, on the running loop.

    `life_of(conn)` is a number that is another one on each socket of a slot, 0 while none is open: an answer is pushed
    only where the socket that it was asked for is still there. Others are dropped and counted: their books began anew.
    """

    def __init__(
        self,
        sink: Sink,
        now_ns: Callable[[], int],
        alert: Callable[[Alert], None],
        client: RestClient,
        life_of: Callable[[int], int],
    ) -> None:
        self.client = client
        self.counters = dict.fromkeys(("fetches", "fetched", "failed", "dropped", "refused_full", "replaced"), 0)
        self._sink = sink
        self._now_ns = now_ns
        self._alert = alert
        self._life_of = life_of
        self._waiting: Counter[str] = Counter()  # by venue
        self._peak = 0
        self._under_way: dict[tuple[int, str], asyncio.Task[None]] = {}  # by slot and address
        self._tasks: set[asyncio.Task[None]] = set()  # those that were replaced included
        self._readable = asyncio.Event()
        self._readable.set()

    def fetch(self, action: Fetch) -> bool:
        """Ask for `action.url`; False where nothing will be asked: the slot is closed (counted), or too many wait.

        In the latter case a FETCHED record of status 0 says so at once. A request of the slot for the same address
        that is still under way is given up for this one (counted).
        """
        life = self._life_of(action.conn)
        if not life:
            self.counters["dropped"] += 1
            return False
        self.counters["fetches"] += 1
        key = (action.conn, action.url)
        if key in self._under_way:
            self.counters["replaced"] += 1
            task = self._under_way[key]
            self._over(key, action.venue, task)
            task.cancel()
        limit = self.client.settings.max_waiting
        if self._waiting[action.venue] >= limit:
            self.counters["refused_full"] += 1
            self._push(action, 0, f"expected at most {limit} requests of {action.venue} under way, was more".encode())
            return False
        self._waiting[action.venue] += 1
        self._peak = max(self._peak, self._waiting[action.venue])
        task = asyncio.get_running_loop().create_task(self._do(action, life), name=f"fetch {action.venue}")
        self._under_way[key] = task
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._over(key, action.venue, task))
        return True

    def _over(self, key: tuple[int, str], venue: str, task: asyncio.Task[None]) -> None:
        if task.done():
            self._tasks.discard(task)
        if self._under_way.get(key) is task:
            del self._under_way[key]
            self._waiting[venue] -= 1

    def pause(self) -> None:
        """Hold answers back: the sink runs full."""
        self._readable.clear()

    def resume(self) -> None:
        """Push again."""
        self._readable.set()

    async def close(self) -> None:
        """Give up every request; returns when none is left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()

    def stats(self) -> dict[str, Any]:
        """Counters of requests and of the client, and depth, peak and bound of what waits for a venue."""
        return {
            **self.counters,
            **{f"http_{name}": value for name, value in self.client.counters.items()},
            "waiting": sum(self._waiting.values()),
            "waiting_peak": self._peak,
            "waiting_limit": self.client.settings.max_waiting,
        }

    async def _do(self, action: Fetch, life: int) -> None:
        asked_ns = self._now_ns()
        wait_ns = action.not_before_ns - self._now_ns()
        if wait_ns > 0:
            await asyncio.sleep(wait_ns / _S)
        if self._life_of(action.conn) != life:
            self.counters["dropped"] += 1
            return
        status, body = await self._ask(action)
        await self._readable.wait()
        if self._life_of(action.conn) != life:
            self.counters["dropped"] += 1
            return
        self._push(action, status, body, asked_ns)

    async def _ask(self, action: Fetch) -> tuple[int, bytes]:
        try:
            reply = await self.client.get(action.venue, action.url)
        except RestError as error:
            self.counters["failed"] += 1
            self._alert(Alert("warning", "rest_failed", f"{action.venue}: {error}"))
            if isinstance(error, RestRefused) and error.status and error.body:
                return error.status, error.body
            return 0, str(error).encode()
        self.counters["fetched"] += 1
        return reply.status, reply.body

    def _push(self, action: Fetch, status: int, body: bytes, asked_ns: int = 0) -> None:
        record = Fetched(request=redacted(action.url), status=status, body=body, asked_ns=asked_ns)
        self._sink.push(_FETCHED, action.conn, self._now_ns(), _encode(record))
        self._sink.wake()
