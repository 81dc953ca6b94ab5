"""Frames damaged on purpose: what the venues' tests of bad input and of faults share."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.exchanges.bitfinex.feeding import text
from tests.exchanges.feeding import Session

_ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1,
    10**30,
    1e308,
    1e-300,
    "",
    "0",
    "-1",
    "1e5",
    "9" * 40,
    "x",
    "\\u0000",
    [],
    {},
    [[]],
    [1, 2, 3],
    {"a": 1},
]


@st.composite
def mutated(draw: st.DrawFn, frames: Sequence[bytes]) -> bytes:
    """One of `frames` with a value replaced, a member dropped or added, bytes cut or changed."""
    frame = draw(st.sampled_from(frames))
    how = draw(st.integers(0, 4))
    if how <= 2:
        head, brace, tail = frame.partition(b"{")
        message = json.loads(brace + tail)
        places: list[tuple[Any, Any]] = []
        _walk(message, places)
        for _ in range(draw(st.integers(1, 3))):
            holder, key = draw(st.sampled_from(places))
            if how == 0 and isinstance(holder, dict):
                holder.pop(key, None)
            elif isinstance(holder, dict) or key < len(holder):
                holder[key] = draw(st.sampled_from(_ODD))
        return head + text(message)
    at = draw(st.integers(0, len(frame)))
    if how == 3:
        return frame[:at]
    return frame[:at] + bytes([draw(st.integers(0, 255))]) + frame[at + 1 :]


def _walk(value: Any, places: list[tuple[Any, Any]]) -> None:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        places.append((value, key))
        _walk(child, places)


def damaged(frames: Sequence[bytes], rng: random.Random, rate: float = 0.03) -> list[bytes]:
    """`frames` with some lost, told twice, cut, changed in a digit, or out of order."""
    out: list[bytes] = []
    k = 0
    while k < len(frames):
        frame, fault = frames[k], rng.random() / rate
        if fault < 1:
            pass
        elif fault < 2:
            out += [frame, frame]
        elif fault < 3:
            out.append(frame[: rng.randrange(len(frame))])
        elif fault < 4 and k + 1 < len(frames):
            out += [frames[k + 1], frame]
            k += 1
        else:
            out.append(frame)
        k += 1
    return out


def survives(session: Session, frames: Sequence[bytes]) -> None:
    """Feed `frames`: nothing is raised, each is counted, and each that is refused is in the quarantine."""
    before = session.decoder.counters
    session.feed(*frames)
    after = session.decoder.counters
    assert after["frames"] - before["frames"] == len(frames)
    refused = after["quarantined"] - before["quarantined"]
    assert len(session.decoder.side_rows["quarantine"]) >= refused
    for row in session.rows:
        assert -1 <= int(row["channel"]) < len(session.tables.channels)
        assert 0 <= int(row["price_scale"]) <= 22
        assert 0 <= int(row["size_scale"]) <= 22
