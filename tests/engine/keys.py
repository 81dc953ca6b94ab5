"""A venue on loopback that knows keys: REST that says what they may do, and a WebSocket that keeps what it is sent."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from data_controller.actions import Alert, Open, Send
from data_controller.config import ExchangeSettings
from data_controller.engine.credentials import KeyRing
from data_controller.exchanges.rest_limits import RestLimits
from data_controller.ingest.rest import RestClient
from data_controller.ingest.settings import IngestSettings, RestSettings
from data_controller.ingest.websocket import WebSocketShell
from tests.ingest.peer import TEXT, Link, Peer, RecordingSink, frame

T0_NS = 1_700_000_000 * 10**9
S = 1_000_000_000
KEY, PASSPHRASE = "the-public-half", "the-pass-phrase"
SECRET = base64.b64encode(b"the private half of a key").decode()
SECRETS = (KEY, SECRET, PASSPHRASE)


class Asked(NamedTuple):
    """A REST request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class KeyVenue:
    """Answers REST with `answer(asked)`: status and JSON, or None for silence; keeps what its socket was sent."""

    def __init__(
        self,
        answer: Callable[[Asked], tuple[int, Any] | None],
        reply: Callable[[dict[str, Any]], Any] = lambda message: None,
    ) -> None:
        self.answer, self.reply = answer, reply
        self.asked: list[Asked] = []
        self.received: list[dict[str, Any]] = []
        self.said = asyncio.Event()
        self.peer = Peer(self._talk)
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    async def __aenter__(self) -> KeyVenue:
        await self.peer.__aenter__()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.rest_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.peer.__aexit__()

    async def heard(self, count: int) -> list[dict[str, Any]]:
        """The messages that the socket was sent, once there are `count`."""
        async with asyncio.timeout(60):
            while len(self.received) < count:
                self.said.clear()
                await self.said.wait()
        return self.received

    async def _talk(self, link: Link) -> None:
        try:
            while True:
                kind, payload = await link.receive()
                if kind == TEXT:
                    message = json.loads(payload)
                    self.received.append(message)
                    self.said.set()
                    reply = self.reply(message)
                    if reply is not None:
                        await link.send(frame(json.dumps(reply).encode()))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines) if n}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = first.split(" ")
            asked = Asked(method, path, headers, body)
            self.asked.append(asked)
            answer = self.answer(asked)
            if answer is None:
                await asyncio.Event().wait()
                return
            text = json.dumps(answer[1]).encode()
            writer.write(f"HTTP/1.1 {answer[0]} X\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class Kraken:
    """Kraken's answers about a key with `rights`; each token is another one."""

    def __init__(self, *rights: str) -> None:
        self.rights = ["query-funds", *rights]
        self.tokens = 0
        self.nonces: list[int] = []

    def __call__(self, asked: Asked) -> tuple[int, Any] | None:
        nonce = int(asked.body.removeprefix(b"nonce="))
        inner = hashlib.sha256(str(nonce).encode() + asked.body).digest()
        sign = hmac.new(base64.b64decode(SECRET), asked.path.encode() + inner, hashlib.sha512).digest()
        fits = asked.headers["api-sign"] == base64.b64encode(sign).decode() and asked.headers["api-key"] == KEY
        if not fits or (self.nonces and nonce <= self.nonces[-1]):
            return 200, {"error": ["EAPI:Invalid key"]}
        self.nonces.append(nonce)
        if asked.path == "/0/private/GetApiKeyInfo":
            return 200, {"error": [], "result": {"permissions": self.rights}}
        self.tokens += 1
        return 200, {"error": [], "result": {"token": f"token-{self.tokens}", "expires": 900}}


def coinbase(can_trade: bool) -> Callable[[Asked], tuple[int, Any] | None]:
    """The Exchange's answer to an order that cannot be."""

    def answer(asked: Asked) -> tuple[int, Any]:
        said = f"{asked.headers['cb-access-timestamp']}{asked.method}{asked.path}".encode() + asked.body
        sign = hmac.new(base64.b64decode(SECRET), said, hashlib.sha256).digest()
        fits = asked.headers["cb-access-sign"] == base64.b64encode(sign).decode()
        if not fits or (asked.headers["cb-access-key"], asked.headers["cb-access-passphrase"]) != (KEY, PASSPHRASE):
            return 401, {"message": "Invalid API Key"}
        return (400, {"message": "product_id is required"}) if can_trade else (403, {"message": "Forbidden"})

    return answer


def write_key(folder: Path, mode: int = 0o600) -> dict[str, Any]:
    """The files of a key in `folder`; the settings that name them."""
    files = {}
    for name, text in (("api_key", KEY), ("api_secret", SECRET), ("api_passphrase", PASSPHRASE)):
        path = folder / name
        path.write_text(text + "\n")
        path.chmod(mode)
        files[f"{name}_file"] = path
    return files


class Rig:
    """A shell with a key ring, on a recording sink and a clock by hand, connected to `venue` by the name `name`."""

    def __init__(self, name: str, venue: KeyVenue, folder: Path, mode: int = 0o600) -> None:
        self.name, self.venue = name, venue
        files = write_key(folder, mode)
        if name == "kraken":
            del files["api_passphrase_file"]
        own = {"instruments": ["BTC/USD"], "orders": True, "rest_url": venue.rest_url, **files}
        self.settings = ExchangeSettings.model_validate({name: own})
        self.now_ns = T0_NS
        self.sink = RecordingSink()
        self.alerts: list[Alert] = []
        limits = RestLimits(1000, 1.0)
        self.client = RestClient({}, limits, RestSettings())
        ring = KeyRing(lambda v: getattr(self.settings, v), self.client, lambda: self.now_ns, self.alerts.append)
        self.shell = WebSocketShell(self.sink, lambda: self.now_ns, self.alerts.append, IngestSettings(), secrets=ring)

    async def __aenter__(self) -> Rig:
        self.shell.open(Open(0, self.name, self.venue.peer.url))
        await self.sink.until(lambda: self.shell.life_of(0))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shell.close()
        await self.client.close()

    def send(self, payload: bytes) -> None:
        assert self.shell.send(Send(0, payload))

    def stored(self) -> bytes:
        """All that would be on disk or in front of people."""
        told = "".join(f"{a.name} {a.text}\n" for a in self.alerts)
        return (
            b"\n".join(record.payload for record in self.sink.records)
            + told.encode()
            + repr(self.shell.stats()).encode()
        )
