"""Gaps as data: each has a begin, an end, a cause and what healed it."""

from __future__ import annotations

import numpy as np

from data_controller.lake.gaps import NEVER, NO_ENGINE, Run, complete
from data_controller.market.layout import BOOK, Proof
from data_controller.market.tables import Channel
from data_controller.pipeline.gaps import Gaps

CHANNELS = [Channel("v", "tX", "book", "P0", "F0", 25), Channel("v", "tX", "trades")]
RUN = 1 << 40


def books(proof: Proof, snapshot_ns: int = 0) -> np.ndarray:
    rows = np.zeros(2, BOOK)
    rows["depth"] = [2, 0]
    rows["proof"][0], rows["snapshot_ns"][0] = proof, snapshot_ns
    return rows


def test_a_book_is_in_a_gap_from_the_start_to_its_first_proof() -> None:
    gaps = Gaps(CHANNELS, 100)
    (begin,) = gaps.subscribed(0, 3, RUN + 5, 110)
    assert (begin["reason"], begin["since_ns"], begin["ended_ns"]) == ("START", 100, 0)
    assert gaps.subscribed(0, 3, RUN + 6, 120) == []  # a resync is no other start
    assert gaps.subscribed(1, 3, RUN + 6, 120) == []  # trades are never proved
    assert gaps.look(RUN + 7, 130, books(Proof.PENDING), lambda channel: 0) == []
    (end,) = gaps.look(RUN + 8, 140, books(Proof.PROVED), lambda channel: 0)
    assert (end["ended_ns"], end["healed_by"], end["began_seq"]) == (140, "start", RUN + 5)
    assert gaps.look(RUN + 9, 150, books(Proof.PROVED), lambda channel: 0) == []


def test_what_healed_a_book_is_told_apart() -> None:
    for snapshot_ns, opened_ns, how in ((50, 0, "checksum"), (210, 0, "resync"), (210, 205, "reconnect")):
        gaps = Gaps(CHANNELS, 0)
        gaps.subscribed(0, 3, RUN, 1)
        gaps.look(RUN + 1, 2, books(Proof.PROVED, 50), lambda channel: 0)
        gaps.begin(0, "CHECKSUM", RUN + 2, 200, 150, 50)
        if opened_ns:
            gaps.opened(3, opened_ns)
        (end,) = gaps.look(RUN + 3, 300, books(Proof.PROVED, snapshot_ns), lambda channel: 0)
        assert (end["healed_by"], end["since_ns"]) == (how, 150)


def test_a_feed_of_trades_heals_when_it_is_heard_of_again() -> None:
    gaps = Gaps(CHANNELS, 0)
    gaps.begin(1, "CLOSED", RUN, 200, 200, 0)
    assert gaps.look(RUN + 1, 300, books(Proof.PROVED), lambda channel: 200) == []
    (end,) = gaps.look(RUN + 2, 400, books(Proof.PROVED), lambda channel: 350)
    assert (end["ended_ns"], end["healed_by"], end["stream"]) == (400, "reconnect", "trades")


def test_breaks_within_a_gap_are_one_gap_and_what_a_run_did_not_see_healed_ends_with_the_next() -> None:
    gaps, later = Gaps(CHANNELS, 0), Gaps(CHANNELS, 1000)
    rows = gaps.subscribed(0, 3, RUN, 1) + gaps.look(RUN + 1, 2, books(Proof.PROVED), lambda channel: 0)
    rows.append(gaps.begin(0, "CHECKSUM", RUN + 2, 200, 150, 0))
    rows.append(gaps.begin(0, "CHECKSUM", RUN + 3, 220, 150, 0))
    rows += gaps.look(RUN + 4, 250, books(Proof.PROVED, 240), lambda channel: 0)
    rows.append(gaps.begin(0, "CLOSED", RUN + 5, 400, 350, 0))
    rows.append(gaps.begin(1, "CLOSED", RUN + 5, 400, 400, 0))
    rows += later.subscribed(0, 3, 2 * RUN, 1010)
    rows += later.look(2 * RUN + 1, 1020, books(Proof.PROVED), lambda channel: 0)
    runs = [Run(1, 0, 410), Run(2, 1000, 2000)]
    found = [(g.channel, g.start_ns, g.end_ns, g.cause, g.healed_by, g.breaks) for g in complete(rows, runs)]
    assert found == [
        ("book", 0, 2, "START", "start", 1),
        ("book", 150, 250, "CHECKSUM", "resync", 2),
        ("book", 400, 1020, "CLOSED", "start", 1),
        ("trades", 400, 1000, "CLOSED", "start", 1),
        ("*", 410, 1000, NO_ENGINE, "start", 1),
        ("book", 1000, 1020, "START", "start", 1),
    ]
    alone = complete([row for row in rows if row["seq"] < 2 * RUN], runs[:1])
    assert [g.healed_by for g in alone if g.cause == "CLOSED"] == [NEVER, NEVER]
