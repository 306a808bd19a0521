"""The clip table: which row is which clip, and what is known of it."""

import dataclasses
import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from featurestore.errors import StoreFormatError, UnknownClipError
from featurestore.format.columns import (
    TABLE,
    add_column,
    chunk_keys,
    column,
    metadata_keys,
    read_there,
)
from featurestore.format.division import Division
from featurestore.format.layout import digest_of, zarr_files
from featurestore.format.parts import Part, table_digest
from featurestore.storage.documents import parse
from featurestore.storage.files import Files

if TYPE_CHECKING:
    import zarr

UNLABELLED = "unlabelled"
"""The split of clips that nothing is known of: features without labels."""

_TEXTS = ("clip_id", "path", "split", "artist", "album")
_NUMBERS: dict[str, Any] = {"fold": np.int16, "tile": np.int32, "active": np.bool_}

COLUMNS = (*_TEXTS, *_NUMBERS, "tag", "labels")
"""The table's arrays, but those of metadata."""

_NAME = re.compile(r"(?!zarr\.json$)[^\W_][\w .()+-]*")


def is_meta_name(name: object) -> bool:
    """Return whether a column of metadata may have this name: it names a folder."""
    return (
        isinstance(name, str)
        and _NAME.fullmatch(name) is not None
        and len(name.encode()) <= 200
        and name not in COLUMNS
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipTable:
    """One row a clip, in the order of the arrays' rows; the group ``clips`` of a store.

    Parameters
    ----------
    clip_id : sequence of str
        Unique.
    path : sequence of str
        Of the audio, relative to the collection's folder.
    split : sequence of str
        ``train``, ``validation``, ``test``, or empty.
    artist, album : sequence of str
        Empty where unknown.
    fold : np.ndarray [shape=(n_clips,), dtype=int16]
        -1 where there is none.
    tile : np.ndarray [shape=(n_clips,), dtype=int32]
        Which of its track's consecutive clips it is, from 0.
    active : np.ndarray [shape=(n_clips,), dtype=bool]
        False where the track has left the collection and was pruned.
    tags : tuple of str
    labels : np.ndarray [shape=(n_clips, n_tags), dtype=uint8]
    meta : mapping of str to np.ndarray [shape=(n_clips,), dtype=int64, float64 or object]
        Further columns that the collection has, by names that `is_meta_name`: whole numbers,
        numbers with nan where there is none, or text, empty where there is none.
    drawn : str
        How the splits were drawn, from which seed; empty where they are the collection's own.
    """

    clip_id: Sequence[str]
    path: Sequence[str]
    split: Sequence[str]
    artist: Sequence[str]
    album: Sequence[str]
    fold: npt.NDArray[np.int16]
    tile: npt.NDArray[np.int32]
    active: npt.NDArray[np.bool_]
    tags: tuple[str, ...]
    labels: npt.NDArray[np.uint8]
    meta: Mapping[str, npt.NDArray[Any]] = dataclasses.field(default_factory=dict)
    drawn: str = ""

    def __len__(self) -> int:
        return len(self.clip_id)

    @classmethod
    def empty(cls) -> Self:
        """A table of no rows."""
        columns: dict[str, Any] = dict.fromkeys(_TEXTS, ())
        columns |= {name: np.zeros(0, dtype) for name, dtype in _NUMBERS.items()}
        return cls(**columns, tags=(), labels=np.zeros((0, 0), np.uint8))

    @cached_property
    def may_train(self) -> npt.NDArray[np.bool_]:
        """Clips that a network may be trained on, ``(n_clips,)``: not to be written to.

        Those of the training split, of no split, and of a fold: whatever is tested on it; and those
        without labels, from which a student learns.
        """
        train = np.array([split in ("train", "", UNLABELLED) for split in self.split], np.bool_)
        train |= self.fold >= 0
        train.flags.writeable = False
        return train

    def row_of(self, clip: str) -> int:
        """Row of a clip that is named by its id, or else by its row's number.

        Raises
        ------
        UnknownClipError
            If it is neither; the message names the ids that are most like it.
        """
        if clip in self.clip_id:
            return self.clip_id.index(clip)
        if clip.isascii() and clip.isdigit():
            if int(clip) < len(self):
                return int(clip)
            raise UnknownClipError(f"there is no row {clip}; there are {len(self)}, from 0")
        alike = [name for name in self.clip_id if clip.lower() in name.lower()][:5]
        # By sight only where that takes no time: each comparison is some 10 us.
        alike = alike or difflib.get_close_matches(clip, self.clip_id[:20_000], 5)
        hint = f"did you mean {', '.join(alike)}?" if alike else "the group clips lists the ids"
        raise UnknownClipError(f"no clip is called {clip!r}; {hint}")

    def updated(self, newer: Self) -> Self:
        """This table with `newer`'s rows put in: a row keeps its place for ever.

        Rows of known ids are replaced, new ones are appended, and rows that `newer` lacks stay as
        they are. The tags are `newer`'s, and so is how splits were drawn; a row that it lacks keeps
        those of its labels. So it is
        with columns of metadata; text does not become numbers, nor they text.
        """
        place = {clip_id: row for row, clip_id in enumerate(self.clip_id)}
        for clip_id in newer.clip_id:
            place.setdefault(clip_id, len(place))
        rows = np.array([place[clip_id] for clip_id in newer.clip_id], np.intp)
        columns: dict[str, Any] = {}
        for name in _TEXTS:
            column = [*getattr(self, name), *[""] * (len(place) - len(self))]
            for row, text in zip(rows, getattr(newer, name), strict=True):
                column[row] = text
            columns[name] = column
        for name, dtype in _NUMBERS.items():
            numbers = np.zeros(len(place), dtype)
            numbers[: len(self)] = getattr(self, name)
            numbers[rows] = getattr(newer, name)
            columns[name] = numbers
        labels = np.zeros((len(place), len(newer.tags)), np.uint8)
        for new_column, tag in enumerate(newer.tags):
            if tag in self.tags:
                labels[: len(self), new_column] = self.labels[:, self.tags.index(tag)]
        labels[rows] = newer.labels
        meta = {
            name: _merged(self.meta.get(name), column, rows, len(place))
            for name, column in newer.meta.items()
        }
        return type(self)(**columns, tags=newer.tags, labels=labels, meta=meta, drawn=newer.drawn)

    def pruned(self, clip_ids: Collection[str]) -> Self:
        """This table with only those rows active; the others keep their places."""
        active = np.array([clip_id in clip_ids for clip_id in self.clip_id], np.bool_)
        return dataclasses.replace(self, active=active)

    def files(self, division: Division) -> dict[str, bytes]:
        """The group's files by key."""
        rows = division.rows_per_part

        def build(group: "zarr.Group") -> None:
            for name in _TEXTS:
                add_column(group, name, np.array(getattr(self, name), object), rows)
            for name in _NUMBERS:
                add_column(group, name, getattr(self, name), rows)
            tags = np.array(self.tags, object)
            add_column(group, "tag", tags, max(1, len(tags)), dimensions=("tag",))
            add_column(group, "labels", self.labels, rows, dimensions=("clip", "tag"))
            for name, values in self.meta.items():
                add_column(group, name, values, rows)

        said: dict[str, Any] = {"meta": [*self.meta]} if self.meta else {}
        said |= {"drawn": self.drawn} if self.drawn else {}
        attributes = {"melgrid": said} if said else {}
        return zarr_files(TABLE, attributes, build)

    @classmethod
    def read(
        cls, files: Files, division: Division, n_clips: int, digest: str, parts: Sequence[Part]
    ) -> Self:
        """Read the table of `n_clips` rows from a store.

        Raises
        ------
        StoreFormatError
            If what is stored is not the table whose digests are given: a run that died, or is
            still at it, has written part of another; or if it is no such table at all.
        """
        group = files.read(f"{TABLE}/zarr.json")
        meta = _meta_names(group)
        names = (*COLUMNS, *meta)
        common = {} if group is None else {f"{TABLE}/zarr.json": group}
        common |= read_there(files, metadata_keys(names))
        there = all(f"{TABLE}/{name}/zarr.json" in common for name in meta)
        stored = dict(common)
        is_whole = there and table_digest(common, parts) == digest
        try:
            tags = column(common, "tag", "string", division, None) if is_whole else []
            chunked = [name for name in names if tags or name != "labels"]
            for part in parts if is_whole else ():
                chunks = read_there(files, chunk_keys(chunked, part.number))
                is_whole = is_whole and digest_of(chunks) == part.table
                stored |= chunks
            if not is_whole:
                raise StoreFormatError(
                    f"{files.root}: the clip table is being changed by a run, or was left "
                    "half-written by one that died, or is damaged; if none is running, run "
                    "featurize again to repair it; if that does not help, put clips/ back from a "
                    "copy"
                )
            labels = column(stored, "labels", "uint8", division, n_clips, len(tags))
            if len(set(tags)) < len(tags) or (labels > 1).any():
                raise ValueError("a tag occurs twice, or a label is neither 0 nor 1")
            texts: dict[str, Any] = {
                name: column(stored, name, "string", division, n_clips) for name in _TEXTS
            }
            numbers: dict[str, Any] = {
                name: column(stored, name, np.dtype(dtype).name, division, n_clips)
                for name, dtype in _NUMBERS.items()
            }
            columns = {name: _meta_column(stored, name, division, n_clips) for name in meta}
        except StoreFormatError:
            raise
        except ValueError as error:
            raise StoreFormatError(
                f"{files.root}: the clip table cannot be read: {error}; put clips/ back from a copy"
            ) from None
        return cls(
            **texts,
            **numbers,
            tags=tuple(tags),
            labels=labels,
            meta=columns,
            drawn=_drawn(group),
        )


def _merged(
    old: npt.NDArray[Any] | None, new: npt.NDArray[Any], rows: npt.NDArray[np.intp], n: int
) -> npt.NDArray[Any]:
    """A column of `n` rows: `new` in `rows`, in others `old` if it is of the kind, else nothing."""
    is_text = new.dtype == object
    merged = np.full(n, "", object) if is_text else np.full(n, np.nan)
    if old is not None and (old.dtype == object) == is_text:
        merged[: len(old)] = old
    merged[rows] = new
    if new.dtype == np.int64 and (np.abs(merged) <= 2**53).all() and (merged % 1 == 0).all():
        return merged.astype(np.int64)  # every row has a whole number
    return merged


def _meta_names(group: bytes | None) -> list[str]:
    """Columns of metadata, as the group's attributes name them; what cannot be one is no column."""
    try:
        names = parse(group or b"{}")["attributes"]["melgrid"]["meta"]
        if isinstance(names, list):
            return [name for name in dict.fromkeys(names) if is_meta_name(name)]
    except (ValueError, LookupError, TypeError):
        pass
    return []


def _drawn(group: bytes | None) -> str:
    """How the splits were drawn, as the group's attributes say; what cannot be that is nothing."""
    try:
        drawn = parse(group or b"{}")["attributes"]["melgrid"]["drawn"]
    except (ValueError, LookupError, TypeError):
        return ""
    return drawn if isinstance(drawn, str) else ""


def _meta_column(
    stored: Mapping[str, bytes], name: str, division: Division, n_clips: int
) -> npt.NDArray[Any]:
    """A column of metadata: numbers, or texts as objects; raises as `column` does."""
    kind = parse(stored[f"clips/{name}/zarr.json"]).get("data_type")
    if kind not in ("string", "int64", "float64"):
        raise ValueError(f"{name}: values of type {kind!r}")
    values = column(stored, name, kind, division, n_clips)
    return np.array(values, object) if kind == "string" else np.asarray(values)
