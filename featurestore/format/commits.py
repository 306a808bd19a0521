"""Commit records: the only thing that says which rows are ready.

One record covers a shard, for all specs. Records are the texts of the Zarr array ``commits`` (part,
shard of the part); one that was never written reads as the empty text, and means pending.
"""

import base64
import dataclasses
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, Self, get_args

from featurestore.errors import AUDIO_REASONS, CorruptDataError, StoreFormatError
from featurestore.format.division import Division
from featurestore.format.layout import zarr_files
from featurestore.format.texts import add_texts, pack_text, unpack_text
from featurestore.storage.documents import parse
from featurestore.storage.files import Files

Status = Literal["ready", "failed", "pending"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClipRecord:
    """Status of one clip, and facts about its audio.

    Parameters
    ----------
    status : {'ready', 'failed', 'pending'}
    reason, detail : str
        Why it failed: one of `AUDIO_REASONS`, and a sentence; empty if it did not.
    sr : int
        Sample rate of the track [Hz]; 0 if unknown, as below.
    start : int
        Where the clip begins in the decoded track [samples at `sr`].
    n_valid : int
        Samples that are audio and not padding [samples at `sr`].
    n_track : int
        Samples of the whole track [samples at `sr`].
    peak : float
        Largest magnitude among the clip's samples, down-mixed; 1 is full scale, -1 unknown.
    n_clipped : int
        Samples of the clip at full scale or beyond.
    digest : str
        BLAKE2b-128 of the audio file's bytes, in hex.
    size, mtime_ns : int
        Of the audio file when it was read [bytes], [ns]: tell cheaply that it has not changed.
    decoder : str
        Name and version of what decoded it; of a failed clip, of all that were there to try.
    """

    status: Status = "pending"
    reason: str = ""
    detail: str = ""
    sr: int = 0
    start: int = 0
    n_valid: int = 0
    n_track: int = 0
    peak: float = 0.0
    n_clipped: int = 0
    digest: str = ""
    size: int = 0
    mtime_ns: int = 0
    decoder: str = ""

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise StoreFormatError(f"{self.status!r} is not a clip's status")
        if (self.reason in AUDIO_REASONS) != (self.status == "failed"):
            raise StoreFormatError(f"a {self.status} clip has the reason {self.reason!r}")

    def same_audio(self, other: Self) -> bool:
        """Return whether both were made from the same bytes."""
        return self.status == other.status == "ready" and self.digest == other.digest


PENDING = ClipRecord()


Checksums = bytes
"""Of one spec's rows in a shard, `CHECKSUM_NBYTES` each, little-endian: `row_checksum`, or 0
where the row holds no values.
"""

CHECKSUM_NBYTES = 8
"""Of one row: four of its chunk, four of its statistics."""

_LIMITS = {
    "sr": (0, 2**31 - 1),
    "start": (0, 2**40),
    "n_valid": (0, 2**40),
    "n_track": (0, 2**40),
    "n_clipped": (0, 2**40),
    "size": (0, 2**63 - 1),
    "mtime_ns": (-(2**63), 2**63 - 1),
}
"""Smallest and largest number that a record may hold, so that sums of them fit 64 bits."""


def invalidated(checksums: Checksums, positions: Iterable[int]) -> Checksums:
    """Return checksums with the rows at some positions no longer committed."""
    left = bytearray(checksums)
    for position in positions:
        first = CHECKSUM_NBYTES * position
        left[first : first + CHECKSUM_NBYTES] = bytes(CHECKSUM_NBYTES)
    return bytes(left)


_AT_ONCE = 256
"""How many records are fetched together."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """Commit record of one shard: which rows are ready.

    Parameters
    ----------
    clips : tuple of ClipRecord
        One a clip, in the order of the rows; shorter than a shard only in the last one.
    specs : mapping of str to bytes
        By name, the specs that are written, with the checksum of each row; 0 where it holds no
        values: its clip failed or is pending, its audio has changed, or it was found damaged.
    software : mapping of str to str
        Versions of what computed the values.
    """

    clips: tuple[ClipRecord, ...] = ()
    specs: Mapping[str, Checksums] = dataclasses.field(default_factory=dict)
    software: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def is_ready(self, spec_name: str, position: int) -> bool:
        """Return whether the row at `position` of this shard can be read for the spec."""
        return (
            spec_name in self.specs
            and position < len(self.clips)
            and self.clips[position].status == "ready"
            and self.checksum(spec_name, position) != 0
        )

    def checksum(self, spec_name: str, position: int) -> int:
        """Checksum committed for a row; 0 for none."""
        first = CHECKSUM_NBYTES * position
        return int.from_bytes(self.specs[spec_name][first : first + CHECKSUM_NBYTES], "little")

    def is_done(self, spec_name: str, position: int) -> bool:
        """Return whether there is nothing to compute: the row is ready, or known to fail."""
        return self.is_ready(spec_name, position) or (
            spec_name in self.specs
            and position < len(self.clips)
            and self.clips[position].status == "failed"
        )

    def to_json(self, shard: int) -> str:
        """As text that says which shard it is of; clips by column, which takes a third."""
        columns = {
            field.name: [getattr(clip, field.name) for clip in self.clips]
            for field in dataclasses.fields(ClipRecord)
        }
        return json.dumps(
            {
                "shard": shard,
                "clips": columns,
                "specs": {
                    name: base64.b64encode(checksums).decode()
                    for name, checksums in self.specs.items()
                },
                "software": dict(self.software),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: bytes, clips_per_shard: int, shard: int) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        StoreFormatError
            If it is something else, or is of another shard.
        """
        try:
            fields = parse(text)
            place = fields.pop("shard")
            if place != shard:
                raise ValueError(f"it is that of shard {place!r}")
            columns: dict[str, list[Any]] = fields.pop("clips")
            for field in dataclasses.fields(ClipRecord):
                kind = type(field.default)
                if any(type(value) is not kind for value in columns[field.name]):
                    raise TypeError(f"{field.name} must be of type {kind.__name__}")
            if not all(map(str.isascii, columns["digest"])):
                raise ValueError("digests must be hexadecimal")
            for name, (low, high) in _LIMITS.items():
                if any(not low <= value <= high for value in columns[name]):
                    raise ValueError(f"{name} must be from {low} to {high}")
            clips = tuple(
                ClipRecord(**dict(zip(columns, row, strict=True)))
                for row in zip(*columns.values(), strict=True)
            )
            specs = {
                name: base64.b64decode(checksums, validate=True)
                for name, checksums in fields.pop("specs").items()
            }
            for name, checksums in specs.items():
                if len(checksums) != CHECKSUM_NBYTES * len(clips):
                    raise ValueError(f"{name}: {len(checksums)} bytes for {len(clips)} clips")
            if len(clips) > clips_per_shard:
                raise ValueError(f"{len(clips)} clips in a shard of {clips_per_shard}")
            if any(type(version) is not str for version in fields["software"].values()):
                raise TypeError("software must be texts")
            return cls(clips=clips, specs=specs, **fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreFormatError(f"not a commit record: {error}") from None


COMMITS = "commits"
"""The array, and the name of its digest."""


def commit_key(division: Division, shard: int) -> str:
    """Key of a shard's commit record: a folder a part."""
    part, index = divmod(shard, division.shards_per_part)
    return f"{COMMITS}/c/{part}/{index}"


def shard_of(division: Division, key: str) -> int | None:
    """The shard whose commit record has a key; None if none has."""
    number = "(0|[1-9][0-9]{0,9})"
    found = re.fullmatch(f"{COMMITS}/c/{number}/{number}", key)
    if found is None or int(found[2]) >= division.shards_per_part:
        return None
    return int(found[1]) * division.shards_per_part + int(found[2])


def commits_metadata(division: Division, n_clips: int) -> dict[str, bytes]:
    """Metadata of the array that shows the records to Zarr readers: bytes by key."""
    shape = division.n_parts(n_clips), division.shards_per_part
    files = zarr_files("", {}, lambda group: add_texts(group, COMMITS, shape))
    return {key: data for key, data in files.items() if key != "zarr.json"}


def read_commit(files: Files, division: Division, shard: int) -> Commit:
    """The record of a shard; an empty one where there is none.

    Raises
    ------
    CorruptDataError
        If its bytes are damaged, or are no record of that shard.
    """
    return unpack_commit(files.read(commit_key(division, shard)), division, shard)


def unpack_commit(data: bytes | None, division: Division, shard: int) -> Commit:
    """The record that a shard's file holds; an empty one where there is none.

    Raises
    ------
    CorruptDataError
        As `read_commit`.
    """
    if data is None:
        return Commit()
    key = commit_key(division, shard)
    try:
        return Commit.from_json(unpack_text(data, key), division.clips_per_shard, shard)
    except StoreFormatError as error:
        raise CorruptDataError(str(error), key=key) from None


def recorded(files: Files, division: Division, n_clips: int) -> Iterator[int]:
    """Shards of a store of so many rows that have a record, ascending."""
    for part in range(division.n_parts(n_clips)):
        shards = division.shards_of(part, n_clips)
        folder = f"{COMMITS}/c/{part}"
        there = {shard_of(division, f"{folder}/{name}") for name in files.names(folder)}
        yield from (shard for shard in shards if shard in there)


def read_commits(
    files: Files, division: Division, n_clips: int, expected: Collection[int] = ()
) -> Iterator[tuple[int, Commit]]:
    """Shard number and record, of each shard of a store of so many rows that has a record.

    Each is read once, part by part.

    Raises
    ------
    CorruptDataError
        If bytes are damaged, or one of the shards `expected` has none.
    """
    wanted = sorted({*recorded(files, division, n_clips), *expected})
    for first in range(0, len(wanted), _AT_ONCE):
        some = wanted[first : first + _AT_ONCE]
        keys = [commit_key(division, shard) for shard in some]
        for shard, key, data in zip(some, keys, files.read_several(keys), strict=True):
            if data is not None:
                yield shard, unpack_commit(data, division, shard)
            elif shard in expected:
                raise CorruptDataError(f"missing from {files.root}: its clips were done", key=key)


def write_commit(files: Files, division: Division, shard: int, commit: Commit) -> None:
    """Put a record in place, at once."""
    files.write(commit_key(division, shard), pack_text(commit.to_json(shard)))
