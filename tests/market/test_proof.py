"""Deadlines of proof, as `refresh` applies them on pulses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from data_controller.market.books import Books
from data_controller.market.layout import BrokenBy, Proof, ProofBy
from data_controller.market.proof import CROSSED_MAX_NS, refresh
from data_controller.market.rows import Kind, Promise
from data_controller.market.settings import ProofSettings
from data_controller.market.tables import Tables
from tests.market.test_books import apply, channel, row
from tests.market.test_core import checksum, snapshot, state, subscribed

AGE = 60_000_000_000
ACCEPT = 1 << Proof.PROVED


def proved() -> Books:
    """A book that a checksum proved at 6 ns."""
    books = subscribed(Promise.CHECKSUMMED)
    snapshot(books)
    checksum(books)
    return books


def test_a_change_unchecked_for_longer_than_max_age_makes_the_book_pending() -> None:
    books = proved()
    apply(books, row(Kind.SET, side=1, price=1, size=6, recv_ns=100))
    assert refresh(books.books, 100 + AGE, AGE, ACCEPT) == 0
    assert state(books) == (Proof.PROVED, ProofBy.CHECKSUM, 1)
    assert refresh(books.books, 101 + AGE, AGE, ACCEPT) == 0
    assert state(books) == (Proof.PENDING, ProofBy.NOTHING, 0)
    apply(books, row(Kind.SET, side=1, price=1, size=5, size_scale=1, recv_ns=102 + AGE))
    checksum(books, at=103 + AGE)
    assert state(books) == (Proof.PROVED, ProofBy.CHECKSUM, 1)


def test_a_quiet_book_stays_proved() -> None:
    books = proved()
    refresh(books.books, 1000 * AGE, AGE, ACCEPT)
    assert state(books) == (Proof.PROVED, ProofBy.CHECKSUM, 1)


def test_a_sequenced_book_needs_no_checksum_to_stay_proved() -> None:
    books = subscribed(Promise.SEQUENCED)
    snapshot(books)
    apply(books, row(Kind.SET, side=1, price=1, size=6, recv_ns=100))
    refresh(books.books, 1000 * AGE, AGE, ACCEPT)
    assert state(books) == (Proof.PROVED, ProofBy.SEQUENCE, 1)


def test_a_book_crossed_for_longer_than_a_second_breaks_once() -> None:
    books = proved()
    apply(books, row(Kind.SET, side=1, price=3, size=1, recv_ns=100))
    apply(books, row(Kind.SET, side=1, price=2, size=1, recv_ns=200))
    assert books.books[0]["crossed"] == 2
    assert refresh(books.books, 100 + CROSSED_MAX_NS, AGE, ACCEPT) == 0
    assert refresh(books.books, 101 + CROSSED_MAX_NS, AGE, ACCEPT) == 1
    own = books.books[0]
    assert (own["broken_by"], own["broken_ns"]) == (BrokenBy.CROSSED, 101 + CROSSED_MAX_NS)
    assert refresh(books.books, 102 + CROSSED_MAX_NS, AGE, ACCEPT) == 0


def test_a_cross_that_is_gone_with_the_next_message_is_only_counted() -> None:
    books = proved()
    apply(books, row(Kind.SET, side=1, price=2, size=1, recv_ns=100))
    apply(books, row(Kind.SET, side=1, price=2, size=0, recv_ns=101))
    assert refresh(books.books, 10 * CROSSED_MAX_NS, AGE, ACCEPT) == 0
    assert state(books)[0] == Proof.PROVED


def test_the_configs_mask_reaches_books_that_are_already_proved() -> None:
    books = proved()
    refresh(books.books, 10, AGE, 0)
    assert state(books) == (Proof.PROVED, ProofBy.CHECKSUM, 0)
    refresh(books.books, 10, AGE, ACCEPT)
    assert state(books) == (Proof.PROVED, ProofBy.CHECKSUM, 1)


def test_no_mask_makes_an_empty_or_a_broken_book_usable() -> None:
    books = Books(Tables(channels=[channel()]))
    refresh(books.books, 10, AGE, 0xFF)
    assert state(books) == (Proof.EMPTY, ProofBy.NOTHING, 0)
    apply(books, row(Kind.GAP))
    refresh(books.books, 10, AGE, 0xFF)
    assert state(books) == (Proof.BROKEN, ProofBy.NOTHING, 0)


def test_settings_name_the_proofs_to_act_on() -> None:
    assert ProofSettings().accept_mask == 1 << Proof.PROVED
    assert ProofSettings(act_on=("PROVED", "UNVERIFIABLE"), max_age_s=1.5).accept_mask == 0b1100
    assert ProofSettings(max_age_s=1.5).max_age_ns == 1_500_000_000
    with pytest.raises(ValidationError):
        ProofSettings.model_validate({"act_on": ["BROKEN"]})
