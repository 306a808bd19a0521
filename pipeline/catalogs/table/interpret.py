"""What a table's columns mean: the same, whatever file they come from."""

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.errors import CatalogError
from featurestore.format.clips import UNLABELLED
from pipeline.catalogs.catalog import RESERVED, Catalog, multi_hot
from pipeline.catalogs.table.columns import Columns, listed, shown, text_of
from pipeline.catalogs.table.settings import TableSettings

KNOWN = ("clip_id", "split", "fold", "artist", "album")
"""Columns that are known by their names, beside the paths'."""

MAX_TAGS = 10_000
"""More values in columns of labels than this are taken for text: a column a tag is kept."""

SPLITS = {
    "training": "train",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "unlabeled": UNLABELLED,
}

_TRUE, _FALSE = ("1", "1.0", "true", "yes", "t", "y"), ("", "0", "0.0", "false", "no", "f", "n")
_LABELS = dict.fromkeys(_FALSE, 0) | dict.fromkeys(_TRUE, 1)

_FOLDS = {str(fold): fold for fold in range(1000)}

_SEPARATORS = "|;,"
"""Of lists in text; the first one that occurs in a column is that of the column."""

_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(
    r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|nan", re.IGNORECASE
)

_EXACT = 2**53
"""Whole numbers up to it are exact as float64, too; beyond, they are names rather than numbers."""


def catalog_of(columns: Columns, settings: TableSettings, root: str) -> Catalog:
    """The catalog that a table is.

    Parameters
    ----------
    columns : Columns
    settings : TableSettings
    root : str
        Folder that paths are relative to, and below which absolute ones are.

    Raises
    ------
    CatalogError
        If a column that is named is not there, or if something is not as it should be; the message
        names the table and the row.
    """
    _require_columns(columns, settings)
    path = [relative(root, text) for text in columns.texts(settings.path_column)]
    named = {name for names in settings.roles().values() for name in names}
    binary = _binary(columns, [c for c in columns.cells if c not in KNOWN and c not in named])
    tags, labels = _with_words(columns, settings, binary, len(path))
    words, artist, album = (
        columns.texts(name) if name in columns.cells else None
        for name in ("split", "artist", "album")
    )
    split = [""] * len(path) if words is None else [SPLITS.get(word, word) for word in words]
    return Catalog(
        name=columns.name,
        root=root,
        track_id=columns.texts("clip_id") if "clip_id" in columns.cells else path,
        path=path,
        split=split,
        tags=tags,
        labels=labels,
        fold=_fold(columns, split) if "fold" in columns.cells else None,
        artist=artist,
        album=album,
        meta={name: meta_column(columns, name) for name in settings.meta},
        where=columns.place,
    )


def relative(root: str, path: str) -> str:
    """A path relative to `root`, without ``.`` and doubled slashes; as it is if it is not below."""
    if path[:1] == "/" or "://" in path:
        scheme, slashes, rest = path.partition("://")
        absolute = f"{scheme}://{_plain(rest)}" if slashes else f"/{_plain(path)}"
        folder = root.rstrip("/") + "/"
        return absolute.removeprefix(folder) if absolute.startswith(folder) else path
    suspect = path[:1] == "." or path[-1:] == "/" or "//" in path or "/." in path
    return _plain(path) if suspect else path


def _plain(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _require_columns(columns: Columns, settings: TableSettings) -> None:
    for role, names in settings.roles().items():
        for name in names:
            if name not in columns.cells:
                there = listed(map(repr, columns.cells))
                raise CatalogError(
                    f"{columns.source}: there is no column {name!r} (--{role.replace('_', '-')}); "
                    f"the columns are {there}"
                )


def _binary(columns: Columns, names: Sequence[str]) -> dict[str, list[int]]:
    """Columns of 0 and 1; all others that nobody named are refused together."""
    found: dict[str, list[int]] = {}
    faults: dict[str, int] = {}
    for name in names:
        cells = columns.cells[name]
        try:
            # Once for each different cell; what is equal, such as 1 and True, means the same.
            meaning = {cell: _label(cell) for cell in set(cells)}
            numbers = [meaning[cell] for cell in cells]
        except TypeError:  # a list among them
            numbers = list(map(_label, cells))
        if None in numbers:
            faults[name] = numbers.index(None)
        else:
            found[name] = numbers  # type: ignore[assignment]  # no None is left
    if faults:
        name, row = next(iter(faults.items()))
        others = listed(faults, ",")
        raise CatalogError(
            f"{columns.place(row)}: {name!r} is {shown(columns.cells[name][row])}; a column that is"
            " not named must be 0 or 1 (or yes, no, true, false, empty) in every row: keep it with "
            f"--meta {others}, name it with --label if each value is a tag or with --tags if it "
            "lists tags, or drop it"
        )
    return found


def _label(cell: object) -> int | None:
    """0 or 1; None if the cell is neither."""
    text = text_of(cell)
    return None if text is None else _LABELS.get(text.strip().lower())


def _with_words(
    columns: Columns, settings: TableSettings, binary: Mapping[str, list[int]], n_rows: int
) -> tuple[tuple[str, ...], npt.NDArray[np.uint8]]:
    """The 0/1 columns, then what the columns of labels and lists have, in alphabetical order.

    A tag that several columns have is one: a track has it if any of them says so.
    """
    words: list[list[str]] = [[] for _ in range(n_rows)] if settings.label or settings.tags else []
    for name in settings.label:
        for found, text in zip(words, map(str.strip, columns.texts(name)), strict=True):
            if text:
                found.append(text)
    for name in settings.tags:
        for found, several in zip(words, lists(columns, name), strict=True):
            found += several
    distinct = {word for found in words for word in found}
    if len(distinct) > MAX_TAGS:
        raise CatalogError(
            f"{columns.source}: {', '.join((*settings.label, *settings.tags))} would give "
            f"{len(distinct):,} tags, and {MAX_TAGS:,} are the most; keep free text with --meta"
        )
    for word in sorted(distinct & RESERVED):
        row = next(row for row, found in enumerate(words) if word in found)
        raise CatalogError(
            f"{columns.place(row)}: a tag is called {word!r}, which is a column of the clip table; "
            f"rename it, to {word + '_tag'!r} for instance"
        )
    of_words, word_labels = multi_hot(words)
    tags = (*binary, *(word for word in of_words if word not in binary))
    labels = np.zeros((n_rows, len(tags)), np.uint8)
    at = {tag: index for index, tag in enumerate(tags)}
    for tag, numbers in binary.items():
        labels[:, at[tag]] = numbers
    if of_words:
        labels[:, [at[word] for word in of_words]] |= word_labels
    return tags, labels


def lists(columns: Columns, name: str) -> list[list[str]]:
    """A column of lists: each cell's tags, without blank ones.

    A cell is a list where the file has such, or text. Text in brackets is a list as JSON writes it,
    or Python. Other text is divided by the first of ``|``, ``;`` and ``,`` that any such cell of
    the column has; if none has any, each is one tag.
    """
    cells = columns.cells[name]
    plain = {c for c in cells if isinstance(c, str) and not c.lstrip().startswith(("[", "{"))}
    separator = next((s for s in _SEPARATORS if any(s in cell for cell in plain)), None)
    known = {cell: cell.split(separator) if separator else [cell] for cell in plain}
    found = []
    for row, cell in enumerate(cells):
        items: Any = cell
        if isinstance(cell, str):
            items = known[cell] if cell in known else _list_in_text(cell)
        elif isinstance(cell, np.ndarray | set | frozenset):
            items = list(cell)
        elif text_of(cell) == "":
            items = []
        elif text_of(cell) is not None:
            items = [cell]  # a number
        texts = [text_of(i) for i in items] if isinstance(items, list | tuple) else [None]
        if None in texts:
            raise CatalogError(
                f"{columns.place(row)}: {name!r} is {shown(cell)}; it must list tags, as "
                '["rock", "pop"] or rock|pop'
            )
        found.append([tag for text in texts if text is not None and (tag := text.strip())])
    return found


def _list_in_text(text: str) -> Any:
    """What text in brackets means; None if nothing."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:  # as pandas writes lists into a CSV
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def _fold(columns: Columns, split: Sequence[str]) -> npt.NDArray[np.int16]:
    """Folds; -1 where there is none, as only what has no labels may."""
    words = columns.texts("fold")
    meaning = {word: _FOLDS.get(word.strip()) for word in set(words)} | {"": None}
    for row, word in enumerate(words):
        if meaning[word] is None and (word.strip() or split[row] != UNLABELLED):
            raise CatalogError(
                f"{columns.place(row)}: 'fold' is {word!r}; it must be a whole number from 0 to "
                f"{max(_FOLDS.values())} in every row"
            )
    folds = (meaning[word] for word in words)
    return np.array([-1 if fold is None else fold for fold in folds], np.int16)


def meta_column(columns: Columns, name: str) -> npt.NDArray[Any]:
    """A column as it is kept: int64, float64 with nan for nothing, or text as objects.

    Numbers are what is a number in every row that has something, whole ones int64 if every row has
    one. Text that would not come back as it was, ``007`` or more digits than float64 has, stays
    text.
    """
    cells: Sequence[Any] = columns.cells[name]
    if columns.typed:
        there = [c for c in cells if c is not None and not (isinstance(c, float) and c != c)]
        kinds = {type(c.item() if isinstance(c, np.generic) else c) for c in there}
        numeric = bool(kinds) and kinds <= {int, float}
        exact = numeric and all(abs(c) <= _EXACT for c in there if not isinstance(c, float))
        whole = kinds == {int} and len(there) == len(cells)
        values = [np.nan if c is None else c for c in cells] if numeric else []
    else:
        words = [cell.strip() for cell in cells]
        something = set(words) - {""}
        numeric = bool(something) and all(map(_NUMBER.fullmatch, something))
        are_whole = [word for word in something if _WHOLE.fullmatch(word)] if numeric else []
        exact = (
            numeric
            and all(len(word) <= 17 and abs(int(word)) <= _EXACT for word in are_whole)
            and not any(map(math.isinf, map(float, something)))  # 1e999
        )
        whole = len(are_whole) == len(something) and "" not in words
        kind = int if whole else float
        values = [kind(word) if word else np.nan for word in words] if exact else []
    if numeric and exact:
        return np.array(values, np.int64 if whole else np.float64)
    return np.array([*columns.texts(name), None], object)[:-1]  # never an array of arrays
