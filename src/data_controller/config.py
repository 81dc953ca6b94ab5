"""The one config tree: composes the sections that the rooms define, and loads, compares, hashes and shows it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from data_controller._config_file import (
    Document,
    InvalidConfig,
    KeyPath,
    Problem,
    dotted,
    explain,
    mask,
    model_at,
    read,
    section_of,
)
from data_controller.engine.settings import EngineSettings
from data_controller.errors import ConfigError
from data_controller.exchanges.binance.settings import BinanceCoinmSettings, BinanceSettings, BinanceUsdmSettings
from data_controller.exchanges.bitfinex.settings import BitfinexSettings
from data_controller.exchanges.bitflyer.settings import BitflyerSettings
from data_controller.exchanges.bitstamp.settings import BitstampSettings
from data_controller.exchanges.bybit.settings import BybitInverseSettings, BybitLinearSettings, BybitSettings
from data_controller.exchanges.ccxt.settings import CcxtSettings
from data_controller.exchanges.coinbase.settings import CoinbaseSettings
from data_controller.exchanges.kraken.settings import KrakenSettings
from data_controller.exchanges.naming import symbol_of
from data_controller.exchanges.okx.settings import OkxSettings
from data_controller.features.settings import FeatureSettings
from data_controller.ingest.settings import IngestSettings
from data_controller.journal.settings import JournalSettings
from data_controller.killswitch.settings import KillSwitchSettings
from data_controller.lake.settings import LakeSettings
from data_controller.market.settings import ProofSettings
from data_controller.monitoring.settings import MonitoringSettings
from data_controller.prediction.settings import PredictionSettings
from data_controller.settings import Secret, Section, restart
from data_controller.trading.settings import RiskSettings, TradingSettings
from data_controller.web.settings import WebSettings

__all__ = ["Config", "InvalidConfig", "Problem", "check_reload", "leaves", "load", "parse", "schema", "with_instrument"]


def _section(kind: type[Section], description: str) -> Any:
    return Field(default_factory=kind, description=description)


class ExchangeSettings(Section):
    """`exchanges:` in the config file; a venue that is not named is not connected."""

    bitfinex: BitfinexSettings | None = restart(None, description="Bitfinex, public v2 WebSocket")
    binance: BinanceSettings | None = restart(None, description="Binance spot, combined streams")
    binance_usdm: BinanceUsdmSettings | None = restart(None, description="Binance USD-M futures")
    binance_coinm: BinanceCoinmSettings | None = restart(None, description="Binance COIN-M futures")
    bybit: BybitSettings | None = restart(None, description="Bybit v5 spot")
    bybit_linear: BybitLinearSettings | None = restart(None, description="Bybit v5 linear perpetuals and futures")
    bybit_inverse: BybitInverseSettings | None = restart(None, description="Bybit v5 inverse perpetuals and futures")
    okx: OkxSettings | None = restart(None, description="OKX v5")
    kraken: KrakenSettings | None = restart(None, description="Kraken WebSocket v2")
    coinbase: CoinbaseSettings | None = restart(None, description="Coinbase Exchange feed")
    bitstamp: BitstampSettings | None = restart(None, description="Bitstamp WebSocket v2")
    bitflyer: BitflyerSettings | None = restart(None, description="bitFlyer Lightning, JSON-RPC")
    ccxt: CcxtSettings | None = restart(None, description="any exchange that ccxt has WebSockets for: merged, not raw")


class Config(Section):
    """Everything that can be configured. Frozen: a change is a new tree, swapped whole or refused whole."""

    state_dir: Path = restart(
        Path("state"),
        description="folder of journal, tables, latch, tokens and saved state; `~` is the home directory, a relative "
        "path starts where the engine is started",
    )
    engine: EngineSettings = _section(EngineSettings, "the loop and its clock")
    exchanges: ExchangeSettings = _section(ExchangeSettings, "what is collected, venue by venue")
    ingest: IngestSettings = _section(IngestSettings, "bounds of every connection")
    proof: ProofSettings = _section(ProofSettings, "what a book must have behind it before it is acted on")
    features: FeatureSettings = _section(FeatureSettings, "the grid and the feature engine")
    prediction: PredictionSettings = _section(PredictionSettings, "the model bundle and the ladder of its tiers")
    trading: TradingSettings = _section(TradingSettings, "costs, stakes and barriers of a decision")
    risk: RiskSettings = _section(RiskSettings, "the limits that the gate holds")
    journal: JournalSettings = _section(JournalSettings, "how records become durable, and what disk they may use")
    lake: LakeSettings = _section(LakeSettings, "the lake: what becomes of closed journal segments")
    killswitch: KillSwitchSettings = _section(KillSwitchSettings, "the latch")
    monitoring: MonitoringSettings = _section(MonitoringSettings, "the monitor: health, metrics and alerts")
    web: WebSettings = _section(WebSettings, "where the monitor serves")

    @property
    def hash(self) -> str:
        """SHA-256 over the effective values, secrets by reference: equal trees have one hash, however written."""
        canonical = json.dumps(self.effective(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def effective(self, masked: bool = True) -> dict[str, Any]:
        """Every value in JSON's types, defaults filled in. A secret is its reference in either form.

        Masked also cuts credentials out of URLs; that is what is shown, hashed and journaled.
        """
        values: dict[str, Any] = self.model_dump(mode="json")
        return _masked(values) if masked else values


def load(path: Path | str, *, secrets: bool = True) -> Config:
    """The validated config of a YAML file; InvalidConfig with every problem of the file at once.

    With `secrets` each secret is looked up too (and not kept), so that a missing one is found before it is needed.
    """
    path = Path(path)
    document = read(path)
    config = _build(document, str(path), secrets=secrets)
    problems = _unknown_leader(config, document)
    if problems:
        raise InvalidConfig(str(path), problems)
    return config


def parse(values: dict[str, Any], source: str = "config", *, secrets: bool = False) -> Config:
    """The validated config of plain values, such as a START record's; InvalidConfig as `load`."""
    return _build(Document(values), source, secrets=secrets)


def with_instrument(config: Config, exchange: str, instrument: str, *, wanted: bool) -> Config:
    """`config` with `instrument` among those of `exchange`, or not among them; ConfigError says why that cannot be.

    The new tree is validated whole, as a file's is.
    """
    values = config.effective(masked=False)
    venues = [name for name, section in values["exchanges"].items() if section and "instruments" in section]
    if exchange not in venues:
        known = ", ".join(venues) or "none"
        raise ConfigError(f"expected an exchange that the engine was started with ({known}), was {exchange!r}")
    section = values["exchanges"][exchange]
    names = list(section["instruments"])
    model = type(getattr(config.exchanges, exchange))
    asked = _symbol(exchange, model, section, instrument)
    same = [name for name in names if _symbol(exchange, model, section, name) == asked]
    if bool(same) == wanted:
        have = ", ".join(names) or "none"
        what = "an instrument that is not there yet" if wanted else "one of its instruments"
        known_as = f", which is there as {same[0]!r}" if same and instrument not in same else ""
        text = f"expected {what} (`exchanges.{exchange}.instruments`: {have}), was {instrument!r}{known_as}"
        raise ConfigError(text)
    section["instruments"] = [*names, instrument] if wanted else [name for name in names if name not in same]
    source = f"{'subscribe' if wanted else 'unsubscribe'} {exchange} {instrument}"
    new = parse(values, source)
    problems = _unknown_leader(new, Document(values))
    if problems:
        raise InvalidConfig(source, problems)
    return new


def _symbol(exchange: str, model: type[BaseModel], section: dict[str, Any], name: str) -> str:
    """What both ways to write an instrument of `exchange` have in common: the venue's symbol; `name` where it has none.

    `model` reads a `section`, and may keep either way.
    """
    try:
        kept = model.model_validate({**section, "instruments": [name]})
        return symbol_of(exchange, dict(kept)["instruments"][0])
    except (ValidationError, ConfigError):  # what is wrong with it, the whole tree's check says
        return name


def _build(document: Document, source: str, *, secrets: bool) -> Config:
    values = _fill_empty_sections(document.values, Config)
    problems = _strict_problems(values, document)
    if problems:
        raise InvalidConfig(source, problems)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise InvalidConfig(source, explain(error.errors(include_url=False), Config, document)) from None
    missing = [
        Problem(dotted(path), document.line(path), "a secret that can be read", "none", reason)
        for path, reason in (_unreadable_secrets(config) if secrets else ())
    ]
    if missing:
        raise InvalidConfig(source, missing)
    return config


def _unknown_leader(config: Config, document: Document) -> list[Problem]:
    """A leader that nobody collects would leave its feature invalid, and every decision refused, without a word."""
    leader = config.features.leader
    names = [
        f"{venue}:{symbol}"
        for venue in ExchangeSettings.model_fields
        for symbol in getattr(getattr(config.exchanges, venue), "instruments", ())
    ]
    if not leader or leader in names:
        return []
    path = ("features", "leader")
    advice = "name an instrument of `exchanges` as `venue:symbol`, or leave it out"
    return [Problem(dotted(path), document.line(path), "one of " + (", ".join(names) or "none"), leader, advice)]


def _strict_problems(values: dict[str, Any], document: Document) -> list[Problem]:
    """What JSON's strict mode has against `values`: lists may become tuples and text paths, but "30" is no number."""
    try:
        Config.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        # Strictness also falls on defaults, whose Python types (a Path, an enum) a JSON document cannot hold.
        written = (dict, list, str, int, float, bool, type(None))
        details = [d for d in error.errors(include_url=False) if type(d["input"]) in written]
        return explain(details, Config, document)
    return []


def _fill_empty_sections(values: Any, model: type[BaseModel]) -> Any:
    """`values` where a section without keys (`journal:` and only comments below it) is an empty mapping.

    One that may be absent (a venue) stays absent then: null is how `effective` writes that.
    """
    if not isinstance(values, dict):
        return values
    filled = {}
    for key, value in values.items():
        below = model_at(model, (key,))
        if value is None and below is not None and model.model_fields[key].annotation is below:
            value = {}
        filled[key] = _fill_empty_sections(value, below) if below is not None else value
    return filled


def _unreadable_secrets(config: BaseModel) -> Iterator[tuple[KeyPath, str]]:
    for path, value in _walk(config, ()):
        if isinstance(value, Secret):
            try:
                value.reveal()
            except ConfigError as error:
                yield path, str(error)


def _walk(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Every value that is no container, with its path; a Secret counts as one value."""
    if isinstance(value, Secret) or not isinstance(value, (BaseModel, dict, list, tuple)):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _walk(getattr(value, name), (*path, name))
    else:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _walk(item, (*path, key))


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return mask(value) if isinstance(value, str) else value


def check_reload(old: Config, new: Config) -> list[str]:
    """Dotted names of changed keys that only a restart can apply; empty where a reload may swap the tree.

    A key without a mark counts as restart: forgetting one must not change a running engine.
    """
    return [dotted(path) for path, mark in _changed(old, new, ()) if mark != "hot"]


def _changed(old: BaseModel, new: BaseModel, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    for name, info in type(new).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        both_sections = isinstance(before, Section) and isinstance(after, Section) and not isinstance(after, Secret)
        if both_sections and type(before) is type(after):
            yield from _changed(before, after, (*path, name))
        else:
            yield (*path, name), reload_mark(info.json_schema_extra)


def reload_mark(extra: Any) -> str:
    """`hot` or `restart`, from what `settings.hot` and `settings.restart` leave on a field."""
    mark = extra.get("reload") if isinstance(extra, dict) else None
    return "hot" if mark == "hot" else "restart"


def leaves(model: type[BaseModel] = Config, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """(path, pydantic field) of every key that holds a value rather than a section, in the tree's order."""
    for name, info in model.model_fields.items():
        section = section_of(info.annotation)
        if section is not None and not issubclass(section, Secret):
            yield from leaves(section, (*path, name))
        else:
            yield (*path, name), info


def schema() -> dict[str, Any]:
    """The tree's JSON Schema, for editors that complete and check YAML."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
        "title": "data_controller configuration",
    }
