"""The simulated Bitfinex over REST: public data as documented, and accounts whose balances are conserved exactly."""

from __future__ import annotations

import itertools
import json
import math
import random
from decimal import Decimal
from typing import Any

import pytest

from data_controller.errors import SimulatorError
from data_controller.simulator.bitfinex.account import UNIT, read_accounts
from data_controller.simulator.faults import Link
from data_controller.simulator.history import History
from data_controller.simulator.session import Session

from .simulator_client import Client, subscribe
from .trader import START, Trader, run, venue

MAKER, TAKER = Decimal("0.001"), Decimal("0.002")


def get(v: Any, target: str) -> Any:
    answer = v.rest(target)
    assert answer.status == 200, answer
    return json.loads(answer.body)


def test_conf_books_tickers_and_status_are_served_as_documented():
    v = venue()
    run(v, 5.0)
    info, futures, pairs = get(v, "/v2/conf/pub:info:pair,pub:info:pair:futures,pub:list:pair:exchange")
    assert (pairs, futures) == (["BTCUSD", "DOGE:USD"], [])
    assert info[0][0] == "BTCUSD" and info[0][1][3] == "0.00004"
    book = get(v, "/v2/book/tBTCUSD/P0?len=25")
    assert len(book) == 50 and all(len(entry) == 3 for entry in book)
    assert [entry[2] > 0 for entry in book] == [True] * 25 + [False] * 25
    assert len(get(v, "/v2/ticker/tBTCUSD")) == 10
    assert [row[0] for row in get(v, "/v2/tickers?symbols=ALL")] == ["tBTCUSD", "tDOGE:USD"]
    assert get(v, "/v2/platform/status") == [1] and get(v, "/v2/status/deriv?keys=ALL") == []


@pytest.mark.parametrize(
    "target",
    [
        "/v2/book/tXYZUSD/P0",
        "/v2/book/tBTCUSD/P9",
        "/v2/book/tBTCUSD/P0?len=7",
        "/v2/candles/trade:7m:tBTCUSD/hist",
        "/v2/candles/trade:1m:tBTCUSD/hist?limit=x",
        "/v2/candles/trade:1m:tBTCUSD/hist?start=5&end=4",
        "/v2/trades/tXYZUSD/hist",
        "/v2/tickers",
        "/v2/conf/nonsense",
    ],
)
def test_bad_parameters_are_refused_with_10020(target):
    answer = venue().rest(target)
    assert (answer.status, json.loads(answer.body)[:2]) == (500, ["error", 10020])


def test_asking_too_often_is_refused_with_11010_until_the_minute_is_over():
    v = venue()
    statuses = [v.rest("/v2/candles/trade:1m:tBTCUSD/last").status for _ in range(31)]
    assert statuses == [200] * 30 + [429]
    assert json.loads(v.rest("/v2/candles/trade:1m:tBTCUSD/last").body) == ["error", 11010, "ratelimit: error"]
    run(v, 61.0)
    assert v.rest("/v2/candles/trade:1m:tBTCUSD/last").status == 200


def test_a_backfill_in_pages_gives_what_one_answer_gives_across_the_markets_start():
    v = venue(limited=False)
    run(v, 200.0)
    end = v.exchange.now_ns // 1_000_000
    start = end - 3_600_000
    path = "/v2/candles/trade:1m:tBTCUSD/hist"
    whole = get(v, f"{path}?start={start}&end={end}&limit=10000&sort=1")
    assert len(whole) == 60 and all(b[0] - a[0] == 60_000 for a, b in itertools.pairwise(whole))
    paged: list[Any] = []
    while page := get(v, f"{path}?start={paged[-1][0] + 1 if paged else start}&end={end}&limit=7&sort=1"):
        paged += page
    assert paged == whole
    assert get(v, f"{path}?start={start}&end={end}&limit=10000") == whole[::-1]
    trades = get(v, f"/v2/trades/tBTCUSD/hist?start={start}&end={end}&limit=10000&sort=1")
    assert trades == sorted(trades, key=lambda t: (t[1], t[0])) and len({t[0] for t in trades}) == len(trades)
    minute = whole[10][0]
    inside = [t for t in trades if minute <= t[1] < minute + 60_000]
    prices = [t[3] for t in inside]
    assert [whole[10][1], whole[10][2], whole[10][3], whole[10][4]] == [
        prices[0],
        prices[-1],
        max(prices),
        min(prices),
    ]


def test_trades_of_the_past_keep_their_ids_while_the_market_goes_on_and_are_numbered_below_it():
    v = venue(limited=False)
    end = v.exchange.now_ns // 1_000_000
    path = f"/v2/trades/tBTCUSD/hist?start={end - 3_600_000}&end={end}&limit=10000&sort=1"
    before = get(v, path)
    while int(v.exchange.state.market["trades"].sum()) < 1500:
        run(v, 100.0)
    assert get(v, path) == before
    late = History(v.exchange).trades(0, end - 3_600_000, end, 10_000)
    assert [trade.id for trade in late] == [row[0] for row in before]
    ids = [t[0] for t in get(v, f"/v2/trades/tBTCUSD/hist?start={end - 3_600_000}&limit=10000&sort=1")]
    assert ids == sorted(set(ids)) and len(ids) > len(before)


def test_the_past_is_the_same_whoever_asks_and_another_seed_has_another():
    path = "/v2/candles/trade:1h:tDOGE:USD/hist?end=1699990000000&limit=5"
    assert get(venue(3), path) == get(venue(3), path) != get(venue(4), path)


# Accounts


def test_a_wrong_key_signature_or_nonce_is_refused():
    v = venue()
    trader = Trader(v)
    assert Trader(v, "nobody").ask("r/wallets") == (500, ["error", 10100, "apikey: invalid"])
    assert trader.ask("r/wallets", secret="x")[1][1] == 10100
    assert trader.ask("r/wallets", nonce=7)[0] == 200
    assert trader.ask("r/wallets", nonce=7)[1][1] == 10114
    assert trader.ask("r/nothing")[0] == 404
    assert v.rest("/v2/auth/r/wallets").status == 405
    reader = Trader(v, "r")
    assert reader.ask("r/wallets")[0] == 200
    assert reader.ask("w/order/submit", type="EXCHANGE MARKET", symbol="tBTCUSD", amount="1")[1][1] == 10100


def test_a_market_order_takes_from_the_book_and_pays_the_fee_out_of_what_it_gets():
    v = venue()
    trader = Trader(v)
    order = trader.order("0.5", kind="EXCHANGE MARKET", cid=77)
    assert order[2] == 77 and order[13].startswith("EXECUTED @ ") and order[6] == 0
    trades = trader.do("r/trades/hist")
    assert sum(t[4] for t in trades) == Decimal("0.5") and {t[3] for t in trades} == {order[0]}
    cost = sum(Decimal(t[4]) * t[5] for t in trades)
    wallets = trader.wallets()
    assert wallets["USD"] == (START["USD"] - cost, START["USD"] - cost)
    assert wallets["BTC"][0] == START["BTC"] + Decimal("0.5") * (1 - TAKER)
    assert trader.do(f"r/order/tBTCUSD:{order[0]}/trades") == trades


def test_a_limit_order_rests_in_the_public_book_keeps_its_money_back_and_is_filled_by_the_flow():
    v = venue(11)
    trader = Trader(v)
    session = Session(v.exchange)
    client = Client(0)
    raw = subscribe(session, client, "book", prec="R0", len="100")
    bid, ask = v.exchange.top("tBTCUSD")
    order = trader.order("0.05", str(bid))
    client.feed([frame.data for frame in session.take()])
    assert (False, str(order[0])) in client.books[raw].entries
    assert trader.wallets()["USD"] == (START["USD"], START["USD"] - Decimal("0.05") * Decimal(str(bid)))
    for _ in range(600):
        run(v, 1.0)
        if not trader.do("r/orders"):
            break
    (done,) = trader.do("r/orders/hist")
    assert done[0] == order[0] and done[13].startswith("EXECUTED")
    trades = trader.do("r/trades/tBTCUSD/hist")
    assert {t[8] for t in trades} == {1}  # as a maker
    assert trader.wallets()["BTC"][0] == START["BTC"] + Decimal("0.05") * (1 - MAKER)
    assert ask > bid


def test_orders_are_cancelled_one_by_one_in_lists_and_all_at_once():
    v = venue()
    trader = Trader(v)
    ids = [trader.order("0.01", str(20_000 + n), cid=n)[0] for n in range(6)]
    assert trader.do("w/order/cancel", id=ids[0])[4][13] == "CANCELED"
    assert trader.ask("w/order/cancel", id=ids[0]) == (500, ["error", 10001, "Order not found."])
    trader.do("w/order/cancel", cid=1, cid_date="2023-11-14")
    assert len(trader.do("w/order/cancel/multi", id=ids[2:4])[4]) == 2
    assert [o[0] for o in trader.do("r/orders")] == [ids[5], ids[4]]
    trader.do("w/order/cancel/multi", all=1)
    assert trader.do("r/orders") == [] and len(trader.do("r/orders/hist")) == 6
    assert trader.wallets()["USD"] == (START["USD"], START["USD"])
    assert not v.exchange.state.owned.any()


def test_post_only_ioc_fok_and_stop_do_as_they_are_called():
    v = venue()
    trader = Trader(v)
    bid, ask = v.exchange.top("tBTCUSD")
    assert trader.order("0.1", str(ask + 50), flags=4096)[13] == "POSTONLY CANCELED"
    assert trader.order("0.1", str(bid - 500), flags=4096)[13] == "ACTIVE"
    assert trader.order("5", str(ask), kind="EXCHANGE IOC")[13].startswith("IOC CANCELED was: PARTIALLY FILLED")
    assert trader.order("9", str(ask), kind="EXCHANGE FOK")[13] == "FILLORKILL CANCELED"
    stop = trader.order("-0.1", str(ask), kind="EXCHANGE STOP")
    assert stop[13] == "ACTIVE"
    for _ in range(600):
        run(v, 1.0)
        if stop[0] not in [o[0] for o in trader.do("r/orders")]:
            break
    done = next(o for o in trader.do("r/orders/hist") if o[0] == stop[0])
    assert done[13].startswith("EXECUTED")


def test_an_update_moves_the_order_and_its_money():
    v = venue()
    trader = Trader(v)
    order = trader.order("0.1", "20000")
    row = trader.do("w/order/update", id=order[0], price="21000", amount="0.2")[4]
    assert (row[0], row[7], row[16]) == (order[0], Decimal("0.2"), 21000)
    assert trader.wallets()["USD"][1] == START["USD"] - 4200
    assert trader.ask("w/order/update", id=order[0], amount="1000")[1][1] == 10001
    assert trader.wallets()["USD"][1] == START["USD"] - 4200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"amount": "1000", "price": "40000"}, "not enough exchange balance"),
        ({"amount": "-11", "price": "40000"}, "not enough exchange balance"),
        ({"amount": "0.00001", "price": "40000"}, "minimum size"),
        ({"amount": "1", "price": "-3"}, "price: invalid"),
        ({"amount": "x", "price": "3"}, "amount: invalid"),
        ({"amount": "1", "price": "3", "symbol": "tNOPE"}, "symbol: invalid"),
        ({"amount": "1", "price": "3", "type": "DREAM"}, "type"),
        ({"amount": "1e12", "price": "1e-8"}, "maximum size"),
        ({"amount": "1e12", "type": "EXCHANGE MARKET"}, "maximum size"),
        ({"amount": "-1e999999", "price": "3"}, "maximum size"),
        ({"amount": "1e-999999", "price": "3"}, "minimum size"),
        ({"amount": "1", "price": "1e999999"}, "price: invalid"),
        ({"amount": [1], "price": "3"}, "amount: invalid"),
        ({"amount": "1", "price": "3", "cid": math.inf}, "cid: invalid"),
        ({"amount": "1", "price": "3", "gid": {}}, "gid: invalid"),
        ({"amount": "1", "price": "3", "flags": 1 << 80}, "flags: invalid"),
    ],
)
def test_orders_that_cannot_be_are_refused_and_change_nothing(fields, words):
    trader = Trader(venue())
    status, answer = trader.ask("w/order/submit", **{"type": "EXCHANGE LIMIT", "symbol": "tBTCUSD"} | fields)
    assert status == 500 and words in answer[2]
    assert trader.do("r/orders") == [] and trader.wallets()["USD"] == (START["USD"], START["USD"])


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": "2", "price": "abc"},
        {"delta": "0.1", "price": []},
        {"price": "21000", "amount": "1e12"},
        {"price": "21000", "amount": "-1"},
        {"price": "21000", "amount": "1e999999"},
        {"price": "1e13", "delta": "1"},
        {"price": "21000", "delta": "99999999.99"},
        {"price": "21000", "amount": "1000"},
    ],
)
def test_an_update_that_is_refused_leaves_the_order_the_book_and_the_money_as_they_were(fields):
    v = venue()
    trader = Trader(v)
    number = trader.order("0.1", "20000")[0]
    before = trader.do("r/orders"), trader.wallets(), v.exchange.digest()
    status, answer = trader.ask("w/order/update", id=number, **fields)
    assert (status, answer[0]) == (500, "error")
    assert (trader.do("r/orders"), trader.wallets(), v.exchange.digest()) == before


def test_an_order_whose_matching_fails_does_not_stay(monkeypatch):
    v = venue()
    trader = Trader(v)
    number = trader.order("0.1", "20000")[0]

    def fails(*_: Any) -> bool:
        raise OverflowError

    monkeypatch.setattr(v.exchange, "rest_order", fails)
    for path, fields in (
        ("w/order/submit", {"type": "EXCHANGE LIMIT", "symbol": "tBTCUSD", "amount": "1", "price": "20000"}),
        ("w/order/update", {"id": number, "price": "21000"}),
    ):
        with pytest.raises(OverflowError):
            trader.ask(path, **fields)
    assert trader.do("r/orders") == [] and trader.wallets()["USD"] == (START["USD"], START["USD"])
    assert [row[13] for row in trader.do("r/orders/hist")] == ["CANCELED"] * 2


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("r/orders", {"id": 5}),
        ("r/orders", {"id": ["x"]}),
        ("r/orders/hist", {"id": 5}),
        ("r/orders/hist", {"limit": math.inf}),
        ("r/trades/hist", {"start": {}}),
        ("r/order/tBTCUSD:x/trades", {}),
        ("w/order/cancel", {"id": [1]}),
        ("w/order/cancel", {"cid": math.inf}),
        ("w/order/update", {"id": {}}),
        ("w/order/cancel/multi", {"id": 5}),
        ("w/order/cancel/multi", {"gid": "5"}),
        ("w/order/cancel/multi", {"cid": [5]}),
        ("w/order/cancel/multi", {"cid": [[]]}),
        ("w/order/cancel/multi", {"id": [math.inf]}),
    ],
)
def test_what_cannot_be_read_is_refused_and_changes_nothing(path, fields):
    trader = Trader(venue())
    trader.order("0.1", "20000", cid=7, gid=5)
    status, answer = trader.ask(path, **fields)
    assert (status, answer[:2]) == (500, ["error", 10020]) and answer[2].endswith(": invalid")
    assert len(trader.do("r/orders")) == 1


@pytest.mark.parametrize("text", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000, b'{"id":' + b"1" * 5000 + b"}"])
def test_a_body_that_is_no_object_is_answered(text):
    trader = Trader(venue())
    status, answer = trader.send("w/order/cancel", text)
    assert (status, answer[0]) == (500, "error")


@pytest.mark.parametrize(
    "headers", [{"bfx-signature": "\xe9"}, {"bfx-nonce": "9" * 5000}, {"bfx-nonce": "\xb2"}, {"bfx-apikey": "\xe9"}]
)
def test_headers_that_cannot_be_read_are_answered(headers):
    status, answer = Trader(venue()).send("r/wallets", b"{}", headers)
    assert (status, answer[0]) == (500, "error")
    assert venue().rest("//[", "POST").status == 400


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_traded_balances_are_what_the_trades_say_to_the_last_digit(seed):
    v = venue(seed)
    trader = Trader(v)
    rng = random.Random(seed)
    for _ in range(60):
        bid, _ask = v.exchange.top("tBTCUSD")
        amount = f"{rng.choice('+-').strip('+')}{rng.uniform(0.001, 0.3):.8f}"
        price = f"{bid * rng.uniform(0.9995, 1.0005):.5g}"
        kind = rng.choice(["EXCHANGE LIMIT"] * 4 + ["EXCHANGE MARKET", "EXCHANGE IOC", "EXCHANGE FOK", "EXCHANGE STOP"])
        trader.ask("w/order/submit", type=kind, symbol="tBTCUSD", amount=amount, price=price)
        if rng.random() < 0.2:
            trader.do("w/order/cancel/multi", all=1)
        run(v, rng.uniform(0.05, 3.0))
    trader.do("w/order/cancel/multi", all=1)
    usd, btc = START["USD"], START["BTC"]
    trades = trader.do("r/trades/hist", limit=2500)
    for trade in trades:
        amount, price, fee = Decimal(trade[4]), Decimal(trade[5]), Decimal(trade[9])
        usd -= amount * price
        btc += amount
        usd, btc = (usd, btc + fee) if trade[10] == "BTC" else (usd + fee, btc)
    wallets = trader.wallets()
    assert wallets["USD"] == (usd, usd) and wallets["BTC"] == (btc, btc)
    assert {t[8] for t in trades} == {1, -1} and len(trades) > 20
    filled: dict[int, Decimal] = {}
    for trade in trades:
        filled[trade[3]] = filled.get(trade[3], Decimal(0)) + Decimal(trade[4])
    for order in trader.do("r/orders/hist", limit=2500):
        assert Decimal(order[7]) - Decimal(order[6]) == filled.get(order[0], Decimal(0))
    assert v.exchange.events > 0 and UNIT > 0


def test_the_order_log_counts_every_order_and_fill(tmp_path):
    v = venue(log=tmp_path / "orders.jsonl")
    trader = Trader(v)
    trader.order("0.1", kind="EXCHANGE MARKET", cid=1)
    trader.order("0.1", "20000", cid=2)
    trader.ask("w/order/submit", type="EXCHANGE LIMIT", symbol="tBTCUSD", amount="1e6", price="20000")
    trader.do("w/order/cancel/multi", all=1)
    lines = [json.loads(line) for line in (tmp_path / "orders.jsonl").read_text().splitlines()]
    submits = [line for line in lines if line.get("path") == "w/order/submit"]
    assert [line["status"] for line in submits] == [200, 200, 500]
    assert submits[1]["orders"] == [
        {"id": submits[1]["answer"][4][0][0], "cid": 2, "amount": "0.1", "original": "0.1", "status": "ACTIVE"}
    ]
    assert sum(line.get("event") == "fill" for line in lines) >= 1
    assert lines[-1]["orders"][0]["status"] == "CANCELED"


def test_people_who_trade_leave_every_checksum_right():
    v = venue(9)
    link = Link(Session(v.exchange))
    client = Client()
    client.feed(link.receive('{"event":"conf","flags":229376}'))
    client.feed(link.receive('{"event":"subscribe","channel":"book","symbol":"tBTCUSD","prec":"P0","len":"25"}'))
    client.feed(link.receive('{"event":"subscribe","channel":"book","symbol":"tBTCUSD","prec":"R0","len":"25"}'))
    trader = Trader(v)
    for n in range(20):
        bid, ask = v.exchange.top("tBTCUSD")
        trader.order("0.02", str(bid))
        trader.order("-0.02", str(ask))
        trader.order("0.3" if n % 2 else "-0.3", kind="EXCHANGE MARKET")
        client.feed(link.poll(v.exchange.now_ns + 300_000_000))
    assert len(client.checksums) > 50 and all(good for _, good in client.checksums)


def test_keys_come_from_a_file_and_a_bad_one_is_refused(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text('{"keys":[{"key":"a","secret":"b","balances":{"USD":"12.50"},"can_trade":false}]}')
    (account,) = read_accounts(path)
    assert (account.key, account.balances, account.can_trade) == ("a", {"USD": Decimal("12.50")}, False)
    path.write_text("[]")
    with pytest.raises(SimulatorError, match="expected keys"):
        read_accounts(path)
