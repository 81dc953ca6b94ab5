"""Kraken v2: documented messages, both checksums, and that damage never leaves a wrong book proved."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_controller.exchanges.kraken.decoder import KrakenDecoder
from data_controller.market.layout import Proof
from data_controller.market.rows import Control, Flag, Kind
from data_controller.market.tables import Channel
from tests.exchanges.faulting import Guarded, hostile, wrong_proofs
from tests.exchanges.feeding import Session
from tests.exchanges.kraken import documented as docs


def with_book(*before: str) -> Session:
    session = Session(KrakenDecoder)
    session.feed(docs.STATUS, *before, docs.BOOK_ACK, docs.snapshot())
    return session


def with_orders() -> Session:
    session = Session(KrakenDecoder)
    session.feed(docs.INSTRUMENT, docs.LEVEL3_ACK, docs.orders_snapshot())
    return session


def change(bids: list[tuple[str, str]], asks: list[tuple[str, str]], expected: int) -> str:
    return docs.frame("book", "update", [docs.level(*e) for e in bids], [docs.level(*e) for e in asks], expected)


def events(kind: str, *orders: str, expected: int, side: str = "bids") -> str:
    entries = [docs.order(text, kind) for text in orders]
    return docs.frame("level3", "update", *((entries, []) if side == "bids" else ([], entries)), expected)


def test_the_documents_book_is_proved_by_the_documents_checksum() -> None:
    session = with_book()
    assert session.tables.channels == [Channel("kraken", "BTC/USD", "book", length=10)]
    assert session.proof() is Proof.PROVED
    assert session.total("checks_ok") == 1


def test_a_pair_of_another_checksum_is_not_proved() -> None:
    session = Session(KrakenDecoder)
    session.feed(docs.BOOK_ACK, docs.snapshot().replace(str(docs.CHECKSUM), "3310070435"))
    assert session.proof() is Proof.BROKEN


@pytest.mark.parametrize("before", [[], [docs.INSTRUMENT]])
def test_zeros_that_the_wire_drops_are_counted(before: list[str]) -> None:
    session = with_book(*before)
    bids = [("45283.6", "0.25"), *docs.BIDS[:9]]
    session.feed(change([("45283.6", "0.25")], [], docs.crc(docs.ASKS, bids)))
    assert session.proof() is Proof.PROVED
    level = session.books.side(0, +1)[0]
    assert (level["price_digits"], level["size_digits"], level["size_scale"]) == (452836, 25000000, 8)
    assert session.total("n_bid") == 10, "what lies beyond the depth is dropped"
    asks = [("45285.2", "5"), *docs.ASKS[1:]]
    session.feed(change([("45283.6", "0")], [("45285.2", "5")], docs.crc(asks, docs.BIDS[:9])))
    assert session.proof() is Proof.PROVED


def test_precision_told_later_holds_for_books_that_are_there() -> None:
    session = Session(KrakenDecoder)
    asks, bids = [("45285", "1")], [("45283", "2")]
    first = docs.frame("book", "snapshot", [docs.level(*bids[0])], [docs.level(*asks[0])], docs.crc(asks, bids))
    session.feed(docs.BOOK_ACK, docs.INSTRUMENT, first)
    assert session.proof() is Proof.PROVED


def test_the_documents_orders_are_proved_by_the_documents_checksum() -> None:
    session = with_orders()
    assert session.tables.channels == [Channel("kraken", "BTC/USD", "book", "R0", length=10)]
    assert session.proof() is Proof.PROVED
    assert session.total("n_bid") == 21
    assert session.total("n_ask") == 14


def test_orders_queue_by_arrival_and_an_order_that_grows_goes_to_the_end() -> None:
    session = with_orders()
    asks = [(p, s) for _, p, s in docs.entries(docs.ORDER_ASKS)]
    bids = [(p, s) for _, p, s in docs.entries(docs.ORDER_BIDS)]
    best = "44939.4"
    bids.insert(8, (best, "0.5"))
    session.feed(events("add", f"OAAAAA-AAAAA-AAAAAA {best} 0.5", expected=docs.crc(asks, bids)))
    assert session.proof() is Proof.PROVED
    bids[0] = (best, "0.3")
    session.feed(events("modify", f"OTCFZG-YOE2Q-LQKNM3 {best} 0.3", expected=docs.crc(asks, bids)))
    assert session.proof() is Proof.PROVED, "an order that shrinks keeps its place"
    del bids[0]
    bids.insert(8, (best, "9"))
    session.feed(events("modify", f"OTCFZG-YOE2Q-LQKNM3 {best} 9", expected=docs.crc(asks, bids)))
    assert session.proof() is Proof.PROVED
    del bids[1]
    session.feed(events("delete", f"OMPHVY-IZPJ4-KOKA3P {best} 0.1", expected=docs.crc(asks, bids)))
    assert session.proof() is Proof.PROVED
    rows = session.feed(events("delete", f"OAI5QZ-AMPLW-NBNO72 {best} 0.1", expected=5))
    assert [r["kind"] for r in rows] == [Kind.CANCEL, Kind.CHECK]
    assert session.proof() is Proof.BROKEN


def test_orders_beyond_the_depth_in_prices_are_dropped() -> None:
    session = with_orders()
    asks = [(p, s) for _, p, s in docs.entries(docs.ORDER_ASKS)]
    bids = [("44939.6", "1"), *((p, s) for _, p, s in docs.entries(docs.ORDER_BIDS))]
    expected = docs.crc(asks, bids[:-1])
    session.feed(events("add", "OAAAAA-AAAAA-AAAAAA 44939.6 1", expected=expected))
    # Ten bid prices stay: the eleventh, 44901.9, is out, and its order is not known any more.
    assert session.total("n_bid") == 21
    assert session.proof() is Proof.PROVED
    session.feed(events("delete", "O73C6Y-VZXYA-H4LDFY 44901.9 0.00088982", expected=expected))
    assert session.total("unknown_deletes") == 1
    assert session.proof() is Proof.PROVED


def test_trades_tickers_quotes_and_candles_are_read() -> None:
    session = Session(KrakenDecoder)
    rows = session.feed(docs.TRADE, docs.TRADE, docs.TICKER, docs.OHLC, docs.HEARTBEAT)
    trades = [r for r in rows if r["kind"] == Kind.TRADE]
    assert [(int(r["ref"]), int(r["price"]), int(r["size"]), int(r["side"])) for r in trades] == [
        (4665846, 452834, 5, -1),
        (4665847, 452835, 25, 1),
    ]
    assert trades[0]["exch_ns"] == 1695628116925533000
    assert session.decoder.counters["trades_repeated"] == 2
    assert session.decoder.counters["heartbeats"] == 1
    assert session.decoder.side_rows["ticker"][0]["ask_size"] == 0.001
    assert session.decoder.side_rows["candles"][0]["mts"] == 1696436700000
    assert [(c.stream, c.precision) for c in session.tables.channels] == [
        ("trades", ""),
        ("ticker", ""),
        ("candles", "5m"),
    ]
    quotes = Session(KrakenDecoder)
    ack = '{"method":"subscribe","result":{"channel":"ticker","event_trigger":"bbo","symbol":"BTC/USD"},"success":true}'
    rows = quotes.feed(ack, docs.TICKER)
    assert [(r["side"], r["price"], r["size"]) for r in rows[1:]] == [(1, 452835, 1), (-1, 452852, 1)]


def test_old_trades_are_marked() -> None:
    session = Session(KrakenDecoder)
    rows = session.feed(docs.TRADE.replace("update", "snapshot"))
    assert all(r["flags"] & Flag.SNAPSHOT for r in rows if r["kind"] == Kind.TRADE)
    assert session.decoder.counters["trade_snapshot_rows"] == 2


def test_answers_and_the_state_of_the_venue_are_told() -> None:
    session = Session(KrakenDecoder)
    down = docs.STATUS.replace("online", "maintenance")
    rows = session.feed(
        docs.STATUS,
        docs.INSTRUMENT,
        docs.BOOK_ACK,
        docs.snapshot(),
        docs.REFUSAL,
        '{"method":"pong","req_id":101,"time_in":"2023-09-24T14:10:23.799685Z"}',
        down,
    )
    assert session.proof() is Proof.BROKEN
    rows += session.feed(docs.STATUS, docs.BOOK_ACK.replace('"subscribe"', '"unsubscribe"'))
    codes = [(Control(r["ref"]), int(r["size"])) for r in rows if r["kind"] == Kind.CONTROL]
    assert [code for code, _ in codes] == [
        Control.INFO,
        Control.CONFIGURED,
        Control.SUBSCRIBED,
        Control.ERROR,
        Control.PONG,
        Control.MAINTENANCE_START,
        Control.MAINTENANCE_END,
        Control.UNSUBSCRIBED,
    ]
    assert codes[3][1] == 9


def test_a_book_whose_depth_nobody_said_is_left_alone() -> None:
    session = Session(KrakenDecoder)
    assert session.feed(docs.snapshot()) == []
    assert session.decoder.counters["unknown_events"] == 1


@pytest.mark.parametrize(
    "frame",
    [
        b"[1]",
        b"{}",
        b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[]}]}',
        b'{"channel":"book","type":"other","data":[{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":1}]}',
        b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":1}],"checksum":1}]}',
        b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":-1,"qty":1}],"checksum":1}]}',
        b'{"channel":"bo\\u006fk","type":"update","data":[{"symbol":"BTC/USD","bids":[],"checksum":1}]}',
        b'{"channel":"instrument","type":"snapshot","data":{"pairs":[{"symbol":"BTC/USD","price_precision":99}]}}',
        b'{"method":"subscribe","success":true}',
    ],
)
def test_what_is_outside_the_protocol_is_kept_and_unproves(frame: bytes) -> None:
    session = with_book()
    session.feed(frame)
    assert session.decoder.counters["quarantined"] == 1
    assert session.proof() is Proof.BROKEN


def stream(count: int, seed: int, *, pad: bool) -> list[bytes]:
    """A book's life: changes of the best levels, each with the checksum of what it leaves."""
    rng = random.Random(seed)
    books = [dict(docs.BIDS), dict(docs.ASKS)]
    frames = [docs.BOOK_ACK.encode(), docs.snapshot().encode()]
    for _ in range(count):
        k = rng.randrange(2)
        price = rng.choice(sorted(books[k])) if rng.random() < 0.4 else f"{45200 + 84 * (k + rng.random()):.1f}"
        size = "0" if price in books[k] and len(books[k]) > 3 and rng.random() < 0.4 else f"{rng.random():.8f}"
        books[k].pop(price, None)
        if size != "0":
            books[k][price] = size
        bids = sorted(books[0].items(), key=lambda e: -float(e[0]))[:10]
        asks = sorted(books[1].items(), key=lambda e: float(e[0]))[:10]
        books = [dict(bids), dict(asks)]
        entry = [(price, size if pad or size == "0" else f"{float(size):.8f}".rstrip("0"))]
        frames.append(change(*((entry, []) if k == 0 else ([], entry)), docs.crc(asks, bids)).encode())
    return frames


def test_a_long_stream_stays_proved_with_and_without_its_zeros() -> None:
    for pad in (True, False):
        session = Session(KrakenDecoder, keep=False)
        session.feed(*stream(300, 5, pad=pad))
        assert session.total("checks_ok") == 301
        assert session.proof() is Proof.PROVED


def test_damage_never_leaves_a_wrong_book_proved() -> None:
    faults = ["drop", "duplicate", "late duplicate", "swap", "cut", "garbage", "digit"]
    proved, wrong = wrong_proofs(KrakenDecoder, stream(150, 7, pad=True), faults, 6, first=1, last=120)
    assert wrong == []
    assert 0 < proved < 42


def order_stream(count: int, seed: int) -> list[bytes]:
    """The life of a book of orders within its depth, each event with the checksum of what it leaves."""
    rng = random.Random(seed)
    sides = [docs.entries(docs.ORDER_BIDS), docs.entries(docs.ORDER_ASKS)]
    frames = [text.encode() for text in (docs.INSTRUMENT, docs.LEVEL3_ACK, docs.orders_snapshot())]
    for k in range(count):
        which = rng.randrange(2)
        queue = sides[which]
        at = rng.randrange(len(queue))
        ref, price, size = queue[at]
        if rng.random() < 0.4 and len(queue) > 8:
            del queue[at]
            kind = "delete"
        elif rng.random() < 0.5:
            kind, size = "modify", f"{float(size) / 2:.8f}"
            queue[at] = (ref, price, size)
        else:
            kind, ref, size = "add", f"O{k:05d}-AAAAA-AAAAAA", f"{rng.random() + 0.01:.8f}"
            queue.append((ref, price, size))
        ordered = [sorted(side, key=lambda e: (1 if i else -1) * float(e[1])) for i, side in enumerate(sides)]
        expected = docs.crc([e[1:] for e in ordered[1]], [e[1:] for e in ordered[0]])
        text = f"{ref} {price} {size}"
        frames.append(events(kind, text, expected=expected, side="asks" if which else "bids").encode())
    return frames


def test_damage_never_leaves_a_wrong_book_of_orders_proved() -> None:
    frames = order_stream(120, 11)
    session = Session(KrakenDecoder, keep=False)
    session.feed(*frames)
    assert session.total("checks_ok") == 121
    faults = ["drop", "duplicate", "late duplicate", "swap", "cut", "garbage", "digit"]
    proved, wrong = wrong_proofs(KrakenDecoder, frames, faults, 6, first=2, last=100)
    assert wrong == []
    assert 0 < proved < 42


@given(st.lists(hostile(docs.every()), max_size=5))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_hostile_frames_are_rows_or_quarantine(frames: list[bytes]) -> None:
    session = Guarded(KrakenDecoder)
    session.feed(docs.BOOK_ACK, docs.LEVEL3_ACK, docs.snapshot(), docs.orders_snapshot(), *frames, docs.snapshot())
    assert session.decoder.counters["frames"] == len(frames) + 5
    session.check()


def test_a_message_of_too_many_pairs_is_refused_and_breaks_the_books_of_its_connection() -> None:
    session = with_book()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    pairs = [f"{a}{b}{c}/USD" for a in letters for b in letters for c in letters]
    items = ",".join(f'{{"symbol":"{pair}"}}' for pair in pairs)
    rows = session.feed(f'{{"channel":"trade","type":"update","data":[{items}]}}')
    assert session.proof() is Proof.BROKEN
    assert session.decoder.counters["quarantined"] == 1
    assert len(rows) < 2 * 64 + 8


def test_trades_of_a_frame_that_was_refused_are_taken_when_they_are_told_again() -> None:
    session = Session(KrakenDecoder)
    session.feed(docs.TRADE)
    told = docs.TRADE.replace("4665846", "4665848").replace("4665847", "4665849")
    session.feed(told.replace('"buy"', '"nobody"'))
    assert session.decoder.counters["quarantined"] == 1
    rows = session.feed(told)
    assert [int(row["ref"]) for row in rows if row["kind"] == Kind.TRADE] == [4665848, 4665849]
