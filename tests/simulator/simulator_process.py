"""A simulator process for tests: its ports, its control commands, its end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

SOURCE = Path(__file__).parents[2] / "src"


class Process:
    """A running simulator."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "data_controller.simulator", "--exit-with-stdin", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
        )
        self.ready = self.line()
        self.port = self.ready["port"]
        self.control = socket.create_connection(("127.0.0.1", self.ready["control_port"]), timeout=60)
        self.replies = self.control.makefile("rb")

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def do(self, what: str, **values: Any) -> dict[str, Any]:
        self.control.sendall(json.dumps({"do": what} | values).encode() + b"\n")
        return json.loads(self.replies.readline())

    def open(self) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}/ws/2", compression=None, max_size=1 << 24)

    def end(self) -> int:
        self.control.close()
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)
