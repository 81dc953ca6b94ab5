"""The bearer token of the control API: made once for each state directory, readable by its owner alone."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from data_controller.errors import ConfigError

TOKEN_NAME = "token"
_MIN_CHARACTERS = 32


def ensure_token(state_dir: Path) -> str:
    """The token of `state_dir`, made where there is none; ConfigError where others could read or replace it."""
    path = state_dir / TOKEN_NAME
    if not os.path.lexists(path):
        _create(path)
    return read_token(state_dir)


def read_token(state_dir: Path) -> str:
    """The token of `state_dir`; ConfigError where there is none that can be trusted."""
    path = state_dir / TOKEN_NAME
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"expected the API token at {path}: {error.strerror}; the monitor makes it") from error
    try:
        status = os.fstat(fd)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode) or mode & 0o077 or status.st_uid != os.geteuid():
            raise ConfigError(
                f"expected {path} to be a file of user {os.geteuid()} with mode 600,"
                f" was mode {mode:o} of user {status.st_uid}; remove it, a new one is made"
            )
        token = os.read(fd, 4096).decode("ascii", "replace").strip()
    finally:
        os.close(fd)
    if len(token) < _MIN_CHARACTERS or not token.isprintable():
        raise ConfigError(f"expected {path} to hold at least {_MIN_CHARACTERS} printable characters; remove it")
    return token


def token_matches(token: str, given: str) -> bool:
    """True where `given` is the token; the time taken does not tell how much of it was right."""
    return hmac.compare_digest(token.encode(), given.encode("utf-8", "surrogateescape"))


def _create(path: Path) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, secrets.token_urlsafe(32).encode() + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        with contextlib.suppress(FileExistsError):  # another process was faster: its token is the token
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
