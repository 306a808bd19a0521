"""A shard's bytes: packed chunks, then an index of where each lies.

Chunks are numbered as Zarr does: those of a clip along time, then those of the next clip. Where a
clip is several chunks, their checksums are repeated before the index, which Zarr readers pass over:
a commit record vouches for all of a row together, and these let it vouch for a chunk read alone.

This is the layout of Zarr v3's ``sharding_indexed`` codec with its index at the end, so that any
Zarr reader reads what `pack` writes. It is written here because zarr-python would hold all of a
shard's values unpacked in memory, and read here because its fancy indexing on shards is tens of
times slower than reading through the index (benchmarks/RESULTS.md).

Source: zarr-specs, *Sharding codec*, version 1.0.
"""

import dataclasses
from collections.abc import Sequence

import google_crc32c
import numpy as np
import numpy.typing as npt

from featurestore.errors import CorruptDataError
from featurestore.storage.checksum import append_crc32c, verify_crc32c

_NOWHERE = 2**64 - 1
_ABSENT = np.uint64(_NOWHERE)
_CHECKSUM_NBYTES = 4

Clip = tuple[bytes, ...]
"""A clip's chunks along time, each with its checksum."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Index:
    """Where the chunks of a shard lie.

    Parameters
    ----------
    places : np.ndarray [shape=(clips_per_shard, chunks_per_clip, 2), dtype=uint64]
        Offset and length of each [bytes].
    checksums : np.ndarray [shape=(clips_per_shard, chunks_per_clip), dtype=uint32], optional
        What each ends with; None where a clip is one chunk, which its row's checksum names.
    """

    places: npt.NDArray[np.uint64]
    checksums: npt.NDArray[np.uint32] | None

    def place(self, position: int, chunk: int) -> tuple[int, int] | None:
        """Offset and length of a clip's chunk [bytes]; None if it is absent."""
        offset, nbytes = self.places[position, chunk].tolist()
        return None if offset == _NOWHERE else (offset, nbytes)

    def present(self) -> list[tuple[int, int]]:
        """Offset and length of all chunks that are there [bytes], in the order of their numbers."""
        places = self.places.reshape(-1, 2)
        return [(a, b) for a, b in places[places[:, 0] != _ABSENT].tolist()]

    def is_absent(self, position: int) -> bool:
        """Return whether any chunk of a clip is absent."""
        return bool((self.places[position, :, 0] == _ABSENT).any())

    def clip_nbytes(self, position: int) -> int:
        """Size of a clip's chunks that are there [bytes]."""
        places = self.places[position]
        return int(places[places[:, 0] != _ABSENT, 1].sum())


def pack(clips: Sequence[Clip | None], clips_per_shard: int, chunks_per_clip: int) -> list[bytes]:
    """A shard of clips, in parts to be written one after the other.

    None, and what is beyond the last clip, is absent.
    """
    index = np.full((clips_per_shard, chunks_per_clip, 2), _ABSENT)
    checksums = np.zeros((clips_per_shard, chunks_per_clip), "<u4")
    present: list[bytes] = []
    offset = 0
    for position, clip in enumerate(clips):
        for number, chunk in enumerate(clip or ()):
            index[position, number] = offset, len(chunk)
            checksums[position, number] = checksum_of(chunk)
            offset += len(chunk)
            present.append(chunk)
    if chunks_per_clip > 1:
        present.append(append_crc32c(checksums.tobytes()))
    return [*present, append_crc32c(index.astype("<u8").tobytes())]


def checksum_of(chunk: bytes) -> int:
    """CRC-32C of a chunk, which it ends with."""
    return int.from_bytes(chunk[-_CHECKSUM_NBYTES:], "little")


def clip_checksum(checksums: Sequence[int] | npt.NDArray[np.uint32]) -> int:
    """Checksum of a clip from those of its chunks: of one its own, of several the CRC of theirs."""
    if len(checksums) == 1:
        return int(checksums[0])
    value: int = google_crc32c.value(np.asarray(checksums, "<u4").tobytes())
    return value


def tail_nbytes(clips_per_shard: int, chunks_per_clip: int) -> int:
    """Size of what follows the chunks: their checksums, and the index, each with its own."""
    n_chunks = clips_per_shard * chunks_per_clip
    return index_nbytes(n_chunks) + (
        _CHECKSUM_NBYTES * (n_chunks + 1) if chunks_per_clip > 1 else 0
    )


def index_nbytes(n_chunks: int) -> int:
    """Size of the index with its checksum [bytes]."""
    return n_chunks * 16 + _CHECKSUM_NBYTES


def read_index(
    tail: bytes, clips_per_shard: int, chunks_per_clip: int, nbytes: int, key: str
) -> Index:
    """The index of a shard of `nbytes` bytes, from its last `tail_nbytes` ones.

    Raises
    ------
    CorruptDataError
        If they are fewer, the checksum does not match, or a chunk does not lie before the index, or
        lies where another one does.
    """
    shape = clips_per_shard, chunks_per_clip
    whole = tail_nbytes(*shape)
    if len(tail) < whole:
        raise CorruptDataError(f"{len(tail)} bytes are too few for a shard", key=key)
    begin_index = whole - index_nbytes(clips_per_shard * chunks_per_clip)
    what = "the checksum of its index"
    index = np.frombuffer(verify_crc32c(tail[begin_index:], key, what=what), "<u8").reshape(-1, 2)
    checksums = None
    if begin_index:
        what = "the checksum of its chunks' checksums"
        body = verify_crc32c(tail[:begin_index], key, what=what)
        checksums = np.frombuffer(body, "<u4").reshape(shape)
    there = index[(index != _ABSENT).any(axis=1)]
    there = there[there[:, 0].argsort()]
    begin, length = there.T
    room = np.uint64(nbytes - whole)
    inside = (length <= room).all() and (begin <= room - length).all()  # sums would overflow
    if not inside or (begin[1:] < begin[:-1] + length[:-1]).any():
        raise CorruptDataError("its index does not fit its size", key=key)
    return Index(places=index.reshape(*shape, 2), checksums=checksums)


def unpack(shard: bytes, clips_per_shard: int, chunks_per_clip: int, key: str) -> list[Clip | None]:
    """The clips that `pack` was given, None where a chunk is absent."""
    tail = shard[-tail_nbytes(clips_per_shard, chunks_per_clip) :]
    index = read_index(tail, clips_per_shard, chunks_per_clip, len(shard), key)
    return [
        None
        if index.is_absent(position)
        else tuple(shard[offset : offset + nbytes] for offset, nbytes in places)
        for position, places in enumerate(index.places.tolist())
    ]
