"""Rates come from counters and arrival times alone, and never show a dead stream as alive."""

from __future__ import annotations

import pytest

from data_controller.control import ChannelStat
from data_controller.monitoring.view import Rates

from .views import feed, view

S = 1_000_000_000


def with_frames(n: int, run: int = 1):
    stat = ChannelStat(exchange="x", channel="book", frames=n, events=n)
    return feed(run=run, channels=[stat, ChannelStat(exchange="x", channel="book", frames=n, events=n)])


def test_a_rate_is_the_count_over_the_window() -> None:
    rates = Rates(5.0)
    for i in range(200):
        rates.add(with_frames(10 * i), i * S // 10)
    assert rates.rates(199 * S // 10)[("x", "book")] == pytest.approx(200, rel=0.05)  # two rows of one stream add up


def test_a_rate_forgets_what_lies_before_its_window() -> None:
    rates = Rates(1.0)
    for i in range(100):
        rates.add(with_frames(1000 * min(i, 50)), i * S // 10)
    assert rates.rates(99 * S // 10)[("x", "book")] == 0


def test_a_new_run_starts_from_nothing_instead_of_going_below_zero() -> None:
    rates = Rates(5.0)
    rates.add(with_frames(100_000), 0)
    rates.add(with_frames(10, run=2), S)
    rates.add(with_frames(20, run=2), 2 * S)
    assert rates.rates(2 * S)[("x", "book")] == pytest.approx(20)


def test_a_silent_engine_has_a_rate_of_zero() -> None:
    rates = Rates(5.0)
    rates.add(with_frames(0), 0)
    rates.add(with_frames(1000), S)
    assert rates.rates(2 * S)[("x", "book")] > 0
    assert rates.rates(7 * S)[("x", "book")] == 0


def test_no_feed_no_rates() -> None:
    assert Rates(5.0).rates(0) == {}


def test_a_feed_too_old_is_not_live() -> None:
    assert view(feed_age_s=4.9).live(5.0) is not None
    assert view(feed_age_s=5.0).live(5.0) is None
    assert view(feed=None, feed_age_s=None).live(5.0) is None
