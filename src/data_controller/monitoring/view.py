"""What the monitor knows at one moment; metrics, health and alerts are functions of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from data_controller.control import Feed
from data_controller.killswitch.latch import LatchState

ChannelKey = tuple[str, str]
"""Exchange and stream."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the monitor measures itself, so that it is known with the engine gone; None where it cannot be."""

    disk_free_bytes: int | None = None
    memory_free_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One moment. `feed` is the last one received, however old: `feed_age_s` says how far to believe it."""

    now_ns: int
    latch: LatchState
    feed: Feed | None = None
    feed_age_s: float | None = None
    connected: bool = False
    error: str = ""  # why there is no connection
    rates: dict[ChannelKey, float] = field(default_factory=dict)  # frames a second
    machine: Machine = Machine()
    watched_s: float = 3600.0  # how long the monitor has been looking
    feeds: int = 0
    connections: int = 0
    alerts_lost: int = 0
    alerts_firing: dict[str, int] = field(default_factory=dict)  # by severity

    def live(self, failed_s: float) -> Feed | None:
        """The feed where it is young enough to be believed, else None."""
        if self.feed is None or self.feed_age_s is None or self.feed_age_s >= failed_s:
            return None
        return self.feed


class Rates:
    """Frames a second of each stream over the last `window_s`, from the feed's counters; starts afresh with a run."""

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self._run: tuple[int, int] | None = None
        self._seen: deque[tuple[int, dict[ChannelKey, int]]] = deque(maxlen=4096)

    def add(self, feed: Feed, arrived_ns: int) -> None:
        """Take the counters of `feed`, which came at `arrived_ns` of a monotonic clock."""
        frames: dict[ChannelKey, int] = {}
        for stat in feed.channels:
            key = (stat.exchange, stat.channel)
            frames[key] = frames.get(key, 0) + stat.frames
        run = (feed.run, feed.started_ns)
        if run != self._run:
            self._run = run
            self._seen.clear()
        self._seen.append((arrived_ns, frames))
        while len(self._seen) > 2 and arrived_ns - self._seen[1][0] >= self.window_s * 1e9:
            self._seen.popleft()

    def rates(self, now_ns: int) -> dict[ChannelKey, float]:
        """Frames a second by stream; zero for a known stream whose engine has been silent for a whole window."""
        if not self._seen:
            return {}
        last_ns, last = self._seen[-1]
        if now_ns - last_ns >= self.window_s * 1e9:
            return dict.fromkeys(last, 0.0)
        first_ns, first = self._seen[0]
        span_s = (max(now_ns, last_ns) - first_ns) / 1e9
        if span_s <= 0:
            return dict.fromkeys(last, 0.0)
        return {key: max(count - first.get(key, 0), 0) / span_s for key, count in last.items()}
