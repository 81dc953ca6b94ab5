"""A client that receives, stamps and discards: what the machine, the kernel's sockets and picows cost by themselves.

It opens as many connections as the engine would, asks for the same channels, notes one clock reading a frame, and ends
when its stdin is closed; then `frames.npz` lies in the folder given.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
import urllib.request
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import picows
import uvloop

from benchmarks._cores import set_affinity
from benchmarks._load import binance_names
from data_controller.engine.latency import FRAME_TIME
from data_controller.simulator.exchange import instrument_names

_OPEN_BRACKET = ord("[")
CHANNELS_PER_CONNECTION = 25
FLAGS = 32768 | 65536 | 131072


class Listener(picows.WSListener):
    """One connection; `stamps[i]` belongs to the numbered frame `i + 1`, as the venue numbers from 1 without a hole."""

    numbered = True
    """Whether its frames are numbered; else they are told apart by their order alone, answers included."""

    def __init__(self, wanted: list[dict[str, Any]]) -> None:
        self.wanted = wanted
        self.stamps = array("q")
        self.port = 0

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.port = int(transport.underlying_transport.get_extra_info("sockname")[1])
        self._send(transport, {"event": "conf", "flags": FLAGS})
        for message in self.wanted:
            self._send(transport, message)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.get_payload_as_memoryview()[0] == _OPEN_BRACKET:
            self.stamps.append(time.monotonic_ns())

    @staticmethod
    def _send(transport: picows.WSTransport, message: dict[str, Any]) -> None:
        transport.send(picows.WSMsgType.TEXT, json.dumps(message).encode())


class BinanceListener(Listener):
    """A connection to Binance, which numbers no frames."""

    numbered = False

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.port = int(transport.underlying_transport.get_extra_info("sockname")[1])
        for message in self.wanted:
            self._send(transport, message)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.TEXT:
            self.stamps.append(time.monotonic_ns())


async def serve(port: int, instruments: int, raw_books: bool, binance_port: int) -> list[Listener]:
    """Receive until stdin is closed."""
    wanted: list[dict[str, Any]] = []
    precisions = ("P0", "R0")[: 1 + raw_books]
    for symbol in instrument_names(instruments):
        book = {"event": "subscribe", "channel": "book", "symbol": symbol, "freq": "F0", "len": "25"}
        wanted += [book | {"prec": precision} for precision in precisions]
        wanted.append({"event": "subscribe", "channel": "trades", "symbol": symbol})
    channels = len(precisions) + 1
    step = CHANNELS_PER_CONNECTION // channels * channels  # all channels of an instrument on one connection
    listeners = [Listener(wanted[at : at + step]) for at in range(0, len(wanted), step)]
    urls = [f"ws://127.0.0.1:{port}/ws/2"] * len(listeners)
    if binance_port:
        names = binance_names(instruments)
        streams = [f"{name.lower()}@depth@100ms" for name in names]
        listeners.append(BinanceListener([{"method": "SUBSCRIBE", "params": streams, "id": 1}]))
        urls.append(f"ws://127.0.0.1:{binance_port}/stream")
    for listener, url in zip(listeners, urls, strict=True):
        await picows.ws_connect(lambda *_, one=listener: one, url, read_buffer_init_size=256 * 1024)
    for name in names if binance_port else ():  # the load begins when every book was fetched
        url = f"http://127.0.0.1:{binance_port}/api/v3/depth?symbol={name}&limit=1000"
        await asyncio.to_thread(lambda url=url: urllib.request.urlopen(url).read())
    gc.disable()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stopped.set)
    await stopped.wait()
    return listeners


def main() -> None:
    """Run until stdin ends and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--instruments", type=int, required=True)
    parser.add_argument("--core", type=int, default=-1)
    parser.add_argument("--raw-books", action="store_true")
    parser.add_argument("--binance-port", type=int, default=0)
    args = parser.parse_args()
    if args.core >= 0:
        set_affinity(0, [args.core])
    listeners = uvloop.run(serve(args.port, args.instruments, args.raw_books, args.binance_port))
    parts = []
    for slot, listener in enumerate(listeners):
        part = np.zeros(len(listener.stamps), FRAME_TIME)
        part["conn"], part["wire_seq"] = slot, np.arange(1, len(part) + 1) if listener.numbered else 0
        part["end_mono_ns"] = np.frombuffer(listener.stamps, np.int64)
        parts.append(part)
    times = np.concatenate(parts)
    ports = np.array([[slot, listener.port] for slot, listener in enumerate(listeners)], np.int64)
    np.savez(args.folder / "frames.npz", times=times[np.argsort(times["end_mono_ns"], kind="stable")], ports=ports)


if __name__ == "__main__":
    sys.exit(main())
