"""From a config tree to what the pipeline is told: the one place that knows which section goes to which room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from data_controller import exchanges
from data_controller.config import Config, parse
from data_controller.errors import ConfigError
from data_controller.features.parameters import load_parameters
from data_controller.market.tables import Tables
from data_controller.pipeline.setup import Setup, VenueSetup
from data_controller.prediction.bundle import Bundle
from data_controller.records import Start


def setup_of(
    config: Config, bundle: Bundle | None, *, wishes: bool, record_only: bool = False, imported: str = ""
) -> Setup:
    """The Setup of `config`; without `wishes` the venues are only decoded, nothing is asked of them.

    An import's one venue is `imported`, whatever the config connects to: it may have no section there.
    """
    venues = []
    if imported:
        venues.append(VenueSetup(imported, exchanges.venue(imported).decoder, None))
    for name, settings in () if imported else config.exchanges:
        if settings is None:
            continue
        venue = exchanges.venue(name)
        if venue.subscriptions is None and wishes:
            raise ConfigError(f"expected a venue that can be connected to, was {name!r}, which is import only")

        def make_subscriptions(tables: Tables, first: int, venue: Any = venue, settings: Any = settings) -> Any:
            return venue.subscriptions(settings, tables, first)

        venues.append(VenueSetup(name, venue.decoder, make_subscriptions if wishes else None, settings))
    return Setup(
        venues=tuple(venues),
        proof=config.proof,
        features=config.features,
        trading=config.trading,
        risk=config.risk,
        parameters=load_parameters(config.features.parameters),
        window=bundle.manifest.window if bundle else 1,
        horizons_s=tuple(config.prediction.horizons_s or bundle.horizons_s) if bundle else (),
        needed=(bundle.weight != 0).any(axis=(0, 1)).reshape(bundle.manifest.window, -1)[-1].astype(np.uint8)
        if bundle
        else None,
        config_hash=config.hash,
        record_only=record_only,
    )


def configure_live(bundle_of: Callable[[Config], Bundle | None], *, record_only: bool) -> Callable[[Start], Setup]:
    """How a live pipeline reads its own START and its reloads."""

    def configure(start: Start) -> Setup:
        config = parse(start.config)
        return setup_of(config, bundle_of(config), wishes=True, record_only=record_only)

    return configure


def configure_replay(
    bundle_of: Callable[[Config], Bundle | None], override: Config | None, *, record_only: bool = False
) -> Callable[[Start], Setup]:
    """How a replay reads a START: the recorded config, or `override`; an import names only its exchange."""

    def configure(start: Start) -> Setup:
        imported = str(start.config["exchange"]) if set(start.config) == {"exchange"} else ""
        config = override or parse({} if imported else start.config)
        only = record_only or bool(start.restored.get("record_only"))
        bundle = None if only else bundle_of(config)
        return setup_of(config, bundle, wishes=not imported, record_only=only, imported=imported)

    return configure
