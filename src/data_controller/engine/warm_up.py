"""Compiles every kernel before the first socket opens: a scripted minute through a pipeline of its own.

The compiler takes some 400 MB that a process never gives back, so what is not cached yet is compiled in a child.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from data_controller import exchanges
from data_controller.config import Config, parse
from data_controller.engine.latency import Steps
from data_controller.engine.models import Models
from data_controller.engine.setup import setup_of
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.streaming.attention import attention
from data_controller.features.accumulate import on_break, on_trades_break
from data_controller.journal.arena import Arena
from data_controller.market.proof import fall_silent
from data_controller.market.tables import Tables
from data_controller.pipeline.loop import first_row_later
from data_controller.pipeline.pipeline import Pipeline
from data_controller.records import NO_CONNECTION, Answer, Kind, Start

_S = 1_000_000_000
_SCRIPT = (
    b'{"event":"info","version":2,"platform":{"status":1}}',
    b'{"event":"conf","status":"OK","flags":229376}',
    b'{"event":"subscribed","channel":"book","chanId":1,"symbol":"tWARM:UP","prec":"P0","freq":"F0","len":"25"}',
    b'{"event":"subscribed","channel":"book","chanId":2,"symbol":"tWARM:UP","prec":"R0","freq":"F0","len":"25"}',
    b'{"event":"subscribed","channel":"trades","chanId":3,"symbol":"tWARM:UP"}',
    b"[1,[[100,1,2],[99,1,2],[101,1,-2],[102,1,-2]],1,1700000000000]",
    b"[2,[[11,100,2],[12,99,2],[13,101,-2],[14,102,-2]],2,1700000000000]",
    b"[3,[[1,1700000000000,1,100]],3,1700000000000]",
    b'[3,"te",[2,1700000000000,-1,100],4,1700000000000]',
    b'[3,"tu",[2,1700000000000,-1,100],5,1700000000000]',
    b"[1,[100,2,3],6,1700000000000]",
    b"[1,[99,0,1],7,1700000000000]",
    b"[2,[11,100,1],8,1700000000000]",
    b"[2,[12,0,1],9,1700000000000]",
    b'[1,"cs",1,10,1700000000000]',
    b'[2,"cs",1,11,1700000000000]',
    b'[1,"hb",13,1700000000000]',
)


MARK = "compiled"
"""Files in the kernels' cache folder begin with it; each says that all kernels of a venue's engine are in the cache."""


def ensure_compiled(venues: Iterable[str] = ()) -> bool:
    """Fill the kernel cache where it is not full, in a child process; True where there was something to compile.

    `venues` are those whose decoders will run; Bitfinex's is always among them.
    A child that fails is not the end: this process compiles what is missing when it comes to it.
    """
    missing = [
        (venue, mark)
        for venue in sorted({"bitfinex", *venues})
        if not (mark := Path(os.environ["NUMBA_CACHE_DIR"]) / f"{MARK}-{venue}").exists()
    ]
    if not missing:
        return False
    source = os.fspath(Path(__file__).parents[2])
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    program = [sys.executable, "-P", "-m", "data_controller.engine.warm_up", *(venue for venue, _ in missing)]
    done = subprocess.run(program, env=environment, check=False)
    if done.returncode == 0:
        for _, mark in missing:
            mark.touch()
    return True


def warm_up(venues: Iterable[str] = ()) -> None:
    """Run every compiled entry once, those of `venues` too, so that none is loaded or compiled while sockets wait."""
    for venue in venues:
        _warm_up_venue(venue)
    config: Config = parse({"exchanges": {"bitfinex": {}}, "proof": {"act_on": ["PROVED", "UNVERIFIABLE"]}})
    models = Models()
    bundle = models.bundle_of(config)
    pipeline = Pipeline(lambda start: setup_of(config, bundle, wishes=False))
    arena = Arena(1 << 16, 256)
    start = Start(
        run=0, code="", lock="", platform="", config=config.effective(), instruments=[], channels=[], restored={}
    )
    now_ns = 1_700_000_000 * _S
    arena.push(Kind.START, NO_CONNECTION, now_ns, msgspec.json.encode(start))
    arena.push(Kind.OPENED, 0, now_ns, b"warm-up")
    for frame in _SCRIPT:
        now_ns += _S // 4
        arena.push(Kind.FRAME, 0, now_ns, frame)
    arena.push(Kind.PULSE, NO_CONNECTION, now_ns, b"")
    pipeline.advance(arena.batch, 0, arena.filled)
    while pipeline.pending:
        pipeline.work()
    question = pipeline.ticks.question
    assert models.ladder is not None
    reply = models.ladder.predict(question.features, question.valid)
    done = arena.filled
    answer = Answer(
        tick_ns=question.tick_ns,
        bundle=reply.bundle,
        tier=reply.tier,
        failed={},
        shape=reply.outputs.shape,
        outputs=np.ascontiguousarray(reply.outputs, "<f4").tobytes(),
        valid=reply.valid.tobytes(),
    )
    arena.push(Kind.ANSWER, NO_CONNECTION, now_ns, msgspec.msgpack.encode(answer))
    arena.push(Kind.CLOSED, 0, now_ns + _S, b"warm-up")
    arena.push(Kind.PULSE, NO_CONNECTION, now_ns + 2 * _S, b"")
    pipeline.advance(arena.batch, done, arena.filled)
    _warm_up_the_rest(pipeline, arena, now_ns)


def _warm_up_the_rest(pipeline: Pipeline, arena: Arena, now_ns: int) -> None:
    """What the script does not come to: silent channels, proofs that age, fills that are due, figures of steps."""
    books, acc = pipeline.books.books, pipeline.features.acc
    attention(books)
    assert len(pipeline.decoders[0].heard_ns)
    fall_silent(books, 0, now_ns)
    on_break(acc, 0, now_ns)
    on_trades_break(acc, 0, now_ns)
    pipeline.trader.on_time(0, now_ns, books, pipeline.routes.primary, pipeline.books.levels)
    first_row_later(pipeline.rows.array, 0, 1, now_ns)
    steps = Steps()
    steps.add(0, arena.filled, 0, 1)
    steps.fold(arena.batch, pipeline.wire_numbers, (0, 0, 0))


def _warm_up_venue(name: str) -> None:
    """Open a connection of a decoder, have it read a frame and a fetched answer of no meaning, close it."""
    decoder, rows, now_ns = exchanges.venue(name).decoder(Tables()), Rows(), 1_700_000_000 * _S
    arena = Arena(1 << 12, 16)
    arena.push(Kind.FRAME, 0, now_ns, b"{}")
    decoder.opened(0, 1, now_ns, rows)
    decoder.decode(arena.batch, 0, 1, rows, np.zeros(1, np.int64))
    for url in ("/depth?symbol=WARMUP", ""):
        for _ in decoder.fetched(0, url, 200, b'{"bids":[],"asks":[]}', 2, now_ns, rows):
            rows.clear()
    assert not np.any(decoder.heard_ns)
    decoder.closed(0, 3, now_ns, rows)


if __name__ == "__main__":
    warm_up(sys.argv[1:])
