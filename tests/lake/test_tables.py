"""Tables: rows come back as they were told, the loop never waits, and what is lost is said."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.errors import TableError
from data_controller.journal.files import DiskFile
from data_controller.journal.format import batch_crc
from data_controller.lake.columns import schema_of, to_record_batch
from data_controller.lake.tables import TABLE_GAPS, Tables, TableWriter, column_of, read_table

FEATURES = np.dtype(
    [("tick_ns", "<i8"), ("instrument", "<i4"), ("values", "<f4", (34,)), ("valid", "u1", (34,)), ("side", "S4")]
)


def features(n: int, seed: int = 1) -> np.ndarray[Any, Any]:
    rows = np.zeros(n, FEATURES)
    draw = np.random.default_rng(seed)
    rows["tick_ns"] = np.arange(n) * 10**9
    rows["instrument"] = np.arange(n) % 8
    rows["values"] = draw.normal(size=(n, 34))
    rows["values"][0, 0] = np.nan
    rows["valid"] = draw.integers(0, 2, size=(n, 34))
    rows["side"] = b"buy"
    return rows


def test_one_column_comes_a_piece_at_a_time_and_the_same_as_in_the_whole_table(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path, "features", segment_bytes=1)  # a segment a batch
    for seed in range(3):
        writer.append(features(50, seed))
    writer.close()
    pieces = list(column_of(tmp_path, "features", "tick_ns"))
    assert [len(piece) for piece in pieces] == [50, 50, 50]
    expected = read_table(tmp_path, "features").column("tick_ns").to_numpy()
    assert np.concatenate(pieces).tobytes() == expected.tobytes()
    assert list(column_of(tmp_path, "features", "nothing")) == list(column_of(tmp_path, "none", "tick_ns")) == []


def test_structured_rows_come_back_bit_for_bit(tmp_path: Path) -> None:
    rows = features(100)
    with_matrix = np.zeros(3, np.dtype([("tick_ns", "<i8"), ("matrix", "<f4", (2, 5))]))
    with_matrix["matrix"] = np.arange(30).reshape(3, 2, 5)
    tables = Tables(tmp_path, {"features": FEATURES})
    assert tables.tell("features", rows[:60])
    assert tables.tell("features", rows[60:])
    assert tables.tell("wide", with_matrix)
    tables.close()
    read = read_table(tmp_path, "features")
    assert read.schema.field("values").type == pa.list_(pa.float32(), 34)
    assert read.num_rows == 100
    values = np.concatenate([chunk.flatten().to_numpy() for chunk in read["values"].chunks]).reshape(100, 34)
    assert values.tobytes() == np.ascontiguousarray(rows["values"]).tobytes()
    assert read["tick_ns"].to_pylist() == rows["tick_ns"].tolist()
    assert set(read["side"].to_pylist()) == {b"buy"}
    assert read_table(tmp_path, "wide")["matrix"].to_pylist() == with_matrix["matrix"].tolist()


def test_dicts_take_the_schema_of_the_first_rows_and_nested_ones_become_json(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    tables.tell("decisions", [{"id": 1, "ev": 0.5, "why": None, "limits": {"position": 2}, "levels": [1.0, 2.0]}])
    tables.tell("decisions", [{"id": 2, "ev": None, "why": "small", "limits": None, "levels": None}])
    tables.close()
    assert read_table(tmp_path, "decisions").to_pylist() == [
        {"id": 1, "ev": 0.5, "why": None, "limits": '{"position":2}', "levels": [1.0, 2.0]},
        {"id": 2, "ev": None, "why": "small", "limits": None, "levels": None},
    ]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "a": st.none() | st.integers(-(2**63), 2**63 - 1),
                "b": st.none() | st.booleans(),
                "c": st.none() | st.text(max_size=5),
                "d": st.none() | st.binary(max_size=5),
                "e": st.none() | st.lists(st.floats(width=32, allow_nan=False), max_size=3),
                "f": st.none() | st.lists(st.integers(0, 9), min_size=2, max_size=2),
            }
        ),
        min_size=1,
        max_size=20,
    ),
    cut=st.integers(0, 19),
)
def test_a_checksum_depends_on_the_rows_and_not_on_how_they_lie_in_memory(rows: list[dict[str, Any]], cut: int) -> None:
    schema = pa.schema(
        [
            ("a", pa.int64()),
            ("b", pa.bool_()),
            ("c", pa.string()),
            ("d", pa.binary()),
            ("e", pa.list_(pa.float32())),
            ("f", pa.list_(pa.int8(), 2)),
        ]
    )
    whole = to_record_batch(rows, schema)
    part = whole.slice(cut)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(part)
    if part.num_rows:
        (back,) = pa.ipc.open_stream(sink.getvalue())
        assert batch_crc(part, 3) == batch_crc(back, 3)
        assert batch_crc(part, 3) != batch_crc(back, 4)


def test_rows_that_do_not_fit_are_refused_counted_and_leave_a_gap_row(tmp_path: Path) -> None:
    errors: list[tuple[str, Exception]] = []
    tables = Tables(tmp_path, on_error=lambda table, error: errors.append((table, error)))
    tables.tell("orders", [{"id": 1, "size": 0.5}])
    tables.flush()
    tables.tell("orders", [{"id": 2, "sise": 0.5}])
    tables.flush()
    tables.tell("orders", [{"id": "three", "size": 1.0}])
    tables.flush()
    tables.tell("orders", [{"id": 4, "size": 2.0}])
    tables.close()
    assert [row["id"] for row in read_table(tmp_path, "orders").to_pylist()] == [1, 4]
    assert (tables.counters["orders"].written, tables.counters["orders"].refused) == (2, 2)
    assert "sise" in str(errors[0][1])
    gaps = read_table(tmp_path, TABLE_GAPS).to_pylist()
    assert [(gap["table"], gap["row"], gap["rows"]) for gap in gaps] == [("orders", 1, 1), ("orders", 1, 1)]


def test_a_full_queue_drops_the_newest_rows_and_says_so(tmp_path: Path) -> None:
    gate = threading.Event()

    def slow(path: Path) -> DiskFile:
        gate.wait()
        return DiskFile(path)

    tables = Tables(tmp_path, capacity_rows=10, flush_interval_s=0.001, opener=slow)
    assert tables.tell("orders", [{"id": i} for i in range(8)])
    assert not tables.tell("orders", [{"id": i} for i in range(8, 12)])
    assert tables.tell("orders", [{"id": 12}, {"id": 13}])
    assert (tables.depth, tables.peak, tables.capacity) == (10, 10, 10)
    gate.set()
    tables.close()
    assert not tables.tell("orders", [{"id": 14}])
    assert [row["id"] for row in read_table(tmp_path, "orders").to_pylist()] == [*range(8), 12, 13]
    assert tables.counters["orders"].dropped == 5
    (gap,) = read_table(tmp_path, TABLE_GAPS).to_pylist()
    assert (gap["table"], gap["rows"], gap["reason"]) == ("orders", 4, "the queue was full")


def test_an_array_told_is_the_callers_again_at_once(tmp_path: Path) -> None:
    rows = features(4)
    expected = rows["instrument"].tolist()
    tables = Tables(tmp_path)
    tables.tell("features", rows)
    rows["instrument"] = -1
    tables.close()
    assert read_table(tmp_path, "features")["instrument"].to_pylist() == expected


def test_one_tables_full_disk_does_not_touch_the_others(tmp_path: Path) -> None:
    class Full:
        def __init__(self, path: Path) -> None:
            self.file = DiskFile(path)
            self.broken = path.name.startswith("orders")
            self.writes = 0

        def write(self, data: Any) -> None:
            self.writes += 1
            if self.broken and self.writes > 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.file.write(data)

        def fsync(self) -> None:
            self.file.fsync()

        def truncate(self, size: int) -> None:
            self.file.truncate(size)

        def close(self) -> None:
            self.file.close()

    tables = Tables(tmp_path, opener=Full)
    for i in range(3):
        tables.tell("orders", [{"id": i}])
        tables.tell("alerts", [{"id": i}])
        tables.flush()
    tables.close()
    assert read_table(tmp_path, "alerts")["id"].to_pylist() == [0, 1, 2]
    assert read_table(tmp_path, "orders")["id"].to_pylist() == [0]
    assert tables.counters["orders"].refused == 2
    assert "No space" in tables.counters["orders"].last_error


def test_what_a_dead_writer_left_open_is_cut_at_any_byte_and_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    writer = TableWriter(source, "orders")
    for i in range(3):
        writer.append([{"id": i}])
    (path,) = source.glob("orders/*.open")
    content = path.read_bytes()
    seen = set()
    for size in range(0, len(content) + 1, 13):
        directory = tmp_path / str(size)
        (directory / "orders").mkdir(parents=True)
        (directory / "orders" / path.name).write_bytes(content[:size])
        again = TableWriter(directory, "orders")
        again.append([{"id": 99}])
        again.close()
        ids = read_table(directory, "orders")["id"].to_pylist()
        assert ids == [*range(len(ids) - 1), 99]
        seen.add(len(ids))
    writer.close()
    assert seen >= {1, 2, 3}


def test_a_table_being_written_can_be_read(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    tables.tell("orders", [{"id": 1}])
    tables.flush()
    assert read_table(tmp_path, "orders")["id"].to_pylist() == [1]
    tables.close()


def test_a_column_added_by_a_later_start_is_null_before_it(tmp_path: Path) -> None:
    for rows in ([{"id": 1}], [{"id": 2, "why": "late"}]):
        tables = Tables(tmp_path)
        tables.tell("orders", rows)
        tables.close()
    assert read_table(tmp_path, "orders").to_pylist() == [{"id": 1, "why": None}, {"id": 2, "why": "late"}]


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path, "orders")
    for i in range(3):
        writer.append([{"id": i, "text": "abcdefgh" * 3}])
    writer.close()
    (path,) = tmp_path.glob("orders/*.arrows")
    content = bytearray(path.read_bytes())
    content[content.index(b"abcdefgh")] ^= 1
    path.write_bytes(content)
    with pytest.raises(TableError, match="damage"):
        read_table(tmp_path, "orders")
    damages: list[str] = []
    assert read_table(tmp_path, "orders", damages=damages)["id"].to_pylist() == [1, 2]
    assert len(damages) == 1


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="expected a table orders"):
        read_table(tmp_path, "orders")
    with pytest.raises(TableError, match="name"):
        TableWriter(tmp_path, "../orders")
    with pytest.raises(TableError, match="structured"):
        schema_of(np.dtype("f4"))
    tables = Tables(tmp_path)
    with pytest.raises(TableError, match="only writer"):
        Tables(tmp_path)
    tables.close()
    tables.close()
