"""The shared Subscriptions, speaking to each of Bybit's markets."""

from __future__ import annotations

from data_controller.exchanges.bybit.dialect import INVERSE, LINEAR, SPOT
from data_controller.exchanges.bybit.settings import BybitSettings
from data_controller.exchanges.streaming.subscriptions import StreamSubscriptions
from data_controller.market.tables import Tables


class BybitSubscriptions(StreamSubscriptions):
    """Keeps Bybit spot's wanted topics live."""

    def __init__(self, settings: BybitSettings, tables: Tables, first_conn: int = 0) -> None:
        super().__init__(SPOT, settings, tables, first_conn)


class BybitLinearSubscriptions(StreamSubscriptions):
    """Keeps wanted topics of contracts that settle in USDT or USDC live."""

    def __init__(self, settings: BybitSettings, tables: Tables, first_conn: int = 0) -> None:
        super().__init__(LINEAR, settings, tables, first_conn)


class BybitInverseSubscriptions(StreamSubscriptions):
    """Keeps wanted topics of contracts that settle in the coin live."""

    def __init__(self, settings: BybitSettings, tables: Tables, first_conn: int = 0) -> None:
        super().__init__(INVERSE, settings, tables, first_conn)
