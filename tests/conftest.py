"""Rules for all tests: what a test that needs an outside program does where it is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from typing import Any

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip `@pytest.mark.needs_service("influxd")` tests where that program is not on the path."""
    for marker in item.iter_markers("needs_service"):
        missing = [program for program in marker.args if shutil.which(program) is None]
        if missing:
            pytest.skip(f"{', '.join(missing)} not installed here")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI (`CI=true`) a service that is missing is a failure: a gate that quietly skips is no gate."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and item.get_closest_marker("needs_service") is not None:
        report.outcome = "failed"
        reason: Any = report.longrepr
        text = reason[2] if isinstance(reason, tuple) else str(reason)
        report.longrepr = f"CI=true allows no missing service: {text}"
    return report
