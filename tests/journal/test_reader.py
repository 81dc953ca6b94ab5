"""The reader: the same records back, and every kind of damage found, said, and kept local."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_controller.errors import JournalCorrupt, JournalError
from data_controller.journal import Reader, info, read
from data_controller.journal.format import JOURNAL_SCHEMA, Encoder, record_batch, with_header
from data_controller.journal.manifest import load
from data_controller.records import Kind, sequence

from .journal_making import ROWS, SETTINGS, T0, batch_of, put, records, records_of, write

PIECES = [ROWS[:3], ROWS[3:4], ROWS[4:8], ROWS[8:]]
GOLDEN = Path(__file__).parent / "golden"


def the_segment(directory: Path) -> Path:
    (path,) = directory.glob("journal-*.arrows*")
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[tuple[int, int, int, int, bytes]]]:
    directory = tmp_path_factory.mktemp("whole")
    expected = write(directory, PIECES)
    return the_segment(directory).read_bytes(), expected


def test_a_directory_a_manifest_and_a_file_give_the_same_records(tmp_path: Path) -> None:
    expected = write(tmp_path, PIECES)
    assert records(tmp_path) == expected
    assert records(tmp_path / "manifest.json") == expected
    assert records(the_segment(tmp_path)) == expected
    assert records_of(read([str(the_segment(tmp_path))])) == expected


def test_arrays_are_what_compiled_code_expects(tmp_path: Path) -> None:
    write(tmp_path, PIECES)
    for batch in read(tmp_path):
        for array, dtype in (
            (batch.recv_ns, np.int64),
            (batch.kind, np.uint8),
            (batch.conn, np.int32),
            (batch.offsets, np.int32),
            (batch.data, np.uint8),
        ):
            assert array.dtype == dtype
            assert array.flags.c_contiguous
            assert array.flags.writeable
            assert array.flags.aligned
            array[:] = array.copy()
        assert len(batch.offsets) == len(batch.recv_ns) + 1
        assert batch.offsets[0] == 0


@pytest.mark.parametrize("merge", [1, 4, 5, 1000])
def test_merging_batches_changes_no_record(tmp_path: Path, merge: int) -> None:
    expected = write(tmp_path, PIECES) + write(tmp_path, PIECES)
    batches = list(read(tmp_path, merge=merge))
    assert records_of(batches) == expected
    if merge == 1000:
        assert [batch.first_seq for batch in batches] == [sequence(1, 0), sequence(2, 0)]


def test_any_arrow_reader_opens_a_segment(tmp_path: Path) -> None:
    expected = write(tmp_path, PIECES)
    with pa.ipc.open_stream(the_segment(tmp_path)) as stream:
        table = stream.read_all()
    assert table.schema.equals(JOURNAL_SCHEMA)
    assert [tuple(row.values()) for row in table.to_pylist()] == expected


def test_info_counts_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, PIECES)
    write(tmp_path, [ROWS], close=False)
    found = info(tmp_path)
    assert (found.segments, found.open_segments, found.runs, found.batches, found.records) == (2, 1, [1, 2], 5, 18)
    assert (found.first_seq, found.last_seq) == (sequence(1, 0), sequence(2, 8))
    assert (found.first_recv_ns, found.last_recv_ns) == (T0, T0 + 200_000_000)
    assert found.by_kind == {Kind.START: 2, Kind.OPENED: 2, Kind.CLOSED: 2, Kind.FRAME: 8, Kind.PULSE: 2, Kind.SENT: 2}
    assert found.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.arrows*"))
    assert found.damages == []


def test_a_closed_segment_cut_at_any_byte_is_reported(tmp_path: Path, whole: tuple[bytes, list[object]]) -> None:
    content, expected = whole
    path = tmp_path / "journal-0000001-000001.arrows"
    for size in range(len(content)):
        put(path, content[:size])
        if size == 0:
            with pytest.raises(JournalError):
                records(path)
            continue
        reader = Reader(path, on_damage="report")
        found = records_of(reader)
        assert found == expected[: len(found)]
        assert reader.damages, size
        with pytest.raises(JournalCorrupt):
            records(path)


def test_an_open_segment_cut_at_any_byte_gives_its_whole_batches(
    tmp_path: Path, whole: tuple[bytes, list[object]]
) -> None:
    content, expected = whole
    path = tmp_path / "journal-0000001-000001.arrows.open"
    counts = set()
    for size in range(1, len(content) - 7):
        put(path, content[:size])
        found = records(path)
        assert found == expected[: len(found)]
        counts.add(len(found))
    assert counts == {0, 3, 4, 8, 9}


def test_a_flipped_bit_at_any_byte_is_found_or_harmless(tmp_path: Path, whole: tuple[bytes, list[object]]) -> None:
    content, expected = whole
    path = tmp_path / "journal-0000001-000001.arrows"
    draw = random.Random(1)
    reported = 0
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << draw.randrange(8)
        put(path, bytes(damaged))
        reader = Reader(path, on_damage="report")
        found = records_of(reader)
        if reader.damages:
            reported += 1
            assert all(record in expected for record in found)
            assert len(found) >= 4, "damage stays local to one batch"
        else:
            assert found == expected
    assert reported > len(content) // 2


def test_a_damaged_batch_is_skipped_named_and_put_aside(tmp_path: Path) -> None:
    expected = write(tmp_path, PIECES)
    path = the_segment(tmp_path)
    content = bytearray(path.read_bytes())
    at = content.index(b"crc", content.index(b"crc") + 100)  # metadata of a batch
    damaged_at = content.index(ROWS[3][3][:8]) if ROWS[3][3][:8] in content else at
    content[damaged_at + 3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(JournalCorrupt, match="lost"):
        records(tmp_path)
    reader = Reader(tmp_path, on_damage="report", quarantine=tmp_path / "aside")
    found = records_of(reader)
    (damage,) = reader.damages
    missing = [record[0] for record in expected if record not in found]
    assert missing == list(range(damage.first_seq, damage.last_seq + 1))
    assert missing
    (aside,) = (tmp_path / "aside").iterdir()
    assert aside.read_bytes() == content[damage.start : damage.stop]
    assert damage.start <= damaged_at + 3 < damage.stop


def test_a_missing_segment_is_damage(tmp_path: Path) -> None:
    write(tmp_path, PIECES)
    expected = write(tmp_path, PIECES)
    (tmp_path / "journal-0000001-000001.arrows").unlink()
    with pytest.raises(JournalCorrupt, match="segment is missing"):
        records(tmp_path)
    reader = Reader(tmp_path, on_damage="report")
    assert records_of(reader) == expected
    assert [(damage.first_seq, damage.last_seq) for damage in reader.damages] == [(sequence(1, 0), sequence(1, 8))]


def segment_with(path: Path, batches: list[tuple[int, int]]) -> None:
    """A segment whose header and batches are sound, but whose numbers are as given: (first, count)."""
    header = {"kind": "journal", "version": "1", "run": "1", "number": "1", "platform": "none"}
    encoder = Encoder(with_header(JOURNAL_SCHEMA, header))
    content = encoder.header
    for first, count in batches:
        rows, n = batch_of([(Kind.FRAME, 0, T0, b"%d" % (first + i)) for i in range(count)], sequence(1, first))
        content += encoder.message(record_batch(rows, 0, n), rows.first_seq)
    path.write_bytes(content + b"\xff\xff\xff\xff\0\0\0\0")


def test_a_hole_between_whole_batches_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "some.arrows"
    segment_with(path, [(0, 3), (5, 2)])
    with pytest.raises(JournalCorrupt, match="records are missing"):
        records(path)
    reader = Reader(path, on_damage="report")
    assert [record[4] for record in records_of(reader)] == [b"0", b"1", b"2", b"5", b"6"]
    (damage,) = reader.damages
    assert (damage.first_seq, damage.last_seq) == (sequence(1, 3), sequence(1, 4))


def test_repeated_records_are_damage_and_read_once(tmp_path: Path) -> None:
    path = tmp_path / "some.arrows"
    segment_with(path, [(0, 3), (0, 3), (3, 1)])
    with pytest.raises(JournalCorrupt, match="repeated"):
        records(path)
    reader = Reader(path, on_damage="report")
    assert [record[4] for record in records_of(reader)] == [b"0", b"1", b"2", b"3"]
    assert len(reader.damages) == 1


def test_a_damaged_manifest_does_not_hide_the_segments(tmp_path: Path) -> None:
    expected = write(tmp_path, PIECES)
    manifest = tmp_path / "manifest.json"
    content = manifest.read_bytes()
    for at in range(0, len(content), 7):
        put(manifest, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        reader = Reader(tmp_path, on_damage="report")
        assert records_of(reader) == expected
        assert len(reader.damages) == 1


def foreign_stream(path: Path) -> None:
    table = pa.table({"seq": [1, 2], "text": ["a", "b"]})
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


def foreign_file(path: Path) -> None:
    table = pa.table({"seq": [1, 2]})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("name", ["x.arrow", "journal-0000001-000001.arrows"])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("time,price\n1,2\n"),
        lambda path: path.write_bytes(b"\xff" * 4096),
        lambda path: path.write_bytes(b"\xff\xff\xff\xff\x00\x00\x00\x00"),
        lambda path: path.write_bytes(bytes(4096)),
        foreign_stream,
        foreign_file,
    ],
)
def test_what_is_no_journal_is_refused_in_one_line(tmp_path: Path, make: object, name: str) -> None:
    path = tmp_path / name
    make(path)  # type: ignore[operator]
    with pytest.raises(JournalError) as refused:
        records(path)
    assert "\n" not in str(refused.value)
    assert "expected" in str(refused.value)
    assert str(path) in str(refused.value)


def test_nothing_there_and_an_empty_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="nothing there"):
        read(tmp_path / "none")
    with pytest.raises(JournalError, match="without one"):
        read(tmp_path)


def test_a_newer_version_is_refused_by_number(tmp_path: Path) -> None:
    header = {"kind": "journal", "version": "2", "run": "1", "number": "1", "platform": "none"}
    path = tmp_path / "journal-0000001-000001.arrows"
    path.write_bytes(Encoder(with_header(JOURNAL_SCHEMA, header)).header + b"\xff\xff\xff\xff\0\0\0\0")
    with pytest.raises(JournalError, match="version 1 or older, was version 2"):
        records(path)


def test_a_table_of_the_lake_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    header = {"kind": "table", "version": "1"}
    path = tmp_path / "decisions-0000001-000001.arrows"
    path.write_bytes(Encoder(with_header(JOURNAL_SCHEMA, header)).header + b"\xff\xff\xff\xff\0\0\0\0")
    with pytest.raises(JournalError, match="was a table file"):
        records(path)


@pytest.mark.parametrize("version", sorted(path.name for path in GOLDEN.iterdir() if path.is_dir()))
def test_golden_journals_of_every_version_are_read(version: str) -> None:
    expected = [(sequence(1, i), row[2], int(row[0]), row[1], row[3]) for i, row in enumerate(ROWS)]
    assert records(GOLDEN / version) == expected
    manifest = load(GOLDEN / version)
    assert manifest is not None
    assert manifest.segments[0].records == len(ROWS)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_bytes_only_our_own_errors_come_out(
    tmp_path: Path, whole: tuple[bytes, list[object]], data: st.DataObject
) -> None:
    content = bytearray(whole[0])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content)))
        change = data.draw(st.sampled_from(["insert", "delete", "overwrite", "repeat", "ones"]))
        piece = data.draw(st.binary(max_size=24))
        span = data.draw(st.integers(1, 200))
        if change == "insert":
            content[at:at] = piece
        elif change == "delete":
            del content[at : at + span]
        elif change == "overwrite":
            content[at : at + len(piece)] = piece
        elif change == "repeat":
            content[at:at] = content[at : at + span]
        else:
            content[at : at + span] = b"\xff" * len(content[at : at + span])
    name = "journal-0000001-000001.arrows"
    path = tmp_path / data.draw(st.sampled_from([name, name + ".open"]))
    put(path, bytes(content))
    try:
        found = records_of(Reader(path, on_damage="report"))
    except JournalError:
        return
    assert all(record in whole[1] for record in found)


def test_settings_of_these_tests_end_no_segment_early() -> None:
    assert SETTINGS.segment_bytes > 1 << 15
