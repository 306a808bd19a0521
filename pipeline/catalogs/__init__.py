"""Collections of music, each listed as a `Catalog`: a folder, a table, or a known data set."""

import dataclasses
import os
from typing import TYPE_CHECKING

from featurestore.errors import CatalogError
from featurestore.storage.urls import file_system
from pipeline.catalogs.catalog import Catalog
from pipeline.catalogs.data_sets import CATALOGS, TAGS
from pipeline.catalogs.folder import list_folder
from pipeline.catalogs.paths import absolute, list_paths
from pipeline.catalogs.split import Split, draw_splits, drawn_lines
from pipeline.catalogs.table import endings, is_table, list_frame, list_table
from pipeline.catalogs.table.settings import TableSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CATALOGS",
    "Catalog",
    "Split",
    "TableSettings",
    "drawn_lines",
    "list_paths",
    "open_catalog",
    "tags_of",
]


def open_catalog(
    audio: "str | pd.DataFrame",
    catalog: str | None = None,
    table: TableSettings | None = None,
    split: Split | None = None,
) -> Catalog:
    """List a collection.

    Parameters
    ----------
    audio : str or pandas.DataFrame
        A folder of audio, a table that lists tracks, or a data set's folder; a path or an fsspec
        URL. A path is made absolute, so that every process on the machine finds the audio. Or a
        data frame, which is such a table.
    catalog : str or None
        The data set's name in `CATALOGS`; None for a folder or a table.
    table : TableSettings or None
        How a table is to be read; None for paths, 0/1 columns and what is known by its name.
    split : Split or None
        Splits to draw; None for those that the collection has, if any.

    Raises
    ------
    CatalogError
        If there is nothing at `audio`, if there is no such data set, if `table` is given for what
        is no table, if splits are to be drawn where there are some, or if the collection cannot be
        listed.
    SettingsError, StorageError
        If it is at a URL that cannot be used, see `file_system` and `refuse_secrets`.
    """
    listed = _listed(audio, catalog, table or TableSettings())
    return listed if split is None else draw_splits(listed, split)


def _listed(audio: "str | pd.DataFrame", catalog: str | None, table: TableSettings) -> Catalog:
    if table.root is not None:
        table = dataclasses.replace(table, root=absolute(table.root))
    if isinstance(audio, os.PathLike):
        audio = os.fspath(audio)
    if not isinstance(audio, str):
        return list_frame(audio, table)
    audio = absolute(audio)
    if catalog is not None and catalog not in CATALOGS:
        raise CatalogError(f"no catalog is called {catalog!r}; choose from {', '.join(CATALOGS)}")
    with file_system(audio) as (fs, path):
        is_there, is_folder = fs.exists(path), fs.isdir(path)
    if not is_there:
        raise CatalogError(
            f"{audio} does not exist; give a folder of audio, a CSV with a column 'path', "
            "or a data set's folder and --catalog"
        )
    if table.given() and (is_folder or catalog is not None):
        raise CatalogError(
            f"{', '.join(table.given())}: that is for a table of tracks, and {audio} is "
            f"{'a folder' if catalog is None else f'of the data set {catalog}'}; leave it out"
        )
    if is_folder:
        return CATALOGS[catalog](audio) if catalog else list_folder(audio)
    if catalog is None and is_table(audio):
        return list_table(audio, table)
    raise CatalogError(
        f"{audio} is a file; give "
        + (
            f"the folder of {catalog}"
            if catalog
            else f"a folder, or a table that ends in {endings()}"
        )
    )


def tags_of(data_set: str) -> tuple[str, ...]:
    """Tags of a data set, in the order of the outputs of networks that were published for it.

    Raises
    ------
    CatalogError
        If the order is not known.
    """
    if data_set not in TAGS:
        raise CatalogError(
            f"the order of the tags in published weights is known of {', '.join(TAGS)}, not of "
            f"{data_set!r}: give --tags FILE, a tag a line in the order of the outputs"
        )
    return TAGS[data_set]
