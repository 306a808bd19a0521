"""A shard's bytes: packed chunks, then an index of where each lies.

This is the layout of Zarr v3's ``sharding_indexed`` codec with its index at the end, so that any
Zarr reader reads what `pack` writes. It is written here because zarr-python would hold all of a
shard's values unpacked in memory, and read here because its fancy indexing on shards is tens of
times slower than reading through the index (benchmarks/RESULTS.md).

Source: zarr-specs, *Sharding codec*, version 1.0.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from featurestore.errors import CorruptDataError
from featurestore.storage.checksum import append_crc32c, verify_crc32c

_ABSENT = np.uint64(2**64 - 1)
_CHECKSUM_NBYTES = 4

Index = npt.NDArray[np.uint64]
"""Offset and length of each chunk [bytes], shape (clips_per_shard, 2)."""


def pack(chunks: Sequence[bytes | None], clips_per_shard: int) -> list[bytes]:
    """A shard of chunks with their checksums, in parts to be written one after the other.

    None, and what is beyond the last chunk, is absent.
    """
    index = np.full((clips_per_shard, 2), _ABSENT)
    offset = 0
    for row, chunk in enumerate(chunks):
        if chunk is not None:
            index[row] = offset, len(chunk)
            offset += len(chunk)
    present = [chunk for chunk in chunks if chunk is not None]
    return [*present, append_crc32c(index.astype("<u8").tobytes())]


def index_nbytes(clips_per_shard: int) -> int:
    """Size of the index with its checksum [bytes]."""
    return clips_per_shard * 16 + _CHECKSUM_NBYTES


def read_index(tail: bytes, clips_per_shard: int, nbytes: int, key: str) -> Index:
    """The index of a shard of `nbytes` bytes, from its last `index_nbytes` ones.

    Raises
    ------
    CorruptDataError
        If they are fewer, the checksum does not match, or a chunk does not lie before the index, or
        lies where another one does.
    """
    if len(tail) < index_nbytes(clips_per_shard):
        raise CorruptDataError(f"{len(tail)} bytes are too few for a shard", key=key)
    index = np.frombuffer(
        verify_crc32c(tail, key, what="the checksum of its index"), "<u8"
    ).reshape(-1, 2)
    there = index[(index != _ABSENT).any(axis=1)]
    there = there[there[:, 0].argsort()]
    begin, length = there.T
    room = np.uint64(nbytes - index_nbytes(clips_per_shard))
    inside = (length <= room).all() and (begin <= room - length).all()  # sums would overflow
    if not inside or (begin[1:] < begin[:-1] + length[:-1]).any():
        raise CorruptDataError("its index does not fit its size", key=key)
    return index


def is_absent(entry: Index) -> bool:
    """Return whether an index entry says that there is no chunk."""
    return bool(entry[0] == _ABSENT)


def unpack(shard: bytes, clips_per_shard: int, key: str) -> list[bytes | None]:
    """The chunks with their checksums that `pack` was given, None where there is none."""
    tail = shard[-index_nbytes(clips_per_shard) :]
    entries = read_index(tail, clips_per_shard, len(shard), key)
    return [
        None if is_absent(entry) else shard[int(entry[0]) : int(entry[0] + entry[1])]
        for entry in entries
    ]
