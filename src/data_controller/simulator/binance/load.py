"""Load in Binance's protocol: depth changes that chain from the fetched snapshot on, made beforehand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data_controller.errors import SimulatorError
from data_controller.simulator import view
from data_controller.simulator.binance.session import BinanceSession
from data_controller.simulator.binance.venue import BinanceVenue
from data_controller.simulator.dialect import Subscription
from data_controller.simulator.load import Prepared, text_frame

BODIES = 512
"""Different changes of a stream; then they come again, under new numbers."""
LEVELS_MOST = 12
"""Levels that a change names, from 1 on, all counts alike."""
_NEAR = 40  # ticks from the touch within which nearly all changes lie
_GONE = 0.3  # share of changes that take a level away
_SHARE_BUYS = 0.5


def prepare_depth(venue: BinanceVenue, duration_s: float, rate: float, seed: int = 1) -> dict[int, Prepared]:
    """Each connection's frames of a run: `rate` depth changes a second over all subscribed depth streams, in turn.

    A stream goes on where the market stands (its book can be fetched until then), every change behind the one before
    it; prices stay on their side of the market, so that no book crosses. `Prepared.seq` counts a connection's frames
    from 1. Raises SimulatorError where somebody is subscribed to something else, which a load does not tell of.
    """
    streams = list(_streams(venue))
    total = int(rate * duration_s)
    if not streams or not total:
        return {}
    random = np.random.default_rng(seed)
    made = [_messages(venue, session, stream, -(-total // len(streams)), random) for session, stream in streams]
    by_conn: dict[int, tuple[list[bytes], list[int]]] = {}
    for n in range(total):
        session = streams[n % len(streams)][0]
        frames, due = by_conn.setdefault(session.conn, ([], []))
        frames.append(next(made[n % len(streams)]))
        due.append(int(n / rate * 1e9))
    return {conn: _prepared(frames, due) for conn, (frames, due) in by_conn.items()}


def _streams(venue: BinanceVenue) -> Iterator[tuple[BinanceSession, Subscription]]:
    for session in venue.sessions:
        assert isinstance(session, BinanceSession)
        for stream in session.channels.values():
            if stream.channel != "book" or stream.symbol not in venue.row_of:
                raise SimulatorError(f"expected depth streams only under a load, was {stream.name}")
            yield session, stream


def _prepared(frames: list[bytes], due: list[int]) -> Prepared:
    ends = np.cumsum([len(frame) for frame in frames], dtype=np.int64)
    data = np.frombuffer(b"".join(frames), np.uint8)
    return Prepared(data, ends, np.array(due, np.int64), np.arange(1, len(frames) + 1))


def _messages(
    venue: BinanceVenue, session: BinanceSession, stream: Subscription, count: int, random: np.random.Generator
) -> Iterator[bytes]:
    """A stream's frames, one after the other."""
    i = venue.row_of[stream.symbol]
    bodies = [_body(venue, i, random) for _ in range(BODIES)]
    last, told_ms = venue.steps[i][-1].last, venue.told_ms
    transacted = f'"T":{told_ms},' if venue.futures else ""
    head = f'{{"e":"depthUpdate","E":{told_ms},{transacted}"s":"{stream.symbol}",'
    wrapped = f'{{"stream":"{stream.name}","data":' if session.combined else ""
    close = "}" if session.combined else ""
    for n in range(count):
        changes, ids = bodies[n % BODIES]
        first, before = last + 1, last
        last += ids
        chain = f'"U":{first},"u":{last},' + (f'"pu":{before},' if venue.futures else "")
        yield text_frame((wrapped + head + chain + changes + close).encode())


def _body(venue: BinanceVenue, i: int, random: np.random.Generator) -> tuple[str, int]:
    """A change's levels as text, and how many update ids it takes."""
    count = int(random.integers(1, LEVELS_MOST + 1))
    book = venue.steps[i][-1].book
    touch = max(book[0]), min(book[1])
    sides: tuple[dict[int, str], dict[int, str]] = ({}, {})
    for _ in range(count):
        which = int(random.random() >= _SHARE_BUYS)
        away = min(int(random.exponential(_NEAR / 3)), 4 * _NEAR)
        amount = 0 if random.random() < _GONE else int(random.exponential(5e7)) + 1
        price = touch[which] + (away if which else -away)
        sides[which][price] = view.fixed_amount(amount)
    places = venue.places[i]
    texts = [
        ",".join(f'["{view.fixed_price(price, places)}","{amount}"]' for price, amount in side.items())
        for side in sides
    ]
    return f'"b":[{texts[0]}],"a":[{texts[1]}]}}', count
