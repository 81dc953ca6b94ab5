"""Backfills against a fake venue on loopback: complete, exact, resumable, never twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_controller.errors import ConfigError, LakeError, RestError, RestRefused
from data_controller.exchanges.rest_limits import RestLimits
from data_controller.lake.backfill_sink import BackfillSink, Series, merged, without
from data_controller.lake.catalogue import Catalogue
from data_controller.lake.layout import DAY_NS
from data_controller.lake.store import Store
from data_controller.lake.writer import sweep
from data_controller.reference import backfill as driver
from data_controller.reference.backfill import Job, backfill, planned
from data_controller.reference.history import Page, Row, candle, decimal, table_of, trade, width_ns
from data_controller.reference.native import NATIVE, Binance, Bitfinex, Kraken
from tests.ingest.web import HandTime, answer, client

from .venue import MINUTE_MS, T0_MS, FakeVenue

MS = 1_000_000
T0 = T0_MS * MS
WIDE = RestLimits(1_000_000, 1.0)
SYMBOLS = {"bitfinex": "tBTCUSD", "binance": "BTCUSDT", "kraken": "BTC/USD"}


@pytest.fixture(autouse=True)
def pages_of_fifty(monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (Bitfinex, Binance, Kraken):
        monkeypatch.setattr(source, "LIMIT", 50)
    monkeypatch.setattr(Bitfinex, "TICKERS", 50)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def job(venue: str, what: Any, begin: int, end: int) -> Job:
    """Milliseconds from midnight on."""
    return Job(venue, SYMBOLS[venue], what, T0 + begin * MS, T0 + end * MS, "1m" if what == "candles" else "")


async def fill(fake: FakeVenue, lake: Path, wanted: Job) -> dict[str, Any]:
    time = HandTime()
    async with client(time, WIDE) as rest:
        rest._default = WIDE
        source = NATIVE[wanted.exchange](rest, wanted.exchange, wanted.instrument, wanted.what, wanted.width, fake.url)
        return await backfill(wanted, source, BackfillSink(lake))


def rows(lake: Path) -> list[Row]:
    """Every row in the lake, as its files hold them, in the order of their paths; commits are checked."""
    found: list[Row] = []
    committed = {}
    for path in sorted((lake / "_commits").glob("*.json")):
        for entry in json.loads(path.read_bytes())["files"]:
            committed[entry["path"]] = entry
    files = sorted(lake.glob("exchange=*/**/*.parquet"))
    assert [f.relative_to(lake).as_posix() for f in files] == sorted(committed)
    for file in files:
        entry, content = committed[file.relative_to(lake).as_posix()], file.read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        part = pq.ParquetFile(file).read().to_pylist()
        assert entry["rows"] == len(part) > 0
        time = "open_ns" if "open_ns" in part[0] else "exch_ns"
        assert (entry["first_key"], entry["last_key"]) == (part[0][time], part[-1][time])
        day = {row[time] // DAY_NS for row in part}
        assert len(day) == 1 and [row[time] for row in part] == sorted(row[time] for row in part)
        found += part
    return found


def expected(fake: FakeVenue, what: str, begin: int, end: int) -> list[Any]:
    if what == "candles":
        return [(ms * MS, *map(Decimal, rest)) for ms, *rest in fake.candles if begin <= ms - T0_MS < end]
    return [
        (t.ms * MS, str(t.id), 1 if t.buy else -1, Decimal(t.price), Decimal(t.size))
        for t in fake.trades
        if begin <= t.ms - T0_MS < end
    ]


def plain(what: str, found: list[Row]) -> list[Any]:
    if what == "candles":
        return [tuple(row[k] for k in ("open_ns", "open", "high", "low", "close", "volume")) for row in found]
    return [tuple(row[k] for k in ("exch_ns", "id", "side", "price", "size")) for row in found]


@pytest.mark.parametrize("venue", SYMBOLS)
@pytest.mark.parametrize("what", ["candles", "trades"])
def test_history_arrives_exact_and_whole_page_by_page(tmp_path: Path, venue: str, what: str) -> None:
    async def main() -> None:
        async with FakeVenue(minutes=300, n_trades=400) as fake:
            begin, end = 10 * MINUTE_MS, 200 * MINUTE_MS
            if venue == "kraken" and what == "candles":
                fake.page = 10_000
            done = await fill(fake, tmp_path, job(venue, what, begin, end))
            assert plain(what, rows(tmp_path)) == expected(fake, what, begin, end) != []
            assert done["rows"] == len(expected(fake, what, begin, end))

    run(main())


def test_tickers_of_bitfinex_are_walked_from_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeVenue(n_trades=600) as fake:
            await fill(fake, tmp_path, job("bitfinex", "tickers", 0, 200 * MINUTE_MS))
            times = [row["exch_ns"] for row in rows(tmp_path)]
            assert times == [t.ms * MS for t in fake.trades[::3]]

    run(main())


def test_a_second_run_asks_nothing_and_a_wider_one_only_what_is_missing(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeVenue(minutes=300) as fake:
            await fill(fake, tmp_path, job("binance", "candles", 100 * MINUTE_MS, 150 * MINUTE_MS))
            fake.asked.clear()
            again = await fill(fake, tmp_path, job("binance", "candles", 100 * MINUTE_MS, 150 * MINUTE_MS))
            assert (fake.asked, again["rows"], again["already_there_ns"]) == ([], 0, 50 * MINUTE_MS * MS)
            wider = await fill(fake, tmp_path, job("binance", "candles", 50 * MINUTE_MS, 250 * MINUTE_MS))
            assert wider["rows"] == len(expected(fake, "candles", 50 * MINUTE_MS, 250 * MINUTE_MS)) - 43
            whole = expected(fake, "candles", 50 * MINUTE_MS, 250 * MINUTE_MS)
            assert sorted(plain("candles", rows(tmp_path))) == whole

    run(main())


def test_days_lie_in_partitions_of_their_own_and_empty_ones_are_not_asked_for_twice(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeVenue(minutes=1500) as fake:
            four_days = job("bitfinex", "candles", -86_400_000, 3 * 86_400_000)
            await fill(fake, tmp_path, four_days)
            folders = sorted(
                {p.parent.relative_to(tmp_path).as_posix() for p in tmp_path.glob("exchange=*/**/*.parquet")}
            )
            assert folders == [
                f"exchange=bitfinex/channel=history_candles/instrument=tBTCUSD/date=2023-11-{day}" for day in (14, 15)
            ]
            fake.asked.clear()
            await fill(fake, tmp_path, four_days)
            assert fake.asked == []

    run(main())


def test_limits_and_failures_of_the_venue_cost_time_and_no_row(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeVenue(n_trades=300) as fake:
            trouble = iter(
                [
                    answer(b"", "429 Slow down", Retry_After="3"),
                    None,
                    answer(b"", "503 Busy"),
                    b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[[1,",
                    None,
                    answer(b"", "418 Banned", Retry_After="60"),
                ]
            )
            fake.before = lambda path: next(trouble, None)
            await fill(fake, tmp_path, job("binance", "trades", 0, 20 * MINUTE_MS))
            assert plain("trades", rows(tmp_path)) == expected(fake, "trades", 0, 20 * MINUTE_MS)

    run(main())


def test_what_was_committed_before_an_error_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "FLUSH_ROWS", 60)

    async def main() -> None:
        async with FakeVenue(n_trades=300) as fake:
            wanted = job("binance", "trades", 0, 20 * MINUTE_MS)
            fake.before = lambda path: answer(b"gone", "410 Gone") if "fromId=1200" in path else None
            with pytest.raises(RestRefused, match="410"):
                await fill(fake, tmp_path, wanted)
            kept = len(rows(tmp_path))
            assert 60 <= kept < 200
            fake.before = lambda path: None
            done = await fill(fake, tmp_path, wanted)
            assert plain("trades", rows(tmp_path)) == expected(fake, "trades", 0, 20 * MINUTE_MS)
            assert done["rows"] == 300 - kept

    run(main())


@pytest.mark.parametrize(
    ("venue", "what", "said"),
    [
        ("bitfinex", "candles", b'["error",10020,"symbol: invalid"]'),
        ("bitfinex", "candles", b"[[1,2]]"),
        ("bitfinex", "candles", b"not json"),
        ("bitfinex", "candles", b'[[1700006400000,1,2,3,"NaN",5]]'),
        ("bitfinex", "candles", b"[[1700006400000,10,2,3,1,5]]"),
        ("bitfinex", "trades", b'[["a",1,1,1]]'),
        ("bitfinex", "trades", b"[[1,1.5,1,1]]"),
        ("binance", "trades", b'[{"a":1}]'),
        ("binance", "trades", b'{"code":-1121}'),
        ("binance", "candles", b"[[]]"),
        ("kraken", "trades", b'{"error":["EQuery:Unknown asset pair"]}'),
        ("kraken", "trades", b'{"error":[],"result":{"last":"1"}}'),
        ("kraken", "trades", b"[]"),
    ],
)
def test_an_answer_outside_the_protocol_ends_the_job_and_writes_nothing(
    tmp_path: Path, venue: str, what: str, said: bytes
) -> None:
    async def main() -> None:
        async with FakeVenue() as fake:
            fake.before = lambda path: answer(said)
            with pytest.raises(RestError):
                await fill(fake, tmp_path, job(venue, what, 0, 20 * MINUTE_MS))
            assert rows(tmp_path) == []

    run(main())


@pytest.mark.parametrize("venue", SYMBOLS)
def test_a_moment_with_more_trades_than_a_page_is_an_error_or_walked_by_id_never_an_endless_loop(
    tmp_path: Path, venue: str
) -> None:
    async def main() -> None:
        async with FakeVenue(n_trades=120) as fake:
            fake.trades = [t._replace(ms=T0_MS + 5000) for t in fake.trades]
            wanted = job(venue, "trades", 5000, 20 * MINUTE_MS)
            if venue == "binance":
                await fill(fake, tmp_path, wanted)
                assert len(rows(tmp_path)) == 120
            else:
                with pytest.raises(RestRefused, match="at one moment"):
                    await fill(fake, tmp_path, wanted)

    run(main())


@pytest.mark.parametrize("fault", ["newest", "hole", "hole at the seam"])
def test_trades_by_id_that_do_not_follow_each_other_end_the_job_and_write_nothing(tmp_path: Path, fault: str) -> None:
    async def main() -> None:
        async with FakeVenue(n_trades=300) as fake:
            if fault == "newest":  # as a venue that knows no `fromId`
                newest = [{"a": t.id, "T": t.ms, "p": t.price, "q": t.size, "m": not t.buy} for t in fake.trades[-50:]]
                fake.before = lambda path: answer(json.dumps(newest).encode()) if "fromId" in path else None
            else:
                del fake.trades[120 if fault == "hole" else 100]
            with pytest.raises(RestRefused, match=r"expected trade 1\d+ of BTCUSDT from binance next, was 1\d+"):
                await fill(fake, tmp_path, job("binance", "trades", 0, 10 * MINUTE_MS))
            assert rows(tmp_path) == []

    run(main())


def test_kraken_says_that_it_no_longer_has_old_candles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kraken, "KEPT", 100)

    async def main() -> None:
        async with FakeVenue(minutes=300) as fake:
            with pytest.raises(RestRefused, match="keeps the last 100"):
                await fill(fake, tmp_path, job("kraken", "candles", -60 * MINUTE_MS, 100 * MINUTE_MS))

    run(main())


class Scripted:
    """A source with pages by hand."""

    name = "test"

    def __init__(self, *pages: Page) -> None:
        self.given = pages

    async def pages(self, from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        for page in self.given:
            yield page


def tick(ms: int, ref: int, price: str = "1") -> Row:
    return {"exch_ns": T0 + ms * MS, "id": str(ref), "side": 1, "price": Decimal(price), "size": Decimal(1)}


def test_overlapping_pages_keep_one_row_of_each_and_contradicting_ones_are_refused(tmp_path: Path) -> None:
    wanted = job("binance", "trades", 0, 1000)
    pages = (
        Page([tick(1, 1), tick(2, 2)], T0 + 2 * MS),
        Page([tick(2, 2), tick(2, 3), tick(-5, 0), tick(1000, 9)], T0 + 1000 * MS),
    )
    done = asyncio.run(backfill(wanted, Scripted(*pages), BackfillSink(tmp_path)))
    assert [row["id"] for row in rows(tmp_path)] == ["1", "2", "3"]
    assert (done["duplicates"], done["outside"]) == (1, 2)
    other = wanted._replace(from_ns=T0 + 1000 * MS, to_ns=T0 + 2000 * MS)
    lying = Scripted(Page([tick(1001, 4), tick(1001, 4, "2")], other.to_ns))
    with pytest.raises(RestRefused, match="one row of trades for each key"):
        asyncio.run(backfill(other, lying, BackfillSink(tmp_path)))
    with pytest.raises(RestRefused, match="in order of time"):
        asyncio.run(backfill(other, Scripted(Page([], T0)), BackfillSink(tmp_path)))
    with pytest.raises(RestRefused, match="none behind"):
        asyncio.run(backfill(other, Scripted(), BackfillSink(tmp_path)))


def test_a_file_that_a_crash_left_without_its_commit_gets_one_and_is_not_fetched_again(tmp_path: Path) -> None:
    wanted = job("binance", "trades", 0, 1000)
    sink, series = BackfillSink(tmp_path), wanted.series
    sink.write(series, table_of("trades", [tick(1, 1)]), "exch_ns", (wanted.from_ns, wanted.to_ns), {"from": "test"})
    (commit,) = (tmp_path / "_commits").glob("*.json")
    before = json.loads(commit.read_bytes())
    commit.rename(commit.with_name(commit.name + ".tmp"))  # killed while it was written
    assert sink.covered(series) == []
    done = asyncio.run(backfill(wanted, Scripted(), BackfillSink(tmp_path)))
    assert list((tmp_path / "_commits").glob("*.tmp")) == []
    assert done["recovered"] == 1 and json.loads(commit.read_bytes()) == before


def test_only_one_backfill_of_a_series_runs_at_a_time(tmp_path: Path) -> None:
    sink, series = BackfillSink(tmp_path), Series("binance", "history_trades", "BTCUSDT")
    with sink.only_writer(series), pytest.raises(LakeError, match="only backfill"), sink.only_writer(series):
        pass
    with sink.only_writer(series):
        pass


def test_damage_is_named_and_a_span_over_midnight_is_refused(tmp_path: Path) -> None:
    sink, series = BackfillSink(tmp_path), Series("a/b", "history_trades", "BTC/USDT:USDT")
    with pytest.raises(ValueError, match="within one day"):
        sink.write(series, table_of("trades", []), "exch_ns", (T0 - 1, T0 + 1), {})
    sink.write(series, table_of("trades", [tick(1, 1)]), "exch_ns", (T0, T0 + DAY_NS), {})
    assert sink.covered(series) == [(T0, T0 + DAY_NS)]
    (commit,) = (tmp_path / "_commits").glob("*.json")
    commit.write_text("{")
    with pytest.raises(LakeError, match="damage in"):
        sink.covered(series)
    commit.unlink()
    (file,) = tmp_path.glob("exchange=*/**/*.parquet")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(LakeError, match="without a commit"):
        sink.recover(series)


def test_only_what_can_be_final_is_asked_for() -> None:
    now = T0 + 100 * MINUTE_MS * MS + 5
    wanted = job("binance", "candles", 0, 200 * MINUTE_MS)
    assert planned(wanted, now).to_ns == T0 + 99 * MINUTE_MS * MS + 1
    assert planned(wanted._replace(what="trades"), now).to_ns == now - 60 * 10**9
    for bad in (wanted._replace(to_ns=T0), wanted._replace(from_ns=now), wanted._replace(from_ns=-1)):
        with pytest.raises(ConfigError, match="expected --from"):
            planned(bad, now)
    for width in ("1", "m", "0m", "1M", "-1m", ""):
        with pytest.raises(ConfigError, match="candle width"):
            width_ns(width)


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda s: (s[0], s[0] + s[1])), max_size=8)


@given(spans, st.tuples(st.integers(0, 40), st.integers(1, 40)).map(lambda s: (s[0], s[0] + s[1])))
def test_what_is_missing_is_the_wanted_without_the_covered(covered: list[Any], wanted: tuple[int, int]) -> None:
    have = {n for a, b in covered for n in range(a, b)}
    left = without(wanted, merged(covered))
    assert {n for a, b in left for n in range(a, b)} == set(range(*wanted)) - have
    assert left == merged(left)


def test_a_kill_9_in_the_middle_costs_nothing_but_time(tmp_path: Path) -> None:
    """The command itself, killed while it waits for a page, then run again."""
    lake = tmp_path / "lake"
    command = [sys.executable, "-c", _SMALL_FLUSHES, "backfill", "binance", "BTC/USDT", "--what", "trades", "--json"]
    command += ["--from", "2023-11-14T00:00Z", "--to", "2023-11-15T06:00Z", "--lake", str(lake)]

    async def main() -> None:
        async with FakeVenue(n_trades=20_000, page=1000) as fake:
            fake.trades = [t._replace(ms=T0_MS + (t.id - 1000) // 3 * 15_000) for t in fake.trades]
            process: Any = None

            def kill(path: str) -> None:
                if process is not None and "fromId=11000" in path:
                    process.send_signal(signal.SIGKILL)

            fake.before = kill
            process = await asyncio.create_subprocess_exec(*command, "--url", fake.url, env=_environment())
            assert await process.wait() == -signal.SIGKILL
            before = len(rows_but_last(lake))
            assert 0 < before < 20_000
            process = None
            pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
            terminal = {**_environment(), "FORCE_COLOR": "1", "COLUMNS": "200"}
            again = await asyncio.create_subprocess_exec(*command, "--url", fake.url, env=terminal, **pipes)
            out, shown = await again.communicate()
            assert again.returncode == 0, shown
            assert b"rows" in shown and b"ETA" in shown
            assert json.loads(out)["rows"] <= 20_000 - before
            assert plain("trades", rows(lake)) == expected(fake, "trades", 0, 30 * 3_600_000)

    run(main())


def rows_but_last(lake: Path) -> list[Any]:
    return [row for file in lake.glob("exchange=*/**/*.parquet") for row in pq.ParquetFile(file).read().to_pylist()]


_SMALL_FLUSHES = """
import sys
from data_controller.reference import backfill
backfill.FLUSH_ROWS = 2500
from data_controller.cli import main
sys.exit(main())
"""


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_the_lakes_own_readers_see_what_was_backfilled(tmp_path: Path) -> None:
    sink, series = BackfillSink(tmp_path), Series("okx", "history_trades", "BTC/USDT:USDT")
    sink.write(series, table_of("trades", [tick(1, 1), tick(2, 2)]), "exch_ns", (T0, T0 + DAY_NS), {"from": "test"})
    catalogue = Catalogue(Store(str(tmp_path)))
    (file,) = catalogue.files(channel="history_trades", exchange="okx")
    assert (file.instrument, file.date, file.rows) == ("BTC/USDT:USDT", "2023-11-14", 2)
    assert catalogue.table(file).column("id").to_pylist() == ["1", "2"]
    assert sweep(catalogue.store, catalogue) == []
    assert sink.covered(series) == [(T0, T0 + DAY_NS)]


@pytest.mark.parametrize(
    "text",
    [
        "12345678901.5",
        "-10000000000",
        "1e19",
        "99999999999999999999.999999999999999999",
        "0.1000000000000000000000000000000000000000",
        "12345678901.50000000000000000000",
        "0E-40",
        "1E-18",
    ],
)
def test_any_number_that_the_lake_holds_is_taken_exactly(text: str) -> None:
    assert decimal(text) == Decimal(text)
    candles = candle(0, "1m", dict.fromkeys(("open", "high", "low", "close"), 1) | {"volume": text.removeprefix("-")})
    made = table_of("candles", [candles])
    assert made.column("volume").to_pylist() == [Decimal(text.removeprefix("-"))]
    if Decimal(text):
        made = table_of("trades", [trade(0, 1, 1, "1", "-" + text.removeprefix("-"))])
        assert made.column("size").to_pylist() == [Decimal(text.removeprefix("-"))]


@pytest.mark.parametrize(
    "text", ["1e20", "1E-19", "12345678901.0000000000000000001", "1E-999", "NaN", "-Infinity", "x"]
)
def test_a_number_that_the_lake_does_not_hold_is_refused(text: str) -> None:
    with pytest.raises(RestRefused, match="expected a number"):
        decimal(text)


def test_a_lake_of_numbers_is_exact(tmp_path: Path) -> None:
    made = table_of("trades", [tick(1, 1, "0.000000000000000001"), tick(2, 2, "99999999999999999999")])
    assert made.schema.field("price").type == pa.decimal128(38, 18)
    assert [str(v) for v in made.column("price").to_pylist()] == ["1E-18", "99999999999999999999.000000000000000000"]
