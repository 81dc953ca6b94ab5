"""The simulated Kraken: every checksum fits, depths are the client's to cut, orders keep their queue."""

from __future__ import annotations

import json
from typing import Any

import pytest

from data_controller.simulator.exchange import Exchange
from data_controller.simulator.kraken.session import KrakenSession
from data_controller.simulator.kraken.venue import L3_PATH, KrakenVenue
from data_controller.simulator.kraken.wire import TOKEN, crc
from data_controller.simulator.state import HEARTBEAT

from .venue_clients import KrakenBooks

SECOND = 1_000_000_000


def venue(seed: int = 5) -> KrakenVenue:
    return KrakenVenue(Exchange(seed, ["tBTCUSD", "tDOGE:USD", "tSHIB:USD"], ticks_per_second=400))


def ask(session: KrakenSession, method: str = "subscribe", **params: Any) -> list[Any]:
    return [json.loads(d) for d in session.receive(json.dumps({"method": method, "params": params, "req_id": 7}))]


def run(v: KrakenVenue, seconds: float) -> None:
    v.exchange.advance(v.exchange.now_ns + int(seconds * SECOND))


@pytest.mark.parametrize("depth", [10, 25, 100])
@pytest.mark.parametrize("seed", range(3))
def test_a_book_kept_by_the_rules_fits_every_checksum_and_is_the_true_one(seed, depth):
    v = venue(seed)
    session = v.open("/v2")
    client = KrakenBooks(depth)
    session.handle(
        json.dumps({"method": "subscribe", "params": {"channel": "book", "symbol": v.symbols, "depth": depth}})
    )
    for _ in range(60):
        run(v, 0.1)
        for frame in session.frames():
            client.take(frame)
            if frame.seq:
                symbol = session.channels[frame.chan_id].symbol
                assert client.sides(("book", symbol)) == v.truth(symbol, frame.seq, depth)
    assert client.checked > 100 and client.bad == 0


@pytest.mark.parametrize("seed", range(3))
def test_orders_kept_by_their_events_fit_every_checksum_and_are_the_true_ones(seed):
    v = venue(seed)
    session = v.open(L3_PATH)
    client = KrakenBooks(10)
    params = {"channel": "level3", "symbol": v.symbols, "token": TOKEN}
    session.handle(json.dumps({"method": "subscribe", "params": params}))
    for _ in range(60):
        run(v, 0.1)
        for frame in session.frames():
            client.take(frame)
            if frame.seq:
                symbol = session.channels[frame.chan_id].symbol
                assert client.sides(("level3", symbol)) == v.orders_at(symbol, frame.seq)
    assert client.checked > 100 and client.bad == 0


def test_a_book_that_missed_an_update_is_told_by_its_checksum():
    v = venue()
    session = v.open("/v2")
    client = KrakenBooks(10)
    session.handle(b'{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"]}}')
    run(v, 10.0)
    updates = [frame for frame in session.frames() if frame.seq]
    for at, frame in enumerate(updates):
        if at not in range(20, 30):
            client.take(frame)
    assert client.bad > 0


def test_the_checksum_of_the_documents_example_comes_out():
    asks = "45285.2 0.00100000 45286.4 1.54571953 45286.6 1.54571109 45289.6 1.54560911 45290.2 0.15890660"
    asks += " 45291.8 1.54553491 45294.7 0.04454749 45296.1 0.35380000 45297.5 0.09945542 45299.5 0.18772827"
    bids = "45283.5 0.10000000 45283.4 1.54582015 45282.1 0.10000000 45281.0 0.10000000 45280.3 1.54592586"
    bids += " 45279.0 0.07990000 45277.6 0.03310103 45277.5 0.30000000 45277.3 1.54602737 45276.6 0.15445238"
    assert crc(f"{asks} {bids}".split()) == 3310070434


def test_each_symbol_is_acknowledged_and_wrong_requests_are_refused_each_in_its_words():
    session = venue().open("/v2")
    session.frames()
    acks = [m for m in ask(session, channel="book", symbol=["BTC/USD", "X/Y"], depth=10) if "method" in m]
    assert acks[0]["result"] == {"channel": "book", "symbol": "BTC/USD", "depth": 10, "snapshot": True}
    assert acks[0]["success"] and acks[0]["req_id"] == 7 and acks[0]["time_in"] < acks[0]["time_out"]
    assert (acks[1]["success"], acks[1]["error"]) == (False, "Currency pair not supported X/Y")
    errors = [
        ask(session, channel="book", symbol=["BTC/USD"])[0]["error"],
        ask(session, channel="book", symbol=["DOGE/USD"], depth=11)[0]["error"],
        ask(session, channel="level3", symbol=["DOGE/USD"], token=TOKEN)[0]["error"],
        ask(session, "unsubscribe", channel="book", symbol=["DOGE/USD"])[0]["error"],
        ask(session, "dance")[0]["error"],
    ]
    assert len(set(errors)) == 5
    assert json.loads(session.receive(b"\xff")[0])["success"] is False
    assert json.loads(session.receive(b'{"method":"ping","req_id":1}')[0])["method"] == "pong"
    done = ask(session, "unsubscribe", channel="book", symbol=["BTC/USD"])[0]
    assert done["method"] == "unsubscribe" and done["success"]


def test_level3_wants_its_token_which_rest_gives_to_a_key():
    v = venue()
    session = v.open(L3_PATH)
    session.frames()
    assert "error" in ask(session, channel="level3", symbol=["BTC/USD"], token="no")[0]
    path = "/0/private/GetWebSocketsToken"
    assert json.loads(v.rest(path, "POST").body)["error"]
    token = json.loads(v.rest(path, "POST", {"API-Key": "k"}).body)["result"]["token"]
    assert ask(session, channel="level3", symbol=["BTC/USD"], token=token)[0]["success"]


def test_a_key_is_told_what_it_may_do():
    path, v = "/0/private/GetApiKeyInfo", venue()
    assert json.loads(v.rest(path, "POST").body)["error"]
    for key, rights in (("data", ["query-funds"]), ("trader", ["query-funds", "modify-trades"])):
        assert json.loads(v.rest(path, "POST", {"API-Key": key}).body)["result"]["permissions"] == rights


def test_a_connection_with_nothing_to_say_beats_each_second():
    v = venue()
    v.exchange.halt(True)
    session = v.open("/v2")
    ask(session, channel="book", symbol=["BTC/USD"])
    run(v, 5.0)
    assert [frame.kind for frame in session.frames()] == [HEARTBEAT] * 5


def test_trades_tickers_candles_and_instruments_come_as_documented():
    v = venue()
    session = v.open("/v2")
    for channel in ("trade", "ticker", "ohlc", "instrument"):
        ask(session, channel=channel, symbol=["BTC/USD"], snapshot=True)
    run(v, 5.0)
    seen: dict[str, Any] = {}
    for frame in session.frames():
        message = json.loads(frame.data)
        seen.setdefault(message["channel"], []).append(message)
    ids = [trade["trade_id"] for message in seen["trade"] for trade in message["data"]]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert all(m["data"][0]["bid"] < m["data"][0]["ask"] for m in seen["ticker"])
    assert all(m["data"][-1]["interval"] == 1 for m in seen["ohlc"])
    pairs = json.loads(v.rest("/0/public/AssetPairs").body)["result"]
    assert pairs["BTCUSD"]["wsname"] == "BTC/USD"


def test_numbers_are_json_numbers_with_the_pairs_precision():
    v = venue()
    session = v.open("/v2")
    data = session.receive(b'{"method":"subscribe","params":{"channel":"book","symbol":["SHIB/USD"]}}')[-1]
    assert b'"price":0.0000' in data and b'"price":"' not in data and b"e-" not in data


def test_a_connection_whose_channels_are_muted_still_sends_heartbeats():
    v = venue()
    session = v.open("/v2")
    session.handle(json.dumps({"method": "subscribe", "params": {"channel": "book", "symbol": v.symbols}}))
    run(v, 2.0)
    session.frames()
    session.mute(None, True)
    run(v, 3.5)
    assert [frame.kind for frame in session.frames()] == [HEARTBEAT] * 3


def test_orders_are_kept_up_only_while_level3_is_followed():
    v = venue()
    books, session = v.open("/v2"), v.open(L3_PATH)
    ask(books, channel="book", symbol=v.symbols)
    run(v, 3.0)
    assert all(moment.orders is None for moments in v.moments for moment in moments)
    with pytest.raises(LookupError, match="level3"):
        v.orders_at("BTC/USD", v.moment(0).stamp)
    run(v, 0.02)  # between two looks at the market
    client = KrakenBooks(10)
    params = {"channel": "level3", "symbol": ["BTC/USD"], "token": TOKEN}
    session.handle(json.dumps({"method": "subscribe", "params": params}))
    for _ in range(30):
        run(v, 0.1)
        for frame in session.frames():
            client.take(frame)
            if frame.seq:
                assert client.sides(("level3", "BTC/USD")) == v.orders_at("BTC/USD", frame.seq)
    assert client.checked > 20 and client.bad == 0
    assert all(moment.orders is None for moment in v.moments[1])
    session.close()
    run(v, 1.0)
    assert v.moment(0).orders is None
