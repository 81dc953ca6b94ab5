"""Compaction: events a second on one core, Parquet bytes an event by column, and a query of a day of one instrument.

The journal is the one of `benchmarks.replay` (100 instruments, kept under build/); its copy is compacted in a process
of its own on one core, and the lake that comes out is asked in others. Run: python -m benchmarks compaction
(REPLAY_FRAMES=300000 for a small one)
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


def queried(lake: str) -> dict[str, Any]:
    """One query of the day and instrument with the most rows, in a process that has asked nothing before."""
    from data_controller.lake.catalogue import Catalogue
    from data_controller.lake.query import Query
    from data_controller.lake.store import Store

    began = time.perf_counter()
    catalogue = Catalogue(Store(lake))
    days: dict[tuple[str, str], int] = {}
    for file in catalogue.files(channel="book"):
        days[file.instrument, file.date] = days.get((file.instrument, file.date), 0) + file.rows
    instrument, date = max(days, key=lambda day: days[day])
    answer = Query(catalogue).run(SQL.format(instrument=instrument, date=date))
    return {
        "seconds": round(time.perf_counter() - began, 3),
        "rows_read": days[instrument, date],
        "rows": len(answer.rows),
    }


def measure() -> dict[str, Any]:
    """Median of several compactions and queries; the split of the last lake."""
    with tempfile.TemporaryDirectory(prefix="compaction-") as scratch:
        folder, rounds = Path(scratch), []
        for number in range(ROUNDS):
            shutil.copytree(journal(), folder / f"journal-{number}", ignore=shutil.ignore_patterns("compaction"))
            lake = str(folder / f"lake-{number}")
            rounds.append(child("compacted", str(folder / f"journal-{number}"), lake))
        by_column = child("split", lake)
        queries = [child("queried", lake) for _ in range(ROUNDS)]
    rate = median(each["events_per_s"] for each in rounds)
    return {
        "rounds": rounds,
        "split": by_column,
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
                "what": "query of a day of one instrument",
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
    stages = {"compacted": compacted, "split": split, "queried": queried}
    print(json.dumps(stages[sys.argv[1]](*sys.argv[2:])))
