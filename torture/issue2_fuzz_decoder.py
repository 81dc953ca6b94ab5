"""Frames that no venue sends: the decoder and its books never raise and never leave their memory; 10 million inputs."""

from __future__ import annotations

from torture.atheris_round import fuzz

ROUNDS = 50
INPUTS = 200_000


def attempt(seed: int) -> dict[str, int]:
    """INPUTS inputs, each of up to 24 frames."""
    return fuzz("fuzz_bitfinex_decoder", INPUTS, seed)
