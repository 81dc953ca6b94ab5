"""Load in Binance's protocol: what a client that splices by the rules makes of the frames."""

from __future__ import annotations

import json

import numpy as np
import pytest

from data_controller.errors import SimulatorError
from data_controller.simulator.binance.load import prepare_depth
from data_controller.simulator.binance.venue import BinanceVenue
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.load import Prepared


def subscribed(flavour: str, *streams: str, path: str = "/stream") -> tuple[BinanceVenue, int]:
    venue = BinanceVenue(Exchange(5, 2), flavour)
    session = venue.open(path)
    assert session is not None
    session.receive(json.dumps({"method": "SUBSCRIBE", "params": streams, "id": 1}))
    return venue, session.conn


def payloads(prepared: Prepared) -> list[dict]:
    starts = [0, *prepared.ends[:-1].tolist()]
    frames = [prepared.data[lo:hi].tobytes() for lo, hi in zip(starts, prepared.ends.tolist(), strict=True)]
    assert all(frame[0] == 0x81 for frame in frames)
    return [json.loads(frame[2:] if frame[1] < 126 else frame[4:]) for frame in frames]


@pytest.mark.parametrize("flavour", ["spot", "usdm"])
def test_changes_chain_from_the_fetched_book_on_and_no_book_crosses(flavour):
    venue, _conn = subscribed(flavour, "btcusdt@depth@100ms", "ethusdt@depth@100ms")
    (prepared,) = prepare_depth(venue, 2.0, 500.0).values()
    messages = payloads(prepared)
    assert len(messages) == 1000
    for symbol in ("BTCUSDT", "ETHUSDT"):
        base = "/fapi/v1" if venue.futures else "/api/v3"
        fetched = json.loads(venue.rest(f"{base}/depth?symbol={symbol}&limit=1000").body)
        last, sides = fetched["lastUpdateId"], {}
        sides["b"] = dict(fetched["bids"])
        sides["a"] = dict(fetched["asks"])
        mine = [message["data"] for message in messages if message["data"]["s"] == symbol]
        assert len(mine) == 500
        for data in mine:
            assert data["U"] == last + 1 and data["u"] >= data["U"]
            assert data.get("pu", last) == last
            last = data["u"]
            assert len(data["b"]) + len(data["a"]) >= 1
            for name in ("b", "a"):
                for price, amount in data[name]:
                    sides[name].pop(price, None)
                    if float(amount):
                        sides[name][price] = amount
            assert max(map(float, sides["b"])) < min(map(float, sides["a"]))


def test_frames_are_due_evenly_and_counted_by_connection():
    venue, conn = subscribed("spot", "btcusdt@depth@100ms")
    prepared = prepare_depth(venue, 1.0, 100.0)[conn]
    assert prepared.seq.tolist() == list(range(1, 101))
    assert np.diff(prepared.due_ns).tolist() == [10_000_000] * 99
    assert set(payloads(prepared)[0]) == {"stream", "data"}


def test_a_plain_address_gets_changes_without_a_wrapper():
    venue, conn = subscribed("spot", "btcusdt@depth", path="/ws")
    assert payloads(prepare_depth(venue, 1.0, 10.0)[conn])[0]["e"] == "depthUpdate"


def test_a_stream_that_a_load_does_not_tell_of_is_refused():
    venue, _ = subscribed("spot", "btcusdt@trade")
    with pytest.raises(SimulatorError, match="btcusdt@trade"):
        prepare_depth(venue, 1.0, 10.0)


def test_without_a_rate_nobody_gets_anything():
    venue, _ = subscribed("spot", "btcusdt@depth")
    assert prepare_depth(venue, 1.0, 0.0) == {}
