"""Messages as Kraken's v2 documents give them, among them the two worked examples of checksums."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any

STATUS = (
    '{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2",'
    '"connection_id":12393906104898154338}]}'
)
HEARTBEAT = '{"channel":"heartbeat"}'
BOOK_ACK = (
    '{"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"BTC/USD"},"success":true,'
    '"time_in":"2023-10-06T17:35:55.219022Z","time_out":"2023-10-06T17:35:55.219067Z","req_id":4}'
)
LEVEL3_ACK = BOOK_ACK.replace('"book"', '"level3"')
REFUSAL = (
    '{"error":"Currency pair not supported XBT/USD","method":"subscribe","success":false,"symbol":"XBT/USD",'
    '"time_in":"2023-10-06T17:35:55.219022Z","time_out":"2023-10-06T17:35:55.219067Z","req_id":9}'
)
INSTRUMENT = (
    '{"channel":"instrument","type":"snapshot","data":{"assets":[{"id":"USD","status":"enabled","precision":4,'
    '"precision_display":2,"borrowable":true,"collateral_value":1.0,"margin_rate":0.025}],"pairs":[{"symbol":"BTC/USD",'
    '"base":"BTC","quote":"USD","status":"online","qty_precision":8,"qty_increment":1e-8,"price_precision":1,'
    '"cost_precision":5,"marginable":true,"has_index":true,"cost_min":0.5,"tick_size":0.1,"price_increment":0.1,'
    '"qty_min":0.0001}]}}'
)
CHECKSUM = 3310070434
BIDS = [
    ("45283.5", "0.10000000"),
    ("45283.4", "1.54582015"),
    ("45282.1", "0.10000000"),
    ("45281.0", "0.10000000"),
    ("45280.3", "1.54592586"),
    ("45279.0", "0.07990000"),
    ("45277.6", "0.03310103"),
    ("45277.5", "0.30000000"),
    ("45277.3", "1.54602737"),
    ("45276.6", "0.15445238"),
]
ASKS = [
    ("45285.2", "0.00100000"),
    ("45286.4", "1.54571953"),
    ("45286.6", "1.54571109"),
    ("45289.6", "1.54560911"),
    ("45290.2", "0.15890660"),
    ("45291.8", "1.54553491"),
    ("45294.7", "0.04454749"),
    ("45296.1", "0.35380000"),
    ("45297.5", "0.09945542"),
    ("45299.5", "0.18772827"),
]
ORDERS_CHECKSUM = 1063832831
ORDER_BIDS = """OTCFZG-YOE2Q-LQKNM3 44939.4 0.88968699
OFGP5R-B3E7G-54EZD6 44939.4 0.4521
OMPHVY-IZPJ4-KOKA3P 44939.4 0.1
OAI5QZ-AMPLW-NBNO72 44939.4 0.14296323
O7VFZI-CTFWH-FF6EIR 44939.4 0.25
O472V3-ZG4EZ-OLD66C 44939.4 0.10292988
OEK26P-BGPUK-LDHMD2 44939.4 0.3388
OSMYPE-S5VOC-YSS3WM 44939.4 1.2814086
OJPMIN-NXZL5-SOWP6V 44937.1 0.03346877
O6PUGE-SQWYQ-TRJEEE 44934.7 0.3563
OPUOGC-Q532V-3OKLPM 44930.2 0.22734299
OCIU7J-VB3CI-HPULSF 44930.2 0.01
ORWVAF-LJFLY-ZWEHDQ 44930.2 0.0555
OYRAHE-PI5AN-7KOQ4E 44930.2 0.7
OGBHYU-UILDD-6DLLYJ 44930.2 0.15
O74ZBU-K2TKC-R76XSW 44928.0 0.0010524
OQVTQF-Y56MR-BM6LWL 44919.6 0.3387
OYEH6U-ZCHA2-3HFR3W 44919.5 0.0761
OLGPG7-HVKXU-J6SANK 44912.0 0.3563
OHGC3L-FRZQ3-UIVZRU 44909.7 0.0669
O73C6Y-VZXYA-H4LDFY 44901.9 0.00088982"""
ORDER_ASKS = """OFVLAA-HRSSP-BK75KB 44939.5 4.52308393
OYBAMK-O5DKX-WMPUTM 44939.5 0.00111261
O3DRCT-J5M2S-KYV526 44939.5 0.001
OF3X3A-72WZY-6EKA5F 44939.5 0.01
OF5UA6-6IIZ2-YGQTSJ 44950.0 0.10334926
OSDOZX-7UZ6Y-QDNPVI 44953.0 0.00064537
OV7KTS-A2TWV-3XKRIA 44955.0 0.0025
OOF2V5-RYOHC-GLRNPM 44959.6 0.3563
OTVOVS-QLST3-3JG7JI 44959.6 0.3563
OGZCIU-RDQ77-DAAL3P 44960.1 0.00338072
OVLG3E-HYBQM-CWNGCY 44960.2 0.88967575
OWEOFO-HUCJC-T37MVO 44967.0 3.14392283
OVYTHY-D2N76-5QYREQ 44978.5 0.0677896
OFO525-PHRVS-236RMN 44979.2 0.3563"""
TRADE = (
    '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":45283.4,"qty":0.0005,'
    '"ord_type":"market","trade_id":4665846,"timestamp":"2023-09-25T07:48:36.925533Z"},{"symbol":"BTC/USD",'
    '"side":"buy","price":45283.5,"qty":0.25,"ord_type":"limit","trade_id":4665847,'
    '"timestamp":"2023-09-25T07:48:36.925603Z"}]}'
)
TICKER = (
    '{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":45283.5,"bid_qty":0.1,"ask":45285.2,'
    '"ask_qty":0.001,"last":45283.4,"volume":997038.98383185,"vwap":45100.1,"low":44900.0,"high":46000.2,'
    '"change":-12.5,"change_pct":-0.03}]}'
)
OHLC = (
    '{"channel":"ohlc","type":"update","timestamp":"2023-10-04T16:26:30.524394914Z","data":[{"symbol":"BTC/USD",'
    '"open":0.5624,"high":0.5628,"low":0.5622,"close":0.5627,"trades":12,"volume":30927.68066226,"vwap":0.5626,'
    '"interval_begin":"2023-10-04T16:25:00.000000000Z","interval":5,"timestamp":"2023-10-04T16:30:00.000000Z"}]}'
)


def frame(channel: str, kind: str, bids: list[str], asks: list[str], checksum: int, symbol: str = "BTC/USD") -> str:
    """A message about one book, its entries as JSON text."""
    sides = f'"bids":[{",".join(bids)}],"asks":[{",".join(asks)}]'
    data = f'{{"symbol":"{symbol}",{sides},"checksum":{checksum},"timestamp":"2023-10-06T17:35:55.440295Z"}}'
    return f'{{"channel":"{channel}","type":"{kind}","data":[{data}]}}'


def level(price: str, size: str) -> str:
    """An entry of the book channel, numbers as their own text."""
    return f'{{"price":{price},"qty":{size}}}'


def order(text: str, event: str = "") -> str:
    """An entry of the level3 channel out of `id price size`."""
    ref, price, size = text.split()
    head = f'"event":"{event}",' if event else ""
    time = '"timestamp":"2024-01-08T12:26:39.526146327Z"'
    return f'{{{head}"order_id":"{ref}","limit_price":{price},"order_qty":{size},{time}}}'


def snapshot() -> str:
    """The worked example of the book channel."""
    return frame("book", "snapshot", [level(*e) for e in BIDS], [level(*e) for e in ASKS], CHECKSUM)


def orders_snapshot() -> str:
    """The worked example of the level3 channel."""
    bids, asks = ([order(line) for line in text.split("\n")] for text in (ORDER_BIDS, ORDER_ASKS))
    return frame("level3", "snapshot", bids, asks, ORDERS_CHECKSUM)


def crc(asks: Iterable[tuple[str, str]], bids: Iterable[tuple[str, str]]) -> int:
    """Kraken's checksum over entries in its order, price in tenths and size in 1e-8."""
    digits = ""
    for price, size in [*asks, *bids]:
        digits += f"{float(price):.1f}".replace(".", "").lstrip("0") + f"{float(size):.8f}".replace(".", "").lstrip("0")
    return zlib.crc32(digits.encode())


def entries(text: str) -> list[tuple[str, str, str]]:
    """(id, price, size) of lines."""
    return [tuple(line.split()) for line in text.split("\n")]  # type: ignore[misc]


def every() -> list[bytes]:
    """One message of each kind, compact."""
    found: list[Any] = [STATUS, BOOK_ACK, LEVEL3_ACK, REFUSAL, INSTRUMENT, TRADE, TICKER, OHLC, snapshot()]
    found.append(frame("book", "update", [level("45283.5", "0.2")], [level("45285.2", "0")], 7))
    found.append(frame("level3", "update", [order("OAAAAA-AAAAA-AAAAAA 44940.0 1", "add")], [], 7))
    found.append(orders_snapshot())
    return [json.dumps(json.loads(text), separators=(",", ":")).encode() for text in found]
