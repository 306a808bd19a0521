"""The clip table: which row is which clip, and what is known of it."""

import dataclasses
import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from featurestore.errors import StoreFormatError, UnknownClipError
from featurestore.format.layout import digest_of, zarr_files
from featurestore.storage.documents import parse
from featurestore.storage.files import Files

if TYPE_CHECKING:
    import zarr

TABLE = "clips"
"""The table's group."""

OUTCOME_COLUMNS = "clips/outcomes"
"""Names the digest of the columns that `outcome_files` makes; there is no such file."""

_ROWS_PER_CHUNK = 65536

_MOST_TEXT = 2**13
"""Longest text of a column, on average over a chunk or 512 rows [bytes]; a path has half of it."""

_MOST_TAGS = 2**16

_KEYS = {"name": "default", "configuration": {"separator": "/"}}
"""Zarr's own way to name chunks."""

_TEXTS = ("clip_id", "path", "split", "artist", "album")
_NUMBERS: dict[str, Any] = {"fold": np.int16, "tile": np.int32, "active": np.bool_}

COLUMNS = (*_TEXTS, *_NUMBERS, "tag", "labels")
"""The table's arrays, but those of metadata."""

_NAME = re.compile(r"(?!zarr\.json$)[^\W_][\w .()+-]*")


def is_meta_name(name: object) -> bool:
    """Whether a column of metadata may be called so: as a folder may be, wherever the store is."""
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

    def __len__(self) -> int:
        return len(self.clip_id)

    @classmethod
    def empty(cls) -> Self:
        """A table of no rows."""
        columns: dict[str, Any] = dict.fromkeys(_TEXTS, ())
        columns |= {name: np.zeros(0, dtype) for name, dtype in _NUMBERS.items()}
        return cls(**columns, tags=(), labels=np.zeros((0, 0), np.uint8))

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
        they are. The tags are `newer`'s; a row that it lacks keeps those of its labels. So it is
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
        return type(self)(**columns, tags=newer.tags, labels=labels, meta=meta)

    def pruned(self, clip_ids: Collection[str]) -> Self:
        """This table with only those rows active; the others keep their places."""
        active = np.array([clip_id in clip_ids for clip_id in self.clip_id], np.bool_)
        return dataclasses.replace(self, active=active)

    def files(self) -> dict[str, bytes]:
        """The group's files by key."""

        def build(group: "zarr.Group") -> None:
            for name in _TEXTS:
                _add_column(group, name, np.array(getattr(self, name), object))
            for name in _NUMBERS:
                _add_column(group, name, getattr(self, name))
            _add_column(group, "tag", np.array(self.tags, object), dimensions=("tag",))
            _add_column(group, "labels", self.labels, dimensions=("clip", "tag"))
            for name, column in self.meta.items():
                _add_column(group, name, column)

        attributes = {"melgrid": {"meta": [*self.meta]}} if self.meta else {}
        return zarr_files("clips", attributes, build)

    @classmethod
    def read(cls, files: Files, digest: str, n_clips: int) -> Self:
        """Read the table of `n_clips` rows from a store.

        Raises
        ------
        StoreFormatError
            If what is stored is not the table whose digest is given: a run that died, or is
            still at it, has written part of another; or if it is no such table at all.
        """
        group = files.read("clips/zarr.json")
        meta = _meta_names(group)
        stored = _stored(files, (*COLUMNS, *meta))
        stored |= {} if group is None else {"clips/zarr.json": group}
        there = all(f"clips/{name}/zarr.json" in stored for name in meta)
        if not there or digest_of(stored) != digest:
            raise StoreFormatError(
                f"{files.root}: the clip table is being changed by a run, or was left half-written"
                " by one that died, or is damaged; if none is running, run featurize again to mend "
                "it; if that does not help, put clips/ back from a copy"
            )
        try:
            tags = _column(stored, "tag", "string", None)
            labels = _column(stored, "labels", "uint8", n_clips, len(tags))
            if len(set(tags)) < len(tags) or (labels > 1).any():
                raise ValueError("a tag occurs twice, or a label is neither 0 nor 1")
            texts: dict[str, Any] = {
                name: _column(stored, name, "string", n_clips) for name in _TEXTS
            }
            numbers: dict[str, Any] = {
                name: _column(stored, name, np.dtype(dtype).name, n_clips)
                for name, dtype in _NUMBERS.items()
            }
            columns = {name: _meta_column(stored, name, n_clips) for name in meta}
        except ValueError as error:
            raise StoreFormatError(
                f"{files.root}: the clip table cannot be read: {error}; put clips/ back from a copy"
            ) from None
        return cls(**texts, **numbers, tags=tuple(tags), labels=labels, meta=columns)


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


def _meta_column(stored: Mapping[str, bytes], name: str, n_clips: int) -> npt.NDArray[Any]:
    """A column of metadata: numbers, or texts as objects; raises as `_column` does."""
    kind = parse(stored[f"clips/{name}/zarr.json"]).get("data_type")
    if kind not in ("string", "int64", "float64"):
        raise ValueError(f"{name}: values of type {kind!r}")
    values = _column(stored, name, kind, n_clips)
    return np.array(values, object) if kind == "string" else np.asarray(values)


def outcome_files(columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, bytes]:
    """Files of further columns of the group, for readers other than melgrid.

    What became of each clip is told by the commit records; these columns repeat it, as of the
    end of the last run, for those who open the store with Zarr alone.
    """

    def build(group: "zarr.Group") -> None:
        for name, data in columns.items():
            _add_column(group, name, data)

    files = zarr_files("clips", {}, build)
    del files["clips/zarr.json"]  # the table's own
    return files


def read_outcomes(
    files: Files, columns: Mapping[str, str], digest: str, n_clips: int
) -> dict[str, npt.NDArray[Any]]:
    """Columns that `outcome_files` made, as they are stored; by name, which type each is of.

    Raises
    ------
    StoreFormatError
        If they are not those whose digest is given, or not of so many rows.
    """
    stored = _stored(files, columns)
    try:
        if digest_of(stored) != digest:
            raise ValueError("the digest does not match")
        return {
            name: np.asarray(
                _column(stored, name, kind, n_clips), object if kind == "string" else None
            )
            for name, kind in columns.items()
        }
    except ValueError as error:
        raise StoreFormatError(
            f"{files.root}: the outcome columns of the clip table are damaged: {error}"
        ) from None


def _stored(files: Files, names: Iterable[str]) -> dict[str, bytes]:
    """The files of some columns, as far as they are there."""
    keys = []
    for name in names:
        keys.append(f"clips/{name}/zarr.json")
        chunks = [f"clips/{name}/c/{chunk}" for chunk in files.names(f"clips/{name}/c")]
        keys += [f"{chunk}/0" for chunk in chunks] if name == "labels" else chunks
    found = zip(keys, files.read_several(keys), strict=True)
    return {key: data for key, data in found if data is not None}


def _column(
    stored: Mapping[str, bytes],
    name: str,
    kind: str,
    n_rows: int | None,
    n_columns: int | None = None,
) -> Any:
    """A column's values: texts as a list, else an array; `n_rows` None is as many as it has.

    Its files are looked at before zarr-python may believe them, and reserve memory for what they
    announce.

    Raises
    ------
    ValueError
        If it is not a column as `_add_column` makes it.
    """
    import zarr

    folder = f"clips/{name}"
    try:
        found = parse(stored[f"{folder}/zarr.json"])
        if n_rows is None:
            (n_rows,) = found["shape"]
            if type(n_rows) is not int or not 0 <= n_rows <= _MOST_TAGS:
                raise ValueError(f"{n_rows!r} rows")
        shape = (n_rows,) if n_columns is None else (n_rows, n_columns)
        chunk = _chunks(shape)
        if _shape_of(found) != (kind, list(shape), list(chunk)):
            raise ValueError(f"it is not of {' x '.join(map(str, shape))} values of type {kind}")
        last = "" if n_columns is None else "/0"
        keys = [f"{folder}/c/{i}{last}" for i in range(-(-n_rows // chunk[0]) if all(shape) else 0)]
        n_values = int(np.prod(chunk))
        least, most = (
            (4 * n_values + 4, _MOST_TEXT * max(n_values, 512))
            if kind == "string"
            else (np.dtype(kind).itemsize * n_values,) * 2
        )
        for key in keys:
            if not least <= _unpacked_nbytes(stored[key]) <= most:
                raise ValueError(f"{key} does not hold {n_values} values")
        buffer = zarr.core.buffer.default_buffer_prototype().buffer.from_bytes
        kept = {key: buffer(stored[key]) for key in (f"{folder}/zarr.json", *keys)}
        values: Any = zarr.open_array(zarr.storage.MemoryStore(kept), path=folder, mode="r")[...]
        return [str(text) for text in values] if kind == "string" else values
    except Exception as error:  # zarr-python and its codecs have all kinds for foreign bytes
        told = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise ValueError(f"{name}: {' '.join(told.split())}") from None


def _shape_of(metadata: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """What a column's metadata says of type, shape and chunks, if all else is as it must be."""
    head, *others = metadata["codecs"]
    kind = metadata["data_type"]
    if (
        head["name"] != ("vlen-utf8" if kind == "string" else "bytes")
        or (head.get("configuration") or {}).get("endian", "little") != "little"
        or [codec["name"] for codec in others] != ["zstd"]
        or metadata["chunk_key_encoding"] != _KEYS
        or metadata["chunk_grid"]["name"] != "regular"
        or metadata.get("storage_transformers")
    ):
        raise ValueError("it is packed in another way")
    return kind, metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"]


def _unpacked_nbytes(frame: bytes) -> int:
    """What a zstd frame says that it unpacks to [bytes].

    Source: RFC 8878, section 3.1.1.1.

    Raises
    ------
    ValueError
        If it is none, or does not say so.
    """
    if len(frame) < 5 or frame[:4] != b"\x28\xb5\x2f\xfd":
        raise ValueError("a chunk is no zstd frame")
    is_single, size_flag = frame[4] >> 5 & 1, frame[4] >> 6
    n_bytes = (is_single, 2, 4, 8)[size_flag]
    begin = 5 + (not is_single) + (0, 1, 2, 4)[frame[4] & 3]
    if not n_bytes or len(frame) < begin + n_bytes:
        raise ValueError("a chunk does not say how long it is")
    return int.from_bytes(frame[begin : begin + n_bytes], "little") + 256 * (n_bytes == 2)


def _chunks(shape: Sequence[int]) -> tuple[int, ...]:
    return (min(_ROWS_PER_CHUNK, max(1, shape[0])), *(max(1, n) for n in shape[1:]))


def _add_column(
    group: "zarr.Group",
    name: str,
    data: npt.NDArray[Any],
    *,
    dimensions: tuple[str, ...] = ("clip",),
) -> None:
    text = data.dtype == object
    array = group.create_array(
        name,
        shape=data.shape,
        dtype="string" if text else data.dtype,
        chunks=_chunks(data.shape),
        fill_value="" if text else data.dtype.type(0),
        dimension_names=dimensions,
        # else a chunk that becomes empty would leave its old file in place
        config={"write_empty_chunks": True},
    )
    array[...] = data
