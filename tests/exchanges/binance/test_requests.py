"""What is said to Binance, byte for byte, and which config is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from data_controller.exchanges.binance.decoder import channel_of
from data_controller.exchanges.binance.dialect import COINM, SPOT, USDM, stream_of
from data_controller.exchanges.binance.settings import BinanceCoinmSettings, BinanceSettings, BinanceUsdmSettings
from data_controller.exchanges.binance.subscriptions import BinanceSubscriptions
from data_controller.market.tables import Channel, Tables


def test_a_request_names_streams() -> None:
    settings = BinanceSettings(instruments=("BTC/USDT",), quotes=True, aggregate_trades=True, candles=("1m",))
    [group] = SPOT.channels(settings)
    assert SPOT.subscribe(settings, group, 7) == (
        b'{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms","btcusdt@trade","btcusdt@aggTrade",'
        b'"btcusdt@bookTicker","btcusdt@kline_1m"],"id":7}'
    )
    assert SPOT.unsubscribe(settings, group[:1], 8) == (
        b'{"method":"UNSUBSCRIBE","params":["btcusdt@depth@100ms"],"id":8}'
    )
    assert SPOT.confirm(settings, 9) == b'{"method":"LIST_SUBSCRIPTIONS","id":9}'
    url = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=1000"
    assert [SPOT.snapshot_url(settings, channel) for channel in group[:2]] == [url, None]


def test_every_channel_asked_for_is_the_one_that_its_data_names() -> None:
    for dialect, settings in (
        (
            SPOT,
            BinanceSettings(instruments=("BTCUSDT",), book_speed="1000ms", quotes=True, tickers=True, candles=("1s",)),
        ),
        (USDM, BinanceUsdmSettings(instruments=("BTC/USDT:USDT",), book_speed="0ms", candles=("1h",))),
        (USDM, BinanceUsdmSettings(instruments=("BTCUSDT_261225",), book_speed="250ms")),
        (COINM, BinanceCoinmSettings(instruments=("BTC/USD:BTC",))),
    ):
        for channel in dialect.channels(settings)[0]:
            assert channel_of(dialect.venue, stream_of(channel)) == channel
    assert COINM.channels(BinanceCoinmSettings(instruments=("BTC/USD:BTC",)))[0][0] == Channel(
        "binance_coinm", "BTCUSD_PERP", "book", "", "100ms"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"instruments": ("btcusdt",)}, "BTC/USDT or BTCUSDT"),
        ({"instruments": ("BTC/USDT", "BTCUSDT")}, "each instrument once"),
        ({"book_speed": "0ms"}, "expected one of 100ms, 1000ms, was 0ms"),
        ({"snapshot_limit": 7}, "5000, was 7"),
        ({"candles": ("7m",)}, "was '7m'"),
    ],
)
def test_a_config_that_binance_would_refuse_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BinanceSettings.model_validate(fields)


def test_a_connection_carries_no_more_streams_than_the_config_says() -> None:
    subscriptions = BinanceSubscriptions(
        BinanceSettings(instruments=("BTCUSDT", "ETHUSDT"), max_channels_per_connection=3), Tables()
    )
    subscriptions.start(10**18)
    assert [len(c["channels"]) for c in subscriptions.state()["connections"]] == [2, 2]
    subscriptions.validate()


def test_usdm_has_two_addresses_by_what_is_asked_and_who_names_one_has_one() -> None:
    wanted = {
        "instruments": ("BTCUSDT",),
        "quotes": True,
        "aggregate_trades": True,
        "tickers": True,
        "candles": ("1m",),
    }
    settings = BinanceUsdmSettings(**wanted)
    by_url: dict[str, list[str]] = {}
    for channel in USDM.channels(settings)[0]:
        by_url.setdefault(USDM.url(settings, [channel]), []).append(stream_of(channel).partition("@")[2])
    assert by_url == {
        "wss://fstream.binance.com/public/stream": ["depth@100ms", "trade", "bookTicker"],
        "wss://fstream.binance.com/market/stream": ["aggTrade", "ticker", "kline_1m", "markPrice@1s", "forceOrder"],
    }
    for dialect, one in (
        (USDM, BinanceUsdmSettings(**wanted, url="ws://127.0.0.1:1/stream")),
        (COINM, BinanceCoinmSettings(instruments=("BTC/USD:BTC",))),
        (SPOT, BinanceSettings(**wanted)),
    ):
        assert {dialect.url(one, [channel]) for channel in dialect.channels(one)[0]} == {one.url}
