"""What a run depends on besides its records, as hashes: our own sources, and the versions of everything installed."""

from __future__ import annotations

import hashlib
from importlib.metadata import distributions
from pathlib import Path

from data_controller import __version__


def code_version() -> str:
    """The package's version and a hash over the names and texts of all its modules."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:16]}"


def environment_hash() -> str:
    """A hash over name and version of every installed distribution: what the lock file came to on this machine."""
    installed = {f"{found.metadata['Name']}=={found.version}".lower() for found in distributions()}
    return hashlib.sha256("\n".join(sorted(installed)).encode()).hexdigest()
