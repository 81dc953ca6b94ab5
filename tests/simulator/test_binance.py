"""The simulated Binance: diffs that splice with its REST snapshots, ids that chain, limits by weight."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from data_controller.simulator.binance.venue import BinanceVenue
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.state import EVENT

from .venue_clients import GapError, Splicer

SECOND = 1_000_000_000


def venue(flavour: str = "spot", seed: int = 5, **options: Any) -> BinanceVenue:
    return BinanceVenue(Exchange(seed, ["tBTCUSD", "tDOGE:USD"], ticks_per_second=400, **options), flavour)


def run(v: BinanceVenue, seconds: float) -> None:
    v.exchange.advance(v.exchange.now_ns + int(seconds * SECOND))


@pytest.mark.parametrize("flavour", ["spot", "usdm"])
@pytest.mark.parametrize("seed", range(4))
def test_a_client_that_splices_by_the_rules_holds_the_true_book_after_every_diff(flavour, seed):
    v = venue(flavour, seed)
    session = v.open("/ws/btcusdt@depth@100ms")
    run(v, 0.9 + 0.05 * seed)
    client = Splicer(v, "BTCUSDT")
    v.lag_steps = seed
    for frame in session.frames():
        client.take(json.loads(frame.data))
    client.fetch()
    while not client.last:  # a snapshot newer than every diff: the next one covers it
        run(v, 0.1)
        for frame in session.frames():
            client.take(json.loads(frame.data))
    compared = 0
    for _ in range(40):
        run(v, 0.1)
        for frame in session.frames():
            client.take(json.loads(frame.data))
            assert frame.seq == client.last
            bids, asks = v.truth("BTCUSDT", frame.seq)
            assert (sorted(client.bids.items()), sorted(client.asks.items())) == (sorted(bids), sorted(asks))
            compared += 1
    assert compared > 30


@pytest.mark.parametrize("flavour", ["spot", "usdm"])
def test_ids_chain_as_each_flavour_documents_it(flavour):
    v = venue(flavour)
    session = v.open("/stream?streams=btcusdt@depth@100ms/dogeusdt@depth")
    run(v, 5.0)
    last: dict[str, int] = {}
    for frame in session.frames():
        wrapped = json.loads(frame.data)
        data = wrapped["data"]
        if wrapped["stream"] in last:
            before = last[wrapped["stream"]]
            assert data["pu"] == before if flavour == "usdm" else data["U"] == before + 1
        last[wrapped["stream"]] = data["u"]
    assert len(last) == 2


def test_a_lost_diff_and_a_stale_snapshot_are_gaps():
    v = venue()
    session = v.open("/ws/btcusdt@depth@100ms")
    run(v, 12.0)
    client = Splicer(v, "BTCUSDT")
    frames = session.frames()
    for frame in frames[-5:]:
        client.take(json.loads(frame.data))
    v.lag_steps = 3
    v.rest_faults["rest_stale"] = 1
    with pytest.raises(GapError):
        client.fetch()
    client.fetch()
    run(v, 0.3)
    with pytest.raises(GapError):
        client.take(json.loads(session.frames()[-1].data))


def test_a_snapshot_may_lie_in_the_middle_of_a_diff_and_a_wrong_book_is_told_from_the_true_one():
    v = venue()
    v.lag_steps = 3
    session = v.open("/ws/btcusdt@depth@100ms")
    run(v, 1.0)
    ids = [(d["U"], d["u"]) for d in (json.loads(f.data) for f in session.frames())]
    snapshot = json.loads(v.rest("/api/v3/depth?symbol=BTCUSDT&limit=1000").body)
    inside = snapshot["lastUpdateId"]
    assert any(first <= inside < last for first, last in ids)
    assert v.truth("BTCUSDT", inside) == tuple([tuple(e) for e in snapshot[side]] for side in ("bids", "asks"))
    assert v.truth("BTCUSDT", inside) != v.truth("BTCUSDT")
    with pytest.raises(LookupError):
        v.truth("BTCUSDT", 1)


def test_requests_are_answered_and_wrong_ones_refused():
    session = venue().open("/ws")
    ask = lambda **fields: json.loads(session.receive(json.dumps(fields))[0])  # noqa: E731
    assert ask(method="SUBSCRIBE", params=["btcusdt@trade"], id=1) == {"result": None, "id": 1}
    assert ask(method="LIST_SUBSCRIPTIONS", id=3) == {"result": ["btcusdt@trade"], "id": 3}
    assert ask(method="UNSUBSCRIBE", params=["btcusdt@trade"], id="x") == {"result": None, "id": "x"}
    assert ask(method="DANCE", id=4)["error"]["code"] == 2
    assert json.loads(session.receive(b"{")[0])["error"]["code"] == 3
    session.receive(b"[]")
    assert session.hung_up == "too many requests"


def test_trades_come_once_with_consecutive_ids_on_the_stream_and_over_rest():
    v = venue()
    session = v.open("/ws/btcusdt@trade/btcusdt@aggTrade/btcusdt@bookTicker")
    run(v, 20.0)
    messages = [json.loads(frame.data) for frame in session.frames() if frame.kind != EVENT]
    trades = [m for m in messages if m.get("e") == "trade"]
    ids = [m["t"] for m in trades]
    assert ids == list(range(ids[0], ids[0] + len(ids))) and len(ids) > 20
    assert [m["a"] for m in messages if m.get("e") == "aggTrade"] == ids
    assert [m["u"] for m in messages if "e" not in m]
    rest = json.loads(v.rest(f"/api/v3/trades?symbol=BTCUSDT&limit={len(ids) + 50}").body)
    assert [r["id"] for r in rest] == list(range(ids[0] - 50, ids[-1] + 1))
    assert [(r["price"], r["qty"], r["time"]) for r in rest[50:]] == [(m["p"], m["q"], m["T"]) for m in trades]


@pytest.mark.parametrize("flavour", ["spot", "usdm"])
def test_aggregated_trades_are_served_by_id_across_the_markets_start_and_by_time(flavour):
    v = venue(flavour)
    run(v, 20.0)
    path = f"{'/fapi/v1' if v.futures else '/api/v3'}/aggTrades?symbol=BTCUSDT"
    ask = lambda rest: json.loads(v.rest(path + rest).body)  # noqa: E731
    begin = v.exchange.start_ns // 1_000_000 - 3 * 3_600_000
    walked = ask(f"&startTime={begin}&limit=100")
    assert begin <= walked[0]["T"] < begin + 60_000
    while page := ask(f"&fromId={walked[-1]['a'] + 1}&limit=100"):
        walked += page
    assert [t["a"] for t in walked] == list(range(walked[0]["a"], walked[0]["a"] + len(walked)))
    assert 720 <= len(walked) - int(v.exchange.state.market[0]["trades"]) <= 724
    assert walked[-50:] == ask("&limit=50") and len(ask("")) == 500
    assert ask(f"&fromId={walked[99]['a']}") == walked[99:599]
    (start, end) = walked[10]["T"], walked[40]["T"]
    assert ask(f"&startTime={start}&endTime={end}") == walked[10:41]
    assert ask(f"&endTime={end}&limit=5") == walked[36:41]
    assert ask("&fromId=0&limit=1")[0]["T"] - (v.exchange.start_ns // 1_000_000 - 90 * 86_400_000) < 60_000
    assert v.rest(f"{path}&fromId=1&startTime=1").status == 400


def test_futures_tell_marks_each_second_and_forced_orders_now_and_then():
    v = venue("usdm")
    session = v.open("/ws/btcusdt@markPrice@1s/!forceOrder@arr")
    run(v, 30.0)
    kinds = [json.loads(frame.data)["e"] for frame in session.frames()]
    assert kinds.count("markPriceUpdate") == 30 and kinds.count("forceOrder") >= 1
    premium = json.loads(v.rest("/fapi/v1/premiumIndex?symbol=BTCUSDT").body)
    assert premium["symbol"] == "BTCUSDT" and premium["nextFundingTime"] % (8 * 3_600_000) == 0


def test_candles_follow_each_other_and_the_past_ends_where_the_market_begins():
    v = venue()
    run(v, 130.0)
    rows = json.loads(v.rest("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=500").body)
    assert [row[0] for row in rows] == list(range(rows[0][0], rows[-1][0] + 1, 60_000)) and len(rows) == 500
    for row in rows:
        opened, high, low, close = map(float, row[1:5])
        assert low <= min(opened, close) and high >= max(opened, close)
    jumps = [abs(float(b[1]) / float(a[4]) - 1.0) for a, b in itertools.pairwise(rows)]
    assert max(jumps) < 0.01
    part = f"startTime={rows[100][0]}&endTime={rows[199][0]}"
    assert json.loads(v.rest(f"/api/v3/klines?symbol=BTCUSDT&interval=1m&{part}").body) == rows[100:200]


def test_too_much_weight_is_refused_with_429_then_banned_with_418_and_forgiven():
    v = venue()
    ask = lambda: v.rest("/api/v3/depth?symbol=BTCUSDT&limit=5000")  # noqa: E731
    answers = [ask() for _ in range(60)]
    assert [a.status for a in answers[:24]] == [200] * 24
    assert answers[24].status == 429 and 0 < int(answers[24].headers["Retry-After"]) <= 60
    assert answers[-1].status == 418
    assert int(answers[23].headers["X-MBX-USED-WEIGHT-1M"]) == 6000
    run(v, int(answers[-1].headers["Retry-After"]) + 1)
    assert ask().status == 200


@pytest.mark.parametrize(("kind", "status"), [("rest_429", 429), ("rest_418", 418), ("rest_5xx", 502)])
def test_rest_faults_spoil_as_many_answers_as_they_say(kind, status):
    v = venue()
    v.rest_faults[kind] = 2
    assert [v.rest("/api/v3/time").status for _ in range(3)] == [status, status, 200]


def test_a_clock_that_is_years_off_is_told_everywhere_and_changes_no_book():
    v = venue()
    v.clock_offset_ns = 3 * 365 * 86_400 * SECOND
    session = v.open("/ws/btcusdt@depth@100ms")
    run(v, 1.0)
    told = json.loads(session.frames()[-1].data)["E"]
    assert told - v.exchange.now_ns // 1_000_000 > 2.9 * 365 * 86_400_000


def test_a_dead_stream_is_silent_and_a_muted_one_catches_up_or_not():
    v = venue()
    session = v.open("/ws/btcusdt@depth@100ms/dogeusdt@depth@100ms")
    (btc,) = session.channel_ids("BTCUSDT")
    session.mute([btc], True)
    run(v, 1.0)
    assert {f.chan_id for f in session.frames()} == {btc + 1}
    session.mute([btc], False)
    caught = [json.loads(f.data) for f in session.frames()]
    assert [b["U"] - a["u"] for a, b in itertools.pairwise(caught)] == [1] * (len(caught) - 1)
    session.mute([btc], True, heartbeats=False)
    run(v, 1.0)
    assert btc not in {f.chan_id for f in session.frames()}


def test_a_closed_session_costs_nothing_and_disturbs_nobody():
    v = venue()
    v.open("/ws/btcusdt@depth@100ms").close()
    other = v.open("/ws/btcusdt@depth@100ms")
    run(v, 1.0)
    assert len(v.sessions) == 1 and len(other.frames()) > 5
    assert v.open("/v2") is None


@pytest.mark.parametrize("flavour", ["spot", "usdm"])
def test_a_slow_diff_names_every_level_that_was_touched_also_one_that_is_as_it_was(flavour):
    v = venue(flavour)
    session = v.open("/ws/btcusdt@depth@1000ms" if flavour == "spot" else "/ws/btcusdt@depth@500ms")
    run(v, 5.0)
    told, restored = 0, 0
    for frame in session.frames():
        data = json.loads(frame.data)
        steps = [step for step in v.steps[0] if told < step.last <= data["u"]] if told else []
        touched = {(which, k) for step in steps for which, k, _ in step.changes}
        named = {(which, price) for which, side in enumerate((data["b"], data["a"])) for price, _ in side}
        assert not told or len(named) == len(touched)
        before = v.book_at(0, told) if told else None
        after = v.book_at(0, frame.seq)
        restored += sum(before[which].get(k) == after[which].get(k) for which, k in touched) if before else 0
        told = data["u"]
    assert restored > 0
