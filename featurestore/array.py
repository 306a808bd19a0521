"""One spec's values, read by rows."""

import contextlib
import itertools
import operator
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import numpy.typing as npt

from featurestore.errors import CorruptDataError, RowNotReadyError
from featurestore.format.chunks import Fetched, Place, open_chunks
from featurestore.format.commits import read_commit
from featurestore.format.layout import Layout
from featurestore.format.statistics import (
    BandStatistics,
    Statistics,
    pool,
    read_statistics,
    statistics_of,
)
from featurestore.format.status import ClipStatus
from featurestore.specs.spec import Spec
from featurestore.specs.views import derivation, max_error
from featurestore.storage.checksum import verify_crc32c
from featurestore.storage.files import Files

_THREADS = 2

_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _shared_pool() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_THREADS, "melgrid-read")
        return _pool


def _forget_pool() -> None:
    """A forked child has none of its parent's threads: it starts its own at its first read."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_pool)


class FeatureArray:
    """Rows of one spec: ``(n_clips, n_bands, n_frames)``, decoded to float32 as they are read.

    Holds no open file and no thread of its own: picklable, and safe to use after a fork.

    Parameters
    ----------
    spec : Spec
        What is served.
    layout : Layout
        What is stored: of the same spec, or of one that serves it (see `featurestore.specs.views`).
    files : Files
    status : ClipStatus
    """

    def __init__(self, spec: Spec, layout: Layout, files: Files, status: ClipStatus) -> None:
        self.spec = spec
        self.layout = layout
        self._files = files
        self._status = status
        self._derivation = derivation(layout.spec, spec)
        self._chunks = open_chunks(files, layout)

    def __repr__(self) -> str:
        view = f", a view of {self.view_of}" if self.view_of else ""
        return f"<FeatureArray {self.spec.name} {self.shape} {self.encoding}{view}>"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_clips, n_bands, n_frames)."""
        return len(self), self.spec.n_bands, -(-self.layout.n_frames // self._derivation.step)

    @property
    def encoding(self) -> str:
        """Encoding of the stored values."""
        return self.layout.encoding.name

    @property
    def view_of(self) -> str | None:
        """Name of the stored spec that this one is served from; None if it is stored itself."""
        return None if self.layout.spec == self.spec else self.layout.spec.name

    @property
    def is_converted(self) -> bool:
        """Return whether values are computed from another spec's, not only selected."""
        return self._derivation.convert is not None

    @property
    def max_error(self) -> float:
        """Largest error of values read, against those computed, in their unit."""
        return max_error(self.layout.encoding, self.layout.spec, self.spec)

    @cached_property
    def ready(self) -> npt.NDArray[np.bool_]:
        """Rows that can be read, ``(n_clips,)``; pickled with the array once it was looked at."""
        return self._status.ready[self.layout.spec.name]

    @property
    def wanted(self) -> npt.NDArray[np.bool_]:
        """Rows that it is to hold, ``(n_clips,)``: of random draws, only clips that may train."""
        return self._status.wanted(self.layout.spec.name)

    @cached_property
    def _checksums(self) -> npt.NDArray[np.uint32]:
        """What the rows' chunks must end with, ``(n_clips,)``; pickled as `ready` is."""
        return self._status.checksums[self.layout.spec.name]

    @cached_property
    def n_valid_frames(self) -> npt.NDArray[np.int64]:
        """Frames of each row that are audio, ``(n_clips,)``; what comes after them is padding."""
        n_valid, sr = self._status["n_valid"], self._status["sr"]
        n_following = np.maximum(self._status["n_track"] - self._status["start"] - n_valid, 0)
        stored = self.layout.n_valid_frames(n_valid, sr, n_following)
        return np.where(self.ready, -(-stored // self._derivation.step), 0)

    def statistics(
        self, rows: Sequence[int] | npt.NDArray[np.integer] | None = None
    ) -> BandStatistics:
        """Mean and standard deviation of each band over the valid frames of some rows.

        Of a spec that is stored they were computed when it was; of a view the values are read.

        Parameters
        ----------
        rows : sequence of int
            Such as those of the training split; None is all that are ready.

        Raises
        ------
        IndexError, RowNotReadyError, CorruptDataError
            As in `read`.
        """
        numbers = self._parse_rows(np.flatnonzero(self.ready) if rows is None else rows)
        chosen = np.array(numbers, np.int64)
        n_frames = self.n_valid_frames[chosen]
        if self.spec == self.layout.spec:
            return pool(self.read_statistics(chosen), n_frames)
        clips = [
            statistics_of(self.read([row], length=int(length))[0])
            for row, length in zip(numbers, n_frames, strict=True)
        ]
        return pool(np.array(clips, np.float32).reshape(-1, 3, self.spec.n_bands), n_frames)

    def read_statistics(self, rows: npt.NDArray[np.int64]) -> Statistics:
        """Statistics of each of some rows, as stored; errors as in `read`."""
        return read_statistics(self._files, self._status.division, self.layout, rows)

    @cached_property
    def nbytes_stored(self) -> int:
        """Size of the stored values, all rows together [bytes]; of a view, what it is cut from."""
        return nbytes_stored(self._files, self.layout)

    @property
    def software(self) -> list[dict[str, str]]:
        """Versions of what computed the store's values; several, if several did."""
        return self._status.software

    def __len__(self) -> int:
        return self._status.n_clips

    def __getitem__(self, row: int) -> npt.NDArray[np.float32]:
        """Values of one row, ``(n_bands, n_frames)``; errors as in `read`."""
        values: npt.NDArray[np.float32] = self.read([row])[0]
        return values

    def read(
        self,
        rows: Sequence[int] | npt.NDArray[np.integer],
        start: int | Iterable[int] = 0,
        length: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Values of several rows at once.

        Parameters
        ----------
        rows : sequence of int
            In any order; a row may occur more than once.
        start : int or sequence of int
            First frame, for all rows or for each.
        length : int
            Frames to read of each row; None for all from `start` on, which then must be one.

        Returns
        -------
        values : np.ndarray [shape=(len(rows), n_bands, length), dtype=float32]

        Raises
        ------
        IndexError
            If a row or a frame does not exist.
        RowNotReadyError
            If a row's clip failed or is pending.
        CorruptDataError
            If stored bytes are missing or do not match their checksum.
        """
        numbers = self._parse_rows(rows)
        starts, length = self._parse_segment(start, length, len(numbers))
        for _ in range(1, self._files.n_tries):
            with contextlib.suppress(CorruptDataError):
                return self._read(numbers, starts, length)
        return self._read(numbers, starts, length)

    def _read(
        self, numbers: Sequence[int], starts: Sequence[int], length: int
    ) -> npt.NDArray[np.float32]:
        out = np.empty((len(numbers), self.spec.n_bands, length), np.float32)
        wanted: dict[int, list[Place]] = {}
        for row, first in zip(numbers, starts, strict=True):
            shard, position = divmod(row, self.layout.clips_per_shard)
            chunks = self._chunk_numbers(first, length)
            wanted.setdefault(shard, []).extend((position, chunk) for chunk in chunks)
        fetched = self._chunks.fetch(wanted)
        places = sorted(range(len(numbers)), key=numbers.__getitem__)  # shard by shard
        share = -(-len(places) // _THREADS) or 1
        parts = [places[first : first + share] for first in range(0, len(places), share)]

        def read_part(part: list[int]) -> None:
            self._read_into(out, part, numbers, starts, fetched)

        # Blosc keeps state for the main thread, which a fork breaks; pool threads do without.
        for _ in _shared_pool().map(read_part, parts):
            pass
        return out

    def _parse_rows(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> list[int]:
        if any(isinstance(row, bool | np.bool_) for row in rows):
            raise IndexError("rows are booleans; give their numbers: np.flatnonzero(rows)")
        numbers = [operator.index(row) for row in rows]
        ready, _ = self.ready, self._checksums  # here, and not in several threads
        for row in numbers:
            if not 0 <= row < len(self):
                raise IndexError(f"row {row} of {self.spec.name}; there are {len(self)}, from 0")
            if not ready[row]:
                raise RowNotReadyError(self._status.explain(self.spec.name, row))
        return numbers

    def _parse_segment(
        self, start: int | Iterable[int], length: int | None, n_rows: int
    ) -> tuple[list[int], int]:
        starts = (
            [int(start)] * n_rows
            if isinstance(start, int | np.integer)
            else [operator.index(frame) for frame in start]
        )
        if len(starts) != n_rows:
            raise IndexError(f"{len(starts)} starts for {n_rows} rows")
        n_frames = self.shape[2]
        if length is None:
            if len(set(starts)) > 1:
                raise IndexError("starts differ from row to row: give a length")
            length = n_frames - (starts[0] if starts else 0)
        for frame in starts:
            if frame < 0 or length < 1 or frame + length > n_frames:
                raise IndexError(
                    f"frames {frame} to {frame + length} of {self.spec.name}; "
                    f"there are {n_frames}, from 0"
                )
        return starts, length

    def _chunk_numbers(self, start: int, length: int) -> range:
        """Chunks of a clip that some frames, as served, are cut from."""
        step, in_chunk = self._derivation.step, self.layout.frames_per_chunk
        last = (start + length - 1) * step
        return range(start * step // in_chunk, last // in_chunk + 1)

    def _read_into(
        self,
        out: npt.NDArray[np.float32],
        places: Sequence[int],
        rows: Sequence[int],
        starts: Sequence[int],
        fetched: Fetched,
    ) -> None:
        """Read some places of `out`, in the order of their rows."""
        layout, length = self.layout, out.shape[2]
        step, convert = self._derivation.step, self._derivation.convert
        in_chunk, values = layout.frames_per_chunk, layout.empty_chunk()
        by_shard = itertools.groupby(places, lambda place: rows[place] // layout.clips_per_shard)
        for shard, members in by_shard:
            key = layout.shard_key(shard)
            there = [
                (place, chunk)
                for place in members
                for chunk in self._chunk_numbers(starts[place], length)
            ]
            chunks = fetched(
                shard, [(rows[place] % layout.clips_per_shard, chunk) for place, chunk in there]
            )
            for (place, chunk), (data, checksum) in zip(there, chunks, strict=True):
                position = rows[place] % layout.clips_per_shard
                body = verify_crc32c(data, key, position)
                if checksum != self._checksums[rows[place]]:
                    self._require_newer(checksum, rows[place])
                try:
                    layout.codec.decompress(body, values)
                except CorruptDataError as error:
                    raise CorruptDataError(error.detail, key=key, position=position) from None
                # Frames as served, counted from `start`: those at or after the chunk's begin.
                begin = chunk * in_chunk - starts[place] * step
                first = max(0, -(-begin // step))
                stored = values[:, first * step - begin :: step][:, : length - first]
                part = out[place][:, first : first + stored.shape[1]]
                layout.encoding.decode(stored, part, layout.spec.value_range)
                if convert is not None:
                    convert(part)

    def _require_newer(self, checksum: int, row: int) -> None:
        """Make sure that undamaged chunks are what is committed by now.

        Of a clip whose audio has changed, a run invalidates the row before it writes another one.
        """
        shard, position = divmod(row, self.layout.clips_per_shard)
        commit = read_commit(self._files, self._status.division, shard)
        if not commit.is_ready(self.layout.spec.name, position):
            raise RowNotReadyError(
                f"row {row} of {self.spec.name} is no longer ready: a run has changed "
                f"{self._files.root}; open it again"
            )
        committed = commit.checksum(self.layout.spec.name, position) % 2**32
        if checksum != committed:
            raise CorruptDataError(
                "other values than those committed",
                key=self.layout.shard_key(shard),
                position=position,
            )


def nbytes_stored(files: Files, layout: Layout) -> int:
    """Size of a stored spec's values [bytes]."""
    return sum(files.sizes(f"{layout.spec.name}/values/c"))
