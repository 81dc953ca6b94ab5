"""Several venues of one market over real sockets: one process, each on its port, and what a broken one does."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, PayloadTooBig, WebSocketException
from websockets.sync.client import ClientConnection, connect

from .simulator_process import Process
from .venue_clients import KrakenBooks

DEPTH = b'{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms"],"id":1}'
BOOK = b'{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"]}}'


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    one = Process("--instruments", "2", "--ticks-per-second", "400", "--venues", "binance,binance_usdm,kraken")
    yield one
    assert one.end() == 0


def open_venue(process: Process, name: str, what: str = "ws", **options: Any) -> ClientConnection:
    options = {"compression": None, "max_size": 1 << 24} | options
    return connect(process.ready["venues"][name][what], **options)


def rest(process: Process, name: str, target: str, method: str = "GET", **options: Any) -> httpx.Response:
    return httpx.request(method, process.ready["venues"][name]["rest"] + target, **options)


def test_the_ready_line_names_every_address(process):
    venues = process.ready["venues"]
    assert set(venues) == {"bitfinex", "binance", "binance_usdm", "kraken"}
    assert venues["bitfinex"]["ws"].endswith(f":{process.port}/ws/2")
    assert len({address.split(":")[2].split("/")[0] for venue in venues.values() for address in venue.values()}) == 4


def test_all_venues_tell_of_the_same_market_at_once(process):
    with (
        process.open() as bitfinex,
        open_venue(process, "binance") as binance,
        open_venue(process, "binance_usdm", "streams") as usdm,
        open_venue(process, "kraken") as kraken,
    ):
        bitfinex.send('{"event":"subscribe","channel":"trades","symbol":"tBTCUSD"}')
        binance.send(DEPTH)
        usdm.send(DEPTH)
        kraken.send(BOOK)
        assert json.loads(binance.recv(5)) == {"result": None, "id": 1}
        assert json.loads(binance.recv(5))["e"] == "depthUpdate"
        assert json.loads(usdm.recv(5)) == {"result": None, "id": 1}
        assert "pu" in json.loads(usdm.recv(5))["data"]
        assert [json.loads(kraken.recv(5)).get("channel") for _ in range(3)] == ["status", None, "book"]
        assert json.loads(bitfinex.recv(5))["event"] == "info"
        channels = [c for conn in process.do("stats")["connections"] for c in conn["channels"]]
        assert {c.get("symbol") for c in channels} >= {"tBTCUSD", "BTCUSDT", "BTC/USD"}


def test_rest_keeps_its_connection_and_takes_bodies(process):
    with httpx.Client(base_url=process.ready["venues"]["binance"]["rest"]) as client:
        for _ in range(3):
            answer = client.get("/api/v3/depth", params={"symbol": "BTCUSDT", "limit": 5})
            assert answer.status_code == 200 and len(answer.json()["bids"]) == 5
        assert client.get("/nowhere").status_code == 404
    answer = rest(
        process, "kraken", "/0/private/GetWebSocketsToken", "POST", data={"nonce": 1}, headers={"API-Key": "k"}
    )
    assert answer.json()["result"]["token"]


def test_a_client_that_compresses_is_understood(process):
    with open_venue(process, "binance", compression="deflate") as client:
        client.send(json.dumps({"method": "SUBSCRIBE", "params": ["btcusdt@trade"] * 20, "id": 3}))
        assert json.loads(client.recv(5)) == {"result": None, "id": 3}


def test_a_wrong_checksum_and_a_lost_update_are_seen_by_a_client_over_the_socket(process):
    with open_venue(process, "kraken") as client:
        client.send(BOOK)
        books = KrakenBooks()
        assert process.do("fault", conn="latest", kind="checksum", after=5)["ok"]
        from data_controller.simulator.exchange import Frame

        while books.checked < 20:
            books.take(Frame(client.recv(5).encode(), 0, 0, 0, 0))
        assert books.bad == 1


def test_a_wrong_acknowledgement_names_what_nobody_asked_for(process):
    with open_venue(process, "kraken") as kraken, open_venue(process, "binance") as binance:
        assert process.do("fault", kind="wrong_ack")["ok"]
        kraken.send(BOOK)
        binance.send(DEPTH)
        kraken.recv(5)
        assert json.loads(kraken.recv(5))["result"]["symbol"] == "WRONG/USD"
        assert json.loads(binance.recv(5))["id"] == 1_000_001


@pytest.mark.parametrize("kind", ["huge", "endless", "bomb"])
def test_a_flood_is_more_than_a_client_takes_and_ends_that_connection_alone(process, kind):
    compression = "deflate" if kind == "bomb" else None
    with (
        open_venue(process, "binance", compression=compression, max_size=1 << 20) as client,
        open_venue(process, "kraken") as other,
    ):
        client.send(DEPTH)
        client.recv(5)
        conn = max(
            c["conn"] for c in process.do("stats")["connections"] if c["channels"][:1] and "chanId" in c["channels"][0]
        )
        assert process.do("fault", conn=conn, kind=kind, limit_bytes=64 << 20)["ok"]
        with pytest.raises((ConnectionClosed, PayloadTooBig)):
            while True:
                client.recv(10)
        other.send(BOOK)
        assert json.loads(other.recv(5))["channel"] == "status"


def test_a_connection_may_end_in_the_middle_of_a_snapshot(process):
    with open_venue(process, "kraken") as client:
        client.recv(5)
        assert process.do("fault", conn="latest", kind="cut", frame="snapshot")["ok"]
        client.send(BOOK)
        client.recv(5)
        with pytest.raises(ConnectionClosed):
            client.recv(5)


def test_rest_faults_and_a_wrong_clock_come_by_the_control_port(process):
    assert process.do("rest_fault", venue="binance", kind="rest_429", count=2)["ok"]
    statuses = [rest(process, "binance", "/api/v3/time").status_code for _ in range(3)]
    assert statuses == [429, 429, 200]
    now = rest(process, "binance", "/api/v3/time").json()["serverTime"]
    process.do("clock", venue="binance", offset_s=-1e8)
    assert now - rest(process, "binance", "/api/v3/time").json()["serverTime"] > 9e10
    process.do("clock", venue="binance")
    assert process.do("requests", venue="binance")["requests"][-1][1:] == ["/api/v3/time", 200]
    assert "error" in process.do("rest_fault", venue="binance", kind="nonsense")
    assert "error" in process.do("clock", venue="nasdaq")


def test_tls_that_fails_is_an_error_of_the_handshake(process):
    port = int(process.ready["venues"]["kraken"]["rest"].rsplit(":", 1)[1])
    assert process.do("tls", venue="kraken", duration_s=60)["ok"]
    with socket.create_connection(("127.0.0.1", port), 5) as raw, pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(raw, server_hostname="localhost")
    with pytest.raises((WebSocketException, EOFError, OSError)):
        open_venue(process, "kraken")
    process.do("tls", venue="kraken", duration_s=0)
    with open_venue(process, "kraken") as client:
        assert json.loads(client.recv(5))["channel"] == "status"


def test_the_truth_is_told_by_the_control_port(process):
    told = process.do("truth", venue="kraken", symbol="BTC/USD", depth=10)
    assert len(told["bids"]) == len(told["asks"]) == 10
    assert len(process.do("truth", venue="binance", symbol="BTCUSDT")["bids"]) > 50
    assert not process.do("truth", venue="binance", symbol="BTCUSDT", update_id=5)["ok"]
