"""Damage for the streams of any venue: seeded faults in real frames, and hostile frames made out of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from data_controller.market.layout import Proof
from data_controller.market.rows import EVENT
from tests.exchanges.feeding import RAW, Session, capture

MARGIN = 32


def captured(path: str) -> Path:
    """A capture under shared/data/raw_ws; the test is skipped where it is not there."""
    found = RAW / path
    if not found.exists():
        pytest.skip(f"expected the capture {path} beside the checkout, was not there")
    return found


def frames_of(path: Path, keep: Callable[[bytes], bool], count: int) -> list[bytes]:
    """The first `count` frames of a capture that `keep` wants."""
    found: list[bytes] = []
    for what, _, _, frame in capture(path):
        if what == "frame" and keep(frame):
            found.append(frame)
            if len(found) == count:
                break
    return found


def damaged(frames: Sequence[bytes], at: int, fault: str, rng: random.Random) -> list[bytes]:
    """`frames` with one fault at frame `at`."""
    out = list(frames)
    frame = frames[at]
    if fault == "drop":
        del out[at]
    elif fault == "duplicate":
        out.insert(at + 1, frame)
    elif fault == "late duplicate":
        out.insert(at + 1 + rng.randrange(1, 5), frame)
    elif fault == "swap":
        out[at : at + 2] = out[at : at + 2][::-1]
    elif fault == "cut":
        out[at] = frame[: rng.randrange(1, len(frame) - 1)]
    elif fault == "garbage":
        k = rng.randrange(len(frame))
        out[at] = frame[:k] + b"\x01" + frame[k + 1 :]
    elif fault == "digit":
        k = rng.choice([k for k, byte in enumerate(frame) if byte in b"123456789"])
        out[at] = frame[:k] + bytes([(frame[k] - 48) % 9 + 49]) + frame[k + 1 :]
    else:
        raise AssertionError(f"expected a fault that is known, was {fault!r}")
    return out


def wrong_proofs(
    decoder: Any, frames: Sequence[bytes], faults: Iterable[str], seeds: int, *, first: int, last: int, top: int = 0
) -> tuple[int, list[tuple[str, int]]]:
    """How many books said PROVED at the end of a damaged stream, and which faults left one that differs.

    Faults hit frames `first` to `last`; behind them must come undamaged frames of each book. `top` compares that many
    levels a side, for a checksum that covers no more.
    """
    true = Session(decoder, keep=False)
    true.feed(*frames)
    proved, wrong = 0, []
    for fault in faults:
        for seed in range(seeds):
            rng = random.Random(f"{fault} {seed}")
            session = Session(decoder, keep=False)
            session.feed(*damaged(frames, rng.randrange(first, last), fault, rng), size=rng.choice([1, 7, 1000]))
            for row, channel in enumerate(session.tables.channels):
                if session.books.books[row]["depth"] == 0 or session.proof(row) is not Proof.PROVED:
                    continue
                proved += 1
                mine, its = session.sides(row), true.sides(true.tables.channel(channel))
                if [list(s.items())[: top or None] for s in mine] != [list(s.items())[: top or None] for s in its]:
                    wrong.append((fault, seed))
    return proved, wrong


def is_json(frame: bytes) -> bool:
    """Whether a frame is JSON."""
    try:
        json.loads(frame)
    except ValueError:
        return False
    return True


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["0", "-1", "1e308", "1e-30", "9" * 30, "0.000", "", "buy", "snapshot", -0.0, [], {}, [[]], [{}]]),
)


@st.composite
def hostile(draw: Any, seeds: Sequence[bytes]) -> bytes:
    """A frame of `seeds` with up to three of its values replaced, removed or doubled; sometimes cut."""
    value = json.loads(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        value = _changed(draw, value)
    text = json.dumps(value, separators=(",", ":")).encode()
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


def _changed(draw: Any, value: Any) -> Any:
    if isinstance(value, dict | list) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        what = draw(st.integers(0, 7))
        if what == 0:
            copy = dict(value) if isinstance(value, dict) else list(value)
            del copy[key]
            return copy
        if what == 1 and isinstance(value, list):
            return [*value, value[key]]
        changed = _changed(draw, value[key])
        if isinstance(value, dict):
            return {**value, key: changed}
        return [*value[:key], changed, *value[key + 1 :]]
    return draw(ODD)


class Guarded(Session):
    """A Session whose row buffer lies between rows that nobody may write."""

    def __init__(self, decoder: Any, room: int = 1 << 13) -> None:
        super().__init__(decoder, keep=False, opened=False)
        self._memory = np.zeros(room + 2 * MARGIN, EVENT)
        self._memory.view(np.uint8)[:] = 0xA5
        self.buffer.array = self._memory[MARGIN:-MARGIN]
        self.buffer.array.view(np.uint8)[:] = 0
        self.open()

    def check(self) -> None:
        """Nothing outside the buffer was written, and every book is a book."""
        edges = np.concatenate([self._memory[:MARGIN], self._memory[-MARGIN:]]).view(np.uint8)
        assert bool((edges == 0xA5).all()), "expected rows inside their buffer"
        for row in np.flatnonzero(self.books.books["depth"]).tolist():
            for side in (+1, -1):
                levels = self.books.side(row, side)
                assert bool((levels["size"] > 0).all()), "expected sizes above 0"
                steps = np.diff(levels["price"]) * side
                allowed = steps < 0 if self.books.books[row]["depth"] == 2 else steps <= 0
                assert bool(allowed.all()), "expected prices from best to worst"
