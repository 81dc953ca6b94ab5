"""Lets the strangers' tests start a simulator as the simulator's own tests do."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "simulator"))
