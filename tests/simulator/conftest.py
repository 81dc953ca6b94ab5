"""Fixtures of the simulator's tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from simulator_client import ALL_FLAGS, Client

from data_controller.simulator.exchange import Exchange
from data_controller.simulator.session import Session


@pytest.fixture
def open_session() -> Callable[..., tuple[Exchange, Session, Client]]:
    def make(seed: int = 5, instruments: int = 2, flags: int = ALL_FLAGS, **options: Any) -> tuple[Any, Any, Any]:
        exchange = Exchange(seed, instruments, **options)
        session = Session(exchange)
        client = Client(flags)
        client.feed(session.receive(json.dumps({"event": "conf", "flags": flags})))
        return exchange, session, client

    return make
