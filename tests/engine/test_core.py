"""The core: orders wait for the journal and the latch, answers land behind what was taken, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from data_controller.actions import Action, Alert, Fetch, Latch, Predict, Send, Submit
from data_controller.engine.core import HEELS_NS
from data_controller.engine.histograms import LatencyHistogram
from data_controller.journal import read
from data_controller.prediction.ladder import Reply
from data_controller.records import Answer, Command, Kind
from tests.engine.rig import GatedFile, HandClock, Rig, ScriptedPipeline


@pytest.fixture
def gated() -> Iterator[type[GatedFile]]:
    GatedFile.gate.clear()
    GatedFile.broken = False
    yield GatedFile
    GatedFile.broken = False
    GatedFile.gate.set()


def order(seq: int, reason: str = "entry") -> Submit:
    return Submit(seq, f"{seq}-{reason}", 0, 1, 1.0, reason)


def ordering(*reasons: str) -> ScriptedPipeline:
    """A pipeline that wants an order for each reason at every frame."""
    return ScriptedPipeline(
        lambda seq, kind, payload: [order(seq, reason) for reason in reasons] if kind == Kind.FRAME else []
    )


class Oracle:
    """A ladder that always knows."""

    def predict(self, features: Any, valid: Any) -> Reply:
        outputs = np.full((2, 1, 4), 0.5, np.float32)
        return Reply("ab", "numpy", {}, outputs, np.ones(2, np.uint8))


def question(tick_ns: int) -> Predict:
    return Predict(tick_ns, np.zeros((2, 1, 3), np.float32), np.ones((2, 1, 3), np.uint8))


def recorded(rig: Rig) -> list[tuple[int, int, int, bytes]]:
    """Every record of the closed journal: seq, kind, recv_ns, payload."""
    rig.close()
    return [
        (batch.first_seq + i, int(batch.kind[i]), int(batch.recv_ns[i]), batch.payload(i))
        for batch in read(rig.journal)
        for i in range(len(batch.recv_ns))
    ]


def test_an_order_leaves_only_when_the_journal_holds_what_it_was_decided_on(
    tmp_path: Path, gated: type[GatedFile]
) -> None:
    rig = Rig(tmp_path / "s", ordering("entry"), opener=gated)
    seq = rig.frame()
    rig.core.step()
    assert (rig.core.orders_held, rig.core.orders_left) == (1, 0)
    assert rig.recorder.durable_seq < seq
    gated.gate.set()
    rig.until(lambda: rig.core.orders_left)
    assert rig.recorder.durable_seq >= seq
    assert (rig.core.orders_held, rig.core.orders_stopped) == (0, 0)
    assert [(tell.table, tell.rows[0]["released"]) for tell in rig.told] == [("orders", True)]
    rig.close()


def test_a_latch_set_while_an_order_waits_stops_an_entry_and_lets_an_exit_go(
    tmp_path: Path, gated: type[GatedFile]
) -> None:
    rig = Rig(tmp_path / "s", ordering("entry", "stop"), opener=gated)
    rig.frame()
    rig.core.step()
    rig.latch.set("enough", "test")
    gated.gate.set()
    rig.until(lambda: rig.core.orders_held == 0)
    assert [(tell.rows[0]["reason"], tell.rows[0]["released"]) for tell in rig.told] == [
        ("entry", False),
        ("stop", True),
    ]
    assert [alert.name for alert in rig.alerts] == ["order_stopped"]
    rig.close()


def test_no_order_leaves_once_the_journal_failed(tmp_path: Path, gated: type[GatedFile]) -> None:
    rig = Rig(tmp_path / "s", ordering("entry", "stop"), opener=gated)
    gated.broken = True
    gated.gate.set()
    rig.frame()
    rig.core.step()
    rig.until(lambda: rig.core.orders_held == 0 and rig.failures)
    assert (rig.core.orders_left, rig.core.orders_stopped) == (0, 2)
    rig.frame()
    rig.core.step()
    rig.until(lambda: rig.core.orders_held == 0)
    assert (rig.core.orders_left, rig.core.orders_stopped) == (0, 4)
    rig.close()


def test_an_answer_lands_behind_the_records_already_taken(tmp_path: Path) -> None:
    pipeline = ScriptedPipeline(lambda seq, kind, payload: [question(7)] if payload == b"tick" else [])
    rig = Rig(tmp_path / "s", pipeline, ladder=Oracle())
    rig.core.live = True
    for payload in (b"one", b"tick", b"two", b"three"):
        rig.frame(payload)
    rig.core.step()
    assert [kind for _, kind, _, _ in pipeline.seen] == [Kind.FRAME] * 4 + [Kind.ANSWER]
    answer = msgspec.msgpack.decode(pipeline.seen[-1][3], type=Answer)
    assert (answer.tick_ns, answer.shape, answer.tier) == (7, (2, 1, 4), "numpy")
    assert recorded(rig) == pipeline.seen


@pytest.mark.parametrize("live", [True, False])
def test_a_full_arena_is_consumed_before_it_is_exchanged_and_nothing_is_lost(tmp_path: Path, live: bool) -> None:
    def want(seq: int, kind: int, payload: bytes) -> list[Action]:
        return [question(int(payload))] if kind == Kind.FRAME and int(payload) % 10 == 0 else []

    pipeline = ScriptedPipeline(want)
    rig = Rig(tmp_path / "s", pipeline, ladder=Oracle(), arena_records=16, arenas=32, clock=HandClock(step_ns=1000))
    rig.core.live = live
    stamp_ns = rig.core.clock.now_ns()  # one read of a socket: all its frames have its time
    for number in range(100):
        rig.frame(str(number).encode(), stamp_ns)
    rig.core.step()
    frames = [int(payload) for _, kind, _, payload in pipeline.seen if kind == Kind.FRAME]
    assert frames == list(range(100))
    assert sum(kind == Kind.ANSWER for _, kind, _, _ in pipeline.seen) == 10
    times = [recv_ns for _, _, recv_ns, _ in pipeline.seen]
    assert times == sorted(times), "times of records never decrease"
    assert recorded(rig) == pipeline.seen


def test_sockets_are_paused_at_the_last_arenas_and_read_again_once_the_disk_took_them(
    tmp_path: Path, gated: type[GatedFile]
) -> None:
    rig = Rig(tmp_path / "s", opener=gated, arena_records=16, arenas=4)
    rig.recorder.flush()
    while not rig.recorder.should_pause:
        rig.frame()
        rig.recorder.flush()
        rig.core.wake()
        rig.turn()
    rig.core.wake()
    rig.turn()
    assert rig.network.paused == [True]
    gated.gate.set()

    def read_again() -> bool:
        rig.core.wake()  # as every pulse does
        return rig.network.paused == [True, False]

    rig.until(read_again)
    assert rig.recorder.journal_ok
    assert recorded(rig) == rig.pipeline.seen


def test_an_unexpected_error_ends_the_steps_but_not_the_recording(tmp_path: Path) -> None:
    def want(seq: int, kind: int, payload: bytes) -> list[Action]:
        if payload == b"poison":
            raise ZeroDivisionError("poison")
        return [Send(0, payload)]

    rig = Rig(tmp_path / "s", ScriptedPipeline(want))
    for payload in (b"good", b"poison", b"more"):
        rig.frame(payload)
        rig.core.wake()
        rig.turn()
    assert rig.core.broken
    assert [type(error) for error in rig.errors] == [ZeroDivisionError]
    assert rig.network.sent == [b"good"]
    assert [payload for _, _, _, payload in recorded(rig)] == [b"good", b"poison", b"more"]


def test_a_tick_is_sliced_over_the_loop_when_live_and_done_at_once_when_not(tmp_path: Path) -> None:
    pipeline = ScriptedPipeline()
    rig = Rig(tmp_path / "s", pipeline)
    rig.core.live = True
    pipeline.slices, pipeline.after = 5, [Send(0, b"done")]
    for _ in range(3):  # more frames come meanwhile: still one slice a turn of the loop
        rig.frame()
        rig.core.wake()
    rig.turns.pop(0)()
    assert pipeline.worked == 0 and len(rig.turns) == 1
    rig.turns.pop(0)()
    assert pipeline.worked == 1
    rig.turn()
    assert pipeline.worked == 5 and rig.network.sent == [b"done"]
    rig.core.live = False
    pipeline.slices, pipeline.after = 3, [Send(0, b"again")]
    rig.core.step()
    assert not pipeline.pending and rig.network.sent[-1] == b"again"
    rig.close()


def test_a_trigger_latches_the_file_and_a_person_is_a_record(tmp_path: Path) -> None:
    pipeline = ScriptedPipeline(
        lambda seq, kind, payload: [Latch("loss", "trigger"), Alert("critical", "loss", "too much")]
    )
    rig = Rig(tmp_path / "s", pipeline)
    rig.core.command(Command(who="me", what="resume", reason="because"))
    rig.turn()
    assert msgspec.json.decode(pipeline.seen[0][3], type=Command).who == "me"
    assert (rig.latch.read().active, rig.latch.read().reason) == (True, "loss")
    assert [alert.name for alert in rig.alerts] == ["loss"]
    rig.close()


def test_what_is_to_be_fetched_goes_to_the_network(tmp_path: Path) -> None:
    pipeline = ScriptedPipeline(
        lambda seq, kind, payload: [Fetch(0, "test", payload.decode())] if kind == Kind.FRAME else []
    )
    rig = Rig(tmp_path / "s", pipeline)
    rig.frame(b"https://venue.example/depth")
    rig.core.step()
    assert rig.network.fetched == ["https://venue.example/depth"]
    rig.close()


def test_figures_go_on_from_an_earlier_core(tmp_path: Path) -> None:
    one, two = Rig(tmp_path / "a"), Rig(tmp_path / "b")
    one.core.step_time.record(5_000)
    two.core.step_time.record(7_000)
    one.core.orders_left = 3
    two.core.go_on_from(one.core)
    assert isinstance(two.core.step_time, LatencyHistogram)
    assert (two.core.step_time.count, two.core.orders_left) == (2, 3)
    one.close()
    two.close()


def test_live_steps_are_measured_and_scripted_ones_are_not(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "s", clock=HandClock(step_ns=1000))
    rig.frame()
    rig.core.step()
    assert rig.core.wire_to_decision.count == 0
    rig.core.live = True
    rig.frame()
    rig.frame()
    rig.core.step()
    assert (rig.core.wire_to_decision.count, rig.core.step_time.count) == (2, 1)
    assert rig.core.wire_to_decision.max_ns > 0
    rig.close()


def test_the_frames_of_a_read_are_consumed_at_once_and_what_they_want_is_done_a_turn_later(tmp_path: Path) -> None:
    rig = Rig(tmp_path, ScriptedPipeline(lambda seq, kind, payload: [Send(0, b"more")] if kind == Kind.FRAME else []))
    rig.core.live = True
    rig.frame()
    rig.core.frames_taken()
    assert len(rig.pipeline.seen) == 1 and rig.network.sent == []
    rig.turn()
    assert rig.network.sent == [b"more"]
    rig.close()


def test_frames_on_the_heels_of_a_step_wait_for_the_turn_and_share_its_step(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.core.live = True
    for _ in range(3):
        rig.frame()
        rig.core.frames_taken()
    assert len(rig.pipeline.seen) == 1  # the first, at once
    rig.turn()
    assert len(rig.pipeline.seen) == 3
    rig.hands.pass_ns(HEELS_NS)
    rig.frame()
    rig.core.frames_taken()
    assert len(rig.pipeline.seen) == 4
    rig.close()


def test_the_loop_stays_awake_for_a_while_after_frames_and_sleeps_then(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.core.live, rig.core.spin_ns = True, 200_000
    rig.frame()
    rig.core.frames_taken()
    for _ in range(3):
        assert len(rig.turns) == 1  # awake
        rig.turns.pop()()
    rig.hands.pass_ns(200_000)
    rig.turns.pop()()
    assert rig.turns == []
    rig.close()


def test_an_error_in_frames_ends_the_steps(tmp_path: Path) -> None:
    def fail(seq: int, kind: int, payload: bytes) -> list[Any]:
        raise RuntimeError("a bug")

    rig = Rig(tmp_path, ScriptedPipeline(fail))
    rig.core.live = True
    rig.frame()
    rig.core.frames_taken()
    assert rig.core.broken and [str(error) for error in rig.errors] == ["a bug"]
    rig.core.frames_taken()
    assert len(rig.errors) == 1
    rig.close()
