"""One pass of the compactor as a process: `python -m data_controller.engine.compact_process STATE SETTINGS`."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from data_controller.engine.compact import compact, lake_uri
from data_controller.engine.compact_keeper import NOTE
from data_controller.errors import DataControllerError
from data_controller.lake.settings import LakeSettings


def main(state_dir: Path, settings: LakeSettings) -> int:
    """Compact what waits, out of everybody's way; the exit code says whether it worked, stderr what it met."""
    with contextlib.suppress(OSError):
        os.nice(settings.compact_nice)
    try:
        result = compact(state_dir / "journal", lake_uri(state_dir, settings), settings, state_dir / "tables")
    except DataControllerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for note in result["notes"]:
        sys.stderr.write(f"{NOTE}{' '.join(note.split())}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), LakeSettings.model_validate_json(sys.argv[2])))
