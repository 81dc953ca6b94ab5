"""Exit codes of every command, and which error ends with which."""

from __future__ import annotations

from data_controller.errors import ConfigError, ControlError, DataControllerError, LatchedError

OK, FAILED, USAGE, NOT_RUNNING, LATCHED, INTERRUPTED = 0, 1, 2, 3, 4, 130

MEANINGS = {
    OK: "it worked",
    FAILED: "the run failed, or what was checked does not match",
    USAGE: "wrong usage, or a config file with something wrong in it",
    NOT_RUNNING: "no engine is running in that state directory, or it does not answer",
    LATCHED: "the kill switch is latched",
    INTERRUPTED: "interrupted from the keyboard",
}

EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in MEANINGS.items()) + "."


def exit_code_of(error: DataControllerError) -> int:
    """The exit code of a command that ended with `error`."""
    if isinstance(error, ConfigError):
        return USAGE
    if isinstance(error, LatchedError):
        return LATCHED
    # The socket's client raises from the system's own error where nobody answered; a refusal has no such cause.
    if isinstance(error, ControlError) and isinstance(error.__cause__, OSError):
        return NOT_RUNNING
    return FAILED
