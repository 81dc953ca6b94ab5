"""Canonical names and the venues' own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_controller.errors import ConfigError
from data_controller.exchanges import naming
from data_controller.exchanges.bitfinex.settings import BitfinexSettings
from data_controller.exchanges.naming import described, parse, symbol_of, to_canonical, to_venue
from data_controller.market.tables import Instrument, Tables

PAIRS = [
    ("bitfinex", "BTC/USD", "tBTCUSD"),
    ("bitfinex", "BTC/USDT", "tBTCUST"),
    ("bitfinex", "DOGE/USD", "tDOGE:USD"),
    ("bitfinex", "ETH2X/ETH", "tETH2X:ETH"),
    ("bitfinex", "DASH/BTC", "tDSHBTC"),
    ("bitfinex", "BTC/USDT:USDT", "tBTCF0:USTF0"),
    ("binance", "BTC/USDT", "BTCUSDT"),
    ("binance", "1INCH/FDUSD", "1INCHFDUSD"),
    ("binance", "ETH/BTC", "ETHBTC"),
    ("binance_usdm", "BTC/USDT:USDT", "BTCUSDT"),
    ("binance_usdm", "1000PEPE/USDC:USDC", "1000PEPEUSDC"),
    ("binance_usdm", "BTC/USDT:USDT-261225", "BTCUSDT_261225"),
    ("binance_coinm", "BTC/USD:BTC", "BTCUSD_PERP"),
    ("binance_coinm", "ETH/USD:ETH-261225", "ETHUSD_261225"),
    ("okx", "BTC/USDT", "BTC-USDT"),
    ("okx", "BTC/USDT:USDT", "BTC-USDT-SWAP"),
    ("okx", "BTC/USD:BTC", "BTC-USD-SWAP"),
    ("okx", "BTC/USD:BTC-261225", "BTC-USD-261225"),
    ("kraken", "BTC/USD", "BTC/USD"),
    ("kraken_v1", "BTC/USD", "XBT/USD"),
    ("kraken_v1", "DOGE/BTC", "XDG/XBT"),
    ("coinbase", "BTC/USD", "BTC-USD"),
    ("bitstamp", "BTC/USD", "btcusd"),
    ("bitstamp", "ETH/USDT", "ethusdt"),
    ("bitflyer", "BTC/JPY", "BTC_JPY"),
    ("bitflyer", "BTC/JPY:JPY", "FX_BTC_JPY"),
    ("bybit", "BTC/USDT", "BTCUSDT"),
]


@pytest.mark.parametrize(("venue", "name", "symbol"), PAIRS)
def test_a_name_and_a_symbol_are_each_others(venue: str, name: str, symbol: str) -> None:
    assert to_venue(venue, name) == symbol
    assert to_canonical(venue, symbol) == name
    assert symbol_of(venue, name) == symbol or venue == "kraken_v1"
    assert symbol_of(venue, symbol) == symbol


@pytest.mark.parametrize(
    ("category", "name", "symbol"),
    [
        ("spot", "BTC/USDT", "BTCUSDT"),
        ("linear", "BTC/USDT:USDT", "BTCUSDT"),
        ("linear", "BTC/USDC:USDC", "BTCPERP"),
        ("inverse", "BTC/USD:BTC", "BTCUSD"),
    ],
)
def test_on_bybit_the_category_tells_what_a_symbol_is(category: str, name: str, symbol: str) -> None:
    assert to_venue("bybit", name, category) == symbol
    assert to_canonical("bybit", symbol, category) == name


@pytest.mark.parametrize(
    ("venue", "name"),
    [
        ("binance", "BTC/USDT:USDT"),
        ("binance_usdm", "BTC/USDT"),
        ("binance_coinm", "BTC/USDT:USDT"),
        ("bitfinex", "UST/USD"),  # Bitfinex's own word for USDT
        ("bitfinex", "BTC/USD:BTC"),
        ("okx", "BTC/USDT:BTC"),
        ("kraken", "BTC/USD:USD"),
        ("bitflyer", "BTC/USD:USD"),
        ("bybit", "BTC/USDT:USDT-261225"),
        ("ccxt", "BTC/USD"),
    ],
)
def test_a_name_that_a_venue_cannot_have_is_refused_with_examples(venue: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"a symbol for .*was '{name}'"):
        to_venue(venue, name)


@pytest.mark.parametrize("name", ["btc/usd", "BTCUSD", "BTC/USD:", "BTC/USD-261225", "", "BTC/USD:BTC-2612"])
def test_what_is_no_name_is_told_the_forms(name: str) -> None:
    with pytest.raises(ConfigError, match="BTC/USDT:USDT"):
        parse(name)


def test_a_symbol_that_is_none_is_told_an_example() -> None:
    with pytest.raises(ConfigError, match="a symbol as bitfinex writes it"):
        to_canonical("bitfinex", "btcusd")
    with pytest.raises(ConfigError, match="a name such as BTC/USD, or a symbol as binance"):
        symbol_of("binance", "btc-usdt")
    with pytest.raises(ConfigError, match="whose names are known"):
        to_venue("mtgox", "BTC/USD")


def test_the_venues_own_list_wins_over_the_guess() -> None:
    known = {"AUSDT": "A/USDT", "ABUSD": "AB/USD"}
    assert to_canonical("binance", "ABUSD") == "A/BUSD"
    assert to_canonical("binance", "ABUSD", known=known) == "AB/USD"


def test_an_instrument_row_gets_its_name_and_old_rows_still_load() -> None:
    assert described("okx", "BTC-USDT-SWAP") == Instrument("okx", "BTC-USDT-SWAP", "BTC", "USDT", "BTC/USDT:USDT")
    assert described("okx", "???") == Instrument("okx", "???")
    old = {"venue": "bitfinex", "symbol": "tBTCUSD", "base": "", "quote": ""}
    assert Tables.load([old], []).instruments == [Instrument("bitfinex", "tBTCUSD")]


codes = st.from_regex(r"[A-Z][A-Z0-9]{1,7}", fullmatch=True)


@given(
    venue=st.sampled_from([v for v in naming.venues() if v != "ccxt"]),
    base=codes,
    quote=st.sampled_from(["USD", "USDT", "USDC", "BTC", "EUR", "JPY"]),
    kind=st.sampled_from(["spot", "linear", "inverse", "future"]),
)
def test_what_a_venue_can_write_comes_back_as_itself(venue: str, base: str, quote: str, kind: str) -> None:
    settle = {"spot": "", "linear": f":{quote}", "inverse": f":{base}", "future": f":{quote}-261225"}[kind]
    name = f"{base}/{quote}{settle}"
    try:
        symbol = to_venue(venue, name)
    except ConfigError:
        return
    category = "" if venue != "bybit" or kind == "future" else kind
    assert to_canonical(venue, symbol, category, known={symbol: name}) == name
    guess = to_canonical(venue, symbol, category)
    if guess != name:  # only where nothing stands between base and quote, and the base ends like a longer quote
        assert venue in ("binance", "binance_usdm", "bitstamp", "bybit")
        assert len(parse(guess).quote) > len(quote) or parse(guess).base == base[: len(parse(guess).base)]
    else:
        assert to_venue(venue, guess) == symbol


def test_a_config_may_name_instruments_either_way() -> None:
    settings = BitfinexSettings(instruments=("BTC/USD", "tETHUSD", "BTC/USDT:USDT"))
    assert settings.instruments == ("tBTCUSD", "tETHUSD", "tBTCF0:USTF0")
    with pytest.raises(ValueError, match="expected each entry once"):
        BitfinexSettings(instruments=("BTC/USD", "tBTCUSD"))
    with pytest.raises(ValueError, match="a name that bitfinex has a symbol for"):
        BitfinexSettings(instruments=("BTC/USD:BTC",))
