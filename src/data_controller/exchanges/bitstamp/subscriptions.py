"""The shared Subscriptions, speaking to Bitstamp."""

from __future__ import annotations

from data_controller.exchanges.bitstamp.dialect import DIALECT
from data_controller.exchanges.bitstamp.settings import BitstampSettings
from data_controller.exchanges.streaming.subscriptions import StreamSubscriptions
from data_controller.market.tables import Tables


class BitstampSubscriptions(StreamSubscriptions):
    """Keeps Bitstamp's wanted channels live."""

    def __init__(self, settings: BitstampSettings, tables: Tables, first_conn: int = 0) -> None:
        super().__init__(DIALECT, settings, tables, first_conn)
