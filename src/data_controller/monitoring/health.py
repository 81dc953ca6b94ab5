"""Health as a function of what the monitor knows: a state and a reason for each component, the worst for the whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from data_controller.control import Feed
from data_controller.monitoring.settings import MonitoringSettings
from data_controller.monitoring.view import View

State = Literal["ok", "degraded", "failed"]
_RANK: dict[State, int] = {"ok": 0, "degraded": 1, "failed": 2}
EXPECTED_OF_ENGINE = ("journal", "prediction")
"""Components that the engine must speak of; silence about them is degraded."""


class Finding(msgspec.Struct, frozen=True):
    """One component's state, and why."""

    state: State
    why: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `/healthz`."""

    overall: State
    components: dict[str, State]
    timestamp: str  # RFC 3339, UTC
    details: dict[str, Any]


def rfc3339(t_ns: int) -> str:
    """`t_ns` (Unix ns) as RFC 3339 in UTC, to the millisecond."""
    text = datetime.fromtimestamp(t_ns // 1_000_000 / 1e3, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def status_code(health: Health) -> int:
    """What an outside check sees: 503 where something failed, else 200."""
    return 503 if health.overall == "failed" else 200


def health(view: View, limits: MonitoringSettings) -> Health:
    """The state of everything at `view.now_ns`. A silent engine's last words count as failed, never as live."""
    found = findings(view, limits)
    overall = max((f.state for f in found.values()), key=_RANK.__getitem__)
    details: dict[str, Any] = {name: {"state": f.state, "why": f.why} for name, f in found.items()}
    feed = view.feed
    details["feed"] = {
        "age_s": None if view.feed_age_s is None else round(view.feed_age_s, 3),
        "run": feed.run if feed else None,
        "pid": feed.pid if feed else None,
        "mode": feed.mode if feed else "HALTED",
        "phase": feed.phase if feed else None,
    }
    return Health(
        overall=overall,
        components={name: f.state for name, f in found.items()},
        timestamp=rfc3339(view.now_ns),
        details=details,
    )


def findings(view: View, limits: MonitoringSettings) -> dict[str, Finding]:
    """Every component's state and reason, by name."""
    engine = _engine(view, limits)
    found = {"engine": engine, "latch": _latch(view), **_machine(view, limits)}
    if view.feed is None:
        return found
    of_engine = _of_feed(view.feed, limits)
    if engine.state == "failed":
        since = "" if view.feed_age_s is None else f" for {view.feed_age_s:.1f} s"
        of_engine = {
            name: Finding("failed", f"unknown: engine silent{since}, was {f.state}") for name, f in of_engine.items()
        }
    for name, finding in of_engine.items():
        found[name] = _worst(finding, found.get(name))
    return found


def _worst(a: Finding, b: Finding | None) -> Finding:
    return a if b is None or _RANK[a.state] > _RANK[b.state] else b


def _engine(view: View, limits: MonitoringSettings) -> Finding:
    feed, age = view.feed, view.feed_age_s
    if feed is None or age is None:
        return Finding("failed", view.error or "no feed yet")
    if age >= limits.feed_failed_s:
        return Finding("failed", f"silent for {age:.1f} s, limit {limits.feed_failed_s:g} s; {view.error}".rstrip("; "))
    if age >= limits.feed_degraded_s or not view.connected:
        return Finding("degraded", f"silent for {age:.1f} s; {view.error}".rstrip("; "))
    if feed.phase in ("starting", "stopping"):
        return Finding("degraded", feed.phase)
    return Finding("ok", f"run {feed.run}, pid {feed.pid}, {feed.phase}")


def _latch(view: View) -> Finding:
    latch = view.latch
    if not latch.active:
        return Finding("ok", "clear")
    more = f" (and {len(latch.later) + latch.later_dropped} more)" if latch.later else ""
    return Finding("degraded", f"kill switch active: {latch.reason}, by {latch.who}{more}")


def _machine(view: View, limits: MonitoringSettings) -> dict[str, Finding]:
    disk, memory = view.machine.disk_free_bytes, view.machine.memory_free_ratio
    return {
        "disk": _below(disk, limits.disk_free_degraded_bytes, limits.disk_free_failed_bytes, "of disk free"),
        "memory": _below(
            memory, limits.memory_free_degraded_ratio, limits.memory_free_failed_ratio, "of memory available"
        ),
    }


def _below(value: float | None, degraded: float, failed: float, what: str) -> Finding:
    if value is None:
        return Finding("degraded", f"{what}: cannot be measured")
    text = f"{_amount(value)} {what}"
    if value < failed:
        return Finding("failed", f"{text}, expected at least {_amount(failed)}")
    if value < degraded:
        return Finding("degraded", f"{text}, expected at least {_amount(degraded)}")
    return Finding("ok", text)


def _amount(value: float) -> str:
    return f"{value / (1 << 30):,.1f} GiB" if isinstance(value, int) else f"{value:.1%}"


def _of_feed(feed: Feed, limits: MonitoringSettings) -> dict[str, Finding]:
    found = {name: _said(text) for name, text in feed.components.items()}
    for name in EXPECTED_OF_ENGINE:
        found.setdefault(name, Finding("degraded", "the engine says nothing about it"))
    derived = {"mode": _mode(feed), "event_loop": _loop(feed, limits), "queues": _queues(feed, limits)}
    derived |= _books(feed) | _clocks(feed, limits)
    for name, finding in derived.items():
        found[name] = _worst(finding, found.get(name))
    return found


def _said(text: str) -> Finding:
    word, _, why = text.partition(":")
    for state in _RANK:
        if word.strip() == state:
            return Finding(state, why.strip())
    return Finding("degraded", f"expected ok, degraded or failed, was {text!r}")


def _mode(feed: Feed) -> Finding:
    if feed.mode == "ACTIVE":
        return Finding("ok", "ACTIVE")
    return Finding("degraded", f"{feed.mode}: {feed.kill.reason}" if feed.kill.active else feed.mode)


def _loop(feed: Feed, limits: MonitoringSettings) -> Finding:
    lag_s = feed.gauges.get("loop_lag_seconds")
    if lag_s is None:
        return Finding("degraded", "the engine does not say its loop's lag")
    text = f"{lag_s * 1e3:.1f} ms late at worst"
    if lag_s >= limits.loop_lag_failed_s:
        return Finding("failed", text)
    return Finding("degraded" if lag_s >= limits.loop_lag_degraded_s else "ok", text)


def _queues(feed: Feed, limits: MonitoringSettings) -> Finding:
    full = [q for q in feed.queues if q.capacity and q.depth >= limits.queue_degraded_ratio * q.capacity]
    if full:
        return Finding("degraded", ", ".join(f"{q.name} holds {q.depth} of {q.capacity}" for q in full))
    return Finding("ok", f"{len(feed.queues)} below {limits.queue_degraded_ratio:.0%}")


def _clocks(feed: Feed, limits: MonitoringSettings) -> dict[str, Finding]:
    """Whether the times that venues put into their messages can be true: what is late by years is not late."""
    late_s: dict[str, list[float]] = defaultdict(list)
    for stat in feed.channels:
        if stat.late_ms is not None:
            late_s[stat.exchange].append(stat.late_ms / 1e3)
    found = {}
    for exchange, values in sorted(late_s.items()):
        off_s = min(values, key=abs)
        limit = limits.venue_clock_degraded_s
        text = f"its times are {abs(off_s):,.3f} s {'behind' if off_s >= 0 else 'ahead of'} ours"
        if abs(off_s) < limit:
            found[f"clock/{exchange}"] = Finding("ok", text)
        else:
            why = f"{text}, expected less than {limit:g} s: its clock is off, or ours, or what it sends is old"
            found[f"clock/{exchange}"] = Finding("degraded", why)
    return found


def _books(feed: Feed) -> dict[str, Finding]:
    found = {}
    for exchange in sorted({book.exchange for book in feed.books}):
        books = [book for book in feed.books if book.exchange == exchange]
        usable = sum(book.usable for book in books)
        proofs = Counter(book.proof for book in books)
        text = f"{usable} of {len(books)} usable (" + ", ".join(f"{n} {p}" for p, n in sorted(proofs.items())) + ")"
        if usable == len(books):
            state: State = "ok"
        else:
            state = "degraded" if usable or feed.phase != "live" else "failed"
        found[f"books/{exchange}"] = Finding(state, text)
    return found
