"""Where what the pipeline tells is written: one append-only table a kind."""

from __future__ import annotations
from pathlib import Path
from typing import Any
from data_controller.actions import Tell


class TablesOut:
    """x"""

    def __init__(self, directory: Path, config_hash: str = "") -> None:
        self.config_hash = config_hash
        self.instruments: Any = None

    def tell(self, action: Tell) -> None:
        """x"""

    def close(self) -> None:
        """x"""
