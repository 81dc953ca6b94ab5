"""Dialogues of the venues whose traffic was captured: their own frames, and answers as the venues give them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from tests.exchanges.feeding import RAW, capture
from tests.venues.replaying import Conversation, Track, Truth

MOST_FRAMES = 1500
"""Frames of a stream that are played."""

_COINBASE_CHANNELS = {
    "snapshot": "level2_batch",
    "l2update": "level2_batch",
    "match": "matches",
    "last_match": "matches",
}

Streams = dict[str, list[bytes]]


def streams_of(path: Path, name: Callable[[bytes], str], wanted: tuple[str, ...]) -> tuple[Streams, dict[str, bytes]]:
    """Frames of a capture by stream, and fetched bodies by address; only what has one of `wanted` in its name."""
    streams: Streams = {}
    fetched: dict[str, bytes] = {}
    for what, _, url, payload in capture(path):
        if what == "fetched" and any(symbol in url.lower() for symbol in wanted):
            fetched.setdefault(url, payload)
        elif what == "frame":
            stream = name(payload)
            if any(symbol in stream.lower() for symbol in wanted):
                streams.setdefault(stream, []).append(payload)
    return {stream: frames[:MOST_FRAMES] for stream, frames in streams.items()}, fetched


class Played:
    """What captured dialogues have in common."""

    venue: str
    capture: str

    def __init__(self, wanted: tuple[str, ...]) -> None:
        self.tracks: dict[str, Track] = {}
        streams, fetched = streams_of(RAW / self.capture, self.name, tuple(symbol.lower() for symbol in wanted))
        for stream, frames in streams.items():
            self.tracks[stream] = self.track(stream, frames, fetched)

    def name(self, frame: bytes) -> str:
        """The stream that a captured frame is of; empty for none."""
        raise NotImplementedError

    def track(self, stream: str, frames: list[bytes], fetched: dict[str, bytes]) -> Track:
        """The track of `stream`."""
        raise NotImplementedError

    def greet(self) -> list[bytes]:
        """Nothing."""
        return []

    def fetch(self, target: str, truths: dict[str, Truth]) -> bytes | None:
        """Nothing is fetched."""
        return None


def answer_binance(message: bytes, talk: Conversation) -> None:
    """A yes names no stream; LIST_SUBSCRIPTIONS names them all."""
    asked = json.loads(message)
    if asked["method"] == "LIST_SUBSCRIPTIONS":
        talk.reply({"result": list(talk.playing), "id": asked["id"]})
        return
    for stream in asked["params"]:
        (talk.play if asked["method"] == "SUBSCRIBE" else talk.stop)(stream)
    talk.reply({"result": None, "id": asked["id"]})


def fetch_binance(target: str, truths: dict[str, Truth]) -> bytes | None:
    """`/depth?symbol=`: the book as the stream has told it."""
    match = re.search(r"/depth\?symbol=(\w+)&", target)
    truth = truths.get(match[1]) if match else None
    if truth is None:
        return None
    bids, asks = truth.sides()
    return json.dumps({"lastUpdateId": truth.number, "bids": bids, "asks": asks}).encode()


class Binance(Played):
    """Diffs of depth; a fetched book is the captured one, moved on by what its stream has told since."""

    venue = "binance"
    capture = "cryptofeed_2021-04-05/BINANCE-b38f7c.0.gz"

    def name(self, frame: bytes) -> str:
        """Its `stream`."""
        match = re.match(rb'\{"stream":"([^"]+)"', frame)
        return match[1].decode() if match else ""

    def track(self, stream: str, frames: list[bytes], fetched: dict[str, bytes]) -> Track:
        """Changes of a book begin at the book that was fetched."""
        symbol = stream.partition("@")[0].upper()
        if "@depth" not in stream:
            return Track(lambda: iter(frames))
        body = json.loads(next(text for url, text in fetched.items() if f"symbol={symbol}&" in url))
        return Track(
            lambda: iter(frames),
            symbol,
            lambda truth: truth.begin(body["bids"], body["asks"], body["lastUpdateId"]),
        )

    def hear(self, message: bytes, talk: Conversation) -> None:
        """As `answer_binance`."""
        answer_binance(message, talk)

    def tell(self, truth: Truth, frame: bytes) -> None:
        """Changes that the book has already are old."""
        data = json.loads(frame)["data"]
        if data["u"] > truth.number:
            truth.change(data["b"], data["a"])
            truth.number = data["u"]

    def fetch(self, target: str, truths: dict[str, Truth]) -> bytes | None:
        """As `fetch_binance`."""
        return fetch_binance(target, truths)


class BinanceUsdm(Binance):
    """USD-M futures."""

    venue = "binance_usdm"
    capture = "cryptofeed_2021-04-05/BINANCE_FUTURES-1125a2.0.gz"


class BinanceCoinm(Binance):
    """COIN-M futures, one contract."""

    venue = "binance_coinm"
    capture = "hftbacktest_binance/cm/btcusd_perp_20240808.gz"


class Okx(Played):
    """Books of 2022 under the name and with the numbers that OKX gives its books today, their checksums as captured."""

    venue = "okx"
    capture = "cryptofeed_2022-02-27/OKX.ws.1.0.gz"

    def name(self, frame: bytes) -> str:
        """Channel and instrument."""
        if not frame.startswith(b'{"arg"'):
            return ""
        arg = json.loads(frame)["arg"]
        return f"{arg['channel']}:{arg.get('instId', '')}".replace("books-l2-tbt", "books")

    def track(self, stream: str, frames: list[bytes], fetched: dict[str, bytes]) -> Track:
        """Each message of a book is linked to the one before it."""
        channel, _, symbol = stream.partition(":")
        if channel != "books":
            return Track(lambda: iter(frames))
        linked = []
        for number, frame in enumerate(frames):
            before = -1 if b'"action":"snapshot"' in frame else 10 * number
            assert frame.endswith(b"}]}"), frame[-40:]
            links = f',"prevSeqId":{before},"seqId":{10 * (number + 1)}}}]}}'.encode()
            linked.append(frame.replace(b"books-l2-tbt", b"books")[:-3] + links)
        return Track(lambda: iter(linked), symbol)

    def hear(self, message: bytes, talk: Conversation) -> None:
        """One answer a stream."""
        if message == b"ping":
            talk.reply(b"pong")
            return
        asked = json.loads(message)
        for arg in asked["args"]:
            stream = f"{arg['channel']}:{arg.get('instId', '')}"
            (talk.play if asked["op"] == "subscribe" else talk.stop)(stream)
            talk.reply({"id": asked["id"], "event": asked["op"], "arg": arg, "connId": "a4d3ae55"})

    def tell(self, truth: Truth, frame: bytes) -> None:
        """A snapshot or changes."""
        message = json.loads(frame)
        data = message["data"][0]
        (truth.begin if message["action"] == "snapshot" else truth.change)(data["bids"], data["asks"])


class Coinbase(Played):
    """Levels and trades of 2021; level2_batch is told as level2 was."""

    venue = "coinbase"
    capture = "cryptofeed_2021-04-17/COINBASE.ws.28.0.gz"

    def name(self, frame: bytes) -> str:
        """Channel and product."""
        match = re.match(rb'\{"type":"(\w+)".*?"product_id":"([A-Z-]+)"', frame)
        if match is None:
            return ""
        kind = match[1].decode()
        return f"{_COINBASE_CHANNELS.get(kind, kind)}:{match[2].decode()}"

    def track(self, stream: str, frames: list[bytes], fetched: dict[str, bytes]) -> Track:
        """As captured."""
        channel, _, product = stream.partition(":")
        return Track(lambda: iter(frames), product if channel == "level2_batch" else "")

    def hear(self, message: bytes, talk: Conversation) -> None:
        """The answer lists all that the connection is subscribed to."""
        asked = json.loads(message)
        for channel in asked["channels"]:
            for product in channel["product_ids"]:
                (talk.play if asked["type"] == "subscribe" else talk.stop)(f"{channel['name']}:{product}")
        products: dict[str, list[str]] = {}
        for stream in talk.playing:
            products.setdefault(stream.partition(":")[0], []).append(stream.partition(":")[2])
        listed = [{"name": name, "product_ids": own} for name, own in products.items()]
        talk.reply({"type": "subscriptions", "channels": listed})

    def tell(self, truth: Truth, frame: bytes) -> None:
        """A snapshot or changes."""
        message = json.loads(frame)
        if message["type"] == "snapshot":
            truth.begin(message["bids"], message["asks"])
            return
        for side, price, size in message["changes"]:
            truth.change(*([[(price, size)], []] if side == "buy" else [[], [(price, size)]]))


class Bitstamp(Played):
    """Diffs without a number; a fetched book is the captured one, moved on by what its stream has told since."""

    venue = "bitstamp"
    capture = "cryptofeed_2021-04-05/BITSTAMP-b88f8b.0.gz"

    def name(self, frame: bytes) -> str:
        """Its `channel`, of data alone."""
        message = json.loads(frame)
        return message["channel"] if message["event"] in ("data", "trade") else ""

    def track(self, stream: str, frames: list[bytes], fetched: dict[str, bytes]) -> Track:
        """Changes of a book begin at the book that was fetched."""
        if not stream.startswith("diff_order_book_"):
            return Track(lambda: iter(frames))
        symbol = stream.removeprefix("diff_order_book_")
        body = json.loads(next(text for url, text in fetched.items() if url.endswith(symbol)))
        return Track(
            lambda: iter(frames),
            symbol,
            lambda truth: truth.begin(body["bids"], body["asks"], int(body["microtimestamp"])),
        )

    def hear(self, message: bytes, talk: Conversation) -> None:
        """Answers name their channel."""
        asked = json.loads(message)
        event = asked["event"]
        if event == "bts:heartbeat":
            talk.reply({"event": event, "channel": "", "data": {"status": "success"}})
            return
        channel = asked["data"]["channel"]
        (talk.play if event == "bts:subscribe" else talk.stop)(channel)
        done = "subscription" if event == "bts:subscribe" else "unsubscription"
        talk.reply({"event": f"bts:{done}_succeeded", "channel": channel, "data": {}})

    def tell(self, truth: Truth, frame: bytes) -> None:
        """Changes that the book has already are old."""
        data = json.loads(frame)["data"]
        if int(data["microtimestamp"]) > truth.number:
            truth.change(data["bids"], data["asks"])
            truth.number = int(data["microtimestamp"])

    def fetch(self, target: str, truths: dict[str, Truth]) -> bytes | None:
        """`/order_book/SYMBOL/`."""
        match = re.search(r"/order_book/(\w+)/", target)
        truth = truths.get(match[1]) if match else None
        if truth is None:
            return None
        bids, asks = truth.sides()
        stamps = {"timestamp": str(truth.number // 10**6), "microtimestamp": str(truth.number)}
        return json.dumps({**stamps, "bids": bids, "asks": asks}).encode()


class Bitflyer(Played):
    """Boards and their changes, which are one stream here: their order matters."""

    venue = "bitflyer"
    capture = "cryptofeed_2021-04-05/BITFLYER-ac44d0.0.gz"

    def name(self, frame: bytes) -> str:
        """Its `channel`; whole boards go with the changes."""
        params = json.loads(frame).get("params", {})
        return str(params.get("channel", "")).replace("board_snapshot", "board")

    def track(self, stream: str, frames: list[bytes], fetched: dict[str, bytes]) -> Track:
        """From the first whole board on."""
        if not stream.startswith("lightning_board_"):
            return Track(lambda: iter(frames))
        first = next(k for k, frame in enumerate(frames) if b"lightning_board_snapshot" in frame)
        return Track(lambda: iter(frames[first:]), stream.removeprefix("lightning_board_"))

    def hear(self, message: bytes, talk: Conversation) -> None:
        """A yes names no channel."""
        asked = json.loads(message)
        (talk.play if asked["method"] == "subscribe" else talk.stop)(asked["params"]["channel"])
        talk.reply({"jsonrpc": "2.0", "id": asked["id"], "result": True})

    def tell(self, truth: Truth, frame: bytes) -> None:
        """A whole board or changes."""
        params = json.loads(frame, parse_float=str, parse_int=str)["params"]
        bids, asks = ([(e["price"], e["size"]) for e in params["message"][side]] for side in ("bids", "asks"))
        (truth.begin if "board_snapshot" in params["channel"] else truth.change)(bids, asks)
