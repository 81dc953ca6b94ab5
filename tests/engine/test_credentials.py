"""Data-only keys against venues on loopback: what is sent, what is refused, and that no secret stays anywhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from data_controller.actions import Reconnect
from data_controller.engine import credentials
from data_controller.engine.credentials import read_secret
from data_controller.errors import ConfigError
from data_controller.exchanges.coinbase.dialect import CoinbaseDialect
from data_controller.exchanges.kraken.dialect import KrakenDialect
from data_controller.market.tables import Channel
from data_controller.records import Fetched, Kind
from tests.engine.keys import KEY, PASSPHRASE, SECRETS, Asked, KeyVenue, Kraken, Rig, S, coinbase
from tests.ingest.peer import run

KRAKEN, COINBASE = KrakenDialect(), CoinbaseDialect()
INFO, TOKEN = "/0/private/GetApiKeyInfo", "/0/private/GetWebSocketsToken"
PING = b'{"method":"ping"}'


def level3(rig: Rig, request: int = 1, symbol: str = "BTC/USD") -> bytes:
    return KRAKEN.subscribe(rig.settings.kraken, [Channel("kraken", symbol, "book", "R0", length=10)], request)


def full(rig: Rig) -> bytes:
    return COINBASE.subscribe(rig.settings.coinbase, [Channel("coinbase", "BTC-USD", "book", "R0")], 1)


def refusals(rig: Rig) -> list[Fetched]:
    return [msgspec.json.decode(p, type=Fetched) for p in rig.sink.of(Kind.FETCHED)]


def no_secret_stays(rig: Rig, *also: str) -> None:
    stored = rig.stored()
    assert stored
    for secret in (*SECRETS, *also):
        assert secret.encode() not in stored


def test_a_kraken_key_that_can_only_read_subscribes_with_its_token(tmp_path: Path) -> None:
    async def main() -> None:
        async with KeyVenue(Kraken()) as venue, Rig("kraken", venue, tmp_path) as rig:
            rig.send(PING)
            rig.send(level3(rig))
            rig.send(level3(rig, 2, "ETH/USD"))
            rig.send(PING)
            heard = await venue.heard(4)
            assert [m["method"] for m in heard] == ["ping", "subscribe", "subscribe", "ping"]
            assert [m["params"]["token"] for m in heard[1:3]] == ["token-1", "token-1"]
            assert venue.paths == [INFO, TOKEN]
            assert rig.sink.of(Kind.SENT) == [PING, level3(rig), level3(rig, 2, "ETH/USD"), PING]
            assert not rig.alerts
            no_secret_stays(rig, "token-1")

    run(main())


def test_a_coinbase_key_that_can_only_view_signs_its_subscription(tmp_path: Path) -> None:
    async def main() -> None:
        async with KeyVenue(coinbase(can_trade=False)) as venue, Rig("coinbase", venue, tmp_path) as rig:
            rig.send(full(rig))
            rig.send(full(rig))
            heard = await venue.heard(2)
            assert (heard[0]["key"], heard[0]["passphrase"]) == (KEY, PASSPHRASE)
            assert heard[0]["timestamp"] == str(rig.now_ns // S)
            assert venue.paths == ["/orders"]
            assert rig.sink.of(Kind.SENT) == [full(rig)] * 2
            no_secret_stays(rig, heard[0]["signature"])

    run(main())


@pytest.mark.parametrize("name", ["kraken", "coinbase"])
def test_a_key_that_can_trade_is_refused_before_anything_is_sent_and_asked_about_once(
    tmp_path: Path, name: str
) -> None:
    async def main() -> None:
        answers = Kraken("modify-trades") if name == "kraken" else coinbase(can_trade=True)
        async with KeyVenue(answers) as venue, Rig(name, venue, tmp_path) as rig:
            message = level3(rig) if name == "kraken" else full(rig)
            for count in (1, 2, 3):
                rig.send(message)
                await rig.sink.until(lambda count=count: len(refusals(rig)) == count)
            rig.send(PING)  # what needs no key goes on
            assert await venue.heard(1) == [json.loads(PING)]
            assert venue.paths == [INFO if name == "kraken" else "/orders"]
            assert {(r.request, r.status) for r in refusals(rig)} == {(message.decode(), 0)}
            (alert,) = rig.alerts
            assert (alert.severity, alert.name) == ("critical", f"{name}_key_refused")
            assert "can only read market data" in alert.text and "make one without trading" in alert.text
            assert refusals(rig)[0].body.decode() == alert.text
            no_secret_stays(rig)

    run(main())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_files_that_others_can_read_are_refused_until_they_cannot(tmp_path: Path, mode: int) -> None:
    async def main() -> None:
        async with KeyVenue(Kraken()) as venue, Rig("kraken", venue, tmp_path, mode) as rig:
            rig.send(level3(rig))
            await rig.sink.until(lambda: refusals(rig))
            assert not venue.asked
            (alert,) = rig.alerts
            assert alert.severity == "critical" and f"was mode {mode:o}" in alert.text and "chmod 600" in alert.text
            for file in tmp_path.iterdir():
                file.chmod(0o600)
            rig.send(level3(rig, 2))
            assert (await venue.heard(1))[0]["req_id"] == 2
            no_secret_stays(rig)

    run(main())


def test_another_key_in_the_files_is_asked_about_anew(tmp_path: Path) -> None:
    async def main() -> None:
        rights = Kraken("withdraw-funds")
        async with KeyVenue(rights) as venue, Rig("kraken", venue, tmp_path) as rig:
            (tmp_path / "api_key").write_text("a-key-that-is-unknown")
            rig.send(level3(rig))
            await rig.sink.until(lambda: len(refusals(rig)) == 1)
            assert "EAPI:Invalid key" in rig.alerts[-1].text
            (tmp_path / "api_key").write_text(KEY)
            rig.send(level3(rig, 2))
            await rig.sink.until(lambda: len(refusals(rig)) == 2)
            assert "'withdraw-funds'" in rig.alerts[-1].text
            assert venue.paths == [INFO, INFO] and not venue.received
            no_secret_stays(rig, "a-key-that-is-unknown")

    run(main())


def test_a_token_is_fetched_anew_before_it_is_too_old_and_where_it_was_not_taken(tmp_path: Path) -> None:
    async def main() -> None:
        async with KeyVenue(Kraken()) as venue, Rig("kraken", venue, tmp_path) as rig:

            async def token_of(number: int, symbol: str = "BTC/USD", after_s: int = 0) -> str:
                rig.now_ns += after_s * S
                rig.send(level3(rig, number, symbol))
                return str((await venue.heard(number))[-1]["params"]["token"])

            assert await token_of(1) == "token-1"
            assert await token_of(2, after_s=9) == "token-1"  # asked again so soon that a token may still be on its way
            assert await token_of(3, "ETH/USD", 60) == "token-1"  # others use it
            assert await token_of(4, after_s=1) == "token-2"  # what was asked is asked again: the venue did not take it
            assert await token_of(5, "ETH/USD", 14 * 60) == "token-3"  # a minute before its end
            assert venue.paths == [INFO, TOKEN, TOKEN, TOKEN]
            no_secret_stays(rig, "token-")

    run(main())


@pytest.mark.parametrize("answer", [None, (503, {})])
def test_a_venue_that_says_nothing_is_not_waited_for_twice_and_asked_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, Any] | None
) -> None:
    monkeypatch.setattr(credentials, "ANSWER_WITHIN_S", 0.5 if answer is None else 60.0)

    async def main() -> None:
        async with KeyVenue(lambda asked: answer) as venue, Rig("kraken", venue, tmp_path) as rig:
            for number in (1, 2, 3):
                rig.send(level3(rig, number))
            await rig.sink.until(lambda: len(refusals(rig)) == 3)
            assert len(venue.asked) <= 1
            (alert,) = rig.alerts
            assert (alert.severity, alert.name) == ("warning", "kraken_key_unanswered")
            venue.answer = Kraken()
            monkeypatch.setattr(credentials, "ANSWER_WITHIN_S", 60.0)
            rig.now_ns += 5 * S
            rig.send(level3(rig, 4))
            assert (await venue.heard(1))[0]["params"]["token"] == "token-1"
            no_secret_stays(rig, "token-1")

    run(main())


def test_a_venue_that_quotes_the_key_makes_no_one_else_quote_it(tmp_path: Path) -> None:
    def answer(asked: Asked) -> tuple[int, Any]:
        return 200, {"error": [f"EAPI:Invalid key {asked.headers['api-key']}"]}

    async def main() -> None:
        async with KeyVenue(answer) as venue, Rig("kraken", venue, tmp_path) as rig:
            rig.send(level3(rig))
            await rig.sink.until(lambda: refusals(rig))
            assert "EAPI:Invalid key ***" in rig.alerts[0].text
            no_secret_stays(rig)

    run(main())


def test_what_waits_for_a_key_dies_with_its_socket(tmp_path: Path) -> None:
    async def main() -> None:
        async with KeyVenue(lambda asked: None) as venue, Rig("kraken", venue, tmp_path) as rig:
            rig.send(level3(rig))
            rig.send(PING)
            async with asyncio.timeout(60):
                while not venue.asked:
                    await asyncio.sleep(0)
            rig.shell.reconnect(Reconnect(0, "the test says so"))
            await asyncio.sleep(0)
            assert rig.sink.kinds() == [Kind.OPENED, Kind.CLOSED]
            assert not venue.received

    run(main())


def test_what_waits_for_a_key_is_bounded(tmp_path: Path) -> None:
    async def main() -> None:
        async with KeyVenue(lambda asked: None) as venue, Rig("kraken", venue, tmp_path) as rig:
            limit = rig.shell.settings.send_buffer_bytes
            rig.send(level3(rig))
            rig.send(b"x" * limit)
            (closed,) = rig.sink.of(Kind.CLOSED)
            assert b"wait for it" in closed and not rig.sink.of(Kind.SENT)

    run(main())


@pytest.mark.parametrize("raw", [b"", b"\n", b"two\nlines", b"\xff\xfe", b"x" * 5000])
def test_a_file_with_anything_but_one_line_is_no_key(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(raw)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="one line of printable ASCII"):
        read_secret(file, "kraken.api_key_file")
    with pytest.raises(ConfigError, match="No such file"):
        read_secret(tmp_path / "none", "kraken.api_key_file")
    with pytest.raises(ConfigError, match="mode 600"):
        read_secret(tmp_path, "kraken.api_key_file")
