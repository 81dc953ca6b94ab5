"""The bridge process: `python -m data_controller.bridge --port 8791`; ends with its standard input."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys

from data_controller.bridge.server import Bridge


async def serve(port: int, rest_urls: dict[str, str], socket_urls: dict[str, str]) -> None:
    """Listen until SIGTERM, Ctrl-C or the end of standard input; says `{"port": N}` once it listens."""
    bridge = Bridge(rest_urls, socket_urls)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        bound = await bridge.start(port)
    except OSError as error:
        print(json.dumps({"error": f"port {port}: {error.strerror or error}"}), flush=True)
        sys.exit(1)
    print(json.dumps({"port": bound}), flush=True)
    # Whoever started us holds the other end: when it is gone, however it went, so are we.
    loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 4096) else stop.set())
    await stop.wait()
    await bridge.stop()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m data_controller.bridge", description=__doc__)
    parser.add_argument("--port", type=int, default=8791, help="on 127.0.0.1; 0: any")
    parser.add_argument("--rest-urls", type=json.loads, default={}, help="JSON: exchange -> address instead of its own")
    parser.add_argument("--socket-urls", type=json.loads, default={}, help="likewise of WebSockets")
    arguments = parser.parse_args()
    # ccxt's tasks may end with errors that their awaiting side was told already.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    asyncio.run(serve(arguments.port, arguments.rest_urls, arguments.socket_urls))


if __name__ == "__main__":
    main()
