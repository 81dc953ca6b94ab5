"""The simulated exchange's protocol, message by message."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from data_controller.simulator.exchange import Exchange
from data_controller.simulator.session import Session

from .simulator_client import ALL_FLAGS, SECOND, Client, subscribe


def test_greets_with_version_two_and_platform_up():
    session = Session(Exchange(seed=1, instruments=1))
    (greeting,) = session.poll(session.exchange.now_ns)
    message = json.loads(greeting)
    assert message["event"] == "info"
    assert message["version"] == 2
    assert message["platform"] == {"status": 1}
    assert greeting.startswith(b'{"event":"info","version":2,"serverId":"')


def test_confirms_flags_and_numbers_nothing_without_them():
    session = Session(Exchange(seed=1, instruments=1))
    session.take()
    assert session.receive('{"event":"conf","flags":229376}') == [b'{"event":"conf","status":"OK","flags":229376}']
    plain = Session(session.exchange)
    plain.take()
    ack, snapshot = plain.receive('{"event":"subscribe","channel":"book","symbol":"tBTCUSD"}')
    assert len(json.loads(snapshot)) == 2
    assert json.loads(ack)["len"] == "25"


@pytest.mark.parametrize(
    ("request_text", "ack"),
    [
        (
            '{"event":"subscribe","channel":"book","symbol":"tBTCUSD","prec":"P0","freq":"F0","len":"25"}',
            '{"event":"subscribed","channel":"book","chanId":%d,"symbol":"tBTCUSD","prec":"P0","freq":"F0","len":"25","pair":"BTCUSD"}',
        ),
        (
            '{"event":"subscribe","channel":"book","pair":"BTCUSD","prec":"R0","len":100,"subId":"b7"}',
            '{"event":"subscribed","channel":"book","chanId":%d,"symbol":"tBTCUSD","prec":"R0","freq":"F0","len":"100","subId":"b7","pair":"BTCUSD"}',
        ),
        (
            '{"event":"subscribe","channel":"trades","symbol":"tBTCUSD"}',
            '{"event":"subscribed","channel":"trades","chanId":%d,"symbol":"tBTCUSD","pair":"BTCUSD"}',
        ),
        (
            '{"event":"subscribe","channel":"ticker","symbol":"tBTCUSD"}',
            '{"event":"subscribed","channel":"ticker","chanId":%d,"symbol":"tBTCUSD","pair":"BTCUSD"}',
        ),
        (
            '{"event":"subscribe","channel":"candles","key":"trade:1m:tBTCUSD"}',
            '{"event":"subscribed","channel":"candles","chanId":%d,"key":"trade:1m:tBTCUSD"}',
        ),
    ],
)
def test_acknowledges_a_subscription_before_its_snapshot(open_session, request_text, ack):
    _, session, _ = open_session()
    answers = session.receive(request_text)
    (chan_id,) = session.channels
    assert answers[0].decode() == ack % chan_id
    assert answers[1].startswith(b"[%d,[" % chan_id)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{not json", 10000),
        ("[1,2]", 10000),
        ('{"event":"dance"}', 10000),
        ('{"event":["subscribe"]}', 10000),
        ('{"event":"conf","flags":"many"}', 10000),
        ('{"event":"subscribe","channel":"book","symbol":"tNOPE"}', 10300),
        ('{"event":"subscribe","channel":"book","symbol":"tBTCUSD","freq":"F7"}', 10300),
        ('{"event":"subscribe","channel":"candles","key":"trade:9m:tBTCUSD"}', 10300),
        ('{"event":"subscribe","channel":"weather","symbol":"tBTCUSD"}', 10302),
        ('{"event":"subscribe","channel":"book","symbol":"tBTCUSD","prec":"P9"}', 10011),
        ('{"event":"subscribe","channel":"book","symbol":"tBTCUSD","len":"26"}', 10012),
        ('{"event":"unsubscribe","chanId":4}', 10400),
        ('{"event":"unsubscribe","chanId":"x"}', 10400),
    ],
)
def test_answers_a_bad_request_with_its_code(open_session, text, code):
    _, session, _ = open_session()
    (answer,) = session.receive(text)
    message = json.loads(answer)
    assert (message["event"], message["code"]) == ("error", code)
    assert not session.channels


def test_an_error_repeats_the_request():
    session = Session(Exchange(seed=1, instruments=1))
    session.take()
    (answer,) = session.receive('{"event":"subscribe","channel":"book","symbol":"tNOPE","subId":"q1"}')
    assert json.loads(answer) == {
        "event": "error",
        "channel": "book",
        "symbol": "tNOPE",
        "subId": "q1",
        "msg": "symbol: invalid",
        "code": 10300,
    }


def test_refuses_the_same_subscription_twice(open_session):
    _, session, client = open_session()
    subscribe(session, client, "trades")
    client.feed(session.receive('{"event":"subscribe","channel":"trades","symbol":"tBTCUSD"}'))
    assert client.events[-1]["code"] == 10301


def test_takes_twenty_five_channels_and_no_more(open_session):
    exchange, session, client = open_session(instruments=13)
    for symbol in exchange.symbols[:12]:
        subscribe(session, client, "trades", symbol)
        subscribe(session, client, "ticker", symbol)
    subscribe(session, client, "trades", exchange.symbols[12])
    request = {"event": "subscribe", "channel": "ticker", "symbol": exchange.symbols[12]}
    client.feed(session.receive(json.dumps(request)))
    assert client.events[-1]["code"] == 10305
    assert len(session.channels) == 25


def test_unsubscribing_ends_the_channel_and_frees_its_place(open_session):
    exchange, session, client = open_session()
    chan_id = subscribe(session, client, "book")
    answers = session.receive(json.dumps({"event": "unsubscribe", "chanId": chan_id}))
    assert answers[-1] == b'{"event":"unsubscribed","status":"OK","chanId":%d}' % chan_id
    assert session.poll(exchange.now_ns + 20 * SECOND) == []
    assert subscribe(session, client, "book") != chan_id


def test_answers_a_ping_with_its_cid(open_session):
    exchange, session, _ = open_session()
    (pong,) = session.receive('{"event":"ping","cid":1234}')
    assert json.loads(pong) == {"event": "pong", "ts": exchange.now_ns // 1_000_000, "cid": 1234}


def test_every_array_frame_of_a_connection_is_numbered_without_a_hole(open_session):
    exchange, session, client = open_session(instruments=3)
    for symbol in exchange.symbols:
        for channel in ("book", "trades", "ticker"):
            subscribe(session, client, channel, symbol)
    client.feed(session.receive('{"event":"subscribe","channel":"candles","key":"trade:1m:tBTCUSD"}'))
    for _ in range(40):
        client.feed(session.poll(exchange.now_ns + SECOND // 2))
    assert len(client.sequences) > 500
    assert client.sequences == list(range(1, len(client.sequences) + 1))
    assert client.times_ms == sorted(client.times_ms)
    kinds = Counter(body[1] if isinstance(body[1], str) else "data" for body in client.arrays)
    assert min(kinds[kind] for kind in ("te", "tu", "cs", "data")) > 10


@pytest.mark.parametrize("precision", ["P0", "P1", "P2", "P3", "P4", "R0"])
@pytest.mark.parametrize("length", ["25", "100", "250"])
def test_a_client_that_applies_every_frame_holds_the_true_book(open_session, precision, length):
    exchange, session, client = open_session(seed=11)
    chan_id = subscribe(session, client, "book", prec=precision, len=length)
    book = client.books[chan_id]
    for _ in range(20):
        client.feed(session.poll(exchange.now_ns + SECOND))
        truth = exchange.true_book("tBTCUSD", precision, int(length))
        assert book.sides() == (truth.bids, truth.asks)
        assert max(len(truth.bids), len(truth.asks)) <= int(length)
    assert len(client.checksums) > 3
    assert all(good for _, good in client.checksums)


def test_a_book_of_one_level_has_no_checksum(open_session):
    exchange, session, client = open_session()
    chan_id = subscribe(session, client, "book", len="1")
    client.feed(session.poll(exchange.now_ns + 10 * SECOND))
    truth = exchange.true_book("tBTCUSD", "P0", 1)
    assert client.books[chan_id].sides() == (truth.bids, truth.asks)
    assert client.checksums == []


def test_a_checksum_that_is_off_by_one_digit_would_be_seen(open_session):
    exchange, session, client = open_session()
    chan_id = subscribe(session, client, "book")
    frames = session.poll(exchange.now_ns + SECOND)
    client.feed(frames)
    book = client.books[chan_id]
    before = book.checksum()
    key, entry = next(iter(book.entries.items()))
    book.entries[key] = (entry[0], entry[1], entry[2] + "1")
    assert book.checksum() != before


def test_books_never_cross_between_two_frames_and_deletes_carry_one(open_session):
    exchange, session, client = open_session(instruments=1)
    chan_id = subscribe(session, client, "book")
    book = client.books[chan_id]
    deletes = set()
    for data in session.poll(exchange.now_ns + 60 * SECOND):
        client.feed([data])
        bids, asks = book.sides()
        assert float(bids[0][0]) < float(asks[0][0])
        body = client.arrays[-1]
        if isinstance(body[1], list) and body[1][1] == "0":
            deletes.add(str(body[1][2]))
    assert deletes == {"1", "-1"}


def test_a_raw_book_deletes_with_price_zero_and_moves_orders_without_one(open_session):
    exchange, session, client = open_session(instruments=1)
    chan_id = subscribe(session, client, "book", prec="R0")
    known = {entry[0]: entry[1] for entry in client.books[chan_id].entries.values()}
    deletes = moves = 0
    for data in session.poll(exchange.now_ns + 60 * SECOND):
        body = json.loads(data)[1]
        if not isinstance(body, list):
            continue
        order_id, price, amount = body
        if price == 0:
            deletes += 1
            assert amount in (1, -1)
            del known[str(order_id)]
        else:
            moves += str(order_id) in known and known[str(order_id)] != price
            known[str(order_id)] = price
        assert len(known) <= 50
    assert deletes > 20
    assert moves > 5


def test_each_te_is_followed_by_the_same_tu_within_sixty_milliseconds(open_session):
    exchange, session, client = open_session()
    subscribe(session, client, "trades")
    client.feed(session.poll(exchange.now_ns + 60 * SECOND))
    seen = {}
    interleaved = 0
    for body, at_ms in zip(client.arrays, client.times_ms, strict=True):
        if body[1] == "te":
            interleaved += bool(seen)
            seen[body[2][0]] = (body[2], at_ms)
        elif body[1] == "tu":
            payload, te_ms = seen.pop(body[2][0])
            assert payload == body[2]
            assert 0 <= at_ms - te_ms <= 61
    assert all(exchange.now_ns // 1_000_000 - te_ms <= 61 for _, te_ms in seen.values())
    assert interleaved > 5


def test_a_trades_snapshot_has_the_last_thirty_newest_first(open_session):
    exchange, session, client = open_session()
    exchange.advance(exchange.now_ns + 60 * SECOND)
    subscribe(session, client, "trades")
    trades = client.arrays[-1][1]
    assert len(trades) == 30
    ids = [int(trade[0]) for trade in trades]
    assert ids == sorted(ids, reverse=True)


def test_a_silent_channel_beats_every_fifteen_seconds(open_session):
    exchange, session, client = open_session()
    chan_id = subscribe(session, client, "book")
    exchange.halt(True)
    client.feed(session.poll(exchange.now_ns + 46 * SECOND))
    beats = [body for body in client.arrays if body[1] == "hb"]
    assert [int(body[0]) for body in beats] == [chan_id] * 3


def test_a_slow_book_speaks_on_even_seconds_only(open_session):
    exchange, session, client = open_session()
    chan_id = subscribe(session, client, "book", freq="F1")
    before = len(client.times_ms)
    client.feed(session.poll(exchange.now_ns + 20 * SECOND))
    assert {at_ms % 2000 for at_ms in client.times_ms[before:]} == {0}
    truth = exchange.true_book("tBTCUSD")
    assert client.books[chan_id].sides() == (truth.bids, truth.asks)


def test_a_ticker_has_ten_fields_and_agrees_with_the_book(open_session):
    exchange, session, client = open_session()
    subscribe(session, client, "ticker")
    client.feed(session.poll(exchange.now_ns + 5 * SECOND))
    tickers = [body[1] for body in client.arrays if isinstance(body[1], list)]
    assert len(tickers) >= 4
    truth = exchange.true_book("tBTCUSD")
    assert len(tickers[-1]) == 10
    assert (tickers[-1][0], tickers[-1][2]) == (truth.bids[0][0], truth.asks[0][0])


def test_candles_agree_with_the_trades_of_their_minute(open_session):
    exchange, session, client = open_session()
    subscribe(session, client, "trades")
    client.feed(session.receive('{"event":"subscribe","channel":"candles","key":"trade:1m:tBTCUSD"}'))
    chan_id = next(c for c, fields in client.channels.items() if fields["channel"] == "candles")
    client.feed(session.poll(exchange.now_ns + 100 * SECOND))
    last = [body[1] for body in client.arrays if int(body[0]) == chan_id and body[1] != "hb"][-1]
    trades = [body[2] for body in client.arrays if body[1] == "te"]
    inside = [t for t in trades if int(last[0]) <= int(t[1]) < int(last[0]) + 60_000]
    prices = [float(t[3]) for t in inside]
    expected = (prices[0], prices[-1], max(prices), min(prices))
    assert tuple(float(x) for x in last[1:5]) == expected
    assert float(last[5]) == pytest.approx(sum(abs(float(t[2])) for t in inside))


def test_info_codes_are_worded_like_the_exchange(open_session):
    _, session, client = open_session()
    for code in (20051, 20060, 20061):
        session.info(code)
    client.feed(frame.data for frame in session.take())
    assert [event["code"] for event in client.events[-3:]] == [20051, 20060, 20061]
    assert all(event["event"] == "info" for event in client.events[-3:])


def test_two_connections_see_the_same_market_under_their_own_numbers():
    exchange = Exchange(seed=3, instruments=2)
    pairs = [(Session(exchange), Client()) for _ in range(2)]
    for session, client in pairs:
        client.feed(session.receive(json.dumps({"event": "conf", "flags": ALL_FLAGS})))
        subscribe(session, client, "book")
    exchange.advance(exchange.now_ns + 5 * SECOND)
    for session, client in pairs:
        client.feed(frame.data for frame in session.take())
    (_, first), (_, second) = pairs
    assert set(first.channels).isdisjoint(second.channels)
    assert [body[1:] for body in first.arrays] == [body[1:] for body in second.arrays]
    assert first.sequences == second.sequences


def test_a_closed_session_gets_nothing_more():
    exchange = Exchange(seed=3, instruments=1)
    session, client = Session(exchange), Client(0)
    subscribe(session, client, "book")
    session.close()
    exchange.advance(exchange.now_ns + SECOND)
    assert exchange.connections() == []
