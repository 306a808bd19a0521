"""Bytes under a root: a local folder or an fsspec URL, with writes that are whole or absent.

A store may be a stranger's, in which a link leads anywhere. The root itself may be one, for it is
the user's. Below it nothing is written, replaced or deleted through a link: folders are opened one
by one from the root, each within the one before and none if it is a link, so that nobody can put a
link in the way between a look and the deed. Reading follows links.
"""

import contextlib
import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from featurestore.errors import (
    MelgridError,
    SettingsError,
    StorageError,
    StoreFormatError,
    StoreLockedError,
    StoreNotFoundError,
)

if TYPE_CHECKING:
    import fsspec

RUN_FOLDER = ".run"
"""Holds what only a run in progress needs: the lock, files not yet whole, and the journal."""

PARTIAL = f"{RUN_FOLDER}/partial"
"""Folder of the files that are not yet whole."""

_MOST_WHOLE = 2**32
"""Longest file that is read at once [bytes]: shards are a fifth of it."""


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


@contextlib.contextmanager
def file_system(url: str) -> Iterator[tuple["fsspec.AbstractFileSystem", str]]:
    """The file system that a URL, or a local path, is in, and the path there; a context manager.

    Credentials and endpoints come from where the protocol's library looks for them (for S3 the
    ``AWS_*`` variables, ``~/.aws``, fsspec's own configuration), never from melgrid or the URL.

    Raises
    ------
    SettingsError
        If the URL's protocol is not known, or needs a library that is not installed.
    StorageError
        On leaving, for whatever goes wrong within, but that there is no such file: protocols have
        errors of their own, some of which are not even an OSError.
    """
    import fsspec

    try:
        # Asked for each time: fsspec keeps one a process, and forgets them in a forked child, in
        # which they do not work. No listings are kept, since other processes write there too.
        plain, chain, rest = url.partition("::")
        filesystem, path = fsspec.url_to_fs(
            url if "://" in rest else plain, use_listings_cache=False
        )
        if chain and "://" not in rest:  # part of a name, not a chain such as zip://a::s3://b/c.zip
            path = filesystem._strip_protocol(url)
    except ImportError as error:
        protocol = url.split("://")[0]
        extra = "'melgrid[s3]'" if protocol in ("s3", "s3a") else f"what {protocol}:// needs"
        raise SettingsError(f"{url} cannot be used: {error}; pip install {extra}") from None
    except ValueError as error:
        raise SettingsError(f"{url} cannot be used: {error}") from None
    try:
        yield filesystem, path
    except (MelgridError, FileNotFoundError, NotADirectoryError):
        raise
    except (TypeError, AttributeError, LookupError, NameError, AssertionError):
        raise  # mistakes of ours
    except Exception as error:
        told = " ".join(str(error).split()).rstrip(".")  # in one line
        reason = _without_secrets(told) or type(error).__name__
        raise StorageError(
            f"{url} cannot be used: {reason}; look at the address, the credentials and the endpoint"
        ) from None


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


def version_of(info: Mapping[str, object]) -> str:
    """What differs once a remote file is another one, from what its file system tells of it.

    The first there is of ETag, which follows from the bytes, and time of change.
    """
    keys = "ETag", "etag", "LastModified", "last_modified", "mtime", "created"
    return str(next((info[key] for key in keys if info.get(key)), ""))


def refuse_secrets(url: str) -> None:
    """Refuse a URL that holds a password or a query, which messages would repeat.

    Raises
    ------
    SettingsError
        If it does; the message leaves it out.
    """
    if re.match(r"[^/]*://([^/]*:[^/]*@|[^?]*\?)", url):
        raise SettingsError(
            f"{_without_secrets(url)} was given with a password or a query, which messages would "
            "show; leave it out, and put credentials where the protocol's library looks for them"
        )


def _without_secrets(text: str) -> str:
    """A message with what may be secret in its URLs left out."""
    return re.sub(r"\?\S*", "", re.sub(r"://[^/\s]*@", "://", text))


class Files:
    """Files below one root, named by keys with ``/``.

    Picklable, and holds nothing open, so that it survives a fork.

    Parameters
    ----------
    root : str or Path
        A local folder, or a URL that fsspec knows, such as ``s3://bucket/features.zarr``; see
        `file_system` for what goes wrong there.
    run : str
        Name of the run that writes, as its `RunLock` gives it, for the run's workers: what they
        write appears only while the run lasts. A worker may outlive its run, and must not put
        what it knew in place of what the next run has made. None for who holds the lock.
    """

    def __init__(self, root: str | Path, run: str | None = None) -> None:
        text = os.fspath(root)
        self.is_local = "://" not in text
        if not self.is_local:
            refuse_secrets(text)
        self.root = os.path.abspath(text) if self.is_local else text.rstrip("/")
        self._run = run

    def __repr__(self) -> str:
        return f"Files({self.root!r})"

    def __reduce__(self) -> tuple[type["Files"], tuple[str, str | None]]:
        return type(self), (self.root, self._run)

    def path(self, key: str) -> str:
        """Where `key` lies: a local path, or a URL."""
        parts = key.split("/")
        if any(part in ("", ".", "..") for part in parts) and key:
            raise StoreFormatError(f"{key!r} is not a key below {self.root}")
        return f"{self.root}/{key}" if key else self.root

    def read(self, key: str, most: int = _MOST_WHOLE) -> bytes | None:
        """All bytes of a file; None where there is none.

        Raises
        ------
        StoreFormatError
            If it is longer than `most` [bytes], and local: nobody wrote so much there on purpose.
        """
        if not self.is_local:
            return self.read_several([key])[0]
        try:
            with self.open(key) as file:
                if file.size > most:
                    raise StoreFormatError(
                        f"{self.path(key)} is damaged: {file.size:,} bytes are too many"
                    )
                return file.read_at(0, file.size)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_several(self, keys: Sequence[str], most: int = _MOST_WHOLE) -> list[bytes | None]:
        """All bytes of each file, as `read` does; remote ones at the same time."""
        if self.is_local:
            return [self.read(key, most) for key in keys]
        found: list[bytes | None] = []
        with file_system(self.root) as (filesystem, _):
            paths = [self.path(key) for key in keys]
            nothing = [None] * len(paths)
            for data in filesystem.cat_ranges(paths, nothing, nothing, on_error="return"):
                if isinstance(data, FileNotFoundError | NotADirectoryError):
                    found.append(None)
                elif isinstance(data, BaseException):
                    raise data
                else:
                    found.append(bytes(data))
        return found

    def size(self, key: str) -> int | None:
        """Size of a file [bytes]; None where there is none."""
        where = self.path(key)
        try:
            if self.is_local:
                return os.stat(where).st_size
            with file_system(where) as (filesystem, path):
                return int(filesystem.info(path)["size"])
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes of a file from `start` up to `end`; fewer, or none, where it ends before.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        if self.is_local:
            with self.open(key) as file:
                return file.read_at(start, end - start)
        with file_system(self.path(key)) as (filesystem, path):
            return bytes(filesystem.cat_file(path, start=start, end=end))

    def open(self, key: str) -> LocalFile:
        """Open a local file for reading at any position; a context manager.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        return LocalFile(self.path(key))

    def write(self, key: str, data: bytes | Sequence[bytes]) -> None:
        """Put a whole file in place at once: a reader sees the old bytes or all the new ones.

        Of several parts no copy is made; they are written one after the other.

        Locally the bytes are on the disk before the name appears, so that not even a power cut
        leaves a name without its bytes. Names appear on the disk in the order of the writes, as
        journalling file systems (ext4, XFS) have it: a commit record never before its shards.
        Object storage shows an object once it has all of it.

        Raises
        ------
        StoreNotFoundError
            If there is no such bucket.
        FileNotFoundError
            If the run has ended whose worker this is: the folder for its partial files is gone,
            from which a file is moved in place, so that this holds at any moment.
        StoreLockedError
            The same on object storage, as of the moment before the request to write.
        """
        if not self.is_local:
            if self._run is not None:
                self.require_run(self._run)
            with self._written(key) as (filesystem, path):
                filesystem.pipe_file(path, data if isinstance(data, bytes) else b"".join(data))
            return
        folder = PARTIAL if self._run is None else f"{PARTIAL}/{self._run}"
        partial = uuid.uuid4().hex
        target, name = self.path(key), key.rpartition("/")[2]
        try:
            with self.folder(folder, make=self._run is None) as source:
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

    @contextlib.contextmanager
    def folder(self, key: str, *, make: bool) -> Iterator[int]:
        """Descriptor of a local folder that no link leads to, for what takes a ``dir_fd``.

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
        """Key of the first link on the way from a local root to what lies at `key`, itself too."""
        parts = key.split("/") if self.is_local and key else []
        for number in range(1, len(parts) + 1):
            part = "/".join(parts[:number])
            if os.path.islink(self.path(part)):
                return part
        return None

    def refuse_links(self, *keys: str) -> None:
        """Make sure that no link would be in the way of writing or deleting there.

        Raises
        ------
        StoreFormatError
            If there is one.
        """
        for key in keys:
            link = self.link_to(key)
            if link is not None:
                raise StoreFormatError(
                    f"{self.path(link)} is a link, and within a store melgrid writes and deletes "
                    "through none: put what it leads to in its place"
                )

    def write_several(self, files: Mapping[str, bytes]) -> None:
        """Write files in the order given; remote ones at the same time, but the last one last."""
        if self.is_local:
            for key, data in files.items():
                self.write(key, data)
            return
        if self._run is not None:
            self.require_run(self._run)
        keys = list(files)
        with self._written("") as (filesystem, _):
            filesystem.pipe({self.path(key): files[key] for key in keys[:-1]})
        for key in keys[-1:]:
            self.write(key, files[key])

    def require_run(self, run: str) -> None:
        """Make sure that a run that writes to object storage has not been overtaken by another.

        Raises
        ------
        StoreLockedError
            If it has: the mark that it made on beginning, `PARTIAL`/<run>, is gone.
        """
        with file_system(self.path(f"{PARTIAL}/{run}")) as (filesystem, path):
            if not filesystem.exists(path):
                raise StoreLockedError(
                    f"another run has taken {self.root} over from this one, which ends here; "
                    "what is done is kept"
                )

    def create(self, key: str, data: bytes) -> bool:
        """Write a remote file if there is none, and say whether these bytes are now there.

        Of several that try at the same time, with different bytes, one succeeds: on S3 by a
        conditional request (``If-None-Match``), which every S3 of today knows.
        """
        with self._written(key) as (filesystem, path):
            try:
                filesystem.pipe_file(path, data, mode="create")
            except OSError:
                # There is one. It may be this one all the same: a request whose answer was lost
                # is made again. Or this is an error of another kind, which reading shows too.
                there = self.read(key)
                if there is None:
                    raise
                return there == data
        return True

    def age(self, key: str) -> float | None:
        """Time since a remote file was written [s], by the clock there; None if there is none."""
        now = f"{PARTIAL}/{uuid.uuid4().hex}"
        self.write(now, b"")
        with file_system(self.root) as (filesystem, _):
            try:
                age = filesystem.modified(self.path(now)) - filesystem.modified(self.path(key))
            except FileNotFoundError:
                return None
            finally:
                filesystem.rm_file(self.path(now))
        return float(age.total_seconds())

    def names(self, folder: str) -> list[str]:
        """Names of what lies directly in `folder`, sorted; none where there is no such folder."""
        where = self.path(folder)
        try:
            if self.is_local:
                return sorted(os.listdir(where))
            with file_system(where) as (filesystem, path):
                found = [entry.rstrip("/") for entry in filesystem.ls(path, detail=False)]
                # A file is listed as itself.
                return sorted(name.rsplit("/", 1)[-1] for name in found if name != path)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self, folder: str) -> Iterator[int]:
        """Size of each file at any depth below `folder` [bytes]; of a file, its own."""
        where = self.path(folder)
        if self.is_local:
            if os.path.isfile(where):
                yield os.path.getsize(where)
            for path, _, names in os.walk(where):
                for name in names:
                    with contextlib.suppress(FileNotFoundError):  # a link to nowhere
                        yield os.path.getsize(os.path.join(path, name))
        else:
            with file_system(where) as (filesystem, path):
                found = filesystem.find(path, detail=True)
            yield from (entry["size"] for entry in found.values())

    def exists(self) -> bool:
        """Whether there is anything at the root."""
        if self.is_local:
            return os.path.lexists(self.root)
        return self.is_file() or bool(self.names(""))

    def is_file(self) -> bool:
        """Whether the root is a file, not a folder."""
        if self.is_local:
            return os.path.lexists(self.root) and not os.path.isdir(self.root)
        with file_system(self.root) as (filesystem, path):
            return bool(filesystem.isfile(path))

    def remove(self, folder: str) -> bool:
        """Delete `folder` with all it holds, or a file, and say whether nothing is there any more.

        Of a local folder as much as can be; links in it go, and what they lead to stays.

        Raises
        ------
        StoreFormatError
            If it is a link, or one leads to it.
        """
        where = self.path(folder)
        if not folder:
            raise StoreFormatError(f"{where} is a store, which is not deleted as a whole")
        if not self.is_local:
            with contextlib.suppress(FileNotFoundError), file_system(where) as (filesystem, path):
                filesystem.rm(path, recursive=True)
            return True
        parent, _, name = folder.rpartition("/")
        try:
            with self.folder(parent, make=False) as descriptor:
                mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode):
                    self.refuse_links(folder)
                if stat.S_ISDIR(mode):
                    shutil.rmtree(name, ignore_errors=True, dir_fd=descriptor)
                else:
                    os.unlink(name, dir_fd=descriptor)
        except FileNotFoundError:
            return True
        return not os.path.lexists(where)

    @contextlib.contextmanager
    def _written(self, key: str) -> Iterator[tuple["fsspec.AbstractFileSystem", str]]:
        where = self.path(key)
        with file_system(where) as (filesystem, path):
            try:
                yield filesystem, path
            except FileNotFoundError as error:
                raise StoreNotFoundError(
                    f"{self.root} cannot be written to: {error}; make the bucket first"
                ) from None
