"""The connection rate over arbitrary request times."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.ingest.limiter import MINUTE_NS, TokenBucket


def _most_in_a_minute(taken: list[int]) -> int:
    return max((sum(t <= u <= t + MINUTE_NS for u in taken) for t in taken), default=0)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.integers(0, 10), st.integers(0, MINUTE_NS), st.just(12_000_000_000)), max_size=120),
    st.integers(1, 19),
)
def test_no_closed_window_of_a_minute_ever_sees_more_than_allowed(gaps: list[int], burst: int) -> None:
    bucket = TokenBucket(burst, 20)
    now_ns, taken = 1_700_000_000_000_000_000, []
    for gap in gaps:
        now_ns += gap
        if bucket.take(now_ns) == 0:
            taken.append(now_ns)
    assert _most_in_a_minute(taken) <= 20


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 30_000_000_000), min_size=30, max_size=80))
def test_who_waits_as_told_gets_a_token_and_the_rate_holds(gaps: list[int]) -> None:
    bucket = TokenBucket()
    now_ns, taken = 0, []
    for gap in gaps:
        now_ns += gap
        wait_ns = bucket.take(now_ns)
        if wait_ns:
            now_ns += wait_ns
            assert bucket.take(now_ns) == 0
        taken.append(now_ns)
    assert _most_in_a_minute(taken) <= 20


def test_a_full_bucket_gives_its_burst_at_once_then_one_every_twelve_seconds() -> None:
    bucket = TokenBucket(15, 20)
    assert [bucket.take(0) for _ in range(15)] == [0] * 15
    assert bucket.take(0) == 12_000_000_000
    assert bucket.take(11_999_999_999) == 1
    assert bucket.take(12_000_000_000) == 0
    assert bucket.take(12_000_000_000) == 12_000_000_000


def test_the_bound_is_reached_so_the_proof_above_is_not_vacuous() -> None:
    bucket = TokenBucket(15, 20)
    taken = [t for t in range(0, MINUTE_NS + 1, 1_000_000_000) for _ in range(20) if bucket.take(t) == 0]
    assert _most_in_a_minute(taken) == 20


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    bucket = TokenBucket(1, 2)
    assert bucket.take(100 * MINUTE_NS) == 0
    assert bucket.take(0) > 0
    assert bucket.take(100 * MINUTE_NS) == MINUTE_NS


@pytest.mark.parametrize(("burst", "per_minute"), [(0, 20), (20, 20), (21, 20)])
def test_a_bucket_that_could_not_keep_its_promise_is_refused(burst: int, per_minute: int) -> None:
    with pytest.raises(ValueError, match="expected 1 <= burst < per_minute"):
        TokenBucket(burst, per_minute)


def test_another_clock_neither_fills_a_bucket_nor_stops_it() -> None:
    bucket = TokenBucket(2, 3)
    assert [bucket.take(10**18) for _ in range(3)] == [0, 0, MINUTE_NS]
    for now_ns in (2 * 10**18, 10**17):
        bucket.other_clock()
        assert bucket.take(now_ns) == MINUTE_NS
        assert bucket.take(now_ns + MINUTE_NS) == 0
