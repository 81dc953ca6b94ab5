"""Instruments through ccxt against a fake exchange on loopback, and from the disk when nobody answers."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path
from typing import Any

import pytest

from data_controller.cli import main
from data_controller.errors import ConfigError, RestLimited, RestRefused, RestUnavailable, TableError
from data_controller.ingest.settings import RestSettings
from data_controller.reference.ccxt_rest import CcxtHistory, make, rest_error
from data_controller.reference.instruments import age_s, cache_path, known_names, load_cached, refresh
from tests.ingest.web import answer

from .venue import MINUTE_MS, T0_MS, FakeVenue

QUICK = RestSettings(attempts=2, backoff_first_s=0.001, timeout_s=10)


class Bitfinex(FakeVenue):
    """Adds the `conf` answers that ccxt asks for."""

    def reply(self, path: str, query: dict[str, str]) -> Any:
        if not path.startswith("/v2/conf/"):
            return super().reply(path, query)
        pair = [None, None, None, "0.00004", "2000.0", None, None, None, None, None]
        lists: dict[str, Any] = {
            "pub:info:pair": [["BTCUSD", pair], ["DOGE:USD", pair]],
            "pub:info:pair:futures": [["BTCF0:USTF0", [*pair[:8], 0.01, 0.005]]],
            "pub:list:pair:margin": ["BTCUSD"],
            "pub:list:currency": ["BTC", "USD", "DOGE", "UST"],
        }
        names = path.removeprefix("/v2/conf/").split(",")
        return [lists.get(name, []) for name in names]


def binance(path: str, query: dict[str, str]) -> Any:
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.0", "stepSize": "0.00001"},
        {"filterType": "NOTIONAL", "minNotional": "5.0", "maxNotional": "9000000.0"},
    ]
    return {
        "timezone": "UTC",
        "serverTime": T0_MS,
        "symbols": [
            {
                "symbol": "BTCUSDT",
                "status": "TRADING",
                "baseAsset": "BTC",
                "quoteAsset": "USDT",
                "baseAssetPrecision": 8,
                "quotePrecision": 8,
                "quoteAssetPrecision": 8,
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": True,
                "orderTypes": ["LIMIT"],
                "permissions": ["SPOT"],
                "filters": filters,
            }
        ],
    }


class Binance(FakeVenue):
    """Adds spot's `exchangeInfo`; every other market is empty."""

    def reply(self, path: str, query: dict[str, str]) -> Any:
        if path.endswith("/exchangeInfo"):
            return binance(path, query) if path.startswith("/api/") else {"serverTime": T0_MS, "symbols": []}
        return super().reply(path, query)


def test_instruments_have_steps_fees_and_limits_and_are_kept_with_their_date(tmp_path: Path) -> None:
    async def run() -> None:
        async with Binance() as fake:
            kept = await refresh(tmp_path, "binance", fake.url, QUICK)
        (btc,) = kept["instruments"]
        assert (btc["name"], btc["symbol"], btc["kind"], btc["active"]) == ("BTC/USDT", "BTCUSDT", "spot", True)
        assert (btc["price_step"], btc["size_step"]) == ("0.01", "0.00001")
        assert (btc["maker_fee"], btc["taker_fee"]) == ("0.001", "0.001")
        assert btc["limits"]["size"] == {"min": "0.00001", "max": "9000.0"}
        assert btc["limits"]["cost"]["min"] == "5.0"
        assert kept["source"].startswith("ccxt ") and age_s(kept) < 60
        assert load_cached(tmp_path, "binance") == kept
        assert known_names(kept) == {"BTCUSDT": "BTC/USDT"}

    asyncio.run(run())


def test_bitfinex_lists_pairs_and_perpetuals_by_their_names(tmp_path: Path) -> None:
    async def run() -> None:
        async with Bitfinex() as fake:
            kept = await refresh(tmp_path, "bitfinex", fake.url, QUICK)
        names = known_names(kept)
        assert names == {"tBTCUSD": "BTC/USD", "tDOGE:USD": "DOGE/USD", "tBTCF0:USTF0": "BTC/USDT:USDT"}
        btc = next(i for i in kept["instruments"] if i["name"] == "BTC/USD")
        assert (btc["price_step"], btc["price_significant_digits"], btc["limits"]["size"]["min"]) == (
            None,
            5,
            "0.00004",
        )

    asyncio.run(run())


def test_the_command_asks_once_and_shows_what_it_kept_when_the_exchange_is_gone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fill() -> None:
        async with Binance() as fake:
            await refresh(tmp_path, "binance", fake.url, QUICK)

    asyncio.run(fill())
    config = tmp_path / "c.yaml"
    config.write_text("ingest:\n  rest:\n    attempts: 1\n    timeout_s: 2.0\n")
    gone = ["--state", str(tmp_path), "--url", "http://127.0.0.1:1", "-c", str(config), "--json"]
    for extra in ([], ["--refresh"]):
        assert main(["instruments", "binance", *gone, *extra]) == 0
        shown = json.loads(capfd.readouterr().out)
        assert [i["name"] for i in shown["instruments"]] == ["BTC/USDT"] and shown["age_s"] >= 0
    assert main(["instruments", "kraken", *gone]) == 1
    assert json.loads(capfd.readouterr().out)["error"]["type"] == "RestUnavailable"
    assert main(["instruments", "krakn", *gone]) == 2
    assert "did you mean 'kraken'?" in json.loads(capfd.readouterr().out)["error"]["message"]


def test_a_damaged_or_foreign_file_is_named_and_refresh_advised(tmp_path: Path) -> None:
    path = cache_path(tmp_path, "kraken")
    path.parent.mkdir()
    for content in ("{", "[]", '{"version": 9, "instruments": []}'):
        path.write_text(content)
        with pytest.raises(TableError, match="--refresh"):
            load_cached(tmp_path, "kraken")
    with pytest.raises(ConfigError, match="an exchange's name"):
        cache_path(tmp_path, "../etc/passwd")


def test_a_refresh_that_fails_says_so_whatever_is_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = cache_path(tmp_path, "kraken")
    path.parent.mkdir()
    path.write_text("{")
    config = tmp_path / "c.yaml"
    config.write_text("ingest:\n  rest:\n    attempts: 1\n    timeout_s: 2.0\n")
    gone = ["--state", str(tmp_path), "--url", "http://127.0.0.1:1", "-c", str(config), "--json"]
    assert main(["instruments", "kraken", *gone, "--refresh"]) == 1
    assert json.loads(capfd.readouterr().out)["error"]["type"] == "RestUnavailable"


def test_a_failed_request_leaves_no_session_behind(tmp_path: Path) -> None:
    async def run() -> None:
        import aiohttp

        def sessions() -> list[Any]:
            return [s for s in gc.get_objects() if isinstance(s, aiohttp.ClientSession) and not s.closed]

        def refused(path: str) -> bytes | None:
            return answer(b"{}", "404 Not Found") if path.startswith("/api/") else None

        async with Binance() as fake:
            fake.before = refused
            with pytest.raises(RestUnavailable):
                await refresh(tmp_path, "binance", fake.url, QUICK)
            # ccxt asks for its kinds of markets at once, and those that did not fail go on.
            await asyncio.sleep(0.2)
            assert sessions() == []

    asyncio.run(run())


def test_the_simulated_binance_lists_its_instruments(tmp_path: Path) -> None:
    from data_controller.simulator.binance.venue import BinanceVenue
    from data_controller.simulator.exchange import Exchange

    class Simulated(FakeVenue):
        def reply(self, path: str, query: dict[str, str]) -> Any:
            said = simulated.rest(path)
            assert said.status == 200, (path, said)
            return json.loads(said.body)

    simulated = BinanceVenue(Exchange(5, ["tBTCUSD", "tDOGE:USD"]))

    async def run() -> None:
        async with Simulated() as fake:
            kept = await refresh(tmp_path, "binance", fake.url, QUICK)
        assert known_names(kept) == {"BTCUSDT": "BTC/USDT", "DOGEUSDT": "DOGE/USDT"}

    asyncio.run(run())


def test_what_ccxt_raises_is_in_our_tree() -> None:
    import ccxt

    assert isinstance(rest_error(ccxt.RateLimitExceeded("x"), "y"), RestLimited)
    assert isinstance(rest_error(ccxt.DDoSProtection("x"), "y"), RestLimited)
    assert isinstance(rest_error(ccxt.RequestTimeout("x"), "y"), RestUnavailable)
    assert isinstance(rest_error(ccxt.BadSymbol("x"), "y"), RestRefused)
    assert "abc" not in str(rest_error(ccxt.BadSymbol("GET http://h/?apiKey=abc"), "y"))


@pytest.mark.parametrize("what", ["candles", "trades"])
def test_history_of_any_exchange_comes_through_ccxt(what: Any) -> None:
    async def run() -> None:
        async with Binance(minutes=100, n_trades=200) as fake:
            failures = iter([answer(b"", "503 Busy"), None, answer(b"", "429 Slow"), None])
            exchange = make("binance", fake.url)
            exchange.options["fetchMarkets"] = {"types": ["spot"]}
            await exchange.load_markets()
            fake.before = lambda path: next(failures, None)
            source = CcxtHistory(exchange, "BTC/USDT", what, "1m", QUICK)
            found: dict[Any, Any] = {}
            complete = []
            begin, end = T0_MS * 1_000_000, (T0_MS + 90 * MINUTE_MS) * 1_000_000
            try:
                async for page in source.pages(begin, end):
                    complete.append(page.complete_to_ns)
                    for row in page.rows:
                        found[row.get("id", row.get("open_ns"))] = row
            finally:
                await exchange.close()
            assert complete == sorted(complete) and complete[-1] == end
            if what == "trades":
                assert [int(k) for k in found] == [t.id for t in fake.trades]
            else:
                wanted = [c[0] * 1_000_000 for c in fake.candles]
                assert [k for k in found if k < end] == [k for k in wanted if k < end]

    asyncio.run(run())


def test_a_width_or_a_history_that_an_exchange_lacks_is_told() -> None:
    async def run() -> None:
        exchange = make("kraken")
        try:
            for what, width in (("candles", "7m"), ("tickers", "")):
                with pytest.raises(ConfigError, match="expected"):
                    async for _ in CcxtHistory(exchange, "BTC/USD", what, width, QUICK).pages(0, 1):  # type: ignore[arg-type]
                        pass
        finally:
            await exchange.close()

    asyncio.run(run())


def test_ccxt_is_not_imported_by_what_does_not_need_it() -> None:
    import subprocess
    import sys

    code = (
        "import sys, data_controller.cli._app, data_controller.engine.live, data_controller.reference.native; "
        "sys.exit('ccxt' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
