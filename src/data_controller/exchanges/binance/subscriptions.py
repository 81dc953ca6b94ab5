"""The shared Subscriptions, speaking to each of Binance's markets."""

from __future__ import annotations

from data_controller.exchanges.binance.dialect import COINM, SPOT, USDM
from data_controller.exchanges.binance.settings import BinanceSettings
from data_controller.exchanges.streaming.subscriptions import StreamSubscriptions
from data_controller.market.tables import Tables


class BinanceSubscriptions(StreamSubscriptions):
    """Keeps Binance spot's wanted streams live."""

    def __init__(self, settings: BinanceSettings, tables: Tables, first_conn: int = 0) -> None:
        super().__init__(SPOT, settings, tables, first_conn)


class BinanceUsdmSubscriptions(StreamSubscriptions):
    """Keeps the USD-M futures' wanted streams live."""

    def __init__(self, settings: BinanceSettings, tables: Tables, first_conn: int = 0) -> None:
        super().__init__(USDM, settings, tables, first_conn)


class BinanceCoinmSubscriptions(StreamSubscriptions):
    """Keeps the COIN-M futures' wanted streams live."""

    def __init__(self, settings: BinanceSettings, tables: Tables, first_conn: int = 0) -> None:
        super().__init__(COINM, settings, tables, first_conn)
