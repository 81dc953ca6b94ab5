"""Dialogues of the dialects that nobody captured: the messages of their documents, on a market that moves by seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from tests.exchanges.bybit.test_decoder import book as bybit_book
from tests.exchanges.kraken import documented as kraken
from tests.exchanges.okx.test_decoder import book as okx_book
from tests.venues import captured
from tests.venues.market import Entries, Market
from tests.venues.replaying import Conversation, Track, Truth


class Documented:
    """What documented dialogues have in common: a market and a track for the book of each symbol."""

    venue: str

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.markets = {symbol: Market(seed, 16_000 + 1000 * seed) for seed, symbol in enumerate(symbols)}
        self.tracks = {self.stream(symbol): Track(self.player(symbol), symbol) for symbol in symbols}

    def stream(self, symbol: str) -> str:
        """The stream of a symbol's book."""
        raise NotImplementedError

    def snapshot(self, symbol: str, bids: Entries, asks: Entries) -> bytes:
        """A message with the whole book."""
        raise NotImplementedError

    def change(self, symbol: str, bids: Entries, asks: Entries) -> bytes:
        """A message with changes of it."""
        raise NotImplementedError

    def player(self, symbol: str) -> Callable[[], Iterator[bytes]]:
        """What begins the stream of a symbol's book."""

        def play() -> Iterator[bytes]:
            return self.markets[symbol].play(
                lambda bids, asks: self.snapshot(symbol, bids, asks),
                lambda bids, asks: self.change(symbol, bids, asks),
            )

        return play

    def greet(self) -> list[bytes]:
        """Nothing."""
        return []

    def fetch(self, target: str, truths: dict[str, Truth]) -> bytes | None:
        """Nothing is fetched."""
        return None


class Binance(Documented):
    """Binance spot: changes numbered from `U` to `u`, and a fetched book; its clock may be `years` off."""

    venue = "binance"

    def __init__(self, symbols: tuple[str, ...], years: int = 0) -> None:
        super().__init__(symbols)
        self.years = years

    def stream(self, symbol: str) -> str:
        """The stream of a symbol's changes."""
        return f"{symbol.lower()}@depth@100ms"

    def snapshot(self, symbol: str, bids: Entries, asks: Entries) -> bytes:
        """The stream has none: a change of everything."""
        return self.change(symbol, bids, asks)

    def change(self, symbol: str, bids: Entries, asks: Entries) -> bytes:
        """Numbered one higher than the one before it."""
        number = self.markets[symbol].number
        at_ms = 1_700_000_000_000 + self.years * 365 * 86_400_000 + number
        data = {"e": "depthUpdate", "E": at_ms, "s": symbol, "U": number, "u": number, "b": bids, "a": asks}
        return json.dumps({"stream": self.stream(symbol), "data": data}, separators=(",", ":")).encode()

    def hear(self, message: bytes, talk: Conversation) -> None:
        """As the captured one."""
        captured.answer_binance(message, talk)

    def tell(self, truth: Truth, frame: bytes) -> None:
        """Changes."""
        data = json.loads(frame)["data"]
        truth.change(data["b"], data["a"])
        truth.number = data["u"]

    def fetch(self, target: str, truths: dict[str, Truth]) -> bytes | None:
        """As the captured one."""
        return captured.fetch_binance(target, truths)


class Bybit(Documented):
    """Bybit v5, spot."""

    venue = "bybit"

    def stream(self, symbol: str) -> str:
        """The topic of 50 levels."""
        return f"orderbook.50.{symbol}"

    def snapshot(self, symbol: str, bids: Entries, asks: Entries) -> bytes:
        """Numbered `u`."""
        return self._book("snapshot", symbol, bids, asks)

    def change(self, symbol: str, bids: Entries, asks: Entries) -> bytes:
        """Numbered one higher than the one before it."""
        return self._book("delta", symbol, bids, asks)

    def _book(self, kind: str, symbol: str, bids: Entries, asks: Entries) -> bytes:
        message = bybit_book(kind, self.markets[symbol].number, bids, asks)
        return json.dumps(message, separators=(",", ":")).replace("BTCUSDT", symbol).encode()

    def hear(self, message: bytes, talk: Conversation) -> None:
        """A yes names no topic."""
        asked = json.loads(message)
        if asked["op"] == "ping":
            talk.reply({"success": True, "ret_msg": "pong", "conn_id": "7c9d", "op": "ping"})
            return
        for topic in asked["args"]:
            (talk.play if asked["op"] == "subscribe" else talk.stop)(topic)
        said = {"success": True, "ret_msg": "", "conn_id": "7c9d", "req_id": asked["req_id"], "op": asked["op"]}
        talk.reply(said)

    def tell(self, truth: Truth, frame: bytes) -> None:
        """A snapshot or changes."""
        message = json.loads(frame)
        whole = message["type"] == "snapshot"
        (truth.begin if whole else truth.change)(message["data"]["b"], message["data"]["a"])


class OkxNumbered(Documented):
    """OKX's `books` since its checksums are 0."""

    venue = "okx"

    def stream(self, symbol: str) -> str:
        """Channel and instrument."""
        return f"books:{symbol}"

    def snapshot(self, symbol: str, bids: Entries, asks: Entries) -> bytes:
        """Behind nothing."""
        return self._book("snapshot", symbol, -1, bids, asks)

    def change(self, symbol: str, bids: Entries, asks: Entries) -> bytes:
        """Behind the message before it."""
        return self._book("update", symbol, self.markets[symbol].number - 1, bids, asks)

    def _book(self, action: str, symbol: str, before: int, bids: Entries, asks: Entries) -> bytes:
        sides = [[(price, size, "0", "1") for price, size in side] for side in (asks, bids)]
        message = okx_book(action, before, self.markets[symbol].number, *sides)
        return json.dumps(message, separators=(",", ":")).replace("BTC-USDT", symbol).encode()

    def hear(self, message: bytes, talk: Conversation) -> None:
        """One answer a stream."""
        if message == b"ping":
            talk.reply(b"pong")
            return
        asked = json.loads(message)
        for arg in asked["args"]:
            (talk.play if asked["op"] == "subscribe" else talk.stop)(f"{arg['channel']}:{arg['instId']}")
            talk.reply({"id": asked["id"], "event": asked["op"], "arg": arg, "connId": "a4d3ae55"})

    def tell(self, truth: Truth, frame: bytes) -> None:
        """A snapshot or changes."""
        message = json.loads(frame)
        data = message["data"][0]
        (truth.begin if message["action"] == "snapshot" else truth.change)(data["bids"], data["asks"])


class Kraken(Documented):
    """Kraken v2's book of ten prices, checksums computed as its documents' worked example is."""

    venue = "kraken"

    def stream(self, symbol: str) -> str:
        """Channel and symbol."""
        return f"book:{symbol}"

    def snapshot(self, symbol: str, bids: Entries, asks: Entries) -> bytes:
        """With its checksum."""
        return self._book("snapshot", symbol, bids, asks)

    def change(self, symbol: str, bids: Entries, asks: Entries) -> bytes:
        """With the checksum of the book behind it."""
        return self._book("update", symbol, bids, asks)

    def _book(self, kind: str, symbol: str, bids: Entries, asks: Entries) -> bytes:
        all_bids, all_asks = self.markets[symbol].whole()
        sides = [[kraken.level(*entry) for entry in side] for side in (bids, asks)]
        return kraken.frame("book", kind, *sides, kraken.crc(all_asks, all_bids), symbol).encode()

    def greet(self) -> list[bytes]:
        """The status."""
        return [kraken.STATUS.encode()]

    def hear(self, message: bytes, talk: Conversation) -> None:
        """One answer a symbol; the pairs' precisions come with a subscription of their own."""
        asked = json.loads(message)
        if asked["method"] == "ping":
            talk.reply({"method": "pong", "time_in": "", "time_out": ""})
            return
        params = asked["params"]
        answer = {"method": asked["method"], "success": True, "time_in": "", "time_out": ""}
        if params["channel"] == "instrument":
            instrument = json.loads(kraken.INSTRUMENT)
            pair = instrument["data"]["pairs"][0]
            instrument["data"]["pairs"] = [pair | {"symbol": symbol} for symbol in self.markets]
            talk.reply(answer | {"result": {"channel": "instrument", "snapshot": True}})
            talk.reply(instrument)
            return
        for symbol in params["symbol"]:
            stream = f"{params['channel']}:{symbol}"
            (talk.play if asked["method"] == "subscribe" else talk.stop)(stream)
            result = {"channel": params["channel"], "symbol": symbol}
            result |= {"depth": params["depth"]} if params["channel"] == "book" else {}
            talk.reply(answer | {"result": result, "req_id": asked["req_id"]})

    def tell(self, truth: Truth, frame: bytes) -> None:
        """A snapshot or changes."""
        message = json.loads(frame, parse_float=str, parse_int=str)
        data = message["data"][0]
        bids, asks = ([(e["price"], e["qty"]) for e in data[side]] for side in ("bids", "asks"))
        (truth.begin if message["type"] == "snapshot" else truth.change)(bids, asks)
