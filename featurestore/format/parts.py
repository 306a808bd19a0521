"""Manifests of the parts: what the files of each block of rows must be.

A text a part, in the Zarr array ``parts``. Whoever changes rows of one part writes the manifest of
that part, and of no other. The store's own metadata have a digest over all of them, so that parts
of which some are of an earlier table than others are not taken for one.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from featurestore.errors import CorruptDataError
from featurestore.format.division import Division, Spans, numbers_in, spans_of
from featurestore.format.layout import digest_of, zarr_files
from featurestore.format.texts import add_texts, pack_text, unpack_text
from featurestore.storage.documents import parse
from featurestore.storage.files import Files

PARTS = "parts"
"""The array, and the name of its digest."""

_AT_ONCE = 256
"""How many manifests are fetched together."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """The manifest of one part.

    Parameters
    ----------
    number : int
        Which part, from 0.
    n_rows : int
    table : str
        `digest_of` its chunks of the clip table's columns.
    status : str
        The same of the columns that repeat the status of each clip; empty where no run has ended
        since rows or specs were added.
    records : spans
        Numbers of its shards that had a commit record when the last run ended, so that one that
        has gone since is not taken for one that was never written.
    """

    number: int
    n_rows: int
    table: str
    status: str = ""
    records: Spans = ()

    @property
    def key(self) -> str:
        """Of its file."""
        return part_key(self.number)

    def to_bytes(self) -> bytes:
        """Its file."""
        fields = dataclasses.asdict(self)
        return pack_text(json.dumps(fields, separators=(",", ":")))

    @classmethod
    def from_bytes(cls, data: bytes, number: int, division: Division, n_clips: int) -> Self:
        """Read what `to_bytes` wrote of a part of a store of so many rows, or one that has grown.

        Raises
        ------
        CorruptDataError
            If it is something else, or of another part.
        """
        key = part_key(number)
        text = unpack_text(data, key)
        rows = division.rows_of(number, n_clips)
        first_shard = number * division.shards_per_part
        try:
            found = parse(text)
            part = cls(**{field.name: found[field.name] for field in dataclasses.fields(cls)})
            if part.number != number or part.n_rows < rows.stop - rows.start:
                raise ValueError(f"it is of part {part.number!r} with {part.n_rows!r} rows")
            if not (isinstance(part.table, str) and isinstance(part.status, str)):
                raise TypeError("digests must be texts")
            last = first_shard
            for first, beyond in part.records:
                if not (type(first) is type(beyond) is int and last <= first < beyond):
                    raise ValueError("its records are not ascending")
                last = beyond
            if last > first_shard + division.shards_per_part:
                raise ValueError("its records are of other parts")
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptDataError(f"not a part's manifest: {error}", key=key) from None
        return part


def part_key(number: int) -> str:
    """Key of a part's manifest."""
    return f"{PARTS}/c/{number}"


def read_parts(files: Files, division: Division, n_clips: int) -> tuple[Part, ...]:
    """All manifests of a store of so many rows.

    Raises
    ------
    CorruptDataError
        If one is missing or damaged.
    """
    return tuple(_read(files, division, n_clips))


def _read(files: Files, division: Division, n_clips: int) -> Iterator[Part]:
    n_parts = division.n_parts(n_clips)
    # Not all at once: a store may say that it has a thousand million, and end at the first.
    for first in range(0, n_parts, _AT_ONCE):
        some = range(first, min(first + _AT_ONCE, n_parts))
        keys = [part_key(number) for number in some]
        for number, key, data in zip(some, keys, files.read_several(keys), strict=True):
            if data is None:
                raise CorruptDataError(f"missing from {files.root}", key=key)
            yield Part.from_bytes(data, number, division, n_clips)


def table_digest(common: Mapping[str, bytes], parts: Iterable[Part]) -> str:
    """`digest_of` the clip table: of its files that are of no part, and of what manifests say.

    The latter as if it were a file of that text at the manifest's key.
    """
    return digest_of({**common, **{part.key: part.table.encode() for part in parts}})


def recorded_shards(parts: Iterable[Part]) -> set[int]:
    """Shards that must have a commit record."""
    return set().union(*(numbers_in(part.records) for part in parts))


def parts_metadata(division: Division, n_clips: int) -> dict[str, bytes]:
    """Metadata of the array of manifests: bytes by key."""
    files = zarr_files("", {}, lambda group: add_texts(group, PARTS, (division.n_parts(n_clips),)))
    return {key: data for key, data in files.items() if key != "zarr.json"}


def without_records(part: Part, shards: Iterable[int | None]) -> Part:
    """The same, but that some shards need have no commit record."""
    left = spans_of(sorted(numbers_in(part.records).difference(shards)))
    return dataclasses.replace(part, records=left)
