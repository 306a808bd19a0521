"""A store is written by one run at a time."""

import contextlib
import fcntl
import json
import os
import socket
import stat
import threading
import uuid
from pathlib import Path

from featurestore.errors import StoreFormatError, StoreLockedError
from featurestore.storage.documents import parse
from featurestore.storage.files import PARTIAL, RUN_FOLDER, Files
from featurestore.storage.local import LocalFiles
from featurestore.storage.remote import RemoteFiles

LEASE = 120.0
"""How long a run on object storage may go unseen before another one takes its lock over [s]."""

RENEWAL = 15.0
"""How often it is seen [s]."""

_LOCK = f"{RUN_FOLDER}/lock"

_LEASES = _LOCK

_ENDED = f"{RUN_FOLDER}/ended"
"""Folder of what is being deleted."""

_ATTEMPTS = 20
"""To delete it; what its writers hold open, they can fill once more each."""


class RunLock:
    """Held by the run that writes a local store; the kernel lets go of it when the run dies.

    An advisory ``flock``: two runs on one machine, or on machines that share a file system with
    working locks, exclude each other, and a run that was killed leaves nothing to clean up.

    Attributes
    ----------
    run_id : str
        Names the run that holds the lock; its workers write with `Files` of that run.
    abandoned_by : str or None
        Who held the lock before and died without letting go; set on entering.

    Raises
    ------
    StoreLockedError
        On entering, if another run holds it.
    StoreFormatError
        On entering, if a link is where the lock or partial files lie.
    """

    def __init__(self, files: LocalFiles) -> None:
        self._files = files
        self._descriptor = -1
        self.run_id = uuid.uuid4().hex
        self.abandoned_by: str | None = None

    def __enter__(self) -> "RunLock":
        self._files.refuse_links(_LOCK, PARTIAL, _ENDED)
        while True:
            try:
                descriptor = self._open()
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
                if os.path.samestat(os.lstat(self._files.path(_LOCK)), os.fstat(descriptor)):
                    break
            os.close(descriptor)
        self.abandoned_by = _describe(os.pread(descriptor, 4096, 0))
        text = json.dumps(_this_process())
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
        self._descriptor = descriptor
        self._end_runs()
        with self._files.folder(f"{PARTIAL}/{self.run_id}", make=True):
            return self

    def _open(self) -> int:
        """The lock's file, which no link leads to, and which has no other name elsewhere."""
        with self._files.folder(RUN_FOLDER, make=True) as folder:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            try:
                descriptor = os.open("lock", flags, 0o644, dir_fd=folder)
            except OSError as error:
                error.filename = self._files.path(_LOCK)
                raise
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(descriptor)
            raise StoreFormatError(
                f"{self._files.path(_LOCK)} is no file of its own, and would be written to; "
                "delete it"
            )
        return descriptor

    def __exit__(self, *exception: object) -> None:
        # With the lock still held, and the lock's own name last: from then on another run may
        # work there. The folder stays if there is a journal that the next run shall finish.
        self._end_runs()
        with contextlib.suppress(OSError, StoreFormatError):
            with self._files.folder(RUN_FOLDER, make=False) as folder:
                os.unlink("lock", dir_fd=folder)
            with self._files.folder("", make=False) as root:
                os.rmdir(RUN_FOLDER, dir_fd=root)
        os.close(self._descriptor)

    def _end_runs(self) -> None:
        """Take partial files away, and with them the place where workers of past runs write."""
        self._files.remove(_ENDED)
        # At once: deleting a folder in which somebody makes files may fail.
        partial, ended = (key.rpartition("/")[2] for key in (PARTIAL, _ENDED))
        with (
            contextlib.suppress(FileNotFoundError),
            self._files.folder(RUN_FOLDER, make=False) as folder,
        ):
            os.rename(partial, ended, src_dir_fd=folder, dst_dir_fd=folder)
        for _ in range(_ATTEMPTS):  # a worker that was about to write there may do so once more
            if self._files.remove(_ENDED):
                break


class RunLease:
    """Held by the run that writes to object storage, which has no locks.

    The lock is a chain of objects ``.run/lock/<number>``; the one of the highest number holds.
    A run takes it by making the next number, which of several runs one succeeds in
    (`RemoteFiles.create`), and renews it every `RENEWAL` seconds. A lock not renewed for `LEASE`
    seconds is taken for that of a dead run, and one of a dead process on this machine at once.
    Times are those of the storage, so that no two clocks are compared.

    A run that was overtaken though it lives (it hung, or did not reach the storage for so long)
    finds its mark gone before its next write (`RemoteFiles.require_run`), in its workers too, and
    ends.
    What is not excluded: a process that is stopped between that look and its request, for as long
    as another run takes to begin, and then still writes. The next run finds what does not match
    its commit record by its checksum, and a record too old makes it compute rows again. Storage
    that disregards ``If-None-Match`` lets two runs that begin in the same instant both in; the one
    that came first ends at its next write.

    Attributes
    ----------
    run_id, abandoned_by : str
        As those of `RunLock`.

    Raises
    ------
    StoreLockedError
        On entering, if another run holds it.
    """

    def __init__(self, files: RemoteFiles) -> None:
        self._files = files
        self.run_id = uuid.uuid4().hex
        self.abandoned_by: str | None = None
        self._text = json.dumps({**_this_process(), "space": _process_space(), "run": self.run_id})
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="melgrid-lease", daemon=True)

    def __enter__(self) -> "RunLease":
        while True:
            numbers = self._numbers()
            if numbers and not self._is_free(numbers[-1]):
                continue  # a run that ended just now removed it
            self._number = numbers[-1] + 1 if numbers else 1
            if self._files.create(self._key(self._number), self._text.encode()):
                break
        self._files.remove(PARTIAL)  # with the marks of past runs
        self._files.write(f"{PARTIAL}/{self.run_id}", b"")
        for number in numbers:
            self._files.remove(self._key(number))
        self._renewing.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._renewing.join()
        # The lock last: from then on another run may begin.
        self._files.remove(f"{PARTIAL}/{self.run_id}")
        self._files.remove(self._key(self._number))

    def _is_free(self, number: int) -> bool:
        """Whether the lock of that number is a dead run's; False too if it has gone meanwhile."""
        text = self._files.read(self._key(number))
        age = self._files.age(self._key(number))
        if text is None or age is None:
            return False
        holder = _describe(text) or "unknown"
        if age <= LEASE and not _is_dead(text):
            raise StoreLockedError(
                f"another run is writing to {self._files.root} ({holder}, seen {age:.0f} s ago); "
                "wait until it has ended, or stop it; if it was killed on another machine, its "
                f"lock is free {LEASE:.0f} s after it was last seen"
            )
        self.abandoned_by = holder
        return True

    def _renew(self) -> None:
        while not self._ended.wait(RENEWAL):
            try:
                self._files.require_run(self.run_id)
                self._files.write(self._key(self._number), self._text.encode())
            except StoreLockedError:
                return
            except OSError:
                continue  # not reached now; tried again, and the run's own writes tell

    def _numbers(self) -> list[int]:
        names = self._files.names(_LEASES)
        return sorted(int(name) for name in names if name.isdecimal())

    def _key(self, number: int) -> str:
        return f"{_LEASES}/{number}"


def lock_of(files: Files) -> RunLock | RunLease:
    """Make the lock that keeps other runs from writing to a store."""
    if isinstance(files, LocalFiles):
        return RunLock(files)
    assert isinstance(files, RemoteFiles), f"files are {files}"
    return RunLease(files)


def _this_process() -> dict[str, str | int]:
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _process_space() -> str:
    """What processes have in common that can see each other by number; empty if not known.

    Containers may share a host's name and still number their processes each on their own.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii") + os.readlink(
            "/proc/self/ns/pid"
        )
    except OSError:
        return ""


def _is_dead(text: bytes) -> bool:
    """Whether a lock's holder was a process of this machine that is no longer there."""
    with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError):
        holder = parse(text)
        if holder["space"] and holder["space"] == _process_space():
            return not os.path.exists(f"/proc/{int(holder['pid'])}")
    return False


def _describe(text: bytes) -> str | None:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        holder = parse(text)
        return f"process {holder['pid']} on {holder['host']}"
    return None
