"""The application behind the monitor's port: metrics, health, control API, status page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from data_controller import control
from data_controller.errors import ControlError
from data_controller.killswitch.latch import Latch
from data_controller.web.guard import Guard

STATIC = Path(__file__).parent / "static"
KILL_TELL_S = 1.0
"""How long `kill` waits for the engine's answer, after the latch is set: the latch alone already stops it."""
ENGINE_ANSWER_S = 30.0
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Source(Protocol):
    """What the application shows; the monitor is one."""

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Body and content type of `/metrics`."""
        ...

    def health(self) -> tuple[int, bytes]:
        """HTTP status and JSON body of `/healthz`."""
        ...

    def status(self) -> bytes:
        """JSON body of `/api/v1/status`."""
        ...


class Api:
    """The control API of one state directory. `kill` needs no engine that answers, nor waits behind other requests."""

    def __init__(self, source: Source, state_dir: Path, latch: Latch) -> None:
        self.source = source
        self.state_dir = state_dir
        self.latch = latch
        self._threads = ThreadPoolExecutor(4, "latch")  # a disk that hangs must not hang the page

    async def metrics(self, request: Request) -> Response:
        """Prometheus's scrape."""
        body, content_type = self.source.metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def healthz(self, request: Request) -> Response:
        """200 while ok or degraded, 503 while failed."""
        status, body = self.source.health()
        return Response(body, status, media_type="application/json")

    async def status(self, request: Request) -> Response:
        """Everything the monitor knows; the engine is not asked."""
        return Response(self.source.status(), media_type="application/json")

    async def kill(self, request: Request) -> Response:
        """Set the latch file, then tell the engine: 200 where either holds, 500 where neither could be done."""
        body = await _body(request)
        reason = str(body.get("reason") or "").strip() or "kill switch pressed"
        who = f"web:{request.client.host if request.client else 'unknown'}"
        answer: dict[str, Any] = {"latched": True, "error": None}
        try:
            state = await asyncio.get_running_loop().run_in_executor(self._threads, self.latch.set, reason, who)
            answer["latch"] = msgspec.to_builtins(state)
        except OSError as error:
            answer.update(latched=False, error=f"the latch could not be written: {error}")
        try:
            await control.request_async(self.state_dir, "kill", {"reason": reason}, who=who, timeout_s=KILL_TELL_S)
            answer["engine"] = "told"
        except ControlError as error:
            answer["engine"] = str(error)
        failed = not answer["latched"] and answer["engine"] != "told"
        return _json(answer, 500 if failed else 200)

    async def resume(self, request: Request) -> Response:
        """Ask the engine to clear the latch: it alone knows whether its triggers are clear."""
        body = await _body(request)
        reason = str(body.get("reason") or "").strip()
        if not reason:
            raise HTTPException(400, 'expected a JSON body {"reason": ...} that says why it is safe to resume')
        return await self._ask("resume", {"reason": reason}, request)

    async def reload(self, request: Request) -> Response:
        """Ask the engine to read its config again; it keeps the old one and says why where it cannot."""
        return await self._ask("reload", await _body(request), request)

    async def subscribe(self, request: Request) -> Response:
        """Ask the engine to collect one instrument more; it says why where it cannot."""
        return await self._ask("subscribe", await _body(request), request)

    async def unsubscribe(self, request: Request) -> Response:
        """Ask the engine to collect one instrument less."""
        return await self._ask("unsubscribe", await _body(request), request)

    async def stop(self, request: Request) -> Response:
        """Ask the engine to stop."""
        return await self._ask("stop", await _body(request), request)

    async def _ask(self, what: control.What, body: dict[str, Any], request: Request) -> Response:
        who = f"web:{request.client.host if request.client else 'unknown'}"
        try:
            return _json(await control.request_async(self.state_dir, what, body, who=who, timeout_s=ENGINE_ANSWER_S))
        except ControlError as error:
            return _json({"error": str(error)}, 409)


def create_app(
    source: Source, state_dir: Path, token: str, latch: Latch, allowed_hosts: tuple[str, ...] = ()
) -> ASGIApp:
    """The whole application, guarded; `token` opens everything under `/api/`."""
    api = Api(source, state_dir, latch)
    static = [Route(f"/{path.name}", _file(path)) for path in sorted(STATIC.iterdir()) if path.suffix in _TYPES]
    routes = [
        Route("/metrics", api.metrics),
        Route("/healthz", api.healthz),
        Route("/api/v1/status", api.status),
        Route("/api/v1/kill", api.kill, methods=["POST"]),
        Route("/api/v1/resume", api.resume, methods=["POST"]),
        Route("/api/v1/reload", api.reload, methods=["POST"]),
        Route("/api/v1/subscribe", api.subscribe, methods=["POST"]),
        Route("/api/v1/unsubscribe", api.unsubscribe, methods=["POST"]),
        Route("/api/v1/stop", api.stop, methods=["POST"]),
        Route("/", _file(STATIC / "index.html")),
        *static,
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error, Exception: _bug})
    return Guard(app, token, allowed_hosts)


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return FileResponse(path, media_type=_TYPES[path.suffix])

    return serve


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    if not raw:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "expected a body of type application/json")
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"expected a JSON object: {error}") from error


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _json({"error": error.detail}, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _bug(request: Request, error: Exception) -> Response:
    return _json({"error": f"the monitor failed: {type(error).__name__}"}, 500)
