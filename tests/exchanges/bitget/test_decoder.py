"""Bitget's decoder: a genuine capture, its own forms, and faults."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.bitget.decoder import BitgetDecoder
from data_controller.market.rows import Flag, Kind
from tests.exchanges.faults import endure
from tests.exchanges.feeding import RAW, Session, capture

CAPTURE = RAW / "cryptofeed_2022-04-03" / "BITGET.ws.1.0.gz"
ARG = b'{"action":"%s","arg":{"instType":"sp","channel":"%s","instId":"GMUSDT"},"data":%s}'
TRADE = ARG % (b"update", b"trade", b'[["1700000000785","0.00003097","161448","sell"]]')
OLD = ARG % (b"snapshot", b"trade", b'[["1649023444580","5.9933","4.6666","buy"],["1649023434595","5.9","5","sell"]]')
BOOK = ARG % (
    b"snapshot",
    b"books",
    b'[{"asks":[["2.0","1.50"]],"bids":[["1","2"]],"checksum":1,"ts":"1649023453725"}]',
)
CANDLE = ARG % (b"update", b"candle1m", b'[["1649023440000","0.1","0.3","0.05","0.2","323157"]]')
TICKER = ARG % (b"snapshot", b"ticker", b'[{"last":"6.6","open24h":"6.5","bestBid":"6.5","baseVolume":"1","ts":1}]')


def test_trades_have_no_id_and_those_of_a_snapshot_are_history() -> None:
    session = Session(BitgetDecoder)
    rows = session.feed(OLD, TRADE, TRADE)
    trades = [row for row in rows if row["kind"] == Kind.TRADE]
    assert [bool(row["flags"] & Flag.SNAPSHOT) for row in trades] == [True, True, False, False]
    assert [(int(row["side"]), int(row["ref"])) for row in trades] == [(1, 0), (-1, 0), (-1, 0), (-1, 0)]


def test_a_change_without_its_checksum_is_outside_the_protocol() -> None:
    session = Session(BitgetDecoder)
    session.feed(BOOK.replace(b',"checksum":1', b""))
    assert session.decoder.counters["quarantined"] == 1


def test_tickers_and_candles_are_tables() -> None:
    session = Session(BitgetDecoder)
    session.feed(TICKER, CANDLE)
    ticker, candle = session.decoder.side_rows["ticker"][0], session.decoder.side_rows["candles"][0]
    assert (ticker["bid"], ticker["last"], candle["high"], candle["close"]) == (6.5, 6.6, 0.3, 0.2)


@given(
    st.lists(
        st.tuples(st.sampled_from([TRADE, OLD, BOOK, CANDLE, TICKER]), st.integers(0, 180), st.binary(max_size=4)),
        min_size=1,
        max_size=12,
    )
)
@settings(deadline=None, max_examples=80)
def test_damaged_frames_are_rows_or_quarantined(steps: list[tuple[bytes, int, bytes]]) -> None:
    session = Session(BitgetDecoder)
    for frame, at, insert in steps:
        session.feed(frame[:at] + insert + frame[at + len(insert) :])
    assert session.decoder.counters["frames"] == len(steps)


@pytest.mark.skipif(not CAPTURE.exists(), reason="the captures lie outside this repository")
def test_every_checksum_of_a_genuine_capture_matches() -> None:
    session = Session(BitgetDecoder, keep=False)
    assert session.replay(CAPTURE)["frame"] == session.decoder.counters["frames"] == 746
    counters = session.decoder.counters
    assert (session.total("checks_ok"), session.total("checks_bad"), counters["quarantined"]) == (460, 0, 0)
    assert session.total("crossed") == session.total("gaps") == 0
    assert session.proofs() == {("PROVED", "CHECKSUM"): 10}
    assert (counters["trades"], counters["trade_snapshot_rows"], counters["tickers"]) == (33, 500, 160)


@pytest.mark.skipif(not CAPTURE.exists(), reason="the captures lie outside this repository")
@pytest.mark.parametrize("seed", range(6))
def test_with_faults_in_a_genuine_capture_no_proved_book_differs_in_what_its_checksum_covers(seed: int) -> None:
    frames = [payload for what, _, _, payload in capture(CAPTURE) if what == "frame"]
    frames = [frame for frame in frames if b'"candle1m"' not in frame][:400]
    assert endure(Session(BitgetDecoder), Session(BitgetDecoder), frames, seed, top=25, rate=0.005, flips=True) > 5
