"""The REST client: asks within a share of what a venue allows, takes bounded answers, tries again what may succeed."""

from __future__ import annotations

import asyncio
import email.utils
import random
import re
import ssl
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, urlsplit

import httpx

from data_controller import __version__
from data_controller.errors import RestError, RestLimited, RestRefused, RestUnavailable, is_retryable
from data_controller.ingest.backoff import full_jitter_s, worth_retrying
from data_controller.ingest.limiter import Window
from data_controller.ingest.settings import RestSettings

_S = 1_000_000_000
_GZIP = 31  # zlib's word for a gzip header and the largest window
_SHOWN_BYTES = 200
UNDER_WAY = 8
"""Requests of one venue on the wire at a time: a venue that answers nothing holds up no other."""
_SEARCHED_BYTES = 4096
_SECRET = re.compile(r"(?i)([?&][^=&#]*(?:key|sign|signature|token|secret|passphrase|auth)[^=&#]*=)[^&#]+")
_USER = re.compile(r"(?<=//)[^/@?#]*@")

Params = Mapping[str, str | int]


class Endpoint(Protocol):
    """What an endpoint costs; `exchanges.rest_limits.Endpoint` by structure, since this room knows no venue."""

    @property
    def path(self) -> str: ...
    @property
    def weight(self) -> int: ...
    @property
    def by_limit(self) -> tuple[tuple[int, int], ...]: ...
    @property
    def budget(self) -> int: ...
    @property
    def per_s(self) -> float: ...


class Limits(Protocol):
    """What a venue allows; `exchanges.rest_limits.RestLimits` by structure."""

    @property
    def budget(self) -> int: ...
    @property
    def per_s(self) -> float: ...
    @property
    def endpoints(self) -> Sequence[Endpoint]: ...
    @property
    def used_header(self) -> str: ...
    @property
    def limited(self) -> tuple[bytes, ...]: ...
    @property
    def refused(self) -> tuple[bytes, ...]: ...


class Reply(NamedTuple):
    """An answer of status 2xx."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(slots=True)
class _Pool:
    """One budget; whoever comes first is served first."""

    window: Window
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class _Venue:
    limits: Limits
    shared: _Pool
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UNDER_WAY))
    own: dict[str, _Pool] = field(default_factory=dict)  # by endpoint path, those with a budget of their own


class Request(Protocol):
    """A signed request; `exchanges.streaming.keys.KeyRequest` by structure."""

    @property
    def method(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


class RestClient:
    """GET requests to any venue, on the running loop; `async with` it, or call `close`.

    `limits` says what a venue allows (`default` where it is not named); of that `settings.budget_share` is used.
    `monotonic_ns` and `sleep` are the clock, `rng` jitters, `ssl_context` replaces the default one.
    """

    def __init__(
        self,
        limits: Mapping[str, Limits],
        default: Limits,
        settings: RestSettings | None = None,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.settings = settings or RestSettings()
        self.counters = dict.fromkeys(("requests", "retries", "limited", "failed"), 0)
        self._limits = limits
        self._default = default
        self._monotonic_ns = monotonic_ns
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._ssl_context = ssl_context
        self._venues: dict[str, _Venue] = {}
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> RestClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def go_on_from(self, before: RestClient) -> None:
        """Spend from what `before`, which asks no more, has left of every venue's limits. Both have the same clock."""
        for name, state in before._venues.items():
            mine = self._venue(name)
            mine.shared.window = state.shared.window
            for path, pool in state.own.items():
                mine.own[path].window = pool.window

    async def close(self) -> None:
        """Drop every connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def get(self, venue: str, url: str, params: Params | None = None) -> Reply:
        """The answer of status 2xx to `url`, as soon as the venue's limits allow.

        Raises RestRefused where asking again changes nothing (another status, a redirect, a certificate, an answer
        longer than `max_body_bytes`), RestUnavailable or RestLimited where every attempt failed.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise RestRefused(f"expected an address that begins with https://, was {redacted(url)!r}")
        if params:
            url = str(httpx.URL(url, params={**dict(parse_qsl(parts.query)), **params}))
        attempt = 0
        while True:
            try:
                return await self._attempt(venue, url)
            except RestError as error:
                settings = self.settings
                attempt += 1
                if not is_retryable(error) or attempt >= settings.attempts or _too_long(error, settings):
                    self.counters["failed"] += 1
                    raise
                self.counters["retries"] += 1
                # A pause that the venue asked for is kept by its window; the jitter comes on top.
                await self._sleep(
                    full_jitter_s(self._rng, attempt - 1, settings.backoff_first_s, settings.backoff_max_s)
                )

    async def ask(self, venue: str, request: Request) -> tuple[int, bytes]:
        """Status and body of the venue's own answer to a signed request, whatever it says; asked once, since a
        signature holds once. RestUnavailable or RestLimited where the venue gave none.
        """
        try:
            reply = await self._attempt(venue, request.url, request)
        except RestRefused as error:
            if not error.status:
                raise
            return error.status, error.body
        return reply.status, reply.body

    async def _attempt(self, venue: str, url: str, signed: Request | None = None) -> Reply:
        state = self._venue(venue)
        pool, weight = self._price(state, url)
        await self._turn(state, pool, weight, venue)
        self.counters["requests"] += 1
        shown = redacted(url)
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                method, headers_out, content = "GET", None, None
                if signed is not None:
                    method, headers_out, content = signed.method, signed.headers, signed.body or None
                async with self._http().stream(method, url, headers=headers_out, content=content) as response:
                    try:
                        body = await self._body(response, shown)
                        headers = response.headers
                        status = response.status_code
                    finally:
                        await response.aclose()
                        # The two know one another, and nobody collects cycles while the engine is live.
                        response.stream = httpx.ByteStream(b"")
        except RestError:
            raise
        except TimeoutError:
            text = f"expected an answer of {shown} within {self.settings.timeout_s:g} s, was none"
            raise RestUnavailable(text) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            kind = RestUnavailable if worth_retrying(error) else RestRefused
            # A library that cannot send a header says what was in it.
            why = (redacted(str(error)) if signed is None else "") or type(error).__name__
            raise kind(f"expected an answer of {shown}, was {type(error).__name__}: {why}") from None
        finally:
            state.places.release()
        self._note_used(state, pool, headers)
        return self._judge(state, pool, Reply(status, body, headers), shown)

    def _judge(self, state: _Venue, pool: _Pool, reply: Reply, shown: str) -> Reply:
        """`reply` where it is an answer; raises what it is else."""
        status, body, headers = reply
        start = body[:_SEARCHED_BYTES]
        said = redacted(body[:_SHOWN_BYTES].decode(errors="replace"))
        if status in (418, 429) or any(mark in start for mark in state.limits.limited):
            self.counters["limited"] += 1
            pause_s = retry_after_s(headers)
            if pause_s is None:
                pause_s = pool.window.span_ns / _S
            now_ns = self._monotonic_ns()
            # 418 bans the address, not the endpoint.
            for window in self._windows(state) if status == 418 else (pool.window,):
                window.block(int(pause_s * _S), now_ns)
            raise RestLimited(
                f"expected an answer of {shown}, was {status}: too many requests, to be asked again in {pause_s:g} s:"
                f" {said}",
                status,
                body,
                pause_s,
            )
        if 200 <= status < 300:
            return reply
        if 300 <= status < 400:
            target = redacted(headers.get("location", ""))
            raise RestRefused(f"expected an answer of {shown}, was a redirect to {target!r}: not followed", status)
        if status >= 500 and not any(mark in start for mark in state.limits.refused):
            pause_s = retry_after_s(headers)
            if pause_s:
                pool.window.block(int(min(pause_s, self.settings.retry_after_max_s) * _S), self._monotonic_ns())
            raise RestUnavailable(f"expected an answer of {shown}, was {status}: {said}", status, body)
        raise RestRefused(f"expected an answer of {shown}, was {status}: {said}", status, body)

    async def _body(self, response: httpx.Response, shown: str) -> bytes:
        """The whole body, unpacked here with a bound: a library that unpacks for us does so a chunk at a time, and one
        chunk may hold a gigabyte of zeros.
        """
        limit = self.settings.max_body_bytes
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "", "gzip", "x-gzip"):
            raise RestRefused(f"expected {shown} plain or with gzip, was {encoding!r}", response.status_code)
        unpack = zlib.decompressobj(_GZIP) if "gzip" in encoding else None
        parts: list[bytes] = []
        size = 0
        async for raw in response.aiter_raw():
            try:
                part = raw if unpack is None else unpack.decompress(raw, limit + 1 - size)
            except zlib.error as error:
                raise RestUnavailable(f"expected gzip from {shown}, was damaged: {error}") from None
            size += len(part)
            if size > limit:
                raise RestRefused(f"expected at most {limit} bytes from {shown}, was more: cut off there")
            parts.append(part)
        if unpack is not None and size and not unpack.eof:
            raise RestUnavailable(f"expected the whole of {shown}, was {size} bytes of it")
        return b"".join(parts)

    async def _turn(self, state: _Venue, pool: _Pool, weight: int, venue: str) -> None:
        """Return when the request may leave, with one of the venue's places, which is to be given back; raises
        RestLimited where that is longer than anybody waits.
        """
        async with pool.turn:
            # Before weight is spent: what is spent is sent at once.
            await state.places.acquire()
            try:
                while wait_ns := pool.window.take(weight, self._monotonic_ns()):
                    longest_s = max(self.settings.retry_after_max_s, pool.window.span_ns / _S)
                    if wait_ns > (longest_s + 1.0) * _S:
                        text = f"{venue} asks for a pause of {wait_ns / _S:.0f} s more: nothing is asked until then"
                        raise RestLimited(text, retry_after_s=wait_ns / _S)
                    await self._sleep(wait_ns / _S)
            except BaseException:
                state.places.release()
                raise

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                # A proxy or a .netrc of the environment must not see, or add to, what we send.
                trust_env=False,
                follow_redirects=False,
                verify=self._ssl_context if self._ssl_context is not None else True,
                timeout=httpx.Timeout(self.settings.timeout_s),
                # Each venue has its own bound; one for all would let a venue wait for another's answers.
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=16),
                headers={"accept-encoding": "gzip", "user-agent": f"data-controller/{__version__}"},
            )
        return self._client

    def _venue(self, name: str) -> _Venue:
        state = self._venues.get(name)
        if state is None:
            limits = self._limits.get(name, self._default)
            state = self._venues[name] = _Venue(limits, _Pool(self._window(limits.budget, limits.per_s)))
            for endpoint in limits.endpoints:
                if endpoint.budget:
                    state.own[endpoint.path] = _Pool(self._window(endpoint.budget, endpoint.per_s))
        return state

    def _window(self, budget: int, per_s: float) -> Window:
        share = budget * self.settings.budget_share
        # A share of less than one request is one request in a longer time.
        return Window(max(1, int(share)), int(per_s * _S / min(1.0, share)))

    def _price(self, state: _Venue, url: str) -> tuple[_Pool, int]:
        """The budget that `url` draws from, and how many units."""
        parts = urlsplit(url)
        matching = [e for e in state.limits.endpoints if parts.path.startswith(e.path)]
        if not matching:
            return state.shared, 1
        endpoint = max(matching, key=lambda e: len(e.path))
        weight = endpoint.weight
        limit = dict(parse_qsl(parts.query)).get("limit", "")
        if endpoint.by_limit and limit.isascii() and limit.isdigit():
            weights = [w for upto, w in endpoint.by_limit if int(limit) <= upto]
            weight = weights[0] if weights else endpoint.by_limit[-1][1]
        return state.own.get(endpoint.path, state.shared), weight

    def _note_used(self, state: _Venue, pool: _Pool, headers: Mapping[str, str]) -> None:
        name = state.limits.used_header
        said = headers.get(name, "") if name else ""
        if said.isascii() and said.isdigit():
            pool.window.used(int(said), self._monotonic_ns())

    @staticmethod
    def _windows(state: _Venue) -> list[Window]:
        return [state.shared.window, *(pool.window for pool in state.own.values())]


def _too_long(error: RestError, settings: RestSettings) -> bool:
    return isinstance(error, RestLimited) and error.retry_after_s > settings.retry_after_max_s


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date; None where there is none that can be read.

    A date is compared with the answer's own Date where it has one: the venue's clock need not be ours.
    """
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return float(min(int(said), 10**9))
    try:
        until = email.utils.parsedate_to_datetime(said)
        date = headers.get("date", "")
        now = email.utils.parsedate_to_datetime(date).timestamp() if date else time.time()
        return min(max(0.0, until.timestamp() - now), 1e9)
    except (ValueError, TypeError, OverflowError):
        return None


def redacted(text: str) -> str:
    """`text`, an address or a message with one, without user, password and whatever a parameter's name calls secret."""
    return _SECRET.sub(r"\1***", _USER.sub("***@", text))
