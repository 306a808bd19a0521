"""Reading a data set's own metadata files, from a folder or an fsspec URL."""

import contextlib
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Literal

from featurestore.errors import CatalogError
from featurestore.storage.urls import file_system

if TYPE_CHECKING:
    import fsspec


@contextlib.contextmanager
def open_metadata(
    folder: str, name: str, *, remedy: str, mode: Literal["rt", "rb"] = "rt"
) -> Iterator[IO[Any]]:
    """Open `name`, or `name` with ``.gz``, in `folder`.

    What goes wrong while it is read is turned into a `CatalogError` that names the file.

    Parameters
    ----------
    folder : str
        A path or an fsspec URL.
    name : str
        The file, relative to `folder`.
    remedy : str
        What to do if the file is not there or cannot be read, for the message.
    mode : {'rt', 'rb'}
        As text in UTF-8 with its own line ends, or as bytes.

    Raises
    ------
    CatalogError
        If neither file is there, or if it cannot be read.
    """
    text = {"encoding": "utf-8-sig", "newline": ""} if mode == "rt" else {}
    with _found(folder, name) as (fs, path):
        if path is None:
            raise CatalogError(f"{folder} has no {name} (nor {name}.gz); {remedy}")
        try:
            with fs.open(path, mode, compression="infer", **text) as file:
                yield file
        except CatalogError:
            raise
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise CatalogError(f"{path} cannot be read: {error}; {remedy}") from error


def has_metadata(folder: str, name: str) -> bool:
    """Return whether `name`, or `name` with ``.gz``, is in `folder`."""
    with _found(folder, name) as (_, path):
        return path is not None


@contextlib.contextmanager
def _found(folder: str, name: str) -> Iterator[tuple["fsspec.AbstractFileSystem", str | None]]:
    with file_system(folder) as (fs, root):
        paths = (f"{root.rstrip('/')}/{name}", f"{root.rstrip('/')}/{name}.gz")
        yield fs, next((path for path in paths if fs.isfile(path)), None)
