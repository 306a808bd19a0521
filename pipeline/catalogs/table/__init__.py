"""A table that lists tracks: the catalog that users write themselves.

A CSV or TSV, JSON lines, Parquet or a pandas data frame; a row a track. A reader for each gives
the same columns, and `interpret` says what they mean:

============  =================================================================================
path          relative to the table's folder or to ``--root``, with ``/``, or absolute and below
              it; a file that is missing becomes a failed row. ``--path-column`` says another name
clip_id       unique; the path if there is no such column
split         ``train``, ``validation`` or ``test``, or a usual synonym (``training``, ``valid``,
              ``val``, ``dev``); empty for none
fold          a whole number from 0, for cross-validation
artist        any text
album         any text
``--label``   columns of which each value is a tag
``--tags``    columns of lists of tags
``--meta``    columns that are kept in the clip table as numbers or text
others        a tag each, with 0 or 1 (also yes and no, true and false, y, n, t, f; nothing is 0) in
              every row; else the table is refused
============  =================================================================================
"""

import dataclasses
import posixpath
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from featurestore.errors import CatalogError
from pipeline.catalogs.catalog import Catalog
from pipeline.catalogs.catalog.files import open_metadata
from pipeline.catalogs.table import delimited, json_lines
from pipeline.catalogs.table.columns import Columns
from pipeline.catalogs.table.frame import columns_of
from pipeline.catalogs.table.interpret import catalog_of
from pipeline.catalogs.table.parquet import read_parquet
from pipeline.catalogs.table.settings import TableSettings

if TYPE_CHECKING:
    import pandas as pd

READERS: dict[str, Callable[[IO[bytes], str, str, str], Columns]] = {
    ".csv": delimited.read_delimited,
    ".tsv": delimited.read_delimited,
    ".jsonl": json_lines.read_json_lines,
    ".ndjson": json_lines.read_json_lines,
    ".parquet": read_parquet,
}
"""What reads a table, by its name's ending in any case; ``.gz`` may follow but for Parquet."""


def is_table(path: str) -> bool:
    """Return whether a file is taken for a table of tracks."""
    return _ending(path) in READERS


def list_table(
    path: str, settings: TableSettings | None = None, *, only_paths: bool = False
) -> Catalog:
    """List the tracks of a table.

    Parameters
    ----------
    path : str
        The table, as a path or an fsspec URL; text may be compressed, as ``.csv.gz``.
    settings : TableSettings or None
        None for a table without labels, lists and metadata but 0/1 columns.
    only_paths : bool
        Whether the paths' column is all that is wanted: others may hold anything.

    Raises
    ------
    CatalogError
        If the table cannot be read, or if something in it is not as it should be; the message
        names the file and the line.
    """
    settings = settings or TableSettings()
    folder, file_name = posixpath.split(path)
    ending = _ending(path)
    remedy = {".parquet": "write it again", ".csv": delimited.REMEDY, ".tsv": delimited.REMEDY}
    if ending not in READERS:
        raise CatalogError(f"{path} is no table of tracks; its name must end in {endings()}")
    with open_metadata(
        folder, file_name, remedy=remedy.get(ending, json_lines.REMEDY), mode="rb"
    ) as file:
        columns = READERS[ending](file, path, _stem(file_name), settings.path_column)
    if only_paths and settings.path_column in columns.cells:
        cells = {settings.path_column: columns.cells[settings.path_column]}
        columns = dataclasses.replace(columns, cells=cells)
    return catalog_of(columns, settings, settings.root or folder)


def list_frame(frame: "pd.DataFrame", settings: TableSettings | None = None) -> Catalog:
    """List the tracks of a data frame; its settings must say the `root`.

    Raises
    ------
    CatalogError
        If no root is given, or if something in it is not as it should be.
    """
    columns = columns_of(frame)
    if settings is None or settings.root is None:
        raise CatalogError(
            "a DataFrame is in no folder: say which one its paths are below, with "
            "TableSettings(root=…)"
        )
    return catalog_of(columns, settings, settings.root)


def endings() -> str:
    """The endings of tables, for messages."""
    *most, last = READERS
    return f"{', '.join(most)} or {last}"


def _stem(file_name: str) -> str:
    return posixpath.splitext(file_name[:-3] if file_name.lower().endswith(".gz") else file_name)[0]


def _ending(path: str) -> str:
    name = posixpath.basename(path).lower()
    ending = posixpath.splitext(name.removesuffix(".gz"))[1]
    return "" if ending == ".parquet" and name.endswith(".gz") else ending
