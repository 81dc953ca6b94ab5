"""SQL over the lake, the journal and the engine's tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_controller.engine.compact import compact
from data_controller.errors import LakeError
from data_controller.lake.catalogue import Catalogue
from data_controller.lake.query import Query
from data_controller.lake.store import Store
from data_controller.lake.tables import TableWriter
from data_controller.market.rows import Kind
from tests.lake.lake_making import lake_rows, without_checkpoints


@pytest.fixture
def lake(journal: Path) -> Catalogue:
    uri = str(journal.parent / "lake")
    compact(journal, uri)
    return Catalogue(Store(uri))


def test_a_view_shows_prices_as_numbers_and_times_to_the_nanosecond(lake: Catalogue) -> None:
    sql = "SELECT seq, recv_ns, price, size, price_digits, price_scale, epoch_ns(recv_time), side FROM trades"
    answer = Query(lake).run(f"{sql} WHERE kind = 'TRADE' ORDER BY seq, part")
    rows = np.concatenate([part for key, part in lake_rows(lake).items() if key.channel == "trades"])
    rows = np.sort(rows[rows["kind"] == Kind.TRADE], order=["seq", "part"])
    assert len(answer.rows) == len(rows) > 50
    for got, row in zip(answer.rows, rows, strict=True):
        assert got[0] == row["seq"] and got[1] == got[6] == row["recv_ns"]
        assert got[2] == row["price"] / 10.0 ** row["price_scale"]
        assert got[3] == row["size"] / 10.0 ** row["size_scale"]
        assert (got[4], got[5], got[7]) == (row["price"], row["price_scale"], row["side"])


def test_what_no_commit_lists_is_not_seen(lake: Catalogue) -> None:
    count = "SELECT count(*) FROM book"
    before = Query(lake).run(count).rows
    file = lake.files(channel="book")[0]
    lake.store.put(file.path.replace("part-", "part-9"), lake.store.read(file.path))
    assert Query(Catalogue(lake.store)).run(count).rows == before


def test_partitions_are_columns_and_books_can_be_told_apart(lake: Catalogue) -> None:
    sql = "SELECT exchange, instrument, date::VARCHAR, precision, count(*) FROM book WHERE flags & 4 = 0 GROUP BY ALL"
    answer = {tuple(row[:4]): row[4] for row in Query(lake).run(sql).rows}
    expected = {
        (key.exchange, key.instrument, key.date, key.precision): len(without_checkpoints(part))
        for key, part in lake_rows(lake).items()
        if key.channel == "book"
    }
    assert answer == expected


def test_a_side_table_has_its_own_columns_and_its_control_rows_apart(lake: Catalogue) -> None:
    rows = Query(lake).run("SELECT instrument, bid, ask, recv_time FROM ticker")
    assert rows.columns == ["instrument", "bid", "ask", "recv_time"]
    assert all(bid < ask for _, bid, ask, _ in rows.rows) and rows.rows
    assert Query(lake).run("SELECT DISTINCT kind FROM ticker_events").rows


def test_records_of_the_journal_and_tables_of_the_engine_can_be_asked_too(journal: Path, tmp_path: Path) -> None:
    writer = TableWriter(tmp_path, "audit")
    writer.append(np.array([(5, 10**18, 0.25)], [("seq", "<i8"), ("now_ns", "<i8"), ("p", "<f8")]))
    writer.close()
    query = Query(None, journal, tmp_path)
    assert query.names() == ["audit", "decisions", "records"]
    assert query.run("SELECT p, epoch_ns(now_time) FROM decisions").rows == [(0.25, 10**18)]
    kinds = dict(query.run("SELECT kind, count(*) FROM records GROUP BY 1").rows)
    assert kinds["START"] == 1 and kinds["FRAME"] > 1000


def test_only_tables_that_a_query_reads_are_loaded(
    lake: Catalogue, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provided: list[str] = []
    provide = Query._provide
    monkeypatch.setattr(Query, "_provide", lambda self, name: (provided.append(name), provide(self, name))[1])
    query = Query(lake, journal)
    assert query.run("SELECT 'records of trades' AS gaps, count(*) FROM Book").rows[0][0] == "records of trades"
    assert query.run("WITH records AS (SELECT 1 AS a) SELECT a FROM records").rows == [(1,)]
    assert provided == ["book"]
    both = "SELECT (SELECT count(*) FROM records) = (SELECT count(*) FROM records r WHERE r.seq >= 0)"
    assert query.run(both).rows == [(True,)]
    assert query.run("SELECT count(*) > 1000 FROM records").rows == [(True,)]


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT * FROM nothing", "SELECT nothing FROM trades"])
def test_sql_that_is_wrong_is_told_in_one_line_with_what_there_is(lake: Catalogue, sql: str) -> None:
    with pytest.raises(LakeError, match="tables here: book, control, gaps, ticker, ticker_events, trades") as error:
        Query(lake).run(sql)
    assert "\n" not in str(error.value)


def test_a_day_of_one_instrument_is_answered(lake: Catalogue) -> None:
    day = lake.files(channel="book")[0].date
    sql = "SELECT count(*), min(price), max(price) FROM book WHERE exchange = 'bitfinex' AND instrument = 'tBTCUSD'"
    assert Query(lake).run(f"{sql} AND date = '{day}' AND kind = 'SET'").rows[0][0] > 100
