"""Hours of simulated frames as a client's connections would have seen them, made as fast as the market runs.

A scripted client opens as many connections as 25 channels each ask for and subscribes, instrument by instrument, to
its P0 book (length 25, F0) and its trades, then to the raw books of the first `raw_books` instruments. Each connection
is a slot: OPENED, the greeting, the answer to conf, each `subscribed` with its snapshot, everything the market then
says, CLOSED. The exchange lives on: what is served afterwards continues the same market.

On disk (or in a pipe) it is an Arrow IPC stream of records, `recv_ns, kind, conn, payload`, a batch per ten seconds of
simulated time; the reader cuts it into chunks of at most 100 ms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_controller.errors import SimulatorError
from data_controller.simulator.exchange import Exchange, Frame
from data_controller.simulator.session import CHANNELS_MAX, Session
from data_controller.simulator.state import OB_CHECKSUM, SEQ_ALL, TIMESTAMP

OPENED, CLOSED, FRAME = 2, 3, 4
FLAGS = TIMESTAMP | SEQ_ALL | OB_CHECKSUM
CHUNK_NS = 100_000_000
_BATCH_NS = 10_000_000_000
_STEP_NS = 40_000_000  # between a scripted request and the next
ADDRESS = "ws://127.0.0.1/ws/2"

SCHEMA = pa.schema(
    [
        pa.field("recv_ns", pa.int64(), nullable=False),
        pa.field("kind", pa.uint8(), nullable=False),
        pa.field("conn", pa.int32(), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
    ]
)


class Chunk(NamedTuple):
    """Records side by side, as the engine's own: payload `i` is `data[offsets[i]:offsets[i + 1]]`."""

    recv_ns: NDArray[np.int64]
    kind: NDArray[np.uint8]  # OPENED, CLOSED, FRAME
    conn: NDArray[np.int32]
    offsets: NDArray[np.int32]
    data: NDArray[np.uint8]


def requests(symbols: list[str], raw_books: int = 1) -> list[list[dict[str, Any]]]:
    """The scripted client's subscriptions, a list a connection."""
    wanted: list[dict[str, Any]] = []
    for symbol in symbols:
        book = {"event": "subscribe", "channel": "book", "symbol": symbol, "prec": "P0", "freq": "F0", "len": "25"}
        wanted += [book, {"event": "subscribe", "channel": "trades", "symbol": symbol}]
    for symbol in symbols[:raw_books]:
        wanted.append(
            {"event": "subscribe", "channel": "book", "symbol": symbol, "prec": "R0", "freq": "F0", "len": "25"}
        )
    return [wanted[at : at + CHANNELS_MAX] for at in range(0, len(wanted), CHANNELS_MAX)]


def generate(
    exchange: Exchange, duration_ns: int, raw_books: int = 1, wall_ns: Callable[[], int] = lambda: 0
) -> Iterator[Chunk]:
    """Run the market for `duration_ns` and yield what the scripted client receives, ten seconds a chunk.

    It goes on until the market's time has caught up with `wall_ns`, which moved while it was made. The scripted
    connections end with it. Use `cut` for chunks of 100 ms.
    """
    end_ns = exchange.now_ns + duration_ns
    links: list[Session] = []
    slots: dict[int, int] = {}
    for slot, wanted in enumerate(requests(exchange.symbols, raw_books)):
        session = Session(exchange)
        links.append(session)
        slots[session.conn] = slot
        opening = [_marks(exchange.now_ns, OPENED, [slot], ADDRESS.encode())]
        for request in [{"event": "conf", "flags": FLAGS}, *wanted]:
            exchange.advance(min(exchange.now_ns + _STEP_NS, end_ns))
            session.handle(json.dumps(request))
            opening.append(_frames([(link.conn, f) for link in links for f in link.take()], slots))
        yield _joined(opening)
    while exchange.now_ns < end_ns:
        table, data = exchange.advance_raw(min((exchange.now_ns // _BATCH_NS + 1) * _BATCH_NS, end_ns))
        lookup = np.zeros(max(slots) + 1, np.int32)
        lookup[list(slots)] = list(slots.values())
        offsets = np.zeros(len(table) + 1, np.int32)
        offsets[1:] = table["end"]
        kinds = np.full(len(table), FRAME, np.uint8)
        yield Chunk(table["ns"].copy(), kinds, lookup[table["conn"]], offsets, data)
        if exchange.now_ns >= end_ns and wall_ns() - end_ns > CHUNK_NS:
            end_ns = wall_ns()
    for session in links:
        session.close()
    yield _marks(end_ns, CLOSED, list(slots.values()), b"pre-history ended")


def cut(chunk: Chunk, width_ns: int = CHUNK_NS) -> Iterator[Chunk]:
    """The same records in chunks that each cover at most `width_ns` of the absolute time grid; views where possible."""
    ticks = chunk.recv_ns // width_ns
    edges = [0, *(np.flatnonzero(np.diff(ticks)) + 1).tolist(), len(ticks)]
    starts = chunk.offsets[edges].tolist()
    for j in range(len(edges) - 1):
        lo, hi = edges[j], edges[j + 1]
        if lo < hi:
            yield Chunk(
                chunk.recv_ns[lo:hi],
                chunk.kind[lo:hi],
                chunk.conn[lo:hi],
                chunk.offsets[lo : hi + 1] - np.int32(starts[j]),
                chunk.data[starts[j] : starts[j + 1]],
            )


def write(chunks: Iterator[Chunk], sink: IO[bytes]) -> int:
    """Write chunks as an Arrow IPC stream; returns the number of records."""
    records = 0
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        for chunk in chunks:
            n = len(chunk.recv_ns)
            payload = pa.Array.from_buffers(
                pa.binary(), n, [None, pa.py_buffer(chunk.offsets), pa.py_buffer(chunk.data)]
            )
            columns = [pa.array(column) for column in chunk[:3]]
            writer.write_batch(pa.record_batch([*columns, payload], schema=SCHEMA))
            records += n
    return records


def read_prehistory(source: str | Path | IO[bytes], width_ns: int = CHUNK_NS) -> Iterator[Chunk]:
    """Yield the chunks of a pre-history from a file, a named pipe or an open stream, each at most `width_ns` long.

    Arrays of a chunk may be read-only views. Raises SimulatorError where the stream is not one or breaks off.
    """
    if isinstance(source, (str, Path)):
        with Path(source).open("rb") as stream:
            yield from read_prehistory(stream, width_ns)
        return
    try:
        with pa.ipc.open_stream(source) as reader:
            if reader.schema != SCHEMA:
                raise SimulatorError(f"expected a pre-history of {SCHEMA.names}, was {reader.schema.names}")
            for batch in reader:
                payload = batch.column(3)
                _, offsets, data = payload.buffers()
                first = payload.offset
                bounds = np.frombuffer(offsets, np.int32)[first : first + len(batch) + 1]
                yield from cut(
                    Chunk(
                        batch.column(0).to_numpy(),
                        batch.column(1).to_numpy(),
                        batch.column(2).to_numpy(),
                        bounds,
                        np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8),
                    ),
                    width_ns,
                )
    except (pa.ArrowInvalid, OSError) as error:
        raise SimulatorError(f"expected a whole pre-history stream, found: {error}") from error


def _marks(now_ns: int, kind: int, slots: list[int], payload: bytes) -> Chunk:
    n = len(slots)
    return Chunk(
        np.full(n, now_ns, np.int64),
        np.full(n, kind, np.uint8),
        np.array(slots, np.int32),
        np.arange(n + 1, dtype=np.int32) * len(payload),
        np.frombuffer(payload * n, np.uint8),
    )


def _frames(frames: list[tuple[int, Frame]], slots: dict[int, int]) -> Chunk:
    frames = sorted(frames, key=lambda pair: pair[1].ns)
    texts = [frame.data for _, frame in frames]
    offsets = np.zeros(len(frames) + 1, np.int32)
    offsets[1:] = np.cumsum([len(text) for text in texts])
    return Chunk(
        np.array([frame.ns for _, frame in frames], np.int64),
        np.full(len(frames), FRAME, np.uint8),
        np.array([slots[conn] for conn, _ in frames], np.int32),
        offsets,
        np.frombuffer(b"".join(texts), np.uint8),
    )


def _joined(parts: list[Chunk]) -> Chunk:
    starts = np.cumsum([0] + [len(part.data) for part in parts[:-1]]).astype(np.int32)
    offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts, strict=True)]
    return Chunk(
        np.concatenate([part.recv_ns for part in parts]),
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.conn for part in parts]),
        np.concatenate([*offsets, np.array([sum(len(part.data) for part in parts)], np.int32)]),
        np.concatenate([part.data for part in parts]),
    )
