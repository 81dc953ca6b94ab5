"""Importers: every line is a record or is kept aside, times digit for digit, and a wrong file leaves nothing behind."""

from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_controller.errors import ImportFormatError, JournalError
from data_controller.journal import info, read
from data_controller.lake.importers import (
    MADE_UP_START_NS,
    import_bitstamp_log,
    import_cryptofeed,
    import_frames,
    import_hftbacktest,
    import_ndjson,
)
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
        bz2.compress(b"\n".join(LINES) * 9)[:-12],
        b"BZh9not bzip at all",
    ],
)
@pytest.mark.parametrize("importer", [import_cryptofeed, import_frames, import_hftbacktest, import_ndjson])
def test_a_file_of_another_format_is_refused_in_one_line_and_leaves_nothing(
    tmp_path: Path, content: bytes, importer: Any
) -> None:
    path = tmp_path / "capture"
    path.write_bytes(content)
    with pytest.raises(ImportFormatError) as refused:
        importer(path, "binance_usdm", tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"", "it is empty"), (b"time,price\n1,2\n", "line 1 is not a line of a cryptofeed capture: b'time,price'")],
)
def test_a_refused_capture_says_what_was_found_in_it(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "capture"
    path.write_bytes(content)
    with pytest.raises(ImportFormatError, match=found):
        import_cryptofeed(path, "bitfinex", tmp_path / "out")


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
    with pytest.raises(JournalError, match="expected to make a journal in"):
        import_cryptofeed(path, "bitfinex", path / "out")


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
    skipped = sum(not line for line in content) + sum(line.startswith(b"configuration: {") for line in content)
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


SETS = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw_ws"
COUNTS = {  # file: frames, fetched, sent
    "cryptofeed_2021-04-05/KRAKEN-4b7396.0": (152, 0, 1),
    "cryptofeed_2021-04-05/KRAKEN-82ac16.0": (142, 0, 1),
    "cryptofeed_2021-04-05/KRAKEN-c197c0.0.gz": (14636, 0, 1),
    "cryptofeed_2021-04-05/BINANCE-b38f7c.0.gz": (11357, 10, 0),
    "cryptofeed_2021-04-05/BINANCE_FUTURES-1125a2.0.gz": (8421, 5, 0),
    "cryptofeed_2021-04-05/BITMEX-d944be.0.gz": (7043, 0, 3),
    "cryptofeed_2021-04-05/BITSTAMP-b88f8b.0.gz": (3254, 10, 20),
    "cryptofeed_2021-04-05/BITFLYER-ac44d0.0.gz": (3902, 0, 40),
    "cryptofeed_2021-04-05/DERIBIT-5dd9ce.0": (461, 0, 1),
    "cryptofeed_2021-04-05/GEMINI-e6096f.0.gz": (1804, 0, 1),
    "cryptofeed_2021-04-05/OKCOIN-726568.0.gz": (3627, 0, 1),
    "cryptofeed_2021-04-05/UPBIT-d78752.0.gz": (1733, 0, 1),
    "cryptofeed_2021-04-17/COINBASE.0": (0, 1, 0),
    "cryptofeed_2021-04-17/COINBASE.ws.28.0.gz": (9946, 0, 3),
    "cryptofeed_2021-04-17/BYBIT.0": (0, 1, 0),
    "cryptofeed_2021-04-17/BYBIT.ws.25.0.gz": (3342, 0, 16),
    "cryptofeed_2021-04-17/KRAKEN_FUTURES.0": (0, 1, 0),
    "cryptofeed_2021-04-17/KRAKEN_FUTURES.ws.46.0.gz": (7123, 0, 3),
    "cryptofeed_2021-04-17/HUOBI.0.gz": (0, 1, 0),
    "cryptofeed_2021-04-17/HUOBI.ws.44.0.gz": (362, 0, 26),
    "cryptofeed_2021-04-25/KUCOIN.0": (0, 1, 0),
    "cryptofeed_2021-04-25/KUCOIN.http.0.0": (0, 9, 0),
    "cryptofeed_2021-04-25/KUCOIN.ws.1.0.gz": (4721, 0, 13),
    "cryptofeed_2022-02-27/OKX.0.gz": (0, 5, 0),
    "cryptofeed_2022-02-27/OKX.ws.1.0.gz": (3777, 0, 3),
    "cryptofeed_2022-04-03/BITGET.0": (0, 1, 0),
    "cryptofeed_2022-04-03/BITGET.ws.1.0.gz": (746, 0, 1),
}


@pytest.mark.skipif(not SETS.exists(), reason="the shared captures are not here")
@pytest.mark.parametrize(("name", "expected"), COUNTS.items(), ids=COUNTS)
def test_a_real_capture_has_the_messages_that_were_counted_in_it(
    tmp_path: Path, name: str, expected: tuple[int, int, int]
) -> None:
    report = import_cryptofeed(SETS / name, "bitfinex", tmp_path / "out")
    assert (report["frames"], report["fetched"], report["sent"]) == expected
    assert (report["garbage_lines"], report["clamped_times"]) == (0, 0)


@pytest.mark.skipif(not SETS.exists(), reason="the shared captures are not here")
@pytest.mark.parametrize(
    ("name", "first", "decompressed"),
    [("2021-04-05/OKCOIN-726568.0.gz", b"\xab", -15), ("2021-04-17/HUOBI.ws.44.0.gz", b"\x1f\x8b", 31)],
)
def test_frames_that_were_written_as_python_bytes_are_the_bytes_of_the_wire(
    tmp_path: Path, name: str, first: bytes, decompressed: int
) -> None:
    import_cryptofeed(SETS / f"cryptofeed_{name}", "bitfinex", tmp_path / "out")
    found = frames(tmp_path / "out")
    assert found[0].startswith(first)
    for frame in found:
        msgspec.json.decode(zlib.decompress(frame, decompressed))


def test_python_bytes_that_are_none_are_kept_aside(tmp_path: Path) -> None:
    good = [rb"1617643607: b'\x00[1]'", b'1617643608: b"[\'2]"', b"1617643609: [3]"]
    bad = [b"1617643609: b'", b"1617643609: b'a'+b'c'", b"1617643609: b'\xff'", b"1617643609: b'a'.join()"]
    out = tmp_path / "out"
    assert import_cryptofeed(capture(tmp_path, [*good, *bad]), "bitfinex", out)["garbage_lines"] == len(bad)
    assert frames(out) == [b"\x00[1]", b"['2]", b"[3]"]


def test_the_files_of_one_capture_are_merged_by_time_with_a_slot_each(tmp_path: Path) -> None:
    lists, sockets, empty = tmp_path / "X.0", tmp_path / "X.ws.1.0", tmp_path / "X.ws.2.0"
    lists.write_bytes(b"https://x/list -> 1617643600.5: [1]\nconfiguration: {}\nhttps://x/book -> 1617643608.5: [2]\n")
    sockets.write_bytes(b"wss://x <-> 1617643601\n1617643608.4: [3]\n1617643608.3: [4]\n1617643609: [5]\n")
    empty.write_bytes(b"")
    out = tmp_path / "out"
    report = import_cryptofeed([lists, sockets, empty], "bitfinex", out)
    assert [(kind, conn, time // 10**8 - 16176436000) for kind, conn, time, _ in records(out)[1:]] == [
        (Kind.FETCHED, 0, 5),
        (Kind.OPENED, 1, 10),
        (Kind.FRAME, 1, 84),
        (Kind.FRAME, 1, 84),
        (Kind.FETCHED, 0, 85),
        (Kind.FRAME, 1, 90),
        (Kind.CLOSED, 1, 90),
    ]
    assert (report["garbage_lines"], report["clamped_times"], report["lines"]) == (0, 1, 7)


@pytest.mark.skipif(not SETS.exists(), reason="the shared captures are not here")
def test_a_real_capture_of_three_files_is_one_journal(tmp_path: Path) -> None:
    files = [SETS / "cryptofeed_2021-04-25" / name for name in ("KUCOIN.0", "KUCOIN.http.0.0", "KUCOIN.ws.1.0.gz")]
    out = tmp_path / "out"
    report = import_cryptofeed(files, "bitfinex", out)
    assert (report["frames"], report["fetched"], report["sent"], report["connections"]) == (4721, 10, 13, 1)
    found = records(out)
    assert {conn for kind, conn, _, _ in found if kind is Kind.FRAME} == {2}
    times = [time for _, _, time, _ in found]
    assert times == sorted(times)


def test_a_collected_snapshot_is_an_answer_with_the_address_that_was_asked(tmp_path: Path) -> None:
    lines = [
        b'1723161255000000001 {"lastUpdateId":7,"bids":[],"asks":[]}',
        b'1723161255030314667 {"stream":"btcusdt@trade","data":{"e":"trade"}}',
        b"1723161255030314668 nothing",
    ]
    out = tmp_path / "out"
    report = import_hftbacktest(capture(tmp_path, lines), "binance_usdm", out)
    assert (report["frames"], report["fetched"], report["garbage_lines"]) == (1, 1, 1)
    assert frames(out) == [b'{"stream":"btcusdt@trade","data":{"e":"trade"}}']
    (fetched,) = (payload for kind, _, _, payload in records(out) if kind is Kind.FETCHED)
    assert msgspec.json.decode(fetched, type=Fetched) == Fetched(
        request="https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=1000",
        status=200,
        body=b'{"lastUpdateId":7,"bids":[],"asks":[]}',
    )
    with pytest.raises(ImportFormatError, match="expected --exchange binance or"):
        import_hftbacktest(capture(tmp_path, lines), "kraken", tmp_path / "other")


@pytest.mark.skipif(not SETS.exists(), reason="the shared captures are not here")
@pytest.mark.parametrize(
    ("exchange", "names", "frames_in_it", "snapshots"),
    [
        ("binance_usdm", ["usdm/btcusdt_20240808.gz"], 93953, 1),
        ("binance", ["spot/btcusdt_20240808.gz", "spot/btcusdt_20240809.gz"], 41249 + 58325 - 1, 1),
        ("binance_coinm", ["cm/btcusd_perp_20240808.gz", "cm/btcusd_perp_20240809.gz"], 48270 + 50116 - 1, 1),
    ],
)
def test_collected_files_are_imported_whole(
    tmp_path: Path, exchange: str, names: list[str], frames_in_it: int, snapshots: int
) -> None:
    files = [SETS / "hftbacktest_binance" / name for name in names]
    report = import_hftbacktest(files, exchange, tmp_path / "out")
    assert (report["frames"], report["fetched"], report["connections"]) == (frames_in_it, snapshots, 1)
    assert (report["garbage_lines"], report["clamped_times"]) == (0, 0)


@pytest.mark.skipif(not SETS.exists(), reason="the shared captures are not here")
def test_the_ndjson_recording_is_imported_whole(tmp_path: Path) -> None:
    file = SETS / "gobrien_binance_usdm_2026-02-26" / "raw_1772137284.ndjson.gz"
    report = import_ndjson(file, "binance_usdm", tmp_path / "out")
    assert (report["frames"], report["fetched"], report["notes"], report["garbage_lines"]) == (368 + 923, 4, 2, 0)
    assert report["made_up_times"]
    found = records(tmp_path / "out")
    assert {time // 10**12 for _, _, time, _ in found} == {1772137}
    assert all(b'"e":' in payload for kind, _, _, payload in found if kind is Kind.FRAME)


def test_lines_of_bitstamps_log_become_frames(tmp_path: Path) -> None:
    path = tmp_path / "log.bz2"
    path.write_bytes(bz2.compress(b'1430438404518 order_created {"id": 1}\n1430438404645 trade {"id": 2}\nx\n'))
    out = tmp_path / "out"
    report = import_bitstamp_log(path, "bitfinex", out)
    assert frames(out) == [b'order_created {"id": 1}', b'trade {"id": 2}']
    assert (report["garbage_lines"], report["first_recv_ns"]) == (1, 1430438404518 * 10**6)


@pytest.mark.slow
@pytest.mark.skipif(not SETS.exists(), reason="the shared captures are not here")
def test_the_day_of_bitstamps_log_is_imported_whole(tmp_path: Path) -> None:
    file = SETS.parent / "l3" / "bitstamp_2015-05-01" / "2015-05-01.log.bz2"
    report = import_bitstamp_log(file, "bitfinex", tmp_path / "out")
    assert (report["frames"], report["garbage_lines"], report["clamped_times"]) == (276767, 0, 0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    importer=st.sampled_from([import_hftbacktest, import_ndjson, import_bitstamp_log]),
    lines=st.lists(
        st.sampled_from(
            [
                b'1723161255000000001 {"lastUpdateId":7}',
                b'1723161255030314667 {"stream":"btcusdt@trade","data":{}}',
                b'{"ts_local":1772137285.1,"symbol":"A","type":"snapshot","data":{}}',
                b'{"ts_local":1e999,"symbol":"A","type":"t","data":{}}',
                b'{"ts_local":-1,"symbol":"A","type":"t","data":{}}',
                b'1430438404518 order_created {"id": 1}',
            ]
        )
        | st.binary(max_size=40).filter(lambda line: b"\n" not in line),
        max_size=8,
    ),
)
def test_no_line_is_lost_without_a_word_by_any_importer_of_lines(
    tmp_path_factory: pytest.TempPathFactory, importer: Any, lines: list[bytes]
) -> None:
    tmp_path = tmp_path_factory.mktemp("lines")
    path = capture(tmp_path, lines)
    try:
        report = importer(path, "binance_usdm", tmp_path / "out")
    except ImportFormatError:
        assert list(tmp_path.iterdir()) == [path]
        return
    filled = sum(bool(line.rstrip(b"\r\n")) for line in path.read_bytes().split(b"\n"))
    assert report["frames"] + report["fetched"] + report["garbage_lines"] == filled
