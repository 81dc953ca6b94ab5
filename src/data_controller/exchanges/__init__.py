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

    One whose single orders need a data-only key has a fourth: `streaming.keys.Credentials`.

    One that is import only (an old dialect, rows of a table) has a decoder and nothing else: it can be named to
    `import --exchange` and is replayed and verified, but no config connects to it.
    """

    decoder: type[Any]
    subscriptions: type[Any] | None = None
    settings: type[Section] | None = None
    credentials: type[Any] | None = None


def _native(module: str, prefix: str, *, keyed: bool = False) -> tuple[str, ...]:
    """The classes of a venue that a config can connect to."""
    package = f"data_controller.exchanges.{module}"
    return (
        f"{package}.decoder:{prefix}Decoder",
        f"{package}.subscriptions:{prefix}Subscriptions",
        f"{package}.settings:{prefix}Settings",
        *((f"{package}.keys:{prefix}Credentials",) if keyed else ()),
    )


def _import_only(module: str, prefix: str) -> tuple[str, ...]:
    """The decoder of an old dialect, or of rows that another program made."""
    return (f"data_controller.exchanges.{module}.decoder:{prefix}Decoder",)


_OURS: dict[str, tuple[str, ...]] = {
    "binance": _native("binance", "Binance"),
    "binance_coinm": _native("binance", "BinanceCoinm"),
    "binance_usdm": _native("binance", "BinanceUsdm"),
    "bitfinex": _native("bitfinex", "Bitfinex"),
    "bitflyer": _native("bitflyer", "Bitflyer"),
    "bitstamp": _native("bitstamp", "Bitstamp"),
    "bybit": _native("bybit", "Bybit"),
    "bybit_inverse": _native("bybit", "BybitInverse"),
    "bybit_linear": _native("bybit", "BybitLinear"),
    "ccxt": _native("ccxt", "Ccxt"),
    "coinbase": _native("coinbase", "Coinbase", keyed=True),
    "kraken": _native("kraken", "Kraken", keyed=True),
    "okx": _native("okx", "Okx"),
    "bitget": _import_only("bitget", "Bitget"),
    "bitmex": _import_only("bitmex", "Bitmex"),
    "bitstamp_2015": _import_only("bitstamp_2015", "Bitstamp2015"),
    "bybit_2021": _import_only("bybit_2021", "Bybit2021"),
    "coinbase_2021": _import_only("coinbase_2021", "Coinbase2021"),
    "deribit": _import_only("deribit", "Deribit"),
    "gemini": _import_only("gemini", "Gemini"),
    "huobi": _import_only("huobi", "Huobi"),
    "kraken_futures": _import_only("kraken_futures", "KrakenFutures"),
    "kraken_v1": _import_only("kraken_v1", "KrakenV1"),
    "kucoin": _import_only("kucoin", "Kucoin"),
    "okcoin": ("data_controller.exchanges.okx_v3.decoder:OkcoinDecoder",),
    "okx_v3": _import_only("okx_v3", "OkxV3"),
    "rows": _import_only("rows", "Rows"),
    "upbit": _import_only("upbit", "Upbit"),
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
