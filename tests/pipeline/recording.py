"""A short run of the whole chain without sockets or clocks: simulated exchange, pipeline, ladder, and its records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from data_controller.actions import Action, Open, Predict, Reconnect, Send, Tell
from data_controller.config import Config, parse
from data_controller.engine.models import Models
from data_controller.engine.setup import configure_live
from data_controller.features.catalogue import COLUMNS, catalogue_hash
from data_controller.features.parameters import load_parameters
from data_controller.journal.arena import Arena
from data_controller.pipeline.pipeline import Pipeline
from data_controller.prediction.bundle import FORMAT, Golden, Manifest, Normalisation, save
from data_controller.prediction.forward import OUTPUTS, linear, prepare
from data_controller.records import ENGINE_STOPS, NO_CONNECTION, Answer, Batch, Kind, Start, sequence
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.session import Session

PULSE_NS = 100_000_000
HORIZONS_S = [5, 10]


EAGER = (("qi_best", 12.0), ("ofi_5", 3.0), ("tfi_5", 4.0))


def eager_bundle(folder: Path, *, nudge: float = 0.0, weights: tuple[tuple[str, float], ...] = EAGER) -> Path:
    """A bundle that sees an edge everywhere, on features that are warm within seconds; `nudge` changes one weight."""
    n = len(COLUMNS)
    weight = np.zeros((2, 4, n), np.float32)
    for name, by in weights:
        weight[:, 2, COLUMNS.index(name)] = by
        weight[:, 0, COLUMNS.index(name)] = by / 4
        weight[:, 1, COLUMNS.index(name)] = -by / 4
    weight[0, 2, COLUMNS.index("qi_best")] += nudge
    bias = np.zeros((2, 4), np.float32)
    bias[:, 3] = 1.0
    settings = parse({"exchanges": {"bitfinex": {}}}).features
    norm = Normalisation(centre=[0.0] * n, scale=[1.0] * n, clip=[5.0] * n, log=[False] * n)
    features = np.random.default_rng(5).normal(size=(4, 1, n)).astype(np.float32)
    valid = np.ones(features.shape, np.uint8)
    outputs, usable = linear(np, prepare(norm, weight, bias, 1), features, valid != 0)
    manifest = Manifest(
        format=FORMAT,
        name="eager",
        architecture="linear",
        sizes={"features": n},
        catalogue_hash=catalogue_hash(settings, load_parameters(None)),
        columns=list(COLUMNS),
        window=1,
        horizons_s=HORIZONS_S,
        outputs=list(OUTPUTS),
        normalisation=norm,
        label="none",
        trained_on="simulator",
        live_money=False,
        notice="of made-up weights",
        training={},
        metrics={},
        code_version="0",
    )
    save(
        folder, manifest, weight, bias, Golden(features, valid, np.ascontiguousarray(outputs), usable.astype(np.uint8))
    )
    return folder


def eager_config(bundle: Path, symbols: list[str], **changes: Any) -> Config:
    """A config that trades often and at once."""
    tree: dict[str, Any] = {
        "exchanges": {
            "bitfinex": {
                "instruments": symbols,
                "books": [{"precision": "P0", "length": 25}, {"precision": "R0", "length": 25}],
            }
        },
        "prediction": {"bundle": str(bundle)},
        "trading": {"fee_bps": 0.0, "min_edge_bps": 0.0, "stop_bps": 2.0, "take_profit_bps": 2.0, "allow_short": True},
        "risk": {"cooldown_s": 0.0, "max_orders_minute": 200},
    }
    return parse(tree | changes)


class Recording:
    """The records of a run, what the live pipeline made of them, and what it told."""

    def __init__(
        self, config: Config, *, seed: int = 7, seconds: float = 25.0, ticks_per_second: float = 150.0
    ) -> None:
        symbols = list(config.exchanges.bitfinex.instruments) if config.exchanges.bitfinex else []
        self.exchange = Exchange(seed, symbols, ticks_per_second=ticks_per_second)
        self.models = Models()
        self.pipeline = Pipeline(configure_live(self.models.bundle_of, record_only=False))
        self.arena = Arena(32 << 20, 1 << 18, sequence(1, 0))
        self.told: dict[str, list[Any]] = {}
        self._sessions: dict[int, Session] = {}
        self._done = 0
        self._over = False
        self.now_ns = self.exchange.now_ns
        names, channels = [], []
        start = Start(
            run=1,
            code="test",
            lock="",
            platform="test",
            config=config.effective(),
            instruments=names,
            channels=channels,
            restored={},
        )
        self._push(Kind.START, NO_CONNECTION, msgspec.json.encode(start))
        self.step()
        end_ns = self.now_ns + int(seconds * 1e9)
        while self.now_ns < end_ns:
            self._turn()
        self._over = True
        for conn in list(self._sessions):
            self._push(Kind.CLOSED, conn, ENGINE_STOPS.encode())
        self.step()

    @property
    def batch(self) -> Batch:
        """All records, cut to what is filled."""
        full, n = self.arena.batch, self.arena.filled
        return Batch(full.first_seq, full.recv_ns[:n], full.kind[:n], full.conn[:n], full.offsets[: n + 1], full.data)

    def _turn(self) -> None:
        self.now_ns += PULSE_NS
        self.exchange.advance(self.now_ns)
        frames = [(f.ns, conn, f.data) for conn, session in self._sessions.items() for f in session.take()]
        for at_ns, conn, data in sorted(frames, key=lambda frame: frame[0]):
            self.arena.push(Kind.FRAME, conn, at_ns, data)
            self.step(at_ns)
        self._push(Kind.PULSE, NO_CONNECTION, b"")
        self.step()

    def _push(self, kind: Kind, conn: int, payload: bytes, at_ns: int = 0) -> None:
        self.arena.push(kind, conn, at_ns or self.now_ns, payload)

    def step(self, at_ns: int = 0) -> None:
        """Advance over what came and do what is wanted, until nothing is left."""
        while self._done < self.arena.filled or self.pipeline.pending:
            lo, self._done = self._done, self.arena.filled
            actions = self.pipeline.advance(self.arena.batch, lo, self._done)
            while self.pipeline.pending:
                actions += self.pipeline.work()
            for action in actions:
                self._perform(action, at_ns)

    def _perform(self, action: Action, at_ns: int) -> None:
        match action:
            case Open() | Send() | Reconnect() if self._over:
                pass
            case Open(conn=conn):
                session = self._sessions[conn] = Session(self.exchange)
                self._push(Kind.OPENED, conn, b"simulated", at_ns)
                self._hear(conn, [f.data for f in session.take()], at_ns)
            case Send(conn=conn, payload=payload):
                self._push(Kind.SENT, conn, payload, at_ns)
                self._hear(conn, self._sessions[conn].receive(payload), at_ns)
            case Reconnect(conn=conn):
                self._sessions.pop(conn).close()
                self._push(Kind.CLOSED, conn, b"reconnect", at_ns)
            case Predict():
                assert self.models.ladder is not None
                reply = self.models.ladder.predict(action.features, action.valid)
                answer = Answer(
                    tick_ns=action.tick_ns,
                    bundle=reply.bundle,
                    tier=reply.tier,
                    failed=reply.failed,
                    shape=reply.outputs.shape,
                    outputs=np.ascontiguousarray(reply.outputs, "<f4").tobytes(),
                    valid=reply.valid.tobytes(),
                )
                self._push(Kind.ANSWER, NO_CONNECTION, msgspec.msgpack.encode(answer), at_ns)
            case Tell(table=table, rows=rows):
                self.told.setdefault(table, []).append(rows)

    def _hear(self, conn: int, frames: list[bytes], at_ns: int) -> None:
        for frame in frames:
            self._push(Kind.FRAME, conn, frame, at_ns)
