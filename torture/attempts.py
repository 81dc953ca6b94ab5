"""One round of one long run, in a module that a process of its own can import."""

from __future__ import annotations

import importlib
from typing import Any

Result = tuple[dict[str, Any], str]
"""What a round returned, or nothing and the error's text."""


def attempt(name: str, seed: int) -> Result:
    """One round; a finding is evidence, and the rounds after it may hold others."""
    try:
        return importlib.import_module(f"torture.{name}").attempt(seed), ""
    except Exception as error:
        return {}, f"{type(error).__name__}: {error}"[:2000]
