"""Chunks on object storage, by ranges of bytes: many at the same time, or a batch takes seconds."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from featurestore.errors import CorruptDataError
from featurestore.format.layout import Layout
from featurestore.format.shard import Index, index_nbytes, is_absent, read_index
from featurestore.storage.files import file_system, version_of

if TYPE_CHECKING:
    import fsspec

_THREADS = 16

_MAX_GAP = 2**16
"""Bytes between two chunks that are read and thrown away to save a request."""

_MAX_BLOCK = 2**24
"""Most bytes of one request for several chunks, so that a run of clips comes in parallel."""


class RemoteChunks:
    """Where a spec's chunks are read from, if not from a local disk.

    Holds no connection and no thread: picklable, and safe to use after a fork.

    Parameters
    ----------
    root : str
        URL of the store.
    layout : Layout
    """

    def __init__(self, root: str, layout: Layout) -> None:
        self._root = root
        self._layout = layout
        self._indices: dict[int, tuple[str, Index]] = {}  # by shard, with the shard's version

    def fetch(self, wanted: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], bytes]:
        """Chunks, with their checksums, by shard and position in it.

        A run may put another shard in the place of one whose index is kept. Its chunks may be as
        long as the old one's, and then no checksum tells: so versions are looked at afterwards.

        Raises
        ------
        CorruptDataError
            If a shard or a chunk is missing, or an index is damaged.
        StorageError
            If the storage does not give a chunk.
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
            for answer in found.values():
                if isinstance(answer, BaseException):
                    raise answer
        return found  # type: ignore[return-value]  # no exception is left

    def _read_indices(
        self, filesystem: "fsspec.AbstractFileSystem", paths: Mapping[int, str]
    ) -> None:
        tail = index_nbytes(self._layout.clips_per_shard)
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
                    index = read_index(data, self._layout.clips_per_shard, size, key)
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

        with ThreadPoolExecutor(_THREADS) as pool:
            return dict(zip(paths, pool.map(state, paths), strict=True))

    def _read_chunks(
        self,
        filesystem: "fsspec.AbstractFileSystem",
        paths: Mapping[int, str],
        wanted: Mapping[int, Sequence[int]],
    ) -> dict[tuple[int, int], bytes | BaseException]:
        blocks = [block for shard in wanted for block in self._blocks(shard, wanted[shard])]
        answers = filesystem.cat_ranges(
            [paths[block.shard] for block in blocks],
            [block.start for block in blocks],
            [block.end for block in blocks],
            on_error="return",
        )
        found: dict[tuple[int, int], bytes | BaseException] = {}
        for block, data in zip(blocks, answers, strict=True):
            for position, (start, end) in block.chunks.items():
                found[block.shard, position] = (
                    data
                    if isinstance(data, BaseException)
                    else data[start - block.start : end - block.start]
                )
        return found

    def _blocks(self, shard: int, positions: Sequence[int]) -> Iterator["_Block"]:
        """Neighbouring chunks together."""
        index = self._indices[shard][1]
        chunks = {}
        for position in positions:
            if is_absent(index[position]):
                key = self._layout.shard_key(shard)
                raise CorruptDataError(
                    "committed, but not in the shard", key=key, position=position
                )
            offset, size = (int(number) for number in index[position])
            chunks[position] = offset, offset + size
        block: _Block | None = None
        for position, (start, end) in sorted(chunks.items(), key=lambda item: item[1]):
            if block and start - block.end <= _MAX_GAP and end - block.start <= _MAX_BLOCK:
                block.end = end
            else:
                if block:
                    yield block
                block = _Block(shard=shard, start=start, end=end)
            block.chunks[position] = start, end
        if block:
            yield block


@dataclasses.dataclass(kw_only=True)
class _Block:
    """Bytes of a shard, with the chunks in them by position."""

    shard: int
    start: int
    end: int
    chunks: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)
