"""Instruments of any exchange with their precisions, fees and limits: asked once, kept with their date."""

from __future__ import annotations

import calendar
import json
import random
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from data_controller.errors import ConfigError, TableError
from data_controller.ingest.settings import RestSettings
from data_controller.journal.files import replace_durably
from data_controller.reference.ccxt_rest import ask, close, make, version

VERSION = 1


def cache_path(state_dir: Path, exchange: str) -> Path:
    """Where the instruments of `exchange` are kept."""
    if not exchange.replace("_", "").isalnum():
        raise ConfigError(f"expected an exchange's name, was {exchange!r}")
    return state_dir / "reference" / f"{exchange}.json"


def load_cached(state_dir: Path, exchange: str) -> dict[str, Any] | None:
    """What `refresh` kept, None where nothing was; TableError where the file is damaged."""
    path = cache_path(state_dir, exchange)
    try:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        if kept["version"] != VERSION or not isinstance(kept["instruments"], list):
            raise ValueError(f"version {kept['version']}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TableError(
            f"expected instruments of version {VERSION}, was damage in {path}: {error}; --refresh"
        ) from error
    return kept


async def refresh(
    state_dir: Path, exchange: str, base: str = "", settings: RestSettings | None = None
) -> dict[str, Any]:
    """Ask the exchange through ccxt, keep the answer and return it; RestError where it cannot be asked.

    Each of `instruments` has name, symbol (the venue's), base, quote, settle, kind, active, steps of price and size (or
    how many digits count, where the venue has no steps), maker and taker fee, limits (smallest and largest price, size,
    cost), contract size and expiry. Numbers are decimal texts; null is unknown.
    """
    settings = settings or RestSettings()
    path = cache_path(state_dir, exchange)
    api = make(exchange, base, settings.timeout_s)
    try:
        markets = await ask(api.load_markets, f"instruments of {exchange}", settings, random.Random())
        kept = {
            "version": VERSION,
            "exchange": exchange,
            "source": f"ccxt {version()} {api.id}.load_markets",
            "asked_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "instruments": sorted((_instrument(api, m) for m in markets.values()), key=lambda i: str(i["name"])),
        }
    finally:
        await close(api)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, json.dumps(kept, indent=1).encode())
    except OSError as error:
        raise TableError(f"expected to keep the instruments in {path}, was: {error}") from error
    return kept


def age_s(kept: dict[str, Any]) -> float:
    """How long ago the exchange was asked."""
    return max(0.0, time.time() - calendar.timegm(time.strptime(kept["asked_at"], "%Y-%m-%dT%H:%M:%SZ")))


def known_names(kept: dict[str, Any]) -> dict[str, str]:
    """Canonical name by the venue's symbol, for `naming.to_canonical`; a symbol of two markets is left out."""
    count = Counter(instrument["symbol"] for instrument in kept["instruments"])
    return {i["symbol"]: i["name"] for i in kept["instruments"] if count[i["symbol"]] == 1}


def _instrument(api: Any, market: dict[str, Any]) -> dict[str, Any]:
    import ccxt

    def step(value: Any) -> str | None:
        """ccxt says a step, decimals or significant digits, by exchange: told apart here."""
        if value is None or api.precisionMode == ccxt.SIGNIFICANT_DIGITS:
            return None
        return _text(value if api.precisionMode == ccxt.TICK_SIZE else Decimal(1).scaleb(-int(value)))

    limits = market.get("limits") or {}
    precision = market.get("precision") or {}
    significant = api.precisionMode == ccxt.SIGNIFICANT_DIGITS
    return {
        "name": market["symbol"],
        "symbol": market["id"],
        "base": market["base"],
        "quote": market["quote"],
        "settle": market.get("settle"),
        "kind": market.get("type"),
        "active": market.get("active"),
        "price_step": step(precision.get("price")),
        "price_significant_digits": precision.get("price") if significant else None,
        "size_step": step(precision.get("amount")),
        "size_digits": precision.get("amount") if significant else None,
        "maker_fee": _text(market.get("maker")),
        "taker_fee": _text(market.get("taker")),
        "limits": {
            "price": _range(limits.get("price")),
            "size": _range(limits.get("amount")),
            "cost": _range(limits.get("cost")),
        },
        "contract_size": _text(market.get("contractSize")),
        "expiry": market.get("expiryDatetime"),
    }


def _range(limit: Any) -> dict[str, str | None]:
    limit = limit or {}
    return {"min": _text(limit.get("min")), "max": _text(limit.get("max"))}


def _text(value: Any) -> str | None:
    """A number as decimal text without an exponent."""
    return None if value is None else format(Decimal(repr(value) if isinstance(value, float) else str(value)), "f")
