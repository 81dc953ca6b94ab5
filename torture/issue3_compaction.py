"""kill -9 of a compactor at random moments, again and again: lake and journal agree when one is let end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

from data_controller.engine.verify_lake import verify_lake
from data_controller.lake.catalogue import Catalogue
from data_controller.lake.layout import PART
from data_controller.lake.store import Store
from data_controller.records import Batch
from tests.lake.lake_making import lake_rows, recorded, straight, write_journal
from tests.pipeline.recording import eager_bundle

ROUNDS = 100
MAX_KILLS = 3
ROOT = Path(__file__).parents[1]

_CHILD = """
import sys
from pathlib import Path
from data_controller.engine.compact import Compactor
from data_controller.lake.settings import LakeSettings
from data_controller.lake.store import Store
journal, uri, commit_bytes, budget = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
print("begins", flush=True)
settings = LakeSettings(journal_disk_budget_bytes=budget)
with Compactor(journal, Store(uri), settings, commit_bytes=commit_bytes) as compactor:
    compactor.run()
    compactor.retain()
"""


@cache
def night() -> Batch:
    """Records that cross midnight, made once a process."""
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        return recorded(eager_bundle(Path(folder) / "eager"))


def attempt(seed: int) -> dict[str, Any]:
    """Kills one compactor after another until one comes through, or lets it after MAX_KILLS; then looks."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="compaction-") as folder:
        state = Path(folder)
        n = len(night().recv_ns)
        write_journal(state / "journal", night(), draw.sample(range(1, n), draw.randint(3, 40)))
        expected = {key: rows.tobytes() for key, rows in straight(state / "journal").rows().items() if len(rows)}
        budget = draw.choice((0, 1, 50_000))  # retention too may be killed anywhere
        kills, killed_after = _compact(state, draw, budget)
        store = Store(str(state / "lake"))
        catalogue = Catalogue(store)
        found = {key: rows.tobytes() for key, rows in lake_rows(catalogue).items()}
        assert found == expected, "the lake differs from a straight decode"
        listed = {file.path for file in catalogue.all_files()}
        orphans = [name for name in store.names() if PART.fullmatch(name.rpartition("/")[2]) and name not in listed]
        assert orphans == [], "files are left that no commit lists"
        result = verify_lake(store.uri)
        assert result["ok"], result["doubts"]
        compared, expired = result["segments_compared"], result["segments_expired"]
        return {"kills": kills, "killed_after_ms": killed_after, "segments_compared": compared, "expired": expired}


def _compact(state: Path, draw: random.Random, budget: int) -> tuple[int, list[int]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    killed_after: list[int] = []
    took_s = 0.5
    while True:
        arguments = [str(state / "journal"), str(state / "lake"), str(draw.choice((1, 1 << 14))), str(budget)]
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD, *arguments], stdout=subprocess.PIPE, env=environment
        )
        assert process.stdout is not None
        with process.stdout as said:
            assert said.readline() == b"begins\n"
            began = time.monotonic()
            if len(killed_after) < MAX_KILLS:
                try:
                    process.wait(draw.uniform(0.0, took_s))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
            code = process.wait()
        if code == 0:
            return len(killed_after), killed_after
        assert code == -signal.SIGKILL, f"the compactor ended with {code}"
        killed_after.append(round((time.monotonic() - began) * 1000))
