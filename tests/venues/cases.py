"""The venues of the tests: their dialogue, their config section, and what proves their books."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from data_controller.market.layout import Proof, ProofBy
from tests.exchanges.feeding import RAW
from tests.venues import captured, documented
from tests.venues.replaying import Dialogue

QUICK = {"resync_backoff_s": 0.05, "ack_timeout_s": 2.0, "unproved_after_s": 5.0}


@dataclass(frozen=True)
class Case:
    """A venue that is played, and two instruments of it (one where its capture has one)."""

    name: str
    make: Callable[[tuple[str, ...]], Dialogue]
    symbols: tuple[str, ...]
    proof: Proof
    proof_by: ProofBy
    capture: str = ""
    rest: str = ""  # path of its REST, empty where nothing is fetched
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def proves(self) -> bool:
        """Whether a lost message is noticed."""
        return self.proof is Proof.PROVED

    def dialogue(self) -> Dialogue:
        """The dialogue; the test is skipped where its capture is not there."""
        if self.capture and not (RAW / self.capture).exists():
            pytest.skip(f"expected the capture {self.capture} beside the checkout, was not there")
        return self.make(self.symbols)

    def section(self, venue: str, port: int, symbols: tuple[str, ...], **changes: Any) -> dict[str, dict[str, Any]]:
        """The `exchanges:` section that points at `port`."""
        own: dict[str, Any] = {**QUICK, "url": f"ws://127.0.0.1:{port}", "instruments": list(symbols)}
        if self.rest:
            own["rest_url"] = f"http://127.0.0.1:{port}{self.rest}"
        return {venue: own | self.settings | changes}


def _captured(kind: Any, symbols: tuple[str, ...], proof: Proof, by: ProofBy, **more: Any) -> Case:
    return Case(kind.venue, kind, symbols, proof, by, capture=kind.capture, **more)


_BINANCE = {"trades": False, "aggregate_trades": True, "quotes": True}
_FUTURES = {"derivatives": False, "liquidations": False}

CASES = (
    _captured(
        captured.Binance,
        ("ZILUSDT", "DENTUSDT"),
        Proof.PROVED,
        ProofBy.SEQUENCE,
        rest="/api/v3",
        settings=_BINANCE,
    ),
    _captured(
        captured.BinanceUsdm,
        ("NEOUSDT", "BATUSDT"),
        Proof.PROVED,
        ProofBy.SEQUENCE,
        rest="/fapi/v1",
        settings=_BINANCE | _FUTURES,
    ),
    _captured(
        captured.BinanceCoinm,
        ("BTCUSD_PERP",),
        Proof.PROVED,
        ProofBy.SEQUENCE,
        rest="/dapi/v1",
        settings={"book_speed": "0ms", "quotes": True} | _FUTURES,
    ),
    _captured(
        captured.Okx,
        ("ELON-USDT", "UNI-USD-SWAP"),
        Proof.PROVED,
        ProofBy.CHECKSUM,
        settings={"derivatives": False},
    ),
    _captured(captured.Coinbase, ("SKL-USD", "DASH-BTC"), Proof.UNVERIFIABLE, ProofBy.NOTHING),
    _captured(captured.Bitstamp, ("xlmeur", "xrpbtc"), Proof.UNVERIFIABLE, ProofBy.NOTHING, rest="/api/v2"),
    _captured(captured.Bitflyer, ("XRP_JPY", "XLM_JPY"), Proof.UNVERIFIABLE, ProofBy.NOTHING),
    Case(
        "bybit documented",
        documented.Bybit,
        ("BTCUSDT", "ETHUSDT"),
        Proof.PROVED,
        ProofBy.SEQUENCE,
        settings={"book_levels": 50},
    ),
    Case(
        "kraken documented",
        documented.Kraken,
        ("BTC/USD", "ETH/USD"),
        Proof.PROVED,
        ProofBy.CHECKSUM,
        settings={"book_depth": 10},
    ),
    Case("okx documented", documented.OkxNumbered, ("BTC-USDT", "ETH-USDT"), Proof.PROVED, ProofBy.SEQUENCE),
)
