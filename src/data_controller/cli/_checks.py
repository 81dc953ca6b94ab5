"""The looks that `doctor` takes at a machine, each a finding with what it means for the engine."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import resource
import shutil
import struct
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["ok", "warn", "fail", "unknown"]

GIB = 1 << 30
DISK_WANTED_BYTES = 5 * GIB
MEMORY_WANTED_BYTES = 2 * GIB
FSYNC_WANTED_MS = 20.0
FSYNC_ROUNDS = 10
CLOCK_WANTED_MS = 100.0
FILES_WANTED = 1024

_NEEDED = (
    "numpy",
    "numba",
    "pyarrow",
    "msgspec",
    "picows",
    "pydantic",
    "ruamel.yaml",
    "starlette",
    "uvicorn",
    "psutil",
)
_OPTIONAL = (
    ("uvloop", "uvloop", "the engine runs on asyncio's own loop: slower, and its lag is larger"),
    (
        "mlx",
        "mlx",
        "predictions are computed on the CPU; MLX needs a Mac with Apple silicon, or Linux with its CPU build",
    ),
    ("onnxruntime", "onnxruntime", "bundles are computed by numpy alone, which is enough for what ships"),
)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    name: str
    status: Status
    found: str
    means: str = ""


def every(state_dir: Path) -> list[Check]:
    """All findings, the needed ones first."""
    return [
        python(),
        *needed_packages(),
        state_directory(state_dir),
        disk(state_dir),
        fsync(state_dir),
        memory(),
        cores(),
        open_files(),
        clock(),
        kernel_cache(),
        *optional_packages(),
    ]


def python() -> Check:
    """Python's version and platform; an older Python than the package asks for cannot have installed it."""
    found = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    if sys.platform not in ("linux", "darwin"):
        return Check("python", "fail", found, "the engine runs on Linux and macOS; on Windows use WSL")
    return Check("python", "ok", found)


def needed_packages() -> list[Check]:
    """One finding for all packages that the engine cannot do without, and one for each that is missing."""
    missing = [name for name in _NEEDED if _version(name) is None]
    if missing:
        return [
            Check("packages", "fail", f"{name} is missing", "run `make setup`, or install again") for name in missing
        ]
    return [Check("packages", "ok", "  ".join(f"{name} {_version(name)}" for name in _NEEDED))]


def optional_packages() -> list[Check]:
    """What is there of the parts that make it faster, and what each missing one means."""
    findings = []
    for name, package, means in _OPTIONAL:
        version = _version(package)
        findings.append(Check(name, "ok", version) if version else Check(name, "unknown", "not installed", means))
    return findings


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _nearest(path: Path) -> Path:
    """`path`, or its nearest parent that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def state_directory(state_dir: Path) -> Check:
    """Whether the engine may write where its state is to lie."""
    nearest = _nearest(state_dir)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return Check("state", "fail", f"{nearest} cannot be written", "name another folder: `state_dir` in the config")
    return Check("state", "ok", f"{state_dir}{'' if nearest == state_dir.absolute() else ' (will be made)'}")


def disk(state_dir: Path) -> Check:
    """Free space where the journal is to grow."""
    free = shutil.disk_usage(_nearest(state_dir)).free
    found = f"{free / GIB:.1f} GiB free"
    if free < DISK_WANTED_BYTES:
        return Check(
            "disk", "warn", found, f"expected {DISK_WANTED_BYTES / GIB:.0f} GiB or more; a full disk halts trading"
        )
    return Check("disk", "ok", found)


def fsync(state_dir: Path) -> Check:
    """How long the disk takes to promise 4 KiB, median and worst of a few."""
    took_ms = []
    try:
        with tempfile.NamedTemporaryFile(dir=_nearest(state_dir), prefix=".doctor-") as file:
            for _ in range(FSYNC_ROUNDS):
                file.write(b"\0" * 4096)
                file.flush()
                start = time.perf_counter()
                os.fsync(file.fileno())
                took_ms.append((time.perf_counter() - start) * 1e3)
    except OSError as error:
        return Check("fsync", "fail", f"{error.strerror or error}", "the journal cannot be made durable there")
    took_ms.sort()
    found = f"median {took_ms[len(took_ms) // 2]:.2f} ms, worst {took_ms[-1]:.2f} ms"
    if took_ms[len(took_ms) // 2] > FSYNC_WANTED_MS:
        return Check("fsync", "warn", found, "every order waits for one fsync of the journal")
    return Check("fsync", "ok", found)


def memory() -> Check:
    """Memory that is free to use."""
    import psutil

    available = psutil.virtual_memory().available
    found = f"{available / GIB:.1f} GiB available of {psutil.virtual_memory().total / GIB:.1f}"
    if available < MEMORY_WANTED_BYTES:
        return Check("memory", "warn", found, f"expected {MEMORY_WANTED_BYTES / GIB:.0f} GiB or more")
    return Check("memory", "ok", found)


def cores() -> Check:
    """Cores that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count < 2:
        return Check("cores", "warn", str(count), "engine and monitor share one core: latency suffers under load")
    return Check("cores", "ok", str(count))


def open_files() -> Check:
    """How many files and sockets a process may hold open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_WANTED:
        return Check("open files", "warn", str(soft), f"expected {FILES_WANTED} or more: `ulimit -n {FILES_WANTED}`")
    return Check("open files", "ok", "no limit" if soft == resource.RLIM_INFINITY else str(soft))


def clock() -> Check:
    """The kernel's own estimate of the wall clock's error, where it can be read."""
    unknown = "exchange and local times may differ: keep a time service (chrony, timed) running"
    name = "ntp_adjtime" if sys.platform == "darwin" else "adjtimex"
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError):
        return Check("clock", "unknown", "unknown", unknown)
    # struct timex: modes, offset, freq, maxerror, esterror, status, ...; modes 0 only reads. 512 bytes hold any layout.
    buffer = ctypes.create_string_buffer(512)
    answer = function(buffer)
    if answer < 0:
        return Check("clock", "unknown", "unknown (the system does not say)", unknown)
    _, offset, _, max_error_us, _, status = struct.unpack_from("@Illlli", buffer)
    unsynchronised, nanoseconds = 0x40, 0x2000
    if status & unsynchronised:
        return Check("clock", "unknown", "offset unknown (no time service has set the kernel's state)", unknown)
    offset_ms = offset / (1e6 if status & nanoseconds else 1e3)
    found = f"offset {offset_ms:+.3f} ms, error at most {max_error_us / 1e3:.1f} ms"
    if abs(offset_ms) > CLOCK_WANTED_MS:
        return Check("clock", "warn", found, unknown)
    return Check("clock", "ok", found)


def kernel_cache() -> Check:
    """Whether compiled kernels of this version lie on disk already."""
    with contextlib.suppress(Exception):  # numba missing or broken is said above; this look is a courtesy
        from data_controller import kernels

        folder = Path(os.environ["NUMBA_CACHE_DIR"])
        count = sum(1 for _ in folder.rglob("*.nbc")) if folder.is_dir() else 0
        if count and kernels:
            return Check("kernel cache", "ok", f"{count} compiled kernels in {folder}")
        return Check("kernel cache", "unknown", f"empty ({folder})", "the first run compiles for a minute or so")
    return Check("kernel cache", "unknown", "unknown", "numba cannot be loaded")
