"""Starts the monitor process, says where it listens, and ends it."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import msgspec
from pydantic import ValidationError

from data_controller.errors import ConfigError, ControlError
from data_controller.monitoring.settings import MonitoringSettings
from data_controller.settings import Section
from data_controller.web.settings import WebSettings
from data_controller.web.token import read_token

LOCK_NAME = "monitor.lock"
INFO_NAME = "monitor.json"
SETTINGS_NAME = "monitor.settings.json"


class ProcessSettings(Section):
    """The sections the monitor process needs, as they travel to it."""

    web: WebSettings = WebSettings()
    monitoring: MonitoringSettings = MonitoringSettings()


class MonitorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Where a state directory's monitor listens."""

    url: str
    pid: int


def read_settings(path: Path) -> ProcessSettings:
    """The settings in `path`; ConfigError where they are not whole and valid."""
    try:
        return ProcessSettings.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigError(f"expected the monitor's settings in {path}: {error}") from error


def write_info(state_dir: Path, info: MonitorInfo) -> None:
    """Say in the state directory where its monitor listens."""
    _replace(state_dir / INFO_NAME, msgspec.json.encode(info) + b"\n")


def read_info(state_dir: Path) -> MonitorInfo | None:
    """Where the monitor of `state_dir` listens, or did when it last started; None where there never was one."""
    try:
        return msgspec.json.decode((state_dir / INFO_NAME).read_bytes(), type=MonitorInfo)
    except (OSError, msgspec.MsgspecError):
        return None


class MonitorProcess:
    """A running monitor. It outlives the engine, and this process too (by `linger_s`), unless `stop` ends it."""

    def __init__(self, process: subprocess.Popen[bytes], state_dir: Path, url: str) -> None:
        self.state_dir = state_dir
        self.url = url
        self._process = process

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    @property
    def login_url(self) -> str:
        """The status page with its token in the fragment, which a browser never sends: for its owner's eyes only."""
        return f"{self.url}#token={read_token(self.state_dir)}"

    def is_alive(self) -> bool:
        """True while the process runs."""
        return self._process.poll() is None

    def reload(self, web: WebSettings, monitoring: MonitoringSettings) -> None:
        """Hand it the hot settings of `monitoring`."""
        _write_settings(self.state_dir, web, monitoring)
        if self.is_alive():
            self._process.send_signal(signal.SIGHUP)

    def stop(self, timeout_s: float = 5.0) -> int:
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

    def __enter__(self) -> MonitorProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_monitor(
    state_dir: Path,
    web: WebSettings | None = None,
    monitoring: MonitoringSettings | None = None,
    *,
    stderr: IO[Any] | int | None = None,
    timeout_s: float = 20.0,
) -> MonitorProcess:
    """The monitor of `state_dir`, once it answers; it takes over from an older one there. ControlError if it cannot.

    `stderr` (inherited by default) gets alerts as text. The child is in a session of its own: a Ctrl-C meant for the
    engine does not end it, so `stop` it.
    """
    settings = _write_settings(state_dir, web or WebSettings(), monitoring or MonitoringSettings())
    command = [sys.executable, "-P", "-m", "data_controller.monitoring", "--state-dir", os.fspath(state_dir)]
    command += ["--settings", os.fspath(settings), "--ready", "--take-over", "--starter"]
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
            line = _first_line(stdout, timeout_s)
        said = msgspec.json.decode(line or b"{}", type=dict[str, Any])
        if "url" not in said:
            raise ControlError(f"the monitor did not start: {said.get('error') or f'nothing heard in {timeout_s:g} s'}")
    except BaseException:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        raise
    return MonitorProcess(process, state_dir, said["url"])


def _first_line(stream: IO[bytes], timeout_s: float) -> bytes:
    """The first line of `stream`, or what came of it before its end or the deadline."""
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


def _write_settings(state_dir: Path, web: WebSettings, monitoring: MonitoringSettings) -> Path:
    path = state_dir / SETTINGS_NAME
    _replace(path, ProcessSettings(web=web, monitoring=monitoring).model_dump_json().encode())
    return path


def _replace(path: Path, data: bytes) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    fresh.write_bytes(data)
    fresh.chmod(0o600)
    fresh.replace(path)
