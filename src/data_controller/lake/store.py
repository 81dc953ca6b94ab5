"""Where a lake lies: a folder, or any filesystem that pyarrow opens; objects appear there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from data_controller.errors import LakeError
from data_controller.journal.files import DiskFile, sync_directory
from data_controller.lake.settings import LakeSettings

TEMPORARY = ".tmp"


class Store:
    """Files below one root, named by their path relative to it; every error is a LakeError."""

    def __init__(self, uri: str, settings: LakeSettings | None = None) -> None:
        """`uri` is a folder, or a URI: `file:///folder`, `s3://bucket/path`; LakeError where nothing can open it."""
        self.uri = uri
        self.is_local = "://" not in uri or uri.startswith("file://")
        with _told(f"open the lake {uri}"):
            if self.is_local:
                self.filesystem: Any = pafs.LocalFileSystem()
                self.root = str(_folder_of(uri))
            elif uri.startswith("s3://") and settings is not None:
                self.filesystem, self.root = _s3(uri, settings)
            else:
                self.filesystem, self.root = pafs.FileSystem.from_uri(uri)
        self.root = self.root.rstrip("/")

    def path(self, name: str) -> str:
        """The path of `name` on the filesystem."""
        return f"{self.root}/{name}"

    def put(self, name: str, content: Any) -> None:
        """Make `content` (bytes or a buffer) the file `name`, durably and all at once."""
        with _told(f"write {name} in the lake {self.uri}"):
            if not self.is_local:
                with self.filesystem.open_output_stream(self.path(name)) as stream:
                    stream.write(content)
                return
            path = Path(self.path(name))
            _make_folder(path.parent)
            draft = path.with_name(path.name + TEMPORARY)
            draft.unlink(missing_ok=True)
            file = DiskFile(draft)
            try:
                file.write(content)
                file.fsync()
            finally:
                file.close()
            draft.replace(path)
            sync_directory(path.parent)

    def read(self, name: str) -> pa.Buffer:
        """The bytes of file `name`; LakeError where it is not there."""
        with _told(f"read {name} of the lake {self.uri}"), self.filesystem.open_input_file(self.path(name)) as file:
            return file.read_buffer()

    def names(self, below: str = "") -> list[str]:
        """Every file below a folder, sorted; none where the folder is missing."""
        with _told(f"list {below or 'the files'} of the lake {self.uri}"):
            where = self.path(below) if below else self.root
            selector = pafs.FileSelector(where, recursive=True, allow_not_found=True)
            found = self.filesystem.get_file_info(selector)
        return sorted(i.path[len(self.root) + 1 :] for i in found if i.type == pafs.FileType.File)

    def remove(self, name: str) -> None:
        """Delete file `name`."""
        with _told(f"delete {name} of the lake {self.uri}"):
            self.filesystem.delete_file(self.path(name))


def _folder_of(uri: str) -> Path:
    if not uri.startswith("file://"):
        return Path(uri).expanduser().absolute()
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError("expected `file:///` and a whole path, was another host or no path")
    return Path(unquote(parts.path))


def _make_folder(folder: Path) -> None:
    """Create `folder`, its name durable in each parent that is new."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_directory(folder.parent)


def _s3(uri: str, settings: LakeSettings) -> tuple[Any, str]:
    options: dict[str, Any] = {}
    if settings.s3_region:
        options["region"] = settings.s3_region
    if settings.s3_endpoint:
        scheme, _, host = settings.s3_endpoint.rpartition("://")
        options |= {"endpoint_override": host, "scheme": scheme or "https"}
    if settings.s3_access_key is not None and settings.s3_secret_key is not None:
        options |= {"access_key": settings.s3_access_key.reveal(), "secret_key": settings.s3_secret_key.reveal()}
    return pafs.S3FileSystem(**options), uri.removeprefix("s3://")


@contextmanager
def _told(doing: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise LakeError(f"expected to {doing}, was: {' '.join(reason.split())[:300]}") from error
