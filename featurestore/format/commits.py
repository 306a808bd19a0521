"""Commit records: the only thing that says which rows are ready.

One record covers a run of clips, for all specs whose shards are that long. Records are the chunks
of a Zarr array of strings, ``commits/<clips_per_shard>``, one chunk a record, so that every Zarr
reader can list them; a record that was never written reads as the empty string, and means pending.
"""

import base64
import dataclasses
import json
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from featurestore.errors import AUDIO_REASONS, CorruptDataError, StoreFormatError
from featurestore.format.layout import zarr_files
from featurestore.storage.checksum import append_crc32c, verify_crc32c
from featurestore.storage.documents import parse
from featurestore.storage.files import Files

if TYPE_CHECKING:
    import zarr

Status = Literal["ready", "failed", "pending"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClipRecord:
    """What became of one clip.

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
        """Whether both were made from the same bytes."""
        return self.status == other.status == "ready" and self.digest == other.digest


PENDING = ClipRecord()


Checksums = bytes
"""Of one spec's rows in a run of clips, `CHECKSUM_NBYTES` each, little-endian: `row_checksum`, or 0
where the row holds no values.
"""

CHECKSUM_NBYTES = 8
"""Of one row: four of its chunk, four of its statistics."""

_LIMITS = {
    "sr": (0, 2**31 - 1),
    "start": (0, 2**40),
    "n_valid": (0, 2**40),
    "n_clipped": (0, 2**40),
    "size": (0, 2**63 - 1),
    "mtime_ns": (-(2**63), 2**63 - 1),
}
"""Smallest and largest number that a record may hold, so that sums of them fit 64 bits."""


def without(checksums: Checksums, positions: Iterable[int]) -> Checksums:
    """The same, but that rows at some positions are no longer vouched for."""
    left = bytearray(checksums)
    for position in positions:
        first = CHECKSUM_NBYTES * position
        left[first : first + CHECKSUM_NBYTES] = bytes(CHECKSUM_NBYTES)
    return bytes(left)


_AT_ONCE = 256
"""How many records are fetched together."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """What is ready in one run of clips.

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
        """Whether the row at `position` in this run can be read for the spec."""
        return (
            spec_name in self.specs
            and position < len(self.clips)
            and self.clips[position].status == "ready"
            and self.checksum(spec_name, position) != 0
        )

    def checksum(self, spec_name: str, position: int) -> int:
        """What the record vouches for at a row; 0 is nothing."""
        first = CHECKSUM_NBYTES * position
        return int.from_bytes(self.specs[spec_name][first : first + CHECKSUM_NBYTES], "little")

    def is_settled(self, spec_name: str, position: int) -> bool:
        """Whether there is nothing to compute: the row is ready, or known to fail."""
        return self.is_ready(spec_name, position) or (
            spec_name in self.specs
            and position < len(self.clips)
            and self.clips[position].status == "failed"
        )

    def to_json(self, clips_per_shard: int, shard: int) -> str:
        """As text that says which shard it is of; clips by column, which takes a third."""
        columns = {
            field.name: [getattr(clip, field.name) for clip in self.clips]
            for field in dataclasses.fields(ClipRecord)
        }
        return json.dumps(
            {
                "clips_per_shard": clips_per_shard,
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
            place = fields.pop("clips_per_shard"), fields.pop("shard")
            if place != (clips_per_shard, shard):
                raise ValueError(f"it is that of shard {place[1]!r} of {place[0]!r} clips each")
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


def array_key(clips_per_shard: int) -> str:
    """Where the records for shards of that length lie."""
    return f"commits/{clips_per_shard}"


def array_files(clips_per_shard: int, n_clips: int) -> dict[str, bytes]:
    """Metadata of the array that shows the records to Zarr readers: bytes by key."""
    from zarr.codecs import Crc32cCodec

    def build(group: "zarr.Group") -> None:
        group.create_array(
            str(clips_per_shard),
            shape=(-(-n_clips // clips_per_shard),),
            chunks=(1,),
            dtype="string",
            compressors=[Crc32cCodec()],
            fill_value="",
        )

    made = zarr_files("commits", {}, build)
    return {key: made[key] for key in array_keys(clips_per_shard)}


def array_keys(clips_per_shard: int) -> tuple[str, str]:
    """Keys of `array_files`."""
    return f"{array_key(clips_per_shard)}/zarr.json", "commits/zarr.json"


def read_commit(files: Files, clips_per_shard: int, shard: int) -> Commit:
    """The record of a run of clips; an empty one where there is none.

    Raises
    ------
    CorruptDataError
        If its bytes are damaged, or are no record of that run.
    """
    data = files.read(commit_key(clips_per_shard, shard))
    return Commit() if data is None else _unpack(data, clips_per_shard, shard)


def commit_key(clips_per_shard: int, shard: int) -> str:
    """Key of a record's file."""
    return f"{array_key(clips_per_shard)}/c/{shard}"


def shard_of(key: str, clips_per_shard: int) -> int | None:
    """The shard whose record has a key; None if no record for shards of that length has it."""
    folder, _, name = key.rpartition("/")
    is_record = folder == f"{array_key(clips_per_shard)}/c" and name.isascii() and name.isdecimal()
    return int(name) if is_record else None


def _unpack(data: bytes, clips_per_shard: int, shard: int) -> Commit:
    key = commit_key(clips_per_shard, shard)
    body = bytes(verify_crc32c(data, key))
    # The vlen-utf8 codec: the number of strings, then each one's length and bytes.
    if len(body) < 8 or struct.unpack("<II", body[:8]) != (1, len(body) - 8):
        raise CorruptDataError("not one string", key=key)
    try:
        return Commit.from_json(body[8:], clips_per_shard, shard)
    except StoreFormatError as error:
        raise CorruptDataError(str(error), key=key) from None


def recorded(files: Files, clips_per_shard: int) -> list[int]:
    """Numbers of the shards that have a record, ascending."""
    names = files.names(f"{array_key(clips_per_shard)}/c")
    return sorted(int(name) for name in names if re.fullmatch("0|[1-9][0-9]{0,8}", name))


def read_commits(
    files: Files, clips_per_shard: int, shards: Iterable[int], expected: Collection[int] = ()
) -> Iterator[tuple[int, Commit]]:
    """Shard number and record, of each shard that has a record.

    Raises
    ------
    CorruptDataError
        If bytes are damaged, or one of the shards `expected` has none.
    """
    there = {*recorded(files, clips_per_shard), *expected}
    wanted = [shard for shard in shards if shard in there]
    for first in range(0, len(wanted), _AT_ONCE):
        some = wanted[first : first + _AT_ONCE]
        keys = [commit_key(clips_per_shard, shard) for shard in some]
        for shard, key, data in zip(some, keys, files.read_several(keys), strict=True):
            if data is not None:
                yield shard, _unpack(data, clips_per_shard, shard)
            elif shard in expected:
                raise CorruptDataError(f"missing from {files.root}: its clips were done", key=key)


def write_commit(files: Files, clips_per_shard: int, shard: int, commit: Commit) -> None:
    """Put a record in place, at once."""
    text = commit.to_json(clips_per_shard, shard).encode()
    body = struct.pack("<II", 1, len(text)) + text
    files.write(commit_key(clips_per_shard, shard), append_crc32c(body))
