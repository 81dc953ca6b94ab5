"""The REST shell: Fetch actions in, FETCHED records out."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from data_controller.actions import Alert, Fetch
from data_controller.exchanges.rest_limits import RestLimits
from data_controller.ingest.rest_shell import RestShell
from data_controller.records import Fetched, Kind

from .peer import RecordingSink, run
from .test_rest import WIDE
from .web import HandTime, Web, answer, client


class Rig:
    """A shell on a recording sink; `lives` says which socket of a slot is open."""

    def __init__(self, limits: RestLimits = WIDE, **settings: Any) -> None:
        self.sink = RecordingSink()
        self.alerts: list[Alert] = []
        self.lives = {7: 1}
        self.time = HandTime()
        rest = client(self.time, limits, **settings)
        self.shell = RestShell(
            self.sink, lambda: 10**18, self.alerts.append, rest, lambda conn: self.lives.get(conn, 0)
        )

    def _life_of(self, conn: int) -> int:
        return self.lives.get(conn, 0)

    async def __aenter__(self) -> Rig:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shell.close()

    @property
    def fetched(self) -> list[Fetched]:
        return [msgspec.json.decode(payload, type=Fetched) for payload in self.sink.of(Kind.FETCHED)]

    async def until_idle(self) -> None:
        while self.shell.stats()["waiting"]:
            await asyncio.sleep(0)


def test_an_answer_becomes_a_record_of_the_slot_that_asked() -> None:
    async def main() -> None:
        async with Web(answer(b'{"lastUpdateId":1}')) as web, Rig() as rig:
            url = f"{web.url}/depth?symbol=BTCUSDT&apikey=abc"
            assert rig.shell.fetch(Fetch(7, "test", url))
            await rig.sink.until(lambda: rig.fetched)
            shown = url.replace("abc", "***")
            assert rig.fetched == [Fetched(request=shown, status=200, body=b'{"lastUpdateId":1}', asked_ns=10**18)]
            assert [(r.conn, r.recv_ns) for r in rig.sink.records] == [(7, 10**18)]
            assert web.paths == ["/depth?symbol=BTCUSDT&apikey=abc"]
            assert rig.sink.wakes == 1 and rig.alerts == []

    run(main())


def test_a_refusal_keeps_its_status_and_a_silence_is_status_0_with_the_reason() -> None:
    async def main() -> None:
        async with Web(answer(b"no such symbol", "404 Not Found"), answer(b"", "503 Busy")) as web, Rig() as rig:
            for n in range(2):
                rig.shell.fetch(Fetch(7, "test", web.url))
                await rig.sink.until(lambda n=n: len(rig.fetched) > n)
            refused, failed = rig.fetched
            assert (refused.status, refused.body) == (404, b"no such symbol")
            assert failed.status == 0 and b"503" in failed.body
            assert [alert.name for alert in rig.alerts] == ["rest_failed"] * 2

    run(main())


def test_an_answer_for_a_socket_that_is_gone_is_dropped_and_counted() -> None:
    async def main() -> None:
        async with Rig() as rig:

            async def talk(path: str, writer: asyncio.StreamWriter) -> None:
                rig.lives[7] += 1  # reopened while the answer is on its way
                writer.write(answer(b"[]"))

            async with Web(talk) as web:
                rig.shell.fetch(Fetch(7, "test", web.url))
                assert not rig.shell.fetch(Fetch(8, "test", web.url))
                await rig.until_idle()
                assert rig.fetched == []
                assert rig.shell.stats()["dropped"] == 2
                assert len(web.heads) == 1

    run(main())


def test_more_requests_than_may_wait_are_refused_at_once_with_a_record() -> None:
    async def main() -> None:
        async def never(path: str, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async with Web(never) as web, Rig(max_waiting=2) as rig:
            results = [rig.shell.fetch(Fetch(7, "test", f"{web.url}/{n}")) for n in range(4)]
            assert results == [True, True, False, False]
            assert [f.status for f in rig.fetched] == [0, 0]
            stats = rig.shell.stats()
            assert (stats["waiting"], stats["waiting_peak"], stats["refused_full"]) == (2, 2, 2)

    run(main())


def test_a_request_for_the_same_address_takes_the_place_of_the_one_under_way() -> None:
    async def main() -> None:
        async def never(path: str, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async with Web(never, never, answer(b"[2]")) as web, Rig(max_waiting=2) as rig:
            for heads in (1, 2):
                assert rig.shell.fetch(Fetch(7, "test", f"{web.url}/{heads}"))
                while len(web.heads) < heads:
                    await asyncio.sleep(0.001)
            assert rig.shell.fetch(Fetch(7, "test", f"{web.url}/1"))  # where more would be too many
            await rig.sink.until(lambda: rig.fetched)
            assert [f.body for f in rig.fetched] == [b"[2]"]
            await asyncio.sleep(0)
            stats = rig.shell.stats()
            assert (stats["replaced"], stats["waiting"], stats["refused_full"]) == (1, 1, 0)

    run(main())


def test_answers_wait_while_the_sink_runs_full() -> None:
    async def main() -> None:
        async with Web(answer(b"[1]")) as web, Rig() as rig:
            rig.shell.pause()
            rig.shell.fetch(Fetch(7, "test", web.url))
            while not rig.shell.counters["fetched"]:
                await asyncio.sleep(0)
            assert rig.fetched == []
            rig.shell.resume()
            await rig.sink.until(lambda: rig.fetched)

    run(main())


def test_nothing_is_asked_before_its_time() -> None:
    async def main() -> None:
        async with Web(answer(b"[1]")) as web, Rig() as rig:
            loop = asyncio.get_running_loop()
            began = loop.time()
            rig.shell.fetch(Fetch(7, "test", web.url, not_before_ns=10**18 + 20_000_000))
            await rig.sink.until(lambda: rig.fetched)
            assert loop.time() - began >= 0.02

    run(main())
