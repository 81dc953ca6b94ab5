"""Hours of frames made beforehand: whole connections, cut into chunks, continued by the live market."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from data_controller.errors import SimulatorError
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.prehistory import (
    CHUNK_NS,
    CLOSED,
    FRAME,
    OPENED,
    Chunk,
    cut,
    generate,
    read_prehistory,
    requests,
    write,
)

from .simulator_client import Client

SECOND = 1_000_000_000


def made(instruments: int = 2, seconds: int = 30, seed: int = 4) -> tuple[Exchange, list[Chunk]]:
    exchange = Exchange(seed, instruments)
    return exchange, list(generate(exchange, seconds * SECOND))


def records(chunks: list[Chunk]) -> list[tuple[int, int, int, bytes]]:
    return [
        (int(c.recv_ns[i]), int(c.kind[i]), int(c.conn[i]), c.data[c.offsets[i] : c.offsets[i + 1]].tobytes())
        for c in chunks
        for i in range(len(c.kind))
    ]


def test_each_slot_is_a_connection_from_its_opening_to_its_end():
    exchange, chunks = made(instruments=14)
    rows = records(chunks)
    slots = {row[2] for row in rows}
    assert slots == {0, 1}
    for slot in slots:
        mine = [row for row in rows if row[2] == slot]
        assert mine[0][1] == OPENED
        assert mine[-1][1] == CLOSED
        assert all(row[1] == FRAME for row in mine[1:-1])
        client = Client()
        client.feed(row[3] for row in mine[1:-1])
        assert client.events[0]["event"] == "info"
        assert client.events[1] == {"event": "conf", "status": "OK", "flags": 229376}
        assert client.sequences == list(range(1, len(client.sequences) + 1))
        assert client.checksums
        assert all(good for _, good in client.checksums)
        assert len(client.channels) <= 25
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert rows[-1][0] == exchange.now_ns
    assert exchange.connections() == []


def test_the_scripted_client_asks_for_books_trades_and_one_raw_book():
    (wanted,) = requests(["tBTCUSD", "tETHUSD"])
    assert [(w["channel"], w["symbol"], w.get("prec")) for w in wanted] == [
        ("book", "tBTCUSD", "P0"),
        ("trades", "tBTCUSD", None),
        ("book", "tETHUSD", "P0"),
        ("trades", "tETHUSD", None),
        ("book", "tBTCUSD", "R0"),
    ]
    assert [len(part) for part in requests([f"tS{i}USD" for i in range(30)])] == [25, 25, 11]


def test_chunks_cover_at_most_a_tenth_of_a_second_and_lose_nothing():
    _, chunks = made()
    pieces = [piece for chunk in chunks for piece in cut(chunk)]
    assert records(pieces) == records(chunks)
    for piece in pieces:
        assert piece.offsets[0] == 0
        assert piece.offsets[-1] == len(piece.data)
        assert piece.recv_ns[0] // CHUNK_NS == piece.recv_ns[-1] // CHUNK_NS
        assert (piece.recv_ns.dtype, piece.offsets.dtype, piece.conn.dtype) == (np.int64, np.int32, np.int32)


def test_a_stream_reads_back_what_was_written(tmp_path):
    _, chunks = made()
    path = tmp_path / "prehistory.arrow"
    with path.open("wb") as out:
        assert write(iter(chunks), out) == len(records(chunks))
    assert records(list(read_prehistory(path))) == records(chunks)


def test_a_stream_that_breaks_off_is_an_error():
    _, chunks = made(seconds=5)
    out = io.BytesIO()
    write(iter(chunks), out)
    whole = out.getvalue()
    with pytest.raises(SimulatorError, match="expected a whole"):
        list(read_prehistory(io.BytesIO(whole[: len(whole) // 2])))


def test_the_market_goes_on_as_if_nobody_had_listened():
    exchange, _ = made(seconds=20)
    alone = Exchange(4, 2)
    alone.advance(alone.now_ns + 20 * SECOND)
    assert exchange.digest() == alone.digest()


def test_a_seed_gives_the_same_bytes_twice():
    assert records(made()[1]) == records(made()[1])
    assert records(made(seed=5)[1]) != records(made()[1])


def test_the_frames_of_the_script_are_json():
    _, chunks = made(instruments=1, seconds=5)
    assert all(json.loads(row[3]) for row in records(chunks) if row[1] == FRAME)
