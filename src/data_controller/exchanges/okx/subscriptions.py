"""The shared Subscriptions, speaking to OKX."""

from __future__ import annotations

from data_controller.exchanges.okx.dialect import OkxDialect
from data_controller.exchanges.okx.settings import OkxSettings
from data_controller.exchanges.streaming.subscriptions import StreamSubscriptions
from data_controller.market.tables import Tables


class OkxSubscriptions(StreamSubscriptions):
    """Keeps OKX's wanted streams live."""

    def __init__(self, settings: OkxSettings, tables: Tables, first_conn: int = 0) -> None:
        super().__init__(OkxDialect(), settings, tables, first_conn)
