"""What durability needs of a filesystem: a file that can be cut, atomic replacement, a lock on a directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Any, Protocol, Self

from data_controller.errors import JournalError, JournalFull

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class SegmentFile(Protocol):
    """The seam where tests put a failing disk: an append-only file that can be made durable and cut."""

    def write(self, data: Any) -> None:
        """Append all of `data` or raise OSError; some of it may then be in the file."""
        ...

    def fsync(self) -> None:
        """Return when everything written is on the medium, or raise OSError."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes and go on there."""
        ...

    def close(self) -> None:
        """Close without making durable."""
        ...


class DiskFile:
    """A SegmentFile on disk, unbuffered; refuses a path that exists."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def write(self, data: Any) -> None:
        """Append all of `data`; a short write is carried on."""
        view = memoryview(data).cast("B")
        while view.nbytes:
            view = view[os.write(self._fd, view) :]

    def fsync(self) -> None:
        """Flush to the medium; macOS needs its own call for that."""
        if full := getattr(fcntl, "F_FULLFSYNC", None):
            fcntl.fcntl(self._fd, full)
        else:
            os.fsync(self._fd)

    def truncate(self, size: int) -> None:
        """Cut to `size` bytes and set the position there."""
        os.ftruncate(self._fd, size)
        os.lseek(self._fd, size, os.SEEK_SET)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


def sync_directory(directory: Path) -> None:
    """Make renames and new names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_durably(path: Path, content: bytes) -> None:
    """Make `content` the whole of `path`: after a crash the file is the old one or the new one."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    file = DiskFile(draft)
    try:
        file.write(content)
        file.fsync()
    finally:
        file.close()
    draft.replace(path)
    sync_directory(path.parent)


def append_durably(path: Path, content: bytes) -> None:
    """Append `content` to `path` and return when it is on the medium."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(path.parent)


def free_bytes(directory: Path) -> int:
    """Bytes that this process may still write on the filesystem of `directory`."""
    stat = os.statvfs(directory)
    return stat.f_bavail * stat.f_frsize


def journal_error(error: Exception, doing: str) -> JournalError:
    """`error` as the tree's own: JournalFull where the disk or a quota ended, JournalError otherwise."""
    if isinstance(error, JournalError):
        return error
    if isinstance(error, OSError) and error.errno in _FULL:
        return JournalFull(f"expected room on the disk while {doing}, was {error.strerror}: free space, then restart")
    return JournalError(f"expected to go on {doing}, was {type(error).__name__}: {error}")


class DirectoryLock:
    """An advisory lock that only one writer of a directory holds; the kernel drops it when the process dies."""

    def __init__(self, directory: Path) -> None:
        """Takes the lock; raises JournalError where another process or writer holds it."""
        self._fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise JournalError(
                f"expected to be the only writer of {directory}, was locked by another: "
                "stop the engine that writes there, or name another directory"
            ) from error

    def release(self) -> None:
        """Let the next writer in."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
