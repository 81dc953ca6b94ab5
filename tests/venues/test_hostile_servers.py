"""A hostile or broken server costs its own venue alone: the other stays proved, people hear of it, it is backed off.

Two venues in one engine: Bybit's documented stream, well behaved, and Binance's address with whatever is there.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from data_controller.engine.replay import replay
from data_controller.engine.verify import verify
from data_controller.market.layout import Proof
from tests.ingest.peer import CONTINUATION, TEXT, Link, Peer, frame, run
from tests.ingest.web import Web, answer
from tests.venues.documented import Binance, Bybit
from tests.venues.replaying import ReplayServer
from tests.venues.running import Running, tree

pytestmark = pytest.mark.slow

MIB = 1 << 20
GROWS_AT_MOST_BYTES = 120 * MIB
"""Resident memory may grow by what a message and an answer may be (16 MiB each), what holds them, and some heap."""
ATTEMPTS_AT_MOST = 12
GOOD, BAD = ("bybit", "BTCUSDT"), ("binance", "BTCUSDT")
CHUNK = b"[[" + b'"16000.0","1.5"],[' * 3640
PACE: dict[str, Any] = {
    "reconnect_first_s": 0.1,
    "unreachable_after_s": 0.5,
    "rest": {"attempts": 2, "backoff_first_s": 0.05, "timeout_s": 5.0},
}
_CERTIFICATE = (
    *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
    *("-subj", "/CN=localhost", "-days", "1"),
)


# what a hostile peer does once a socket is open


async def _claims_a_gigabyte(link: Link) -> None:
    await link.send(bytes((0x80 | TEXT, 127)) + (1 << 30).to_bytes(8, "big"))
    for _ in range((1 << 30) // len(CHUNK)):
        await link.send(CHUNK)


async def _never_ends_its_snapshot(link: Link) -> None:
    await link.send(frame(b'{"stream":"btcusdt@depth20","data":{"bids":[', fin=False))
    while True:
        await link.send(frame(CHUNK, CONTINUATION, fin=False))


async def _sends_a_bomb(link: Link) -> None:
    """A compressed frame though nothing was agreed on: 64 MiB of spaces in 64 KiB."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = pack.compress(b" " * (64 * MIB)) + pack.flush(zlib.Z_SYNC_FLUSH)
    whole = frame(packed)
    await link.send(bytes((whole[0] | 0x40,)) + whole[1:])
    await asyncio.Event().wait()


async def _acknowledges_something_else(link: Link) -> None:
    while True:
        _, payload = await link.receive()
        asked = json.loads(payload)
        listed = asked["method"] == "LIST_SUBSCRIPTIONS"
        said = {"result": ["ethbtc@depth@100ms", "nonsense"] if listed else None, "id": asked["id"] + 7 * (not listed)}
        await link.send(frame(json.dumps(said).encode()))


async def _talks_nonsense(link: Link) -> None:
    while True:
        await link.send(frame(b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","U":-1,"b":{}}}'))
        await asyncio.sleep(0.01)


# what a hostile REST server answers


async def _endless(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{"lastUpdateId":1\r\n')
    while True:
        writer.write(f"{len(CHUNK):x}\r\n".encode() + CHUNK + b"\r\n")
        await writer.drain()


@cache
def _bomb() -> bytes:
    """A gigabyte of spaces, gzipped."""
    pack = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join(pack.compress(b" " * MIB) for _ in range(1024)) + pack.flush()


async def _unfolds(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(_bomb(), Content_Encoding="gzip"))
    await writer.drain()


# the two of them


@asynccontextmanager
async def _engine(tmp_path: Path, bad: dict[str, Any], **pace: Any) -> AsyncIterator[tuple[Running, ReplayServer]]:
    """An engine whose good venue is proved before anything is asserted; `bad` is the section of the other one."""
    quick = {"resync_backoff_s": 0.05, "ack_timeout_s": 0.3}
    async with ReplayServer(Bybit((GOOD[1],))) as server:
        good = {"url": server.url, "instruments": [GOOD[1]], "book_levels": 50}
        exchanges = {GOOD[0]: good, BAD[0]: {"instruments": [BAD[1]], "trades": False, **quick, **bad}}
        async with Running(tree(tmp_path / "state", exchanges, **(PACE | pace))) as engine:
            await engine.until(lambda: engine.proof(*GOOD) is Proof.PROVED, "the good venue's book")
            yield engine, server


async def _costs_itself_alone(
    engine: Running, server: ReplayServer, told: str, attempts: Callable[[], int], severity: str = "warning"
) -> None:
    """Wait until an alert `told`, and check that nothing happened to the other venue meanwhile."""
    process = psutil.Process()
    before, most = process.memory_info().rss, 0
    events = int(engine.book(*GOOD)["events"])

    def alert() -> bool:
        nonlocal most
        most = max(most, process.memory_info().rss - before)
        return any((a["name"], a["severity"]) == (told, severity) for a in engine.alerts)

    await engine.until(alert, f"an alert {told}, there were {engine.alerts}")
    await engine.until(lambda: int(engine.book(*GOOD)["events"]) > events + 50, "the other venue to go on")
    alert()
    book = engine.book(*GOOD)
    assert Proof(book["proof"]) is Proof.PROVED
    assert [int(book[name]) for name in ("gaps", "breaks")] == [0, 0]
    assert server.connections == 1
    assert engine.proof(*BAD) is not Proof.PROVED
    assert 1 <= attempts() <= ATTEMPTS_AT_MOST, attempts()
    assert most < GROWS_AT_MOST_BYTES, f"grew by {most / MIB:.0f} MiB"
    assert not [a for a in engine.alerts if a["severity"] == "critical" and a["name"] != told]


def _told_alike(engine: Running) -> None:
    assert engine.summary["ok"] and engine.summary["journal_ok"]
    assert replay([engine.journal])["digest"] == engine.summary["digest"]
    report = verify([engine.journal])
    assert (report["damages"], report["book_problems"]) == ([], [])


@pytest.mark.parametrize(
    "talk",
    [
        _claims_a_gigabyte,
        _never_ends_its_snapshot,
        _sends_a_bomb,
        _acknowledges_something_else,
        _talks_nonsense,
    ],
    ids=lambda talk: talk.__name__.lstrip("_"),
)
def test_a_hostile_stream_costs_its_venue_alone(talk: Callable[[Link], Awaitable[None]], tmp_path: Path) -> None:
    async def main() -> None:
        async with Peer(talk) as peer, _engine(tmp_path, {"url": peer.url}) as (engine, server):
            await _costs_itself_alone(engine, server, "connection_unstable", lambda: peer.asked)
        _told_alike(engine)

    run(main())


@pytest.mark.parametrize("how", ["plain", "certificate"])
def test_a_tls_failure_costs_its_venue_alone(how: str, tmp_path: Path) -> None:
    async def main() -> None:
        tried = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal tried
            tried += 1
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        context = None
        if how == "certificate":
            key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
            subprocess.run([*_CERTIFICATE, "-keyout", key, "-out", cert], check=True, capture_output=True)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
        listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        address = f"wss://localhost:{listener.sockets[0].getsockname()[1]}/stream"
        async with _engine(tmp_path, {"url": address}, unreachable_after_s=2.0) as (engine, server):
            severity = "critical" if how == "certificate" else "warning"
            failures = engine.engine.shell.stats
            await _costs_itself_alone(
                engine,
                server,
                "connection_unreachable",
                lambda: sum(c["failures"] for c in failures()["connections"].values()),
                severity,
            )
            said = next(a["text"] for a in engine.alerts if a["severity"] == severity and address in a["text"])
            assert ("CERTIFICATE_VERIFY_FAILED" if how == "certificate" else "SSL") in said, said
        listener.close()
        _told_alike(engine)

    run(main())


@pytest.mark.parametrize("how", ["endless", "bomb", "storm"])
def test_a_hostile_rest_server_costs_its_venue_alone(how: str, tmp_path: Path) -> None:
    says = {"endless": _endless, "bomb": _unfolds}
    storm = answer(b'{"code":-1003,"msg":"Too many requests"}', "429 Too Many Requests", Retry_After="1")

    async def main() -> None:
        async with AsyncExitStack() as stack:
            web = await stack.enter_async_context(Web(says.get(how, storm)))
            stream = await stack.enter_async_context(ReplayServer(Binance((BAD[1],))))
            section = {"url": stream.url, "rest_url": f"{web.url}/api/v3", "ack_timeout_s": 10.0}
            engine, server = await stack.enter_async_context(_engine(tmp_path, section))
            await _costs_itself_alone(engine, server, "rest_failed", lambda: len(web.heads))
            assert stream.connections == 1  # its streams are not to blame
        _told_alike(engine)

    run(main())


@pytest.mark.parametrize("years", [-40, 40])
def test_a_venue_whose_clock_is_years_off_is_recorded_in_the_order_of_its_arrival(years: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            stream = await stack.enter_async_context(ReplayServer(Binance((BAD[1],), years=years)))
            section = {"url": stream.url, "rest_url": f"{stream.url.replace('ws', 'http')}/api/v3"}
            engine, _ = await stack.enter_async_context(_engine(tmp_path, section))
            await engine.until(lambda: engine.proof(*BAD) is Proof.PROVED, "the book of the venue")
            events = [int(engine.book(*which)["events"]) for which in (GOOD, BAD)]
            await engine.until(
                lambda: all(int(engine.book(*w)["events"]) > n + 50 for w, n in zip((GOOD, BAD), events, strict=True))
            )
            for which in (GOOD, BAD):
                book = engine.book(*which)
                assert (Proof(book["proof"]), int(book["gaps"]), int(book["breaks"])) == (Proof.PROVED, 0, 0)
            assert not [a for a in engine.alerts if a["severity"] == "critical"]
            stats = engine.engine.feed.build(engine.engine.latch.read()).channels
            late_ms = {stat.exchange: stat.late_ms for stat in stats if stat.channel == "book"}[BAD[0]]
            told_ms = 1_700_000_000_000 + years * 365 * 86_400_000  # what the venue's clock begins with
            assert late_ms is not None  # health degrades `clock/binance` by it
            assert abs(time.time() * 1e3 - told_ms - late_ms) < 600_000
        _told_alike(engine)

    run(main())
