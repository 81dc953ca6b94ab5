"""One exchange through ccxt, on instances that are made up."""

from __future__ import annotations

import asyncio
from typing import Any

import ccxt
import pytest

from data_controller.bridge import exchange as module
from data_controller.bridge.exchange import REFUSALS, Exchange, Unserved

GOOD, BAD = "BTC/USD", "BAD/USD"


class Api:
    """Serves every symbol but those that raise; whoever watches hears when it is closed."""

    def __init__(self, errors: dict[str, Exception]) -> None:
        self.closed = asyncio.Event()
        self.clients: dict[str, object] = {"wss://one": object()}
        self._errors = errors
        self._books = 0

    async def load_markets(self) -> None:
        pass

    async def watch_order_book(self, symbol: str) -> dict[str, Any]:
        if symbol in self._errors:
            raise self._errors[symbol]
        try:
            async with asyncio.timeout(0.001):
                await self.closed.wait()
        except TimeoutError:
            self._books += 1
            return {"bids": [[self._books, 1.0]], "asks": []}
        raise ccxt.ExchangeClosedByUser("closed")

    async def close(self) -> None:
        self.closed.set()


class Served(Exchange):
    """On such instances."""

    def __init__(self, errors: dict[str, Exception]) -> None:
        super().__init__("kraken")
        self.errors = errors
        self.made: list[Api] = []

    def _make(self) -> Api:
        self.made.append(Api(self.errors))
        return self.made[-1]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "MIN_INTERVAL_S", 0.001)


async def both(exchange: Served) -> tuple[BaseException | None, dict[str, list[str]]]:
    """Watch the good symbol and the bad one until the bad one is over; how it ended, and what each was told."""
    told: dict[str, list[str]] = {GOOD: [], BAD: []}
    good = asyncio.create_task(exchange.watch("book", GOOD, 5, lambda m: told[GOOD].append(m["type"])))
    while "book" not in told[GOOD]:
        await asyncio.sleep(0)
    bad = asyncio.create_task(exchange.watch("book", BAD, 5, lambda m: told[BAD].append(m["type"])))
    async with asyncio.timeout(10):
        await asyncio.wait([bad])
        told[GOOD].append("|")
        while told[GOOD][-1] != "book":
            await asyncio.sleep(0)
    good.cancel()
    await asyncio.gather(good, return_exceptions=True)
    await exchange.close()
    return bad.exception(), told


def test_a_stream_that_is_refused_again_and_again_is_given_up_and_the_others_go_on() -> None:
    exchange = Served({BAD: ccxt.ExchangeError("currency pair not supported")})
    ended, told = asyncio.run(both(exchange))
    assert isinstance(ended, Unserved) and "not supported" in str(ended)
    assert told[BAD] == ["lost"] * REFUSALS
    assert told[GOOD].count("lost") == REFUSALS
    assert len(exchange.made) == REFUSALS + 1


def test_a_bad_request_is_hopeless_at_once_and_costs_the_others_nothing() -> None:
    exchange = Served({BAD: ccxt.BadRequest("no such depth")})
    ended, told = asyncio.run(both(exchange))
    assert isinstance(ended, Unserved)
    assert (told[BAD], "lost" in told[GOOD], len(exchange.made)) == ([], False, 1)


def test_a_stream_whose_network_fails_waits_longer_each_time_whatever_the_others_hear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module.random, "uniform", lambda low, high: high)
    pauses: list[float] = []
    sleep = asyncio.sleep
    exchange = Served({BAD: ccxt.RequestTimeout("no answer")})

    async def noted(delay_s: float) -> None:
        if delay_s >= 0.01 and not exchange._fresh.locked():  # its own, not that of a fresh instance
            pauses.append(delay_s)
        await sleep(min(delay_s, 0.01))

    async def main() -> None:
        monkeypatch.setattr(module.asyncio, "sleep", noted)
        tasks = [asyncio.create_task(exchange.watch("book", s, 5, lambda m: None)) for s in (GOOD, BAD)]
        async with asyncio.timeout(10):
            while len(pauses) < 3:
                await sleep(0.001)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await exchange.close()

    asyncio.run(main())
    assert pauses[:3] == [0.01, 0.02, 0.04]


def test_a_served_stream_takes_anothers_refusal_as_a_loss() -> None:
    async def main() -> None:
        exchange = Served({})
        told: list[str] = []
        task = asyncio.create_task(exchange.watch("book", GOOD, 5, lambda m: told.append(m["type"])))
        async with asyncio.timeout(10):
            while "book" not in told:
                await asyncio.sleep(0)
            exchange.made[0].watch_order_book = refuse  # type: ignore[method-assign]
            while told[-1:] != ["book"] or "lost" not in told:
                await asyncio.sleep(0)
        assert not task.done() and len(exchange.made) == 2
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await exchange.close()

    async def refuse(symbol: str) -> dict[str, Any]:
        raise ccxt.BadSymbol(BAD)

    asyncio.run(main())


def test_a_connection_that_was_lost_while_nobody_waited_is_told() -> None:
    async def main() -> list[str]:
        exchange = Served({})
        told: list[str] = []
        task = asyncio.create_task(exchange.watch("book", GOOD, 5, lambda m: told.append(m["type"])))
        async with asyncio.timeout(10):
            while told.count("book") < 3:
                await asyncio.sleep(0)
            exchange.made[0].clients["wss://one"] = object()  # so ccxt does: connected anew, and no word of it
            while "lost" not in told or told[-1] != "book":
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await exchange.close()
        return told

    assert asyncio.run(main()).count("lost") == 1
