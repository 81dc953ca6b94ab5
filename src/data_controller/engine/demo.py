"""The demo: the whole chain on the simulated exchange, from nothing to a summary, with honest latencies."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.config import Config, parse
from data_controller.engine.latency import FrameTimes, join, quantiles_us
from data_controller.engine.live import LiveEngine, OnEvent, run_loop
from data_controller.errors import SimulatorError
from data_controller.exchanges.naming import to_canonical
from data_controller.simulator.instruments import instrument_names
from data_controller.simulator.prehistory import Chunk, cut, read_prehistory

PREHISTORY_S = 7200.0
OTHER_INSTRUMENTS = 3
"""How many instruments the demo collects of each further venue: the same market, told in another protocol."""
_PATHS = {"binance": "/stream", "kraken": "/v2"}
BIG_CHUNK_NS = 10_000_000_000


def demo_config(state_dir: Path, port: int, instruments: int, venue_ports: Mapping[str, int] | None = None) -> Config:
    """A config for the simulated exchange: no fees, small edges taken, shorts allowed.

    `venue_ports` are the ports where it speaks the protocols of other venues too; each gets OTHER_INSTRUMENTS.
    """
    exchanges: dict[str, Any] = {
        "bitfinex": {
            "url": f"ws://127.0.0.1:{port}/ws/2",
            "instruments": instrument_names(instruments),
            "books": [{"precision": "P0", "frequency": "F0", "length": 25}],
        }
    }
    names = [to_canonical("bitfinex", symbol) for symbol in instrument_names(min(instruments, OTHER_INSTRUMENTS))]
    for venue, other in (venue_ports or {}).items():
        path = _PATHS[venue]
        exchanges[venue] = {"url": f"ws://127.0.0.1:{other}{path}", "instruments": names}
        if venue == "binance":
            # Where others quote dollars Binance quotes its stablecoin.
            exchanges[venue]["instruments"] = [f"{name}T" for name in names]
            exchanges[venue]["rest_url"] = f"http://127.0.0.1:{other}/api/v3"
    return parse(
        {
            "state_dir": str(state_dir),
            "exchanges": exchanges,
            "features": {"leader": "bitfinex:tBTCUSD"},
            "trading": {"fee_bps": 0.0, "min_edge_bps": 0.05, "latency_drift_bps": 0.0, "allow_short": True},
            "risk": {"max_open_positions": max(8, instruments)},
        }
    )


def demo(
    for_s: float = 30.0,
    seed: int = 7,
    instruments: int = 8,
    ticks_per_second: float = 1000.0,
    out: Path = Path("demo-out"),
    on_event: OnEvent = lambda event: None,
    prehistory_s: float = PREHISTORY_S,
    venues: Sequence[str] = ("binance", "kraken"),
) -> dict[str, Any]:
    """Start a simulated exchange, play its pre-history, trade live for `for_s` from the moment all books are proved.

    `out` becomes the state directory, journal and tables in it. `venues` are further protocols that the same exchange
    speaks, each a venue of its own to the engine. `ticks_per_second` is over all instruments. Returns the
    summary; `wire_to_decision_us` runs from the simulator's own stamp before each send to the end of the step that
    held the frame. Raises SimulatorError where the exchange does not start.
    """
    with tempfile.TemporaryDirectory(prefix="data-controller-demo-") as scratch:
        folder = Path(scratch)
        pipe = folder / "prehistory"
        os.mkfifo(pipe)
        port = free_port()
        arguments = ["--port", port, "--seed", seed, "--instruments", instruments]
        venue_ports = {venue: free_port() for venue in venues}
        arguments += ["--venues", ",".join(venues)]
        arguments += ["--venue-ports", ",".join(f"{venue}={number}" for venue, number in venue_ports.items())]
        arguments += ["--ticks-per-second", ticks_per_second, "--sent-log", folder]
        arguments += ["--prehistory-seconds", prehistory_s, "--prehistory-out", pipe]
        with Simulator(arguments, folder / "simulator.log") as simulator:
            frame_times = FrameTimes()
            engine = LiveEngine(
                demo_config(out, port, instruments, venue_ports),
                for_s=for_s,
                from_proved=True,
                prehistory=_chunks(pipe, simulator),
                frame_times=frame_times,
                world_ended=simulator.ended,
                on_event=on_event,
            )
            summary = run_loop(engine)
            if simulator.ended():
                raise SimulatorError(f"expected the simulated exchange to last, was: {simulator.said()}")
            simulator.stop()
            latency = _latency(frame_times.array(), engine.local_ports, folder)
        wire = quantiles_us(latency)
        return summary | {
            "wire_to_decision_us": wire or summary["wire_to_decision_us"],
            "wire_frames": len(latency),
            "state_dir": str(out),
        }


def _chunks(pipe: Path, simulator: Simulator) -> Iterator[list[Chunk]]:
    """Ten seconds of pre-history at a time; a dead simulator is an error, not a wait for ever."""
    with simulator.reading(pipe) as stream:
        for big in read_prehistory(stream, BIG_CHUNK_NS):
            yield list(cut(big))


def _latency(times: NDArray[np.void], local_ports: dict[int, int], folder: Path) -> NDArray[np.int64]:
    """Wire-to-decision latency of every frame whose sending the simulator stamped."""
    try:
        sent = np.load(folder / "sent.npy")
        known = json.loads((folder / "connections.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return np.zeros(0, np.int64)
    conn_of_port = {int(entry["client_port"]): int(entry["conn"]) for entry in known}
    mapped = times.copy()
    mapped["conn"] = -1
    for slot, port in local_ports.items():
        if port in conn_of_port:
            mapped["conn"][times["conn"] == slot] = conn_of_port[port]
    return join(mapped[mapped["conn"] >= 0], sent)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Simulator:
    """The simulated exchange in a process of its own; it ends with this one, however this one ends."""

    def __init__(self, arguments: list[Any], log: Path) -> None:
        source = os.fspath(Path(__file__).parents[2])
        paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-P", "-m", "data_controller.simulator", "--exit-with-stdin", *map(str, arguments)]
        self._log = log
        self._stderr = log.open("wb")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextlib.contextmanager
    def reading(self, pipe: Path) -> Iterator[Any]:
        """`pipe` open for reading once the simulator writes to it."""
        fd = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # a plain open would wait for a simulator that died
        with os.fdopen(fd, "rb", buffering=1 << 20) as stream:
            import select

            while not select.select([fd], [], [], 0.2)[0]:
                if self.process.poll() is not None:
                    raise SimulatorError(f"expected the simulated exchange to start, was: {self.said()}")
            os.set_blocking(fd, True)
            yield stream

    def ended(self) -> str:
        """Why nothing more comes from it; empty while it runs."""
        code = self.process.poll()
        return "" if code is None else f"the simulated exchange ended with code {code}"

    def said(self) -> str:
        """What it wrote to stderr."""
        with contextlib.suppress(OSError):
            return self._log.read_text(encoding="utf-8", errors="replace").strip()[-500:] or "nothing said"
        return "nothing said"

    def stop(self, timeout_s: float = 10.0) -> None:
        """Let it write its logs and end; idempotent."""
        if self.process.stdin is not None:
            self.process.stdin.close()
            self.process.stdin = None
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._stderr.close()
