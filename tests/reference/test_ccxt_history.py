"""History through ccxt from exchanges that answer one page's time and no more, and from pages that are cut."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from data_controller.errors import RestRefused
from data_controller.ingest.settings import RestSettings
from data_controller.reference.ccxt_rest import CcxtHistory

from .venue import MINUTE_MS, T0_MS

MS = 1_000_000
T0 = T0_MS * MS


class Stub:
    """An exchange of ccxt's face; `said` is the page's length that its features tell, `page` the true one.

    Candles: what lies within [since, since + (rows asked for - 1) widths], as Gate answers.
    """

    id = "stub"
    has = {"fetchOHLCV": True, "fetchTrades": True}  # noqa: RUF012
    timeframes = {"1m": "1m"}  # noqa: RUF012

    def __init__(self, minutes: list[int], trades_ms: list[int], said: int | None, page: int) -> None:
        self.minutes = minutes
        self.trades_ms = trades_ms
        self.said = said
        self.page = page
        self.asked = 0

    async def load_markets(self) -> None:
        pass

    def feature_value(self, symbol: str, method: str, parameter: str) -> int | None:
        return self.said

    async def fetch_ohlcv(self, symbol: str, width: str, since: int, limit: int) -> list[Any]:
        self.asked += 1
        until = since + (min(limit, self.page) - 1) * MINUTE_MS
        opens = [T0_MS + minute * MINUTE_MS for minute in self.minutes]
        return [[ms, 2.0, 3.0, 1.0, 2.0, 5.0] for ms in opens if since <= ms <= until]

    async def fetch_trades(self, symbol: str, since: int, limit: int) -> list[Any]:
        self.asked += 1
        found = [(i, T0_MS + ms) for i, ms in enumerate(self.trades_ms) if T0_MS + ms >= since]
        return [
            {"timestamp": ms, "id": str(i), "side": "buy", "price": 1.0, "amount": 1.0}
            for i, ms in found[: min(limit, self.page)]
        ]


def walked(stub: Stub, what: Any, begin_ms: int, end_ms: int) -> tuple[list[Any], list[int]]:
    """The rows' keys as found, each once, and how far each page was complete."""

    async def run() -> tuple[list[Any], list[int]]:
        found: dict[Any, None] = {}
        complete = []
        source = CcxtHistory(stub, "BTC/USDT", what, "1m", RestSettings(attempts=1))
        async for page in source.pages(T0 + begin_ms * MS, T0 + end_ms * MS):
            found |= dict.fromkeys(row["id"] if what == "trades" else row["open_ns"] for row in page.rows)
            complete.append(page.complete_to_ns)
        return list(found), complete

    return asyncio.run(run())


@pytest.mark.parametrize(("said", "page"), [(300, 300), (1000, 1000), (None, 100), (None, 300)])
@pytest.mark.parametrize("off_ms", [0, 17_000])
def test_candles_behind_a_listing_and_an_outage_longer_than_a_page_are_found(
    said: int | None, page: int, off_ms: int
) -> None:
    minutes = [*range(2500, 2600), *range(5000, 5001), *range(7500, 9000)]
    stub = Stub(minutes, [], said, page)
    opens, complete = walked(stub, "candles", off_ms, 8000 * MINUTE_MS)
    assert [ns for ns in opens if ns < T0 + 8000 * MINUTE_MS * MS] == [
        T0 + minute * MINUTE_MS * MS for minute in minutes if minute < 8000
    ]
    assert complete == sorted(set(complete)) and complete[-1] == T0 + 8000 * MINUTE_MS * MS
    assert stub.asked < 100


def test_a_span_without_any_candle_is_walked_to_its_end() -> None:
    stub = Stub([], [], 300, 300)
    assert walked(stub, "candles", 0, 1000 * MINUTE_MS) == (
        [],
        [T0 + minutes * MINUTE_MS * MS for minutes in (299, 598, 897, 1000)],
    )


@pytest.mark.parametrize("page", [100, 300])
@pytest.mark.parametrize("before", [0, 50])
def test_a_moment_that_fills_a_page_is_refused_whatever_the_page_holds(page: int, before: int) -> None:
    trades = [*range(before), *[1000] * (page + 5), 2000]
    with pytest.raises(RestRefused, match="at the one moment"):
        walked(Stub([], trades, None, page), "trades", 0, 10_000)


def test_a_moment_that_ends_the_trades_is_none_that_was_cut() -> None:
    for trades in ([5], [5] * 60, [1, *[5] * 60], [*range(100), *[200] * 60]):
        ids, complete = walked(Stub([], trades, None, 100), "trades", 0, 10_000)
        assert ids == [str(i) for i in range(len(trades))] and complete[-1] == T0 + 10_000 * MS
