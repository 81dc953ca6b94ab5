"""The config fields that every venue of named streams has: deadlines and back-off; its streams are its own matter."""

from __future__ import annotations

import re
from collections.abc import Sequence

from data_controller.errors import ConfigError
from data_controller.exchanges.naming import is_canonical, to_venue
from data_controller.settings import Section, hot


def symbols_of(
    venue: str, instruments: Sequence[str], form: re.Pattern[str], example: str, category: str = ""
) -> tuple[str, ...]:
    """`instruments`, each by its canonical name or as the venue writes it, as the venue's symbols.

    Raises ValueError where one is neither (`form` is what a symbol looks like), or is named twice.
    """
    try:
        symbols = tuple(to_venue(venue, name, category) if is_canonical(name) else name for name in instruments)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    for symbol in symbols:
        if not form.fullmatch(symbol):
            raise ValueError(f"expected instruments such as {example}, was {symbol!r}")
        if symbols.count(symbol) > 1:
            raise ValueError(f"expected each instrument once, was twice: {symbol}")
    return symbols


class StreamingSettings(Section):
    """Deadlines of the shared Subscriptions (`exchanges.streaming.subscriptions`)."""

    instruments: tuple[str, ...] = hot(())  # canonical names (BTC/USDT) or the venue's own symbols
    silent_after_s: float = hot(30.0, gt=0, le=3600)  # a connection without any frame for longer is opened anew
    ack_timeout_s: float = hot(10.0, gt=0, le=600)  # an answer or a snapshot later than this is lost
    unproved_after_s: float = hot(60.0, gt=0, le=86400)  # a book PENDING for longer is asked for again
    channel_silent_after_s: float = hot(0.0, ge=0, le=86400)  # a channel without data for longer is; 0: it may be quiet
    resync_backoff_s: float = hot(1.0, gt=0, le=3600)  # second resync in a row; the first is immediate, then doubling
    resync_backoff_max_s: float = hot(60.0, gt=0, le=3600)
    resync_stable_after_s: float = hot(120.0, gt=0, le=86400)  # a book that held for this long starts over
    retry_given_up_after_s: float = hot(300.0, gt=0, le=86400)  # a channel refused three times is tried again after
    retry_given_up_max_s: float = hot(3600.0, gt=0, le=86400)
    resnapshot_every_s: float = hot(
        0.0, ge=0, le=86400
    )  # a book nothing can prove is asked for anew this often; 0 never

    def most_channels(self, allowed: int) -> int:
        """Channels that one of our connections carries where the venue allows `allowed`."""
        return allowed
