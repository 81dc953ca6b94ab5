"""Starts the bridge process and ends it; imports nothing of what runs in it."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from data_controller.errors import ControlError


class BridgeProcess:
    """A running bridge; it ends with this process, or by `stop`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.port = port
        self._process = process

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def is_alive(self) -> bool:
        """True while the process runs."""
        return self._process.poll() is None

    def stop(self, timeout_s: float = 3.0) -> int:
        """End it: SIGTERM, after `timeout_s` SIGKILL; its exit code."""
        if self.is_alive():
            self._process.terminate()
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        return code


def start_bridge(
    port: int,
    rest_urls: Mapping[str, str],
    socket_urls: Mapping[str, str],
    *,
    stderr: IO[Any] | int | None = None,
    timeout_s: float = 30.0,
) -> BridgeProcess:
    """A bridge that listens on `port` of 127.0.0.1 (0: any); ControlError where it does not."""
    command = [sys.executable, "-P", "-m", "data_controller.bridge", "--port", str(port)]
    command += ["--rest-urls", json.dumps(dict(rest_urls)), "--socket-urls", json.dumps(dict(socket_urls))]
    source = os.fspath(Path(__file__).parents[2])
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert process.stdout is not None
    try:
        with process.stdout as stdout:
            said = json.loads(_first_line(stdout, timeout_s) or b"{}")
        if "port" not in said:
            why = said.get("error") or f"nothing heard in {timeout_s:g} s"
            raise ControlError(f"expected the ccxt bridge to start, was: {why}")
    except BaseException:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        raise
    return BridgeProcess(process, int(said["port"]))


def _first_line(stream: IO[bytes], timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while b"\n" not in line and selector.select(max(deadline - time.monotonic(), 0)):
            piece = os.read(stream.fileno(), 4096)
            if not piece:
                break
            line += piece
    return line if line.endswith(b"\n") else b""
