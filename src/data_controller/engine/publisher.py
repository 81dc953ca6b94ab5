"""Publishes the feed over several turns of the loop, a part in each, so that no frame waits for a whole one."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from data_controller.control import Feed, encode_feed
from data_controller.engine.control_server import ControlServer
from data_controller.engine.feed import FeedBuilder
from data_controller.killswitch.latch import Latch


class Publisher:
    """`call_soon` schedules on the loop; `on_error` hears of what nobody expected."""

    def __init__(
        self,
        feed: FeedBuilder,
        server: ControlServer,
        latch: Latch,
        call_soon: Callable[..., Any],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._feed = feed
        self._server = server
        self._latch = latch
        self._call_soon = call_soon
        self._on_error = on_error
        self._under_way = False

    def now(self) -> None:
        """Publish the feed of this moment in one go."""
        if self._server.clients:
            self._server.publish(encode_feed(self._feed.build(self._latch.check())))

    def begin(self) -> None:
        """Begin a feed, unless the last is still under way: the newest wins, and one pulse is as good as the next."""
        if self._server.clients and not self._under_way:
            self._under_way = True
            self._part(self._feed.in_parts(self._latch.check()))

    def _part(self, parts: Generator[None, None, Feed]) -> None:
        try:
            next(parts)
        except StopIteration as done:
            self._call_soon(self._whole, done.value)
        except Exception as error:
            self._on_error(error)
        else:
            self._call_soon(self._part, parts)

    def _whole(self, feed: Feed) -> None:
        self._under_way = False
        self._server.publish(encode_feed(feed))
