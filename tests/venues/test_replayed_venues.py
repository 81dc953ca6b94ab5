"""Every native venue over a real socket: an engine against its captured or documented traffic, whole and with faults.

A book must come to what `docs/exchanges.md` says of its venue, hold what the server holds, break where a fault is one
that can be seen, come back, and be told the same way by the journal.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from data_controller.engine.gaps import all_gaps
from data_controller.engine.replay import replay
from data_controller.engine.verify import verify
from data_controller.market.layout import Proof
from tests.ingest.peer import run
from tests.venues.cases import CASES, Case
from tests.venues.replaying import FAULTS, ReplayServer
from tests.venues.running import Running, tree

TOP = 10
SILENT = {"silent_after_s": 1.0}
UNSEEN = ("duplicate",)
"""Faults that cost no book anything: what is told twice is dropped, or says again what is."""

every_venue = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))


def _seen(case: Case, fault: str) -> bool:
    """Whether `fault` can be seen by who reads the stream: a lost message only where something counts or sums up."""
    return bool(fault) and fault not in UNSEEN and (fault != "drop" or case.proves)


async def _as_documented(case: Case, server: ReplayServer, engine: Running, symbols: tuple[str, ...]) -> None:
    """Wait until all books are what the venue's can be."""
    venue = server.dialogue.venue
    await engine.until(lambda: all(engine.proof(venue, s) is case.proof for s in symbols), f"{case.proof.name} books")


async def _as_the_servers(server: ReplayServer, engine: Running, symbols: tuple[str, ...]) -> None:
    """Hold the server still and wait until every book is its book."""
    server.paused = True
    venue = server.dialogue.venue
    for symbol in symbols:
        await engine.until(
            lambda symbol=symbol: (
                engine.book(venue, symbol) is not None
                and engine.top(venue, symbol, TOP) == server.truths[symbol].top(TOP)
            ),
            f"{symbol} as the server has it: {server.truths[symbol].top(3)}",
        )
    server.paused = False


def _told_alike(engine: Running, case: Case, venue: str, fault: str) -> None:
    """What is on disk says the same: digest, doubts, gaps."""
    summary = engine.summary
    assert summary["stopped_by"] == "test" and summary["ok"]
    assert replay([engine.journal])["digest"] == summary["digest"]
    report = verify([engine.journal])
    assert (report["damages"], report["book_problems"]) == ([], [])
    doubts = (report["checksums_bad"], report["sequence_gaps"], report["quarantined"])
    assert doubts == (summary["checksums_bad"], summary["sequence_gaps"], summary["quarantined"])
    if not fault:
        assert report["ok"], report
    assert (report["quarantined"] > 0) == (fault == "corrupt")
    gaps = [gap for gap in all_gaps(None, engine.journal) if gap.channel == "book" and gap.cause != "START"]
    healed = [gap for gap in gaps if gap.end_ns and gap.exchange == venue]
    assert bool(healed) == _seen(case, fault), gaps


def _case(case: Case, fault: str, tmp_path: Path) -> None:
    async def main() -> None:
        dialogue = case.dialogue()
        async with ReplayServer(dialogue, seed=len(fault)) as server:
            silent = SILENT if fault == "silence" else {}
            section = case.section(dialogue.venue, server.port, case.symbols, **silent)
            async with Running(tree(tmp_path / "state", section)) as engine:
                await _as_documented(case, server, engine, case.symbols)
                assert {int(engine.book(dialogue.venue, s)["proof_by"]) for s in case.symbols} == {case.proof_by}
                if fault:
                    # A break before the gap of the start is told as healed would be part of it.
                    await engine.until(lambda: not engine.engine.pipeline.gaps, "the start's gaps to be told as healed")
                    before = _broken(engine)
                    server.strike(fault)
                    await engine.until(lambda: server.struck, f"{fault} to strike")
                    if _seen(case, fault):
                        await engine.until(lambda: _broken(engine) > before, "a broken book")
                    await _as_documented(case, server, engine, case.symbols)
                await engine.until(lambda: not engine.engine.pipeline.gaps, "every gap to be told as healed")
                if fault != "drop" or case.proves:
                    await _as_the_servers(server, engine, case.symbols)
                assert (server.connections > 1) == (fault in ("corrupt", "cut", "silence")), server.connections
            _told_alike(engine, case, dialogue.venue, fault)

    run(main())


def _broken(engine: Running) -> int:
    """How often books broke so far."""
    return int(engine.engine.pipeline.books.books["breaks"].sum())


@every_venue
def test_books_come_to_what_the_venue_can_prove_and_hold_what_it_said(case: Case, tmp_path: Path) -> None:
    _case(case, "", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@every_venue
def test_a_fault_breaks_what_it_can_be_seen_to_break_and_the_book_comes_back(
    case: Case, fault: str, tmp_path: Path
) -> None:
    _case(case, fault, tmp_path)


@every_venue
def test_an_instrument_is_added_while_it_runs_and_no_other_book_sees_it(case: Case, tmp_path: Path) -> None:
    if len(case.symbols) < 2:
        pytest.skip(f"expected two instruments in the capture of {case.name}, was one")
    first, second = case.symbols

    async def main() -> None:
        dialogue = case.dialogue()
        venue = dialogue.venue
        async with ReplayServer(dialogue) as server:
            section = case.section(venue, server.port, (first,))
            async with Running(tree(tmp_path / "state", section)) as engine:
                await _as_documented(case, server, engine, (first,))
                before = engine.book(venue, first)
                counts = [int(before[name]) for name in ("gaps", "breaks", "checks_bad")]
                events = int(before["events"])
                await engine.engine.collect(venue, second, True, "test")
                await _as_documented(case, server, engine, case.symbols)
                await engine.until(lambda: int(engine.book(venue, first)["events"]) > events, "more of the first one")
                after = engine.book(venue, first)
                assert Proof(after["proof"]) is case.proof
                assert [int(after[name]) for name in ("gaps", "breaks", "checks_bad")] == counts
                assert server.connections == 1
                await engine.engine.collect(venue, second, False, "test")
                await engine.until(lambda: engine.proof(venue, second) in (Proof.EMPTY, Proof.BROKEN), "it given up")
                assert engine.proof(venue, first) is case.proof
            assert replay([engine.journal])["digest"] == engine.summary["digest"]

    run(main())
