"""Engine time: follows the wall clock at most 500 ppm faster or slower, never goes back, and knows a step."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.engine.clock import Clock
from tests.engine.rig import T0, HandClock

turns = st.lists(
    st.tuples(st.integers(0, 3_000_000_000), st.integers(-900_000_000, 900_000_000), st.booleans()), max_size=60
)


def clock_of(hands: HandClock, **limits: int) -> Clock:
    return Clock(hands.wall_ns, hands.monotonic_ns, **limits)


@settings(max_examples=200, deadline=None)
@given(turns)
def test_time_never_goes_back_and_is_never_bent_by_more_than_its_limit(moves: list[tuple[int, int, bool]]) -> None:
    hands = HandClock()
    clock = clock_of(hands)
    before = clock.now_ns()
    for passed_ns, wall_error_ns, compare in moves:
        hands.pass_ns(passed_ns, passed_ns + wall_error_ns)
        now = clock.now_ns()
        assert abs(now - before - passed_ns) <= passed_ns * 500 // 1_000_000 + 1
        assert now >= before
        if compare:
            clock.compare()
            assert clock.now_ns() == now, "a comparison moves nothing"
        before = now


def test_a_comparison_does_not_add_the_time_between_its_own_readings() -> None:
    hands = HandClock(step_ns=1_000)  # every reading takes a microsecond
    clock = clock_of(hands)
    for _ in range(10_000):
        clock.compare()
    assert clock.now_ns() - T0 == pytest.approx(hands.mono - 5_000, abs=20_000)


def test_an_offset_is_worked_off_in_about_ten_seconds_and_dies_out() -> None:
    hands = HandClock()
    clock = clock_of(hands)
    hands.wall += 2_000_000  # 2 ms
    offsets = []
    for _ in range(60):
        offsets.append(clock.compare())
        hands.pass_ns(1_000_000_000)
    assert offsets[0] == 2_000_000
    assert all(later <= earlier for earlier, later in itertools.pairwise(offsets))
    assert 0 <= offsets[-1] < 20_000


@pytest.mark.parametrize("step_ns", [-1_100_000_000, 1_100_000_000])
def test_a_step_is_told_from_a_drift(step_ns: int) -> None:
    hands = HandClock()
    clock = clock_of(hands, step_ns=1_000_000_000)
    hands.pass_ns(1_000_000_000, 1_000_900_000)
    clock.compare()
    assert not clock.stepped
    hands.pass_ns(1_000_000_000, 1_000_000_000 + step_ns)
    clock.compare()
    assert clock.stepped


def test_a_slew_of_nothing_keeps_the_rate() -> None:
    hands = HandClock()
    clock = clock_of(hands, max_slew_ppm=0)
    hands.wall += 900_000_000
    clock.compare()
    hands.pass_ns(10_000_000_000)
    assert clock.now_ns() == T0 + 10_000_000_000


def test_a_monotonic_reading_has_the_time_that_it_had() -> None:
    hands = HandClock()
    clock = clock_of(hands)
    hands.pass_ns(500)
    reading, then = hands.mono, clock.now_ns()
    hands.pass_ns(700)
    assert clock.of_monotonic(reading) == then


def test_its_line_is_what_readings_are_computed_on() -> None:
    hands = HandClock()
    clock = Clock(hands.wall_ns, hands.monotonic_ns)
    hands.pass_ns(10**9, 10**9 + 300_000)
    clock.compare()
    anchor_mono_ns, anchor_ns, rate_ppm = clock.line()
    assert rate_ppm > 0
    elapsed = 7 * 10**8
    assert clock.of_monotonic(anchor_mono_ns + elapsed) == anchor_ns + elapsed + elapsed * rate_ppm // 1_000_000
