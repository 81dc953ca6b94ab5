"""One recording across midnight, for the commands that look at what is on disk."""

from __future__ import annotations

import pytest

from data_controller.records import Batch
from tests.lake.lake_making import recorded
from tests.pipeline.recording import eager_bundle


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    return recorded(eager_bundle(tmp_path_factory.mktemp("bundles") / "eager"))
