"""A feed goes out in parts, a turn each; what goes wrong in one is told, and never half a feed is published."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from data_controller.control import Feed
from data_controller.engine.publisher import Publisher


class World:
    """A server with one client, a feed of three parts, and a loop that turns by hand."""

    def __init__(self, fails: bool = False) -> None:
        self.clients = [1]
        self.published: list[bytes] = []
        self.turns: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.errors: list[Exception] = []
        self.built = 0
        self._fails = fails
        self.publisher = Publisher(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            lambda call, *args: self.turns.append((call, args)),
            self.errors.append,
        )

    def publish(self, feed: bytes) -> None:
        self.published.append(feed)

    def check(self) -> None:
        """The latch's state, which the feed's parts would take."""

    def build(self, latch: Any) -> Feed:
        return Feed(run=7)

    def in_parts(self, latch: Any) -> Generator[None, None, Feed]:
        self.built += 1
        yield
        if self._fails:
            raise RuntimeError("a bug")
        yield
        return Feed(run=self.built)

    def turn(self) -> int:
        turns = 0
        while self.turns:
            call, args = self.turns.pop(0)
            call(*args)
            turns += 1
        return turns


def test_each_part_has_a_turn_of_its_own_and_then_the_whole_is_published() -> None:
    world = World()
    world.publisher.begin()
    assert world.published == []
    assert world.turn() == 3
    assert [b'"run":1' in feed for feed in world.published] == [True]


def test_a_feed_under_way_is_not_begun_twice_and_the_next_one_is() -> None:
    world = World()
    world.publisher.begin()
    world.publisher.begin()
    assert world.built == 1
    world.turn()
    world.publisher.begin()
    world.turn()
    assert (world.built, len(world.published)) == (2, 2)


def test_nothing_is_built_for_nobody() -> None:
    world = World()
    world.clients.clear()
    world.publisher.begin()
    world.publisher.now()
    assert (world.built, world.published, world.turns) == (0, [], [])


def test_an_error_in_a_part_is_told_and_nothing_is_published() -> None:
    world = World(fails=True)
    world.publisher.begin()
    world.turn()
    assert [str(error) for error in world.errors] == ["a bug"]
    assert world.published == []
