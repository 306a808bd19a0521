"""Reading a data set's own metadata files, from a folder or an fsspec URL."""

import contextlib
import zlib
from collections.abc import Iterator
from typing import IO, Any, Literal

from featurestore.errors import CatalogError


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
    fs, path = _find(folder, name)
    if path is None:
        raise CatalogError(f"{folder} has no {name} (nor {name}.gz); {remedy}")
    text = {"encoding": "utf-8-sig", "newline": ""} if mode == "rt" else {}
    try:
        with fs.open(path, mode, compression="infer", **text) as file:
            yield file
    except CatalogError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise CatalogError(f"{path} cannot be read: {error}; {remedy}") from error


def has_metadata(folder: str, name: str) -> bool:
    """Whether `name`, or `name` with ``.gz``, is in `folder`."""
    return _find(folder, name)[1] is not None


def _find(folder: str, name: str) -> tuple[Any, str | None]:
    import fsspec  # here, because it takes as long to import as numpy

    fs, root = fsspec.url_to_fs(folder)
    paths = (f"{root.rstrip('/')}/{name}", f"{root.rstrip('/')}/{name}.gz")
    return fs, next((path for path in paths if fs.isfile(path)), None)
