"""The monitor process: `python -m data_controller.monitoring --state-dir D`, started by `run` and `demo`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvicorn

from data_controller.control import StateLock
from data_controller.errors import ConfigError, ControlError, DataControllerError
from data_controller.killswitch.latch import Latch
from data_controller.monitoring.monitor import Monitor
from data_controller.monitoring.process import LOCK_NAME, MonitorInfo, ProcessSettings, read_settings, write_info
from data_controller.web.app import create_app
from data_controller.web.settings import WebSettings, is_loopback
from data_controller.web.token import ensure_token

TAKE_OVER_S = 5.0


NICE = 10
"""How far a monitor steps back for the engine that started it: a frame must not wait for a page."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process ends in order, with exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM; 0 in order, 2 where it could not start (the reason is on stderr and, with --ready, stdout)."""
    parser = argparse.ArgumentParser(prog="python -m data_controller.monitoring", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--host", help="loopback address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on, 0 chooses")
    parser.add_argument("--settings", type=Path, help="JSON file with `web` and `monitoring`; read again at SIGHUP")
    parser.add_argument("--ready", action="store_true", help="say where on stdout, as one JSON line")
    parser.add_argument("--take-over", action="store_true", help="end a monitor that already serves this directory")
    parser.add_argument("--starter", action="store_true", help="stdin is a pipe that ends with the starting process")
    args = parser.parse_args(argv)
    if args.starter:
        os.nice(NICE)
    try:
        settings = read_settings(args.settings) if args.settings else ProcessSettings()
        web = settings.web
        host = web.host if args.host is None else args.host
        port = web.port if args.port is None else args.port
        with _lock(args.state_dir, args.take_over), _listen(host, port) as listener:
            asyncio.run(_serve(args, settings, web, listener))
    except DataControllerError as error:
        if args.ready:
            print(msgspec.json.encode({"error": str(error)}).decode(), flush=True)
        print(f"monitor: {error}", file=sys.stderr)
        return 2
    return 0


def _lock(state_dir: Path, take_over: bool) -> StateLock:
    if not state_dir.is_dir():
        raise ConfigError(f"expected the state directory of an engine, was {state_dir}; `data-controller run` makes it")
    lock = StateLock(state_dir, LOCK_NAME, "monitor")
    deadline = time.monotonic() + TAKE_OVER_S
    asked = False
    while True:
        try:
            return lock.acquire()
        except ControlError:
            if not take_over or time.monotonic() > deadline:
                raise
        if not asked:
            # The lock is held, so the pid in it is alive and a monitor.
            with contextlib.suppress(OSError, ValueError, IndexError):
                os.kill(int(lock.path.read_text(encoding="utf-8").split()[0]), signal.SIGTERM)
            asked = True
        time.sleep(0.05)


def _listen(host: str, port: int) -> socket.socket:
    if not is_loopback(host):
        raise ConfigError(
            f"expected a loopback address (`web.host`), was {host!r}: what is served here can stop the engine;"
            " reach it from elsewhere through a tunnel (`ssh -L`)"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1" if host == "localhost" else host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(f"expected {host}:{port} (`web.port`) to be free: {error.strerror}") from error
    listener.setblocking(False)
    return listener


async def _serve(
    args: argparse.Namespace, settings: ProcessSettings, web: WebSettings, listener: socket.socket
) -> None:
    state_dir: Path = args.state_dir
    latch = Latch(state_dir)
    monitor = Monitor(state_dir, settings.monitoring, latch)
    token = ensure_token(state_dir)
    app = create_app(monitor, state_dir, token, latch, web.allowed_hosts)
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
            limit_concurrency=512,
        )
    )
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    def reload() -> None:
        try:
            monitor.apply(read_settings(args.settings).monitoring)
        except DataControllerError as error:
            print(f"monitor: keeps its settings: {error}", file=sys.stderr)

    loop.add_signal_handler(signal.SIGTERM, end)
    loop.add_signal_handler(signal.SIGINT, end)
    if args.settings:
        loop.add_signal_handler(signal.SIGHUP, reload)
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
    info = MonitorInfo(url=url, pid=os.getpid())
    write_info(state_dir, info)

    async def announce() -> None:
        while not server.started:
            await asyncio.sleep(0.005)
        if args.ready:
            print(msgspec.json.encode(info).decode(), flush=True)

    async def serve() -> None:
        await server.serve(sockets=[listener])
        for task in (following, announcing, waiting):
            task.cancel()

    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(monitor.run())
        announcing = tasks.create_task(announce())
        waiting = tasks.create_task(_end_as_orphan(args.starter, monitor, end))
        tasks.create_task(serve())
    loop.remove_signal_handler(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one, while Python winds up, changes nothing


async def _end_as_orphan(has_starter: bool, monitor: Monitor, end: object) -> None:
    """End the process once its starter is gone and the engine has been silent for `linger_s`."""
    assert callable(end)
    if not has_starter:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()

    def readable() -> None:
        with contextlib.suppress(BlockingIOError):
            if not os.read(0, 4096):
                loop.remove_reader(0)
                gone.set()

    os.set_blocking(0, False)
    loop.add_reader(0, readable)
    await gone.wait()
    orphan_since = time.monotonic()
    while True:
        age_s = monitor.client.age_s()
        alone_s = time.monotonic() - orphan_since
        if min(alone_s, alone_s if age_s is None else age_s) >= monitor.settings.linger_s:
            end()
            return
        await asyncio.sleep(1.0)


if __name__ == "__main__":
    sys.exit(main())
