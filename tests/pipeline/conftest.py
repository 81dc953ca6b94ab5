"""One recording for the room's tests: making it costs seconds, reading it nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.recording import Recording, eager_bundle, eager_config


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return eager_bundle(tmp_path_factory.mktemp("bundles") / "eager")


@pytest.fixture(scope="session")
def recording(bundle: Path) -> Recording:
    return Recording(eager_config(bundle, ["tBTCUSD", "tETHUSD"]))
