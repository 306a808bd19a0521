"""Files below a URL that fsspec knows, such as objects on S3."""

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from featurestore.errors import StoreLockedError, StoreNotFoundError
from featurestore.storage.files import MOST_WHOLE, PARTIAL, Files
from featurestore.storage.urls import file_system, refuse_secrets

if TYPE_CHECKING:
    import fsspec


class RemoteFiles(Files):
    """Files below a URL; see `Files`, and `file_system` for what goes wrong there.

    Parameters
    ----------
    root : str
        Such as ``s3://bucket/features.zarr``.
    run_id : str
        As of `Files`. What a run's workers write appears only if the run's mark is there, see
        `require_run`, in the moment before the request to write.

    Raises
    ------
    SettingsError
        If the URL holds a password or a query.
    """

    n_threads = 16
    n_tries = 3

    def __init__(self, root: str, run_id: str | None = None) -> None:
        refuse_secrets(root)
        super().__init__(root.rstrip("/"), run_id)

    def read_several(self, keys: Sequence[str], most: int = MOST_WHOLE) -> list[bytes | None]:
        """Read files at the same time."""
        found: list[bytes | None] = []
        with file_system(self.root) as (filesystem, _):
            paths = [self.path(key) for key in keys]
            nothing = [None] * len(paths)
            answers = filesystem.cat_ranges(paths, nothing, nothing, on_error="return")
            for key, data in zip(keys, answers, strict=True):
                if isinstance(data, FileNotFoundError | NotADirectoryError):
                    found.append(None)
                elif isinstance(data, BaseException):
                    raise data
                else:
                    self.require_length(key, len(data), most)
                    found.append(bytes(data))
        return found

    def size(self, key: str) -> int | None:
        """Size of a file [bytes]; None where there is none."""
        try:
            with file_system(self.path(key)) as (filesystem, path):
                return int(filesystem.info(path)["size"])
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes of a file from `start` up to `end`."""
        with file_system(self.path(key)) as (filesystem, path):
            return bytes(filesystem.cat_file(path, start=start, end=end))

    def write(self, key: str, data: bytes | Sequence[bytes]) -> None:
        """Put a whole file in place at once: an object is there once all of it is.

        Raises
        ------
        StoreNotFoundError
            If there is no such bucket.
        StoreLockedError
            If the run has ended whose worker this is.
        """
        with self._written(key) as (filesystem, path):
            filesystem.pipe_file(path, data if isinstance(data, bytes) else b"".join(data))

    def write_several(self, files: Mapping[str, bytes]) -> None:
        """Write files at the same time, but the last one last."""
        keys = list(files)
        with self._written("") as (filesystem, _):
            filesystem.pipe({self.path(key): files[key] for key in keys[:-1]})
        for key in keys[-1:]:
            self.write(key, files[key])

    def require_run(self, run_id: str) -> None:
        """Make sure that a run that writes here has not been overtaken by another.

        Raises
        ------
        StoreLockedError
            If it has: the mark that it made on beginning, `PARTIAL`/<run_id>, is gone.
        """
        with file_system(self.path(f"{PARTIAL}/{run_id}")) as (filesystem, path):
            if not filesystem.exists(path):
                raise StoreLockedError(
                    f"another run has taken {self.root} over from this one, which ends here; "
                    "what is done is kept"
                )

    def create(self, key: str, data: bytes) -> bool:
        """Write a file if there is none, and say whether these bytes are now there.

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
        """Time since a file was written [s], by the clock there; None if there is none."""
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

    def link_to(self, key: str) -> str | None:
        """None: there are no links."""
        return None

    def names(self, folder: str) -> list[str]:
        """Names of what lies directly in `folder`, sorted."""
        try:
            with file_system(self.path(folder)) as (filesystem, path):
                found = [entry.rstrip("/") for entry in filesystem.ls(path, detail=False)]
                # A file is listed as itself.
                return sorted(name.rsplit("/", 1)[-1] for name in found if name != path)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self, folder: str) -> Iterator[int]:
        """Size of each file at any depth below `folder` [bytes]; of a file, its own."""
        with file_system(self.path(folder)) as (filesystem, path):
            found = filesystem.find(path, detail=True)
        yield from (entry["size"] for entry in found.values())

    def exists(self) -> bool:
        """Return whether there is anything at the root."""
        return self.is_file() or bool(self.names(""))

    def is_file(self) -> bool:
        """Return whether the root is a file, not a folder."""
        with file_system(self.root) as (filesystem, path):
            return bool(filesystem.isfile(path))

    def remove(self, key: str) -> bool:
        """Delete a folder with all it holds, or a file."""
        where = self.require_removable(key)
        with contextlib.suppress(FileNotFoundError), file_system(where) as (filesystem, path):
            filesystem.rm(path, recursive=True)
        return True

    @contextlib.contextmanager
    def _written(self, key: str) -> Iterator[tuple["fsspec.AbstractFileSystem", str]]:
        """Where to write `key` to, if the run is not over."""
        if self._run_id is not None:
            self.require_run(self._run_id)
        with file_system(self.path(key)) as (filesystem, path):
            try:
                yield filesystem, path
            except FileNotFoundError as error:
                raise StoreNotFoundError(
                    f"{self.root} cannot be written to: {error}; make the bucket first"
                ) from None
