"""Damaged and arbitrary journals: what was written comes out, or an error of our own tree; 10 million inputs."""

from __future__ import annotations

from torture.atheris_round import fuzz

ROUNDS = 50
INPUTS = 200_000


def attempt(seed: int) -> dict[str, int]:
    """INPUTS inputs, each a list of edits or a whole file."""
    return fuzz("fuzz_journal_reader", INPUTS, seed)
