"""One exchange through ccxt's WebSocket classes: watches books and trades, and says when what it said is void."""

from __future__ import annotations

import asyncio
import difflib
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

MIN_INTERVAL_S = 0.05
"""A book is sent at most this often: between two of them changes are merged."""
FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
STABLE_S = 10.0
"""A stream that told something this long after it began has no failures in a row any more."""
REFUSALS = 3
"""Refusals of a stream in a row, none of its data between them, after which it cannot be had."""
MAX_TRADES = 1000
"""Trades of one message."""

Tell = Callable[[dict[str, Any]], None]


class Unserved(Exception):  # noqa: N818 - the state is the name
    """What was asked for cannot be had from this exchange; asking again changes nothing."""


class Exchange:
    """Watches what it is told, each stream in a task of its own, on one ccxt instance at a time.

    After any error of ccxt the instance is thrown away with all that it holds: what state its caches are in, nobody
    says. Every stream then tells `lost` and begins again on a fresh one; the one that failed after a pause, which
    doubles while it fails.
    """

    def __init__(self, name: str, rest_url: str = "", socket_url: str = "") -> None:
        self.name = name
        self._urls = (rest_url, socket_url)
        self._api: Any = None
        self._pause_s = 0.0  # before the next instance is made
        self._fresh = asyncio.Lock()

    async def watch(self, stream: str, symbol: str, depth: int, tell: Tell) -> None:
        """Tell of books or trades until cancelled; Unserved where that can never be."""
        failures = refusals = 0
        heard = False  # on the instance in use
        began = 0.0

        def told(message: dict[str, Any]) -> None:
            nonlocal failures, refusals, heard
            heard, refusals, self._pause_s = True, 0, 0.0
            if _now() - began >= STABLE_S:
                failures = 0
            tell(message)

        while True:
            api = await self._instance()
            heard, began = False, _now()
            try:
                if stream == "book":
                    await self._books(api, symbol, depth, told)
                else:
                    await self._trades(api, symbol, told)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                mine = self._api is api  # else another stream's failure ended the instance
                if mine and not heard:
                    # ccxt may hand one stream's refusal to all: one that is served takes it as a loss.
                    self._refuse_for_good(error)
                    refusals += _refused(error)
                tell({"type": "lost", "reason": _line(error)})
                await self._drop(api)
                if refusals >= REFUSALS:
                    raise Unserved(f"refused {refusals} times in a row: {_line(error)}") from error
                if mine:
                    failures += 1
                    pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 10))
                    await asyncio.sleep(random.uniform(pause_s / 2, pause_s))

    async def close(self) -> None:
        """Let go of every connection."""
        api, self._api = self._api, None
        if api is not None:
            await api.close()

    async def _instance(self) -> Any:
        """The instance in use, or a fresh one with its markets loaded; tries until there is one."""
        async with self._fresh:
            while self._api is None:
                if self._pause_s:
                    await asyncio.sleep(random.uniform(self._pause_s / 2, self._pause_s))
                self._pause_s = min(MAX_PAUSE_S, 2 * self._pause_s or FIRST_PAUSE_S)
                api = self._make()
                try:
                    await api.load_markets()
                except Exception as error:
                    await api.close()
                    self._refuse_for_good(error)
                except BaseException:
                    await api.close()
                    raise
                else:
                    self._api = api
            return self._api

    async def _drop(self, api: Any) -> None:
        if self._api is api:
            self._api = None
            await api.close()

    def _make(self) -> Any:
        import ccxt.pro

        if self.name not in ccxt.pro.exchanges:
            near = difflib.get_close_matches(self.name, ccxt.pro.exchanges, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise Unserved(f"expected an exchange with WebSockets in ccxt, was {self.name!r}{hint}")
        api = getattr(ccxt.pro, self.name)({"enableRateLimit": True, "newUpdates": True})
        api.aiohttp_trust_env = False
        rest_url, socket_url = self._urls
        if rest_url or socket_url:
            api.urls["api"] = _moved(api.urls["api"], rest_url.rstrip("/"), socket_url.rstrip("/"))
        return api

    def _refuse_for_good(self, error: Exception) -> None:
        import ccxt

        hopeless = (ccxt.BadRequest, ccxt.NotSupported, ccxt.AuthenticationError, ccxt.ArgumentsRequired)
        if isinstance(error, Unserved):
            raise error
        if isinstance(error, hopeless):
            raise Unserved(_line(error)) from error

    async def _books(self, api: Any, symbol: str, depth: int, tell: Tell) -> None:
        """Whole merged books, each at most MIN_INTERVAL_S behind the one before."""
        said: dict[str, Any] = {}
        held: list[Any] = []
        while True:
            book = await api.watch_order_book(symbol)
            held = self._still(api, held)
            said = self._say(book, depth, said, tell)
            # What came meanwhile is in the same object; no further update need ever tell us.
            await asyncio.sleep(MIN_INTERVAL_S)
            held = self._still(api, held)
            said = self._say(book, depth, said, tell)

    def _still(self, api: Any, held: list[Any]) -> list[Any]:
        """The connections that `api` holds now; ConnectionError where one of `held` is gone, or `api` is given up.

        ccxt tells of a loss only those who wait at that moment, and connects anew for whoever asks next.
        """
        now = list(api.clients.values())
        if self._api is not api or any(all(client is not other for other in now) for client in held):
            raise ConnectionError("the connection was lost between two messages")
        return now

    @staticmethod
    def _say(book: Any, depth: int, said: dict[str, Any], tell: Tell) -> dict[str, Any]:
        now = {
            "type": "book",
            "bids": [[_text(level[0]), _text(level[1])] for level in book["bids"][:depth]],
            "asks": [[_text(level[0]), _text(level[1])] for level in book["asks"][:depth]],
        }
        if now != said:
            tell({**now, "ms": _ms(book.get("timestamp"))})
        return now

    async def _trades(self, api: Any, symbol: str, tell: Tell) -> None:
        held: list[Any] = []
        while True:
            trades = await api.watch_trades(symbol)
            held = self._still(api, held)
            for first in range(0, len(trades), MAX_TRADES):
                rows = [
                    [_id(t), _ms(t["timestamp"]), _text(t["price"]), _text(t["amount"]), t.get("side") or ""]
                    for t in trades[first : first + MAX_TRADES]
                ]
                tell({"type": "trades", "trades": rows})


def _moved(urls: Any, rest: str, socket: str) -> Any:
    """Addresses with another scheme and host: those of the REST interface, and those of WebSockets."""
    if isinstance(urls, dict):
        return {key: _moved(value, rest, socket) for key, value in urls.items()}
    if isinstance(urls, str):
        base = socket if urls.startswith("ws") else rest
        if base:
            return base + urlsplit(urls.replace("{hostname}", "host")).path
    return urls


def _text(value: Any) -> str:
    """ccxt's float as its shortest decimal text, without an exponent."""
    return format(Decimal(repr(value) if isinstance(value, float) else str(value)), "f")


def _ms(value: Any) -> int:
    return 0 if value is None else int(value)


def _id(trade: dict[str, Any]) -> str:
    return str(trade.get("id") or f"{trade['timestamp']}:{trade.get('side')}:{trade['price']}:{trade['amount']}")


def _refused(error: Exception) -> bool:
    """Whether the exchange, or ccxt itself, says no: neither the network's failure nor a checksum's."""
    import ccxt

    return not isinstance(error, (ccxt.OperationFailed, OSError, TimeoutError))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
