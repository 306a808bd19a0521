"""A store is written by one run at a time."""

import contextlib
import fcntl
import json
import os
import socket
import uuid
from types import TracebackType

from featurestore.errors import StoreLockedError
from featurestore.files import PARTIAL, RUN_FOLDER, Files

_ENDED = f"{RUN_FOLDER}/ended"
"""Folder of what is being deleted."""


class RunLock:
    """Held by the run that writes a local store; the kernel lets go of it when the run dies.

    An advisory ``flock``: two runs on one machine, or on machines that share a file system with
    working locks, exclude each other, and a run that was killed leaves nothing to clean up.

    Attributes
    ----------
    run : str
        Names the run that holds the lock; its workers write with `Files` of that run.
    abandoned_by : str or None
        Who held the lock before and died without letting go; set on entering.

    Raises
    ------
    StoreLockedError
        On entering, if another run holds it.
    """

    def __init__(self, files: Files) -> None:
        self._path = files.path(f"{RUN_FOLDER}/lock")
        self._files = files
        self._descriptor = -1
        self.run = uuid.uuid4().hex
        self.abandoned_by: str | None = None

    def __enter__(self) -> "RunLock":
        os.makedirs(self._files.root, exist_ok=True)
        while True:
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(self._path))
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:
                continue  # a run that ended just now removed the folder
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _describe(os.pread(descriptor, 4096, 0)) or "unknown"
                os.close(descriptor)
                raise StoreLockedError(
                    f"another run is writing to {self._files.root} ({holder}); "
                    "wait until it has ended, or stop it"
                ) from None
            except OSError as error:
                os.close(descriptor)
                raise StoreLockedError(
                    f"{self._files.root} cannot be locked ({error.strerror}), so that another run "
                    "might write to it; choose a place whose file system has locks"
                ) from None
            # A run that ended just now may have removed the file between open and flock.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(self._path), os.fstat(descriptor)):
                    break
            os.close(descriptor)
        self.abandoned_by = _describe(os.pread(descriptor, 4096, 0))
        text = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
        self._descriptor = descriptor
        self._end_runs()
        os.makedirs(f"{self._files.path(PARTIAL)}/{self.run}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # With the lock still held, and the lock's own name last: from then on another run may
        # work there. The folder stays if there is a journal that the next run shall finish.
        self._end_runs()
        with contextlib.suppress(OSError):
            os.unlink(self._path)
            os.rmdir(os.path.dirname(self._path))
        os.close(self._descriptor)

    def _end_runs(self) -> None:
        """Take partial files away, and with them the place where workers of past runs write."""
        self._files.remove(_ENDED)
        # At once: deleting a folder in which somebody makes files may fail.
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._files.path(PARTIAL), self._files.path(_ENDED))
        self._files.remove(_ENDED)


def _describe(text: bytes) -> str | None:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        holder = json.loads(text)
        return f"process {holder['pid']} on {holder['host']}"
    return None
