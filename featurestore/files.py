"""Bytes under a root: a local folder or an fsspec URL, with writes that are whole or absent."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from featurestore.errors import StoreFormatError

if TYPE_CHECKING:
    import fsspec

RUN_FOLDER = ".run"
"""Holds what only a run in progress needs: the lock, files not yet whole, and the journal."""

PARTIAL = f"{RUN_FOLDER}/partial"
"""Folder of the files that are not yet whole."""


class LocalFile:
    """A local file, read by position.

    Attributes
    ----------
    size : int
        [bytes]
    identity : tuple
        Differs once another file has taken its place.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        status = os.fstat(self._descriptor)
        self.size = status.st_size
        self.identity: tuple[object, ...] = status.st_ino, status.st_mtime_ns, status.st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on."""
        return os.pread(self._descriptor, length, offset)


class RemoteFile:
    """An object on a remote file system, read by ranges; otherwise as `LocalFile`."""

    def __init__(self, filesystem: "fsspec.AbstractFileSystem", path: str) -> None:
        self._filesystem = filesystem
        self._path = path
        status = filesystem.info(self._path)
        self.size = int(status["size"])
        version = next((status[k] for k in ("ETag", "mtime", "created") if k in status), None)
        self.identity: tuple[object, ...] = version, self.size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on."""
        return bytes(self._filesystem.cat_file(self._path, start=offset, end=offset + length))


OpenFile = LocalFile | RemoteFile


class Files:
    """Files below one root, named by keys with ``/``.

    Picklable, and holds nothing open, so that it survives a fork.

    Parameters
    ----------
    root : str or Path
        A local folder, or a URL that fsspec knows, such as ``s3://bucket/features.zarr``.
        Credentials come from where the protocol's library looks for them, never from melgrid.
    run : str
        Name of the run that writes, as its `RunLock` gives it, for the run's workers: what they
        write appears only while the run lasts. A worker may outlive its run, and must not put
        what it knew in place of what the next run has made. None for who holds the lock.
    """

    def __init__(self, root: str | Path, run: str | None = None) -> None:
        text = os.fspath(root)
        self.is_local = "://" not in text
        self.root = os.path.abspath(text) if self.is_local else text.rstrip("/")
        self._run = run

    def __repr__(self) -> str:
        return f"Files({self.root!r})"

    def __reduce__(self) -> tuple[type["Files"], tuple[str, str | None]]:
        return type(self), (self.root, self._run)

    @cached_property
    def _remote(self) -> tuple["fsspec.AbstractFileSystem", str]:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(self.root)
        return filesystem, path

    def path(self, key: str) -> str:
        """Where `key` lies: a local path, or a path in the remote file system."""
        parts = key.split("/")
        if any(part in ("", ".", "..") for part in parts) and key:
            raise StoreFormatError(f"{key!r} is not a key below {self.root}")
        base = self.root if self.is_local else self._remote[1]
        return f"{base}/{key}" if key else base

    def read(self, key: str) -> bytes | None:
        """All bytes of a file; None where there is none."""
        try:
            if self.is_local:
                return Path(self.path(key)).read_bytes()
            return bytes(self._remote[0].cat_file(self.path(key)))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, key: str) -> OpenFile:
        """Open a file for reading at any position; a context manager.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        if self.is_local:
            return LocalFile(self.path(key))
        return RemoteFile(self._remote[0], self.path(key))

    def write(self, key: str, data: bytes | bytearray | memoryview) -> None:
        """Put a whole file in place at once: a reader sees the old bytes or all the new ones.

        Locally the bytes are on the disk before the name appears, so that not even a power cut
        leaves a name without its bytes.

        Raises
        ------
        FileNotFoundError
            If the run has ended whose worker this is: the folder for its partial files is gone,
            from which a file is moved in place, so that this holds at any moment.
        """
        if not self.is_local:
            self._remote[0].pipe_file(self.path(key), bytes(data))
            return
        folder = f"{self.root}/{PARTIAL}"
        if self._run is None:
            os.makedirs(folder, exist_ok=True)
        else:
            folder = f"{folder}/{self._run}"
        partial = f"{folder}/{uuid.uuid4().hex}"
        target = self.path(key)
        try:
            with open(partial, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.replace(partial, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(partial)
            raise

    def names(self, folder: str) -> list[str]:
        """Names of what lies directly in `folder`, sorted; none where there is no such folder."""
        try:
            if self.is_local:
                return sorted(os.listdir(self.path(folder)))
            found = self._remote[0].ls(self.path(folder), detail=False, refresh=True)
            return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self, folder: str) -> Iterator[int]:
        """Size of each file at any depth below `folder` [bytes]."""
        if self.is_local:
            for path, _, names in os.walk(self.path(folder)):
                for name in names:
                    yield os.path.getsize(os.path.join(path, name))
        else:
            found = self._remote[0].find(self.path(folder), detail=True, refresh=True)
            yield from (entry["size"] for entry in found.values())

    def exists(self) -> bool:
        """Whether there is anything at the root."""
        if self.is_local:
            return os.path.lexists(self.root)
        return bool(self.names(""))

    def is_file(self) -> bool:
        """Whether the root is a file, not a folder."""
        if self.is_local:
            return os.path.lexists(self.root) and not os.path.isdir(self.root)
        return bool(self._remote[0].isfile(self._remote[1]))

    def remove(self, folder: str) -> None:
        """Delete `folder` with all it holds, if it is there."""
        if self.is_local:
            shutil.rmtree(self.path(folder), ignore_errors=True)
        elif self.names(folder):
            self._remote[0].rm(self.path(folder), recursive=True)
