"""The shared Subscriptions, speaking to bitFlyer."""

from __future__ import annotations

from data_controller.exchanges.bitflyer.dialect import DIALECT
from data_controller.exchanges.bitflyer.settings import BitflyerSettings
from data_controller.exchanges.streaming.subscriptions import StreamSubscriptions
from data_controller.market.tables import Tables


class BitflyerSubscriptions(StreamSubscriptions):
    """Keeps bitFlyer's wanted channels live."""

    def __init__(self, settings: BitflyerSettings, tables: Tables, first_conn: int = 0) -> None:
        super().__init__(DIALECT, settings, tables, first_conn)
