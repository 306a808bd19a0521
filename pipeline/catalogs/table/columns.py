"""A table's columns, as every kind of file gives them."""

import codecs
import dataclasses
import itertools
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from featurestore.errors import CatalogError

_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, which it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

_NO_TEXT = {
    b"\x1f\x8b": "compressed; call it .gz, as in tracks.csv.gz",
    b"PK\x03\x04": "a spreadsheet or a ZIP archive; save the table as CSV in UTF-8",
    b"PAR1": "Parquet; call it .parquet",
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """Columns of a table, before any of them is interpreted.

    Parameters
    ----------
    source : str
        The table, for messages.
    name : str
        What the collection is called.
    cells : mapping of str to sequence of object, n_rows each
        By the column's name: text, numbers, booleans, lists, or None where there is nothing.
    typed : bool
        Whether the file tells numbers from text; False where all is text.
    place : callable (row) -> str
        Where a row, counted from 0, is, for messages.
    """

    source: str
    name: str
    cells: Mapping[str, Sequence[Any]]
    typed: bool
    place: Callable[[int], str]

    def texts(self, column: str) -> Sequence[str]:
        """A column's cells as text, empty where there is nothing.

        Raises
        ------
        CatalogError
            If one is a list or bytes; the message names it.
        """
        cells = self.cells[column]
        if set(map(type, cells)) <= {str}:
            return cells
        texts = []
        for row, cell in enumerate(cells):
            text = text_of(cell)
            if text is None:
                raise CatalogError(
                    f"{self.place(row)}: {column!r} is {shown(cell)}; it must be text or a number"
                    " (lists of tags are named with --tags)"
                )
            texts.append(text)
        return texts


def text_of(cell: object) -> str | None:
    """A cell as text: a whole number without ``.0``, nothing as the empty one; None of no text."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, np.generic):
        cell = cell.item()
    if cell is None:
        return ""
    if isinstance(cell, float):
        if cell != cell:  # nan: nothing, as pandas has it
            return ""
        return str(int(cell)) if cell.is_integer() else str(cell)
    if isinstance(cell, bytes | list | tuple | dict | set | np.ndarray):
        return None
    return str(cell)


def shown(cell: object) -> str:
    """A cell for a message, which a long one is not to fill."""
    return reprlib.repr(cell)


def listed(names: Iterable[str], separator: str = ", ") -> str:
    """Names for a message: the first twenty."""
    first = list(itertools.islice(names, 21))
    return separator.join([*first[:20], "…"] if len(first) > 20 else first) or "none"


def decoded(data: bytes, place: str) -> str:
    """A file's text: UTF-8, or what its byte-order mark says.

    Raises
    ------
    CatalogError
        If it is something else; the message says how to turn it into UTF-8.
    """
    for magic, what in _NO_TEXT.items():
        if data.startswith(magic):
            raise CatalogError(f"{place} cannot be read: it is {what}")
    encoding = next((name for bom, name in _BOMS.items() if data.startswith(bom)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CatalogError(
            f"{place} cannot be read: line {line} is not {encoding.upper()} (byte "
            f"0x{data[error.start]:02x}); save it as UTF-8: of Windows or ISO 8859-1, "
            "iconv -f CP1252 -t UTF-8 does it"
        ) from None
