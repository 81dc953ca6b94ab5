"""Keeps the lake up with the journal: starts a pass of the compactor where segments closed, and again where it died."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from data_controller.actions import Alert
from data_controller.control import backoff_s
from data_controller.journal import manifest as manifests
from data_controller.lake.settings import LakeSettings

_S = 1_000_000_000
NOTE = "note: "
"""How a line on stderr begins that tells what a pass met, though it ended well."""


class CompactKeeper:
    """At most one pass at a time, in a process that steps back for others; the loop only looks at a file's time."""

    def __init__(self, state_dir: Path, settings: LakeSettings, alert: Callable[[Alert], None]) -> None:
        self.passes = 0  # that ended well
        self._state_dir = state_dir
        self._journal = state_dir / "journal"
        self._settings = settings
        self._alert = alert
        self._process: subprocess.Popen[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._next_ns = 0
        self._done_stamp = 0  # of the manifest that the last good pass began with
        self._delays = backoff_s(5.0, 600.0)
        self._told: list[str] = []  # what the last good pass had to note
        self._claim()

    def _claim(self) -> None:
        """From here on nothing leaves the journal that is not in the lake."""
        if self._settings.compact and self._journal.is_dir() and manifests.load_retention(self._journal) is None:
            manifests.save_retention(self._journal, manifests.Retention())
        elif not self._settings.compact:  # the journal's own limits hold again
            (self._journal / manifests.RETENTION).unlink(missing_ok=True)

    def look(self, now_ns: int) -> None:
        """Start a pass where one is due and something closed since the last; returns at once."""
        if not self._settings.compact or self._task is not None:
            return
        if self._next_ns == 0:
            self._next_ns = now_ns + int(self._settings.compact_interval_s * _S)
        if now_ns < self._next_ns or self._stamp() == self._done_stamp:
            return
        self._next_ns = now_ns + int(self._settings.compact_interval_s * _S)
        self._task = asyncio.get_running_loop().create_task(self._pass(now_ns))

    def _stamp(self) -> int:
        try:
            return (self._journal / manifests.MANIFEST).stat().st_mtime_ns
        except OSError:
            return self._done_stamp

    async def _pass(self, now_ns: int) -> None:
        stamp = self._stamp()
        try:
            code, said = await asyncio.to_thread(self._run)
        except OSError as error:
            code, said = 1, str(error)
        finally:
            self._task = None
        if code == 0:
            self._done_stamp = stamp
            self.passes += 1
            self._delays = backoff_s(5.0, 600.0)
            self._tell([line.removeprefix(NOTE) for line in said.splitlines() if line.startswith(NOTE)])
        elif self._process is not None:
            self._next_ns = max(self._next_ns, now_ns + int(next(self._delays) * _S))
            last = (said.strip().splitlines() or [f"exit code {code}"])[-1][:500]
            self._alert(Alert("warning", "compaction_failed", f"the lake is behind; it is tried again: {last}"))

    def _tell(self, notes: list[str]) -> None:
        """Alert on what a pass noted, once for as long as passes note the same."""
        fresh = [note for note in notes if note not in self._told]
        self._told = notes
        if fresh:
            more = f"; and {len(fresh) - 3} more" if len(fresh) > 3 else ""
            text = "; ".join(fresh[:3])[:500]
            self._alert(Alert("warning", "compaction_noted", f"not all is as it should be in the lake: {text}{more}"))

    def _run(self) -> tuple[int, str]:
        command = [sys.executable, "-P", "-m", "data_controller.engine.compact_process", os.fspath(self._state_dir)]
        command.append(self._settings.model_dump_json())
        source = os.fspath(Path(__file__).parents[2])
        paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
        process = self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        said = process.communicate()[1]
        return process.returncode, said.decode("utf-8", "replace")

    def reload(self, settings: LakeSettings) -> None:
        """Go on with reloaded settings; a pass that runs ends with the old ones."""
        self._settings = settings
        self._claim()

    async def stop(self) -> None:
        """End a pass that runs: it may be killed anywhere; idempotent."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.kill()
        if self._task is not None:
            await asyncio.wait([self._task])
