"""The WebSocket shell against real loopback peers."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from contextlib import suppress

import pytest

from data_controller.actions import Open, Reconnect, Send
from data_controller.ingest.limiter import TokenBucket
from data_controller.ingest.websocket import _Socket
from data_controller.records import Kind

from .peer import BINARY, CLOSE, CONTINUATION, DEADLINE_S, PING, PONG, TEXT, Link, Peer, Rig, frame, run


async def _opened(rig: Rig, peer: Peer, conn: int = 0) -> Link:
    before = len(peer.links)
    rig.shell.open(Open(conn, "test", peer.url))
    await rig.sink.until(lambda: len(peer.links) > before and rig.shell.stats()["connections"][conn]["open"])
    return peer.links[-1]


def test_a_connection_is_recorded_from_opened_over_its_frames_to_closed() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            link = await _opened(rig, peer, conn=3)
            await link.send(frame(b"[1]") + frame(b"[2]"))
            await rig.sink.until(lambda: len(rig.sink.of(Kind.FRAME)) == 2)
            await link.send(frame(struct.pack("!H", 1001) + b"bye", CLOSE))
            await rig.sink.until(lambda: rig.sink.of(Kind.CLOSED))
            assert rig.sink.kinds() == [Kind.OPENED, Kind.FRAME, Kind.FRAME, Kind.CLOSED]
            assert [r.payload for r in rig.sink.records] == [
                peer.url.encode(),
                b"[1]",
                b"[2]",
                b"the peer closed: 1001 bye",
            ]
            assert {r.conn for r in rig.sink.records} == {3}
            times = [r.recv_ns for r in rig.sink.records]
            assert times == sorted(times)

    run(main())


def test_frames_that_come_with_the_upgrade_stand_behind_the_opened_record() -> None:
    async def main() -> None:
        async def talk(link: Link) -> None:
            await link.send(frame(b"hello"))

        async with Peer(talk) as peer, Rig() as rig:
            rig.shell.open(Open(0, "test", peer.url))
            await rig.sink.until(lambda: rig.sink.of(Kind.FRAME))
            assert rig.sink.kinds() == [Kind.OPENED, Kind.FRAME]

    run(main())


def test_a_burst_is_stamped_once_and_wakes_once_for_each_read() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            link = await _opened(rig, peer)
            wakes = rig.sink.wakes
            payloads = [b"[%d]" % i for i in range(1000)]
            await link.send(b"".join(map(frame, payloads)))
            await rig.sink.until(lambda: len(rig.sink.of(Kind.FRAME)) == 1000)
            assert rig.sink.of(Kind.FRAME) == payloads
            stamps = {r.recv_ns for r in rig.sink.records if r.kind is Kind.FRAME}
            assert len(stamps) == rig.sink.wakes - wakes < 50

    run(main())


@pytest.mark.parametrize("size", [10_000_000, 16 << 20])
def test_a_frame_as_large_as_allowed_comes_through_whole(size: int) -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            link = await _opened(rig, peer)
            payload = bytes(range(256)) * (size // 256)
            await link.send(frame(payload, BINARY) + frame(b"[after]"))
            await rig.sink.until(lambda: len(rig.sink.of(Kind.FRAME)) == 2)
            assert rig.sink.of(Kind.FRAME) == [payload, b"[after]"]

    run(main())


@pytest.mark.parametrize("fragmented", [False, True])
def test_a_message_beyond_the_limit_ends_the_connection_and_is_not_recorded(fragmented: bool) -> None:
    async def main() -> None:
        async with Peer() as peer, Rig(max_message_bytes=4096) as rig:
            link = await _opened(rig, peer)
            if fragmented:
                await link.send(frame(b"x" * 3000, TEXT, fin=False) + frame(b"x" * 3000, CONTINUATION))
            else:
                await link.send(frame(b"x" * 4097))
            await rig.sink.until(lambda: rig.sink.of(Kind.CLOSED))
            assert rig.sink.kinds() == [Kind.OPENED, Kind.CLOSED]
            assert b"4096" in rig.sink.of(Kind.CLOSED)[0]

    run(main())


def test_a_fragmented_message_is_one_record_though_a_ping_stands_inside_it() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            link = await _opened(rig, peer)
            await link.send(
                frame(b"[1,", TEXT, fin=False)
                + frame(b"are you there", PING)
                + frame(b"2,", CONTINUATION, fin=False)
                + frame(b"3]", CONTINUATION)
                + frame(b"[4]")
            )
            await rig.sink.until(lambda: len(rig.sink.of(Kind.FRAME)) == 2)
            assert rig.sink.of(Kind.FRAME) == [b"[1,2,3]", b"[4]"]
            assert await link.receive() == (PONG, b"are you there")

    run(main())


@pytest.mark.parametrize(
    "data", [frame(b"x", CONTINUATION), frame(b"x", TEXT, fin=False) + frame(b"y"), b"\x83\x00", b"\x81\x81aaaab"]
)
def test_a_peer_that_breaks_the_protocol_is_dropped(data: bytes) -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            link = await _opened(rig, peer)
            await link.send(data)
            await rig.sink.until(lambda: rig.sink.of(Kind.CLOSED))
            assert rig.sink.kinds() == [Kind.OPENED, Kind.CLOSED]

    run(main())


def test_a_tcp_connection_killed_inside_a_frame_is_a_closed_record_and_no_frame() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            link = await _opened(rig, peer)
            await link.send(frame(b"[whole]") + frame(b"x" * 1000)[:500])
            await rig.sink.until(lambda: rig.sink.of(Kind.FRAME))
            link.abort()
            await rig.sink.until(lambda: rig.sink.of(Kind.CLOSED))
            assert rig.sink.kinds() == [Kind.OPENED, Kind.FRAME, Kind.CLOSED]
            assert rig.sink.of(Kind.CLOSED) == [b"the connection was lost"]

    run(main())


def test_what_is_sent_arrives_masked_and_is_recorded() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            link = await _opened(rig, peer)
            assert rig.shell.send(Send(0, b'{"event":"ping"}'))
            assert await link.receive() == (TEXT, b'{"event":"ping"}')
            assert rig.sink.of(Kind.SENT) == [b'{"event":"ping"}']

    run(main())


def test_a_send_on_a_slot_that_is_not_open_is_counted_and_not_recorded() -> None:
    async def main() -> None:
        async with Rig() as rig:
            assert not rig.shell.send(Send(5, b"x"))
            assert rig.shell.stats()["connections"][5]["sends_dropped"] == 1
            assert rig.sink.records == []

    run(main())


def test_a_peer_that_does_not_read_is_dropped_when_the_unsent_bytes_pass_their_bound() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig(send_buffer_bytes=1024) as rig:
            await _opened(rig, peer)
            # The peer reads nothing: kernel buffers fill first, then ours. Bounded: 4,096 sends of 64 KiB are 256 MiB.
            for _ in range(4096):
                if not rig.shell.send(Send(0, b"x" * 65536)):
                    break
            else:
                raise AssertionError("expected the connection to be dropped")
            assert b"does not read" in rig.sink.of(Kind.CLOSED)[0]
            stats = rig.shell.stats()["connections"][0]
            assert stats["unsent_peak_bytes"] > 1024
            assert stats["unsent_bytes"] == 0

    run(main())


def test_a_peer_that_pings_and_does_not_read_is_dropped_when_our_pongs_pass_the_bound() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig(send_buffer_bytes=1024) as rig:
            link = await _opened(rig, peer)
            link.reader._transport.pause_reading()  # type: ignore[attr-defined]
            pings = frame(b"p" * 125, PING) * 2000
            for _ in range(1000):  # 250 MB
                if rig.sink.of(Kind.CLOSED):
                    break
                with suppress(ConnectionError):
                    await link.send(pings)
            assert b"does not read" in rig.sink.of(Kind.CLOSED)[0]

    run(main())


def test_a_dropped_socket_says_nothing_after_its_closed_record() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            first = await _opened(rig, peer)
            await first.send(frame(b"[old]"))
            await rig.sink.until(lambda: rig.sink.of(Kind.FRAME))
            await first.send(frame(b"[late]") * 100)  # in flight when the socket is dropped
            rig.shell.reconnect(Reconnect(0, "test"))
            assert rig.sink.kinds()[-1] is Kind.CLOSED
            second = await _opened(rig, peer)
            await second.send(frame(b"[new]"))
            await rig.sink.until(lambda: b"[new]" in rig.sink.of(Kind.FRAME))
            assert rig.sink.kinds()[-3:] == [Kind.CLOSED, Kind.OPENED, Kind.FRAME]
            assert rig.sink.of(Kind.CLOSED) == [b"test"]

    run(main())


def test_a_socket_that_is_dropped_inside_a_burst_gives_no_further_frame() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            link = await _opened(rig, peer)
            push = rig.sink.push

            def drop_at_three(kind: int, conn: int, recv_ns: int, payload: bytes | memoryview) -> None:
                push(kind, conn, recv_ns, payload)
                if bytes(payload) == b"[3]":
                    rig.shell.reconnect(Reconnect(0, "seen enough"))

            rig.shell._slots[0].socket._push = drop_at_three
            await link.send(b"".join(frame(b"[%d]" % i) for i in range(10)))
            await rig.sink.until(lambda: rig.sink.of(Kind.CLOSED))
            assert rig.sink.of(Kind.FRAME) == [b"[0]", b"[1]", b"[2]", b"[3]"]

    run(main())


def test_reconnect_of_a_slot_that_is_not_open_records_nothing() -> None:
    async def main() -> None:
        async with Rig() as rig:
            rig.shell.reconnect(Reconnect(0, "test"))
            assert rig.sink.records == []

    run(main())


def test_a_connection_that_ended_is_not_reopened_unasked() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            link = await _opened(rig, peer)
            link.abort()
            await rig.sink.until(lambda: rig.sink.of(Kind.CLOSED))
            await asyncio.gather(*rig.shell._tasks)  # nothing is left that could open
            assert peer.asked == 1

    run(main())


def test_people_are_told_once_of_a_peer_that_loses_one_socket_after_the_other() -> None:
    async def hang_up(link: Link) -> None:
        link.abort()

    async def main() -> None:
        async with Peer(hang_up) as peer, Rig(connection_burst=900, connections_per_minute=1000) as rig:
            for lost in range(1, 6):
                rig.shell.open(Open(0, "test", peer.url))
                await rig.sink.until(lambda lost=lost: len(rig.sink.of(Kind.CLOSED)) == lost)
                told = [(a.severity, a.name) for a in rig.alerts]
                assert told == [("warning", "connection_unstable")] * (lost >= 3)
            assert "lost 3 times in a row" in rig.alerts[0].text and peer.url in rig.alerts[0].text

    run(main())


def test_a_second_open_of_a_slot_that_is_coming_or_open_changes_nothing() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            rig.shell.open(Open(0, "test", peer.url))
            await _opened(rig, peer)
            rig.shell.open(Open(0, "test", peer.url))
            assert rig.shell.stats()["connections"][0]["attempts"] == 1
            assert rig.sink.kinds() == [Kind.OPENED]

    run(main())


def test_refused_connections_are_retried_until_the_peer_is_there_and_record_nothing_before() -> None:
    async def main() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        async with Rig(unreachable_after_s=0.01, connection_burst=400, connections_per_minute=100000 // 100) as rig:
            rig.shell.open(Open(0, "test", f"ws://127.0.0.1:{port}/"))
            async with asyncio.timeout(30):  # the alert may come before the first attempt has failed
                while not (rig.alerts and rig.shell.stats()["connections"][0]["last_error"]):
                    await asyncio.sleep(0)
            assert rig.sink.records == []
            assert [(a.severity, a.name) for a in rig.alerts] == [("warning", "connection_unreachable")]
            assert "ConnectionRefusedError" in rig.shell.stats()["connections"][0]["last_error"]
            peer = Peer()
            peer.port = port
            async with peer:
                await rig.sink.until(lambda: rig.sink.of(Kind.OPENED))
                stats = rig.shell.stats()["connections"][0]
                assert stats["failures"] == stats["attempts"] - 1 > 0
                assert stats["last_error"] == ""

    run(main())


def test_a_status_that_a_person_must_look_at_is_alerted_at_once_and_503_is_not() -> None:
    async def main() -> None:
        async with Peer(status="503 Service Unavailable") as peer, Rig() as rig:
            rig.shell.open(Open(0, "test", peer.url))
            async with asyncio.timeout(DEADLINE_S):
                while peer.asked < 3:
                    await asyncio.sleep(0)
            assert rig.alerts == []
            peer.status = "404 Not Found"
            await rig.sink.until(lambda: rig.alerts)
            assert [a.severity for a in rig.alerts] == ["critical"]
            assert "404" in rig.alerts[0].text
            peer.status = ""  # it is tried all the same: what a person mends must not need a restart
            await rig.sink.until(lambda: rig.sink.of(Kind.OPENED))

    run(main())


def test_a_peer_that_hangs_up_inside_the_handshake_is_tried_again() -> None:
    async def main() -> None:
        connections = 0

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        async with Rig() as rig:
            rig.shell.open(Open(0, "test", f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
            async with asyncio.timeout(DEADLINE_S):
                while connections < 3:
                    await asyncio.sleep(0)
            assert rig.sink.records == []
        server.close()

    run(main())


def test_a_peer_that_never_answers_the_handshake_is_given_up_after_the_timeout() -> None:
    async def main() -> None:
        connections = 0
        done = asyncio.Event()

        async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await done.wait()
            writer.transport.abort()

        server = await asyncio.start_server(ignore, "127.0.0.1", 0)
        async with Rig(connect_timeout_s=0.02) as rig:
            rig.shell.open(Open(0, "test", f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
            async with asyncio.timeout(DEADLINE_S):
                while connections < 2:
                    await asyncio.sleep(0)
            assert rig.shell.stats()["connections"][0]["failures"] >= 1
            done.set()
        server.close()

    run(main())


def test_a_pause_stops_reading_on_every_connection_and_loses_nothing() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig(read_buffer_bytes=4096) as rig:
            links = [await _opened(rig, peer, conn) for conn in range(3)]
            rig.shell.pause()
            burst = frame(b"x" * 1000) * 200
            writing = [asyncio.create_task(link.send(burst)) for link in links]
            rig.shell.open(Open(3, "test", peer.url))  # opens under pause, so its first read is the handshake
            await rig.sink.until(lambda: len(peer.links) == 4 and len(rig.sink.of(Kind.OPENED)) == 4)
            writing.append(asyncio.create_task(peer.links[3].send(burst)))
            # A ping answered by another connection of the loop would prove nothing: give the loop turns to misread.
            for _ in range(100):
                await asyncio.sleep(0)
            assert rig.sink.of(Kind.FRAME) == []
            rig.shell.resume()
            await asyncio.gather(*writing)
            await rig.sink.until(lambda: len(rig.sink.of(Kind.FRAME)) == 800)
            assert rig.shell.stats()["pauses"] == 1

    run(main())


def test_no_more_connections_are_opened_at_once_than_the_burst_allows() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig(connection_burst=3, connections_per_minute=4) as rig:
            for conn in range(6):
                rig.shell.open(Open(conn, "test", peer.url))
            await rig.sink.until(lambda: len(rig.sink.of(Kind.OPENED)) == 3)
            for _ in range(100):
                await asyncio.sleep(0)
            assert peer.asked == 3

    run(main())


def test_reconnect_waits_until_the_time_it_is_told() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            await _opened(rig, peer)
            not_before_ns = rig.sink.records[-1].recv_ns + 50_000_000
            rig.shell.reconnect(Reconnect(0, "test", not_before_ns))
            await _opened(rig, peer)
            assert rig.sink.records[-1].kind is Kind.OPENED
            assert rig.sink.records[-1].recv_ns >= not_before_ns

    run(main())


def test_close_ends_sockets_and_attempts_and_records_the_reason() -> None:
    async def main() -> None:
        async with Peer() as peer, Rig() as rig:
            link = await _opened(rig, peer)
            rig.shell.open(Open(1, "test", "ws://127.0.0.1:1/"))
            await rig.shell.close("done")
            assert rig.sink.kinds() == [Kind.OPENED, Kind.CLOSED]
            assert rig.sink.of(Kind.CLOSED) == [b"done"]
            assert rig.shell._tasks == set()
            opcode, payload = await link.receive()
            assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1001))

    run(main())


def test_a_shell_that_goes_on_from_another_keeps_to_its_connection_rate() -> None:
    async def main() -> None:
        async with Peer() as peer:
            async with Rig(connection_burst=1, connections_per_minute=2) as before:
                await _opened(before, peer)
            async with Rig(connection_burst=1, connections_per_minute=2) as rig:
                rig.shell.go_on_from(before.shell)
                rig.shell.open(Open(0, "test", peer.url))
                for _ in range(50):
                    await asyncio.sleep(0.001)
                assert len(peer.links) == 1

    run(main())


def test_reconnects_leave_nothing_behind_for_a_collector_of_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoSecrets:
        def needed(self, venue: str, payload: bytes) -> bool:
            return False

        async def filled(self, venue: str, payload: bytes) -> bytes:
            return payload

    monkeypatch.setattr(TokenBucket, "take", lambda self, now_ns: 0)

    async def main() -> None:
        async with Peer() as peer, Rig(reconnect_first_s=0.0001, reconnect_max_s=0.0001, stable_after_s=0.0001) as rig:
            rig.shell._secrets = NoSecrets()
            gc.collect()
            gc.disable()
            try:
                for _ in range(200):
                    await _opened(rig, peer)
                    rig.shell.reconnect(Reconnect(0, "test"))
                    gc.collect(0)  # as the engine does: what lives then is not looked at again
                for _ in range(50):
                    await asyncio.sleep(0)
                sockets = sum(type(thing) is _Socket for thing in gc.get_objects())
            finally:
                gc.enable()
            assert sockets < 5

    run(main())
