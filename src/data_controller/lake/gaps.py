"""Gaps for people: begin and end of each joined, those that outlived their run, and the times when no engine ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from data_controller.lake.catalogue import Catalogue

NO_ENGINE = "NO_ENGINE"
NEVER = "never"
_RUN_BITS = 40
_LOOKS_BACK = ("START", "CHECKSUM", "SILENT", "STALE", "CROSSED")
"""Causes that cast doubt on what came before they were seen, back to the last proof; others begin when seen."""


class Run(NamedTuple):
    """What was recorded of one engine start."""

    number: int
    first_ns: int
    last_ns: int


class Gap(NamedTuple):
    """A span in which a channel is not to be trusted; `end_ns` 0: to the end of what is recorded."""

    exchange: str
    instrument: str
    channel: str
    precision: str
    start_ns: int
    end_ns: int
    cause: str
    healed_by: str
    breaks: int  # how often it broke before it healed
    seq: int  # the record that told of it
    row: int  # of the run's channel table


def runs_of(catalogue: Catalogue) -> list[Run]:
    """Engine starts that are in the lake, in order."""
    runs: dict[int, Run] = {}
    for segment in catalogue.segments.values():
        if segment.records:
            run = runs.get(segment.run, Run(segment.run, segment.first_recv_ns, 0))
            runs[segment.run] = run._replace(last_ns=max(run.last_ns, segment.last_recv_ns))
    return [runs[number] for number in sorted(runs)]


def gap_rows(catalogue: Catalogue, **which: Any) -> list[dict[str, Any]]:
    """Rows of the table `gaps` of the lake."""
    return [row for file in catalogue.files(channel="gaps", **which) for row in catalogue.table(file).to_pylist()]


def complete(rows: Iterable[Mapping[str, Any]], runs: list[Run]) -> list[Gap]:
    """The gaps that `rows` tell of, by their start; one that its run did not see healed ends with a later run.

    Rows of a channel stand in the order in which they were told: one record may end a gap and begin the next.
    """
    open_gaps: dict[tuple[int, int], Gap] = {}
    ended: list[Gap] = []
    for row in sorted(rows, key=lambda r: r["seq"]):
        run = row["seq"] >> _RUN_BITS
        channel = row.get("channel_row", row.get("channel", -1))
        key = (run, channel)
        gap = open_gaps.get(key)
        if row["ended_ns"]:
            if gap is not None:
                ended.append(gap._replace(end_ns=row["ended_ns"], healed_by=row["healed_by"]))
                del open_gaps[key]
            continue
        if gap is not None:
            open_gaps[key] = gap._replace(breaks=gap.breaks + 1)
            continue
        open_gaps[key] = Gap(
            row["venue"],
            row["symbol"],
            row["stream"],
            row["precision"],
            row["since_ns"] if row["reason"] in _LOOKS_BACK else row["recv_ns"],
            0,
            row["reason"],
            NEVER,
            1,
            row["seq"],
            channel,
        )
    proved: dict[tuple[Any, ...], list[tuple[int, int]]] = {}  # by channel: run, and when its start was proved
    for gap in ended:
        if gap.cause == "START":
            proved.setdefault(gap[:4], []).append((gap.seq >> _RUN_BITS, gap.end_ns))
    for (number, _), gap in open_gaps.items():
        healed = proved.get(gap[:4], []) if gap.channel == "book" else [(run.number, run.first_ns) for run in runs]
        later = min((found for found in healed if found[0] > number), default=None)
        if later is not None:
            gap = gap._replace(end_ns=max(later[1], gap.start_ns), healed_by="start")
        ended.append(gap)
    for before, after in pairwise(runs):
        if after.first_ns <= before.last_ns:
            continue  # the clock was set back between them: how long nobody recorded is not known
        seq = after.number << _RUN_BITS
        ended.append(Gap("*", "*", "*", "", before.last_ns, after.first_ns, NO_ENGINE, "start", 1, seq, -1))
    return sorted(ended, key=lambda g: (g.start_ns, g.seq, g.row))
