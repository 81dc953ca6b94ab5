"""What every request must pass before the application sees it: Host, Origin, token; and the headers of every answer."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_controller.web.token import token_matches

MAX_BODY_BYTES = 64 << 10

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", _CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """ASGI middleware. A browser on a foreign page cannot reach the API even with a name that resolves to us:

    - the Host header must name this machine (a rebound DNS name does not), on any port, since tunnels change it;
    - a request with an Origin must come from a page of that same host and port;
    - everything under `/api/` needs the bearer token, which no browser adds by itself.
    """

    def __init__(self, app: ASGIApp, token: str, allowed_hosts: tuple[str, ...] = ()) -> None:
        self.app = app
        self.token = token
        self.hosts = frozenset(("127.0.0.1", "localhost", "::1", *allowed_hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the answer's headers completed."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = _Headers(scope["headers"])
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        await self.app(scope, receive, complete)

    def _refusal(self, scope: Scope, headers: _Headers) -> tuple[int, str] | None:
        host = headers.only("host")
        if host is None or _host_name(host) not in self.hosts:
            return 421, f"expected the Host header to be one of {', '.join(sorted(self.hosts))}, was {host!r}"
        if headers.has("origin"):
            origin = headers.only("origin") or ""
            split = urlsplit(origin)
            if split.scheme not in ("http", "https") or split.netloc.lower() != host.lower():
                return 403, f"expected a request from this page's own origin, was {origin!r}"
        if headers.only("sec-fetch-site") not in (None, "same-origin", "none") and scope["path"] != "/":
            return 403, "expected a request from this page's own origin, was from another site"
        length = headers.only("content-length") or "0"
        if headers.has("transfer-encoding") or not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return 413, f"expected a body of stated length, at most {MAX_BODY_BYTES} bytes"
        if scope["path"].startswith("/api/") and not self._authorised(headers):
            return 401, "expected `Authorization: Bearer TOKEN` with the token in the state directory's file `token`"
        return None

    def _authorised(self, headers: _Headers) -> bool:
        scheme, _, given = (headers.only("authorization") or "").partition(" ")
        return scheme.lower() == "bearer" and token_matches(self.token, given.strip())


class _Headers:
    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._raw: dict[str, list[str]] = {}
        for name, value in raw:
            self._raw.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def has(self, name: str) -> bool:
        return name in self._raw

    def only(self, name: str) -> str | None:
        """The value of a header that came exactly once, else None."""
        values = self._raw.get(name, [])
        return values[0] if len(values) == 1 else None


def _host_name(host: str) -> str:
    if "@" in host:
        return ""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


async def _answer(send: Send, status: int, error: str) -> None:
    body = msgspec.json.encode({"error": error})
    headers: list[Any] = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *HEADERS]})
    await send({"type": "http.response.body", "body": body})
