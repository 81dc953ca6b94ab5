"""Compressed frames: bounded, whole, and kept as they came where they cannot be read."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest

from data_controller.exchanges.huobi.decoder import HuobiDecoder
from data_controller.exchanges.streaming import inflating
from tests.exchanges.feeding import Session

TRADE = (
    b'{"ch":"market.btcusdt.trade.detail","ts":1700000000002,"tick":{"id":1,"ts":1700000000001,"data":[{"id":11,'
    b'"ts":1700000000001,"tradeId":%d,"amount":20995.88,"price":9.2E-7,"direction":"buy"}]}}'
)


def quarantined(session: Session) -> list[dict[str, Any]]:
    return session.decoder.side_rows["quarantine"]


def test_frames_are_inflated_and_plain_ones_taken_as_they_are() -> None:
    session = Session(HuobiDecoder)
    session.feed(gzip.compress(TRADE % 1, mtime=0), TRADE % 2, gzip.compress(b'{"ping":1618678073643}'))
    counters = session.decoder.counters
    assert (counters["frames"], counters["trades"], counters["heartbeats"], counters["quarantined"]) == (3, 2, 1, 0)


def test_a_bomb_is_quarantined_as_it_came() -> None:
    bomb = gzip.compress(b" " * (inflating.MAX_INFLATED + 1))
    session = Session(HuobiDecoder)
    session.feed(gzip.compress(TRADE % 1, mtime=0), bomb, gzip.compress(TRADE % 2))
    assert [(row["bytes"], row["seq"]) for row in quarantined(session)] == [(bomb, 3)]
    assert "when inflated, was more" in quarantined(session)[0]["reason"]
    assert session.decoder.counters["trades"] == 2


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (gzip.compress(TRADE % 1, mtime=0)[:-9], "whole compressed frame"),
        (gzip.compress(TRADE % 1, mtime=0) + b"more", "whole compressed frame"),
        (b"\x1f\x8b damaged", "compressed frame, was not"),
        (zlib.compress(TRADE % 1), "compressed frame, was not"),
        (gzip.compress(b"no JSON", mtime=0), "expected JSON"),
        (b"", "compressed frame"),
    ],
)
def test_what_is_no_whole_compressed_frame_is_quarantined(frame: bytes, reason: str) -> None:
    session = Session(HuobiDecoder)
    session.feed(frame, gzip.compress(TRADE % 5, mtime=0))
    assert reason in quarantined(session)[0]["reason"]
    assert quarantined(session)[0]["bytes"] == frame
    assert session.decoder.counters["trades"] == 1


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
def test_batches_make_no_difference(size: int) -> None:
    frames = [gzip.compress(TRADE % k, mtime=0) if k % 7 else b"\x1f\x8b" for k in range(1, 200)]
    one, other = Session(HuobiDecoder), Session(HuobiDecoder)
    one.feed(*frames)
    other.feed(*frames, size=size)
    assert [row.tobytes() for row in one.rows] == [row.tobytes() for row in other.rows]
    assert quarantined(one) == quarantined(other)


def test_a_record_of_another_connection_ends_the_batch_where_it_stands() -> None:
    session = Session(HuobiDecoder)
    session.open(1)
    session.feed(gzip.compress(TRADE % 1, mtime=0))
    session.close(1)
    assert session.decoder.counters["trades"] == 1
    assert session.decoder.decode(_two_connections(), 0, 3, session.buffer, session.last_recv_ns) == 2


def _two_connections() -> Any:
    from tests.exchanges.bitfinex.feeding import batch

    whole = batch([gzip.compress(TRADE % k, mtime=0) for k in (2, 3, 4)], None, 100)
    whole.conn[2] = 5
    return whole
