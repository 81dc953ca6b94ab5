"""The key ring of a live engine: reads data-only keys from their files, asks what they may do, fills messages."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from data_controller import exchanges
from data_controller.actions import Alert
from data_controller.errors import ConfigError, DataControllerError, RestError, RestUnavailable
from data_controller.exchanges.streaming.keys import Credentials, KeyRefused
from data_controller.ingest.rest import RestClient

ANSWER_WITHIN_S = 8.0
"""All that is asked for one message must be answered by then: less than a venue's `ack_timeout_s`, after which the
subscription would count as lost instead of refused."""
ASK_AGAIN_S = 5.0
"""So long after a question without an answer messages are refused unasked: several may wait behind one another."""
TOKEN_LEAST_S = 10.0
"""A token younger than this is not replaced, whatever is asked with it twice."""

_S = 1_000_000_000
_MS = 1_000_000
_MOST_BYTES = 4096
_MOST_GISTS = 4096


@dataclass(slots=True)
class _Ring:
    """What is known of one venue's key; nothing of it outlives the process."""

    how: Credentials
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    key: tuple[str, ...] = ()  # as last read; all below is about this one
    harmless: bool = False  # the venue said so
    refused: KeyRefused | None = None  # the venue said otherwise
    token: str = field(default="", repr=False)
    token_ns: int = 0
    gists: set[bytes] = field(default_factory=set)  # what was asked with this token
    asked_ns: int = 0  # of the last request, so that the next one's time is greater
    unanswered: DataControllerError | None = None
    ask_again_ns: int = 0
    told: str = ""  # the last alert, "" since a message was filled


class KeyRing:
    """The secrets of all venues (`ingest.outbox.Secrets`), on the running loop.

    `settings_of(venue)` is its config section, None where it has none. A key is asked about once; a file whose content
    changed is a new key. A token is fetched anew before it is too old, and where the venue did not take what was asked
    with it.
    """

    def __init__(
        self,
        settings_of: Callable[[str], Any],
        client: RestClient,
        now_ns: Callable[[], int],
        alert: Callable[[Alert], None],
    ) -> None:
        self._settings_of = settings_of
        self._client = client
        self._now_ns = now_ns
        self._alert = alert
        self._rings: dict[str, _Ring | None] = {}

    def needed(self, venue: str, payload: bytes) -> bool:
        """Whether `payload` has a place for a secret."""
        ring = self._ring(venue)
        return ring is not None and any(place in payload for place in ring.how.places)

    async def filled(self, venue: str, payload: bytes) -> bytes:
        """`payload` with its secrets.

        Raises ConfigError where there is no key that may be used, RestUnavailable where the venue gave no answer; a
        person is told, once an outage.
        """
        ring = self._ring(venue)
        if ring is None:
            raise ConfigError(f"expected a venue that takes keys, was {venue!r}")
        async with ring.turn:
            try:
                message = await self._fill(venue, ring, payload)
            except DataControllerError as error:
                self._tell(venue, ring, error)
                raise
            ring.told = ""
            return message

    def _ring(self, venue: str) -> _Ring | None:
        if venue not in self._rings:
            kind = exchanges.venue(venue).credentials if venue in exchanges.names() else None
            self._rings[venue] = None if kind is None else _Ring(kind())
        return self._rings[venue]

    def _tell(self, venue: str, ring: _Ring, error: DataControllerError) -> None:
        if str(error) == ring.told:
            return
        ring.told = str(error)
        name, severity = ("key_unanswered", "warning") if isinstance(error, RestError) else ("key_refused", "critical")
        self._alert(Alert(severity, f"{venue}_{name}", str(error)))

    async def _fill(self, venue: str, ring: _Ring, payload: bytes) -> bytes:
        settings = self._settings_of(venue)
        key = await asyncio.to_thread(self._read, venue, settings, ring.how.files)
        if key != ring.key:
            ring.key, ring.harmless, ring.refused, ring.unanswered = key, False, None, None
            ring.token, ring.gists = "", set()
        if ring.refused is not None:
            raise ring.refused
        await self._ask_what_is_due(venue, ring, settings, payload)
        if ring.how.token_life_s:
            ring.gists.add(ring.how.gist(payload))
        return ring.how.filled(payload, key, ring.token, self._now_ns())

    async def _ask_what_is_due(self, venue: str, ring: _Ring, settings: Any, payload: bytes) -> None:
        """Ask what the key may do, and for a token, where that is not known."""
        stale = self._is_stale(ring, payload)
        if ring.harmless and not stale:
            return
        if ring.unanswered is not None and self._now_ns() < ring.ask_again_ns:
            raise ring.unanswered
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                if not ring.harmless:
                    request = ring.how.permissions_request(settings, ring.key, self._request_ns(ring))
                    ring.how.refuse_if_it_can_trade(*await self._client.ask(venue, request))
                    ring.harmless = True
                if stale:
                    request = ring.how.token_request(settings, ring.key, self._request_ns(ring))
                    ring.token = ring.how.token_of(*await self._client.ask(venue, request))
                    ring.token_ns, ring.gists = self._now_ns(), set()
        except KeyRefused as error:
            ring.refused = KeyRefused(_without(str(error), ring))
            raise ring.refused from None
        except ConfigError as error:
            self._note(ring, ConfigError(_without(str(error), ring)))
        except RestError as error:
            # Its own text may quote the answer.
            what = f"status {error.status}" if error.status else "none"
            self._note(ring, RestUnavailable(_NO_ANSWER.format(venue, what), error.status))
        except TimeoutError:
            self._note(ring, RestUnavailable(_NO_ANSWER.format(venue, f"none within {ANSWER_WITHIN_S:g} s")))
        ring.unanswered = None

    def _note(self, ring: _Ring, error: DataControllerError) -> NoReturn:
        """Remember for a while that the venue did not say, and raise `error`."""
        ring.unanswered, ring.ask_again_ns = error, self._now_ns() + int(ASK_AGAIN_S * _S)
        raise error from None

    def _is_stale(self, ring: _Ring, payload: bytes) -> bool:
        """Whether another token is wanted: there is none, it is old, or what is asked was asked with it before."""
        life_s = ring.how.token_life_s
        if not life_s:
            return False
        age_ns = self._now_ns() - ring.token_ns
        again = ring.how.gist(payload) in ring.gists or len(ring.gists) >= _MOST_GISTS
        return not ring.token or age_ns >= life_s * _S or (again and age_ns >= TOKEN_LEAST_S * _S)

    def _request_ns(self, ring: _Ring) -> int:
        """The engine's time, a millisecond or more after the last request's."""
        ring.asked_ns = max(self._now_ns(), ring.asked_ns + _MS)
        return ring.asked_ns

    @staticmethod
    def _read(venue: str, settings: Any, fields: tuple[str, ...]) -> tuple[str, ...]:
        key = []
        for name in fields:
            path = getattr(settings, name, None)
            if path is None:
                raise ConfigError(f"expected `{venue}.{name}` to name the file of a data-only key, was not set")
            key.append(read_secret(Path(path), f"{venue}.{name}"))
        return tuple(key)


_NO_ANSWER = "expected {} to answer what its key may do, was {}; the subscription is asked for again later"


def read_secret(path: Path, name: str) -> str:
    """The one line of a file that its owner alone can read; ConfigError, which names `name`, where it is otherwise."""
    path = path.expanduser()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"expected a key in {path} (`{name}`), but it cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(fd)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode) or mode & 0o077 or status.st_uid != os.geteuid():
            raise ConfigError(
                f"expected {path} (`{name}`) to be a file of user {os.geteuid()} with mode 600, was mode {mode:o} of"
                f" user {status.st_uid}; take it back with chmod 600, and make a new key if others could read this one"
            )
        raw = os.read(fd, _MOST_BYTES + 1)
    finally:
        os.close(fd)
    text = raw.decode("utf-8", "replace").strip()
    if not text or len(raw) > _MOST_BYTES or not text.isascii() or not text.isprintable():
        raise ConfigError(
            f"expected {path} (`{name}`) to hold one line of printable ASCII, was {len(raw)} bytes of something else"
        )
    return text


def _without(text: str, ring: _Ring) -> str:
    """`text` without anything of the key: a venue may quote what it was asked with."""
    for secret in (*ring.key, ring.token):
        if secret:
            text = text.replace(secret, "***")
    return text
