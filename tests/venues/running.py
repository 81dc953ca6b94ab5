"""A live engine on the loop of a test: what it holds, what it told, and what is left of it on disk."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_controller.config import parse
from data_controller.engine.live import LiveEngine
from data_controller.market.layout import Proof

DEADLINE_S = 60.0


def tree(state: Path, exchanges: dict[str, dict[str, Any]], **ingest: Any) -> dict[str, Any]:
    """A config that only records, at once and beside nothing else."""
    pace = {"connection_burst": 900, "connections_per_minute": 1000, "reconnect_first_s": 0.02}
    return {
        "state_dir": str(state),
        "exchanges": exchanges,
        "engine": {"spin_us": 0, "pulse_ms": 20},
        "ingest": {**pace, **ingest},
        "journal": {"flush_interval_ms": 100, "min_free_bytes": 0},
        "lake": {"compact": False},
        "monitoring": {"enabled": False},
    }


class Running:
    """A LiveEngine that records; use as an async context, then read `summary`."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.alerts: list[dict[str, Any]] = []
        self.live = False
        self.summary: dict[str, Any] = {}
        self.engine = LiveEngine(parse(config), record_only=True, on_event=self._hear)
        self.journal = Path(config["state_dir"]) / "journal"

    def _hear(self, event: dict[str, Any]) -> None:
        self.live = self.live or event["event"] == "live"
        if event["event"] == "alert":
            self.alerts.append(event)

    async def __aenter__(self) -> Running:
        self._task = asyncio.get_running_loop().create_task(self.engine.main())
        await self.until(lambda: self.live, deadline_s=600.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._task.done():
            self.engine.stop("test")
        try:
            self.summary = await self._task
        finally:
            gc.enable()  # an engine that broke leaves it off

    async def until(self, condition: Callable[[], object], what: str = "", deadline_s: float = DEADLINE_S) -> None:
        """Return once `condition` holds; the engine must live."""
        deadline = time.monotonic() + deadline_s
        while not condition():
            if self._task.done():
                self._task.result()
                raise AssertionError(f"the engine ended: {what}")
            assert time.monotonic() < deadline, f"expected within {deadline_s:g} s: {what or condition}: {self.books()}"
            await asyncio.sleep(0.005)

    def book(self, venue: str, symbol: str) -> np.void | None:
        """The row of a book, None before there is one."""
        pipeline = self.engine.pipeline
        for row, channel in enumerate(pipeline.tables.channels[: len(pipeline.books.books)]):
            if (channel.venue, channel.symbol, channel.stream) == (venue, symbol, "book"):
                found: np.void = pipeline.books.books[row]
                return found if found["depth"] else None
        return None

    def proof(self, venue: str, symbol: str) -> Proof:
        """How far it is proved."""
        book = self.book(venue, symbol)
        return Proof.EMPTY if book is None else Proof(book["proof"])

    def top(self, venue: str, symbol: str, count: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """The best `count` levels a side as (price, size)."""
        pipeline, book = self.engine.pipeline, self.book(venue, symbol)
        assert book is not None
        row = int(book["channel"])
        bids, asks = (pipeline.books.side(row, sign)[["price", "size"]][:count].tolist() for sign in (1, -1))
        return bids, asks

    def books(self) -> dict[str, tuple[str, int, int]]:
        """Proof, gaps and breaks of every book, to be read by a person."""
        found = {}
        books = self.engine.pipeline.books.books if self.live else []
        for book in books:
            if book["depth"]:
                name = self.engine.pipeline.tables.channels[int(book["channel"])]
                told = Proof(book["proof"]).name, int(book["gaps"]), int(book["breaks"])
                found[f"{name.venue} {name.symbol}"] = told
        return found
