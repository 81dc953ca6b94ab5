"""The decoder of OKX v3 and OKCoin: a genuine capture, deflated frames, and faults."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.okx_v3.decoder import OkcoinDecoder, OkxV3Decoder
from data_controller.market.layout import Proof
from data_controller.market.rows import Control, Kind
from tests.exchanges.faults import endure
from tests.exchanges.feeding import RAW, Session, capture

CAPTURE = RAW / "cryptofeed_2021-04-05" / "OKCOIN-726568.0.gz"
EMPTY = (
    b'{"table":"spot/depth_l2_tbt","action":"partial","data":[{"instrument_id":"ETH-SGD","asks":[],"bids":[],'
    b'"timestamp":"2021-04-05T18:10:51.464Z","checksum":0}]}'
)
TICKER = (
    b'{"table":"spot/ticker","data":[{"last":"1","open_24h":"0.9987","best_bid":"1","high_24h":"1","low_24h":"0.9987",'
    b'"base_volume_24h":"13132.5244","best_ask":"1.0001","instrument_id":"CUSD-USD","best_bid_size":"1000.9299"}]}'
)
CANDLE = (
    b'{"table":"spot/candle60s","data":[{"candle":["2019-04-16T10:49:00.000Z","162.03","162.04","161.96","161.98",'
    b'"336.452694"],"instrument_id":"ETH-USDT"}]}'
)
TRADES = (
    b'{"table":"spot/trade","data":[{"side":"buy","trade_id":"15035","price":"1","size":"1000.9299","instrument_id":'
    b'"CUSD-USD","timestamp":"2023-11-14T22:13:20.347Z"},{"side":"sell","trade_id":"7","price":"2","size":"3",'
    b'"instrument_id":"ETH-USD","timestamp":"2023-11-14T22:13:20.347Z"}]}'
)
MARK = b'{"table":"swap/mark_price","data":[{"instrument_id":"BTC-USD-SWAP","mark_price":"5620.9","timestamp":"x"}]}'


def deflated(text: bytes) -> bytes:
    """`text` as OKX sent it: a raw deflate stream."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(text) + stream.flush()


def test_an_entry_names_its_instrument_and_a_message_may_hold_several() -> None:
    session = Session(OkxV3Decoder)
    rows = session.feed(deflated(TRADES), deflated(TRADES))
    trades = [
        (int(r["channel"]), int(r["side"]), int(r["ref"]), int(r["part"])) for r in rows if r["kind"] == Kind.TRADE
    ]
    assert trades == [(0, 1, 15035, 0), (1, -1, 7, 1)]
    assert session.decoder.counters["trades_repeated"] == 2
    assert int(rows[-1]["exch_ns"]) == 1_700_000_000_347_000_000


def test_an_empty_book_has_the_checksum_zero() -> None:
    session = Session(OkcoinDecoder)
    session.feed(deflated(EMPTY))
    assert session.proof() == Proof.PROVED
    session.feed(deflated(EMPTY.replace(b'"checksum":0', b'"checksum":5')))
    assert session.proof() == Proof.BROKEN


def test_tickers_candles_mark_prices_and_answers() -> None:
    session = Session(OkxV3Decoder)
    rows = session.feed(
        deflated(TICKER),
        deflated(CANDLE),
        deflated(MARK),
        deflated(b'{"event":"subscribe","channel":"spot/trade:CUSD-USD"}'),
        deflated(b'{"event":"error","message":"Channel spot/x doesn\'t exist","errorCode":30040}'),
        deflated(b'{"event":"unsubscribe","channel":"spot/trade:CUSD-USD"}'),
    )
    controls = [Control(int(r["ref"])).name for r in rows if r["kind"] == Kind.CONTROL]
    assert controls == ["SUBSCRIBED"] * 4 + ["ERROR", "UNSUBSCRIBED"]
    assert [int(r["price"]) for r in rows if r["kind"] == Kind.MARK] == [56209]
    assert session.decoder.side_rows["ticker"][0]["bid_size"] == 1000.9299
    candle = session.decoder.side_rows["candles"][0]
    assert (candle["mts"], candle["close"]) == (1555411740000, 161.98)


@given(
    st.lists(
        st.tuples(st.sampled_from([EMPTY, TICKER, CANDLE, TRADES, MARK]), st.integers(0, 200), st.binary(max_size=4)),
        min_size=1,
        max_size=12,
    ),
    st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_damaged_frames_are_rows_or_quarantined(steps: list[tuple[bytes, int, bytes]], inside: bool) -> None:
    session = Session(OkxV3Decoder)
    for frame, at, insert in steps:
        whole = frame if inside else deflated(frame)
        damaged = whole[:at] + insert + whole[at + len(insert) :]
        session.feed(deflated(damaged) if inside else damaged)
    assert session.decoder.counters["frames"] == len(steps)


@pytest.mark.skipif(not CAPTURE.exists(), reason="the captures lie outside this repository")
def test_every_checksum_of_a_genuine_capture_matches() -> None:
    session = Session(OkcoinDecoder, keep=False)
    assert session.replay(CAPTURE)["frame"] == session.decoder.counters["frames"] == 3627
    counters = session.decoder.counters
    assert (session.total("checks_ok"), session.total("checks_bad"), counters["quarantined"]) == (3500, 0, 0)
    assert session.total("crossed") == session.total("gaps") == 0
    assert session.proofs() == {("PROVED", "CHECKSUM"): 10}
    assert (counters["trades"] + counters["trade_snapshot_rows"], counters["tickers"]) == (44, 53)


@pytest.mark.skipif(not CAPTURE.exists(), reason="the captures lie outside this repository")
@pytest.mark.parametrize("seed", range(6))
def test_with_faults_in_a_genuine_capture_no_proved_book_differs_in_what_its_checksum_covers(seed: int) -> None:
    frames = [zlib.decompress(payload, -15) for what, _, _, payload in capture(CAPTURE) if what == "frame"][:500]
    assert endure(Session(OkcoinDecoder), Session(OkcoinDecoder), frames, seed, top=25, rate=0.005, flips=True) > 5
