"""Compaction: events a second on one core, Parquet bytes an event by column, and a query of a day of one instrument.

The journal is the one of `benchmarks.replay` (100 instruments, kept under build/); its copy is compacted in a process
of its own on one core. What the lake then holds of one instrument is repeated until it fills a day, in a commit an
hour as a live compactor makes them, and that day is asked in processes that have asked nothing before.
Run: python -m benchmarks compaction (REPLAY_FRAMES=300000 for a small one)
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._cores import cores, set_affinity
from benchmarks.replay import environment, journal

ROUNDS = 3
DAY_ROWS = 5_000_000
"""Rows of a book in a day: 58 a second; Bitfinex's BTC/USD has about 20, Binance's BTC/USDT 200."""
SQL = """
SELECT date_trunc('minute', recv_time) AS minute, count(*) AS changes, avg(size) AS size
FROM book WHERE exchange = 'bitfinex' AND instrument = '{instrument}' AND kind = 'SET' AND date = '{date}'
GROUP BY 1 ORDER BY 1
"""


def child(*arguments: str) -> dict[str, Any]:
    """What this module, run as a program, prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks.compaction", *arguments],
        check=True,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def compacted(folder: str, lake: str) -> dict[str, Any]:
    """One compaction of all of a journal into an empty lake, kernels loaded beforehand."""
    from data_controller.engine.compact import Compactor
    from data_controller.engine.summary import peak_rss_mb
    from data_controller.engine.warm_up import warm_up
    from data_controller.lake.store import Store

    warm_up()
    started, began = time.process_time(), time.perf_counter()
    with Compactor(Path(folder), Store(lake)) as compactor:
        segments = compactor.run()
    cpu_s, seconds = time.process_time() - started, time.perf_counter() - began
    return {
        "segments": segments,
        "events": compactor.events,
        "seconds": round(seconds, 3),
        "events_per_s": round(compactor.events / seconds),
        "events_per_cpu_s": round(compactor.events / cpu_s),
        "peak_rss_mb": peak_rss_mb(),
    }


def split(lake: str) -> dict[str, Any]:
    """Compressed bytes an event, by channel and by column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from data_controller.lake.catalogue import Catalogue
    from data_controller.lake.store import Store

    catalogue = Catalogue(Store(lake))
    found: dict[str, Any] = {}
    for channel in ("book", "trades"):
        files = catalogue.files(channel=channel, events=True)
        rows = sum(file.rows for file in files)
        columns: dict[str, int] = {}
        for file in files:
            metadata = pq.ParquetFile(pa.BufferReader(catalogue.store.read(file.path))).metadata
            for group in range(metadata.num_row_groups):
                for at in range(metadata.num_columns):
                    column = metadata.row_group(group).column(at)
                    name = column.path_in_schema
                    columns[name] = columns.get(name, 0) + column.total_compressed_size
        found[channel] = {
            "rows": rows,
            "bytes_per_event": round(sum(file.bytes for file in files) / rows, 2),
            "by_column": {name: round(n / rows, 2) for name, n in sorted(columns.items(), key=lambda item: -item[1])},
        }
    return found


def whole_day(lake: str, target: str) -> dict[str, Any]:
    """A lake of one day of one instrument, made of what `lake` holds of the one with the most rows."""
    import numpy as np

    from data_controller.lake.catalogue import Catalogue, Source, commit_name
    from data_controller.lake.layout import DAY_NS, Key
    from data_controller.lake.store import Store
    from data_controller.lake.writer import Draft

    catalogue, store = Catalogue(Store(lake)), Store(target)
    held: dict[str, int] = {}
    for file in catalogue.files(channel="book"):
        held[file.instrument] = held.get(file.instrument, 0) + file.rows
    instrument = max(held, key=lambda name: held[name])
    files = catalogue.files(channel="book", instrument=instrument)
    own = np.concatenate([catalogue.events(file).view("V64") for file in files])
    first = files[0]
    key = Key(first.exchange, "book", instrument, first.date, first.precision, first.frequency, first.length, first.row)
    day_ns, hour_rows = first.first_recv_ns // DAY_NS * DAY_NS, DAY_ROWS // 24
    for hour in range(24):
        at = np.arange(hour * hour_rows, (hour + 1) * hour_rows)
        rows = own[at % len(own)].view(catalogue.events(first).dtype)
        rows["seq"], rows["recv_ns"] = first.first_seq + at, day_ns + at * (DAY_NS // DAY_ROWS)
        draft = Draft(store)
        draft.events(key, rows)
        draft.finish()
        draft.commit(commit_name(first.first_seq >> 40, hour), Source(kind="benchmark"), "")
    return {"instrument": instrument, "date": first.date, "rows": 24 * hour_rows}


def queried(lake: str, instrument: str, date: str) -> dict[str, Any]:
    """One query, in a process that has asked nothing before."""
    from data_controller.lake.catalogue import Catalogue
    from data_controller.lake.query import Query
    from data_controller.lake.store import Store

    began = time.perf_counter()
    answer = Query(Catalogue(Store(lake))).run(SQL.format(instrument=instrument, date=date))
    return {"seconds": round(time.perf_counter() - began, 3), "minutes": len(answer.rows)}


def measure() -> dict[str, Any]:
    """Median of several compactions and queries; the split of the last lake."""
    with tempfile.TemporaryDirectory(prefix="compaction-") as scratch:
        folder, rounds = Path(scratch), []
        for number in range(ROUNDS):
            shutil.copytree(journal(), folder / f"journal-{number}", ignore=shutil.ignore_patterns("compaction"))
            lake = str(folder / f"lake-{number}")
            rounds.append(child("compacted", str(folder / f"journal-{number}"), lake))
        by_column = child("split", lake)
        day = child("whole_day", lake, str(folder / "day"))
        queries = [child("queried", str(folder / "day"), day["instrument"], day["date"]) for _ in range(ROUNDS)]
    rate = median(each["events_per_s"] for each in rounds)
    return {
        "rounds": rounds,
        "split": by_column,
        "day": day,
        "queries": queries,
        "targets": [
            {
                "what": "compaction, one core",
                "target": 500_000,
                "measured": rate,
                "unit": "events/s",
                "better": "more",
            },
            {
                "what": "Parquet, a book event",
                "target": 16,
                "measured": by_column["book"]["bytes_per_event"],
                "unit": "bytes",
                "better": "less",
            },
            {
                "what": f"query of a day of one instrument, {day['rows']:,} rows",
                "target": 1.0,
                "measured": median(each["seconds"] for each in queries),
                "unit": "s",
                "better": "less",
            },
        ],
    }


if __name__ == "__main__":
    if cores():
        set_affinity(0, [cores()[-1]])
    stages = {"compacted": compacted, "split": split, "whole_day": whole_day, "queried": queried}
    print(json.dumps(stages[sys.argv[1]](*sys.argv[2:])))
