r"""A folder of audio: every file below it that may be audio, with tags from the sub-folders.

- Files are known by their ending, in any case: those of formats that libsndfile or FFmpeg read and
  that hold audio, or audio as a rule (``.mp4``, ``.webm``, ``.3gp``). Endings that are video's as a
  rule (``.mkv``, ``.avi``, ``.mov``, ``.mpg``) are none of them.
- What else is there is passed over and counted, by ending. An archive is not looked into.
- Names that start with a dot are skipped, folders too, and not counted: programs put them there.
- The id of a track is its path relative to the folder, with ``/``.
- A folder that is called like a track, ``x.mp3``, and holds no track is listed as one, so that it
  shows as a failed row and not as nothing. So does a file whose name is not valid UTF-8: it is
  listed with the bytes in question as escapes, ``caf\xe9.mp3``, and cannot be opened by that.
- Symbolic links to files are tracks like others, since somebody put them there. Linked folders
  are not entered but counted: they may lead anywhere, and round in circles.
- A sub-folder that cannot be read is an error: a part of the collection is not to be missing
  without a word.
"""

import os
import posixpath
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import NoReturn

from featurestore.errors import CatalogError
from featurestore.storage.urls import file_system
from pipeline.catalogs.catalog import RESERVED, Catalog, multi_hot

# fmt: off
EXTENSIONS = (
    ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".caf",
    ".flac", ".m4a", ".m4b", ".mka", ".mp1", ".mp2", ".mp3", ".mp4", ".mpc", ".oga", ".ogg",
    ".opus", ".rf64", ".snd", ".spx", ".tta", ".w64", ".wav", ".webm", ".wma", ".wv",
)
# fmt: on
"""Endings of files that are taken for audio, in any case."""

_ENDING = re.compile(r"(\.tar)?\.\w{1,8}$")

LINKED_FOLDER, NO_ENDING = "linked folder", "without an ending"
"""Among what is passed over, what is no file with an ending."""

MAX_FOLDER_TAGS = 64
"""More sub-folders than this are taken for artists, albums or numbers, not for tags."""


def list_folder(folder: str, *, tags: bool | None = None) -> Catalog:
    """List a folder of audio, sorted by path.

    Parameters
    ----------
    folder : str
        A path or an fsspec URL.
    tags : bool or None
        Whether the sub-folder at the top that a track is in is its tag. None for yes if each track
        is in one, if there are from 2 to `MAX_FOLDER_TAGS` of them, and if none is called like a
        column of the clip table.

    Raises
    ------
    CatalogError
        If there is no audio, or if a sub-folder cannot be read.
    """
    others: Counter[str] = Counter()
    listed = _remote_paths if "://" in folder else _local_paths
    paths = sorted(listed(folder, others))
    if not paths:
        found = ", ".join(f"{n:,} {what}" for what, n in others.most_common(8)) or "nothing"
        raise CatalogError(
            f"{folder} holds no audio: no file ends in {', '.join(EXTENSIONS)} (names that start "
            f"with a dot, linked folders and archives are not looked into; found: {found}); give "
            "the folder that holds it"
        )
    tops = [path.split("/")[:-1][:1] for path in paths]
    if tags is None:
        names = {name for top in tops for name in top}
        tags = all(tops) and 2 <= len(names) <= MAX_FOLDER_TAGS and names.isdisjoint(RESERVED)
    # Only now, because a table of tracks by artists could be as large as the memory.
    tag_names, labels = multi_hot(tops if tags else [[]] * len(paths))
    return Catalog(
        name=posixpath.basename(folder.rstrip("/")) or "folder",
        root=folder,
        track_id=paths,
        path=paths,
        split=[""] * len(paths),
        tags=tag_names,
        labels=labels,
        passed_over=others,
    )


def ending_of(name: str) -> str:
    """Kind that a file is counted as, such as ``.jpg``."""
    found = _ENDING.search(name.lower())
    return found[0] if found else NO_ENDING


def _local_paths(folder: str, others: Counter[str]) -> Iterator[str]:
    found: list[str] = []
    folders: list[str] = []
    for parent, children, files in os.walk(folder, onerror=_refuse):
        children[:] = [name for name in children if not name.startswith(".")]
        inside = os.path.relpath(parent, folder)
        prefix = "" if inside == os.curdir else _text(inside).replace(os.sep, "/") + "/"
        others[LINKED_FOLDER] += sum(os.path.islink(f"{parent}/{name}") for name in children)
        others.update(ending_of(_text(name)) for name in files if _is_other(name))
        found += [prefix + _text(name) for name in files if _is_audio(name)]
        folders += [prefix + _text(name) for name in children if _is_audio(name)]
    others += Counter()  # without what there is none of
    found.sort()
    yield from found
    for name in folders:
        first = bisect_left(found, name + "/")
        if not found[first : first + 1] or not found[first].startswith(name + "/"):
            yield name


def _remote_paths(folder: str, others: Counter[str]) -> Iterator[str]:
    with file_system(folder) as (fs, root):
        found = fs.find(root)
    for path in found:
        relative = path[len(root) :].strip("/")
        if any(part.startswith(".") for part in relative.split("/")):
            continue
        if _is_audio(relative):
            yield relative
        else:
            others[ending_of(relative)] += 1


def _is_audio(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def _is_other(name: str) -> bool:
    return not (name.startswith(".") or _is_audio(name))


def _text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _refuse(error: OSError) -> NoReturn:
    raise CatalogError(
        f"{error.filename} cannot be read: {error.strerror}; allow it, or move it elsewhere"
    ) from error
