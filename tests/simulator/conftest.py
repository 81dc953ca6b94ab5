"""Fixtures of the simulator's tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from data_controller.simulator.exchange import Exchange
from data_controller.simulator.session import Session

from .simulator_client import ALL_FLAGS, Client


@pytest.fixture
def open_session() -> Callable[..., tuple[Exchange, Session, Client]]:
    def make(seed: int = 5, instruments: int = 2, flags: int = ALL_FLAGS, **options: Any) -> tuple[Any, Any, Any]:
        exchange = Exchange(seed, instruments, **options)
        session = Session(exchange)
        client = Client(flags)
        client.feed(session.receive(json.dumps({"event": "conf", "flags": flags})))
        return exchange, session, client

    return make
