"""What is said to Bybit, byte for byte, which config is refused, and a conversation with the shared Subscriptions."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from data_controller.actions import Open, Send
from data_controller.exchanges.bybit.decoder import BybitDecoder, BybitInverseDecoder, BybitLinearDecoder
from data_controller.exchanges.bybit.dialect import INVERSE, LINEAR, SPOT, BybitDialect, topic_of, venue_symbol
from data_controller.exchanges.bybit.settings import BybitInverseSettings, BybitLinearSettings, BybitSettings
from data_controller.exchanges.bybit.subscriptions import BybitSubscriptions
from data_controller.market.layout import Proof
from data_controller.market.rows import Kind
from tests.exchanges.bybit.test_decoder import SNAPSHOT, book
from tests.exchanges.feeding import Session


def test_a_request_names_topics() -> None:
    settings = BybitLinearSettings(instruments=("BTC/USDT:USDT",), candles=("1h", "1d"), liquidations=True, quotes=True)
    [group] = LINEAR.channels(settings)
    assert LINEAR.subscribe(settings, group, 7) == (
        b'{"req_id":"7","op":"subscribe","args":["orderbook.200.BTCUSDT","publicTrade.BTCUSDT","orderbook.1.BTCUSDT",'
        b'"tickers.BTCUSDT","kline.60.BTCUSDT","kline.D.BTCUSDT","allLiquidation.BTCUSDT"]}'
    )
    assert LINEAR.unsubscribe(settings, group[:1], 8) == (
        b'{"req_id":"8","op":"unsubscribe","args":["orderbook.200.BTCUSDT"]}'
    )
    assert (LINEAR.ping(), LINEAR.confirm(settings, 9)) == (b'{"op":"ping"}', None)
    assert LINEAR.url(settings, group) == "wss://stream.bybit.com/v5/public/linear"


@pytest.mark.parametrize(
    ("dialect", "decoder", "settings"),
    [
        (SPOT, BybitDecoder, BybitSettings(instruments=("BTC/USDT",), book_levels=1000, tickers=True, quotes=True)),
        (LINEAR, BybitLinearDecoder, BybitLinearSettings(instruments=("BTC/USDC:USDC",), liquidations=True)),
        (INVERSE, BybitInverseDecoder, BybitInverseSettings(instruments=("BTC/USD:BTC",), candles=("1M", "3m"))),
    ],
)
def test_every_channel_asked_for_is_the_one_that_its_data_names(
    dialect: BybitDialect, decoder: type[BybitDecoder], settings: BybitSettings
) -> None:
    own = Session(decoder).decoder
    for channel in dialect.channels(settings)[0]:
        assert own.channel_of(topic_of(channel)) == channel


@pytest.mark.parametrize(
    ("instrument", "symbol"),
    [("BTC/USDT", "BTCUSDT"), ("BTC/USDT:USDT", "BTCUSDT"), ("BTC/USD:BTC", "BTCUSD"), ("BTC/USDC:USDC", "BTCPERP")],
)
def test_canonical_names_are_translated(instrument: str, symbol: str) -> None:
    assert venue_symbol(instrument) == symbol


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"instruments": ("BTC/USDT:USDT",)}, "BTC/USDT or BTCUSDT"),
        ({"instruments": ("BTC/USDT", "BTCUSDT")}, "each instrument once"),
        ({"candles": ("7m",)}, "was '7m'"),
        ({"book_levels": 100}, "1000"),
    ],
)
def test_a_config_that_bybit_would_refuse_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BybitSettings.model_validate(fields)


def test_the_first_data_acknowledges_and_a_broken_book_is_asked_for_again() -> None:
    session = Session(BybitDecoder, opened=False)
    subscriptions = BybitSubscriptions(
        BybitSettings(instruments=("BTC/USDT",), book_levels=50, trades=False), session.tables
    )
    [opening] = subscriptions.start(session.now_ns)
    assert isinstance(opening, Open)
    session.open()
    subscribe = b'{"req_id":"%d","op":"subscribe","args":["orderbook.50.BTCUSDT"]}'
    assert subscriptions.on_control(session.rows[-1], session.now_ns) == [Send(0, subscribe % 1)]
    yes = {"success": True, "ret_msg": "subscribe", "conn_id": "x", "req_id": "1", "op": "subscribe"}
    [subscribed] = [row for row in session.feed(yes, SNAPSHOT) if row["kind"] == Kind.CONTROL]
    assert subscriptions.on_control(subscribed, session.now_ns) == []
    session.feed(book("delta", 5))
    assert session.proof() == Proof.BROKEN
    subscriptions.on_broken(0, 2, session.now_ns)
    now_ns = session.now_ns
    sent = []
    for _ in range(60):
        now_ns += 10**9
        session.feed(yes, times=[now_ns])
        sent += subscriptions.on_pulse(now_ns, np.array([now_ns]), session.books.books)
        subscriptions.silent(now_ns, session.decoder.heard_ns)
    data = [action.payload for action in sent if isinstance(action, Send) and action.payload != b'{"op":"ping"}']
    assert data[:2] == [subscribe.replace(b"sub", b"unsub") % 2, subscribe % 3]
    session.feed(SNAPSHOT)
    assert session.proof() == Proof.PROVED
    subscriptions.validate()
