"""The control socket answers, refuses, publishes newest-wins, and cannot be made to hold the engine."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from data_controller.control import Feed, FeedClient, Request, StateLock, encode_feed, request, request_async
from data_controller.engine.control_server import ControlServer
from data_controller.errors import ConfigError, ControlError


def echo(asked: Request) -> dict[str, Any]:
    return {"what": asked.what, "who": asked.who, **asked.body}


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[Any]], Any]:
    def runner(main: Any) -> Any:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if request.param == "uvloop" else None) as loop:
            return loop.run(asyncio.wait_for(main, 120))

    return runner


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came"
        await asyncio.sleep(0.001)


async def ask(state_dir: Path, what: Any, body: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The answer, asked both ways; both must agree."""
    answers = await asyncio.gather(
        asyncio.to_thread(request, state_dir, what, body, **more),
        request_async(state_dir, what, body, **more),
        return_exceptions=True,
    )
    for answer in answers:
        if isinstance(answer, BaseException):
            assert type(answers[0]) is type(answers[1])
            raise answer
    assert answers[0] == answers[1]
    return answers[0]


def test_a_request_is_answered_with_what_the_handler_gave(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        server = ControlServer(tmp_path, echo)
        path = await server.start()
        assert path.stat().st_mode & 0o777 == 0o600
        assert await ask(tmp_path, "kill", {"reason": "test"}, who="me") == {
            "what": "kill",
            "who": "me",
            "reason": "test",
        }
        await server.stop()
        assert not path.exists()
        with pytest.raises(ControlError, match="not running"):
            await ask(tmp_path, "status")

    run(main())


def test_a_handler_may_be_a_coroutine(tmp_path: Path, run: Any) -> None:
    async def slow(asked: Request) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"done": True}

    async def main() -> None:
        server = ControlServer(tmp_path, slow)
        await server.start()
        assert await ask(tmp_path, "reload") == {"done": True}
        await server.stop()

    run(main())


@pytest.mark.parametrize("error", [ConfigError("unknown key `foo`"), ZeroDivisionError("division")])
def test_a_refusal_and_a_bug_both_reach_the_asker_and_the_server_goes_on(
    tmp_path: Path, run: Any, error: Exception
) -> None:
    heard = []

    def handler(asked: Request) -> dict[str, Any]:
        if asked.what == "reload":
            raise error
        return {}

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        server = ControlServer(tmp_path, handler)
        await server.start()
        with pytest.raises(ControlError, match=str(error)):
            await ask(tmp_path, "reload")
        assert await ask(tmp_path, "status") == {}
        await server.stop()

    run(main())
    assert len(heard) == (2 if isinstance(error, ZeroDivisionError) else 0)  # asked both ways


def test_stop_asked_over_the_socket_is_answered_before_the_server_ends(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        stopping = asyncio.Event()

        def handler(asked: Request) -> dict[str, Any]:
            stopping.set()
            return {"stopping": True}

        server = ControlServer(tmp_path, handler)
        await server.start()
        answer = asyncio.create_task(request_async(tmp_path, "stop"))
        await stopping.wait()
        await server.stop()
        assert await answer == {"stopping": True}

    run(main())


def test_a_second_engine_is_refused_and_the_first_one_named(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        first = ControlServer(tmp_path, echo)
        await first.start()
        with pytest.raises(ControlError, match=str(os.getpid())):
            await ControlServer(tmp_path, echo).start()
        assert (await ask(tmp_path, "status"))["what"] == "status"
        await first.stop()
        again = ControlServer(tmp_path, echo)
        await again.start()
        await again.stop()

    run(main())


def test_a_killed_engines_socket_is_replaced(tmp_path: Path, run: Any) -> None:
    code = (
        "import asyncio, os, sys; from pathlib import Path;"
        "from data_controller.engine.control_server import ControlServer\n"
        "async def main():\n"
        "    await ControlServer(Path(sys.argv[1]), lambda r: {}).start(); os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], env={**os.environ, "PYTHONPATH": "src"})
    assert (tmp_path / "engine.sock").exists()

    async def main() -> None:
        server = ControlServer(tmp_path, echo)
        await server.start()
        assert (await ask(tmp_path, "status"))["what"] == "status"
        await server.stop()

    run(main())


def test_an_engine_may_hold_its_lock_before_it_serves(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        with StateLock(tmp_path) as lock:
            server = ControlServer(tmp_path, echo, lock=lock)
            await server.start()
            await server.stop()
            with pytest.raises(ControlError):
                StateLock(tmp_path).acquire()
        StateLock(tmp_path).acquire().release()

    run(main())


def test_a_state_directory_with_a_long_path_works_through_its_pointer(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    long = tmp_path / ("x" * 120)
    long.mkdir()

    async def main() -> None:
        server = ControlServer(long, echo)
        await server.start()
        assert (long / "engine.sock.path").exists()
        assert (await ask(long, "status"))["what"] == "status"
        await server.stop()
        assert not (long / "engine.sock.path").exists()

    run(main())


def raw(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(path))
    return client


@pytest.mark.parametrize("line", [b"nonsense\n", b"\n", b'{"what":"dance"}\n', b"\xff" * 100 + b"\n"])
def test_a_line_that_is_no_request_is_refused_and_closed(tmp_path: Path, run: Any, line: bytes) -> None:
    async def main() -> None:
        server = ControlServer(tmp_path, echo)
        path = await server.start()

        def talk() -> bytes:
            with raw(path) as client:
                client.sendall(line)
                return b"".join(iter(lambda: client.recv(1 << 16), b""))

        assert b'"ok":false' in await asyncio.to_thread(talk)
        await server.stop()

    run(main())


def test_a_request_without_end_is_cut_off(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        server = ControlServer(tmp_path, echo)
        path = await server.start()

        def talk() -> None:
            with raw(path) as client, pytest.raises(OSError):
                while True:
                    client.sendall(b"x" * (1 << 16))

        await asyncio.to_thread(talk)
        await until(lambda: not server.clients)
        await server.stop()

    run(main())


def test_too_many_clients_are_refused(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        server = ControlServer(tmp_path, echo, max_clients=3, request_timeout_s=60)
        path = await server.start()
        held = [raw(path) for _ in range(3)]
        await until(lambda: len(server.clients) == 3)
        with pytest.raises(ControlError, match="at most 3"):
            await ask(tmp_path, "status")
        for client in held:
            client.close()
        await until(lambda: not server.clients)
        assert (await ask(tmp_path, "status"))["what"] == "status"
        await server.stop()

    run(main())


def test_silent_clients_are_dropped(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        server = ControlServer(tmp_path, echo, request_timeout_s=0.2)
        path = await server.start()
        with raw(path) as client:
            assert await asyncio.to_thread(client.recv, 1) == b""
        await until(lambda: not server.clients)
        await server.stop()

    run(main())


def test_a_request_under_way_goes_on_when_its_asker_leaves(tmp_path: Path, run: Any) -> None:
    done = []

    async def main() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def handler(asked: Request) -> dict[str, Any]:
            begun.set()
            await go.wait()
            done.append(asked.what)
            return {}

        server = ControlServer(tmp_path, handler)
        path = await server.start()
        client = raw(path)
        client.sendall(b'{"what":"reload"}\n')
        await begun.wait()
        client.close()
        await until(lambda: not server.clients)
        go.set()
        await until(lambda: bool(done))
        await server.stop()

    run(main())


def test_a_subscriber_gets_the_latest_feed_at_once_and_then_each_new_one(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        server = ControlServer(tmp_path, echo)
        await server.start()
        server.publish(encode_feed(Feed(t_ns=1)))
        client = FeedClient(tmp_path)
        feeds = client.feeds()
        assert (await anext(feeds)).t_ns == 1
        for t in (2, 3, 4):
            server.publish(encode_feed(Feed(t_ns=t)))
            assert (await anext(feeds)).t_ns == t
        assert client.connected and client.latest is not None and client.latest.t_ns == 4
        await feeds.aclose()
        await server.stop()

    run(main())


def test_a_slow_subscriber_gets_the_newest_and_never_a_backlog(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        server = ControlServer(tmp_path, echo)
        await server.start()
        client = FeedClient(tmp_path)
        feeds = client.feeds()
        first = asyncio.create_task(anext(feeds))
        await until(lambda: bool(server._subscribers))
        for t in range(1000):
            server.publish(encode_feed(Feed(t_ns=t)))
        assert (await first).t_ns == 0
        assert (await anext(feeds)).t_ns == 999
        assert server.dropped == 998
        await feeds.aclose()
        await server.stop()

    run(main())


def test_a_subscriber_that_never_reads_costs_nothing_but_one_feed(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        server = ControlServer(tmp_path, echo)
        path = await server.start()
        stuck = raw(path)
        stuck.sendall(b'{"what":"subscribe_feed"}\n')
        await until(lambda: bool(server._subscribers))
        feed = encode_feed(Feed(info={"pad": "x" * 500_000}))
        for _ in range(1000):
            server.publish(feed)
        (client,) = server._subscribers
        assert client.transport is not None and client.transport.get_write_buffer_size() <= len(feed)
        stuck.close()
        await until(lambda: not server.clients)
        await server.stop()

    run(main())


def test_the_client_follows_an_engine_that_restarts(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        client = FeedClient(tmp_path)
        seen: list[int] = []

        async def follow() -> None:
            async for feed in client.feeds():
                seen.extend([feed.run])

        following = asyncio.create_task(follow())
        await until(lambda: "not running" in client.error)
        for number in (1, 2):
            server = ControlServer(tmp_path, echo)
            await server.start()
            server.publish(encode_feed(Feed(run=number)))
            await until(lambda number=number: number in seen)  # type: ignore[misc]
            await server.stop()
            await until(lambda: not client.connected)
        assert client.error and client.latest is not None and client.latest.run == 2
        following.cancel()

    run(main())


def test_ten_thousand_feeds_leak_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        server = ControlServer(tmp_path, echo)
        await server.start()
        client = FeedClient(tmp_path)
        feeds = client.feeds()
        line = encode_feed(Feed(info={"pad": "x" * 1000}))
        server.publish(line)
        for i in range(10_500):
            await anext(feeds)
            server.publish(line)
            if i == 500:
                gc.collect()
                tracemalloc.start()
                before = tracemalloc.get_traced_memory()[0]
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 100_000
        assert len(server.clients) == 1 and server.clients == set(server._subscribers)
        await feeds.aclose()
        await until(lambda: not server.clients and not server._subscribers)
        await server.stop()

    asyncio.run(main())


def test_requests_from_many_threads_are_all_answered(tmp_path: Path, run: Any) -> None:
    async def main() -> None:
        server = ControlServer(tmp_path, echo, max_clients=64)
        await server.start()
        answers: list[dict[str, Any]] = []
        threads = [
            threading.Thread(target=lambda n=n: answers.append(request(tmp_path, "status", {"n": n})))
            for n in range(32)
        ]
        for thread in threads:
            thread.start()
        await until(lambda: len(answers) == 32)
        assert {a["n"] for a in answers} == set(range(32))
        for thread in threads:
            thread.join()
        await server.stop()

    run(main())
