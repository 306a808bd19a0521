"""Several files changed as one: a run that dies in between leaves the rest to the next one."""

import json
from collections.abc import Mapping, Sequence

from featurestore.errors import CorruptDataError
from featurestore.files import RUN_FOLDER, Files
from featurestore.lock import lock_of
from featurestore.shard import seal, unseal

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
    sizes = [[key, len(data)] for key, data in changes.items()]
    head = json.dumps({"removed": list(removed), "sizes": sizes}).encode()
    files.write(JOURNAL, seal(b"".join([head, b"\n", *changes.values()])))
    finish(files)


def finish(files: Files) -> None:
    """Do what is written down, if anything is; only for the run that holds the store's lock."""
    written = read_journal(files)
    if written is None:
        return
    head, _, data = written.partition(b"\n")
    todo = json.loads(head)
    for folder in todo["removed"]:
        files.remove(folder)
    offset = 0
    changes = {}
    for key, size in todo["sizes"]:
        changes[key] = data[offset : offset + size]
        offset += size
    files.write_several(changes)
    files.remove(_FOLDER)


def read_journal(files: Files) -> bytes | None:
    """What is written down and not done; None where there is nothing.

    Raises
    ------
    CorruptDataError
        If its bytes are damaged.
    """
    written = files.read(JOURNAL)
    return None if written is None else bytes(unseal(written, JOURNAL))


def discard_damaged(files: Files) -> bool:
    """Take a journal away that cannot be read, and say whether there was one."""
    with lock_of(files):
        try:
            read_journal(files)
        except CorruptDataError:
            files.remove(_FOLDER)
            return True
    return False
