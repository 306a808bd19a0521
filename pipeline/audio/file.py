"""A track's file, on a local disk or at an fsspec URL."""

import contextlib
import dataclasses
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from featurestore.errors import AudioError, MelgridError, StorageError
from featurestore.storage.urls import file_system, is_damaged_transfer, version_of

if TYPE_CHECKING:
    import fsspec

_FETCHED = 2**25
"""Bytes of a remote file that are kept in memory; more of it lie in the folder for such files."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """Tells cheaply, without reading it, that a file has not changed.

    Parameters
    ----------
    size : int
        [bytes]
    mtime_ns : int
        When it was changed [ns]; of a remote file a number made from its ETag, which follows from
        the bytes, or from its time of change where there are no ETags.
    """

    size: int = 0
    mtime_ns: int = 0


def signature_of(path: str) -> Signature:
    """A file's signature; zeros where there is no such file, or none that may be read.

    Raises
    ------
    StorageError
        As `opened` says.
    """
    try:
        if "://" in path:
            return _look(path)
        status = os.stat(path)
    except StorageError:
        raise
    except (OSError, ValueError):
        return Signature()
    return Signature(size=status.st_size, mtime_ns=status.st_mtime_ns)


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[BinaryIO, Signature]]:
    """A track's file, with a descriptor of its own, and its signature; a context manager.

    A remote file is fetched whole. Its signature is from before: that of a file which is replaced
    in between is then too old, which the next run finds out, and not too new.

    Raises
    ------
    AudioError
        ``Unreadable``: no such file, not a regular file, no permission.
    StorageError
        If object storage cannot be reached, which is not the file's fault.
    """
    try:
        if "://" in path:
            signature = _look(path)
            with tempfile.TemporaryFile() as copy:
                for first in range(0, signature.size, _FETCHED):
                    copy.write(_fetch(path, first, min(first + _FETCHED, signature.size)))
                copy.seek(0)
                yield copy, signature
            return
        # Looked at first: opening a named pipe would wait for its writer for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise AudioError("Unreadable", "not a regular file")
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            yield file, Signature(size=status.st_size, mtime_ns=status.st_mtime_ns)
    except MelgridError:
        raise
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) else str(error)
        raise AudioError("Unreadable", detail or repr(error)) from None


def _look(url: str) -> Signature:
    with _answers(url) as (filesystem, path):
        info = filesystem.info(path)
    if info["type"] != "file":
        raise AudioError("Unreadable", "not a regular file")
    version = hashlib.blake2b(version_of(info).encode(), digest_size=7).digest()
    return Signature(size=int(info["size"]), mtime_ns=int.from_bytes(version))


def _fetch(url: str, start: int, end: int) -> bytes:
    with _answers(url) as (filesystem, path):
        # With the range said, S3's library does not ask for the size first.
        return bytes(filesystem.cat_file(path, start=start, end=end))


@contextlib.contextmanager
def _answers(url: str) -> Iterator[tuple["fsspec.AbstractFileSystem", str]]:
    """As `file_system`, with what storage says of this one file as its fault."""
    with file_system(url) as (filesystem, path):
        try:
            yield filesystem, path
        except FileNotFoundError:
            raise AudioError("Unreadable", os.strerror(errno.ENOENT)) from None
        except PermissionError:
            raise AudioError("Unreadable", os.strerror(errno.EACCES)) from None
        except Exception as error:
            if is_damaged_transfer(error):
                raise AudioError("Unreadable", "it arrives damaged each time") from None
            raise
