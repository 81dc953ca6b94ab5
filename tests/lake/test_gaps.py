"""Gaps for people: begin and end joined, whatever the order of rows within a record and whichever run heals them."""

from __future__ import annotations

from typing import Any

from data_controller.lake.gaps import NEVER, NO_ENGINE, Run, complete

R = 1 << 40


def row(
    seq: int, recv_ns: int, reason: str, since_ns: int = 0, began: int = 0, ended: int = 0, by: str = "", **named: Any
) -> dict[str, Any]:
    names = {"venue": "v", "symbol": "s", "channel_row": 3, "stream": "book", "precision": "P0"} | named
    told = {"seq": seq, "recv_ns": recv_ns, "since_ns": since_ns or recv_ns, "reason": reason}
    return names | told | {"began_seq": began or seq, "ended_ns": ended, "healed_by": by}


def test_a_record_may_end_a_gap_and_begin_the_next() -> None:
    rows = [
        row(R + 10, 1_000, "GAP"),
        row(R + 20, 2_000, "GAP", 1_000, R + 10, 2_000, "resync"),
        row(R + 20, 2_500, "CHECKSUM", 2_400),
        row(R + 90, 9_000, "CHECKSUM", 2_400, R + 20, 9_000, "resync"),
    ]
    found = [(gap.start_ns, gap.end_ns, gap.cause) for gap in complete(rows, [Run(1, 0, 10_000)])]
    assert found == [(1_000, 2_000, "GAP"), (2_400, 9_000, "CHECKSUM")]


def test_a_gap_that_outlives_its_run_ends_with_the_first_run_that_proves_its_book() -> None:
    rows = [
        row(R + 10, 1_000, "CLOSED"),
        row(R + 11, 1_000, "CLOSED", stream="trades", channel_row=4),
        row(2 * R + 1, 20_000, "START"),
        row(3 * R + 1, 30_000, "START"),
        row(3 * R + 9, 31_000, "START", 30_000, 3 * R + 1, 31_000, "start"),
    ]
    runs = [Run(1, 0, 10_000), Run(2, 20_000, 20_500), Run(3, 30_000, 90_000)]
    found = {(gap.channel, gap.cause, gap.start_ns): (gap.end_ns, gap.healed_by) for gap in complete(rows, runs)}
    assert found["book", "CLOSED", 1_000] == (31_000, "start")
    assert found["book", "START", 20_000] == (31_000, "start")
    assert found["trades", "CLOSED", 1_000] == (20_000, "start")
    assert [gap.healed_by for gap in complete(rows[:1], runs[:2]) if gap.channel == "book"] == [NEVER]


def test_a_clock_that_was_set_back_between_runs_makes_no_gap_of_negative_length() -> None:
    runs = [Run(1, 0, 10_000), Run(2, 5_000, 20_500), Run(3, 30_000, 31_000)]
    rows = [row(R + 10, 9_000, "CLOSED", stream="trades")]
    found = complete(rows, runs)
    assert [(gap.start_ns, gap.end_ns) for gap in found if gap.cause == NO_ENGINE] == [(20_500, 30_000)]
    assert all(gap.end_ns >= gap.start_ns for gap in found)
