"""Chunks of a spec's shards, read where they lie: on a local disk or on object storage."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from featurestore.errors import CorruptDataError
from featurestore.format.layout import Layout
from featurestore.format.shard import (
    Index,
    checksum_of,
    clip_checksum,
    read_index,
    tail_nbytes,
)
from featurestore.storage.files import Files
from featurestore.storage.local import LocalFile, LocalFiles
from featurestore.storage.remote import RemoteFiles
from featurestore.storage.urls import file_system, version_of

if TYPE_CHECKING:
    import fsspec

_MAX_GAP = 2**16
"""Bytes between two chunks that are read and thrown away to save a request."""

_MAX_BLOCK = 2**24
"""Most bytes of one request for several chunks, so that a block of rows comes in parallel."""


Place = tuple[int, int]
"""Position of a clip in its shard, and number of a chunk in its clip."""

Fetched = Callable[[int, Sequence[Place]], Iterable[tuple[bytes, int]]]
"""Gives the chunks at some places of one shard, with their checksums; and with each the checksum
of all chunks of its clip: what the clip's commit must say."""


class Chunks(Protocol):
    """The chunks of one spec; no open file and no thread: picklable, and safe after a fork."""

    def fetch(self, wanted: Mapping[int, Sequence[Place]]) -> Fetched:
        """What gives the chunks at the `wanted` places of each shard, and no others.

        Raises
        ------
        CorruptDataError
            Here or where they are given: if a shard or a chunk is missing, or an index is damaged.
        StorageError
            If object storage does not give them.
        """


def open_chunks(files: Files, layout: Layout) -> Chunks:
    """Chunks of the spec that `layout` is of."""
    if isinstance(files, LocalFiles):
        return LocalChunks(files, layout)
    assert isinstance(files, RemoteFiles), f"files are {files}"
    return RemoteChunks(files, layout)


class LocalChunks:
    """Chunks on a local disk, read one at a time as they are asked for.

    Parameters
    ----------
    files : LocalFiles
    layout : Layout
    """

    def __init__(self, files: LocalFiles, layout: Layout) -> None:
        self._files = files
        self._layout = layout
        self._indices: dict[int, tuple[tuple[object, ...], Index]] = {}

    def fetch(self, wanted: Mapping[int, Sequence[Place]]) -> Fetched:
        """What reads chunks of a shard; see `Chunks`."""
        return self._read

    def _read(self, shard: int, places: Sequence[Place]) -> Iterator[tuple[bytes, int]]:
        key = self._layout.shard_key(shard)
        try:
            file = self._files.open(key)
        except FileNotFoundError:
            raise CorruptDataError(f"missing from {self._files.root}", key=key) from None
        with file:
            index = self._index(shard, file)
            for place in places:
                offset, size = _place(index, key, place)
                data = file.read_at(offset, size)
                if len(data) != size:
                    raise CorruptDataError("the shard is truncated", key=key, position=place[0])
                yield data, _clip_checksum(data, index, key, place)

    def _index(self, shard: int, file: LocalFile) -> Index:
        """A shard's index, read once unless a run has put another file in its place since."""
        known = self._indices.get(shard)
        if known is not None and known[0] == file.identity:
            return known[1]
        tail = tail_nbytes(*self._layout.rows_and_chunks)
        data = file.read_at(max(0, file.size - tail), tail)
        key = self._layout.shard_key(shard)
        index = read_index(data, *self._layout.rows_and_chunks, file.size, key)
        self._indices[shard] = file.identity, index
        return index


class RemoteChunks:
    """Chunks on object storage, by ranges of bytes; all at the same time, or it takes seconds.

    Parameters
    ----------
    files : RemoteFiles
    layout : Layout
    """

    def __init__(self, files: RemoteFiles, layout: Layout) -> None:
        self._root = files.root
        self._n_threads = files.n_threads
        self._layout = layout
        self._indices: dict[int, tuple[str, Index]] = {}  # by shard, with the shard's version

    def fetch(self, wanted: Mapping[int, Sequence[Place]]) -> Fetched:
        """Read all that is wanted; see `Chunks`.

        A run may put another shard in the place of one whose index is kept. Its chunks may be as
        long as the old one's, and then no checksum tells: so versions are looked at afterwards.
        """
        with file_system(self._root) as (filesystem, path):
            paths = {shard: f"{path}/{self._layout.shard_key(shard)}" for shard in wanted}
            while True:
                self._read_indices(filesystem, paths)
                found = self._read_chunks(filesystem, paths, wanted)
                states = self._states(filesystem, paths)
                replaced = [s for s in wanted if self._indices[s][0] != states[s][0]]
                if not replaced:
                    break
                for shard in replaced:
                    del self._indices[shard]
            chunks: dict[tuple[int, Place], tuple[bytes, int]] = {}
            for (shard, place), answer in found.items():
                if isinstance(answer, BaseException):
                    raise answer
                index, key = self._indices[shard][1], self._layout.shard_key(shard)
                chunks[shard, place] = answer, _clip_checksum(answer, index, key, place)
        return lambda shard, places: (chunks[shard, place] for place in places)

    def _read_indices(
        self, filesystem: "fsspec.AbstractFileSystem", paths: Mapping[int, str]
    ) -> None:
        tail = tail_nbytes(*self._layout.rows_and_chunks)
        while unknown := {s: path for s, path in paths.items() if s not in self._indices}:
            states = self._states(filesystem, unknown)  # before, so that they are not too new
            starts, ends = [-tail] * len(unknown), [None] * len(unknown)
            for shard, data in zip(
                unknown, filesystem.cat_ranges(list(unknown.values()), starts, ends), strict=True
            ):
                key = self._layout.shard_key(shard)
                if isinstance(data, BaseException):
                    raise data
                version, size = states[shard]
                try:
                    index = read_index(data, *self._layout.rows_and_chunks, size, key)
                except CorruptDataError:
                    if self._states(filesystem, {shard: paths[shard]})[shard] == states[shard]:
                        raise
                    continue  # a run has put another shard there meanwhile
                self._indices[shard] = version, index

    def _states(
        self, filesystem: "fsspec.AbstractFileSystem", paths: Mapping[int, str]
    ) -> dict[int, tuple[str, int]]:
        """Version and size [bytes] of each shard."""

        def state(shard: int) -> tuple[str, int]:
            try:
                info = filesystem.info(paths[shard])
                return version_of(info), int(info["size"])
            except FileNotFoundError:
                key = self._layout.shard_key(shard)
                raise CorruptDataError(f"missing from {self._root}", key=key) from None

        with ThreadPoolExecutor(self._n_threads) as pool:
            return dict(zip(paths, pool.map(state, paths), strict=True))

    def _read_chunks(
        self,
        filesystem: "fsspec.AbstractFileSystem",
        paths: Mapping[int, str],
        wanted: Mapping[int, Sequence[Place]],
    ) -> dict[tuple[int, Place], bytes | BaseException]:
        blocks = [block for shard in wanted for block in self._blocks(shard, wanted[shard])]
        answers = filesystem.cat_ranges(
            [paths[block.shard] for block in blocks],
            [block.start for block in blocks],
            [block.end for block in blocks],
            on_error="return",
        )
        found: dict[tuple[int, Place], bytes | BaseException] = {}
        for block, data in zip(blocks, answers, strict=True):
            for place, (start, end) in block.chunks.items():
                found[block.shard, place] = (
                    data
                    if isinstance(data, BaseException)
                    else data[start - block.start : end - block.start]
                )
        return found

    def _blocks(self, shard: int, places: Sequence[Place]) -> Iterator["_Block"]:
        """Neighbouring chunks together."""
        index, key = self._indices[shard][1], self._layout.shard_key(shard)
        chunks = {}
        for place in places:
            offset, size = _place(index, key, place)
            chunks[place] = offset, offset + size
        block: _Block | None = None
        for place, (start, end) in sorted(chunks.items(), key=lambda item: item[1]):
            if block and start - block.end <= _MAX_GAP and end - block.start <= _MAX_BLOCK:
                block.end = end
            else:
                if block:
                    yield block
                block = _Block(shard=shard, start=start, end=end)
            block.chunks[place] = start, end
        if block:
            yield block


@dataclasses.dataclass(kw_only=True)
class _Block:
    """Bytes of a shard, with the chunks in them by place."""

    shard: int
    start: int
    end: int
    chunks: dict[Place, tuple[int, int]] = dataclasses.field(default_factory=dict)


def _place(index: Index, key: str, place: Place) -> tuple[int, int]:
    """Offset and length of a chunk in its shard [bytes]."""
    found = index.place(*place)
    if found is None:
        raise CorruptDataError("committed, but not in the shard", key=key, position=place[0])
    return found


def _clip_checksum(data: bytes, index: Index, key: str, place: Place) -> int:
    """Checksum of a clip, one of whose chunks this is."""
    if index.checksums is None:
        return checksum_of(data)
    if checksum_of(data) != index.checksums[place]:
        raise CorruptDataError("the checksum does not match", key=key, position=place[0])
    return clip_checksum(index.checksums[place[0]])
