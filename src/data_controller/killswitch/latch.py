"""The latch file: the one truth on whether the kill switch is active, and the only way to change it.

`<state_dir>/latch.json` says *latched* or *clear*, why, by whom and since when. It reads as latched unless it is a
regular file of ours (or root's) that nobody else may write, holding a whole and valid JSON document that says clear,
and no file named `KILL` lies beside it. A missing file reads as latched too: a state directory is *new*, and is made
clear by `prepare`, only while it does not exist or holds nothing at all, so losing the latch never clears it.

Changing it is read-modify-write under a lock file. Setting never waits for long: where another process holds the lock
(a stopped one may, for ever), it writes regardless and leaves a `KILL` file, which no `clear` under way can undo.
Where it cannot write (a full disk), it creates `KILL` or removes the latch file, either of which reads as latched.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from threading import RLock
from typing import Literal

import msgspec

from data_controller.errors import ConfigError, LatchedError

LATCH_NAME = "latch.json"
KILL_NAME = "KILL"
LOCK_NAME = "latch.lock"
MAX_BYTES = 256 << 10
MAX_TEXT = 500
"""Characters kept of a reason and of who gave it."""
MAX_LATER = 16
"""Further reasons kept after the first; those beyond are counted."""
SETTLED_NS = 2_000_000_000
"""Age at which a file's modification time can tell two writes apart on any file system in use (FAT: 2 s)."""

_counter = itertools.count()


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for a latched kill switch."""

    reason: str
    who: str
    t_ns: int


class LatchState(msgspec.Struct, frozen=True, kw_only=True):
    """What the latch says: the first reason since it was last clear, then the later ones."""

    state: Literal["latched", "clear"]
    reason: str
    who: str
    t_ns: int  # Unix ns since when; 0 where the file could not say
    later: tuple[Cause, ...] = ()
    later_dropped: int = 0

    @property
    def active(self) -> bool:
        """True where no order may leave."""
        return self.state != "clear"


_decode = msgspec.json.Decoder(LatchState).decode
_encode = msgspec.json.Encoder().encode

_Mark = tuple[int, int, int, int, int, int, int]


def prepare(state_dir: Path) -> LatchState:
    """The latch's state after making a *new* state directory and its clear latch; an existing one is only read.

    Call it before anything else is written there: a directory that holds anything is an existing one.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.scandir(state_dir) as entries:
            new = next(entries, None) is None
    except OSError as error:
        raise ConfigError(f"expected {state_dir} to be a directory that can be made and read: {error}") from error
    latch = Latch(state_dir)
    if new:
        clear = LatchState(state="clear", reason="new state directory", who="prepare", t_ns=time.time_ns())
        with contextlib.suppress(OSError):  # there already, or cannot be written: what can be read decides
            _write_durably(latch.path, _encode(clear) + b"\n")
            _sync_directory(state_dir)
    return latch.read()


class Latch:
    """The latch of one state directory. Any number of processes and threads may hold one."""

    def __init__(self, state_dir: Path, lock_wait_s: float = 0.2) -> None:
        self.path = state_dir / LATCH_NAME
        self.kill_path = state_dir / KILL_NAME
        self.lock_wait_s = lock_wait_s
        self._lock_path = state_dir / LOCK_NAME
        self._path_text = os.fspath(self.path)
        self._kill_text = os.fspath(self.kill_path)
        self._thread_lock = RLock()
        self._mark: _Mark | None = None  # identity of the file that `_known` was read from, once settled
        self._known: LatchState | None = None
        self._stuck: LatchState | None = None  # could not be written anywhere: this process remembers it

    def read(self) -> LatchState:
        """What the files say now; never raises."""
        if self._stuck is not None:
            return self._stuck
        by_file = self._kill_file()
        state = self._read_file()
        if by_file is None or state.active:
            return state
        return by_file

    def check(self) -> LatchState:
        """What `read` says, at the price of two stats while nothing changed: for the moment before every send.

        A `KILL` file seen here is also written into the latch, so that removing it later clears nothing.
        """
        if self._stuck is not None:
            return self._stuck
        try:
            os.lstat(self._kill_text)
        except FileNotFoundError:
            pass
        except OSError as error:
            return _latched(f"cannot look for {self.kill_path}: {error}")
        else:
            return self._adopt_kill_file()
        try:
            status = os.lstat(self._path_text)
        except OSError:
            self._mark = None
            return self._read_file()
        mark = _mark_of(status)
        if mark == self._mark and self._known is not None:
            return self._known
        state = self._read_file()
        # Two writes within one tick of the file system's clock may look alike, so only a settled file is remembered,
        # and only if it did not change while it was read.
        settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) >= SETTLED_NS
        try:
            unchanged = _mark_of(os.lstat(self._path_text)) == mark
        except OSError:
            unchanged = False
        self._mark, self._known = (mark, state) if settled and unchanged else (None, None)
        return state

    def set(self, reason: str, who: str) -> LatchState:
        """The latched state, durable when this returns; the first reason stays, a further one is added.

        It raises OSError only where neither the latch, nor `KILL`, nor the latch's removal could be brought to disk;
        this process then reads as latched all the same.
        """
        cause = Cause(reason=_clip(reason) or "no reason given", who=_clip(who) or "unknown", t_ns=time.time_ns())
        with self._thread_lock, self._lock() as alone:
            before = self._read_file()
            state = _with_cause(before, cause)
            try:
                try:
                    if not alone:
                        self._touch_kill(cause)
                    if state != before:
                        self._write(state)
                except OSError:
                    self._latch_without_space(cause)
            except BaseException:
                self._stuck = state
                raise
            return state

    def clear(self, reason: str, who: str) -> LatchState:
        """The clear state, durable when this returns; LatchedError where something still holds the latch."""
        if not reason.strip():
            raise LatchedError("expected a reason for clearing the kill switch, was empty")
        with self._thread_lock, self._lock() as alone:
            if not alone:
                raise LatchedError(f"another process is changing the latch ({self._lock_path}); try again")
            self._refuse_kill_file()
            state = LatchState(state="clear", reason=_clip(reason), who=_clip(who) or "unknown", t_ns=time.time_ns())
            try:
                self._write(state)
            except OSError as error:
                raise LatchedError(f"the latch at {self.path} cannot be written, it stays latched: {error}") from error
            self._refuse_kill_file()
            self._stuck = None
        return self.read()

    def _refuse_kill_file(self) -> None:
        if os.path.lexists(self.kill_path):
            raise LatchedError(f"{self.kill_path} is there and latches by itself; remove it, then resume again")

    def _kill_file(self) -> LatchState | None:
        try:
            status = os.lstat(self._kill_text)
        except FileNotFoundError:
            return None
        except OSError as error:
            return _latched(f"cannot look for {self.kill_path}: {error}")
        return _latched(f"a file {KILL_NAME} lies in the state directory", "KILL file", status.st_mtime_ns)

    def _adopt_kill_file(self) -> LatchState:
        """The latched state after writing the KILL file's news into the latch, if it is not known there yet."""
        state = self._read_file()
        if state.active and state.t_ns:
            return state
        told = self._kill_file() or _latched("a KILL file was here", "KILL file", time.time_ns())
        with contextlib.suppress(OSError):  # set() remembers it then
            return self.set(told.reason, told.who)
        return told

    def _read_file(self) -> LatchState:
        try:
            fd = os.open(self._path_text, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return _latched(f"{self.path} is missing from an existing state directory")
        except OSError as error:
            return _latched(f"{self.path} cannot be read: {error.strerror}")
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return _latched(f"expected {self.path} to be a regular file, was mode {status.st_mode:o}")
            if status.st_mode & 0o022 or status.st_uid not in (os.geteuid(), 0):
                return _latched(
                    f"expected {self.path} to be writable by its owner alone,"
                    f" was mode {stat.S_IMODE(status.st_mode):o} of user {status.st_uid}"
                )
            data = os.read(fd, MAX_BYTES + 1)
        except OSError as error:
            return _latched(f"{self.path} cannot be read: {error.strerror}")
        finally:
            os.close(fd)
        if len(data) > MAX_BYTES:
            return _latched(f"expected {self.path} to hold at most {MAX_BYTES} bytes")
        try:
            return _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _latched(f"{self.path} is damaged ({len(data)} bytes): {error}")

    def _write(self, state: LatchState) -> None:
        fresh = self.path.with_name(f"{LATCH_NAME}.{os.getpid()}.{next(_counter)}.tmp")
        fresh.unlink(missing_ok=True)  # of an earlier process with our number
        try:
            _write_durably(fresh, _encode(state) + b"\n")
            fresh.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise
        _sync_directory(self.path.parent)

    def _touch_kill(self, cause: Cause) -> None:
        with contextlib.suppress(FileExistsError):
            _write_durably(self.kill_path, _encode(cause) + b"\n")
        _sync_directory(self.kill_path.parent)

    def _latch_without_space(self, cause: Cause) -> None:
        """Latch where the latch itself cannot be written: an empty file may still fit, and a missing latch latches."""
        try:
            self._touch_kill(cause)
        except OSError:
            if not os.path.lexists(self.kill_path):
                self.path.unlink(missing_ok=True)
                _sync_directory(self.path.parent)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[bool]:
        """True where the latch is ours alone to change; False where it could not be had within `lock_wait_s`."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self._lock_path, flags, 0o600)
        except OSError:
            yield False
            return
        try:
            yield self._flock(fd)
        finally:
            os.close(fd)

    def _flock(self, fd: int) -> bool:
        deadline = time.monotonic() + self.lock_wait_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.005)
            except OSError:  # a file system without locks
                return False


def _latched(reason: str, who: str = "latch", t_ns: int = 0) -> LatchState:
    return LatchState(state="latched", reason=reason, who=who, t_ns=t_ns)


def _with_cause(before: LatchState, cause: Cause) -> LatchState:
    if not before.active:
        return LatchState(state="latched", reason=cause.reason, who=cause.who, t_ns=cause.t_ns)
    since = before.t_ns or cause.t_ns
    known = {(before.reason, before.who), *((c.reason, c.who) for c in before.later)}
    later, dropped = before.later, before.later_dropped
    if (cause.reason, cause.who) not in known:
        if len(later) < MAX_LATER:
            later = (*later, cause)
        else:
            dropped += 1
    return LatchState(
        state="latched",
        reason=_clip(before.reason),
        who=_clip(before.who),
        t_ns=since,
        later=later,
        later_dropped=dropped,
    )


def _mark_of(status: os.stat_result) -> _Mark:
    return (
        status.st_dev,
        status.st_ino,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
        status.st_mode,
        status.st_uid,
    )


def _clip(text: str) -> str:
    return text.strip().encode("utf-8", "replace").decode("utf-8")[:MAX_TEXT]


def _write_durably(path: Path, data: bytes) -> None:
    """Create `path` with `data`, on disk when this returns; FileExistsError where it is there."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        _sync(fd)
    finally:
        os.close(fd)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(fd)
    finally:
        os.close(fd)


def _sync(fd: int) -> None:
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's cache
    if full is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, full)
            return
    os.fsync(fd)
