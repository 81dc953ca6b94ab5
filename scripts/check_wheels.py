"""Asks pip whether every locked dependency has a wheel on each Python and platform we name; docs/platforms.md says."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement

HERE = Path(__file__).parent.parent
LOCK = HERE / "requirements.lock"
PAGE = HERE / "docs" / "platforms.md"
PYTHONS = ("3.11", "3.12", "3.13")


@dataclass(frozen=True)
class Target:
    """A platform: what pip calls it, newest tag first, and what markers see there."""

    name: str
    tags: tuple[str, ...]
    markers: Mapping[str, str]


def _linux(machine: str) -> Target:
    tags = tuple(f"manylinux_2_{minor}_{machine}" for minor in range(34, 4, -1))
    old = (f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}")
    return Target(
        f"Linux {machine} (glibc 2.34)",
        tags + old,
        {"sys_platform": "linux", "platform_machine": machine, "platform_system": "Linux", "os_name": "posix"},
    )


TARGETS = (
    _linux("x86_64"),
    _linux("aarch64"),
    Target(
        "macOS 14 arm64",
        tuple(f"macosx_{major}_0_{arch}" for major in range(14, 10, -1) for arch in ("arm64", "universal2")),
        {"sys_platform": "darwin", "platform_machine": "arm64", "platform_system": "Darwin", "os_name": "posix"},
    ),
)


def requirements(target: Target, python: str) -> list[str]:
    """`name==version` of every line of the lock whose marker holds there."""
    text = re.sub(r"\\\n\s+--hash=\S+", "", LOCK.read_text().replace("\r", ""))
    wanted = []
    for line in text.splitlines():
        line = line.split("#")[0].strip().rstrip("\\").strip()
        if not line:
            continue
        requirement = Requirement(line)
        environment = {
            **target.markers,
            "python_version": python,
            "python_full_version": f"{python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "extra": "",
        }
        if requirement.marker is None or Marker(str(requirement.marker)).evaluate(environment):
            wanted.append(f"{requirement.name}{requirement.specifier}")
    return wanted


def missing(target: Target, python: str) -> tuple[int, list[str]]:
    """How many packages were asked for, and those without a wheel there."""
    wanted = requirements(target, python)
    if _resolves(wanted, target, python):
        return len(wanted), []
    return len(wanted), [one for one in wanted if not _resolves([one], target, python)]


def _resolves(wanted: list[str], target: Target, python: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps", "--only-binary=:all:"]
        command += ["--target", folder, "--implementation", "cp", "--python-version", python]
        for tag in target.tags:
            command += ["--platform", tag]
        done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    return done.returncode == 0


def main() -> int:
    """Ask for every pair and write the page; 1 where a wheel is missing."""
    rows, gaps = [], []
    for target in TARGETS:
        for python in PYTHONS:
            count, absent = missing(target, python)
            print(
                f"{target.name}, Python {python}: {count} packages, missing {', '.join(absent) or 'none'}", flush=True
            )
            rows.append((target.name, python, count, absent))
            gaps += absent
    PAGE.write_text(page(rows))
    return 1 if gaps else 0


def page(rows: list[tuple[str, str, int, list[str]]]) -> str:
    """The page's text."""
    here = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    lines = [
        "# Platforms",
        "",
        "<!-- Made by `make platforms`; run it again after `make lock`. -->",
        "",
        f"**Run**: {here}. All tests, the demo and every measured number come from there, and from nowhere else.",
        "",
        "**Resolved only**: everything else in this table. pip found a wheel for each package of "
        "`requirements.lock`, by name, "
        "version, Python and platform tag; nothing was installed or run there.",
        "",
        "**Not run anywhere**: macOS, Apple's Metal, Python 3.12 and 3.13. Windows: through WSL, which is "
        "Linux; no native build.",
        "",
        f"Asked on {datetime.now(UTC).date().isoformat()}:",
        "",
        "| platform | Python | packages | without a wheel |",
        "|---|---|---|---|",
        *(f"| {name} | {python} | {count} | {', '.join(absent) or 'none'} |" for name, python, count, absent in rows),
        "",
        "`atheris` (fuzzing, a development tool) is asked for on Linux x86_64 only: it has no other wheels.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
