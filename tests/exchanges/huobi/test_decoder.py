"""Huobi's decoder: a genuine capture, its forms, and faults."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.huobi.decoder import HuobiDecoder
from data_controller.market.layout import Proof
from data_controller.market.rows import Control, Kind
from tests.exchanges.feeding import RAW, Session

CAPTURE = RAW / "cryptofeed_2021-04-17" / "HUOBI.ws.44.0.gz"
BOOK = (
    b'{"ch":"market.trioeth.depth.step0","ts":1618678069870,"tick":{"bids":[[9.121E-7,92730.24],[1.0E-9,4.0E7]],'
    b'"asks":[[9.2E-7,188358.0]],"version":%d,"ts":1618678069865}}'
)
TRADE = (
    b'{"ch":"market.trioeth.trade.detail","ts":1700000000942,"tick":{"id":100182534526,"ts":1700000000940,"data":[{'
    b'"id":100182534526255757567432481,"ts":1700000000940,"amount":20995.88,"price":9.2E-7,"direction":"sell"}]}}'
)
BEST = (
    b'{"ch":"market.btcusdt.bbo","ts":1489474082831,"tick":{"symbol":"btcusdt","quoteTime":"1489474082811","bid":'
    b'"10008.31","bidSize":"0.01","ask":"10009.54","askSize":"0.3","seqId":"10242474683"}}'
)
CANDLE = (
    b'{"ch":"market.ethbtc.kline.1min","ts":1489474082831,"tick":{"id":1489464480,"amount":5.5,"count":0,'
    b'"open":7962.62,"close":7962.61,"low":7962.6,"high":7962.63,"vol":0.0}}'
)


def test_each_message_is_the_whole_book_and_nothing_proves_it() -> None:
    session = Session(HuobiDecoder)
    session.feed(gzip.compress(BOOK % 7), gzip.compress(BOOK.replace(b",[1.0E-9,4.0E7]", b"") % 8))
    assert session.proof() == Proof.UNVERIFIABLE
    assert session.sides() == ({"9.121e-07": "92730.24"}, {"9.2e-07": "188358"})
    assert session.feed(gzip.compress(BOOK % 6)) == []
    assert session.decoder.counters["stale_updates"] == 1


def test_trades_best_prices_candles_and_answers() -> None:
    session = Session(HuobiDecoder)
    rows = session.feed(
        *[gzip.compress(frame) for frame in (TRADE, TRADE, BEST, CANDLE, b'{"ping":1618678073643}')],
        {"id": 1, "status": "ok", "subbed": "market.btcusdt.depth.step0", "ts": 1618678070653},
        {"id": 1, "status": "ok", "unsubbed": "market.btcusdt.depth.step0", "ts": 1618678070653},
        {"status": "error", "ts": 1494326028889, "id": "id2", "err-code": "bad-request", "err-msg": "invalid topic"},
    )
    told = [(Kind(r["kind"]).name, int(r["side"]), int(r["price"])) for r in rows if r["kind"] != Kind.CONTROL]
    assert told == [("TRADE", -1, 92), ("QUOTE", 1, 1000831), ("QUOTE", -1, 1000954)]
    assert [Control(int(row["ref"])).name for row in rows[-3:]] == ["SUBSCRIBED", "UNSUBSCRIBED", "ERROR"]
    assert session.decoder.side_rows["candles"][0]["volume"] == 5.5


@given(
    st.lists(
        st.tuples(st.sampled_from([BOOK % 5, TRADE, BEST, CANDLE]), st.integers(0, 180), st.binary(max_size=4)),
        min_size=1,
        max_size=12,
    )
)
@settings(deadline=None, max_examples=80)
def test_damaged_frames_are_rows_or_quarantined(steps: list[tuple[bytes, int, bytes]]) -> None:
    session = Session(HuobiDecoder)
    for frame, at, insert in steps:
        session.feed(gzip.compress(frame[:at] + insert + frame[at + len(insert) :], 1))
    assert session.decoder.counters["frames"] == len(steps)


@pytest.mark.skipif(not CAPTURE.exists(), reason="the captures lie outside this repository")
def test_a_genuine_capture_is_read_whole() -> None:
    session = Session(HuobiDecoder, keep=False)
    assert session.replay(CAPTURE)["frame"] == session.decoder.counters["frames"] == 362
    counters = session.decoder.counters
    assert (counters["book_snapshots"], counters["heartbeats"], counters["envelopes"]) == (292, 6, 20)
    assert counters["trades"] + counters["trade_snapshot_rows"] == 73
    assert counters["quarantined"] == session.total("crossed") == session.total("gaps") == 0
    assert session.proofs() == {("UNVERIFIABLE", "NOTHING"): 10}
