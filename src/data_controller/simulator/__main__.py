"""`python -m data_controller.simulator`: the simulated exchange in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from data_controller.errors import SimulatorError
from data_controller.simulator.dialect import Venue
from data_controller.simulator.exchange import RATES, Exchange

MANY = 1 << 31


def whole(least: int, most: int) -> Callable[[str], int]:
    """What reads an option that is a whole number of `least` to `most`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number of {least} to {most}, was {text!r}")
        return value

    return read


def number(least: float, most: float) -> Callable[[str], float]:
    """What reads an option that is a number of `least` to `most`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected a number of {least:.9g} to {most:.9g}, was {text!r}")
        return value

    return read


PORT, COUNT, SECONDS, PER_SECOND = whole(0, 65_535), whole(0, MANY), number(0.0, 1e8), number(0.0, 1e9)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(prog="python -m data_controller.simulator", description=__doc__)
    add = out.add_argument
    add("--port", type=PORT, default=0, help="websocket port on 127.0.0.1, 0: any free one")
    add("--control-port", type=PORT, default=0)
    add("--seed", type=int, default=1)
    add("--instruments", type=whole(1, 1000), default=8)
    add("--ticks-per-second", type=number(*RATES), help="frames a second over all instruments (20 an instrument)")
    add(
        "--strength",
        type=number(0.0, 1.0),
        default=0.3,
        help="correlation of the latent drift with the return over the horizon",
    )
    add("--horizon-s", type=number(0.001, 1e6), default=60.0)
    add("--volatility-bps", type=number(0.001, 1e4), default=6.0, help="standard deviation of the return over 60 s")
    add("--check-every", type=whole(1, MANY), default=10, help="book messages between two checksums")
    add("--dust", type=number(0.0, 1.0), default=0.002, help="share of orders whose amounts need an exponent")
    add("--prehistory-seconds", type=SECONDS, default=0.0, help="at 20 frames a second an instrument")
    add("--prehistory-out", help="file, named pipe or Unix socket for the pre-history's Arrow stream")
    add(
        "--prehistory-end-ns",
        type=whole(1, 1 << 62),
        help="when the pre-history ends (default: when it meets the wall clock)",
    )
    add("--hold", action="store_true", help="keep the market still until the control command `go`")
    add("--load", action="store_true", help="send frames made beforehand")
    add("--load-s", type=SECONDS, default=30.0, help="length of the load")
    add("--load-channels", type=COUNT, default=0, help="begin when so many channels are subscribed (0: at `go`)")
    add("--load-fetches", type=COUNT, default=0, help="and when further venues have answered so many REST requests")
    add("--binance-rate", type=PER_SECOND, default=0.0, help="depth changes a second of the load on --venues binance")
    add("--rate", type=PER_SECOND, default=0.0, help="frames a second of the load (0: as fast as it goes)")
    add("--coalesce-us", type=number(0.0, 1e9), default=0.0, help="gather frames for so long before a write")
    add("--sent-log", type=Path, help="folder for sent.npy and connections.json")
    add("--connections-per-minute", type=COUNT, default=20, help="beyond it HTTP 429; 0: no limit")
    add(
        "--buffer-limit-bytes",
        type=whole(1, 1 << 62),
        default=16 << 20,
        help="unsent bytes at which a slow client is dropped",
    )
    add("--venues", default="", help="further: bitfinex (REST), binance, binance_usdm, kraken; each on its own port")
    add("--venue-ports", default="", help="their ports, such as binance=9001,kraken=9002; others get a free one")
    add("--keys", type=Path, help="JSON file of accounts for Bitfinex's authenticated REST")
    add("--order-log", type=Path, help="file that every signed request and fill is appended to, a JSON line each")
    add("--no-rest-limits", action="store_true", help="Bitfinex's REST refuses nobody for asking too often")
    add("--run-s", type=SECONDS, help="end after so long")
    add("--exit-with-stdin", action="store_true", help="end when stdin is closed")
    return out


def warm_up(load: bool, trade: bool = False) -> None:
    """Compile (or load from the cache) every kernel before a client waits for one."""
    from data_controller.simulator.load import prepare
    from data_controller.simulator.session import Session

    exchange = Exchange(1, 1)
    session = Session(exchange)
    session.handle('{"event":"conf","flags":229376}')
    for wanted in ('"channel":"book"', '"channel":"trades"', '"channel":"ticker"'):
        session.handle('{"event":"subscribe","symbol":"tBTCUSD",' + wanted + "}")
    exchange.mute(session.conn, None, False, catch_up=False)
    exchange.true_book("tBTCUSD")
    exchange.top("tBTCUSD")
    session.take(exchange.now_ns + 3_000_000_000)
    if load:
        prepare(exchange, 1.0, 0.0)
    if trade:
        number = exchange.next_order_id()
        exchange.rest_order(0, 0, 1, number, 1000)
        exchange.withdraw_order(0, 0, number)
        exchange.sweep(0, True, 1000, 1 << 40)


def sink(where: str) -> IO[bytes]:
    """Open a file or pipe for writing, or connect to a Unix socket that somebody listens on."""
    path = Path(where)
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(where)
        return peer.makefile("wb")
    return path.open("wb")


def say(**values: object) -> None:
    """One JSON line on stdout."""
    print(json.dumps(values, separators=(",", ":")), flush=True)


async def serve(exchange: Exchange, args: argparse.Namespace) -> None:
    """Serve until told to stop."""
    from data_controller.simulator.control import Control
    from data_controller.simulator.server import Options, Server

    hold = "go" if args.hold else "connection" if args.prehistory_seconds else ""
    server = Server(
        exchange,
        Options(
            port=args.port,
            connections_per_minute=args.connections_per_minute,
            buffer_limit_bytes=args.buffer_limit_bytes,
            hold=hold,
            load=args.load,
            load_s=args.load_s,
            load_channels=args.load_channels,
            load_fetches=args.load_fetches,
            binance_rate=args.binance_rate,
            rate=args.rate,
            coalesce_us=args.coalesce_us,
            sent_log=args.sent_log,
            venue_ports=_ports(args.venue_ports),
        ),
    )
    for name in filter(None, args.venues.split(",")):
        server.add(make_venue(name, exchange, args))
    control = Control(server)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, control.stopped.set)
    if args.exit_with_stdin:
        loop.add_reader(sys.stdin.fileno(), _watch_stdin, control.stopped)
    server.on_load_done = lambda report: say(load=report)
    await server.start()
    await control.start(args.control_port)
    ready: dict[str, Any] = {"port": server.port, "control_port": control.port, "now_ns": exchange.now_ns}
    if server.venues:
        ready["venues"] = {name: addresses(name, port) for name, port in server.venue_ports.items()}
        ready["venues"].setdefault("bitfinex", {})["ws"] = f"ws://127.0.0.1:{server.port}/ws/2"
    say(**ready)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(control.stopped.wait(), args.run_s)
    control.close()
    await server.stop()


def make_venue(name: str, exchange: Exchange, args: argparse.Namespace) -> Venue:
    """A further venue over an exchange's market; SimulatorError for a name that is none."""
    if name == "kraken":
        from data_controller.simulator.kraken.venue import KrakenVenue

        return KrakenVenue(exchange)
    if name in ("binance", "binance_usdm"):
        from data_controller.simulator.binance.venue import BinanceVenue

        return BinanceVenue(exchange, "usdm" if name == "binance_usdm" else "spot")
    if name == "bitfinex":
        from data_controller.simulator.bitfinex.account import read_accounts
        from data_controller.simulator.bitfinex.venue import BitfinexVenue

        accounts = read_accounts(args.keys) if args.keys else []
        return BitfinexVenue(exchange, accounts, args.order_log, limited=not args.no_rest_limits)
    raise SimulatorError(f"expected a venue among bitfinex, binance, binance_usdm, kraken, was {name!r}")


def addresses(name: str, port: int) -> dict[str, str]:
    """Where a venue's protocols are served."""
    paths = {"kraken": {"ws": "/v2", "l3": "/l3/v2"}, "bitfinex": {}}.get(name, {"ws": "/ws", "streams": "/stream"})
    found = {what: f"ws://127.0.0.1:{port}{path}" for what, path in paths.items()}
    return found | {"rest": f"http://127.0.0.1:{port}"}


def _ports(text: str) -> dict[str, int]:
    try:
        return {name: PORT(port) for name, port in (part.split("=") for part in text.split(",") if part)}
    except (ValueError, argparse.ArgumentTypeError):
        raise SimulatorError(
            f"expected ports such as binance=9001,kraken=9002, each of 0 to 65535, was {text!r}"
        ) from None


def _watch_stdin(stopped: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stopped.set()


def main(argv: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        end_ns = args.prehistory_end_ns or time.time_ns()
        exchange = Exchange(
            args.seed,
            args.instruments,
            ticks_per_second=None if args.prehistory_seconds else args.ticks_per_second,
            strength=args.strength,
            horizon_s=args.horizon_s,
            volatility_bps=args.volatility_bps,
            check_every=args.check_every,
            dust=args.dust,
            start_ns=end_ns - int(args.prehistory_seconds * 1e9),
        )
        if args.prehistory_seconds:
            from data_controller.simulator.prehistory import generate, write

            if not args.prehistory_out:
                raise SimulatorError("expected --prehistory-out beside --prehistory-seconds")
            warm_up(args.load, args.keys is not None)
            wall_ns = (lambda: 0) if args.prehistory_end_ns else time.time_ns
            with sink(args.prehistory_out) as out:
                write(generate(exchange, int(args.prehistory_seconds * 1e9), 0, wall_ns), out)
            if args.ticks_per_second is not None:
                exchange.set_rate(args.ticks_per_second)
        else:
            warm_up(args.load, args.keys is not None)
        import uvloop

        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(serve(exchange, args))
    except (SimulatorError, OSError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
