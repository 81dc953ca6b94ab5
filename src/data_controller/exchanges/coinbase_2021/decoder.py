"""Coinbase's frames of 2021 to event rows: the dialect of today, which has not changed, under a name of its own."""

from __future__ import annotations

from typing import ClassVar

from data_controller.exchanges.coinbase.decoder import CoinbaseDecoder


class Coinbase2021Decoder(CoinbaseDecoder):
    """Decoder of `wss://ws-feed.pro.coinbase.com`, whose captures are imported."""

    venue: ClassVar[str] = "coinbase_2021"
