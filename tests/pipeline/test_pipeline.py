"""The pipeline as a whole: a function of the records in their order, and of nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from data_controller.config import parse
from data_controller.engine.replay import Replay
from data_controller.engine.summary import summary_of
from data_controller.features.layout import VALID_NS
from data_controller.market.layout import Proof
from data_controller.records import NO_CONNECTION, Batch, Command, Fetched, Kind, Pulse, Start
from tests.pipeline.recording import Recording, eager_bundle, eager_config


def replayed(batch: Batch, cuts: list[int] | None = None, config: Any = None) -> dict[str, Any]:
    """Summary of a replay of `batch`, fed piece by piece at `cuts`."""
    runner = Replay(config)
    edges = [0, *(cuts or []), len(batch.recv_ns)]
    for lo, hi in itertools.pairwise(edges):
        runner.feed(batch, lo, hi)
    runner.finish()
    return summary_of(runner.pipeline)


def with_payload(batch: Batch, i: int, payload: bytes) -> Batch:
    """`batch` with record `i`'s payload replaced."""
    parts = [batch.payload(k) for k in range(len(batch.recv_ns))]
    parts[i] = payload
    offsets = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int32)
    return replace(batch, offsets=offsets, data=np.frombuffer(bytearray(b"".join(parts)), np.uint8))


def test_the_recording_has_something_of_everything(recording: Recording) -> None:
    summary = summary_of(recording.pipeline)
    assert summary["books"] == summary["books_proved"] == 4
    assert summary["checksums_bad"] == summary["sequence_gaps"] == 0
    for name in ("frames", "events", "feature_rows", "predictions", "decisions", "orders", "fills", "checksums_ok"):
        assert summary[name] > 0, name
    assert all(part["rows"] > 0 for part in summary["digest"].values())


def test_replay_gives_the_live_digests(recording: Recording) -> None:
    live, again = summary_of(recording.pipeline), replayed(recording.batch)
    assert again["digest"] == live["digest"]
    assert again["predictions_differ"] == 0
    assert again == live


@pytest.mark.parametrize("seed", range(6))
def test_batches_do_not_matter(recording: Recording, seed: int) -> None:
    batch = recording.batch
    rng = np.random.default_rng(seed)
    n = len(batch.recv_ns)
    cuts = sorted(set(rng.integers(1, n, (1, 5, 50, n // 7, n // 2, n)[seed]).tolist()))
    assert replayed(batch, cuts)["digest"] == summary_of(recording.pipeline)["digest"]


def test_slices_may_come_late(recording: Recording) -> None:
    batch = recording.batch
    runner = Replay()
    rng = np.random.default_rng(3)
    for i in range(len(batch.recv_ns)):
        runner.feed(batch, i, i + 1)
        if rng.random() < 0.1:
            runner.pipeline.work()
    runner.finish()
    assert runner.pipeline.digests.result() == recording.pipeline.digests.result()


def test_a_flipped_byte_is_seen(recording: Recording) -> None:
    batch = recording.batch
    live = summary_of(recording.pipeline)["digest"]
    trades = [i for i in range(len(batch.recv_ns)) if b'"te"' in batch.payload(i)]
    payload = batch.payload(trades[3])
    at = payload.index(b"[", 1) + 3  # within the trade's id
    flipped = payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
    assert replayed(with_payload(batch, trades[3], flipped))["digest"]["events"] != live["events"]


def test_a_changed_size_is_seen_in_books_and_features(recording: Recording) -> None:
    batch = recording.batch
    live = summary_of(recording.pipeline)["digest"]
    for i in range(len(batch.recv_ns) // 2, len(batch.recv_ns)):
        payload = batch.payload(i)
        # an update of a level: [chan,[price,count,amount],seq,ts]
        if batch.kind[i] == Kind.FRAME and payload.count(b"[") == 2 and b'"' not in payload:
            inner = payload[payload.index(b"[", 1) + 1 : payload.index(b"]")].split(b",")
            if len(inner) == 3 and inner[1] != b"0" and float(inner[1]) < 1000:
                inner[2] = b"-9.87" if inner[2].startswith(b"-") else b"9.87"
                head, tail = payload[: payload.index(b"[", 1) + 1], payload[payload.index(b"]") :]
                changed = replayed(with_payload(batch, i, head + b",".join(inner) + tail))["digest"]
                assert changed["books"] != live["books"]
                assert changed["features"] != live["features"]
                return
    pytest.fail("expected an update of a level in the second half")


def test_one_weight_changes_predictions_but_not_features(recording: Recording, tmp_path: Path) -> None:
    other = eager_bundle(tmp_path / "other", nudge=0.5)
    live = summary_of(recording.pipeline)["digest"]
    again = replayed(recording.batch, config=eager_config(other, ["tBTCUSD", "tETHUSD"]))
    assert again["digest"]["features"] == live["features"]
    assert again["digest"]["predictions"] != live["predictions"]
    assert again["predictions_differ"] > 0


def test_another_seed_gives_another_run(recording: Recording, bundle: Path) -> None:
    other = Recording(eager_config(bundle, ["tBTCUSD", "tETHUSD"]), seed=8, seconds=5)
    mine, theirs = recording.pipeline.digests.result(), other.pipeline.digests.result()
    assert all(mine[name]["sha256"] != theirs[name]["sha256"] for name in mine)


def appended(batch: Batch, kind: Kind, payload: bytes, at: int) -> Batch:
    """`batch` with a record put in at `at`, at the time of the one before it."""
    parts = [batch.payload(k) for k in range(len(batch.recv_ns))]
    parts.insert(at, payload)
    offsets = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int32)
    return Batch(
        batch.first_seq,
        np.insert(batch.recv_ns, at, batch.recv_ns[at - 1]),
        np.insert(batch.kind, at, kind).astype(np.uint8),
        np.insert(batch.conn, at, NO_CONNECTION).astype(np.int32),
        offsets,
        np.frombuffer(bytearray(b"".join(parts)), np.uint8),
    )


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.COMMAND, msgspec.json.encode(Command(who="test", what="kill", reason="enough"))),
        (Kind.PULSE, msgspec.json.encode(Pulse(journal_ok=False))),
    ],
)
def test_no_entry_is_accepted_once_latched_or_without_a_journal(
    recording: Recording, kind: Kind, payload: bytes
) -> None:
    batch = recording.batch
    half = len(batch.recv_ns) // 2
    cut = appended(batch, kind, payload, half)
    runner = Replay()
    entries: list[int] = []
    for i in range(len(cut.recv_ns)):
        runner.feed(cut, i, i + 1)
        if i == half:
            before = runner.pipeline.trader.counters["orders_entry"]
            entries.append(before)
    assert entries[0] > 0
    assert runner.pipeline.trader.counters["orders_entry"] == entries[0]
    assert summary_of(recording.pipeline)["orders"] > 0
    assert recording.pipeline.trader.counters["orders_entry"] > entries[0]


def test_from_a_maintenance_on_no_book_is_usable_features_see_a_gap_and_no_entry_is_accepted(
    recording: Recording,
) -> None:
    batch = recording.batch
    half = len(batch.recv_ns) // 2
    cut = appended(batch, Kind.FRAME, b'{"event":"info","code":20060,"msg":""}', half)
    cut.conn[half] = 0
    runner = Replay()
    runner.feed(cut, 0, half)
    pipeline = runner.pipeline
    entries = pipeline.trader.counters["orders_entry"]
    assert entries > 0 and pipeline.features.acc["live"].all() and pipeline.books.books["usable"].any()
    runner.feed(cut, half, half + 1)
    assert not pipeline.books.books["usable"].any()
    assert not pipeline.features.acc["live"].any() and not pipeline.features.acc["trades_live"].any()
    runner.feed(cut, half + 1, len(cut.recv_ns))
    assert pipeline.trader.counters["orders_entry"] == entries
    assert not pipeline.books.books["usable"].any()


class Dying(Recording):
    """A recording in which the exchange stops serving one channel after another, without a word."""

    def _turn(self) -> None:
        for second, stream in ((4, "book"), (5, "trades")):
            if self.now_ns == self.exchange_began_ns + second * 10**9:
                (session,) = self._sessions.values()
                first = session.channel_ids("tBTCUSD", stream)[:1]
                self.exchange.mute(session.conn, first, True, heartbeats=False)
        super()._turn()
        told = [
            gap
            for rows in self.told.get("gaps", [])
            for gap in rows
            if gap["reason"] == "SILENT" and not gap["ended_ns"]
        ]
        if len(told) > len(self.silences):
            self.silences += [(gap["channel"], gap["recv_ns"], gap["since_ns"]) for gap in told[len(self.silences) :]]
            acc = self.pipeline.features.acc[0]
            self.features.append((int(acc["live"]), int(acc["trades_lost"])))

    def __init__(self, config: Any) -> None:
        self.silences: list[tuple[int, int, int]] = []
        self.features: list[tuple[int, int]] = []
        self.exchange_began_ns = 1_700_000_000 * 10**9
        super().__init__(config, seconds=14)


def test_a_channel_that_dies_without_a_word_is_a_gap_of_its_features_and_replays_the_same(bundle: Path) -> None:
    tree = {"bitfinex": {"instruments": ["tBTCUSD"], "tickers": False, "channel_silent_after_s": 5}}
    live = Dying(eager_config(bundle, ["tBTCUSD"], exchanges=tree))
    names = [live.pipeline.tables.channels[channel].stream for channel, _, _ in live.silences]
    assert names == ["book", "trades"]
    assert all(5 * 10**9 < at - since <= 52 * 10**8 for _, at, since in live.silences)
    assert live.features[1][1] == 1  # the trade feed lost something in this second
    _, at_ns, since_ns = live.silences[0]
    ring = live.pipeline.features.bins[0]
    for second in range(since_ns // 10**9 + 1, at_ns // 10**9):  # the book was a guess
        assert ring["sums"][VALID_NS, second & (ring["log_mid"].shape[0] - 1)] == 0
    assert live.pipeline.totals()["resyncs"] == 2
    summary = summary_of(live.pipeline)
    assert summary["books_proved"] == 1
    again = replayed(live.batch)
    assert again["digest"] == summary["digest"]


def test_a_bad_frame_unproves_the_books_of_its_connection_until_a_snapshot(bundle: Path) -> None:
    batch = Recording(eager_config(bundle, ["tBTCUSD"]), seconds=6).batch
    frames = np.flatnonzero(batch.kind == Kind.FRAME)
    runner = Replay()
    runner.feed(with_payload(batch, int(frames[200]), b'[17,["te'), 0, len(batch.recv_ns))
    summary = summary_of(runner.pipeline)
    assert summary["quarantined"] == 1
    assert summary["books_proved"] == 0  # nobody answered the resync in this recording


@pytest.mark.parametrize("conn", [NO_CONNECTION, 7, 300])  # none; never opened; of no venue
def test_a_frame_of_a_connection_nobody_has_is_counted(recording: Recording, conn: int) -> None:
    cut = appended(recording.batch, Kind.FRAME, b"[1,[1,1,1]]", 50)
    cut.conn[50] = conn
    runner = Replay()
    runner.feed(cut, 0, len(cut.recv_ns))
    assert runner.pipeline.counters["bad_records"] == 1
    assert summary_of(runner.pipeline)["frames"] == replayed(recording.batch)["frames"]


@pytest.mark.parametrize("levels", [30_000, 31_000, 32_500])
def test_a_connection_that_ends_right_behind_a_large_fetched_book_is_taken(levels: int) -> None:
    """All in one step: nothing makes room in between."""
    config = parse({"exchanges": {"binance": {"instruments": ["BNBBTC"]}}})
    start = Start(
        run=1, code="", lock="", platform="", config=config.effective(), instruments=[], channels=[],
        restored={"record_only": True},
    )  # fmt: skip
    body = {"lastUpdateId": 9, "bids": [[f"{k + 1}", "1"] for k in range(levels)]}
    body["asks"] = [[f"{100_000 + k}", "1"] for k in range(levels)]
    url = "https://api.binance.com/api/v3/depth?symbol=BNBBTC&limit=1000"
    records = [
        (Kind.START, NO_CONNECTION, msgspec.json.encode(start)),
        (Kind.OPENED, 0, b""),
        (Kind.FRAME, 0, b'{"result":["bnbbtc@depth@100ms"],"id":1}'),
        (Kind.FETCHED, 0, msgspec.json.encode(Fetched(request=url, status=200, body=msgspec.json.encode(body)))),
        (Kind.CLOSED, 0, b""),
        (Kind.OPENED, 0, b""),
    ]
    parts = [payload for _, _, payload in records]
    batch = Batch(
        1 << 40,
        np.arange(1, len(records) + 1) * 1_000_000,
        np.array([kind for kind, _, _ in records], np.uint8),
        np.array([conn for _, conn, _ in records], np.int32),
        np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int32),
        np.frombuffer(bytearray(b"".join(parts)), np.uint8),
    )
    runner = Replay(record_only=True)
    runner.feed(batch, 0, len(records))
    runner.finish()
    book = runner.pipeline.books.books[0]
    assert (runner.pipeline.counters["bad_records"], int(book["n_bid"])) == (0, levels)
    assert Proof(book["proof"]) is Proof.BROKEN
    assert runner.pipeline.digests.result()["events"]["rows"] > 2 * levels
