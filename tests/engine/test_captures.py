"""Every genuine capture imports and verifies: counts as its provenance says, every checksum valid, no sequence gap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from data_controller.engine.verify import verify
from data_controller.lake.importers import (
    import_bitstamp_log,
    import_cryptofeed,
    import_hftbacktest,
    import_ndjson,
)

DATA = Path(__file__).parents[3] / "shared" / "data"
RAW = DATA / "raw_ws"

pytestmark = pytest.mark.skipif(not RAW.exists(), reason="the captures lie outside this repository")


class Capture(NamedTuple):
    """A capture and what `PROVENANCE.md` says of it."""

    exchange: str
    files: Sequence[str]
    frames: int
    fetched: int
    proofs: set[str]
    checksums: int = 0
    how: Callable[..., Any] = import_cryptofeed


A, B, C = "cryptofeed_2021-04-05", "cryptofeed_2021-04-17", "cryptofeed_2021-04-25"
HFT = "hftbacktest_binance"
PROVED, DOUBTFUL = {"PROVED"}, {"UNVERIFIABLE"}

CAPTURES = (
    Capture("bitfinex", ["bitfinex/cryptofeed_2021-04-05/BITFINEX-58bafb.0.gz"], 22675, 0, PROVED),
    Capture("binance", [f"{A}/BINANCE-b38f7c.0.gz"], 11357, 10, PROVED),
    Capture("binance_usdm", [f"{A}/BINANCE_FUTURES-1125a2.0.gz"], 8421, 5, PROVED),
    Capture("bitflyer", [f"{A}/BITFLYER-ac44d0.0.gz"], 3902, 0, DOUBTFUL),
    Capture("bitmex", [f"{A}/BITMEX-d944be.0.gz"], 7043, 0, DOUBTFUL),
    Capture("bitstamp", [f"{A}/BITSTAMP-b88f8b.0.gz"], 3254, 10, DOUBTFUL),
    Capture("deribit", [f"{A}/DERIBIT-5dd9ce.0"], 461, 0, PROVED),
    Capture("gemini", [f"{A}/GEMINI-e6096f.0.gz"], 1804, 0, DOUBTFUL),
    Capture("kraken_v1", [f"{A}/KRAKEN-c197c0.0.gz"], 14636, 0, PROVED, 14496),
    Capture("kraken_v1", [f"{A}/KRAKEN-4b7396.0"], 152, 0, set()),
    Capture("kraken_v1", [f"{A}/KRAKEN-82ac16.0"], 142, 0, set()),
    Capture("okcoin", [f"{A}/OKCOIN-726568.0.gz"], 3627, 0, PROVED, 3500),
    Capture("upbit", [f"{A}/UPBIT-d78752.0.gz"], 1733, 0, DOUBTFUL),
    Capture("coinbase_2021", [f"{B}/COINBASE.0", f"{B}/COINBASE.ws.28.0.gz"], 9946, 1, DOUBTFUL),
    Capture("bybit_2021", [f"{B}/BYBIT.0", f"{B}/BYBIT.ws.25.0.gz"], 3342, 1, DOUBTFUL),
    Capture("kraken_futures", [f"{B}/KRAKEN_FUTURES.0", f"{B}/KRAKEN_FUTURES.ws.46.0.gz"], 7123, 1, PROVED),
    Capture("huobi", [f"{B}/HUOBI.0.gz", f"{B}/HUOBI.ws.44.0.gz"], 362, 1, DOUBTFUL),
    Capture("kucoin", [f"{C}/KUCOIN.0", f"{C}/KUCOIN.http.0.0", f"{C}/KUCOIN.ws.1.0.gz"], 4721, 10, PROVED),
    Capture("okx", [f"cryptofeed_2022-02-27/OKX.{part}.gz" for part in ("0", "ws.1.0")], 3777, 5, PROVED, 3679),
    Capture("bitget", [f"cryptofeed_2022-04-03/BITGET.{part}" for part in ("0", "ws.1.0.gz")], 746, 1, PROVED, 460),
    Capture("binance_usdm", [f"{HFT}/usdm/btcusdt_20240808.gz"], 93953, 1, PROVED, how=import_hftbacktest),
    Capture(
        "binance", [f"{HFT}/spot/btcusdt_2024080{day}.gz" for day in (8, 9)], 99573, 1, PROVED, how=import_hftbacktest
    ),
    Capture(
        "binance_coinm",
        [f"{HFT}/cm/btcusd_perp_2024080{day}.gz" for day in (8, 9)],
        98385,
        1,
        PROVED,
        how=import_hftbacktest,
    ),
    Capture(
        "binance_usdm",
        ["gobrien_binance_usdm_2026-02-26/raw_1772137284.ndjson.gz"],
        1291,
        4,
        PROVED,
        how=import_ndjson,
    ),
    Capture(
        "bitstamp_2015",
        ["../l3/bitstamp_2015-05-01/2015-05-01.log.bz2"],
        276767,
        0,
        DOUBTFUL,
        how=import_bitstamp_log,
    ),
)


def run_import(capture: Capture, journal: Path) -> Any:
    """Import a capture into a new journal; returns the report."""
    files = [RAW / file for file in capture.files]
    return capture.how(files if len(files) > 1 else files[0], capture.exchange, journal)


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda c: Path(c.files[0]).name.split(".")[0])
def test_a_capture_imports_and_verifies(capture: Capture, tmp_path: Path) -> None:
    report = run_import(capture, tmp_path / "journal")
    assert (report["frames"], report["fetched"], report["garbage_lines"]) == (capture.frames, capture.fetched, 0)
    result = verify([tmp_path / "journal"])
    assert result["ok"]
    assert (result["checksums_ok"], result["checksums_bad"], result["sequence_gaps"]) == (capture.checksums, 0, 0)
    assert result["quarantined"] == 0
    assert {book["proof"] for book in result["books"]} == capture.proofs
