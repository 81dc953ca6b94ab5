"""The bridge's server: speaks its JSON protocol on loopback to whoever connects, and asks ccxt for what they ask for.

A client sends

    {"op": "subscribe", "channel": KEY, "exchange": "kraken", "symbol": "BTC/USD", "stream": "book", "depth": 25}
    {"op": "unsubscribe", "channel": KEY}

with a KEY of its own choice and `stream` book or trades. The bridge answers

    {"type": "hello", "version": 1, "ccxt": "4.5.90"}          first of all
    {"type": "heartbeat"}                                      every 2 s
    {"type": "subscribed", "channel": KEY}                     it is being asked for
    {"type": "unsubscribed", "channel": KEY}                   nothing of it follows
    {"type": "book", "channel": KEY, "ms": 0, "bids": [["30000", "1.5"], ...], "asks": [...]}
                                                               the whole merged book, best first; ms: exchange time
    {"type": "trades", "channel": KEY, "trades": [["id", 0, "30000", "0.1", "buy"], ...]}
    {"type": "lost", "channel": KEY, "reason": "..."}          what was said before is void; more follows
    {"type": "error", "channel": KEY, "reason": "..."}         this can never be had; nothing follows
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from aiohttp import WSMsgType, web

from data_controller.bridge.exchange import Exchange, Unserved

VERSION = 1
HEARTBEAT_S = 2.0
MAX_REQUEST_BYTES = 1 << 16
MAX_CHANNELS = 1024
MAX_UNSENT_BYTES = 8 << 20
"""A client that reads slower than this much of what waits for it is hung up on."""


class Bridge:
    """Serves any number of clients; they share exchanges, not streams."""

    def __init__(self, rest_urls: dict[str, str] | None = None, socket_urls: dict[str, str] | None = None) -> None:
        self._rest_urls = rest_urls or {}
        self._socket_urls = socket_urls or {}
        self._exchanges: dict[str, Exchange] = {}
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1; returns the port. OSError where it is taken."""
        app = web.Application()
        app.router.add_get("/", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Hang up and let go of every exchange."""
        if self._runner is not None:
            await self._runner.cleanup()
        for exchange in self._exchanges.values():
            await exchange.close()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        # A browser always names where its script came from; no script has business here.
        if "Origin" in request.headers:
            raise web.HTTPForbidden(text="no browsers")
        socket = web.WebSocketResponse(max_msg_size=MAX_REQUEST_BYTES, compress=False)
        await socket.prepare(request)
        client = _Client(self, request, socket)
        try:
            await client.run()
        finally:
            await client.end()
        return socket

    def exchange(self, name: str) -> Exchange:
        """The one that all clients share."""
        if name not in self._exchanges:
            self._exchanges[name] = Exchange(name, self._rest_urls.get(name, ""), self._socket_urls.get(name, ""))
        return self._exchanges[name]


class _Client:
    def __init__(self, bridge: Bridge, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._bridge = bridge
        self._request = request
        self._socket = socket
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unsent: asyncio.Queue[str] = asyncio.Queue()
        self._unsent_bytes = 0

    async def run(self) -> None:
        import ccxt

        self._tell({"type": "hello", "version": VERSION, "ccxt": ccxt.__version__})
        sender = asyncio.create_task(self._send())
        beat = asyncio.create_task(self._beat())
        try:
            async for message in self._socket:
                if message.type == WSMsgType.TEXT:
                    self._on_request(message.data)
        finally:
            for task in (sender, beat):
                task.cancel()
            await asyncio.gather(sender, beat, return_exceptions=True)

    async def end(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _on_request(self, text: str) -> None:
        try:
            asked = json.loads(text)
            op, channel = str(asked["op"]), str(asked["channel"])
            if op == "subscribe":
                name, symbol, stream = str(asked["exchange"]), str(asked["symbol"]), str(asked["stream"])
                depth = int(asked.get("depth") or 25)
                if stream not in ("book", "trades") or not 0 < depth <= 5000:
                    raise ValueError(f"stream {stream!r} of depth {depth}")
            elif op != "unsubscribe":
                raise ValueError(f"op {op!r}")
        except (ValueError, KeyError, TypeError) as error:
            self._tell({"type": "error", "channel": "", "reason": f"expected a request of this protocol, was {error}"})
            return
        self._stop(channel)
        if op == "unsubscribe":
            self._tell({"type": "unsubscribed", "channel": channel})
        elif len(self._tasks) >= MAX_CHANNELS:
            reason = f"expected at most {MAX_CHANNELS} channels, was more"
            self._tell({"type": "error", "channel": channel, "reason": reason})
        else:
            self._tell({"type": "subscribed", "channel": channel})
            self._tasks[channel] = asyncio.create_task(self._watch(channel, name, stream, symbol, depth))

    def _stop(self, channel: str) -> None:
        task = self._tasks.pop(channel, None)
        if task is not None:
            task.cancel()

    async def _watch(self, channel: str, name: str, stream: str, symbol: str, depth: int) -> None:
        # A task that was replaced may still be at its last await: its word must not be taken for its successor's.
        me = asyncio.current_task()

        def tell(message: dict[str, Any]) -> None:
            if self._tasks.get(channel) is me:
                self._tell({"type": message["type"], "channel": channel, **message})

        try:
            await self._bridge.exchange(name).watch(stream, symbol, depth, tell)
        except Unserved as error:
            tell({"type": "error", "reason": str(error)})
        except Exception as error:
            tell({"type": "error", "reason": f"the bridge failed: {type(error).__name__}: {error}"[:300]})

    def _tell(self, message: dict[str, Any]) -> None:
        text = json.dumps(message, separators=(",", ":"))
        self._unsent_bytes += len(text)
        self._unsent.put_nowait(text)
        if self._unsent_bytes > MAX_UNSENT_BYTES and self._request.transport is not None:
            self._request.transport.abort()

    async def _send(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                text = await self._unsent.get()
                await self._socket.send_str(text)
                self._unsent_bytes -= len(text)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self._tell({"type": "heartbeat"})
