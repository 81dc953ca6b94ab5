"""One load run: a simulator that sends frames made beforehand, one client against it, and what each frame took."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from benchmarks._cores import cores, set_affinity
from data_controller.engine.latency import join, quantiles_us
from data_controller.simulator.instruments import instrument_names
from data_controller.simulator.view import split

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 120
"""How long a first start may take: kernels compile then."""
LATE_NS = 10_000_000


class Run:
    """What a run gave: `latency_ns` in order of arrival with `sent_ns` beside it, without the first seconds."""

    def __init__(
        self,
        latency_ns: NDArray[np.int64],
        sent: int,
        load: dict[str, Any],
        summary: dict[str, Any],
        cpu_s: float,
        load_cpu_s: float,
    ) -> None:
        self.latency_ns = latency_ns
        self.sent = sent
        self.load = load
        self.summary = summary
        self.cpu_s = cpu_s  # of the client's process from its start on
        self.load_cpu_s = load_cpu_s  # of it, what the `sent` frames took

    def figures(self) -> dict[str, Any]:
        """Latency of every frame after the first seconds."""
        n = len(self.latency_ns)
        return {
            "frames": n,
            "frames_sent": self.sent,
            "lost": self.sent - n,
            "wire_to_decision_us": quantiles_us(self.latency_ns),
            "over_10_ms_share": float((self.latency_ns > LATE_NS).mean()) if n else 1.0,
            "process_cpu_s": round(self.cpu_s, 2),
            "sender": self.load,
        }


def places() -> tuple[int, list[int]]:
    """The core of the client's loop, and the cores of everything else; (-1, []) where there is no choice."""
    mine = cores()
    return (mine[-1], mine[:-1]) if len(mine) > 1 else (-1, [])


def binance_names(instruments: int) -> list[str]:
    """What the simulated Binance calls the first `instruments` symbols."""
    return [f"{split(symbol)[0]}USDT" for symbol in instrument_names(instruments)]


def run(
    client: str,
    *,
    instruments: int = 100,
    rate: float = 10_000,
    seconds: float = 20.0,
    drop_s: float = 5.0,
    coalesce_us: float = 0.0,
    seed: int = 11,
    binance_rate: float = 0.0,
    arguments: tuple[str, ...] = (),
    keep: Path | None = None,
) -> Run:
    """Load `client` (`_engine_process` or `_null_client`), join its stamps with the sender's, leave out `drop_s`.

    With `binance_rate` R0 books are asked for too, and the depth of as many instruments on Binance comes at that rate.
    `keep` receives the client's folder (an engine's state with its journal); without it everything is removed.
    """
    mixed = binance_rate > 0
    with tempfile.TemporaryDirectory(prefix="bench-load-") as name:
        folder = keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        core, others = places()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
        simulator = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "data_controller.simulator", "--exit-with-stdin", "--load"),
                *("--seed", str(seed), "--instruments", str(instruments)),
                *("--load-channels", str((4 if mixed else 2) * instruments)),
                *(("--venues", "binance", "--load-fetches", str(instruments)) if mixed else ()),
                *("--binance-rate", str(binance_rate)),
                *("--rate", str(rate), "--load-s", str(seconds), "--coalesce-us", str(coalesce_us)),
                *("--sent-log", str(folder), "--buffer-limit-bytes", str(1 << 30)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        if others:
            set_affinity(simulator.pid, others)
        process = None
        try:
            assert simulator.stdout is not None
            ready = json.loads(simulator.stdout.readline() or "{}")
            port = ready["port"]
            if mixed:
                binance = urlsplit(ready["venues"]["binance"]["rest"]).port
                arguments = ("--raw-books", "--binance-port", str(binance), *arguments)
            with (folder / "client.log").open("wb") as log:
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-P", "-m", f"benchmarks.{client}", str(folder), "--port", str(port)),
                        *("--instruments", str(instruments), "--core", str(core), *arguments),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environment,
                )
                meter = CpuMeter(process.pid)
                said = simulator.stdout.readline()  # the report, when all is sent
                if not said:
                    raise RuntimeError(f"expected a load report, was the simulator's end: {_tail(folder)}")
                load = json.loads(said)["load"]
                _drain(process, seconds)
                meter.stop()
                if client == "_null_client":
                    assert process.stdin is not None
                    process.stdin.close()
                else:
                    process.send_signal(signal.SIGTERM)
                if process.wait(60) != 0:
                    raise RuntimeError(f"expected {client} to end with 0, was {process.returncode}: {_tail(folder)}")
        finally:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
            assert simulator.stdin is not None
            simulator.stdin.close()
            simulator.wait(30)
        return _joined(folder, load, drop_s, meter)


def _drain(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Let a client that lags read what still lies in its sockets: until its CPU rests, or as long again as the load."""
    before = _cpu_s(process.pid)
    for _ in range(int(max(seconds, 5.0) * 2)):
        try:
            process.wait(0.5)
            return
        except subprocess.TimeoutExpired:
            now = _cpu_s(process.pid)
            if now - before < 0.15:
                return
            before = now


class CpuMeter(threading.Thread):
    """Reads a process's CPU seconds five times a second until `stop`."""

    def __init__(self, pid: int) -> None:
        super().__init__(name="cpu meter", daemon=True)
        self._pid = pid
        self._over = threading.Event()
        self._readings: list[tuple[int, float]] = []  # monotonic ns, seconds
        self.start()

    def run(self) -> None:
        """Read."""
        while not self._over.wait(0.2):
            self._read()

    def stop(self) -> None:
        """Read for the last time."""
        self._over.set()
        self.join()
        self._read()

    def since(self, mono_ns: int) -> float:
        """CPU seconds from about then to the last reading."""
        times, seconds = zip(*self._readings, strict=True)
        return float(seconds[-1] - np.interp(mono_ns, times, seconds))

    @property
    def total_s(self) -> float:
        """CPU seconds at the last reading."""
        return self._readings[-1][1]

    def _read(self) -> None:
        self._readings.append((time.monotonic_ns(), _cpu_s(self._pid)))


def _cpu_s(pid: int) -> float:
    """CPU seconds of a running process, all threads."""
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _tail(folder: Path) -> str:
    log = folder / "client.log"
    return log.read_text(errors="replace")[-800:] if log.exists() else ""


def _joined(folder: Path, load: dict[str, Any], drop_s: float, meter: CpuMeter) -> Run:
    sent = np.load(folder / "sent.npy")
    known = json.loads((folder / "connections.json").read_text())
    conn_of_port = {int(entry["client_port"]): int(entry["conn"]) for entry in known}
    frames_of = {int(entry["conn"]): int(entry["frames"]) for entry in known}
    with np.load(folder / "frames.npz") as file:
        times, ports = file["times"], file["ports"]
    mapped = times.copy()
    mapped["conn"] = -1
    for slot, port in ports.tolist():
        if port not in conn_of_port:
            continue
        mine, conn = times["conn"] == slot, conn_of_port[port]
        mapped["conn"][mine] = conn
        if not times["wire_seq"][mine].any():
            # A venue without numbers: a connection keeps the order, and the load came last.
            before = frames_of[conn] - int((sent["conn"] == conn).sum())
            mapped["wire_seq"][mine] = np.arange(1, mine.sum() + 1) - before
    # The load is everything from its first stamp on: snapshots went before, while its frames were made.
    last_ns = int(sent["mono_ns"].max())
    begin_ns = last_ns - int(load["seconds"] * 1e9)
    begin_ns += int(drop_s * 1e9)
    sent = sent[sent["mono_ns"] >= begin_ns]
    latency = join(mapped[mapped["conn"] >= 0], sent)
    summary = folder / "summary.json"
    said = json.loads(summary.read_text()) if summary.exists() else {}
    return Run(latency, len(sent), load, said, meter.total_s, meter.since(begin_ns))
