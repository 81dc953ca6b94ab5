"""The tape against a JSON library, and its readers on literal texts."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.streaming import tape as t
from data_controller.exchanges.streaming.state import key_of

leaves = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=8)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=6), inner, max_size=5)
)


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Text:
    """A JSON text and its tape."""

    def __init__(self, text: bytes | str, tokens: int = 4096) -> None:
        self.data = np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8).copy()
        self.tape = np.zeros(tokens, t.TOKEN)
        self.p = self.data.ctypes.data
        self.n = int(t.tape_of(self.p, self.p + len(self.data), self.tape))

    def text(self, at: int) -> bytes:
        token = self.tape[at]
        return self.data[int(token["start"]) - self.p : int(token["stop"]) - self.p].tobytes()

    def value(self, at: int = 0) -> Any:
        """The value at a token, its containers walked by `after`."""
        kind, text = int(self.tape[at]["kind"]), self.text(at)
        if kind == t.STRING:
            return json.loads(b'"' + text + b'"')
        if kind not in (t.OBJECT, t.LIST):
            return json.loads(text)
        children, k = [], at + 1
        while k < self.tape[at]["after"]:
            children.append(k)
            k = int(self.tape[k]["after"])
        if kind == t.LIST:
            return [self.value(child) for child in children]
        return [(np.uint64(self.tape[child]["key"]), self.value(child)) for child in children]

    def at(self, *path: str) -> int:
        at = 0
        for name in path:
            at = int(t.member(self.tape, at, t.name(name)))
        return at


def hashed(value: Any) -> Any:
    """`value` as `Text.value` gives it: objects as lists of hashed names and values."""
    if isinstance(value, dict):
        return [(t.name(json.dumps(key, ensure_ascii=False)[1:-1]), hashed(inner)) for key, inner in value.items()]
    return [hashed(inner) for inner in value] if isinstance(value, list) else value


@given(values, st.sampled_from([None, 1]))
@settings(deadline=None)
def test_a_tape_holds_what_the_text_says(value: Any, indent: int | None) -> None:
    text = Text(json.dumps(value, ensure_ascii=False, indent=indent))
    assert text.n > 0
    assert text.value() == hashed(value)


@given(values, st.data())
@settings(deadline=None)
def test_a_damaged_text_has_no_tape_or_one_that_ends_with_it(value: Any, data: st.DataObject) -> None:
    whole = bytearray(json.dumps(value, ensure_ascii=False).encode())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    text = Text(bytes(whole[: data.draw(st.integers(1, len(whole)))]))
    for k in range(max(text.n, 0)):
        assert text.p <= text.tape[k]["start"] <= text.tape[k]["stop"] <= text.p + len(text.data)
        assert k < text.tape[k]["after"] <= text.n


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "[1", '{"a"}', '{"a":}', "[1,]", "[,1]", '{"a":1,}', "[1 2]", "nul", '"a', "[1]]", "{1:2}", "[}"],
)
def test_what_is_no_json_has_no_tape(text: str) -> None:
    assert Text(text).n == t.NOT_JSON


def test_depth_and_length_are_bounded() -> None:
    assert Text("[" * 40 + "]" * 40).n == t.NOT_JSON
    assert Text("[" + "1," * 20 + "1]", tokens=8).n == t.TOO_MANY


def test_members_are_found_in_any_order_and_absent_ones_are_zero() -> None:
    text = Text('{"b":[1,{"c":"x"}],"a":{"c":2},"a":3}')
    assert text.text(text.at("a", "c")) == b"2"
    assert text.at("d") == text.at("b", "c") == 0
    assert text.text(int(t.item(text.tape, text.at("b"), 0))) == b"1"
    assert int(t.item(text.tape, text.at("b"), 2)) == 0
    assert t.text(text.tape, text.at("b") + 3) == t.name("x")


def test_numbers_are_read_with_and_without_quotes_and_whole() -> None:
    text = Text('{"a":"12.50","b":12.50,"c":"12x","d":null,"e":"","f":"-7","g":1.5e-7}')
    for name in "ab":
        assert t.decimal(text.tape, text.at(name)) == (True, 1250, 2, 0, False)
    for name in "cdeh":
        assert not t.decimal(text.tape, text.at(name))[0]
        assert not t.integer(text.tape, text.at(name))[0]
    assert t.integer(text.tape, text.at("f")) == (True, -7)
    assert t.decimal(text.tape, text.at("g"))[1:3] == (15, 8)


@given(st.datetimes(EPOCH.replace(tzinfo=None), EPOCH.replace(tzinfo=None, year=2199)))
@settings(deadline=None)
def test_iso_times_are_those_of_the_library(when: datetime.datetime) -> None:
    exact = (when.replace(tzinfo=datetime.UTC) - EPOCH) // datetime.timedelta(microseconds=1)
    text = Text(json.dumps([when.isoformat() + "Z"]))
    assert t.iso_ns(text.tape, 1) == exact * 1000


def test_other_times() -> None:
    text = Text('["1617664024.123456", 1617664024123, "soon", "2021-13-01T00:00:00Z", "2021-01-01 00:00:00.1"]')
    assert t.seconds_ns(text.tape, 1) == 1617664024123456000
    assert t.unit_ns(text.tape, 2, 10**6) == 1617664024123000000
    assert t.unit_ns(text.tape, 3, 10**6) == t.iso_ns(text.tape, 4) == t.unit_ns(text.tape, 2, 10**12) == 0
    assert t.iso_ns(text.tape, 5) == 1609459200_100000000


def test_a_stream_of_several_names_has_the_key_that_the_kernels_mix() -> None:
    assert key_of("trade", "BTCUSDT") == t.mixed(t.name("trade"), t.name("BTCUSDT"))
    assert key_of("a", "b", "c") == t.mixed(t.mixed(t.name("a"), t.name("b")), t.name("c"))
