"""Delays between attempts, and which errors are worth another."""

from __future__ import annotations

import random
import socket
import ssl
from itertools import pairwise

import picows
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.ingest.backoff import delays, worth_retrying


def _walk(lasted: list[float], seed: int = 0) -> list[float]:
    pace = delays(random.Random(seed), first_s=1.0, max_s=60.0, stable_after_s=30.0)
    return [next(pace), *(pace.send(seconds) for seconds in lasted)]


def test_the_first_attempt_waits_for_nothing_and_the_next_ones_ever_longer() -> None:
    steps = _walk([0.0] * 8)
    assert steps[0] == 0.0
    for ceiling, was in zip([1, 2, 4, 8, 16, 32, 60, 60], steps[1:], strict=True):
        assert ceiling / 2 <= was <= ceiling


def test_a_connection_that_held_starts_over() -> None:
    steps = _walk([0.0, 0.0, 30.0, 0.0])
    assert steps[3] == 0.0
    assert 0.5 <= steps[4] <= 1.0


def test_a_connection_soon_lost_after_an_outage_does_not_pay_for_the_outage() -> None:
    steps = _walk([0.0] * 8 + [5.0, 0.0])
    assert steps[8] >= 30.0
    assert 0.5 <= steps[9] <= 1.0
    assert 1.0 <= steps[10] <= 2.0


def test_a_peer_that_hangs_up_at_once_is_tried_ever_later() -> None:
    steps = _walk([0.5] * 8)
    assert steps[8] >= 30.0


def test_equal_seeds_give_equal_delays_and_others_do_not() -> None:
    assert _walk([0.0] * 5, seed=3) == _walk([0.0] * 5, seed=3) != _walk([0.0] * 5, seed=4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 100, allow_nan=False), max_size=50), st.integers(0, 1000))
def test_no_delay_is_ever_beyond_the_maximum(lasted: list[float], seed: int) -> None:
    steps = _walk(lasted, seed)
    assert all(0.0 <= step <= 60.0 for step in steps)
    for before, (one, two) in zip(lasted, pairwise(steps), strict=True):
        if before < 1.0:
            assert two >= min(30.0, max(0.5, one / 2))


def _status(status: int) -> picows.WSHandshakeError:
    response = picows.WSUpgradeResponse.create_error_response(status)
    return picows.WSInvalidStatusError("refused", None, None, response)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        ConnectionResetError(),
        TimeoutError(),
        OSError(101, "Network is unreachable"),
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        ssl.SSLError("handshake failure"),
        picows.WSInvalidMessageError("cut off"),
        _status(429),
        _status(500),
        _status(503),
    ],
)
def test_the_network_and_the_moment_are_worth_another_attempt(error: Exception) -> None:
    assert worth_retrying(error)


@pytest.mark.parametrize(
    "error",
    [
        ssl.SSLCertVerificationError("certificate has expired"),
        PermissionError(13, "Permission denied"),
        picows.WSInvalidURL("http://x", "scheme isn't ws or wss"),
        ValueError("a bug"),
        _status(400),
        _status(403),
        _status(404),
    ],
)
def test_what_a_person_must_mend_is_not(error: Exception) -> None:
    assert not worth_retrying(error)
