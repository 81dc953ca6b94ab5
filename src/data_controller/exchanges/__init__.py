"""A module or package a venue; `venue(name)` imports it when it is first named."""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from data_controller.errors import ConfigError
from data_controller.settings import Section

ENTRY_POINTS = "data_controller.exchanges"
"""Group under which another package offers a venue: name = "its.module:VENUE", VENUE a `Venue`."""


class Venue(NamedTuple):
    """The three classes that make a venue: `protocols.Decoder`, `protocols.Subscriptions`, and its config section.

    One that is import only (an old dialect, rows of a table) has a decoder and nothing else: it can be named to
    `import --exchange` and is replayed and verified, but no config connects to it.
    """

    decoder: type[Any]
    subscriptions: type[Any] | None = None
    settings: type[Section] | None = None


def _native(module: str, prefix: str) -> tuple[str, ...]:
    """The three classes of a venue that a config can connect to."""
    package = f"data_controller.exchanges.{module}"
    return (
        f"{package}.decoder:{prefix}Decoder",
        f"{package}.subscriptions:{prefix}Subscriptions",
        f"{package}.settings:{prefix}Settings",
    )


_OURS: dict[str, tuple[str, ...]] = {
    "bitfinex": _native("bitfinex", "Bitfinex"),
    "binance": _native("binance", "Binance"),
    "binance_usdm": _native("binance", "BinanceUsdm"),
    "binance_coinm": _native("binance", "BinanceCoinm"),
    "ccxt": _native("ccxt", "Ccxt"),
    "rows": ("data_controller.exchanges.rows.decoder:RowsDecoder",),
}


def names() -> tuple[str, ...]:
    """Every venue that can be named, sorted: ours and those of installed plug-ins. Imports none of them."""
    return tuple(sorted({*_OURS, *(point.name for point in entry_points(group=ENTRY_POINTS))}))


def venue(name: str) -> Venue:
    """The venue called `name`, imported now.

    Ours win over a plug-in of the same name, so that an installed package cannot change what a config means.
    Raises ConfigError where there is none, or where a plug-in offers something else than a `Venue`.
    """
    ours = _OURS.get(name)
    if ours is not None:
        return Venue(*(_load(target) for target in ours))
    for point in entry_points(group=ENTRY_POINTS, name=name):
        found = point.load()
        if not isinstance(found, Venue):
            raise ConfigError(f"expected the plug-in {point.value!r} to be a Venue, was {type(found).__name__}")
        return found
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "install the package that provides it"
    raise ConfigError(f"expected a venue ({', '.join(names())}), was {name!r}: {hint}")


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
