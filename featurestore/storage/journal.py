"""Several files changed as one: a run that dies in between leaves the rest to the next one."""

import itertools
import json
from collections.abc import Mapping, Sequence

from featurestore.errors import CorruptDataError
from featurestore.storage.checksum import append_crc32c, verify_crc32c
from featurestore.storage.documents import parse
from featurestore.storage.files import RUN_FOLDER, Files
from featurestore.storage.lock import lock_of

_FOLDER = f"{RUN_FOLDER}/journal"

JOURNAL = f"{_FOLDER}/changes"
"""Where it is written down what is to be done."""


def write_together(files: Files, changes: Mapping[str, bytes], removed: Sequence[str] = ()) -> None:
    """Remove folders, then write files in the order given: all of it, even if killed in between.

    What is to be done is first written down, in one file; `finish` does what is written there.

    Parameters
    ----------
    files : Files
    changes : mapping of str to bytes
        What each file is to hold, by key.
    removed : sequence of str
        Folders to be removed before.
    """
    if not changes and not removed:
        return
    files.refuse_links(*changes, *removed)  # before it is written down, and would have to be done
    sizes = [[key, len(data)] for key, data in changes.items()]
    head = json.dumps({"removed": list(removed), "sizes": sizes}).encode()
    files.write(JOURNAL, append_crc32c(b"".join([head, b"\n", *changes.values()])))
    finish(files)


def finish(files: Files) -> None:
    """Do what is written down, if anything is; only for the run that holds the store's lock."""
    todo = read_journal(files)
    if todo is None:
        files.remove(_FOLDER)  # without it, of a run that was killed as it came or went
        return
    removed, changes = todo
    files.refuse_links(*changes, *removed)
    for folder in removed:
        files.remove(folder)
    files.write_several(changes)
    files.remove(_FOLDER)


def read_journal(files: Files) -> tuple[list[str], dict[str, bytes]] | None:
    """What is to be removed and written, and is not done; None where there is nothing.

    Raises
    ------
    CorruptDataError
        If its bytes are damaged, or say something else.
    """
    written = files.read(JOURNAL)
    if written is None:
        return None
    head, _, data = bytes(verify_crc32c(written, JOURNAL)).partition(b"\n")
    try:
        todo = parse(head)
        removed, sizes = list(todo["removed"]), [size for _, size in todo["sizes"]]
        if any(type(size) is not int or size < 0 for size in sizes) or sum(sizes) != len(data):
            raise ValueError("sizes do not add up")
        ends = itertools.accumulate(sizes)
        changes = {
            key: data[end - size : end]
            for (key, size), end in zip(todo["sizes"], ends, strict=True)
        }
        for key in (*removed, *changes):
            if not key or not isinstance(key, str):
                raise ValueError(f"{key!r} is no key")
            files.path(key)
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptDataError(f"not a journal: {error}", key=JOURNAL) from None
    return removed, changes


def discard_damaged(files: Files) -> bool:
    """Take a journal away that cannot be read, and say whether there was one."""
    with lock_of(files):
        try:
            read_journal(files)
        except CorruptDataError:
            files.remove(_FOLDER)
            return True
    return False
