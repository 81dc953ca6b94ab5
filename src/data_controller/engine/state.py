"""What an engine knows at its next start besides the journal: positions and risk figures, saved atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from data_controller.errors import ConfigError

NAME = "trader.json"


def save_state(state_dir: Path, trader: dict[str, Any]) -> None:
    """Write the trader's dump durably: a crash leaves the old file or the new one."""
    path = state_dir / NAME
    fresh = path.with_suffix(".tmp")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(trader, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def load_state(state_dir: Path) -> dict[str, Any]:
    """The trader's dump, empty where there was none yet; ConfigError where the file is damaged."""
    path = state_dir / NAME
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"expected saved positions in {path}, was unreadable: {error}; restore it, or move it away to start flat"
        ) from error
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"expected saved positions in {path}, was {type(loaded).__name__}; move it away to start flat"
        )
    return loaded
