"""What a record-only pipeline has to carry from one journal segment to the next, as bytes, so that a job can go on."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from data_controller.pipeline.pipeline import Pipeline
from data_controller.records import Start

_PIPELINE = (
    "now_ns",
    "vitals",
    "latched",
    "last_recv_ns",
    "gaps",
    "counters",
    "tables",
    "_seq",
    "_second_end_ns",
    "_silence_looked_at_ns",
    "_proofs_at_end",
    "_accept_mask",
    "_max_age_ns",
    "_past",
)


def dump(pipeline: Pipeline, config: dict[str, Any]) -> bytes:
    """Decoders, subscriptions, books and gaps of `pipeline`, whose config is now `config`.

    Features, orders and digests are not in it: only a record-only pipeline can go on from it. Its rows and actions must
    have been taken. Raises pickle.PicklingError, TypeError or AttributeError where a venue's state is no plain data.
    """
    assert pipeline.rows.start == pipeline.rows.stop == 0, "rows that nobody took would be lost"
    state = {
        "config": config,
        "pipeline": {name: getattr(pipeline, name) for name in _PIPELINE},
        "books": pipeline.books.packed(),
        "decoders": [_plain(decoder) for decoder in pipeline.decoders],
        "subscriptions": [None if s is None else _plain(s) for s in pipeline.subscriptions],
    }
    out = io.BytesIO()
    _Pickler(out, protocol=5).dump(state)
    return out.getvalue()


def restore(pipeline: Pipeline, content: bytes) -> dict[str, Any]:
    """Make a fresh `pipeline` go on where the one of `dump` stood; returns its config."""
    state = pickle.loads(content)
    config: dict[str, Any] = state["config"]
    tables = state["pipeline"]["tables"]
    instruments, channels = tables.dump()
    start = Start(
        run=0, code="", lock="", platform="", config=config, instruments=instruments, channels=channels, restored={}
    )
    pipeline.begin(start)
    vars(pipeline).update(state["pipeline"])
    pipeline.books.unpack(state["books"])
    for fresh, plain in zip(pipeline.decoders, state["decoders"], strict=True):
        vars(fresh).update(plain)
    for wishes, plain in zip(pipeline.subscriptions, state["subscriptions"], strict=True):
        if wishes is not None:
            vars(wishes).update(plain)
    return config


def _plain(room: Any) -> dict[str, Any]:
    """Attributes of `room` that are data: compiled code is found again by whoever makes the room anew."""
    return {name: value for name, value in vars(room).items() if not callable(value)}


class _Pickler(pickle.Pickler):
    """Keeps arrays that look into another array looking into it."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is np.ndarray and isinstance(value.base, np.ndarray) and value.base.size:
            base = value.base
            offset = value.__array_interface__["data"][0] - base.__array_interface__["data"][0]
            return _view, (base, offset, value.shape, value.strides, value.dtype)
        return NotImplemented


def _view(base: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    return np.ndarray(shape, dtype, base, offset, strides)
