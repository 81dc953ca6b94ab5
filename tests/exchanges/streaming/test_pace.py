"""The token bucket and the back-off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_controller.exchanges.streaming.backoff import Backoff, doubling_ns
from data_controller.exchanges.streaming.pace import Pace

S = 1_000_000_000


@given(
    st.sampled_from([1.0, 2.0, 3.0, 5.0, 10.0, 50.0]),
    st.lists(st.integers(0, S // 2), min_size=1, max_size=200),
)
def test_no_second_holds_more_requests_than_allowed_wherever_it_begins(per_s: float, waits_ns: list[int]) -> None:
    pace, now_ns, gone = Pace(per_s), 1_700_000_000 * S, []
    for wait_ns in waits_ns:
        now_ns += wait_ns
        while pace.take(now_ns):
            gone.append(now_ns)
    assert all(sum(t <= other < t + S for other in gone) <= per_s for t in gone)


@pytest.mark.parametrize(("per_s", "seconds"), [(0.5, 200), (1.0, 100), (5.0, 34), (50.0, 4)])
def test_requests_are_not_held_up_for_much_longer_than_needed(per_s: float, seconds: int) -> None:
    pace = Pace(per_s)
    assert sum(pace.take(tenth * S // 10) for tenth in range(seconds * 10) for _ in range(50)) >= 100


def test_no_limit_lets_everything_through() -> None:
    pace = Pace(0)
    assert all(pace.take(5) for _ in range(1000))


def test_what_goes_in_any_case_delays_those_behind() -> None:
    pace = Pace(1.0)
    pace.spend(S)
    pace.spend(S)
    assert [pace.take(now_ns) for now_ns in (S, 2 * S, 3 * S, 3 * S)] == [False, False, True, False]


def test_delays_double_from_the_first_up_to_the_most() -> None:
    assert [doubling_ns(times, 1.0, 5.0) // S for times in (0, 1, 2, 3, 4, 99)] == [0, 1, 2, 4, 5, 5]


def test_what_held_for_long_enough_starts_over() -> None:
    backoff = Backoff()
    delays = []
    for now_ns in (S, 2 * S, 3 * S, 3 * S, 300 * S, 301 * S):
        backoff.note(now_ns, 1.0, 60.0, 120.0)
        delays.append((backoff.not_before_ns - now_ns) // S)
    assert delays == [0, 1, 2, 4, 0, 1]
