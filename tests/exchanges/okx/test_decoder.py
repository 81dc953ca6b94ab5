"""OKX's decoder: literal frames of its documents, a genuine capture, and faults."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_controller.exchanges.okx.decoder import OkxDecoder
from data_controller.market.layout import BrokenBy, Proof, ProofBy
from data_controller.market.rows import Control, Flag, Kind
from data_controller.market.tables import Channel
from tests.exchanges.faults import endure
from tests.exchanges.feeding import RAW, Session, capture, text

URL = "https://www.okx.com/api/v5/market/books?instId=BTC-USDT&sz=400"
ACK = {"event": "subscribe", "arg": {"channel": "books", "instId": "BTC-USDT"}, "connId": "a4d3ae55"}
CAPTURE = RAW / "cryptofeed_2022-02-27" / "OKX.ws.1.0.gz"


def book(action: str, prev: int, seq: int, asks: Any = (), bids: Any = (), checksum: int = 0) -> dict[str, Any]:
    """A message of the `books` channel as OKX documents it."""
    data = {"asks": asks, "bids": bids, "ts": "1597026383085", "checksum": checksum, "prevSeqId": prev, "seqId": seq}
    return {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": action, "data": [data]}


SNAPSHOT = book(
    "snapshot", -1, 123456, [["8476.98", "415", "0", "13"], ["8477", "7", "0", "2"]], [["8476.97", "256", "0", "12"]]
)


def proved() -> Session:
    session = Session(OkxDecoder)
    session.feed(ACK, SNAPSHOT)
    assert session.proof() == Proof.PROVED
    return session


def test_a_book_is_proved_by_its_chain_of_numbers_whose_steps_are_irregular() -> None:
    session = proved()
    assert ProofBy(session.books.books[0]["proof_by"]) == ProofBy.SEQUENCE
    assert [int(row["ref"]) for row in session.rows if row["kind"] == Kind.SET] == [12, 13, 2]
    session.feed(book("update", 123456, 123469, [["8477", "0", "0", "0"]], [["8476", "1.5", "0", "1"]]))
    session.feed(
        book("update", 123469, 123469), book("update", 123469, 3), book("update", 3, 9, [["8478", "2", "0", "1"]])
    )
    assert session.proof() == Proof.PROVED
    assert session.sides() == ({"8476.97": "256", "8476": "1.5"}, {"8476.98": "415", "8478": "2"})
    assert int(session.rows[-1]["exch_ns"]) == 1597026383085 * 10**6


def test_a_missing_change_breaks_the_book_until_its_next_snapshot() -> None:
    session = proved()
    rows = session.feed(book("update", 123460, 123469, [["8477", "1", "0", "1"]]))
    assert [Kind(row["kind"]).name for row in rows] == ["GAP"]
    assert BrokenBy(session.books.books[0]["broken_by"]) == BrokenBy.GAP
    session.feed(book("update", 123469, 123470))
    assert session.proof() == Proof.BROKEN
    session.feed(ACK, book("snapshot", -1, 123480, [["8477", "2", "0", "1"]], [["8476", "1", "0", "1"]]))
    assert session.proof() == Proof.PROVED
    assert session.sides() == ({"8476": "1"}, {"8477": "2"})


def test_a_change_told_twice_is_dropped() -> None:
    session = proved()
    change = book("update", 123456, 123469, [["8477", "1", "0", "1"]])
    session.feed(change)
    assert session.feed(change) == []
    assert session.proof() == Proof.PROVED
    assert session.decoder.counters["duplicates"] == 1


def test_a_snapshot_that_came_late_does_not_prove_what_it_does_not_hold() -> None:
    session = proved()
    session.feed(book("update", 123456, 123469, [["8477", "1", "0", "1"]]), SNAPSHOT)
    assert session.proof() == Proof.BROKEN
    session.feed(SNAPSHOT)
    assert session.proof() == Proof.PROVED


def test_where_no_snapshot_is_sent_changes_are_put_behind_a_fetched_one() -> None:
    session = Session(OkxDecoder)
    session.feed(ACK, book("update", 90, 95), book("update", 95, 103, [["8477", "0", "0", "0"]]))
    assert session.proof() == Proof.EMPTY
    fetched = {"asks": [["8477", "7", "0", "2"], ["8478", "1", "0", "1"]], "bids": [["8476", "1", "0", "1"]]}
    answer = {"code": "0", "msg": "", "data": [fetched | {"ts": "1629966436396", "seqId": 80}]}
    session.fetch(URL, answer)
    assert (session.proof(), int(session.rows[-1]["size"])) == (Proof.EMPTY, 0)
    session.fetch(URL, {"code": "50011", "msg": "Too Many Requests", "data": []})
    assert int(session.rows[-1]["size"]) == 0
    answer["data"][0]["seqId"] = 99
    session.fetch(URL, answer)
    assert session.proof() == Proof.PROVED
    assert session.sides() == ({"8476": "1"}, {"8478": "1"})
    session.feed(book("update", 103, 110, [["8478", "5", "0", "1"]]))
    assert (session.proof(), session.sides()[1]) == (Proof.PROVED, {"8478": "5"})


def test_a_fetched_snapshot_older_than_the_book_is_of_no_use_and_a_newer_one_is() -> None:
    session = proved()
    fetched = {"asks": [["9000", "7", "0", "2"]], "bids": [["8476", "1", "0", "1"]], "ts": "1629966436396"}
    session.fetch(URL, {"code": "0", "data": [fetched | {"seqId": 123400}]})
    assert (session.sides()[1].keys(), int(session.rows[-1]["size"])) == ({"8476.98", "8477"}, 0)
    session.fetch(URL, {"code": "0", "data": [fetched | {"seqId": 123460}]})
    session.feed(book("update", 123456, 123460, [["1", "1", "0", "1"]]), book("update", 123460, 123462))
    assert (session.proof(), session.sides()[1]) == (Proof.PROVED, {"9000": "7"})


def test_a_checksum_of_zero_is_none_and_another_one_is_checked() -> None:
    session = proved()
    assert session.kinds[Kind.CHECK] == 0
    session.feed(book("update", 123456, 123457, [["8477", "6", "0", "2"]], checksum=-855196043))
    assert BrokenBy(session.books.books[0]["broken_by"]) == BrokenBy.CHECKSUM


def test_five_levels_are_whole_each_time_and_nothing_proves_them() -> None:
    session = Session(OkxDecoder)
    data = {"asks": [["111.06", "55154", "0", "2"]], "bids": [["111.05", "57745", "0", "2"]], "instId": "BCH-USDT-SWAP"}
    data |= {"ts": "1670324386802", "seqId": 363996337}
    message = {"arg": {"channel": "books5", "instId": "BCH-USDT-SWAP"}, "data": [data]}
    session.feed(message, message)
    assert session.proof() == Proof.UNVERIFIABLE
    assert session.decoder.counters["book_snapshots"] == 2


def test_best_prices_and_trades_are_rows() -> None:
    session = Session(OkxDecoder)
    best = {"asks": [["111.06", "55154", "0", "2"]], "bids": [["111.05", "57745", "0", "2"]]}
    best |= {"ts": "1670324386802", "seqId": 363996337}
    trade = {"instId": "BTC-USDT", "tradeId": "130639474", "px": "42219.9", "sz": "0.12060306", "side": "buy"}
    trade |= {"ts": "1630048897897", "count": "3"}
    rows = session.feed(
        {"arg": {"channel": "bbo-tbt", "instId": "BCH-USDT-SWAP"}, "data": [best]},
        {"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": [trade]},
        {
            "arg": {"channel": "trades", "instId": "BTC-USDT"},
            "data": [trade | {"side": "sell", "tradeId": "130639475"}, trade],
        },
    )
    told = [
        (Kind(r["kind"]).name, int(r["side"]), int(r["price"]), int(r["ref"]))
        for r in rows
        if r["kind"] != Kind.CONTROL
    ]
    assert told == [
        ("QUOTE", 1, 11105, 363996337),
        ("QUOTE", -1, 11106, 363996337),
        ("TRADE", 1, 422199, 130639474),
        ("TRADE", -1, 422199, 130639475),
    ]
    assert session.decoder.counters["trades_repeated"] == 1


def test_a_trade_from_before_the_subscription_is_history() -> None:
    session = Session(OkxDecoder)
    arg = {"channel": "trades", "instId": "BTC-USDT"}
    trade = {"instId": "BTC-USDT", "px": "1", "sz": "1", "side": "buy"}
    old = trade | {"tradeId": "1", "ts": str(session.now_ns // 10**6 - 60_000)}
    new = trade | {"tradeId": "2", "ts": str(session.now_ns // 10**6)}
    session.feed({"event": "subscribe", "arg": arg})
    rows = session.feed(
        {"arg": arg, "data": [old]}, {"arg": arg, "data": [new]}, {"arg": arg, "data": [old | {"tradeId": "3"}]}
    )
    assert [bool(row["flags"] & Flag.SNAPSHOT) for row in rows] == [True, False, False]


def test_mark_index_funding_and_liquidations_are_rows() -> None:
    session = Session(OkxDecoder)
    swap = "BTC-USD-SWAP"
    funding = {
        "fundingRate": "-0.0001875391284828",
        "fundingTime": "1700726400000",
        "instId": swap,
        "ts": "1700724675402",
    }
    order = {"bkLoss": "0", "bkPx": "0.007831", "posSide": "short", "side": "buy", "sz": "13", "ts": "1692266434010"}
    rows = session.feed(
        {
            "arg": {"channel": "mark-price", "instId": swap},
            "data": [{"instId": swap, "markPx": "42310.6", "ts": "1630049139746"}],
        },
        {
            "arg": {"channel": "index-tickers", "instId": "BTC-USDT"},
            "data": [{"instId": "BTC-USDT", "idxPx": "0.1", "ts": "1"}],
        },
        {"arg": {"channel": "funding-rate", "instId": swap}, "data": [funding]},
        {"event": "subscribe", "arg": {"channel": "liquidation-orders", "instType": "SWAP"}},
        {
            "arg": {"channel": "liquidation-orders", "instType": "SWAP"},
            "data": [{"instId": "IOST-USDT-SWAP", "details": [order]}, {"instId": swap, "details": [order, order]}],
        },
    )
    told = [(Kind(r["kind"]).name, int(r["price"]), int(r["side"])) for r in rows if r["kind"] != Kind.CONTROL]
    assert told == [
        ("MARK", 423106, 0),
        ("INDEX", 1, 0),
        ("FUNDING", -1875391284828, 0),
        ("LIQUIDATION", 7831, 1),
        ("LIQUIDATION", 7831, 1),
    ]
    assert [int(row["part"]) for row in rows[-2:]] == [0, 1]
    assert session.tables.channels[int(rows[-1]["channel"])] == Channel("okx", swap, "liquidations")


def test_tickers_and_candles_are_tables() -> None:
    session = Session(OkxDecoder)
    ticker = {"last": "9999.99", "askPx": "9999.99", "askSz": "11", "bidPx": "", "bidSz": "", "open24h": "9000"}
    session.feed(
        {"arg": {"channel": "tickers", "instId": "BTC-USDT"}, "data": [ticker | {"vol24h": "2222", "ts": "1"}]},
        {
            "arg": {"channel": "candle1D", "instId": "BTC-USDT"},
            "data": [["1597026383085", "8533", "8553", "8527", "8548", "45247", "0", "0", "1"]],
        },
    )
    assert session.decoder.side_rows["ticker"][0]["ask_size"] == 11.0
    candle = session.decoder.side_rows["candles"][0]
    assert (candle["mts"], candle["open"], candle["high"], candle["close"]) == (1597026383085, 8533, 8553, 8548)


def test_answers_are_control_rows() -> None:
    session = Session(OkxDecoder)
    rows = session.feed(
        ACK,
        {"id": "17", "event": "error", "code": "60012", "msg": "Invalid request", "connId": "a"},
        {"event": "notice", "code": "64008", "msg": "The connection will soon be closed for a service upgrade."},
        b"pong",
        {"event": "unsubscribe", "arg": ACK["arg"]},
        {"event": "channel-conn-count", "channel": "orders", "connCount": "2"},
    )
    told = [(Control(int(r["ref"])).name, int(r["price"]), int(r["size"])) for r in rows]
    assert told == [
        ("SUBSCRIBED", 0, 1 | 4 << 8),
        ("ERROR", 60012, 17),
        ("RESTART", 0, 64008),
        ("PONG", 0, 0),
        ("UNSUBSCRIBED", 0, 0),
    ]
    assert session.feed(book("update", 1, 2)) == []
    assert session.decoder.counters["retired_channel"] == 1


def test_a_frame_that_cannot_be_read_unproves_the_connection() -> None:
    for bad in (b"{", book("update", 123456, 123460, [["-1", "1", "0", "1"]]), book("remove", 123456, 123460)):
        session = proved()
        session.feed(bad)
        assert session.proof() == Proof.BROKEN
        assert len(session.decoder.side_rows["quarantine"]) == 1


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_make_no_difference(size: int) -> None:
    frames: list[Any] = [ACK, SNAPSHOT]
    frames += [book("update", 123456 + k, 123457 + k, [[f"8{k % 40 + 100}", str(k % 3), "0", "1"]]) for k in range(200)]
    del frames[150]
    one, other = Session(OkxDecoder), Session(OkxDecoder)
    one.feed(*frames)
    other.feed(*frames, size=size)
    assert [r.tobytes() for r in one.rows] == [r.tobytes() for r in other.rows]


def chained(seed: int, count: int) -> list[dict[str, Any]]:
    """Changes of one book whose numbers leap, a snapshot now and then."""
    rng = random.Random(seed)
    frames, prev = [], 100
    levels: dict[tuple[int, str], str] = {(1, "90"): "1", (-1, "200"): "1"}
    for k in range(count):
        changes = [
            (rng.choice((1, -1)), str(rng.randrange(50)), str(rng.randrange(3))) for _ in range(rng.randrange(4))
        ]
        sides: dict[int, list[list[str]]] = {1: [], -1: []}
        for side, offset, size in changes:
            price = str(100 - int(offset)) if side > 0 else str(101 + int(offset))
            levels[side, price] = size
            sides[side].append([price, size, "0", "1"])
        seq = prev + (rng.randrange(1, 12) if changes else 0)
        if k % 40 == 0:
            sides = {s: [[p, q, "0", "1"] for (t, p), q in levels.items() if t == s and q != "0"] for s in (1, -1)}
            frames.append(book("snapshot", -1, seq, sides[-1], sides[1]))
        else:
            frames.append(book("update", prev, seq, sides[-1], sides[1]))
        prev = seq
    return frames


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_lost_no_proved_book_differs_from_the_true_one(seed: int) -> None:
    true, own = Session(OkxDecoder), Session(OkxDecoder)
    for session in (true, own):
        session.feed(ACK)
    assert endure(true, own, chained(seed, 200), seed) > 5


FRAMES = [text(SNAPSHOT), text(ACK), text(book("update", 123456, 123457, [["1", "2", "0", "1"]], checksum=5))]
FRAMES += [
    b'{"arg":{"channel":"trades","instId":"A-B"},"data":[{"tradeId":"1","px":"1","sz":"1","side":"buy","ts":"5"}]}',
    b'{"arg":{"channel":"bbo-tbt","instId":"A-B"},"data":[{"asks":[["1","2","0","1"]],"bids":[],"ts":"5","seqId":3}]}',
    b'{"arg":{"channel":"tickers","instId":"A-B"},"data":[{"last":"1","askPx":"1"}]}',
    b'{"arg":{"channel":"candle1m","instId":"A-B"},"data":[["1","2","3","4","5","6"]]}',
    b'{"arg":{"channel":"funding-rate","instId":"A-B"},"data":[{"fundingRate":"0.1","fundingTime":"5"}]}',
    b'{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"instId":"A-B","details":'
    b'[{"side":"buy","bkPx":"1","sz":"1","ts":"1"}]}]}',
    b'{"event":"error","code":"60012","msg":"x","id":"5"}',
    b"pong",
]


@given(
    st.lists(st.tuples(st.sampled_from(FRAMES), st.integers(0, 220), st.binary(max_size=4)), min_size=1, max_size=20)
)
@settings(deadline=None, max_examples=150)
def test_damaged_frames_are_rows_or_quarantined(steps: list[tuple[bytes, int, bytes]]) -> None:
    session = Session(OkxDecoder)
    for frame, at, insert in steps:
        session.feed(frame[:at] + insert + frame[at + len(insert) :])
        session.fetch(URL, frame[at:] + insert)
    assert session.decoder.counters["frames"] == len(steps)


@pytest.mark.skipif(not CAPTURE.exists(), reason="the captures lie outside this repository")
def test_every_checksum_of_a_genuine_capture_matches() -> None:
    session = Session(OkxDecoder, keep=False)
    assert session.replay(CAPTURE)["frame"] == session.decoder.counters["frames"] == 3777
    assert (session.total("checks_ok"), session.total("checks_bad"), session.decoder.counters["quarantined"]) == (
        3679,
        0,
        0,
    )
    assert session.total("crossed") == session.total("gaps") == 0
    assert session.proofs() == {("PROVED", "CHECKSUM"): 10}
    counters = session.decoder.counters
    assert (counters["trades"] + counters["trade_snapshot_rows"], counters["tickers"]) == (19, 19)


@pytest.mark.skipif(not CAPTURE.exists(), reason="the captures lie outside this repository")
@pytest.mark.parametrize("seed", range(6))
def test_with_faults_in_a_genuine_capture_no_proved_book_differs_in_what_its_checksum_covers(seed: int) -> None:
    frames = [payload for what, _, _, payload in capture(CAPTURE) if what == "frame"][:500]
    true, own = Session(OkxDecoder, keep=True), Session(OkxDecoder)
    assert endure(true, own, frames, seed, top=25, rate=0.005, flips=True) > 5


def test_numbers_that_begin_anew_behind_a_fetched_snapshot_are_followed() -> None:
    fetched = {
        "asks": [["8477", "7", "0", "2"]],
        "bids": [["8476", "1", "0", "1"]],
        "ts": "1629966436396",
        "seqId": 100,
    }
    answer = {"code": "0", "data": [fetched]}
    session = Session(OkxDecoder)
    session.feed(ACK, book("update", 90, 95))
    session.fetch(URL, answer)
    session.feed(book("update", 100, 3, [["8477", "1", "0", "1"]]), book("update", 3, 4, [["8477", "2", "0", "1"]]))
    assert (session.proof(), session.sides()[1]) == (Proof.PROVED, {"8477": "2"})
    waiting = Session(OkxDecoder)
    waiting.feed(ACK, book("update", 98, 100), book("update", 100, 3, [["8477", "3", "0", "1"]]), book("update", 3, 5))
    waiting.fetch(URL, answer)
    assert (waiting.proof(), waiting.sides()[1]) == (Proof.PROVED, {"8477": "3"})
