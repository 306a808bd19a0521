"""Files beside the store, such as pages, pictures and checkpoints: written whole or not at all."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from featurestore.errors import MelgridError, OutputError


@contextlib.contextmanager
def output_errors(path: str | os.PathLike[str], *, what: str) -> Iterator[None]:
    """Raise one error for whatever the system refuses while a file or folder is written.

    Parameters
    ----------
    path : path
        As the user gave it, whatever other name it is written under.
    what : str
        It is, such as ``"the checkpoint"``.

    Raises
    ------
    OutputError
        In place of an OSError; `MelgridError` passes.
    """
    try:
        yield
    except MelgridError:
        raise
    except OSError as error:
        raise OutputError(
            f"{what} {path} cannot be written: {error.strerror or error}; name another place"
        ) from error


@contextlib.contextmanager
def atomic_write(path: Path, *, what: str, alone: bool = False) -> Iterator[Path]:
    """Give a place beside a local `path` to write to, and move it there once all is written.

    So that there is the old file or the whole new one, whoever else writes there. What is there
    and is no file, such as a pipe or ``/dev/stdout``, is written to as it is.

    Parameters
    ----------
    path : Path
    what : str
        It is, for the error, such as ``"the checkpoint"``.
    alone : bool
        Whether nobody else writes there at the same time: the place has always the same name then,
        and what a killed process has left in it is written over.

    Raises
    ------
    OutputError
        If there is a folder, or `path` cannot be written.
    """
    with output_errors(path, what=what):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not path.is_file():
            yield path
            return
        target = path.resolve()  # a link stays, and what it leads to is replaced
        temp_name = target.name if alone else f".{target.name[:40]}.{uuid.uuid4().hex[:12]}"
        partial = target.with_name(f"{temp_name}.partial")
        try:
            yield partial
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
