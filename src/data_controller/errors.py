"""The one error tree: every error a room raises on purpose, and which of them are worth a retry.

    DataControllerError
    ├── ConfigError          a config file or value is wrong; nothing was applied
    ├── ProtocolError        an exchange said something outside its own protocol
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
    return isinstance(error, (ConnectionError, TimeoutError, InterruptedError, BlockingIOError))
