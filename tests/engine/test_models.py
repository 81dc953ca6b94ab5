"""The bundle that a config names: loaded once, refused where its features are not ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_controller.config import parse
from data_controller.engine.models import Models
from data_controller.errors import BundleError
from tests.pipeline.recording import eager_bundle, eager_config


def test_without_a_name_the_shipped_bundle_runs() -> None:
    models = Models()
    bundle = models.bundle_of(parse({"exchanges": {"bitfinex": {}}}))
    assert models.ladder is not None and models.ladder.bundle is bundle
    assert bundle.manifest.live_money is False


def test_a_bundle_is_loaded_once_for_equal_configs(bundle: Path) -> None:
    models = Models()
    first = models.bundle_of(eager_config(bundle, ["tBTCUSD"]))
    assert models.bundle_of(eager_config(bundle, ["tETHUSD"], trading={"fee_bps": 9.0})) is first


def test_a_bundle_of_another_catalogue_is_refused(tmp_path: Path) -> None:
    path = eager_bundle(tmp_path / "b")
    manifest = next(path.glob("*.json"))
    content = json.loads(manifest.read_text())
    content["catalogue_hash"] = "0" * 64
    manifest.write_text(json.dumps(content))
    with pytest.raises(BundleError):
        Models().bundle_of(eager_config(path, ["tBTCUSD"]))


def test_features_other_than_the_bundles_are_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match="catalogue"):
        Models().bundle_of(eager_config(bundle, ["tBTCUSD"], features={"levels": 3}))


def test_a_bundle_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        Models().bundle_of(eager_config(tmp_path / "nowhere", ["tBTCUSD"]))
