"""The simulated exchange's instruments: Bitfinex's names and a price to begin with."""

from __future__ import annotations

_NAMED = (
    ("tBTCUSD", 43210.0),
    ("tETHUSD", 2315.4),
    ("tSOLUSD", 148.32),
    ("tXRPUSD", 2.1431),
    ("tLTCUSD", 118.24),
    ("tADAUSD", 0.38127),
    ("tDOGE:USD", 0.18123),
    ("tSHIB:USD", 0.00002314),
    ("tDOTUSD", 5.2143),
    ("tLINK:USD", 14.873),
    ("tAVAX:USD", 35.12),
    ("tXLMUSD", 0.31236),
)


def instrument_names(count: int) -> list[str]:
    """The first `count` symbols of the simulated exchange."""
    names = [name for name, _ in _NAMED[:count]]
    return names + [f"tS{i:02d}USD" for i in range(1, count - len(names) + 1)]


def start_price(symbol: str, number: int) -> float:
    """Where a symbol's price begins; `number` tells unnamed ones apart."""
    known = dict(_NAMED)
    if symbol in known:
        return known[symbol]
    digits = 15_000 + number * 7_919 % 50_000
    return digits / 10.0 ** (1 + number % 5)
