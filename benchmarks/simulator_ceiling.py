"""How fast the simulated exchange is by itself: market and text, pre-history, and load into clients that only read.

    PYTHONPATH=src python benchmarks/simulator_ceiling.py [--seconds 5] [--rates 10000,100000,200000,0]

Rate 0 means as fast as the sockets take it. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from data_controller.simulator.exchange import Exchange
from data_controller.simulator.prehistory import generate, read_prehistory, requests, write

SOURCE = Path(__file__).parents[1] / "src"
HANDSHAKE = (
    b"GET /ws/2 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def prehistory(seconds: float, instruments: int) -> dict[str, float]:
    """Make and read a pre-history through a file; times in seconds of wall and of processor."""
    list(generate(Exchange(1, 1), 10**9))  # compile
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prehistory.arrow"
        wall, cpu = time.perf_counter(), time.process_time()
        with path.open("wb") as out:
            records = write(generate(Exchange(7, instruments), int(seconds * 1e9)), out)
        made_wall, made_cpu = time.perf_counter() - wall, time.process_time() - cpu
        wall = time.perf_counter()
        chunks = sum(1 for _ in read_prehistory(path))
        return {
            "records": records,
            "bytes": path.stat().st_size,
            "made_wall_s": round(made_wall, 3),
            "made_cpu_s": round(made_cpu, 3),
            "cpu_us_a_frame": round(1e6 * made_cpu / records, 3),
            "chunks": chunks,
            "read_wall_s": round(time.perf_counter() - wall, 3),
        }


def subscribe(port: int, wanted: list[dict[str, Any]]) -> socket.socket:
    """A raw client that asks for its channels."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(HANDSHAKE)
    for request in [{"event": "conf", "flags": 229376}, *wanted]:
        text = json.dumps(request).encode()
        head = bytes((0x81, 0x80 | len(text))) if len(text) < 126 else b"\x81\xfe" + len(text).to_bytes(2, "big")
        client.sendall(head + bytes(4) + text)
    client.setblocking(False)
    return client


def drain(clients: list[socket.socket], stop: threading.Event) -> None:
    """Read and forget."""
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client, selectors.EVENT_READ)
    buffer = bytearray(1 << 20)
    while not stop.is_set():
        for key, _ in selector.select(0.1):
            if key.fileobj.recv_into(buffer) == 0:  # type: ignore[union-attr]
                selector.unregister(key.fileobj)


def load(instruments: int, rate: float, seconds: float, coalesce_us: float) -> dict[str, Any]:
    """Start a simulator in load mode, read what it sends, return its own report."""
    connections = requests([f"{name}" for name in Exchange(1, instruments).symbols], raw_books=0)
    channels = sum(len(part) for part in connections)
    options = {
        "--instruments": instruments,
        "--ticks-per-second": rate or 100_000,
        "--load-s": seconds,
        "--load-channels": channels,
        "--rate": rate,
        "--coalesce-us": coalesce_us,
    }
    command = [sys.executable, "-m", "data_controller.simulator", "--load", "--exit-with-stdin"]
    command += [str(part) for pair in options.items() for part in pair]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(SOURCE)}
    )
    assert process.stdout is not None
    assert process.stdin is not None
    port = json.loads(process.stdout.readline())["port"]
    clients = [subscribe(port, wanted) for wanted in connections]
    stop = threading.Event()
    reader = threading.Thread(target=drain, args=(clients, stop))
    reader.start()
    report: dict[str, Any] = json.loads(process.stdout.readline())["load"]
    stop.set()
    reader.join()
    process.stdin.close()
    process.wait(20)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--instruments", type=int, default=100)
    parser.add_argument("--rates", default="10000,100000,200000,0")
    parser.add_argument("--coalesce-us", type=float, default=0.0)
    parser.add_argument("--prehistory-seconds", type=float, default=7200.0)
    args = parser.parse_args()
    result: dict[str, Any] = {"prehistory": prehistory(args.prehistory_seconds, 8), "load": {}}
    for rate in args.rates.split(","):
        result["load"][rate] = load(args.instruments, float(rate), args.seconds, args.coalesce_us)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
