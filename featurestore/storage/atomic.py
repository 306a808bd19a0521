"""Files beside the store, such as pages, pictures and checkpoints: written whole or not at all."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole(path: Path, *, alone: bool = False) -> Iterator[Path]:
    """Give a place beside a local `path` to write to, and move it there once all is written.

    So that there is the old file or the whole new one, whoever else writes there. What is there
    and is no file, such as a pipe or ``/dev/stdout``, is written to as it is.

    Parameters
    ----------
    path : Path
    alone : bool
        Whether nobody else writes there at the same time: the place has always the same name then,
        and what a killed process has left in it is written over.

    Raises
    ------
    OSError
        If there is a folder, or `path` cannot be written; it is named, not the place beside it.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        yield path
        return
    target = path.resolve()  # a link stays, and what it leads to is replaced
    own = target.name if alone else f".{target.name[:40]}.{uuid.uuid4().hex[:12]}"
    partial = target.with_name(f"{own}.partial")
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        if str(error.filename) == str(partial):
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)
