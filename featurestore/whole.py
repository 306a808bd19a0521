"""Files beside the store, such as pages, pictures and checkpoints: written whole or not at all."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a place beside a local `path` to write to, and move it there once all is written.

    So that there is the old file or the whole new one. What a killed process has left at that
    place is written over.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
