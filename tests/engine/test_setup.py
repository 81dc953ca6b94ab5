"""From config to what the pipeline is told: live asks its venues, replay only reads, an import names its exchange."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_controller.engine.models import Models
from data_controller.engine.setup import configure_live, configure_replay
from data_controller.records import Start
from tests.pipeline.recording import eager_config


def start(config: dict[str, Any], **restored: Any) -> Start:
    return Start(run=1, code="", lock="", platform="", config=config, instruments=[], channels=[], restored=restored)


def test_a_live_pipeline_has_wishes_and_the_bundles_horizons(bundle: Path) -> None:
    config = eager_config(bundle, ["tBTCUSD"])
    setup = configure_live(Models().bundle_of, record_only=False)(start(config.effective()))
    assert [venue.name for venue in setup.venues] == ["bitfinex"]
    assert setup.venues[0].make_subscriptions is not None
    assert setup.horizons_s == (5, 10)
    assert setup.needed is not None and setup.needed.sum() == 3  # the three columns that carry a weight
    assert (setup.trading, setup.risk, setup.proof) == (config.trading, config.risk, config.proof)


def test_a_replay_takes_the_recorded_config_or_the_one_it_is_given(bundle: Path) -> None:
    config = eager_config(bundle, ["tBTCUSD"])
    other = eager_config(bundle, ["tBTCUSD"], trading={"fee_bps": 3.0})
    recorded = start(config.effective())
    assert configure_replay(Models().bundle_of, None)(recorded).trading.fee_bps == 0.0
    assert configure_replay(Models().bundle_of, other)(recorded).trading.fee_bps == 3.0


def test_an_import_names_only_its_exchange_and_wishes_nothing() -> None:
    setup = configure_replay(Models().bundle_of, None)(start({"exchange": "bitfinex"}))
    assert [(venue.name, venue.make_subscriptions) for venue in setup.venues] == [("bitfinex", None)]


def test_what_was_only_recorded_is_replayed_without_a_bundle(bundle: Path) -> None:
    def no_bundle(config: object) -> Any:
        raise AssertionError("nobody predicts")

    config = eager_config(bundle, ["tBTCUSD"]).effective()
    assert configure_replay(no_bundle, None)(start(config, record_only=True)).record_only
    assert configure_replay(no_bundle, None, record_only=True)(start(config)).record_only
