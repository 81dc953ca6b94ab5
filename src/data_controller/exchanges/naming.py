"""One name for an instrument (`BTC/USD`, `BTC/USDT:USDT`, as ccxt writes them), and each venue's own symbol for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from data_controller.errors import ConfigError
from data_controller.market.tables import Instrument

CODE = r"[A-Z0-9.]{1,20}"
_NAME = re.compile(rf"({CODE})/({CODE})(?::({CODE})(?:-(\d{{6}}))?)?")


class Name(NamedTuple):
    """The parts of a canonical name: spot, perpetual (`settle`) or future (`settle` and `expiry`, YYMMDD)."""

    base: str
    quote: str
    settle: str = ""
    expiry: str = ""

    def __str__(self) -> str:
        text = f"{self.base}/{self.quote}"
        text += f":{self.settle}" if self.settle else ""
        return text + (f"-{self.expiry}" if self.expiry else "")


class Unwritable(Exception):  # noqa: N818 - never leaves this module
    """The venue has no such symbol, or its symbol no name."""


def parse(name: str) -> Name:
    """The parts of canonical `name`; ConfigError where it is none."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(
            f"expected a name such as BTC/USD (spot), BTC/USDT:USDT (perpetual) or BTC/USD:BTC-261225 (future),"
            f" was {name!r}"
        )
    return Name(*(part or "" for part in match.groups()))


def is_canonical(written: str) -> bool:
    """True where `written` has the form of a canonical name."""
    return _NAME.fullmatch(written) is not None


def to_venue(venue: str, name: str, category: str = "") -> str:
    """The symbol by which `venue` knows canonical `name`; ConfigError where it can have none.

    `category` is for a venue whose markets are apart though their symbols are not (bybit: spot, linear, inverse): a
    name of another one is refused.
    """
    category = category or _APART.get(venue, "")
    rule, parts = _rule(venue), parse(name)
    try:
        if category and rule.category(parts) != category:
            raise Unwritable
        symbol = rule.write(parts)
        # What does not come back as itself would be recorded under another name.
        if str(rule.read(symbol, rule.category(parts))) != name and not rule.by_suffix:
            raise Unwritable
    except Unwritable:
        raise ConfigError(f"expected a name that {venue} has a symbol for ({rule.example}), was {name!r}") from None
    return symbol


def to_canonical(venue: str, symbol: str, category: str = "", known: Mapping[str, str] | None = None) -> str:
    """The canonical name of `venue`'s `symbol`; ConfigError where it is none of the venue's.

    `known` is what the venue's own list of instruments says (symbol -> name; `reference`) and wins. Without it a symbol
    such as BTCUSDT is split before the longest currency it ends with that the venue quotes in.
    """
    if known is not None and symbol in known:
        return known[symbol]
    rule = _rule(venue)
    try:
        return str(rule.read(symbol, category or _APART.get(venue, "")))
    except Unwritable:
        raise ConfigError(f"expected a symbol as {venue} writes it ({rule.example}), was {symbol!r}") from None


def symbol_of(venue: str, written: str, category: str = "") -> str:
    """`written` as the venue's symbol: a canonical name is translated, the venue's own symbol stays."""
    rule = _rule(venue)
    if is_canonical(written) and not rule.own_slash:
        return to_venue(venue, written, category)
    try:
        rule.read(written, category)
    except Unwritable:
        raise ConfigError(
            f"expected a name such as BTC/USD, or a symbol as {venue} writes it ({rule.example}), was {written!r}"
        ) from None
    return written


def described(venue: str, symbol: str, category: str = "", known: Mapping[str, str] | None = None) -> Instrument:
    """The instrument table's row of `symbol`, with base, quote and name where they can be told."""
    try:
        name = to_canonical(venue, symbol, category, known)
        parts = parse(name)
    except ConfigError:
        return Instrument(venue, symbol)
    return Instrument(venue, symbol, parts.base, parts.quote, name)


def venues() -> tuple[str, ...]:
    """Venues that have a rule."""
    return tuple(sorted(_RULES))


class _Rule(NamedTuple):
    write: Callable[[Name], str]
    read: Callable[[str, str], Name]
    example: str
    category: Callable[[Name], str] = lambda name: ""
    by_suffix: bool = False  # without the venue's own list, reading is a guess by the currency at the end
    own_slash: bool = False  # the venue itself writes BTC/USD


_APART = {"bybit_linear": "linear", "bybit_inverse": "inverse"}
"""Venues of ours that are a category of one that has a rule."""


def _rule(venue: str) -> _Rule:
    rule = _RULES.get("bybit" if venue in _APART else venue)
    if rule is None:
        raise ConfigError(f"expected a venue whose names are known ({', '.join(_RULES)}), was {venue!r}")
    return rule


def _spot(name: Name) -> Name:
    if name.settle:
        raise Unwritable
    return name


def _match(pattern: str, symbol: str) -> re.Match[str]:
    match = re.fullmatch(pattern, symbol)
    if match is None:
        raise Unwritable
    return match


def _split(text: str, quotes: tuple[str, ...]) -> tuple[str, str]:
    """Base and quote of a text without anything between them: the longest of `quotes` it ends with."""
    for quote in sorted(quotes, key=len, reverse=True):
        if text.endswith(quote) and len(text) > len(quote):
            return text[: -len(quote)], quote
    raise Unwritable


# Bitfinex: three letters for old currencies, some of them its own; a colon where the two do not have three each.
_BITFINEX_OWN = {
    "UST": "USDT",
    "UDC": "USDC",
    "DSH": "DASH",
    "IOT": "IOTA",
    "ALG": "ALGO",
    "ATO": "ATOM",
    "QTM": "QTUM",
    "MNA": "MANA",
    "TSD": "TUSD",
    "EUT": "EURT",
}
_BITFINEX_THEIRS = {name: own for own, name in _BITFINEX_OWN.items()}


def _bitfinex_write(name: Name) -> str:
    if name.expiry or (name.settle and name.settle != name.quote):
        raise Unwritable
    base, quote = (_BITFINEX_THEIRS.get(code, code) for code in (name.base, name.quote))
    if name.settle:
        return f"t{base}F0:{quote}F0"
    return f"t{base}{quote}" if len(base) == len(quote) == 3 else f"t{base}:{quote}"


def _bitfinex_read(symbol: str, category: str) -> Name:
    match = re.fullmatch(r"t([A-Z0-9.]+):([A-Z0-9.]+)", symbol) or re.fullmatch(r"t([A-Z0-9]{3})([A-Z0-9]{3})", symbol)
    if match is None:
        base, quote = _split(_match(r"t([A-Z0-9]{7,})", symbol)[1], ("USD", "UST", "BTC", "ETH", "EUR", "GBP", "JPY"))
    else:
        base, quote = match.groups()
    future = base.endswith("F0") and quote.endswith("F0") and len(base) > 2 and len(quote) > 2
    if future:
        base, quote = base[:-2], quote[:-2]
    base, quote = _BITFINEX_OWN.get(base, base), _BITFINEX_OWN.get(quote, quote)
    return Name(base, quote, quote if future else "")


# Binance: nothing between base and quote.
_BINANCE_QUOTES = (
    *("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USDP", "USD1", "USD", "DAI", "BTC", "ETH", "BNB", "XRP", "TRX", "DOGE"),
    *("EUR", "EURI", "GBP", "TRY", "BRL", "ARS", "AUD", "COP", "CZK", "IDR", "JPY", "MXN", "NGN", "PLN", "RON", "RUB"),
    *("UAH", "ZAR", "BIDR", "VAI", "PAX", "USDS", "XUSD", "U"),
)
_USDM_QUOTES = ("USDT", "USDC", "BUSD", "BTC", "USD1", "U")


def _binance_read(symbol: str, category: str) -> Name:
    return Name(*_split(_match(r"[A-Z0-9]+", symbol)[0], _BINANCE_QUOTES))


def _usdm_write(name: Name) -> str:
    if name.settle != name.quote:
        raise Unwritable
    return f"{name.base}{name.quote}" + (f"_{name.expiry}" if name.expiry else "")


def _usdm_read(symbol: str, category: str) -> Name:
    match = _match(r"([A-Z0-9]+)(?:_(\d{6}))?", symbol)
    base, quote = _split(match[1], _USDM_QUOTES)
    return Name(base, quote, quote, match[2] or "")


def _coinm_write(name: Name) -> str:
    if name.settle != name.base or name.quote != "USD":
        raise Unwritable
    return f"{name.base}USD_{name.expiry or 'PERP'}"


def _coinm_read(symbol: str, category: str) -> Name:
    match = _match(r"([A-Z0-9]+)USD_(PERP|\d{6})", symbol)
    return Name(match[1], "USD", match[1], "" if match[2] == "PERP" else match[2])


# Bybit: one symbol may be a spot pair and a perpetual; the category tells.
_BYBIT_SPOT_QUOTES = ("USDT", "USDC", "USDE", "USD1", "BTC", "ETH", "EUR", "BRL", "DAI", "MNT", "TRY", "PLN", "USDQ")


def _bybit_category(name: Name) -> str:
    return "spot" if not name.settle else "inverse" if name.settle == name.base else "linear"


def _bybit_write(name: Name) -> str:
    if name.expiry:  # written by the day's name: the venue's own list has them
        raise Unwritable
    if not name.settle or (name.settle == name.quote == "USDT") or (name.settle == name.base and name.quote == "USD"):
        return f"{name.base}{name.quote}"
    if name.settle == name.quote == "USDC":
        return f"{name.base}PERP"
    raise Unwritable


def _bybit_read(symbol: str, category: str) -> Name:
    text = _match(r"[A-Z0-9]+", symbol)[0]
    if text.endswith("PERP") and len(text) > 4 and category in ("", "linear"):
        return Name(text[:-4], "USDC", "USDC")
    if category == "linear":
        base, quote = _split(text, ("USDT",))
        return Name(base, quote, quote)
    if category == "inverse" or (not category and text.endswith("USD")):
        base, quote = _split(text, ("USD",))
        return Name(base, quote, base)
    return Name(*_split(text, _BYBIT_SPOT_QUOTES))


def _okx_write(name: Name) -> str:
    if name.settle and name.settle not in (name.quote, name.base):
        raise Unwritable
    # The settlement is not in the symbol: quoted in USD it is the base, else the quote.
    if name.settle and (name.settle == name.base) != (name.quote == "USD"):
        raise Unwritable
    tail = f"-{name.expiry}" if name.expiry else "-SWAP" if name.settle else ""
    return f"{name.base}-{name.quote}{tail}"


def _okx_read(symbol: str, category: str) -> Name:
    match = _match(r"([A-Z0-9.]+)-([A-Z0-9.]+?)(?:-(SWAP|\d{6}))?", symbol)
    base, quote, tail = match.groups()
    if not tail:
        return Name(base, quote)
    return Name(base, quote, base if quote == "USD" else quote, "" if tail == "SWAP" else tail)


_KRAKEN_V1 = {"XBT": "BTC", "XDG": "DOGE"}


def _kraken_v1_write(name: Name) -> str:
    ours = {theirs: own for own, theirs in _KRAKEN_V1.items()}
    _spot(name)
    return f"{ours.get(name.base, name.base)}/{ours.get(name.quote, name.quote)}"


def _kraken_v1_read(symbol: str, category: str) -> Name:
    base, quote = _match(rf"({CODE})/({CODE})", symbol).groups()
    return Name(_KRAKEN_V1.get(base, base), _KRAKEN_V1.get(quote, quote))


def _kraken_read(symbol: str, category: str) -> Name:
    return Name(*_match(rf"({CODE})/({CODE})", symbol).groups())


def _coinbase_write(name: Name) -> str:
    _spot(name)
    return f"{name.base}-{name.quote}"


def _coinbase_read(symbol: str, category: str) -> Name:
    return Name(*_match(r"([A-Z0-9.]+)-([A-Z0-9.]+)", symbol).groups())


_BITSTAMP_QUOTES = ("USD", "EUR", "GBP", "BTC", "ETH", "USDT", "USDC", "PAX", "EURCV", "PYUSD", "RLUSD")


def _bitstamp_read(symbol: str, category: str) -> Name:
    return Name(*_split(_match(r"[a-z0-9]+", symbol)[0].upper(), _BITSTAMP_QUOTES))


def _bitflyer_write(name: Name) -> str:
    if name.expiry or name.settle not in ("", "JPY") or (name.settle and name.quote != "JPY"):
        raise Unwritable
    return f"{'FX_' if name.settle else ''}{name.base}_{name.quote}"


def _bitflyer_read(symbol: str, category: str) -> Name:
    match = _match(r"(FX_)?([A-Z0-9]+)_([A-Z0-9]+)", symbol)
    return Name(match[2], match[3], match[3] if match[1] else "")


def _ccxt_write(name: Name) -> str:
    raise Unwritable  # which of a hundred exchanges is meant, a name does not say


def _ccxt_read(symbol: str, category: str) -> Name:
    return parse(_match(r"[a-z0-9]+:(.+)", symbol)[1])


def _joined(name: Name) -> str:
    _spot(name)
    return f"{name.base}{name.quote}"


_RULES: dict[str, _Rule] = {
    "bitfinex": _Rule(_bitfinex_write, _bitfinex_read, "tBTCUSD, tETH2X:ETH, tBTCF0:USTF0"),
    "binance": _Rule(_joined, _binance_read, "BTCUSDT", by_suffix=True),
    "binance_usdm": _Rule(_usdm_write, _usdm_read, "BTCUSDT, BTCUSDT_261225", by_suffix=True),
    "binance_coinm": _Rule(_coinm_write, _coinm_read, "BTCUSD_PERP, BTCUSD_261225"),
    "bybit": _Rule(_bybit_write, _bybit_read, "BTCUSDT, BTCPERP, BTCUSD", _bybit_category, by_suffix=True),
    "okx": _Rule(_okx_write, _okx_read, "BTC-USDT, BTC-USDT-SWAP, BTC-USD-261225"),
    "kraken": _Rule(lambda name: str(_spot(name)), _kraken_read, "BTC/USD", own_slash=True),
    "kraken_v1": _Rule(_kraken_v1_write, _kraken_v1_read, "XBT/USD", own_slash=True),
    "coinbase": _Rule(_coinbase_write, _coinbase_read, "BTC-USD"),
    "bitstamp": _Rule(lambda name: _joined(name).lower(), _bitstamp_read, "btcusd", by_suffix=True),
    "bitflyer": _Rule(_bitflyer_write, _bitflyer_read, "BTC_JPY, FX_BTC_JPY"),
    "ccxt": _Rule(_ccxt_write, _ccxt_read, "kraken:BTC/USD"),
}
