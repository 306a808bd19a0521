"""Tables of text with a separator: CSV and TSV, whatever they are called.

The separator is a comma, a semicolon or a tab: the one by which the header line, with its quotes
respected, has the column of paths. UTF-8, or UTF-16 and UTF-32 with a byte-order mark.
"""

import csv
import io
from collections.abc import Iterator
from typing import IO

from featurestore.errors import CatalogError
from pipeline.catalogs.table.columns import Columns, decoded, listed

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}

_LONGEST_HEADER = 2**20
"""Characters in which the separator is looked for."""

REMEDY = "write a CSV in UTF-8 with a line of header and a row a track"


def read_delimited(file: IO[bytes], source: str, name: str, path_column: str) -> Columns:
    """Read a table of text; blank lines and empty columns without a name are left out.

    Parameters
    ----------
    file : file of bytes
    source, name : str
        As in `Columns`.
    path_column : str
        What tells the separator.

    Raises
    ------
    CatalogError
        If it cannot be told what separates the columns, if a column's name occurs twice, or if a
        row has not as many fields as the header.
    """
    text = decoded(file.read(), source)
    separator = _separator(text, source, path_column)
    rows, lines = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header, header_line = _header(reader), reader.line_num
        width = len(header)
        for row in reader:
            if len(row) != width:
                if not any(map(str.strip, row)):
                    continue
                if len(row) < width or any(row[width:]):
                    raise CatalogError(
                        f"{source}:{reader.line_num}: the row has {len(row)} fields and the "
                        f"header {width}; put text with {separator!r} in it in quotes"
                    )
                del row[width:]  # separators at the end, that the header has not
            elif not row[0] and not any(map(str.strip, row)):
                continue
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise CatalogError(f"{source}:{reader.line_num}: {error}; {REMEDY}") from error
    if not rows:
        raise CatalogError(f"{source} has a header and no track; {REMEDY}")
    cells: dict[str, tuple[str, ...]] = {}
    for column, values in zip(header, zip(*rows, strict=True), strict=True):
        if not column and (
            not any(map(str.strip, values))  # separators at the end of every line
            or values == tuple(map(str, range(len(values))))  # pandas' index
        ):
            continue
        if column in cells or not column:
            raise CatalogError(
                f"{source}:{header_line}: the column {column!r} "
                + ("occurs twice; drop or rename one" if column else "has no name; name or drop it")
            )
        cells[column] = values
    return Columns(
        source=source,
        name=name,
        cells=cells,
        typed=False,
        place=lambda row: f"{source}:{lines[row]}",
    )


def _header(reader: Iterator[list[str]]) -> list[str]:
    """The first line that is not blank."""
    for row in reader:
        if any(map(str.strip, row)):
            return [name.strip() for name in row]
    return []


def _separator(text: str, source: str, path_column: str) -> str:
    headers: dict[str, list[str]] = {}
    fault: csv.Error | None = None
    for separator in SEPARATORS:
        start = io.StringIO(text[:_LONGEST_HEADER], newline="")
        try:
            headers[separator] = _header(csv.reader(start, delimiter=separator, strict=True))
        except csv.Error as error:  # another one may fit
            fault = error
    if not headers:
        raise CatalogError(f"{source}:1: {fault}; {REMEDY}")
    fitting = [separator for separator, names in headers.items() if path_column in names]
    if len(fitting) == 1 or any(headers[separator] == [path_column] for separator in fitting):
        return fitting[0]
    if fitting:
        words = " or ".join(SEPARATORS[separator] for separator in fitting)
        raise CatalogError(
            f"{source}:1: ambiguous separator, {words}: the header has "
            f"{path_column!r} by either; put names with a separator in them in quotes"
        )
    if "\0" in text[:1000]:
        raise CatalogError(
            f"{source} cannot be read: it is UTF-16 without a byte-order mark, or no text; {REMEDY}"
        )
    most = max(headers, key=lambda separator: len(headers[separator]))
    names = listed(map(repr, headers[most]))
    raise CatalogError(
        f"{source}:1: there is no column {path_column!r} (columns, separated by {most!r}: {names});"
        " say which has each track's path with --path-column, or add one"
    )
