"""A REST server by hand, whose answers are the test's: any bytes, at any pace, broken off anywhere; and a clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from data_controller.exchanges.rest_limits import UNKNOWN_VENUE, RestLimits
from data_controller.ingest.rest import RestClient
from data_controller.ingest.settings import RestSettings

Talk = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """A whole HTTP answer; a header's name is written with `_` for `-`."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Web:
    """Answers the n-th request with the n-th entry (bytes, or a function that writes), the last one for ever."""

    def __init__(self, *answers: bytes | Talk) -> None:
        self.answers = list(answers)
        self.heads: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [head.split(" ", 2)[1] for head in self.heads]

    async def __aenter__(self) -> Web:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            say = self.answers[min(len(self.heads), len(self.answers)) - 1]
            if isinstance(say, bytes):
                writer.write(say)
                await writer.drain()
            else:
                await say(head.split(" ", 2)[1], writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class HandTime:
    """A clock that only sleeping moves: waiting costs a test nothing and is noted."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000
        self.slept: list[float] = []

    def monotonic_ns(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_ns += int(seconds * 1e9) + 1
        await asyncio.sleep(0)


def client(time: HandTime, limits: RestLimits = UNKNOWN_VENUE, **settings: Any) -> RestClient:
    """A client whose waiting is `time`'s, for the one venue `test`."""
    return RestClient(
        {"test": limits},
        UNKNOWN_VENUE,
        RestSettings(**settings),
        monotonic_ns=time.monotonic_ns,
        sleep=time.sleep,
        rng=random.Random(1),
    )
