"""What a row does beyond levels: snapshots, breaks, control rows, rows that are none of a book's business."""

from __future__ import annotations

import zlib

import pytest

from data_controller.market import core
from data_controller.market.books import Books
from data_controller.market.layout import BrokenBy, ChecksumRule, Proof, ProofBy
from data_controller.market.rows import RULE_SHIFT, Control, Flag, Kind, Promise
from data_controller.market.tables import Channel, Tables
from tests.market.test_books import apply, channel, row

SNAPSHOT = Flag.SNAPSHOT | Flag.LAST


def subscribed(
    promise: int = 0, accept: int = 1 << Proof.PROVED, length: int = 25, rule: int = ChecksumRule.BITFINEX_PRICES
) -> Books:
    """A subscribed book that waits for its snapshot."""
    books = Books(Tables(channels=[channel(length=length)]), accept)
    size = promise | rule << RULE_SHIFT
    assert apply(books, row(Kind.CONTROL, ref=Control.SUBSCRIBED, size=size)) == core.CONTROL
    return books


def state(books: Books) -> tuple[Proof, ProofBy, int]:
    """Proof, by what, usable."""
    own = books.books[0]
    return Proof(own["proof"]), ProofBy(own["proof_by"]), int(own["usable"])


def snapshot(books: Books) -> list[int]:
    """RESET and two levels, 1 x 0.5 bid and 2 x 0.25 ask."""
    return [
        apply(books, row(Kind.RESET, flags=Flag.SNAPSHOT, recv_ns=5)),
        apply(books, row(Kind.SET, side=1, price=1, size=5, size_scale=1, flags=Flag.SNAPSHOT, recv_ns=5)),
        apply(books, row(Kind.SET, side=-1, price=2, size=25, size_scale=2, flags=SNAPSHOT, recv_ns=5)),
    ]


def checksum(books: Books, delta: int = 0, at: int = 6) -> int:
    """A CHECK row with the checksum of `snapshot`'s book, plus `delta`."""
    crc = zlib.crc32(b"1:0.5:2:-0.25")
    return apply(books, row(Kind.CHECK, ref=(crc - (1 << 32) if crc >> 31 else crc) + delta, recv_ns=at))


@pytest.mark.parametrize(
    ("promise", "wanted"),
    [
        (Promise(0), (Proof.UNVERIFIABLE, ProofBy.NOTHING, 0)),
        (Promise.SEQUENCED, (Proof.PROVED, ProofBy.SEQUENCE, 1)),
        (Promise.CHECKSUMMED, (Proof.PENDING, ProofBy.NOTHING, 0)),
        (Promise.SEQUENCED | Promise.CHECKSUMMED, (Proof.PENDING, ProofBy.NOTHING, 0)),
    ],
)
def test_a_complete_snapshot_is_worth_what_the_venue_promised(
    promise: Promise, wanted: tuple[Proof, ProofBy, int]
) -> None:
    books = subscribed(promise)
    assert state(books) == (Proof.EMPTY, ProofBy.NOTHING, 0)
    assert snapshot(books) == [core.NOTHING, core.NOTHING, core.BOOK_CHANGED]
    assert state(books) == wanted
    assert books.books[0]["snapshot_ns"] == 5


def test_an_unfinished_snapshot_is_pending() -> None:
    books = subscribed(Promise.SEQUENCED)
    apply(books, row(Kind.RESET, flags=Flag.SNAPSHOT))
    apply(books, row(Kind.SET, side=1, price=1, size=5, flags=Flag.SNAPSHOT))
    assert state(books) == (Proof.PENDING, ProofBy.NOTHING, 0)


def test_unverifiable_is_usable_only_where_config_names_it() -> None:
    books = subscribed(accept=1 << Proof.PROVED | 1 << Proof.UNVERIFIABLE)
    snapshot(books)
    assert state(books) == (Proof.UNVERIFIABLE, ProofBy.NOTHING, 1)


def test_a_matching_checksum_proves_and_says_so_once() -> None:
    books = subscribed(Promise.CHECKSUMMED)
    snapshot(books)
    assert [checksum(books), checksum(books)] == [core.PROVED, core.NOTHING]
    assert state(books) == (Proof.PROVED, ProofBy.CHECKSUM, 1)
    assert books.books[0]["checks_ok"] == 2
    assert books.books[0]["unproved_since_ns"] == 0
    apply(books, row(Kind.SET, side=1, price=1, size=6, recv_ns=8))
    apply(books, row(Kind.SET, side=1, price=1, size=7, recv_ns=9))
    assert books.books[0]["unproved_since_ns"] == 8


def test_a_mismatch_breaks_until_the_next_snapshot() -> None:
    books = subscribed(Promise.CHECKSUMMED)
    snapshot(books)
    checksum(books)
    assert checksum(books, 1, at=7) == core.BROKE
    assert state(books) == (Proof.BROKEN, ProofBy.NOTHING, 0)
    own = books.books[0]
    assert (own["broken_by"], own["broken_ns"], own["checks_bad"], own["breaks"]) == (BrokenBy.CHECKSUM, 7, 1, 1)
    events = int(own["events"])
    assert apply(books, row(Kind.SET, side=1, price=1, size=9)) == core.NOTHING
    assert checksum(books) == core.NOTHING
    assert checksum(books, 1) == core.NOTHING
    assert (own["events"], own["checks_ok"], own["breaks"]) == (events, 1, 1)
    snapshot(books)
    assert state(books) == (Proof.PENDING, ProofBy.NOTHING, 0)
    assert (own["broken_by"], own["broken_ns"]) == (0, 0)


def test_a_checksum_without_a_rule_says_nothing() -> None:
    books = subscribed(Promise.SEQUENCED, rule=ChecksumRule.NONE)
    snapshot(books)
    assert checksum(books, 1) == core.NOTHING
    assert state(books) == (Proof.PROVED, ProofBy.SEQUENCE, 1)


def test_a_gap_breaks_once_and_is_counted_each_time() -> None:
    books = subscribed(Promise.SEQUENCED)
    snapshot(books)
    assert [apply(books, row(Kind.GAP, ref=2)), apply(books, row(Kind.GAP, ref=1))] == [core.BROKE, core.NOTHING]
    assert (books.books[0]["gaps"], books.books[0]["broken_by"]) == (2, BrokenBy.GAP)


def test_a_closed_connection_is_another_cause_than_a_gap() -> None:
    books = subscribed(Promise.SEQUENCED)
    snapshot(books)
    assert apply(books, row(Kind.GAP, size=BrokenBy.CLOSED)) == core.BROKE
    assert books.books[0]["broken_by"] == BrokenBy.CLOSED


def test_a_gap_before_the_snapshot_breaks_the_empty_book_so_that_somebody_asks_again() -> None:
    books = subscribed(Promise.SEQUENCED)
    assert apply(books, row(Kind.GAP)) == core.BROKE


def test_an_inexact_row_breaks_its_book_and_an_inexact_trade_is_lost() -> None:
    books = subscribed()
    snapshot(books)
    assert apply(books, row(Kind.SET, side=1, price=1, size=1, flags=Flag.LAST | Flag.INEXACT)) == core.BROKE
    assert books.books[0]["broken_by"] == BrokenBy.INEXACT
    assert apply(books, row(Kind.TRADE, price=1, size=1)) == core.TRADE
    assert apply(books, row(Kind.TRADE, flags=Flag.LAST | Flag.INEXACT)) == core.LOST


def test_a_broken_row_inside_a_snapshot_leaves_the_book_broken_at_its_end() -> None:
    books = subscribed(Promise.SEQUENCED)
    apply(books, row(Kind.RESET, flags=Flag.SNAPSHOT))
    apply(books, row(Kind.SET, side=1, flags=Flag.SNAPSHOT | Flag.INEXACT))
    assert apply(books, row(Kind.SET, side=1, price=1, size=1, flags=SNAPSHOT)) == core.NOTHING
    assert state(books)[0] == Proof.BROKEN


def test_subscribing_and_unsubscribing_empty_the_book() -> None:
    for control in (Control.SUBSCRIBED, Control.UNSUBSCRIBED):
        books = subscribed(Promise.SEQUENCED)
        snapshot(books)
        assert apply(books, row(Kind.CONTROL, ref=control)) == core.CONTROL
        assert state(books) == (Proof.EMPTY, ProofBy.NOTHING, 0)
        assert (books.books[0]["n_bid"], books.books[0]["n_ask"]) == (0, 0)


def test_other_control_rows_and_superseded_ends_leave_the_book_alone() -> None:
    books = subscribed(Promise.SEQUENCED)
    snapshot(books)
    apply(books, row(Kind.CONTROL, ref=Control.UNSUBSCRIBED, size=1))
    for control in (Control.ERROR, Control.DUPLICATE, Control.MAINTENANCE_START, Control.INFO):
        assert apply(books, row(Kind.CONTROL, ref=control)) == core.CONTROL
        assert apply(books, row(Kind.CONTROL, ref=control, channel=-1)) == core.CONTROL
    assert state(books) == (Proof.PROVED, ProofBy.SEQUENCE, 1)


def test_rows_of_channels_that_are_no_books_touch_nothing() -> None:
    books = Books(Tables(channels=[Channel("bitfinex", "tBTCUSD", "trades"), channel()]))
    before = books.books.tobytes(), books.levels.tobytes()
    for at in (-1, 0, 2, 1 << 30):
        assert apply(books, row(Kind.SET, channel=at, price=1, size=1, side=1)) == core.NOTHING
        assert apply(books, row(Kind.CHECK, channel=at)) == core.NOTHING
        assert apply(books, row(Kind.GAP, channel=at)) == core.LOST
        assert apply(books, row(Kind.MARK, channel=at)) == core.NOTHING
    assert (books.books.tobytes(), books.levels.tobytes()) == before


def test_rows_of_the_other_depth_change_no_levels() -> None:
    books = subscribed()
    snapshot(books)
    apply(books, row(Kind.ADD, side=1, price=1, size=9, ref=3))
    apply(books, row(Kind.CANCEL, side=1, ref=3))
    assert (books.books[0]["n_bid"], float(books.side(0, 1)[0]["size"])) == (1, 0.5)
