"""Columns of the clip table as Zarr arrays: one chunk a part, checked before they are believed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from featurestore.format.division import Division
from featurestore.storage.documents import parse
from featurestore.storage.files import Files

if TYPE_CHECKING:
    import zarr

TABLE = "clips"
"""The table's group."""

_MAX_TEXT_NBYTES = 2**13
"""Longest text of a column, on average over a chunk or 512 rows [bytes]; a path has half of it."""

_MAX_ROWS = 2**16
"""Most rows of a column that says itself how many it has."""

_KEYS = {"name": "default", "configuration": {"separator": "/"}}
"""Zarr's own way to name chunks."""


def add_column(
    group: "zarr.Group",
    name: str,
    data: npt.NDArray[Any],
    rows_per_chunk: int,
    *,
    dimensions: tuple[str, ...] = ("clip",),
) -> None:
    """Make an array of a group: texts as objects, or numbers; one chunk so many rows."""
    kind = "string" if data.dtype == object else data.dtype.name
    array = make_column(group, name, kind, data.shape, rows_per_chunk, dimensions=dimensions)
    array[...] = data


def make_column(
    group: "zarr.Group",
    name: str,
    kind: str,
    shape: tuple[int, ...],
    rows_per_chunk: int,
    *,
    dimensions: tuple[str, ...] = ("clip",),
) -> "zarr.Array[Any]":
    """Make the array, without values."""
    return group.create_array(
        name,
        shape=shape,
        dtype=kind,
        chunks=_chunks(shape, rows_per_chunk),
        fill_value="" if kind == "string" else np.dtype(kind).type(0),
        dimension_names=dimensions,
        # else a chunk that becomes empty would leave its old file in place
        config={"write_empty_chunks": True},
    )


def part_of(key: str) -> int | None:
    """The part whose rows a column's chunk holds; None for metadata, and for what has no rows."""
    name, found, place = key.removeprefix(f"{TABLE}/").partition("/c/")
    return int(place.split("/")[0]) if found and name != "tag" else None


def by_part(files: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[int, dict[str, bytes]]]:
    """A table's files: those of no part, and the chunks of each part."""
    common: dict[str, bytes] = {}
    parts: dict[int, dict[str, bytes]] = {}
    for key, data in files.items():
        part = part_of(key)
        (common if part is None else parts.setdefault(part, {}))[key] = data
    return common, parts


def metadata_keys(names: Iterable[str]) -> list[str]:
    """Keys of the metadata of some columns; of `tag`, its one chunk too."""
    return [
        key
        for name in names
        for key in (
            f"{TABLE}/{name}/zarr.json",
            *([f"{TABLE}/tag/c/0"] if name == "tag" else []),
        )
    ]


def chunk_keys(names: Iterable[str], part: int) -> list[str]:
    """Keys of a part's chunks of some columns; of the table's own, but `tag`."""
    return [
        f"{TABLE}/{name}/c/{part}" + ("/0" if name == "labels" else "")
        for name in names
        if name != "tag"
    ]


def read_there(files: Files, keys: Sequence[str]) -> dict[str, bytes]:
    """The files that are there, by key."""
    found = zip(keys, files.read_several(keys), strict=True)
    return {key: data for key, data in found if data is not None}


def column(
    stored: Mapping[str, bytes],
    name: str,
    kind: str,
    division: Division,
    n_rows: int | None,
    n_columns: int | None = None,
) -> Any:
    """A column's values: texts as a list, else an array; `n_rows` None is as many as it has.

    Its files are looked at before zarr-python may believe them, and reserve memory for what they
    announce.

    Raises
    ------
    ValueError
        If it is not a column as `add_column` makes it.
    """
    import zarr

    folder = f"{TABLE}/{name}"
    try:
        found = parse(stored[f"{folder}/zarr.json"])
        if n_rows is None:
            (n_rows,) = found["shape"]
            if type(n_rows) is not int or not 0 <= n_rows <= _MAX_ROWS:
                raise ValueError(f"{n_rows!r} rows")
        shape = (n_rows,) if n_columns is None else (n_rows, n_columns)
        chunk = _chunks(shape, _MAX_ROWS if name == "tag" else division.rows_per_part)
        if _shape_of(found) != (kind, list(shape), list(chunk)):
            raise ValueError(f"it is not of {' x '.join(map(str, shape))} values of type {kind}")
        last = "" if n_columns is None else "/0"
        keys = [f"{folder}/c/{i}{last}" for i in range(-(-n_rows // chunk[0]) if all(shape) else 0)]
        n_values = int(np.prod(chunk))
        least, most = (
            (4 * n_values + 4, _MAX_TEXT_NBYTES * max(n_values, 512))
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
        message = (
            f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        )
        raise ValueError(f"{name}: {' '.join(message.split())}") from None


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


def _chunks(shape: Sequence[int], rows_per_chunk: int) -> tuple[int, ...]:
    return (min(rows_per_chunk, max(1, shape[0])), *(max(1, n) for n in shape[1:]))
