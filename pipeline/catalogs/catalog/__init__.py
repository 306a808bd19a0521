"""A collection of tracks, listed: what is to be computed, from where, and what is known of it."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.errors import CatalogError
from featurestore.format.clips import COLUMNS, UNLABELLED, is_meta_name

# fmt: off
ARCHIVES = (
    ".7z", ".bz2", ".gz", ".rar", ".tar", ".tar.bz2", ".tar.gz", ".tar.xz", ".tar.zst", ".tgz",
    ".xz", ".zip", ".zst",
)
# fmt: on
"""Endings of files that may hold tracks all the same."""

SPLITS = ("train", "validation", "test")

# fmt: off
RESERVED = frozenset({
    "clip_id", "path", "split", "fold", "tile", "active", "artist", "album",
    "status", "reason", "detail", "start", "n_valid", "n_track", "sr", "peak", "n_clipped",
    "decoder", "digest", "row",
})
# fmt: on
"""Columns of the clip table, and of what is exported of it, that a tag may not be called."""

_MOST_LISTED = 8
"""Kinds of files passed over that are listed one by one."""

_DRIVE_OR_URL = re.compile(r"[A-Za-z]:[/\\]|[^/\\]*://")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Catalog:
    """Tracks with their splits and tags. Data only: nothing is opened or decoded here.

    The columns are kept as tuples and read-only arrays, so that a catalog can be shared and
    pickled. Two catalogs are equal only if they are the same object.

    Parameters
    ----------
    name : str
        What the collection is called, such as ``mtat``.
    root : str
        Folder that the paths are relative to (a path or an fsspec URL).
    track_id : sequence of str, n_tracks
        Unique.
    path : sequence of str, n_tracks
        Relative to `root`, with ``/``; never leading out of it.
    split : sequence of str, n_tracks
        ``train``, ``validation``, ``test``, ``unlabelled``, or empty where there is none. What
        `labels` say of unlabelled tracks is kept, and not learnt from or judged by.
    tags : tuple of str, n_tags
        Names of the columns of `labels`: unique, and none of `RESERVED`.
    labels : np.ndarray [shape=(n_tracks, n_tags), dtype=uint8]
        1 where the track has the tag, else 0.
    fold : np.ndarray [shape=(n_tracks,), dtype=int16] or None
        Fold for cross-validation, from 0, and -1 of unlabelled tracks; None where the collection
        has none.
    artist, album : sequence of str or None
        Where the collection knows them, to find leakage between splits.
    meta : mapping of str to np.ndarray [shape=(n_tracks,), dtype=int64, float64 or object]
        Further columns for the clip table: whole numbers, numbers with nan where there is none,
        or text. Called as `is_meta_name` has it, and like no other column, nor a tag.
    drawn : str
        How the splits were drawn, as `pipeline.catalogs.split.Split` says it; empty where they are
        the collection's own.
    passed_over : mapping of str to int
        What was found beside the tracks, and how many of it: by the ending of files.
    where : callable (row) -> str, optional
        Only for messages: where a row, counted from 0, was read, such as ``labels.csv:12``.
        None for the catalog's name and the row.

    Raises
    ------
    CatalogError
        If the columns' lengths differ, an id occurs twice, a path leads out of `root`, a split
        or a label is not one of the allowed values, a name is not text that can be stored as
        UTF-8, a tag is called like a reserved column, or there is no track.
    """

    name: str
    root: str
    track_id: Sequence[str] = dataclasses.field(repr=False)
    path: Sequence[str] = dataclasses.field(repr=False)
    split: Sequence[str] = dataclasses.field(repr=False)
    tags: tuple[str, ...] = ()
    labels: npt.NDArray[np.uint8] = dataclasses.field(repr=False)
    fold: npt.NDArray[np.int16] | None = dataclasses.field(default=None, repr=False)
    artist: Sequence[str] | None = dataclasses.field(default=None, repr=False)
    album: Sequence[str] | None = dataclasses.field(default=None, repr=False)
    meta: Mapping[str, npt.NDArray[Any]] = dataclasses.field(default_factory=dict, repr=False)
    drawn: str = dataclasses.field(default="", repr=False)
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict, repr=False)
    where: dataclasses.InitVar[Callable[[int], str] | None] = None

    def __len__(self) -> int:
        return len(self.track_id)

    def __post_init__(self, where: Callable[[int], str] | None) -> None:
        place = where or (lambda row: f"catalog {self.name!r}, row {row}")
        for column in ("track_id", "path", "split", "artist", "album"):
            if getattr(self, column) is not None:
                object.__setattr__(self, column, tuple(getattr(self, column)))
                self._refuse_unstorable(column, place)
        if not len(self):
            raise CatalogError(f"catalog {self.name!r} lists no track; give it at least one")
        self._refuse_outside_paths(place)
        self._refuse_bad_ids(place)
        self._refuse_unknown_splits(place)
        self._parse_tags()
        self._parse_labels(place)
        self._parse_fold(place)
        self._parse_meta(place)

    def _refuse_unstorable(self, column: str, place: Callable[[int], str]) -> None:
        values = getattr(self, column)
        if len(values) != len(self):
            raise CatalogError(
                f"catalog {self.name!r} has {len(self)} track_id and {len(values)} {column}; "
                "give one a track"
            )
        if not set(map(type, values)) <= {str}:
            row = next(row for row, value in enumerate(values) if type(value) is not str)
            raise CatalogError(f"{place(row)}: {column} is {values[row]!r}; it must be a str")
        if "\0" in (text := "".join(values)) or not _is_utf8(text):
            row = next(row for row, v in enumerate(values) if "\0" in v or not _is_utf8(v))
            raise CatalogError(
                f"{place(row)}: {column} is {values[row]!r}, which has a NUL or is not valid "
                "UTF-8; rename it"
            )

    def _refuse_bad_ids(self, place: Callable[[int], str]) -> None:
        if "" in self.track_id:
            raise CatalogError(f"{place(self.track_id.index(''))}: the id is empty; give it one")
        if len(set(self.track_id)) == len(self):
            return
        first: dict[str, int] = {}
        for row, track_id in enumerate(self.track_id):
            if first.setdefault(track_id, row) != row:
                raise CatalogError(
                    f"{place(row)}: the id {track_id!r} is also that of {place(first[track_id])};"
                    " ids must be unique: drop one of the two or give it another id"
                )

    def _refuse_outside_paths(self, place: Callable[[int], str]) -> None:
        for row, path in enumerate(self.path):
            if _leads_out(path):
                raise CatalogError(
                    f"{place(row)}: path is {path!r}; it must be relative to {self.root} and stay"
                    " inside: no absolute path, no URL, no '..'; if a table's paths are below "
                    "another folder, name it with --root"
                )

    def _refuse_unknown_splits(self, place: Callable[[int], str]) -> None:
        if unknown := set(self.split).difference(SPLITS, [UNLABELLED, ""]):
            row = next(row for row, split in enumerate(self.split) if split in unknown)
            raise CatalogError(
                f"{place(row)}: split is {self.split[row]!r}; "
                f"it must be one of {', '.join((*SPLITS, UNLABELLED))}, or empty"
            )

    def _parse_tags(self) -> None:
        object.__setattr__(self, "tags", tuple(self.tags))
        seen: set[str] = set()
        for index, tag in enumerate(self.tags):
            if not isinstance(tag, str) or not tag.strip() or "\0" in tag or not _is_utf8(tag):
                raise CatalogError(
                    f"catalog {self.name!r}: tag {index} is {tag!r}; give it a name in UTF-8"
                )
            if tag in RESERVED:
                raise CatalogError(
                    f"catalog {self.name!r}: a tag is called {tag!r}, which is a column of the clip"
                    f" table; rename it, to {tag + '_tag'!r} for instance"
                )
            if tag in seen:
                raise CatalogError(
                    f"catalog {self.name!r}: tag {tag!r} occurs twice; drop or rename one"
                )
            seen.add(tag)

    def _parse_labels(self, place: Callable[[int], str]) -> None:
        labels = np.asarray(self.labels)
        if labels.shape != (len(self), len(self.tags)):
            raise CatalogError(
                f"catalog {self.name!r}: labels have shape {labels.shape}; they must be "
                f"({len(self)}, {len(self.tags)}), a row a track and a column a tag"
            )
        # One pass where nothing is wrong; NaN and text fail the comparison too.
        allowed = labels <= 1 if labels.dtype == np.uint8 else (labels == 0) | (labels == 1)
        if not allowed.all():
            row, tag = np.argwhere(~allowed)[0]
            raise CatalogError(
                f"{place(row)}: {self.tags[tag]!r} is {labels[row, tag]}; a label must be 0 or 1"
            )
        self._freeze("labels", labels.astype(np.uint8))

    def _parse_fold(self, place: Callable[[int], str]) -> None:
        if self.fold is None:
            return
        fold = np.asarray(self.fold)
        if fold.shape != (len(self),) or fold.dtype.kind not in "iu":
            raise CatalogError(
                f"catalog {self.name!r}: fold is {fold.dtype} of shape {fold.shape}; "
                f"it must be ({len(self)},) whole numbers"
            )
        unlabelled = np.array([split == UNLABELLED for split in self.split], np.bool_)
        if (in_a_fold := unlabelled & (fold != -1)).any():
            row = int(in_a_fold.argmax())
            raise CatalogError(
                f"{place(row)}: the split is {UNLABELLED!r} and the fold {fold[row]}; leave the "
                "fold of what has no labels empty"
            )
        outside = ~unlabelled & ((fold < 0) | (fold > np.iinfo(np.int16).max))
        if outside.any():
            row = int(outside.argmax())
            raise CatalogError(
                f"{place(row)}: fold is {fold[row]}; it must be from 0 to {np.iinfo(np.int16).max}"
            )
        self._freeze("fold", fold.astype(np.int16))

    def _parse_meta(self, place: Callable[[int], str]) -> None:
        own = RESERVED.union(COLUMNS)
        alike = {name: name for name in own}
        meta = {}
        for name, column in self.meta.items():
            if not is_meta_name(name) and name not in own:
                raise CatalogError(
                    f"catalog {self.name!r}: a column of metadata is called {name!r}; it must begin"
                    " with a letter or digit, go on with those, spaces and _ . ( ) + -, and be of "
                    "200 bytes at most: rename it"
                )
            # Where upper and lower case are one, so would their folders be.
            if (other := alike.setdefault(name.casefold(), name)) != name or name in own:
                raise CatalogError(
                    f"catalog {self.name!r}: a column of metadata is called {name!r}, and so is "
                    f"{'one that the clip table has' if other in own else repr(other)}, but for "
                    "upper and lower case at most; rename it, or leave it out of --meta"
                )
            if name in self.tags:
                raise CatalogError(
                    f"catalog {self.name!r}: {name!r} is both a column of metadata and a tag; "
                    "rename one"
                )
            values = np.array(column)
            if values.shape != (len(self),) or values.dtype not in (np.int64, np.float64, object):
                raise CatalogError(
                    f"catalog {self.name!r}: {name} is {values.dtype} of shape {values.shape}; it "
                    f"must be ({len(self)},) int64, float64 or text as objects"
                )
            if values.dtype == object:
                for row, text in enumerate(values):
                    if type(text) is not str or "\0" in text or not _is_utf8(text):
                        raise CatalogError(
                            f"{place(row)}: {name} is {text!r}; it must be text without NUL, "
                            "storable as UTF-8"
                        )
            values.setflags(write=False)
            meta[name] = values
        object.__setattr__(self, "meta", meta)

    def lines(self) -> list[str]:
        """Lines of what the user should know about the listing."""
        if not self.passed_over:
            return []
        ordered = sorted(self.passed_over.items(), key=lambda item: (-item[1], item[0]))
        listed = [f"{n:,} {what}" for what, n in ordered[:_MOST_LISTED]]
        if left := ordered[_MOST_LISTED:]:
            listed.append(f"{sum(n for _, n in left):,} of {len(left)} other kinds")
        archives = sum(n for what, n in ordered if what in ARCHIVES)
        unpack = " (what is in archives is not listed: unpack them)" if archives else ""
        return [f"passed over: {', '.join(listed)}{unpack}"]

    def _freeze(self, field: str, array: npt.NDArray[np.generic]) -> None:
        array.setflags(write=False)
        object.__setattr__(self, field, array)


def multi_hot(
    tags_of: Sequence[Iterable[str]],
) -> tuple[tuple[str, ...], npt.NDArray[np.uint8]]:
    """Tags and labels of tracks whose tags are given as words.

    Parameters
    ----------
    tags_of : sequence of iterables of str, n_tracks
        Each track's tags.

    Returns
    -------
    tags : tuple of str, n_tags
        Every tag that occurs, in alphabetical order.
    labels : np.ndarray [shape=(n_tracks, n_tags), dtype=uint8]
        1 where the track has the tag.
    """
    tags = tuple(sorted({tag for tags in tags_of for tag in tags}))
    column = {tag: index for index, tag in enumerate(tags)}
    labels = np.zeros((len(tags_of), len(tags)), np.uint8)
    for row, present in enumerate(tags_of):
        for tag in present:
            labels[row, column[tag]] = 1
    return tags, labels


def _leads_out(path: str) -> bool:
    # The cheap looks come first: there may be a million paths, and nearly none is suspect.
    return (
        path[:1] in ("", "/")
        or (":" in path and _DRIVE_OR_URL.match(path) is not None)
        or (".." in path and "/../" in f"/{path}/".replace("\\", "/"))
    )


def _is_utf8(text: str) -> bool:
    # Names of files that are not UTF-8 come as lone surrogates, which no store can keep.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
