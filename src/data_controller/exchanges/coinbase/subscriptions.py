"""Coinbase's Subscriptions: the shared ones in its dialect."""

from __future__ import annotations

from data_controller.exchanges.coinbase.dialect import CoinbaseDialect
from data_controller.exchanges.coinbase.settings import CoinbaseSettings
from data_controller.exchanges.streaming.subscriptions import StreamSubscriptions
from data_controller.market.tables import Tables


class CoinbaseSubscriptions(StreamSubscriptions):
    """Keeps Coinbase's channels live; see streaming.subscriptions."""

    def __init__(self, settings: CoinbaseSettings, tables: Tables, first_conn: int = 0) -> None:
        super().__init__(CoinbaseDialect(), settings, tables, first_conn)
