"""Files below a local folder.

A store may be a stranger's, in which a link leads anywhere. The root itself may be one, for it is
the user's. Below it nothing is written, replaced or deleted through a link: folders are opened one
by one from the root, each within the one before and none if it is a link, so that nobody can put a
link in the way between a look and the deed. Reading follows links.
"""

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from featurestore.errors import StoreFormatError
from featurestore.storage.files import MOST_WHOLE, PARTIAL, Files


class LocalFile:
    """A local file, read by position.

    Raises
    ------
    StoreFormatError
        If it is no regular file, such as a pipe, at which reading would wait for ever.

    Attributes
    ----------
    size : int
        [bytes]
    identity : tuple
        Differs once another file has taken its place.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait here
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._descriptor)
            raise StoreFormatError(f"{path} is not a file")
        self.size = status.st_size
        self.identity: tuple[object, ...] = status.st_ino, status.st_mtime_ns, status.st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on."""
        data = os.pread(self._descriptor, length, offset)
        while 0 < len(data) < length:  # of 2 GiB and more, one call reads a part
            more = os.pread(self._descriptor, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data


def _opener(folder: int) -> Callable[[str, int], int]:
    """What `open` opens a file with that lies in a folder given by its descriptor."""
    return lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666, dir_fd=folder)


def _inner(folder: int, name: str, *, make: bool) -> int:
    """Descriptor of a folder in a folder; not of what a link leads to."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):  # another worker was faster
        os.mkdir(name, dir_fd=folder)
    return os.open(name, flags, dir_fd=folder)


class LocalFiles(Files):
    """Files below a local folder; see `Files`.

    Parameters
    ----------
    root : str or Path
    run_id : str
        As of `Files`. What a run's workers write is moved in place out of a folder that ends with
        the run, so that it cannot appear later, whenever the run ends.
    """

    n_threads = 4

    def __init__(self, root: str | Path, run_id: str | None = None) -> None:
        super().__init__(os.path.abspath(root), run_id)

    def read_several(self, keys: Sequence[str], most: int = MOST_WHOLE) -> list[bytes | None]:
        """Read each file; one that is too long not at all."""
        return [self._read(key, most) for key in keys]

    def _read(self, key: str, most: int) -> bytes | None:
        try:
            with self.open(key) as file:
                self.require_length(key, file.size, most)
                return file.read_at(0, file.size)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size(self, key: str) -> int | None:
        """Size of a file [bytes]; None where there is none."""
        try:
            return os.stat(self.path(key)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes of a file from `start` up to `end`."""
        with self.open(key) as file:
            return file.read_at(start, end - start)

    def open(self, key: str) -> LocalFile:
        """Open a file for reading at any position; a context manager.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        return LocalFile(self.path(key))

    def write(self, key: str, data: bytes | Sequence[bytes]) -> None:
        """Put a whole file in place at once.

        The bytes are on the disk before the name appears, so that not even a power cut leaves a
        name without its bytes. Names appear on the disk in the order of the writes, as journalling
        file systems (ext4, XFS) have it: a commit record never before its shards.

        Raises
        ------
        FileNotFoundError
            If the run has ended whose worker this is: the folder for its partial files is gone,
            from which a file is moved in place, so that this holds at any moment.
        """
        folder = PARTIAL if self._run_id is None else f"{PARTIAL}/{self._run_id}"
        partial = uuid.uuid4().hex
        target, name = self.path(key), key.rpartition("/")[2]
        try:
            with self.folder(folder, make=self._run_id is None) as source:
                try:
                    with open(partial, "xb", opener=_opener(source)) as file:
                        file.writelines([data] if isinstance(data, bytes) else data)
                        file.flush()
                        os.fsync(file.fileno())
                    with (
                        self.folder(key.rpartition("/")[0], make=True) as place,
                        self.folder("", make=False) as root,
                    ):
                        # By its whole name: a folder that was moved away still has a descriptor.
                        whole = f"{folder}/{partial}"
                        os.replace(whole, name, src_dir_fd=root, dst_dir_fd=place)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(partial, dir_fd=source)
                    raise
        except OSError as error:
            error.filename, error.filename2 = target, None  # and not the place before
            raise

    def write_several(self, files: Mapping[str, bytes]) -> None:
        """Write files one after the other."""
        for key, data in files.items():
            self.write(key, data)

    @contextlib.contextmanager
    def folder(self, key: str, *, make: bool) -> Iterator[int]:
        """Descriptor of a folder that no link leads to, for what takes a ``dir_fd``.

        Parameters
        ----------
        key : str
            Of the folder; empty for the root.
        make : bool
            Whether to make it, and those above it, if need be.

        Raises
        ------
        FileNotFoundError
            If there is none, and `make` is False.
        StoreFormatError
            If there is a link on the way to it from the root.
        """
        self.path(key)  # it is below the root
        if make:
            os.makedirs(self.root, exist_ok=True)
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in filter(None, key.split("/")):
                try:
                    inner = _inner(descriptor, name, make=make)
                except OSError as error:
                    if error.errno in (errno.ELOOP, errno.ENOTDIR):
                        self.refuse_links(key)
                    error.filename = self.path(key)
                    raise
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def link_to(self, key: str) -> str | None:
        """Key of the first link on the way from the root to what lies at `key`, itself too."""
        parts = key.split("/") if key else []
        for number in range(1, len(parts) + 1):
            part = "/".join(parts[:number])
            if os.path.islink(self.path(part)):
                return part
        return None

    def names(self, folder: str) -> list[str]:
        """Names of what lies directly in `folder`, sorted."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self, folder: str) -> Iterator[int]:
        """Size of each file at any depth below `folder` [bytes]; of a file, its own."""
        where = self.path(folder)
        if os.path.isfile(where):
            yield os.path.getsize(where)
        for path, _, names in os.walk(where):
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # a link to nowhere
                    yield os.path.getsize(os.path.join(path, name))

    def exists(self) -> bool:
        """Return whether there is anything at the root."""
        return os.path.lexists(self.root)

    def is_file(self) -> bool:
        """Return whether the root is a file, not a folder."""
        return os.path.lexists(self.root) and not os.path.isdir(self.root)

    def remove(self, key: str) -> bool:
        """Delete a folder with as much as can be of what it holds, or a file.

        Links in it go, and what they lead to stays.
        """
        where = self.require_removable(key)
        parent, _, name = key.rpartition("/")
        try:
            with self.folder(parent, make=False) as descriptor:
                mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode):
                    self.refuse_links(key)
                if stat.S_ISDIR(mode):
                    shutil.rmtree(name, ignore_errors=True, dir_fd=descriptor)
                else:
                    os.unlink(name, dir_fd=descriptor)
        except FileNotFoundError:
            return True
        return not os.path.lexists(where)
