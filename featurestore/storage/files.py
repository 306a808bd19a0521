"""Bytes under a root: what a local folder and object storage have in common."""

import abc
from collections.abc import Iterator, Mapping, Sequence

from featurestore.errors import StoreFormatError

RUN_FOLDER = ".run"
"""Holds what only a run in progress needs: the lock, files not yet whole, and the journal."""

PARTIAL = f"{RUN_FOLDER}/partial"
"""Folder of the files that are not yet whole."""

MOST_WHOLE = 2**32
"""Longest file that is read at once [bytes]: shards are a fifth of it."""


class Files(abc.ABC):
    """Files below one root, named by keys with ``/``; `featurestore.storage.open_files` makes one.

    Picklable, and holds nothing open, so that it survives a fork. A key that would lead out of the
    root raises StoreFormatError.

    Parameters
    ----------
    root : str
        A local folder, or a URL.
    run_id : str
        Names the run that writes, as its lock gives it, for the run's workers: what they write
        appears only while the run lasts. A worker may outlive its run, and must not put what it
        knew in place of what the next run has made. None for who holds the lock.

    Attributes
    ----------
    root : str
    n_threads : int
        How many threads are worth reading with at the same time.
    n_tries : int
        How often to read what does not match its checksum: the bytes may be sound, and have been
        damaged on their way. Of ranges of a file, no client's checksum tells.
    """

    n_threads: int
    n_tries: int = 1

    def __init__(self, root: str, run_id: str | None) -> None:
        self.root = root
        self._run_id = run_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root!r})"

    def path(self, key: str) -> str:
        """Local path or URL of `key`."""
        parts = key.split("/")
        if any(part in ("", ".", "..") for part in parts) and key:
            raise StoreFormatError(f"{key!r} is not a key below {self.root}")
        return f"{self.root}/{key}" if key else self.root

    def read(self, key: str, most: int = MOST_WHOLE) -> bytes | None:
        """All bytes of a file; None where there is none.

        Raises
        ------
        StoreFormatError
            If it is longer than `most` [bytes]: nobody wrote so much there on purpose.
        """
        return self.read_several([key], most)[0]

    @abc.abstractmethod
    def read_several(self, keys: Sequence[str], most: int = MOST_WHOLE) -> list[bytes | None]:
        """All bytes of each file, as `read` does."""

    @abc.abstractmethod
    def size(self, key: str) -> int | None:
        """Size of a file [bytes]; None where there is none."""

    @abc.abstractmethod
    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes of a file from `start` up to `end`; fewer, or none, where it ends before.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """

    @abc.abstractmethod
    def write(self, key: str, data: bytes | Sequence[bytes]) -> None:
        """Put a whole file in place at once: a reader sees the old bytes or all the new ones.

        Of several parts, one file is made.

        Raises
        ------
        OSError
            If it cannot be written, or the run has ended whose worker this is.
        """

    @abc.abstractmethod
    def write_several(self, files: Mapping[str, bytes]) -> None:
        """Write files by their keys, each at once; the last one after all others."""

    @abc.abstractmethod
    def names(self, folder: str) -> list[str]:
        """Names of what lies directly in `folder`, sorted; none where there is no such folder."""

    @abc.abstractmethod
    def sizes(self, folder: str) -> Iterator[int]:
        """Size of each file at any depth below `folder` [bytes]; of a file, its own."""

    @abc.abstractmethod
    def exists(self) -> bool:
        """Return whether there is anything at the root."""

    @abc.abstractmethod
    def is_file(self) -> bool:
        """Return whether the root is a file, not a folder."""

    @abc.abstractmethod
    def remove(self, key: str) -> bool:
        """Delete a folder with all it holds, or a file, and say whether nothing is there any more.

        Raises
        ------
        StoreFormatError
            If it is the root, or a link, or one leads to it.
        """

    @abc.abstractmethod
    def link_to(self, key: str) -> str | None:
        """Key of the first link on the way from the root to what lies at `key`, itself too."""

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

    def require_length(self, key: str, nbytes: int, most: int) -> None:
        """Make sure that a file is not longer than `most` [bytes]."""
        if nbytes > most:
            raise StoreFormatError(f"{self.path(key)} is damaged: {nbytes:,} bytes are too many")

    def require_removable(self, key: str) -> str:
        """Where a key lies that is not the root's."""
        if not key:
            raise StoreFormatError(f"{self.root} is a store, which is not deleted as a whole")
        return self.path(key)
