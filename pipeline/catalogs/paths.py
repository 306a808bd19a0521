"""Paths of audio files, whatever is said of them: files, and what is in folders and tables."""

import dataclasses
import os
import posixpath
from collections.abc import Iterable, Iterator

from featurestore.errors import CatalogError
from featurestore.storage.urls import file_system, refuse_secrets
from pipeline.catalogs.folder import list_folder
from pipeline.catalogs.table import endings, is_table, list_table
from pipeline.catalogs.table.settings import TableSettings


def list_paths(places: Iterable[str], table: TableSettings | None = None) -> list[str]:
    """List audio files, each once, in the order in which they are given.

    Parameters
    ----------
    places : iterable of str
        Paths or fsspec URLs: of folders, with the audio in them and below; of tables, by their
        names' endings; else of files, which are listed even if they are not there.
    table : TableSettings, optional
        Where tables have their paths. Columns beside these do not matter.

    Returns
    -------
    list of str
        They begin as the places were written.

    Raises
    ------
    CatalogError
        If a folder has no audio, if a table cannot be read, or if `table` is given and no table.
    SettingsError, StorageError
        If something is at a URL that cannot be used.
    """
    table = table or TableSettings()
    places = list(places)
    if table.given() and not any(map(is_table, places)):
        raise CatalogError(
            f"{', '.join(table.given())}: that is for a table of tracks, which ends in "
            f"{endings()}; leave it out"
        )
    found: dict[str, str] = {}
    for place in places:
        for path in _paths_at(place, table):
            found.setdefault(absolute(path), path)
    return [*found.values()]


def absolute(place: str) -> str:
    """A path that every process on this machine understands; a URL as it is.

    Raises
    ------
    SettingsError
        If it is a URL with a password in it.
    """
    refuse_secrets(place)
    return place.rstrip("/") if "://" in place else os.path.abspath(place)


def _paths_at(place: str, table: TableSettings) -> Iterator[str]:
    if _is_folder(place):
        folder = place.rstrip("/") or "/"
        yield from (posixpath.join(folder, path) for path in list_folder(absolute(place)).path)
    elif is_table(place):
        root = posixpath.dirname(place) if table.root is None else table.root
        inside = dataclasses.replace(table, root=absolute(root))
        listed = list_table(absolute(place), inside, only_paths=True)
        yield from (posixpath.join(root, path) for path in listed.path)
    else:
        yield place


def _is_folder(place: str) -> bool:
    if "://" not in place:
        return os.path.isdir(place)
    with file_system(place) as (fs, path):
        return bool(fs.isdir(path))
