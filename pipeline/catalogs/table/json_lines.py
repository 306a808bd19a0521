"""Tables as JSON lines: an object a track, in which lists may be lists."""

import json
from typing import IO, Any

from featurestore.errors import CatalogError
from pipeline.catalogs.table.columns import Columns, decoded

REMEDY = 'write one JSON object a line, such as {"path": "a.mp3", "tags": ["rock"]}'


def read_json_lines(file: IO[bytes], source: str, name: str, path_column: str) -> Columns:
    """Read JSON lines; blank ones are left out, and what an object lacks is nothing.

    Parameters
    ----------
    file : file of bytes
    source, name : str
        As in `Columns`.
    path_column : str
        Asked for by all readers.

    Raises
    ------
    CatalogError
        If a line is no object.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    # Not splitlines, which also ends lines within JSON's own strings, at U+2028.
    for number, line in enumerate(decoded(file.read(), source).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise CatalogError(f"{source}:{number}: {error}; {REMEDY}") from None
        if type(row) is not dict:
            raise CatalogError(f"{source}:{number}: it is a {type(row).__name__}; {REMEDY}")
        rows.append(row)
        lines.append(number)
    columns = dict.fromkeys(column for row in rows for column in row)
    return Columns(
        source=source,
        name=name,
        cells={column: [row.get(column) for row in rows] for column in columns},
        typed=True,
        place=lambda row: f"{source}:{lines[row]}",
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} occurs twice")
    return found
