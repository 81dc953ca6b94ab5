"""When to try a connection again: delays as a generator, and whether an error is worth another try."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Generator, Iterator

import httpx
import picows

from data_controller.errors import is_retryable


def delays(rng: random.Random, first_s: float, max_s: float, stable_after_s: float) -> Generator[float, float, None]:
    """Seconds to wait before each attempt: 0, then jittered in the upper half of first, 2 first, 4 first ... max.

    Prime it with `next()`, then send how many seconds the last connection lasted (0 where it never opened): one that
    lasted `stable_after_s` starts over at 0. One that at least lasted `first_s` starts over at `first_s`: the peer is
    there, and a gap soon after an outage must not cost the outage's delay again; what bounds a peer that keeps hanging
    up is the connection rate. The jitter keeps the connections of one outage from returning together.
    """
    ceiling_s = 0.0
    while True:
        lasted_s = yield rng.uniform(ceiling_s / 2, ceiling_s)
        if lasted_s >= min(first_s, stable_after_s):
            ceiling_s = 0.0 if lasted_s >= stable_after_s else first_s
        else:
            ceiling_s = min(max_s, max(first_s, 2 * ceiling_s))


def worth_retrying(error: BaseException) -> bool:
    """True where the next attempt may succeed by itself: the network and the moment, HTTP 429 and 5xx.

    False for what a person must look at: a certificate, an address, any other HTTP status.
    """
    if isinstance(error, picows.WSHandshakeError):
        # No response at all is a connection that broke off in the handshake.
        status = None if error.response is None else int(error.response.status)
        return status is None or status == 429 or status >= 500
    if isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL)):
        return False
    # httpx hides what went wrong below it behind an error of its own.
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return False
    if isinstance(error, httpx.TransportError):
        return True
    if isinstance(error, (socket.gaierror, ssl.SSLError)):
        return True
    # The network's own errors beyond ConnectionError (no route, network down) are plain OSErrors.
    return is_retryable(error) or type(error) is OSError


def full_jitter_s(rng: random.Random, attempt: int, first_s: float, max_s: float) -> float:
    """Seconds to wait after failed attempt `attempt` (0 the first): anything up to first, 2 first, 4 first ... max.

    The whole range is drawn from (M. Brooker, 2015): requests that failed together do not come back together.
    """
    return rng.uniform(0.0, min(max_s, first_s * 2.0 ** min(attempt, 32)))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and what it was raised from, nearest first; at most eight."""
    at: BaseException | None = error
    for _ in range(8):
        if at is None:
            return
        yield at
        at = at.__cause__ or at.__context__
