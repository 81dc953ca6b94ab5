"""The simulated exchange over real sockets, in a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from data_controller.simulator.__main__ import main
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.server import BEHIND_NS, RUN_S, Server

from .simulator_client import ALL_FLAGS, Client
from .simulator_process import Process

HANDSHAKE = (
    b"GET /ws/2 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture
def simulator() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(*arguments: str) -> Process:
        started.append(Process(*arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end()


def greeted(connection: ClientConnection, symbols: tuple[str, ...] = ("tBTCUSD",)) -> Client:
    client = Client()
    connection.send(json.dumps({"event": "conf", "flags": ALL_FLAGS}))
    for symbol in symbols:
        for channel in ("book", "trades"):
            connection.send(json.dumps({"event": "subscribe", "channel": channel, "symbol": symbol}))
    follow(connection, client, lambda: len(client.channels) == 2 * len(symbols))
    return client


def follow(connection: ClientConnection, client: Client, until: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        client.feed([connection.recv(timeout=seconds, decode=False)])


def test_a_client_over_a_socket_keeps_a_proved_book_and_the_log_knows_each_send(simulator, tmp_path):
    exchange = simulator("--seed", "3", "--instruments", "2", "--ticks-per-second", "400", "--sent-log", str(tmp_path))
    with exchange.open() as connection:
        client = greeted(connection, ("tBTCUSD", "tETHUSD"))
        follow(connection, client, lambda: len(client.checksums) >= 20)
        arrived = time.monotonic_ns()
        assert all(good for _, good in client.checksums)
        assert client.sequences == list(range(1, len(client.sequences) + 1))
        chan_id = next(iter(client.books))
        truth = exchange.do("truth", chan_id=chan_id, conn=0, seq=client.sequences[-1])
        assert [list(map(list, side)) for side in client.books[chan_id].sides()] == [truth["bids"], truth["asks"]]
        stats = exchange.do("stats")["connections"][0]
        assert stats["client_port"] == connection.local_address[1]
        assert len(stats["channels"]) == 4
    assert exchange.end() == 0
    log = np.load(tmp_path / "sent.npy")
    assert log["seq"][: len(client.sequences)].tolist() == client.sequences
    assert np.all(np.diff(log["mono_ns"]) >= 0)
    assert log["mono_ns"][len(client.sequences) - 1] < arrived
    assert json.loads((tmp_path / "connections.json").read_text())[0]["conn"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_cleanly_on_a_signal(simulator, number):
    exchange = simulator("--instruments", "1")
    exchange.process.send_signal(number)
    assert exchange.process.wait(60) == 0


def test_the_twenty_first_connection_of_a_minute_is_refused(simulator):
    exchange = simulator("--instruments", "1")
    for _ in range(20):
        with exchange.open():
            pass
    with pytest.raises(InvalidStatus) as refusal:
        exchange.open()
    assert refusal.value.response.status_code == 429
    assert exchange.do("stats")["refused"] == 1


def test_a_cut_ends_the_stream_inside_a_snapshot(simulator):
    exchange = simulator("--instruments", "1")
    with exchange.open() as connection:
        connection.recv(timeout=60)
        assert exchange.do("fault", conn="latest", kind="cut", frame="snapshot")["armed"] == [0]
        connection.send('{"event":"subscribe","channel":"book","symbol":"tBTCUSD"}')
        assert json.loads(connection.recv(timeout=60))["event"] == "subscribed"
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=60)
    assert exchange.do("stats")["gone"][0]["ended"] == "cut"


def test_a_dropped_frame_leaves_a_hole_in_the_sequence(simulator):
    exchange = simulator("--instruments", "1", "--ticks-per-second", "200")
    with exchange.open() as connection:
        client = greeted(connection)
        exchange.do("fault", kind="drop", frame="te")
        follow(connection, client, lambda: client.sequences[-1] != len(client.sequences))


def test_chaos_arms_faults_drawn_by_a_seed_and_healing_takes_them_back(simulator):
    exchange = simulator("--instruments", "1")
    with exchange.open() as connection:
        connection.recv(timeout=60)
        drawn = exchange.do("chaos", conn="latest", seed=4, count=7, frames=100_000)["faults"]
        assert len(drawn) == 7
        assert exchange.do("stats")["connections"][0]["armed"] >= 1
        exchange.do("heal")
        assert exchange.do("stats")["connections"][0]["armed"] == 0


def test_a_client_that_does_not_read_is_hung_up_on(simulator):
    exchange = simulator("--instruments", "1", "--ticks-per-second", "40000", "--buffer-limit-bytes", "200000")
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", exchange.port))
        raw.sendall(HANDSHAKE)
        request = b'{"event":"subscribe","channel":"book","symbol":"tBTCUSD"}'
        raw.sendall(bytes((0x81, 0x80 | len(request))) + bytes(4) + request)  # masked with zeros
        deadline = time.monotonic() + 60
        while not exchange.do("stats")["gone"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert exchange.do("stats")["gone"][0]["ended"] == "slow"


def test_a_maintenance_is_announced_and_new_clients_see_it(simulator):
    exchange = simulator("--instruments", "1")
    with exchange.open() as connection:
        client = greeted(connection)
        exchange.do("maintenance", duration_s=5.0)
        follow(connection, client, lambda: client.events[-1].get("code") == 20060)
        with exchange.open() as second:
            assert json.loads(second.recv(timeout=60))["platform"] == {"status": 0}
        follow(connection, client, lambda: client.events[-1].get("code") == 20061)


def test_a_refusing_exchange_answers_503(simulator):
    exchange = simulator("--instruments", "1")
    exchange.do("refuse", duration_s=60)
    with pytest.raises(InvalidStatus) as refusal:
        exchange.open()
    assert refusal.value.response.status_code == 503


def test_lists_of_pairs_are_served_over_http(simulator):
    exchange = simulator("--instruments", "3")
    base = f"http://127.0.0.1:{exchange.port}"
    with urllib.request.urlopen(f"{base}/v2/conf/pub:list:pair:exchange,pub:list:currency") as reply:
        assert json.load(reply) == [["BTCUSD", "ETHUSD", "SOLUSD"], ["BTC", "ETH", "SOL", "USD"]]
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{base}/v2/nothing")


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"do":"dance"}', '{"do":"truth","symbol":"tNOPE"}', '{"do":"close","conn":9}']
)
def test_a_bad_command_is_refused_with_a_reason(simulator, line):
    exchange = simulator("--instruments", "1")
    exchange.control.sendall(line.encode() + b"\n")
    reply = json.loads(exchange.replies.readline())
    assert reply["ok"] is False
    assert reply["error"]


def test_a_load_is_sent_whole_at_its_rate_and_stamped(simulator, tmp_path):
    exchange = simulator(
        *("--instruments", "4", "--ticks-per-second", "2000", "--load", "--load-s", "1", "--rate", "2000"),
        *("--load-channels", "8", "--sent-log", str(tmp_path)),
    )
    with exchange.open() as connection:
        client = greeted(connection, ("tBTCUSD", "tETHUSD", "tSOLUSD", "tXRPUSD"))
        first = len(client.sequences)
        report = {}
        follow(connection, client, lambda: len(client.sequences) >= first + 1500)
        report = exchange.line()["load"]
        follow(connection, client, lambda: len(client.sequences) >= first + report["frames"])
    assert client.sequences == list(range(1, len(client.sequences) + 1))
    assert all(good for _, good in client.checksums)
    assert len(client.checksums) > 50
    assert 0 < report["achieved_rate"] < 2400  # a busy machine may make it slower, nothing faster
    assert report["broken"] == []
    assert exchange.end() == 0
    log = np.load(tmp_path / "sent.npy")
    sent = sorted(log["seq"].tolist())
    assert sent == list(range(1, len(sent) + 1))
    assert len(sent) >= first + report["frames"] >= 2000
    assert np.all(log["mono_ns"] > 0)


class Dear:
    """Whoever looks at the market, at a price a step on a clock of its own."""

    def __init__(self, step_s: float) -> None:
        self.step_s, self.spent_s = step_s, 0.0

    def step(self, now_ns: int) -> None:
        self.spent_s += self.step_s


@pytest.mark.parametrize(("step_s", "keeps_up"), [(0.0001, True), (0.04, True), (0.06, False)])
def test_a_market_dearer_than_its_time_never_keeps_the_loop_and_is_never_far_behind(monkeypatch, step_s, keeps_up):
    exchange, dear = Exchange(1, 1), Dear(step_s)
    exchange.venues.append(dear)
    server = Server(exchange)
    server.go()
    start_ns = server.exchange.now_ns
    monkeypatch.setattr(time, "monotonic", lambda: dear.spent_s)
    monkeypatch.setattr(server, "now_ns", lambda: start_ns + int(dear.spent_s * 1e9) + idle_ns)
    idle_ns, longest_s = 0, 0.0
    for _ in range(200):
        before_s = dear.spent_s
        idle_ns += 1_000_000
        server.run_on()
        longest_s = max(longest_s, dear.spent_s - before_s)
        assert server.now_ns() - exchange.now_ns <= BEHIND_NS + (RUN_S + step_s) * 1e9
    assert longest_s <= RUN_S + step_s
    assert (server.skipped_ns == 0) == keeps_up


def test_a_long_absence_is_left_out_of_the_market_at_once(monkeypatch):
    exchange, dear = Exchange(1, 1), Dear(0.01)
    exchange.venues.append(dear)
    server = Server(exchange)
    server.go()
    later_ns = exchange.now_ns + 3_600_000_000_000
    monkeypatch.setattr(time, "monotonic", lambda: dear.spent_s)
    monkeypatch.setattr(server, "now_ns", lambda: later_ns)
    server.run_on()
    assert exchange.now_ns == later_ns and dear.spent_s <= RUN_S + 0.01
    assert server.stats()["skipped_ns"] > 3_590_000_000_000


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "99999"),
        ("--port", "-1"),
        ("--control-port", "x"),
        ("--ticks-per-second", "nan"),
        ("--ticks-per-second", "1e300"),
        ("--volatility-bps", "inf"),
        ("--horizon-s", "0"),
        ("--instruments", "0"),
        ("--check-every", "0"),
        ("--run-s", "-1"),
        ("--prehistory-seconds", "inf"),
    ],
)
def test_an_option_out_of_its_range_is_refused_by_name(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    assert f"argument {arguments[0]}: expected a" in capsys.readouterr().err


@pytest.mark.parametrize("ports", ["kraken=70000", "kraken=-1", "kraken=x", "kraken", "=1=2"])
def test_ports_of_venues_that_cannot_be_are_refused(capsys, ports):
    assert main(["--venues", "kraken", "--venue-ports", ports]) == 2
    assert "expected ports such as" in capsys.readouterr().err
