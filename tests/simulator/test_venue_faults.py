"""Faults on the way from further venues: a book that proves right is the true one, and each fault does its harm."""

from __future__ import annotations

import json

import pytest

from data_controller.simulator.binance.venue import BinanceVenue
from data_controller.simulator.exchange import Exchange, Frame
from data_controller.simulator.faults import COMMON, FLOODS, Fault, Link, random_faults
from data_controller.simulator.kraken.venue import KrakenVenue

from .venue_clients import GapError, KrakenBooks, Splicer

SECOND = 1_000_000_000
BOOK = b'{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"]}}'
DEPTH = b'{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms"],"id":1}'
READABLE = ("drop", "duplicate", "reorder", "stall", "mute", "silent", "late_ack", "maintenance")


def kraken(seed: int = 5) -> tuple[KrakenVenue, Link]:
    venue = KrakenVenue(Exchange(seed, ["tBTCUSD"], ticks_per_second=200))
    session = venue.open("/v2")
    assert session is not None
    return venue, Link(session)


def binance(flavour: str, seed: int = 5) -> tuple[BinanceVenue, Link]:
    venue = BinanceVenue(Exchange(seed, ["tBTCUSD"], ticks_per_second=200), flavour)
    session = venue.open("/ws")
    assert session is not None
    return venue, Link(session)


def after(link: Link, seconds: float) -> list[Frame]:
    """What comes through in the next seconds, in steps of a tenth."""
    exchange, frames = link.session.exchange, []
    for _ in range(round(seconds * 10)):
        exchange.advance(exchange.now_ns + SECOND // 10)
        frames += link.flush(exchange.now_ns)
    return frames


@pytest.mark.parametrize("seed", range(6))
def test_a_kraken_book_whose_checksum_fits_is_the_true_one_whatever_happened(seed):
    venue, link = kraken(seed)
    link.session.handle(BOOK)
    client = KrakenBooks()
    link.arm(*random_faults(seed, 6, 100, (*READABLE, "checksum")))
    compared = 0
    for frame in after(link, 10.0):
        good = client.checked - client.bad
        client.take(frame)
        if frame.seq and client.checked - client.bad > good:
            assert client.sides(("book", "BTC/USD")) == venue.truth("BTC/USD", frame.seq)
            compared += 1
    assert compared > 0


@pytest.mark.parametrize("flavour", ["spot", "usdm"])
@pytest.mark.parametrize("seed", range(2))
def test_a_binance_book_whose_ids_chain_is_the_true_one_whatever_happened(flavour, seed):
    venue, link = binance(flavour, seed)
    link.session.handle(DEPTH)
    link.arm(*random_faults(seed, 6, 60, READABLE))
    client = Splicer(venue, "BTCUSDT")
    venue.lag_steps = seed
    compared = gaps = 0
    for _ in range(60):
        for frame in after(link, 0.1):
            if not frame.seq:
                continue
            try:
                client.take(json.loads(frame.data))
            except GapError:
                gaps += 1
                client = Splicer(venue, "BTCUSDT")
                continue
            if not client.last and not client.snapshot:
                try:
                    client.fetch()
                except GapError:
                    client.snapshot = {}
            if client.last == frame.seq:
                bids, asks = venue.truth("BTCUSDT", frame.seq)
                assert (sorted(client.bids.items()), sorted(client.asks.items())) == (sorted(bids), sorted(asks))
                compared += 1
    assert compared > 0


@pytest.mark.parametrize("kind", [*COMMON, "checksum", "wrong_ack", *FLOODS])
def test_every_fault_strikes_a_further_venue_too(kind):
    _, link = kraken()
    link.arm(Fault(kind, frame=None if kind.endswith("ack") else "update" if kind in ("drop", "checksum") else None))
    link.session.handle(BOOK)
    after(link, 5.0)
    assert set(link.struck) == {kind}
    assert bool(link.flood) == (kind in FLOODS)


def test_a_connection_ends_after_its_lifetime_and_after_too_many_requests():
    venue, link = binance("spot")
    venue.lifetime_ns = 2 * SECOND
    after(link, 2.5)
    assert link.closed == "lifetime"
    _, link = binance("spot")
    for _ in range(6):
        link.session.handle(DEPTH)
    after(link, 0.1)
    assert link.closed == "too many requests"
