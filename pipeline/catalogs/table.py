"""A CSV or TSV that lists tracks: the catalog that users write themselves.

One row a track, one line of header, in UTF-8; a name that ends in ``.tsv`` means tabs, any other
commas. The columns may come in any order:

========  =====================================================================================
path      relative to the table's folder, with ``/``; a file that is missing becomes a failed row
clip_id   unique; the path if there is no such column
split     ``train``, ``validation`` or ``test``, or a usual synonym (``training``, ``valid``,
          ``val``, ``dev``); empty for none
fold      a whole number from 0, for cross-validation
artist    any text
album     any text
others    a tag each, with 0 or 1 (also ``0.0``, ``1.0``, ``false``, ``true``) in every row
========  =====================================================================================
"""

import csv
import posixpath
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from featurestore.errors import CatalogError
from pipeline.catalogs.catalog import Catalog
from pipeline.catalogs.files import open_metadata

COLUMNS = ("path", "clip_id", "split", "fold", "artist", "album")
"""Columns that are not tags."""

_SPLITS = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation"}

_LABELS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}

_FOLDS = {str(fold): fold for fold in range(1000)}


def list_table(path: str) -> Catalog:
    """List the tracks of a CSV or TSV.

    Parameters
    ----------
    path : str
        The table, as a path or an fsspec URL; it may be compressed, as ``.csv.gz``.

    Raises
    ------
    CatalogError
        If the table cannot be read, or if something in it is not as it should be; the message
        names the file and the line.
    """
    folder, file_name = posixpath.split(path)
    header, rows, lines = _read(folder, file_name)

    def place(row: int) -> str:
        return f"{path}:{lines[row]}"

    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    tags = tuple(name for name in header if name not in COLUMNS)
    labels = np.empty((len(rows), len(tags)), np.uint8)
    for index, tag in enumerate(tags):
        rule = f"a column other than {', '.join(COLUMNS)} is a tag, and must be 0 or 1 in every row"
        labels[:, index] = _numbers(tag, columns[tag], _LABELS, rule, place)
    fold = None
    if "fold" in columns:
        rule = f"it must be a whole number from 0 to {max(_FOLDS.values())} in every row"
        fold = np.array(_numbers("fold", columns["fold"], _FOLDS, rule, place), np.int16)
    return Catalog(
        name=posixpath.splitext(file_name.removesuffix(".gz"))[0],
        root=folder,
        track_id=columns.get("clip_id", columns["path"]),
        path=columns["path"],
        split=[_SPLITS.get(word, word) for word in columns.get("split", [""] * len(rows))],
        tags=tags,
        labels=labels,
        fold=fold,
        artist=columns.get("artist"),
        album=columns.get("album"),
        where=place,
    )


def _read(folder: str, file_name: str) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows, and the line that each row ends at."""
    delimiter = "\t" if file_name.removesuffix(".gz").endswith(".tsv") else ","
    remedy = "write a CSV in UTF-8 with a line of header and a row a track"
    place = posixpath.join(folder, file_name)
    with open_metadata(folder, file_name, remedy=remedy) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            if "path" not in header:
                # Tabs or semicolons under the wrong name show up as one long column.
                found = ", ".join(map(repr, header)) or "none"
                raise CatalogError(
                    f"{place}:1: there is no column 'path' (columns, separated by {delimiter!r}: "
                    f"{found}); add one with each track's path relative to the file's folder"
                )
            if len(set(header)) < len(header) or "" in header:
                wrong = next(name for name in header if not name or header.count(name) > 1)
                raise CatalogError(
                    f"{place}:1: the column {wrong!r} "
                    + ("occurs twice; drop one" if wrong else "has no name; name or drop it")
                )
            rows, lines = [], []
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
                    if len(row) != len(header):
                        raise CatalogError(
                            f"{place}:{reader.line_num}: the row has {len(row)} fields and the "
                            f"header {len(header)}; put text with {delimiter!r} in it in quotes"
                        )
        except csv.Error as error:
            raise CatalogError(f"{place}:{reader.line_num}: {error}; {remedy}") from error
    if not rows:
        raise CatalogError(f"{place} has a header and no track; {remedy}")
    return header, rows, lines


def _numbers(
    name: str,
    words: Sequence[str],
    meaning: Mapping[str, int],
    rule: str,
    place: Callable[[int], str],
) -> list[int]:
    """Look up what each word of a column means, once for each different word."""
    found = {word: meaning.get(word.strip().lower()) for word in set(words)}
    numbers = [found[word] for word in words]
    if None in found.values():
        row = numbers.index(None)
        raise CatalogError(f"{place(row)}: {name!r} is {words[row]!r}; {rule}")
    return numbers  # type: ignore[return-value]  # no None is left
