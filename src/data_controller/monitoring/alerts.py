"""Alerts: what fires, goes on and is resolved, by name; each change is one event, delivered to the log."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import msgspec

from data_controller.control import AlertEvent, Severity
from data_controller.monitoring.health import Finding, findings, rfc3339
from data_controller.monitoring.settings import MonitoringSettings
from data_controller.monitoring.view import View

MAX_FIRING = 256
OVERFLOW = "alerts_overflow"
_LOGS_KEPT = 3
_SEVERITY: dict[str, Severity] = {"degraded": "warning", "failed": "critical"}

Conditions = dict[str, tuple[Severity, str]]
"""What is wrong now: name -> severity and text."""


@dataclass(slots=True)
class _Firing:
    severity: Severity
    text: str
    source: str
    since_ns: int
    seen_ns: int  # when it was last true
    told_ns: int  # when it was last delivered
    count: int = 1


class AlertBook:
    """Which alerts fire now. Changes come back as events; the same trouble is said once, then every `alert_repeat_s`.

    At most `MAX_FIRING` names fire at once; beyond that one alert named `alerts_overflow` stands for the rest.
    """

    def __init__(self, settings: MonitoringSettings) -> None:
        self.settings = settings
        self.overflowed = 0
        self._firing: dict[str, _Firing] = {}
        self._next_id = 1

    def by_severity(self) -> dict[str, int]:
        """How many fire, by severity; all three are there."""
        counts = {"info": 0, "warning": 0, "critical": 0}
        for firing in self._firing.values():
            counts[firing.severity] += 1
        return counts

    def firing(self) -> list[AlertEvent]:
        """What fires now, oldest first."""
        return [self._event(name, f, f.told_ns, "firing", 0) for name, f in self._firing.items()]

    def heard(self, event: AlertEvent, now_ns: int) -> list[AlertEvent]:
        """Changes after the engine said `event`; one it does not repeat resolves by itself after `alert_quiet_s`."""
        if event.state == "resolved":
            firing = self._firing.pop(event.name, None)
            return [] if firing is None else [self._tell(event.name, firing, now_ns, "resolved")]
        return self._raise(event.name, event.severity, event.text, "engine", now_ns)

    def update(self, conditions: Conditions, now_ns: int) -> list[AlertEvent]:
        """Changes after the monitor looked at everything and found `conditions` true."""
        told = []
        for name, (severity, text) in conditions.items():
            told += self._raise(name, severity, text, "monitor", now_ns)
        for name, firing in list(self._firing.items()):
            quiet_s = self.settings.alert_quiet_s if firing.source == "engine" else self.settings.alert_resolve_s
            if name not in conditions and now_ns - firing.seen_ns >= quiet_s * 1e9:
                del self._firing[name]
                told.append(self._tell(name, firing, now_ns, "resolved"))
        return told

    def _raise(self, name: str, severity: Severity, text: str, source: str, now_ns: int) -> list[AlertEvent]:
        firing = self._firing.get(name)
        if firing is None:
            if len(self._firing) >= MAX_FIRING and name != OVERFLOW:
                self.overflowed += 1
                return self._raise(OVERFLOW, "critical", f"more than {MAX_FIRING} alerts at once", "monitor", now_ns)
            firing = self._firing[name] = _Firing(severity, text, source, now_ns, now_ns, now_ns)
            return [self._tell(name, firing, now_ns, "firing")]
        graver = severity == "critical" and firing.severity != "critical"
        firing.severity, firing.text, firing.seen_ns = severity, text, now_ns
        firing.count += source == "engine"
        if graver or now_ns - firing.told_ns >= self.settings.alert_repeat_s * 1e9:
            return [self._tell(name, firing, now_ns, "firing" if graver else "still_firing")]
        return []

    def _tell(self, name: str, firing: _Firing, now_ns: int, state: str) -> AlertEvent:
        firing.told_ns = now_ns
        event = self._event(name, firing, now_ns, state, self._next_id)
        self._next_id += 1
        return event

    def _event(self, name: str, firing: _Firing, t_ns: int, state: str, number: int) -> AlertEvent:
        return AlertEvent(
            id=number,
            t_ns=t_ns,
            severity=firing.severity,
            name=name,
            text=firing.text,
            state=state,  # type: ignore[arg-type]  # one of the three by construction
            source=firing.source,
            since_ns=firing.since_ns,
            count=firing.count,
        )


def conditions(view: View, limits: MonitoringSettings) -> Conditions:
    """What the monitor itself finds wrong. With the engine failed, its components are one trouble, not twenty."""
    found = findings(view, limits)
    wrong: Conditions = {}
    if view.latch.active:
        wrong["kill_switch_active"] = ("critical", found["latch"].why)
    engine_failed = found["engine"].state == "failed"
    starting = view.feed is not None and view.feed.phase != "live"
    for name, finding in found.items():
        if finding.state == "ok" or name == "latch":
            continue
        if name == "engine" and view.feed is None and view.watched_s < limits.feed_failed_s:
            continue  # it may be about to start
        if engine_failed and name not in ("engine", "disk", "memory"):
            continue
        if starting and finding.state == "degraded" and name not in ("disk", "memory"):
            continue
        if name == "mode" and view.latch.active:
            continue
        wrong[f"health/{name}"] = _alert(finding)
    return wrong


def _alert(finding: Finding) -> tuple[Severity, str]:
    return _SEVERITY[finding.state], finding.why or finding.state


class AlertLog:
    """Delivers events as JSON lines to a file, rotated by size, and as text to a stream. It never raises."""

    def __init__(self, path: Path, max_bytes: int, stream: TextIO | None = None) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.failed = 0  # events the file did not take
        self._stream = stream

    def deliver(self, event: AlertEvent) -> None:
        """Write `event`; a full disk costs the line in the file, not the process."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._rotate()
            line = {"time": rfc3339(event.t_ns), **msgspec.to_builtins(event)}
            with self.path.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")
        except OSError:
            self.failed += 1
        text = " ".join(f"{rfc3339(event.t_ns)} {event.severity} {event.state} {event.name}: {event.text}".split())
        with contextlib.suppress(OSError, ValueError):
            print(text.encode("ascii", "backslashreplace").decode(), file=self._stream or sys.stderr, flush=True)

    def _rotate(self) -> None:
        try:
            if self.path.stat().st_size < self.max_bytes:
                return
        except FileNotFoundError:
            return
        for i in range(_LOGS_KEPT - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{i}")
            if older.exists():
                older.replace(self.path.with_name(f"{self.path.name}.{i + 1}"))
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
