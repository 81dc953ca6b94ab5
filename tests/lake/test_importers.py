"""Importers: every line is a record or is kept aside, times digit for digit, and a wrong file leaves nothing behind."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_controller.errors import ImportFormatError, JournalError
from data_controller.journal import info, read
from data_controller.lake.importers import MADE_UP_START_NS, import_cryptofeed, import_frames
from data_controller.lake.tables import read_table
from data_controller.records import Fetched, Kind, Start

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw_ws" / "bitfinex"
CAPTURE = SHARED / "cryptofeed_2021-04-05" / "BITFINEX-58bafb.0.gz"
RAW_ORDERS = SHARED / "nautilus_R0_2021-03" / "L3_feed.json.gz"

LINES = [
    b'configuration: {"ticker":["A-B"]}',
    b"wss://exchange.example/ws/2 <-> 1617643606.805714",
    b'wss://exchange.example/ws/2 <- 1617643607.3343842: {"event":"conf","flags":65536}',
    b'1617643607.3363898: {"event":"info","version":2}',
    b"1617643607.461997: [17,[0.98,47.914412330000005],1]",
    b'1617643608: [17,"hb",2]',
]


def records(out: Path) -> list[tuple[Kind, int, int, bytes]]:
    return [
        (Kind(int(batch.kind[i])), int(batch.conn[i]), int(batch.recv_ns[i]), batch.payload(i))
        for batch in read(out)
        for i in range(len(batch.recv_ns))
    ]


def frames(out: Path) -> list[bytes]:
    return [payload for kind, _, _, payload in records(out) if kind is Kind.FRAME]


def capture(tmp_path: Path, lines: list[bytes], zipped: bool = False) -> Path:
    path = tmp_path / "capture"
    content = b"\n".join(lines) + b"\n"
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_a_cryptofeed_capture_becomes_records_with_times_digit_for_digit(tmp_path: Path, zipped: bool) -> None:
    out = tmp_path / "out"
    report = import_cryptofeed(capture(tmp_path, LINES, zipped), "bitfinex", out)
    start, *rest = records(out)
    assert start[:3] == (Kind.START, -1, 1617643606805714000)
    told = msgspec.json.decode(start[3], type=Start)
    assert (told.run, told.config, told.made_up_times) == (1, {"exchange": "bitfinex"}, False)
    assert rest == [
        (Kind.OPENED, 0, 1617643606805714000, b"wss://exchange.example/ws/2"),
        (Kind.SENT, 0, 1617643607334384200, b'{"event":"conf","flags":65536}'),
        (Kind.FRAME, 0, 1617643607336389800, b'{"event":"info","version":2}'),
        (Kind.FRAME, 0, 1617643607461997000, b"[17,[0.98,47.914412330000005],1]"),
        (Kind.FRAME, 0, 1617643608000000000, b'[17,"hb",2]'),
        (Kind.CLOSED, 0, 1617643608000000000, b"the capture ends"),
    ]
    assert {key: report[key] for key in ("frames", "sent", "connections", "garbage_lines", "records")} == {
        "frames": 3,
        "sent": 1,
        "connections": 1,
        "garbage_lines": 0,
        "records": 7,
    }


def test_garbage_lines_are_counted_and_kept_with_number_and_bytes(tmp_path: Path) -> None:
    bad = [
        b"\xff\x00\xfe",
        b"not a line",
        b"99999999999.0: []",
        b"1617643607.1234567891: []",
        b"-5: []",
        b"wss://x <- soon: a",
    ]
    lines = [*LINES[:4], *bad, *LINES[4:]]
    out = tmp_path / "out"
    report = import_cryptofeed(capture(tmp_path, lines), "bitfinex", out)
    assert report["garbage_lines"] == len(bad)
    kept = read_table(out / "tables", "quarantine").to_pylist()
    assert [(row["line"], row["bytes"]) for row in kept] == [(5 + i, line) for i, line in enumerate(bad)]
    assert frames(out) == [line.partition(b": ")[2] for line in LINES[3:]]


def test_times_that_go_back_are_clamped_and_counted(tmp_path: Path) -> None:
    lines = [b"1617643607.5: [1]", b"1617643607.4: [2]", b"1617643607.6: [3]"]
    out = tmp_path / "out"
    assert import_cryptofeed(capture(tmp_path, lines), "bitfinex", out)["clamped_times"] == 1
    times = [recv_ns - 1617643607 * 10**9 for kind, _, recv_ns, _ in records(out) if kind is Kind.FRAME]
    assert times == [500_000_000, 500_000_000, 600_000_000]


def test_one_absurd_time_does_not_drag_the_others_along(tmp_path: Path) -> None:
    lines = [b"1617643607: [1]", b"1617643608: [2]", b"9217643609: [bad]", b"1617643610: [3]", b"1617743610: [4]"]
    lines += [b"1617743611: [5]", b"9217643609: [last]"]
    out = tmp_path / "out"
    report = import_cryptofeed(capture(tmp_path, lines), "bitfinex", out)
    assert frames(out) == [b"[1]", b"[2]", b"[3]", b"[4]", b"[5]"]
    assert (report["garbage_lines"], report["clamped_times"]) == (2, 0)


def test_rest_answers_and_reconnects_are_records_too(tmp_path: Path) -> None:
    lines = [
        *LINES,
        b'https://exchange.example/book -> 1617643609.25: {"bids":[]}',
        LINES[1].replace(b"606.", b"610."),
        b"1617643611: [1]",
    ]
    out = tmp_path / "out"
    report = import_cryptofeed(capture(tmp_path, lines), "bitfinex", out)
    assert (report["fetched"], report["connections"]) == (1, 2)
    kinds = [kind for kind, *_ in records(out)]
    assert kinds[-5:] == [Kind.FETCHED, Kind.CLOSED, Kind.OPENED, Kind.FRAME, Kind.CLOSED]
    (fetched,) = (payload for kind, _, _, payload in records(out) if kind is Kind.FETCHED)
    assert msgspec.json.decode(fetched, type=Fetched) == Fetched(
        request="https://exchange.example/book", status=200, body=b'{"bids":[]}'
    )


def test_frames_before_any_connection_line_get_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    import_cryptofeed(capture(tmp_path, LINES[3:]), "bitfinex", out)
    assert [kind for kind, *_ in records(out)][:3] == [Kind.START, Kind.OPENED, Kind.FRAME]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"time,price\n1,2\n" * 2000,
        bytes(range(256)) * 100,
        b"configuration: {}\n",
        LINES[1] + b"\n",
        gzip.compress(b"\n".join(LINES))[:-12],
        b"\x1f\x8b" + b"not gzip at all",
    ],
)
@pytest.mark.parametrize("importer", [import_cryptofeed, import_frames])
def test_a_file_of_another_format_is_refused_in_one_line_and_leaves_nothing(
    tmp_path: Path, content: bytes, importer: Any
) -> None:
    path = tmp_path / "capture"
    path.write_bytes(content)
    with pytest.raises(ImportFormatError) as refused:
        importer(path, "bitfinex", tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_and_a_taken_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFormatError, match="unreadable"):
        import_frames(tmp_path / "none", "bitfinex", tmp_path / "out")
    (tmp_path / "out").mkdir()
    path = capture(tmp_path, LINES)
    import_cryptofeed(path, "bitfinex", tmp_path / "out")
    before = records(tmp_path / "out")
    with pytest.raises(JournalError, match="new or empty directory"):
        import_cryptofeed(path, "bitfinex", tmp_path / "out")
    assert records(tmp_path / "out") == before


FRAMES = [b'{"event":"info"}', b"[17,[[1.50,2,7e-7],[0.1,  1,-3]]]", b'[17,"hb"]', b'{"a": "\\u00e9 \xc3\xa9"}']


def test_frames_a_line_keep_their_bytes_and_get_made_up_times(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = import_frames(capture(tmp_path, [*FRAMES, b"", b"{broken"]), "bitfinex", out)
    assert frames(out) == FRAMES
    assert [time for kind, _, time, _ in records(out) if kind is Kind.FRAME] == [
        MADE_UP_START_NS + i * 1_000_000 for i in range(len(FRAMES))
    ]
    assert msgspec.json.decode(records(out)[0][3], type=Start).made_up_times
    assert (report["frames"], report["garbage_lines"], report["made_up_times"]) == (4, 1, True)


@pytest.mark.parametrize("between", [b",", b", ", b",\n  ", b" , "])
@pytest.mark.parametrize("zipped", [False, True])
def test_the_elements_of_one_array_keep_their_own_text(tmp_path: Path, between: bytes, zipped: bool) -> None:
    out = tmp_path / "out"
    import_frames(capture(tmp_path, [b"[" + between.join(FRAMES) + b"]"], zipped), "bitfinex", out)
    assert frames(out) == FRAMES


def test_a_single_frame_is_not_taken_for_an_array_of_frames(tmp_path: Path) -> None:
    out = tmp_path / "out"
    import_frames(capture(tmp_path, [FRAMES[1]]), "bitfinex", out)
    assert frames(out) == [FRAMES[1]]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.sampled_from(LINES) | st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=8)
)
def test_every_line_is_a_record_or_is_kept_aside(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    tmp_path = tmp_path_factory.mktemp("lines")
    path = capture(tmp_path, lines)
    try:
        report = import_cryptofeed(path, "bitfinex", tmp_path / "out")
    except ImportFormatError:
        assert list(tmp_path.iterdir()) == [path]
        return
    found = info(tmp_path / "out")
    assert found.records == report["records"]
    content = [line.rstrip(b"\r\n") for line in path.read_bytes().split(b"\n")]
    skipped = sum(not line for line in content) + content[0].startswith(b"configuration:")
    taken = report["frames"] + report["sent"] + report["fetched"] + found.by_kind[Kind.OPENED]
    made_up = sum(payload == b"the capture does not say" for _, _, _, payload in records(tmp_path / "out"))
    assert taken - made_up + report["garbage_lines"] == len(content) - skipped


@pytest.mark.skipif(not CAPTURE.exists(), reason="the shared captures are not here")
def test_the_real_capture_is_imported_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = import_cryptofeed(CAPTURE, "bitfinex", out)
    found = frames(out)
    assert sum(frame.startswith(b"[") for frame in found) == 22_649
    assert len(found) == report["frames"] == 22_675
    assert (report["sent"], report["garbage_lines"], report["clamped_times"]) == (25, 0, 0)
    lines = gzip.decompress(CAPTURE.read_bytes()).split(b"\n")
    assert found == [line.partition(b": ")[2] for line in lines if line[:10].isdigit()]
    assert report["journal_bytes"] / report["frames"] <= 30


@pytest.mark.skipif(not RAW_ORDERS.exists(), reason="the shared captures are not here")
def test_the_array_capture_is_imported_by_its_own_text(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = import_frames(RAW_ORDERS, "bitfinex", out)
    found = frames(out)
    assert len(found) == report["frames"] == 100_001
    assert b"[" + b", ".join(found) + b"]" == gzip.decompress(RAW_ORDERS.read_bytes()).strip()
