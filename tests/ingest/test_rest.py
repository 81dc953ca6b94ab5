"""The REST client against a real loopback server that keeps to no rule."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import ssl
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_controller.errors import RestError, RestLimited, RestRefused, RestUnavailable, is_retryable
from data_controller.exchanges.rest_limits import REST_LIMITS, UNKNOWN_VENUE, Endpoint, RestLimits
from data_controller.exchanges.streaming.keys import KeyRequest
from data_controller.ingest.limiter import Window
from data_controller.ingest.rest import UNDER_WAY, RestClient, redacted, retry_after_s
from data_controller.ingest.settings import RestSettings

from .peer import run
from .web import HandTime, Web, answer, client

OK = answer(b"[1]")
_CERTIFICATE = (
    *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
    *("-days", "1", "-subj", "/CN=localhost"),
)
WIDE = RestLimits(1_000_000, 1.0)


def got(web: Web, path: str = "/x", limits: RestLimits = WIDE, time: HandTime | None = None, **settings: Any) -> Any:
    """The reply, or the RestError raised, of one `get` (a coroutine)."""

    async def ask() -> Any:
        async with client(time or HandTime(), limits, **settings) as rest:
            try:
                return await rest.get("test", web.url + path)
            except RestError as error:
                return error

    return ask()


def with_web(*answers: Any) -> Callable[[Callable[[Web], Coroutine[Any, Any, None]]], None]:
    """Run a test's coroutine against a server that gives `answers`."""

    def decorate(body: Callable[[Web], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with Web(*answers) as web:
                await body(web)

        run(main())

    return decorate


def test_an_answer_comes_back_exact_plain_or_packed() -> None:
    @with_web(answer(b'[1,"x"]'), answer(gzip.compress(b"[2]"), Content_Encoding="gzip"))
    async def main(web: Web) -> None:
        assert (await got(web)).body == b'[1,"x"]'
        assert (await got(web)).body == b"[2]"


@pytest.mark.parametrize("status", ["429 Too Many Requests", "418 I'm a teapot", "500 Oh", "503 Busy"])
def test_what_may_pass_is_tried_again(status: str) -> None:
    @with_web(answer(b"no", status, Retry_After="7"), OK)
    async def main(web: Web) -> None:
        time = HandTime()
        assert (await got(web, time=time)).status == 200
        assert len(web.heads) == 2
        assert sum(time.slept) > 6.99


@pytest.mark.parametrize("status", ["400 Bad", "401 Who", "404 Where"])
def test_what_is_wrong_is_not_asked_again(status: str) -> None:
    @with_web(answer(b"nonsense", status))
    async def main(web: Web) -> None:
        error = await got(web)
        assert isinstance(error, RestRefused)
        assert (error.status, error.body, len(web.heads)) == (int(status[:3]), b"nonsense", 1)


def test_after_the_last_attempt_the_venue_is_unavailable() -> None:
    @with_web(answer(b"", "502 Bad Gateway"))
    async def main(web: Web) -> None:
        error = await got(web, attempts=3)
        assert isinstance(error, RestUnavailable) and is_retryable(error)
        assert (error.status, len(web.heads)) == (502, 3)


def test_a_redirect_is_refused_and_never_followed() -> None:
    @with_web(answer(b"", "302 Found", Location="https://elsewhere.example/"))
    async def main(web: Web) -> None:
        error = await got(web)
        assert isinstance(error, RestRefused) and "redirect" in str(error)
        assert len(web.heads) == 1


async def endless(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def bomb(path: str, writer: asyncio.StreamWriter) -> None:
    """A few thousand bytes that unpack to eight times what is allowed."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(8 << 20), 1))
    await writer.drain()


@pytest.mark.parametrize("talk", [endless, bomb])
def test_a_body_without_end_is_cut_where_the_bound_is(talk: Any) -> None:
    @with_web(talk)
    async def main(web: Web) -> None:
        error = await got(web, max_body_bytes=1 << 20)
        assert isinstance(error, RestRefused)
        assert "at most 1048576 bytes" in str(error)
        assert len(web.heads) == 1


async def trickle(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.005)


def test_a_body_that_trickles_runs_into_the_deadline_of_the_whole_answer() -> None:
    @with_web(trickle)
    async def main(web: Web) -> None:
        error = await got(web, timeout_s=0.05, attempts=1)
        assert isinstance(error, RestUnavailable)
        assert "within 0.05 s" in str(error)


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1",
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        answer(gzip.compress(b"[1,2,3]" * 99)[:30], Content_Encoding="gzip"),
        answer(b"no gzip at all", Content_Encoding="gzip"),
    ],
)
def test_an_answer_that_breaks_off_or_is_none_is_tried_again(broken: bytes) -> None:
    @with_web(broken, OK)
    async def main(web: Web) -> None:
        assert (await got(web)).body == b"[1]"


def test_an_encoding_that_nobody_asked_for_is_refused() -> None:
    @with_web(answer(b"?", Content_Encoding="br"))
    async def main(web: Web) -> None:
        assert isinstance(await got(web), RestRefused)
        assert "accept-encoding: gzip\r\n" in web.heads[0].lower()


def test_nobody_listening_is_unavailable_and_a_bad_address_is_refused() -> None:
    async def main() -> None:
        async with client(HandTime(), WIDE, attempts=2) as rest:
            with pytest.raises(RestUnavailable):
                await rest.get("test", "http://127.0.0.1:1/")
            for url in ("gopher://127.0.0.1/", "http://", "no address", "http://[::1/"):
                with pytest.raises(RestRefused):
                    await rest.get("test", url)

    run(main())


def test_a_venue_that_calls_a_wrong_request_its_own_failure_is_not_asked_again() -> None:
    @with_web(answer(b'["error",10020,"symbol: invalid"]', "500 Internal Server Error"))
    async def main(web: Web) -> None:
        assert isinstance(await got(web, limits=REST_LIMITS["bitfinex"]), RestRefused)
        assert len(web.heads) == 1


def test_a_limit_that_is_told_with_status_200_counts_as_one() -> None:
    @with_web(answer(b'{"error":["EAPI:Rate limit exceeded"]}'), OK)
    async def main(web: Web) -> None:
        assert (await got(web, limits=REST_LIMITS["kraken"])).body == b"[1]"


def test_without_retry_after_a_limited_endpoint_rests_for_its_whole_window() -> None:
    @with_web(answer(b"", "429 Slow"), OK)
    async def main(web: Web) -> None:
        time = HandTime()
        await got(web, limits=RestLimits(100, 60.0), time=time)
        assert sum(time.slept) > 59.99


def test_a_pause_longer_than_allowed_is_an_error_at_once_and_nothing_is_asked_meanwhile() -> None:
    @with_web(answer(b"banned", "418 I'm a teapot", Retry_After="7200"))
    async def main(web: Web) -> None:
        async with client(HandTime(), WIDE) as rest:
            for _ in range(2):
                with pytest.raises(RestLimited) as caught:
                    await rest.get("test", web.url)
                assert caught.value.retry_after_s > 7000
        assert len(web.heads) == 1


def test_a_limited_endpoint_holds_up_no_other() -> None:
    limits = RestLimits(100, 60.0, (Endpoint("/a", budget=10, per_s=60.0), Endpoint("/b", budget=10, per_s=60.0)))

    @with_web(answer(b"", "429 Slow", Retry_After="600"), OK)
    async def main(web: Web) -> None:
        async with client(HandTime(), limits) as rest:
            with pytest.raises(RestLimited):
                await rest.get("test", web.url + "/a")
            assert (await rest.get("test", web.url + "/b")).status == 200


def test_no_more_than_the_share_of_a_limit_leaves_in_any_window() -> None:
    @with_web(OK)
    async def main(web: Web) -> None:
        time = HandTime()
        stamps = []
        async with client(time, RestLimits(10, 60.0)) as rest:
            for _ in range(20):
                await rest.get("test", web.url)
                stamps.append(time.now_ns)
        assert all(later - earlier > 60e9 for earlier, later in zip(stamps, stamps[8:], strict=False))
        assert sum(time.slept) < 130


def test_a_venue_that_never_answers_holds_up_no_other_and_no_request_ages_while_it_waits() -> None:
    async def never(path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    @with_web(*[never] * UNDER_WAY, OK)
    async def _(web: Web) -> None:
        async with Web(OK) as other, client(HandTime(), WIDE, timeout_s=0.3, attempts=1) as rest:
            asked = [asyncio.create_task(rest.get("test", f"{web.url}/{n}")) for n in range(64)]
            while len(web.heads) < UNDER_WAY:
                await asyncio.sleep(0.001)
            assert (await rest.get("other", other.url)).body == b"[1]"
            assert len(web.heads) == UNDER_WAY
            results = await asyncio.gather(*asked, return_exceptions=True)
            # Those behind waited for as long as an attempt may last, and were answered.
            assert [isinstance(r, RestUnavailable) for r in results] == [n < UNDER_WAY for n in range(64)]


@pytest.mark.parametrize("path", ["/x", "/own/x"])
def test_a_client_that_goes_on_from_another_has_no_more_left_than_it(path: str) -> None:
    limits = RestLimits(2, 60.0, endpoints=(Endpoint("/own", budget=2, per_s=60.0),))

    @with_web(OK)
    async def _(web: Web) -> None:
        time = HandTime()
        async with client(time, limits, budget_share=1.0) as before:
            for _ in range(2):
                await before.get("test", web.url + path)
        assert time.slept == []
        async with client(time, limits, budget_share=1.0) as rest:
            rest.go_on_from(before)
            await rest.get("test", web.url + path)
        assert sum(time.slept) >= 60


def test_a_share_below_one_request_is_one_in_a_longer_time() -> None:
    @with_web(OK)
    async def main(web: Web) -> None:
        time = HandTime()
        async with client(time, REST_LIMITS["kraken"]) as rest:
            await rest.get("test", web.url)
            await rest.get("test", web.url)
        assert 1.25 <= sum(time.slept) < 1.3


def test_what_the_venue_says_is_used_counts_though_others_used_it() -> None:
    @with_web(answer(b"{}", X_MBX_USED_WEIGHT_1M="4790"), OK)
    async def main(web: Web) -> None:
        time = HandTime()
        async with client(time, REST_LIMITS["binance"]) as rest:
            await rest.get("test", f"{web.url}/api/v3/depth?symbol=BTCUSDT&limit=10")
            await rest.get("test", f"{web.url}/api/v3/depth", {"symbol": "BTCUSDT", "limit": 10})
            assert time.slept == []
            await rest.get("test", f"{web.url}/api/v3/depth", {"symbol": "BTCUSDT", "limit": 10})
            await rest.get("test", f"{web.url}/api/v3/depth", {"symbol": "BTCUSDT", "limit": 5000})
            assert sum(time.slept) >= 59


@given(
    steps=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=60),
    budget=st.integers(1, 10),
    span=st.integers(1, 50),
)
def test_a_window_is_never_overspent(steps: list[tuple[int, int]], budget: int, span: int) -> None:
    window, now, taken = Window(budget, span), 0, []
    for passed, units in steps:
        now += passed
        wait = window.take(units, now)
        if wait:
            now += wait
            assert window.take(units, now) == 0, "the wait it named was enough"
        taken.append((now, min(units, budget)))
        assert sum(u for at, u in taken if at >= now - span) <= budget


def test_retry_after_is_read_as_seconds_or_as_a_date_by_the_venues_own_clock() -> None:
    assert retry_after_s({"retry-after": "30"}) == 30
    dated = {"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert retry_after_s(dated) == 30
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT"}) == 0
    assert retry_after_s({}) is retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({"retry-after": "9" * 400}) == 1e9


def test_no_error_shows_a_secret_of_an_address() -> None:
    url = "http://me:hunter2@127.0.0.1:1/x?apiKey=abc&symbol=tBTCUSD&signature=def#frag"
    assert redacted(url) == "http://***@127.0.0.1:1/x?apiKey=***&symbol=tBTCUSD&signature=***#frag"

    async def main() -> None:
        async with client(HandTime(), WIDE, attempts=1) as rest:
            with pytest.raises(RestUnavailable) as caught:
                await rest.get("test", url)
            text = str(caught.value)
            assert not [secret for secret in ("hunter2", "abc", "def") if secret in text]

    run(main())


def test_a_certificate_that_nobody_trusts_is_refused_and_tls_that_breaks_off_is_not(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [*_CERTIFICATE, "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def main() -> None:
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=context)
        plain = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        async with RestClient({}, WIDE, RestSettings(attempts=1)) as rest:
            for peer, kind in ((server, RestRefused), (plain, RestUnavailable)):
                with pytest.raises(kind):
                    await rest.get("test", f"https://127.0.0.1:{peer.sockets[0].getsockname()[1]}/")
        server.close()
        plain.close()

    run(main())


def test_every_native_venue_has_limits_and_sensible_ones() -> None:
    for name, limits in {**REST_LIMITS, "unknown": UNKNOWN_VENUE}.items():
        assert limits.budget >= 1 and limits.per_s > 0, name
        for endpoint in limits.endpoints:
            assert endpoint.path.startswith("/") and bool(endpoint.budget) == bool(endpoint.per_s), endpoint
            assert list(endpoint.by_limit) == sorted(endpoint.by_limit), endpoint


def _signed(url: str, header: str = "private") -> KeyRequest:
    return KeyRequest("POST", f"{url}/orders", {"X-Key": header}, b"{}")


def test_a_signed_request_is_asked_once_and_a_refusal_is_its_answer() -> None:
    async def main() -> None:
        async with Web(answer(b"no", "403 Forbidden"), answer(b"down", "503 Gone")) as web, client(HandTime()) as rest:
            assert await rest.ask("test", _signed(web.url)) == (403, b"no")
            with pytest.raises(RestUnavailable):
                await rest.ask("test", _signed(web.url))
            assert [head.split(" ", 1)[0] for head in web.heads] == ["POST", "POST"]
            assert "x-key: private" in web.heads[0].lower()

    run(main())


@pytest.mark.parametrize("header", ["private\nx: 1", "privaté", "private\x00"])
def test_a_header_that_cannot_be_sent_is_not_quoted(header: str) -> None:
    async def main() -> None:
        async with Web(answer(b"")) as web, client(HandTime()) as rest:
            with pytest.raises(RestError) as raised:
                await rest.ask("test", _signed(web.url, header))
            assert "priv" not in str(raised.value)
            assert raised.value.__suppress_context__

    run(main())


def test_an_answer_leaves_nothing_behind_for_a_collector_of_cycles() -> None:
    @with_web(OK, answer(b"", "503 Busy"))
    async def _(web: Web) -> None:
        async with client(HandTime(), WIDE, attempts=1) as rest:
            gc.collect()
            gc.disable()
            try:
                for _ in range(20):
                    with contextlib.suppress(RestUnavailable):
                        await rest.get("test", web.url)
                responses = sum(type(thing) is httpx.Response for thing in gc.get_objects())
            finally:
                gc.enable()
            assert responses < 3
