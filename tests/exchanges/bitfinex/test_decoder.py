"""The Bitfinex decoder: frames in, rows out, and nothing that a frame holds can stop it."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest

from data_controller.exchanges.bitfinex import _state as state
from data_controller.exchanges.protocols import Rows
from data_controller.exchanges.rings import RING
from data_controller.market import core
from data_controller.market.layout import BrokenBy, ChecksumRule, Proof, ProofBy
from data_controller.market.rows import RULE_SHIFT, Flag, Kind, Promise
from data_controller.market.tables import Channel
from data_controller.records import Kind as RecordKind
from tests.exchanges.bitfinex.feeding import (
    CAPTURE,
    MS,
    ORDERS,
    T0,
    VECTORS,
    Session,
    batch,
    captured,
    conf,
    flags,
    kinds,
    subscribed,
    text,
)

SEQ, STAMP, CHECKS, BULK = 65536, 32768, 131072, 536870912
SNAPSHOT = [[100, 2, 1.5], [99.5, 1, 2], [101, 3, -0.25]]


def book(bits: int = 0, chan: int = 7, **more: Any) -> Session:
    """A session with one subscribed book."""
    session = Session()
    session.feed(conf(bits), subscribed(chan, **more))
    return session


def test_a_snapshot_is_a_reset_then_its_levels_and_its_last_row_says_so() -> None:
    session = book()
    rows = session.feed([7, SNAPSHOT])
    assert kinds(rows) == ["RESET", "SET", "SET", "SET"]
    assert [flags(r) for r in rows] == [Flag.SNAPSHOT] * 3 + [Flag.SNAPSHOT | Flag.LAST]
    assert [int(r["part"]) for r in rows] == [0, 1, 2, 3]
    assert [int(r["side"]) for r in rows] == [0, 1, 1, -1]
    assert (rows[2]["price"], rows[2]["price_scale"], rows[2]["ref"]) == (995, 1, 1)
    assert session.sides() == ({"100": "1.5", "99.5": "2"}, {"101": "0.25"})
    assert session.proof() == Proof.UNVERIFIABLE


def test_an_update_sets_a_level_and_count_zero_takes_it_away() -> None:
    session = book()
    session.feed([7, SNAPSHOT])
    rows = session.feed([7, [100, 5, 3]], [7, [101, 0, -1]], [7, [101.5, 1, -4]], [7, [55, 0, 1]])
    assert kinds(rows) == ["SET"] * 4
    assert [int(r["size"]) for r in rows] == [3, 0, 4, 0]
    assert session.sides() == ({"100": "3", "99.5": "2"}, {"101.5": "4"})
    assert session.books.books[0]["unknown_deletes"] == 1


def test_an_empty_snapshot_is_a_reset_that_is_also_the_last_row() -> None:
    rows = book().feed([7, []])
    assert kinds(rows) == ["RESET"]
    assert flags(rows[0]) == Flag.SNAPSHOT | Flag.LAST


def test_a_list_of_entries_after_the_snapshot_is_a_bulk_update() -> None:
    session = book()
    rows = session.feed([7, SNAPSHOT], [7, [[100, 0, 1], [98, 1, 1]]], [7, []])[4:]
    assert kinds(rows) == ["SET", "SET"]
    assert [flags(r) for r in rows] == [Flag(0), Flag.LAST]
    assert session.sides()[0] == {"99.5": "2", "98": "1"}


def test_orders_are_added_changed_and_cancelled() -> None:
    session = book(prec="R0")
    rows = session.feed([7, [[12, 100, 1], [11, 100, 2], [13, 101, -1]]], [7, [11, 99, 2]], [7, [13, 0, -1]])
    assert kinds(rows) == ["RESET", "ADD", "ADD", "ADD", "CHANGE", "CANCEL"]
    assert session.sides() == ({"12": "1", "11": "2"}, {})
    assert (rows[5]["ref"], rows[5]["price"], rows[5]["size"]) == (13, 0, 0)


def test_white_space_and_appended_items_are_read_over() -> None:
    session = book(SEQ | STAMP)
    rows = session.feed(
        b' [ 7 , [ [ 100 , 2 , 1.5 , "new", {"a":[1]} ] ,\n[ 101 , 1 , -1 ]\t] , 1 , 1700000000123 , "more" ] ',
        b'[7,[100,1,2,null],2,1700000000124,[1,"]"]]',
    )
    assert kinds(rows) == ["RESET", "SET", "SET", "SET"]
    assert [int(r["exch_ns"]) for r in rows] == [1700000000123 * MS] * 3 + [1700000000124 * MS]
    assert session.decoder.counters["quarantined"] == 0


def test_trades_keep_their_own_time_and_their_update_is_dropped() -> None:
    session = Session()
    session.feed(conf(SEQ | STAMP), subscribed(9, "trades"))
    snapshot = [9, [[5, 1699999999000, 1, 100], [4, 1699999998000, -2.5, 99]], 1, 1700000000000]
    rows = session.feed(
        snapshot,
        [9, "te", [6, 1700000001000, -0.5, 101.5], 2, 1700000001001],
        [9, "te", [7, 1700000001002, 0.25, 102], 3, 1700000001003],
        [9, "tu", [6, 1700000001000, -0.5, 101.5], 4, 1700000001004],
        [9, "tu", [7, 1700000001002, 0.25, 102], 5, 1700000001005],
        [9, "tu", [8, 1700000001006, 1, 102], 6, 1700000001007],
        [9, "te", [4, 1699999998000, -2.5, 99], 7, 1700000001008],
    )
    assert kinds(rows) == ["TRADE"] * 5
    assert [int(r["ref"]) for r in rows] == [5, 4, 6, 7, 8]
    assert [int(r["side"]) for r in rows] == [1, -1, -1, 1, 1]
    assert [bool(flags(r) & Flag.SNAPSHOT) for r in rows] == [True, True, False, False, False]
    assert [bool(flags(r) & Flag.LAST) for r in rows] == [False, True, True, True, True]
    assert int(rows[2]["exch_ns"]) == 1700000001000 * MS
    counters = session.decoder.counters
    assert counters["trades"] == 3
    assert counters["trade_updates_dropped"] == 2
    assert counters["trades_repeated"] == 1


def test_a_trade_id_is_remembered_for_4096_trades_and_across_connections() -> None:
    session = Session()
    session.feed(subscribed(9, "trades"))
    trades = [[9, "te", [k, 1700000000000, 1, 1]] for k in range(1, RING + 2)]
    session.feed(*trades)
    assert session.feed([9, "tu", trades[1][2]]) == []
    assert kinds(session.feed([9, "tu", trades[0][2]])) == ["TRADE"]
    session.close()
    session.open()
    session.feed(subscribed(10, "trades"))
    assert session.feed([10, "te", trades[-1][2]]) == []


def test_the_acknowledgement_promises_what_conf_put_in_force() -> None:
    for bits, length, promise in [
        (0, "25", Promise(0)),
        (SEQ, "25", Promise.SEQUENCED),
        (CHECKS, "25", Promise.CHECKSUMMED),
        (CHECKS, "1", Promise(0)),
        (SEQ | CHECKS, "250", Promise.SEQUENCED | Promise.CHECKSUMMED),
    ]:
        session = Session()
        row = session.feed(conf(bits), subscribed(7, len=length))[1]
        rule = ChecksumRule.NONE if length == "1" else ChecksumRule.BITFINEX_PRICES
        assert divmod(int(row["size"]), 1 << RULE_SHIFT) == (rule, promise)
        assert (int(row["price"]), int(row["channel"])) == (7, 0)
    row = Session().feed(conf(CHECKS), subscribed(8, "trades"))[1]
    assert row["size"] == 0


def test_a_refused_conf_leaves_frames_without_numbers() -> None:
    session = Session()
    rows = session.feed({"event": "conf", "status": "FAILED", "flags": SEQ}, subscribed(7), [7, SNAPSHOT])
    assert int(rows[0]["size"]) == -1
    assert session.proof() == Proof.UNVERIFIABLE


def test_a_sequenced_book_is_proved_by_its_sequence_until_a_number_is_missing() -> None:
    session = book(SEQ)
    session.feed([7, SNAPSHOT, 1], [7, "hb", 2], [7, [100, 1, 9], 3])
    assert session.proof() == Proof.PROVED
    assert session.books.books[0]["usable"] == 1
    rows = session.feed([7, [100, 1, 8], 6])
    assert kinds(rows) == ["GAP", "CONTROL.SEQUENCE_GAP", "SET"]
    assert int(rows[0]["ref"]) == int(rows[1]["size"]) == 2
    assert session.proof() == Proof.BROKEN
    assert session.books.books[0]["broken_by"] == BrokenBy.GAP
    assert session.sides()[0]["100"] == "9"
    assert session.decoder.counters["sequence_gaps"] == 1
    assert session.decoder.counters["missing"] == 2


def test_a_gap_concerns_every_live_channel_of_its_connection_and_no_other() -> None:
    session = book(SEQ)
    session.open(1)
    session.feed(conf(SEQ), subscribed(7, symbol="tETHUSD"), [7, SNAPSHOT, 1], conn=1)
    session.feed(subscribed(8, "trades"), [7, SNAPSHOT, 1], {"event": "unsubscribed", "chanId": 8})
    rows = session.feed([7, "hb", 3])
    assert kinds(rows) == ["GAP", "CONTROL.SEQUENCE_GAP"]
    assert int(rows[0]["channel"]) == 0
    assert session.proof(1) == Proof.PROVED


def test_the_first_message_after_conf_is_number_one() -> None:
    session = book(SEQ)
    assert kinds(session.feed([7, SNAPSHOT, 2]))[:2] == ["GAP", "CONTROL.SEQUENCE_GAP"]
    assert session.proof() == Proof.PROVED


def test_a_number_seen_before_is_dropped() -> None:
    session = book(SEQ)
    session.feed([7, SNAPSHOT, 1], [7, [100, 1, 9], 2])
    rows = session.feed([7, [100, 1, 5], 2], [7, "hb", 3])
    assert kinds(rows) == ["CONTROL.DUPLICATE"]
    assert session.sides()[0]["100"] == "9"
    assert session.proof() == Proof.PROVED
    assert session.decoder.counters["duplicates"] == 1


def test_wire_sequence_is_told_by_record() -> None:
    session = book(SEQ)
    session.feed([7, SNAPSHOT, 1], {"event": "pong", "cid": 3}, [7, "hb", 2])
    assert session.decoder.wire_seq[:3].tolist() == [1, 0, 2]


def test_a_checksum_becomes_a_row_and_proves_or_breaks_the_book() -> None:
    crc = zlib.crc32(b"60000:0.5:70000:-0.25:1.5e-7:2")
    signed = crc - (1 << 32) if crc >> 31 else crc
    for expected, code, proof in [(signed, core.PROVED, Proof.PROVED), (signed ^ 1, core.BROKE, Proof.BROKEN)]:
        session = book(CHECKS)
        session.feed("[7,[[60000,1,0.5],[1.5E-7,1,2],[70000,1,-0.25]]]")
        assert session.proof() == Proof.PENDING
        rows = session.feed([7, "cs", expected])
        assert kinds(rows) == ["CHECK"]
        assert int(rows[0]["ref"]) == expected
        assert session.codes[-1] == code
        assert session.proof() == proof


def test_bulk_mode_takes_no_list_for_a_snapshot_that_may_be_lost() -> None:
    session = book(SEQ | BULK)
    session.feed([7, [[1, 1, 1]], 2])
    assert session.proof() == Proof.BROKEN
    session.feed({"event": "unsubscribed", "status": "OK", "chanId": 7}, subscribed(7), [7, SNAPSHOT, 3])
    assert session.proof() == Proof.PROVED


def test_an_update_before_its_snapshot_is_ignored_by_the_book() -> None:
    session = book()
    assert kinds(session.feed([7, [100, 1, 1]])) == ["SET"]
    assert session.proof() == Proof.EMPTY


def test_a_heartbeat_before_its_ack_is_counted_and_numbered() -> None:
    session = Session()
    session.feed(conf(SEQ))
    assert session.feed([7, "hb", 1]) == []
    assert kinds(session.feed([7, SNAPSHOT, 2])) == ["CONTROL.UNKNOWN_CHANNEL"]
    assert kinds(session.feed(subscribed(7), [7, SNAPSHOT, 3]))[:2] == ["CONTROL.SUBSCRIBED", "RESET"]
    assert session.proof() == Proof.PROVED
    assert session.decoder.counters["early_heartbeats"] == 1
    assert session.decoder.counters["unknown_channel"] == 1


def test_late_data_of_an_unsubscribed_channel_is_counted_and_nothing_else() -> None:
    session = book(SEQ)
    session.feed([7, SNAPSHOT, 1], {"event": "unsubscribed", "status": "OK", "chanId": 7})
    assert session.proof() == Proof.EMPTY
    assert session.feed([7, [100, 1, 9], 2], [7, "hb", 3], [7, "cs", 5, 4]) == []
    assert session.decoder.counters["retired_channel"] == 2
    assert session.decoder.counters["sequence_gaps"] == 0


def test_a_resubscription_replaces_its_channel_whichever_ack_comes_first() -> None:
    session = book(SEQ)
    session.feed([7, SNAPSHOT, 1], subscribed(8), [8, [[50, 1, 1]], 2], [7, [100, 1, 9], 3])
    rows = session.feed({"event": "unsubscribed", "status": "OK", "chanId": 7})
    assert (kinds(rows), int(rows[0]["size"])) == (["CONTROL.UNSUBSCRIBED"], 1)
    assert session.sides() == ({"50": "1"}, {})
    assert session.proof() == Proof.PROVED


def test_many_resubscriptions_do_not_fill_the_memory_of_retired_channels() -> None:
    session = book()
    for chan in range(1000, 2000):
        session.feed(subscribed(chan), [chan, [[chan, 1, 1]]])
    assert session.sides() == ({"1999": "1"}, {})
    assert len(session.tables.channels) == 1


def test_closing_breaks_the_books_of_the_connection_and_forgets_it() -> None:
    session = book(SEQ)
    session.feed([7, SNAPSHOT, 1])
    session.close()
    assert kinds(session.rows[-2:]) == ["GAP", "CONTROL.CLOSED"]
    assert session.books.books[0]["broken_by"] == BrokenBy.CLOSED
    session.open()
    assert kinds(session.feed([7, SNAPSHOT])) == ["CONTROL.UNKNOWN_CHANNEL"]


@pytest.mark.parametrize(("code", "control"), [(20051, "RESTART"), (20060, "MAINTENANCE_START")])
def test_a_restart_or_a_maintenance_breaks_every_book_of_its_connection_first(code: int, control: str) -> None:
    session = book(SEQ)
    session.feed([7, SNAPSHOT, 1], subscribed(8, "trades"), [8, [[1, 2, 3, 4]], 2])
    session.open(1)
    session.feed(conf(SEQ), subscribed(9, prec="P1"), [9, SNAPSHOT, 1], conn=1)
    rows = session.feed({"event": "info", "code": code})
    assert sorted(kinds(rows[:-1])) == ["GAP", "GAP"]
    assert kinds(rows[-1:]) == [f"CONTROL.{control}"]
    assert {int(row["channel"]) for row in rows[:-1]} == {0, 1}
    assert session.books.books[0]["broken_by"] == BrokenBy.MAINTENANCE
    assert core.LOST in session.codes[-3:]
    assert session.proof(2) == Proof.PROVED


def test_after_a_maintenance_a_book_is_proved_again_by_a_new_subscription_only() -> None:
    session = book(SEQ)
    session.feed([7, SNAPSHOT, 1], {"event": "info", "code": 20060}, [7, [100, 3, 2], 2])
    assert session.proof() == Proof.BROKEN
    session.feed({"event": "info", "code": 20061}, [7, [100, 3, 2], 3])
    assert session.proof() == Proof.BROKEN
    session.feed({"event": "unsubscribed", "chanId": 7}, subscribed(11), [11, SNAPSHOT, 4])
    assert session.proof() == Proof.PROVED


@pytest.mark.parametrize("acknowledged_before", [True, False])
def test_a_snapshot_that_comes_in_maintenance_proves_nothing(acknowledged_before: bool) -> None:
    session = book(SEQ) if acknowledged_before else Session()
    session.feed(conf(SEQ), {"event": "info", "code": 20060})
    if not acknowledged_before:
        session.feed(subscribed(7))
    session.feed([7, SNAPSHOT, 1])
    assert session.proof() in (Proof.EMPTY, Proof.BROKEN)
    session.feed({"event": "info", "code": 20061}, [7, [100, 3, 2], 2])
    assert session.proof() == Proof.BROKEN


def test_a_greeting_that_tells_of_a_maintenance_is_its_beginning() -> None:
    session = Session()
    rows = session.feed({"event": "info", "version": 2, "platform": {"status": 0}})
    assert kinds(rows) == ["CONTROL.INFO", "CONTROL.MAINTENANCE_START"]
    session.feed(conf(SEQ), subscribed(7), [7, SNAPSHOT, 1])
    assert session.proof() == Proof.EMPTY


def test_when_each_live_channel_was_last_heard_is_known_heartbeats_included() -> None:
    session = book(SEQ)
    session.feed(subscribed(8, "trades"), subscribed(9, "ticker"))
    seconds = iter(range(1, 100))

    def at(message: Any, conn: int = 0) -> list[int]:
        session.feed(message, conn=conn, times=[T0 + next(seconds) * 1000 * MS])
        return [max(0, heard - T0) // (1000 * MS) for heard in session.decoder.heard_ns.tolist()]

    assert at([7, SNAPSHOT, 1])[0] == 1
    assert at([8, "te", [1, 1700000000000, 0.1, 100], 2])[:2] == [1, 2]
    ticker = [100, 1, 101, 1, 0, 0, 100, 5, 101, 99]
    assert at([9, ticker, 3]) == [1, 2, 3]
    assert at([7, "hb", 4]) == [4, 2, 3]
    assert at([8, "hb", 5]) == [4, 5, 3]
    assert at([9, "hb", 6]) == [4, 5, 6]
    assert at([8, "hb", 5]) == [4, 5, 6]  # a frame told twice says nothing new
    assert at([7, "cs", 12, 7]) == [8, 5, 6]
    assert at(b"[7,[[") == [8, 5, 6]
    assert at([1234, "hb", 9]) == [8, 5, 6]
    assert at({"event": "unsubscribed", "chanId": 8}) == [8, 0, 6]
    assert at(subscribed(10, "trades")) == [8, 12, 6]
    session.close()
    assert session.decoder.heard_ns.tolist() == [0, 0, 0]


def test_a_trade_feed_that_ends_is_told_as_lost() -> None:
    session = Session()
    session.feed(subscribed(8, "trades"))
    rows = session.feed({"event": "unsubscribed", "chanId": 8})
    assert kinds(rows) == ["GAP", "CONTROL.UNSUBSCRIBED"]
    assert session.codes[-2] == core.LOST
    assert kinds(session.feed({"event": "unsubscribed", "chanId": 8})) == ["CONTROL.UNSUBSCRIBED"]


def test_info_error_and_pong_are_control_rows() -> None:
    session = book()
    rows = session.feed(
        {"event": "info", "version": 2, "platform": {"status": 1}},
        {"event": "info", "code": 20051, "msg": "restart"},
        {"event": "info", "code": 20060},
        {"event": "info", "code": 20061},
        {"event": "info", "code": 29999},
        {"event": "error", "msg": "subscribe: dup", "code": 10301, **dict(list(subscribed(0).items())[1:])},
        {"event": "error", "msg": "unknown", "code": 10000},
        {"event": "pong", "cid": 1234, "ts": 1},
        {"event": "something new"},
    )
    rows = [row for row in rows if row["kind"] != Kind.GAP]
    assert kinds(rows) == [
        f"CONTROL.{name}"
        for name in ["INFO", "RESTART", "MAINTENANCE_START", "MAINTENANCE_END", "INFO", "ERROR", "ERROR", "PONG"]
    ]
    assert [int(rows[0]["price"]), int(rows[4]["size"]), int(rows[7]["price"])] == [2, 29999, 1234]
    assert [(int(r["price"]), int(r["channel"])) for r in rows[5:7]] == [(10301, 0), (10000, -1)]
    assert session.decoder.counters["unknown_events"] == 1


def test_tickers_and_candles_go_to_tables_of_their_own() -> None:
    session = Session()
    session.feed(
        conf(SEQ),
        subscribed(3, "ticker"),
        {"event": "subscribed", "channel": "candles", "chanId": 4, "key": "trade:1m:tBTCUSD"},
    )
    rows = session.feed(
        [3, [99, 1, 101, 2, -3, -0.03, 100, 5000, 110, 90, "extra"], 1],
        [4, [[1700000000000, 1, 2, 3, 0.5, 10], [1699999940000, 1, 1, 1, 1, 4]], 2],
        [4, [1700000000000, 1, 2.5, 3, 0.5, 11], 3],
        [3, "hb", 4],
    )
    assert rows == []
    assert [(t["channel"], t["bid"], t["low"]) for t in session.decoder.side_rows["ticker"]] == [(0, 99.0, 90.0)]
    candles = session.decoder.side_rows["candles"]
    assert [(c["mts"], c["close"], c["volume"]) for c in candles] == [
        (1700000000000, 2.0, 10.0),
        (1699999940000, 1.0, 4.0),
        (1700000000000, 2.5, 11.0),
    ]
    assert session.tables.channels[1] == Channel("bitfinex", "tBTCUSD", "candles", "1m")


@pytest.mark.parametrize(
    "ack",
    [
        subscribed(5, "ticker", "fUSD"),
        subscribed(5, prec="P9"),
        subscribed(5, len="30"),
        subscribed(5, "status"),
        subscribed(5, symbol=7),
        {"event": "subscribed", "channel": "candles", "chanId": 5, "key": "trade:1m"},
    ],
)
def test_a_channel_that_is_none_of_ours_is_unknown(ack: dict[str, Any]) -> None:
    session = Session()
    rows = session.feed(ack, [5, "fte", [1, 2, 3, 4, 5]], [5, [[1, 2, 3, 4]]])
    assert kinds(rows) == ["CONTROL.UNKNOWN_CHANNEL"] * 3
    assert session.tables.channels == []


BAD_FRAMES = {
    "empty": b"",
    "spaces": b"   ",
    "cut": b"[7,[100,1,",
    "cut in an envelope": b'{"event":"sub',
    "cut after the payload": b"[7,[100,1,1]",
    "binary": bytes(range(256)),
    "not utf-8 in an envelope": b'{"event":"\xff\xfe"}',
    "trailing bytes": b"[7,[100,1,1]]]",
    "two frames in one": b"[7,[100,1,1]][7,[100,1,1]]",
    "scalar": b"17",
    "string": b'"hb"',
    "null": b"null",
    "no payload": b"[7]",
    "no channel": b"[]",
    "channel is text": b'["7",[100,1,1]]',
    "channel is negative": b"[-7,[100,1,1]]",
    "channel is a float": b"[7.5,[100,1,1]]",
    "channel is huge": b"[99999999999999999999,[100,1,1]]",
    "payload is a number": b"[7,5]",
    "payload is an object": b'[7,{"a":1}]',
    "unknown tag": b'[7,"xx",[100,1,1]]',
    "trade in a book": b'[7,"te",[1,1700000000000,1,1]]',
    "price is text": b'[7,["100",1,1]]',
    "price is null": b"[7,[null,1,1]]",
    "price is nan": b"[7,[NaN,1,1]]",
    "price is a list": b"[7,[[100],1,1]]",
    "price is negative": b"[7,[-100,1,1]]",
    "price is zero": b"[7,[0,1,1]]",
    "price is 1e308": b"[7,[1e308,1,1]]",
    "size is 1e308": b"[7,[100,1,-1e308]]",
    "size is zero": b"[7,[100,1,0]]",
    "delete without a side": b"[7,[100,0,0]]",
    "count is negative": b"[7,[100,-1,1]]",
    "count is a float": b"[7,[100,1.5,1]]",
    "two items": b"[7,[100,1]]",
    "one bad entry in a list": b"[7,[[100,1,1],[101,1]]]",
    "missing comma": b"[7,[100 1,1]]",
    "leading zero": b"[7,[0100,1,1]]",
    "checksum is text": b'[7,"cs","1"]',
    "checksum is a float": b'[7,"cs",1.5]',
    "checksum of 33 bits": b'[7,"cs",4294967296]',
    "event is a number": b'{"event":5}',
    "no event": b"{}",
    "list in an ack": b'{"event":"subscribed","chanId":[1],"channel":"book"}',
    "flags are text": b'{"event":"conf","status":"OK","flags":"65536"}',
    "code is text": b'{"event":"info","code":"20051"}',
    "deep": b"[7," + b"[" * 100_000,
    "deep envelope": b'{"event":' + b"[" * 100_000,
    "over a mebibyte": b"[7,[100,1,1" + b" " * (1 << 20) + b"]]",
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_bad_frame_is_kept_counted_and_unproves_its_connection(name: str) -> None:
    session = book(0)
    session.feed([7, SNAPSHOT])
    rows = session.feed(BAD_FRAMES[name])
    assert kinds(rows) == ["GAP", "CONTROL.QUARANTINED"]
    assert int(rows[1]["size"]) == len(BAD_FRAMES[name])
    assert session.proof() == Proof.BROKEN
    assert session.decoder.counters["quarantined"] == 1
    kept = session.decoder.side_rows["quarantine"][0]
    assert (kept["bytes"], kept["conn"], kept["seq"]) == (BAD_FRAMES[name], 0, int(rows[0]["seq"]))
    assert kept["recv_ns"] == int(rows[0]["recv_ns"])
    assert kept["reason"].startswith("expected ")
    session.feed(subscribed(8), [8, SNAPSHOT])
    assert session.proof() == Proof.UNVERIFIABLE


@pytest.mark.parametrize(
    "payload",
    ["[1,1700000000000,1]", "[0,1700000000000,1,1]", "[1,-5,1,1]", "[1,1700000000000,0,1]", "[1,1700000000000,1,-1]",
     "[1,9999999999999999,1,1]", "[1,1700000000000,1,1e400]", '"x"', "[[1,1700000000000,1,1]]"],
)  # fmt: skip
def test_a_trade_that_cannot_be_is_a_bad_frame(payload: str) -> None:
    session = Session()
    session.feed(subscribed(9, "trades"))
    assert kinds(session.feed(f'[9,"te",{payload}]')) == ["GAP", "CONTROL.QUARANTINED"]


@pytest.mark.parametrize(
    "payload", ["[1,2,3]", '["a",1,1,1,1,1,1,1,1,1]', "[1e999,1,1,1,1,1,1,1,1,1]", '"x",1', "[1,]"]
)
def test_a_ticker_that_cannot_be_is_a_bad_frame(payload: str) -> None:
    session = Session()
    session.feed(subscribed(9, "ticker"))
    assert kinds(session.feed(f"[9,{payload}]")) == ["GAP", "CONTROL.QUARANTINED"]
    assert session.decoder.side_rows["ticker"] == []


def test_a_frame_without_the_number_it_should_have_is_a_bad_frame() -> None:
    session = book(SEQ | STAMP)
    for frame in ("[7,[[1,1,1]]]", "[7,[[1,1,1]],1]", '[7,[[1,1,1]],"1",5]', "[7,[[1,1,1]],0,5]", "[7,[[1,1,1]],1,-5]"):
        assert kinds(session.feed(frame)) == ["GAP", "CONTROL.QUARANTINED"]


def test_the_number_of_a_quarantined_frame_is_not_missed_twice() -> None:
    session = book(SEQ)
    session.feed([7, SNAPSHOT, 1], b"[7,[100,1,1],\xff2]")
    assert session.feed([7, "hb", 3]) == []
    assert session.decoder.counters["missing_explained"] == 1
    assert session.proof() == Proof.BROKEN
    assert kinds(session.feed([7, "hb", 5])) == ["GAP", "CONTROL.SEQUENCE_GAP"]


def test_digits_that_a_row_cannot_hold_break_the_book_they_belong_to_alone() -> None:
    for entry in ("1.00000000000000000001,1,1", "1000000000000000.5,1,1", "1,1,0.00000000000000000000000001"):
        session = book()
        session.feed([7, SNAPSHOT])
        rows = session.feed(f"[7,[{entry}]]")
        assert flags(rows[0]) & Flag.INEXACT
        assert session.books.books[0]["broken_by"] == BrokenBy.INEXACT
        assert session.decoder.counters["quarantined"] == 0


def test_decoding_stops_at_records_that_are_not_its_own() -> None:
    session = book()
    whole = batch([text([7, SNAPSHOT])] * 3)
    whole.kind[1] = int(RecordKind.PULSE)
    assert session.decoder.decode(whole, 0, 3, session.buffer, session.last_recv_ns) == 1
    whole = batch([text([7, SNAPSHOT])] * 3)
    whole.conn[2] = 5
    assert session.decoder.decode(whole, 0, 3, session.buffer, session.last_recv_ns) == 2
    whole.conn[0] = -1
    assert session.decoder.decode(whole, 0, 3, session.buffer, session.last_recv_ns) == 0


def test_decoding_stops_where_rows_are_full_and_goes_on_behind() -> None:
    one, small = book(SEQ), book(SEQ)
    frames = [[7, [[k, 1, 1] for k in range(1, 200)], 1]]
    frames += [[7, [k, 1, 1], k + 1] for k in range(1, 300)] + [[7, "hb", 400]]
    one.feed(*frames)
    small.buffer = Rows(2 * state.RESERVE)
    small.feed(*frames)
    assert np.array(one.rows).tobytes() == np.array(small.rows).tobytes()


def test_a_frame_with_more_rows_than_the_buffer_holds_is_a_bad_frame() -> None:
    session = book()
    session.buffer = Rows(2 * state.RESERVE)
    assert kinds(session.feed([7, [[k, 1, 1] for k in range(1, 1000)]])) == ["GAP", "CONTROL.QUARANTINED"]
    with pytest.raises(ValueError, match="expected room for"):
        session.decoder.decode(batch([b"[7,[1,1,1]]"]), 0, 1, Rows(4), session.last_recv_ns)


def test_the_connections_last_arrival_is_told() -> None:
    session = book()
    session.feed([7, "hb"], times=[T0 + 5])
    assert session.last_recv_ns[0] == T0 + 5
    session.feed(b"garbage", times=[T0 + 9])
    assert session.last_recv_ns[0] == T0 + 9


def test_a_slot_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a connection slot"):
        Session().open(-1)


@pytest.mark.skipif(not CAPTURE.exists(), reason="the recorded session is not here")
def test_no_channel_of_a_real_session_says_nothing_for_25_seconds_whatever_its_stream() -> None:
    frames, times = captured()
    session = Session()
    longest_s: dict[str, float] = {}
    for lo in range(0, len(frames), 50):
        session.feed(*frames[lo : lo + 50], times=times[lo : lo + 50])
        for channel, heard_ns in zip(session.tables.channels, session.decoder.heard_ns.tolist(), strict=True):
            silent_s = (session.now_ns - heard_ns) / 1e9
            longest_s[channel.stream] = max(silent_s, longest_s.get(channel.stream, 0.0))
    assert set(longest_s) == {"book", "trades", "ticker"}
    assert all(15.0 < seconds < 25.0 for seconds in longest_s.values()), longest_s


@pytest.mark.skipif(not CAPTURE.exists(), reason="the recorded session is not here")
def test_the_recorded_session_decodes_without_loss() -> None:
    frames, times = captured()
    session = Session()
    session.feed(*frames, times=times, size=1000)
    counters = session.decoder.counters
    arrays = counters["frames"] - counters["envelopes"]
    assert (arrays, counters["sequence_gaps"], counters["quarantined"]) == (22_649, 0, 0)
    assert (counters["trades"], counters["trade_updates_dropped"], counters["trade_snapshot_rows"]) == (8, 8, 240)
    assert (counters["book_snapshots"], counters["book_updates"], counters["tickers"]) == (8, 22_466, 58)
    assert counters["heartbeats"] == 93
    books = session.books.books[session.books.books["depth"] == 2]
    assert len(books) == 8
    assert (books["proof"] == Proof.PROVED).all()
    assert (books["proof_by"] == ProofBy.SEQUENCE).all()
    assert books["unknown_deletes"].sum() == 0
    assert books["crossed"].sum() == 0
    assert max(books["n_bid"].max(), books["n_ask"].max()) <= 100


@pytest.mark.skipif(not CAPTURE.exists(), reason="the recorded session is not here")
def test_rows_do_not_depend_on_how_frames_are_batched() -> None:
    frames, times = captured()
    frames, times = frames[:3000], times[:3000]
    rows = []
    for size in (1, 7, 64, 3000):
        session = Session()
        session.feed(*frames, times=times, size=size)
        rows.append(np.array(session.rows).tobytes())
    assert rows[0] == rows[1] == rows[2] == rows[3]
    frames[1500] = frames[1500].replace(b"1", b"2", 1)
    session = Session()
    session.feed(*frames, times=times)
    assert np.array(session.rows).tobytes() != rows[0]


@pytest.mark.skipif(not ORDERS.exists(), reason="the recorded session is not here")
def test_the_recorded_orders_replay_without_an_unknown_delete() -> None:
    with gzip.open(ORDERS) as file:
        messages = json.load(file)
    session = Session()
    session.feed(*[json.dumps(m).encode() for m in messages], size=5000)
    own = session.books.books[0]
    changes = sum(1 for r in session.rows if r["kind"] == Kind.CHANGE)
    assert (own["unknown_deletes"], own["crossed"], own["depth"]) == (0, 21, 3)
    assert changes == 37009 + 24907 + 1061
    assert session.proof() == Proof.UNVERIFIABLE
    assert (own["n_bid"], own["n_ask"]) == (19, 19)


@pytest.mark.skipif(not VECTORS.exists(), reason="the published vectors are not here")
def test_published_books_are_proved_by_their_published_checksums() -> None:
    paths = sorted(VECTORS.glob("*.jsonl"))
    assert len(paths) == 7
    for path in paths:
        session = Session()
        session.feed(*path.read_bytes().splitlines())
        assert session.proof() == Proof.PROVED, path.name
        assert session.books.books[0]["checks_ok"] == 1
        twin = Session()
        twin.feed(*path.read_bytes().replace(b'"cs",', b'"cs",1').replace(b'"cs",1-', b'"cs",-1').splitlines())
        assert twin.proof() == Proof.BROKEN, path.name
