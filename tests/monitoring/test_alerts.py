"""The same trouble is said once, then now and then, then resolved; the log never hurts the monitor."""

from __future__ import annotations

import io
import json
from pathlib import Path

from data_controller.control import AlertEvent
from data_controller.monitoring.alerts import MAX_FIRING, OVERFLOW, AlertBook, AlertLog, conditions
from data_controller.monitoring.settings import MonitoringSettings
from data_controller.monitoring.view import Machine

from .views import LATCHED, feed, view

S = 1_000_000_000
LIMITS = MonitoringSettings(alert_repeat_s=900, alert_resolve_s=10, alert_quiet_s=300)


def told(events: list[AlertEvent]) -> list[tuple[str, str]]:
    return [(event.name, event.state) for event in events]


def engine(name: str = "gap", state: str = "firing", severity: str = "warning") -> AlertEvent:
    return AlertEvent(id=1, t_ns=0, severity=severity, name=name, text="text", state=state)  # type: ignore[arg-type]


def test_a_condition_fires_once_goes_on_and_is_resolved_after_it_has_stayed_away() -> None:
    book = AlertBook(LIMITS)
    wrong = {"disk": ("warning", "little left")}
    assert told(book.update(wrong, 0)) == [("disk", "firing")]
    assert told(book.update(wrong, 899 * S)) == []
    assert told(book.update(wrong, 900 * S)) == [("disk", "still_firing")]
    assert told(book.update({}, 909 * S)) == []
    (event,) = book.update({}, 910 * S)
    assert (event.state, event.since_ns, event.severity) == ("resolved", 0, "warning")
    assert told(book.update({}, 1000 * S)) == []


def test_a_flapping_condition_is_said_once() -> None:
    book = AlertBook(LIMITS)
    events = []
    for second in range(60):
        events += book.update({"loop": ("warning", "late")} if second % 2 else {}, second * S)
    assert told(events) == [("loop", "firing")]


def test_a_warning_that_turns_critical_is_said_at_once() -> None:
    book = AlertBook(LIMITS)
    book.update({"disk": ("warning", "little")}, 0)
    (event,) = book.update({"disk": ("critical", "none")}, S)
    assert (event.state, event.severity, event.text) == ("firing", "critical", "none")
    assert book.update({"disk": ("warning", "little")}, 2 * S) == []


def test_the_engines_alert_resolves_by_word_or_by_silence() -> None:
    book = AlertBook(LIMITS)
    assert told(book.heard(engine(), 0)) == [("gap", "firing")]
    assert told(book.heard(engine(), S)) == []
    (event,) = book.heard(engine(state="resolved"), 2 * S)
    assert (event.state, event.count, event.source) == ("resolved", 2, "engine")
    assert book.heard(engine(state="resolved"), 3 * S) == []
    book.heard(engine(), 10 * S)
    assert told(book.update({}, 309 * S)) == []
    assert told(book.update({}, 310 * S)) == [("gap", "resolved")]


def test_ids_ascend_over_everything_told() -> None:
    book = AlertBook(LIMITS)
    events = book.update({"a": ("info", ""), "b": ("info", "")}, 0) + book.heard(engine(), 0) + book.update({}, 999 * S)
    assert [event.id for event in events] == [1, 2, 3, 4, 5, 6]


def test_a_flood_of_names_is_bounded_and_said() -> None:
    book = AlertBook(LIMITS)
    events = []
    for i in range(1000):
        events += book.heard(engine(f"name {i}"), 0)
    assert len(events) == MAX_FIRING + 1 and events[-1].name == OVERFLOW
    assert sum(book.by_severity().values()) == MAX_FIRING + 1
    assert book.overflowed == 1000 - MAX_FIRING


def test_what_fires_can_be_listed() -> None:
    book = AlertBook(LIMITS)
    book.update({"a": ("info", "x"), "b": ("critical", "y")}, 5)
    assert [(e.name, e.severity, e.since_ns) for e in book.firing()] == [("a", "info", 5), ("b", "critical", 5)]
    assert book.by_severity() == {"info": 1, "warning": 0, "critical": 1}


def test_nothing_wrong_raises_nothing() -> None:
    assert conditions(view(), LIMITS) == {}


def test_an_active_latch_is_critical_and_its_halt_is_not_said_twice() -> None:
    assert {n: s for n, (s, _) in conditions(view(latch=LATCHED, feed=feed(mode="HALTED")), LIMITS).items()} == {
        "kill_switch_active": "critical"
    }


def test_a_dead_engine_is_one_alert() -> None:
    wrong = conditions(view(feed_age_s=60.0, machine=Machine(0, 0.5)), LIMITS)
    assert {n: s for n, (s, _) in wrong.items()} == {"health/engine": "critical", "health/disk": "critical"}


def test_an_engine_about_to_start_is_given_its_time() -> None:
    early = view(feed=None, feed_age_s=None, watched_s=1.0)
    late = view(feed=None, feed_age_s=None, watched_s=10.0)
    assert conditions(early, LIMITS) == {} and "health/engine" in conditions(late, LIMITS)


def test_a_start_is_no_alert_but_a_failure_in_it_is() -> None:
    starting = feed(phase="starting", mode="HALTED", books=[], components={})
    assert conditions(view(feed=starting), LIMITS) == {}
    failing = feed(phase="starting", components={**feed().components, "journal": "failed: disk full"})
    assert set(conditions(view(feed=failing), LIMITS)) == {"health/journal"}


def test_the_log_holds_one_json_line_an_event(tmp_path: Path) -> None:
    stream = io.StringIO()
    log = AlertLog(tmp_path / "logs" / "alerts.log", 10_000, stream)
    log.deliver(AlertEvent(id=1, t_ns=1_790_000_000_000_000_000, severity="critical", name="n", text="two\nlines ✗"))
    (line,) = (tmp_path / "logs" / "alerts.log").read_text().splitlines()
    entry = json.loads(line)
    assert entry["text"] == "two\nlines ✗" and entry["time"].startswith("2026-") and entry["state"] == "firing"
    assert stream.getvalue().count("\n") == 1


def test_the_log_rotates_and_keeps_three(tmp_path: Path) -> None:
    path = tmp_path / "alerts.log"
    log = AlertLog(path, 1_000, io.StringIO())
    for i in range(100):
        log.deliver(AlertEvent(id=i, t_ns=0, severity="info", name="n", text="x" * 100))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alerts.log", *(f"alerts.log.{i}" for i in (1, 2, 3))]
    assert all(p.stat().st_size < 1_500 for p in tmp_path.iterdir())
    assert json.loads(path.read_text().splitlines()[-1])["id"] == 99


def test_a_log_that_cannot_be_written_is_counted_and_still_told(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    stream = io.StringIO()
    log = AlertLog(tmp_path / "logs" / "alerts.log", 1_000, stream)
    log.deliver(engine())
    assert log.failed == 1 and "gap" in stream.getvalue()
    stream.close()
    log.deliver(engine())
    assert log.failed == 2
