"""What is said to OKX, byte for byte, which config is refused, and a conversation with the shared Subscriptions."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from data_controller.actions import Fetch, Open, Send
from data_controller.exchanges.okx.decoder import OkxDecoder
from data_controller.exchanges.okx.dialect import OkxDialect, argument_of, venue_symbol
from data_controller.exchanges.okx.settings import OkxSettings
from data_controller.exchanges.okx.subscriptions import OkxSubscriptions
from data_controller.market.layout import Proof
from data_controller.market.rows import Kind
from data_controller.market.tables import Channel
from tests.exchanges.feeding import Session
from tests.exchanges.okx.test_decoder import ACK, SNAPSHOT, book

OKX = OkxDialect()


def test_a_request_names_channels_and_instruments() -> None:
    settings = OkxSettings(instruments=("BTC/USDT:USDT",), quotes=True)
    [group, index] = OKX.channels(settings)
    assert OKX.subscribe(settings, group, 7) == (
        b'{"id":"7","op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT-SWAP"},'
        b'{"channel":"trades","instId":"BTC-USDT-SWAP"},{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},'
        b'{"channel":"mark-price","instId":"BTC-USDT-SWAP"},{"channel":"funding-rate","instId":"BTC-USDT-SWAP"}]}'
    )
    assert OKX.unsubscribe(settings, index, 8) == (
        b'{"id":"8","op":"unsubscribe","args":[{"channel":"index-tickers","instId":"BTC-USDT"}]}'
    )
    assert (OKX.greeting(settings), OKX.confirm(settings, 9), OKX.ping()) == (None, None, b"ping")


def test_candles_have_an_address_of_their_own() -> None:
    settings = OkxSettings(instruments=("BTC/USDT",), candles=("1m", "1H"))
    [group] = OKX.channels(settings)
    urls = [OKX.url(settings, [channel]) for channel in group]
    assert urls == [settings.url] * 2 + [settings.business_url] * 2


def test_books_are_fetched_where_the_config_says_so() -> None:
    [[channel, trades]] = OKX.channels(OkxSettings(instruments=("BTC/USDT",)))
    assert OKX.snapshot_url(OkxSettings(), channel) is None
    settings = OkxSettings(snapshots="rest")
    assert OKX.snapshot_url(settings, channel) == "https://www.okx.com/api/v5/market/books?instId=BTC-USDT&sz=400"
    assert OKX.snapshot_url(settings, trades) is None


def test_every_channel_asked_for_is_the_one_that_its_data_names() -> None:
    settings = OkxSettings(
        instruments=("BTC/USDT", "BTC/USD:BTC", "BTC/USD:BTC-261225", "ETH/USD:ETH-261225-3000-C"),
        quotes=True,
        tickers=True,
        candles=("1Dutc",),
        liquidations=True,
    )
    decoder = Session(OkxDecoder).decoder
    channels = [channel for group in OKX.channels(settings) for channel in group]
    for channel in channels:
        argument = argument_of(channel)
        assert decoder.channel_of(argument["channel"], argument.get("instId", argument.get("instType"))) == channel
    assert Channel("okx", "FUTURES", "liquidations") in channels
    assert len(channels) == len(set(channels))


@pytest.mark.parametrize(
    ("instrument", "symbol"),
    [
        ("BTC/USDT", "BTC-USDT"),
        ("BTC/USDT:USDT", "BTC-USDT-SWAP"),
        ("BTC/USD:BTC", "BTC-USD-SWAP"),
        ("BTC/USD:BTC-261225", "BTC-USD-261225"),
        ("ETH-USD-261225-3000-C", "ETH-USD-261225-3000-C"),
    ],
)
def test_canonical_names_are_translated(instrument: str, symbol: str) -> None:
    assert venue_symbol(instrument) == symbol


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"instruments": ("btc-usdt",)}, "BTC/USDT, BTC/USDT:USDT or BTC-USDT"),
        ({"instruments": ("BTC/USDT", "BTC-USDT")}, "each instrument once"),
        ({"candles": ("7m",)}, "was '7m'"),
        ({"book_channel": "books-l2-tbt"}, "books"),
    ],
)
def test_a_config_that_okx_would_refuse_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        OkxSettings.model_validate(fields)


def converse(settings: OkxSettings) -> tuple[Session, OkxSubscriptions, list[Any]]:
    """A session and Subscriptions over one table of channels, the connection open; what was asked first."""
    session = Session(OkxDecoder, opened=False)
    subscriptions = OkxSubscriptions(settings, session.tables)
    [opening] = subscriptions.start(session.now_ns)
    assert isinstance(opening, Open) and opening.url == settings.url
    session.open(opening.conn)
    return session, subscriptions, subscriptions.on_control(session.rows[-1], session.now_ns)


def told(session: Session, subscriptions: OkxSubscriptions, *messages: Any) -> list[Any]:
    """What the rows of `messages` make Subscriptions do."""
    actions: list[Any] = []
    for row in session.feed(*messages):
        if row["kind"] == Kind.CONTROL:
            actions += subscriptions.on_control(row, session.now_ns)
    return actions


def pulses(session: Session, subscriptions: OkxSubscriptions) -> list[bytes]:
    """What is sent in the next three seconds, in which nothing is heard but the answer to a ping."""
    sent = []
    for _ in range(30):
        session.feed(b"pong", times=[session.now_ns + 10**8])
        sent += subscriptions.on_pulse(session.now_ns, session.last_recv_ns, session.books.books)
    return [action.payload for action in sent if isinstance(action, Send)]


def test_a_broken_book_is_asked_for_again_and_heals() -> None:
    session, subscriptions, actions = converse(OkxSettings(instruments=("BTC/USDT",), trades=False))
    assert actions == [Send(0, b'{"id":"1","op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}')]
    assert told(session, subscriptions, ACK, SNAPSHOT) == []
    session.feed(book("update", 99, 123469))
    assert session.proof() == Proof.BROKEN
    subscriptions.on_broken(0, 2, session.now_ns)
    assert pulses(session, subscriptions) == [
        b'{"id":"2","op":"unsubscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}'
    ]
    again = told(session, subscriptions, {"event": "unsubscribe", "arg": ACK["arg"]})
    again = [action.payload for action in again] + pulses(session, subscriptions)
    assert again == [b'{"id":"3","op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}']
    assert told(session, subscriptions, ACK, SNAPSHOT) == []
    assert session.proof() == Proof.PROVED
    subscriptions.validate()


def test_a_fetched_snapshot_is_asked_for_when_the_book_is_subscribed() -> None:
    session, subscriptions, _ = converse(OkxSettings(instruments=("BTC/USDT",), trades=False, snapshots="rest"))
    [fetch] = told(session, subscriptions, ACK)
    assert isinstance(fetch, Fetch)
    answer = {"asks": [["2", "1", "0", "1"]], "bids": [["1", "1", "0", "1"]], "ts": "1", "seqId": 5}
    session.feed(book("update", 4, 7))
    session.fetch(fetch.url, {"code": "0", "data": [answer]})
    assert session.proof() == Proof.PROVED
