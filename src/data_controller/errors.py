"""The one error tree: every error a room raises on purpose, and which of them are worth a retry.

    DataControllerError
    ├── ConfigError          a config file or value is wrong; nothing was applied
    ├── ProtocolError        an exchange said something outside its own protocol
    ├── RestError            a venue's REST interface gave no usable answer
    │   ├── RestUnavailable  the network or the venue failed: the same request may succeed later
    │   ├── RestLimited      too many requests: it may succeed after a while, `retry_after_s`
    │   └── RestRefused      the request, the certificate or the answer is wrong: asking again changes nothing
    ├── JournalError         a journal cannot be written or read
    │   ├── JournalFull      the disk or its budget is exhausted
    │   └── JournalCorrupt   bytes on disk are not what was written
    ├── BundleError          a model bundle is damaged, foreign or does not match the catalogue
    ├── TableError           a table cannot be written or read
    ├── LakeError            the lake cannot be written or read, or is not what was committed
    ├── ImportFormatError    a foreign capture is not in the format it was said to be
    ├── ControlError         the engine's control socket refused or is not there
    ├── LatchedError         the kill switch is latched
    └── SimulatorError       the simulated exchange was asked for something it cannot do

Messages say what was expected, what was found and what to do.
"""


class DataControllerError(Exception):
    """Base of every error raised on purpose."""


class ConfigError(DataControllerError):
    """A config file or value is wrong; nothing was applied."""


class ProtocolError(DataControllerError):
    """An exchange said something outside its own protocol."""


class RestError(DataControllerError):
    """A venue's REST interface gave no usable answer; `status` is HTTP's, 0 where none came, `body` what it said."""

    def __init__(self, text: str, status: int = 0, body: bytes = b"") -> None:
        super().__init__(text)
        self.status = status
        self.body = body


class RestUnavailable(RestError):  # noqa: N818 - the state is the name
    """The network or the venue failed: the same request may succeed later."""


class RestLimited(RestError):  # noqa: N818
    """The venue takes no more requests for `retry_after_s` seconds."""

    def __init__(self, text: str, status: int = 0, body: bytes = b"", retry_after_s: float = 0.0) -> None:
        super().__init__(text, status, body)
        self.retry_after_s = retry_after_s


class RestRefused(RestError):  # noqa: N818
    """The request, the certificate or the answer is wrong: asking again changes nothing."""


class JournalError(DataControllerError):
    """A journal cannot be written or read."""


class JournalFull(JournalError):  # noqa: N818 - the state is the name
    """The disk, or the budget the config gives the journal, is exhausted."""


class JournalCorrupt(JournalError):  # noqa: N818
    """Bytes on disk are not what was written."""


class BundleError(DataControllerError):
    """A model bundle is damaged, foreign, or bound to another feature catalogue."""


class TableError(DataControllerError):
    """A table cannot be written or read."""


class LakeError(DataControllerError):
    """The lake cannot be written or read, or its files are not what was committed."""


class ImportFormatError(DataControllerError):
    """A foreign capture is not in the format it was said to be."""


class ControlError(DataControllerError):
    """The engine's control socket refused a request or is not there."""


class LatchedError(DataControllerError):
    """The kill switch is latched."""


class SimulatorError(DataControllerError):
    """The simulated exchange was asked for something it cannot do."""


def is_retryable(error: BaseException) -> bool:
    """True where trying the same thing again may succeed: the network and the moment, never the input."""
    moments = (ConnectionError, TimeoutError, InterruptedError, BlockingIOError, RestUnavailable, RestLimited)
    return isinstance(error, moments)
