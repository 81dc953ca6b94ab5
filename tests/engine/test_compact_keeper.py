"""The keeper: a pass where segments closed, in a process of its own, and again where it died."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from data_controller.actions import Alert
from data_controller.engine.compact_keeper import CompactKeeper
from data_controller.journal import manifest as manifests
from data_controller.lake.catalogue import Catalogue
from data_controller.lake.settings import LakeSettings
from data_controller.lake.store import Store
from tests.engine.test_compact import journal, lose_first, night, same  # noqa: F401 - fixtures

S = 10**9


async def ended(keeper: CompactKeeper) -> None:
    assert keeper._task is not None
    await asyncio.wait([keeper._task])


def test_a_pass_runs_when_something_closed_and_not_again_for_nothing(journal: Path) -> None:  # noqa: F811
    told: list[Alert] = []

    async def go() -> None:
        keeper = CompactKeeper(journal.parent, LakeSettings(compact_interval_s=10), told.append)
        assert manifests.load_retention(journal) == manifests.Retention()  # nothing may go before it is in the lake
        keeper.look(S)
        assert keeper._task is None  # the engine has other things to do when it starts
        keeper.look(12 * S)
        await ended(keeper)
        assert (keeper.passes, told) == (1, [])
        keeper.look(100 * S)
        assert keeper._task is None
        await keeper.stop()

    asyncio.run(go())
    same(Store(str(journal.parent / "lake")), journal)
    allowed = manifests.load_retention(journal)
    assert allowed is not None and allowed.number == 7


def test_a_pass_that_fails_is_told_and_tried_again_later(journal: Path) -> None:  # noqa: F811
    told: list[Alert] = []

    async def go() -> None:
        settings = LakeSettings(uri=str(journal / "lock" / "lake"), compact_interval_s=1)  # below a file
        keeper = CompactKeeper(journal.parent, settings, told.append)
        keeper.look(S)
        keeper.look(3 * S)
        await ended(keeper)
        assert keeper.passes == 0
        assert [alert.name for alert in told] == ["compaction_failed"] if hasattr(Alert, "name") else len(told) == 1
        keeper.reload(LakeSettings(compact_interval_s=1))
        keeper.look(10_000 * S)
        await keeper.stop()  # in its middle

    asyncio.run(go())
    assert len(told) == 1


def test_what_a_pass_noted_is_told_once(journal: Path) -> None:  # noqa: F811
    lose_first(journal, 1)
    told: list[Alert] = []

    async def go() -> None:
        keeper = CompactKeeper(journal.parent, LakeSettings(compact_interval_s=1), told.append)
        for second in (1, 3, 100):
            keeper._done_stamp = 0
            keeper.look(second * S)
            if keeper._task is not None:
                await ended(keeper)
        assert keeper.passes == 2
        await keeper.stop()

    asyncio.run(go())
    first, *later = told
    assert (first.severity, first.name) == ("warning", "compaction_noted")
    assert all("kept with all behind it" in alert.text for alert in later)
    assert len(told) <= 2


def test_without_compaction_the_journals_own_limits_hold(journal: Path) -> None:  # noqa: F811
    CompactKeeper(journal.parent, LakeSettings(), lambda alert: None)
    assert manifests.load_retention(journal) is not None
    keeper = CompactKeeper(journal.parent, LakeSettings(compact=False), lambda alert: None)
    assert manifests.load_retention(journal) is None
    keeper.look(10_000 * S)
    assert keeper.passes == 0


@pytest.fixture(autouse=True)
def _lock_file(journal: Path) -> None:  # noqa: F811
    (journal / "lock").touch()


def test_the_catalogue_of_a_place_without_a_lake_is_empty(tmp_path: Path) -> None:
    assert Catalogue(Store(str(tmp_path / "none"))).commits == {}
