"""Kraken's Subscriptions: the shared ones in its dialect."""

from __future__ import annotations

from data_controller.exchanges.kraken.dialect import KrakenDialect
from data_controller.exchanges.kraken.settings import KrakenSettings
from data_controller.exchanges.streaming.subscriptions import StreamSubscriptions
from data_controller.market.tables import Tables


class KrakenSubscriptions(StreamSubscriptions):
    """Keeps Kraken's channels live; see streaming.subscriptions."""

    def __init__(self, settings: KrakenSettings, tables: Tables, first_conn: int = 0) -> None:
        super().__init__(KrakenDialect(), settings, tables, first_conn)
