"""Makes the golden journal of the current version; run once when a version is new, never again for an old one.

PYTHONPATH=src python -m tests.journal.golden.make
"""

from __future__ import annotations

import platform
from pathlib import Path

from data_controller.records import SCHEMA_VERSION
from tests.journal.journal_making import ROWS, write

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    platform.platform = lambda *_args, **_kwargs: "golden"
    directory = HERE / f"v{SCHEMA_VERSION}"
    directory.mkdir()
    write(directory, [ROWS[:3], ROWS[3:4], ROWS[4:8], ROWS[8:]])
    (directory / "lock").unlink()
