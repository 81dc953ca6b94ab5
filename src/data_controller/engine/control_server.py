"""The engine's end of the control socket: answers requests, publishes the feed, and holds the state directory alone."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from data_controller.control import (
    MAX_REQUEST_BYTES,
    POINTER_NAME,
    Reply,
    Request,
    StateLock,
    choose_socket_path,
    decode_request,
    encode_reply,
)
from data_controller.errors import ControlError, DataControllerError

Handler = Callable[[Request], dict[str, Any] | Awaitable[dict[str, Any]]]
"""Answers every request but `subscribe_feed`; a DataControllerError becomes a refusal with its text."""


class ControlServer:
    """Serves the control socket of `state_dir` on the running loop.

    Nothing a client does can hold the loop or grow memory: requests end at `MAX_REQUEST_BYTES`, connections at
    `max_clients`, a request must arrive within `request_timeout_s`, and a subscriber holds at most one feed.
    """

    def __init__(
        self,
        state_dir: Path,
        handler: Handler,
        *,
        lock: StateLock | None = None,
        max_clients: int = 32,
        request_timeout_s: float = 5.0,
    ) -> None:
        self.state_dir = state_dir
        self.handler = handler
        self.max_clients = max_clients
        self.request_timeout_s = request_timeout_s
        self.path: Path | None = None
        self.clients: set[_Client] = set()
        self.refused = 0  # connections above max_clients
        self.dropped = 0  # feeds replaced by a newer one before their subscriber was ready
        self._subscribers: list[_Client] = []
        self._lock = lock
        self._own_lock = lock is None
        self._tasks: set[asyncio.Task[None]] = set()  # handlers under way: they outlive a client that went away
        self._server: asyncio.AbstractServer | None = None
        self._latest: bytes | None = None

    async def start(self) -> Path:
        """The path now served; ControlError where another engine holds the state directory."""
        if self._lock is None:
            self._lock = StateLock(self.state_dir).acquire()
        path = choose_socket_path(self.state_dir)
        # We hold the lock, so whatever socket lies here belonged to an engine that is gone.
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(os.fspath(path))
            path.chmod(0o600)  # before listen: until then nobody can connect
            listener.setblocking(False)
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(lambda: _Client(self), sock=listener)
        except BaseException:
            listener.close()
            self._unlock()
            raise
        self.path = path
        if path.parent != self.state_dir.absolute():
            pointer = self.state_dir / POINTER_NAME
            fresh = pointer.with_suffix(".tmp")
            fresh.write_text(f"{path}\n", encoding="utf-8")
            fresh.replace(pointer)
        return path

    def publish(self, feed: bytes) -> None:
        """Give `feed` (a line of `encode_feed`) to every subscriber that is ready; the others get the newest later."""
        self._latest = feed
        for client in self._subscribers:
            client.offer(feed)

    async def stop(self) -> None:
        """End every connection, remove the socket, free the state directory; replies under way get a second."""
        if self._server is not None:
            self._server.close()
        if others := self._tasks - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=1.0)
        for client in tuple(self.clients):
            client.end()
        if self._server is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 1.0)
            self._server = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            (self.state_dir / POINTER_NAME).unlink(missing_ok=True)
            self.path = None
        self._unlock()

    def _unlock(self) -> None:
        if self._own_lock and self._lock is not None:
            self._lock.release()
            self._lock = None

    def _subscribe(self, client: _Client) -> None:
        self._subscribers.append(client)
        if self._latest is not None:
            client.offer(self._latest)

    def _forget(self, client: _Client) -> None:
        self.clients.discard(client)
        with contextlib.suppress(ValueError):
            self._subscribers.remove(client)


class _Client(asyncio.Protocol):
    """One connection: a request, its reply, and after `subscribe_feed` a feed for every empty line."""

    def __init__(self, server: ControlServer) -> None:
        self.server = server
        self.transport: asyncio.Transport | None = None
        self.subscribed = False
        self.ready = True  # the reader asked for one more feed
        self.pending: bytes | None = None  # the newest feed it has not been ready for
        self._line = bytearray()
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        server = self.server
        if len(server.clients) >= server.max_clients:
            server.refused += 1
            self._reply(Reply(ok=False, error=f"expected at most {server.max_clients} control connections"))
            return
        server.clients.add(self)
        self._timer = asyncio.get_running_loop().call_later(server.request_timeout_s, self.end)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server._forget(self)
        self._stop_timer()
        self.transport = self.pending = None

    def data_received(self, data: bytes) -> None:
        if self.subscribed:
            self._more()
            return
        if self._asked or self.transport is None or self.transport.is_closing():
            return
        self._line += data
        line, newline, _ = self._line.partition(b"\n")
        if newline:
            self._asked = True
            self._stop_timer()
            self._answer(bytes(line))
        elif len(self._line) > MAX_REQUEST_BYTES:
            self._reply(Reply(ok=False, error=f"expected a request of at most {MAX_REQUEST_BYTES} bytes"))

    def offer(self, feed: bytes) -> None:
        """Send `feed` if the reader is ready for one, else keep it in place of an older one."""
        if self.ready and self.transport is not None:
            self.ready = False
            self.transport.write(feed)
            return
        if self.pending is not None:
            self.server.dropped += 1
        self.pending = feed

    def end(self) -> None:
        """Close this connection: a feed not yet taken is dropped, a reply not yet flushed is not."""
        if self.transport is not None:
            if self.subscribed:
                self.transport.abort()
            else:
                self.transport.close()

    def _more(self) -> None:
        self.ready = True
        if self.pending is not None:
            feed, self.pending = self.pending, None
            self.offer(feed)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _answer(self, line: bytes) -> None:
        try:
            asked = decode_request(line)
        except ControlError as error:
            self._reply(Reply(ok=False, error=str(error)))
            return
        if asked.what == "subscribe_feed":
            assert self.transport is not None
            self.subscribed = True
            self.transport.write(encode_reply(Reply(ok=True)))
            self.server._subscribe(self)
            return
        tasks = self.server._tasks
        if len(tasks) >= self.server.max_clients:
            self._reply(Reply(ok=False, error=f"expected at most {self.server.max_clients} requests under way"))
            return
        task = asyncio.get_running_loop().create_task(self._handle(asked))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _handle(self, asked: Request) -> None:
        try:
            answer = self.server.handler(asked)
            reply = Reply(ok=True, body=await answer if inspect.isawaitable(answer) else answer)
            line = encode_reply(reply)
        except DataControllerError as error:
            line = encode_reply(Reply(ok=False, error=str(error)))
        except Exception as error:  # a bug in a handler must not end the engine, nor go unheard
            line = encode_reply(Reply(ok=False, error=f"`{asked.what}` failed inside the engine: {error!r}"))
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"control request `{asked.what}` failed", "exception": error}
            )
        if self.transport is not None:
            self.transport.write(line)
            self.transport.close()

    def _reply(self, reply: Reply) -> None:
        self._stop_timer()
        if self.transport is not None:
            self.transport.write(encode_reply(reply))
            self.transport.close()
