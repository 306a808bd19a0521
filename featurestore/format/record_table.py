"""All commit records of a store as columns, a row a clip."""

from collections.abc import Collection, Iterable
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from featurestore.format.commits import PENDING, ClipRecord, Commit, read_commits
from featurestore.format.division import Division
from featurestore.storage.files import Files

_KINDS: dict[str, Any] = {
    "status": object,
    "reason": object,
    "detail": object,
    "decoder": object,
    "sr": np.int64,
    "start": np.int64,
    "n_valid": np.int64,
    "n_track": np.int64,
    "n_clipped": np.int64,
    "peak": np.float64,
    "digest": "S32",
    "size": np.int64,
    "mtime_ns": np.int64,
}


class RecordTable:
    """What commit records say of each clip; a million rows take 100 MB, and 5 MB a spec.

    Their records, as objects, would take 500 MB. Begins with all rows pending; `put` takes in one
    record, in place of that shard's earlier one.

    Parameters
    ----------
    division : Division
    n_clips : int
    names : iterable of str
        Of the specs stored.

    Attributes
    ----------
    status, reason, detail, decoder : np.ndarray [shape=(n_clips,), dtype=object]
        As in `ClipRecord`.
    sr, start, n_valid, n_track, n_clipped : np.ndarray [shape=(n_clips,), dtype=int64]
    size, mtime_ns : np.ndarray [shape=(n_clips,), dtype=int64]
    peak : np.ndarray [shape=(n_clips,), dtype=float64]
    digest : np.ndarray [shape=(n_clips,), dtype=S32]
    ready : dict of str to np.ndarray [shape=(n_clips,), dtype=bool]
        By spec name, rows whose values are committed.
    checksums : dict of str to np.ndarray [shape=(n_clips,), dtype=uint32]
        By spec name, the checksum that each row's chunk must end with.
    recorded : np.ndarray [shape=(n_shards,), dtype=bool]
        Shards that have a record.
    software : set
        Versions of what computed the values, as tuples of pairs.
    """

    def __init__(self, division: Division, n_clips: int, names: Iterable[str]) -> None:
        self.division, self.n_clips = division, n_clips
        names, n_shards = tuple(names), division.n_shards(n_clips)
        self._columns = {
            name: np.full(n_clips, getattr(PENDING, name), kind) for name, kind in _KINDS.items()
        }
        for name, column in self._columns.items():
            setattr(self, name, column)
        self.ready = {name: np.zeros(n_clips, np.bool_) for name in names}
        self.checksums = {name: np.zeros(n_clips, np.uint32) for name in names}
        self._written = {name: np.zeros(n_shards, np.bool_) for name in names}
        self.recorded = np.zeros(n_shards, np.bool_)
        self.software: set[tuple[tuple[str, str], ...]] = set()

    status: npt.NDArray[np.object_]
    reason: npt.NDArray[np.object_]
    detail: npt.NDArray[np.object_]
    decoder: npt.NDArray[np.object_]
    sr: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    n_valid: npt.NDArray[np.int64]
    n_track: npt.NDArray[np.int64]
    n_clipped: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    mtime_ns: npt.NDArray[np.int64]
    peak: npt.NDArray[np.float64]
    digest: npt.NDArray[np.bytes_]

    @classmethod
    def read(
        cls,
        files: Files,
        division: Division,
        n_clips: int,
        names: Iterable[str],
        expected: Collection[int] = (),
    ) -> Self:
        """Read each record once.

        Raises
        ------
        CorruptDataError
            If a record is damaged, that of another shard, or missing though `expected`.
        """
        table = cls(division, n_clips, names)
        for shard, commit in read_commits(files, division, n_clips, expected):
            table.put(shard, commit)
        return table

    def resized(self, division: Division, n_clips: int, names: Iterable[str]) -> Self:
        """The same records in a store that has grown: further rows and specs are pending.

        The division may be another one only as long as there are no records.
        """
        table = type(self)(division, n_clips, names)
        n_rows, n_shards = self.n_clips, len(self.recorded)
        for name, column in self._columns.items():
            table._columns[name][:n_rows] = column
        for name in self.ready.keys() & table.ready.keys():
            table.ready[name][:n_rows] = self.ready[name]
            table.checksums[name][:n_rows] = self.checksums[name]
            if division == self.division:
                table._written[name][:n_shards] = self._written[name]
        if division == self.division:
            table.recorded[:n_shards] = self.recorded
        table.software = set(self.software)
        return table

    def put(self, shard: int, commit: Commit) -> None:
        """Take in a shard's record."""
        first = shard * self.division.clips_per_shard
        n_rows = min(self.division.clips_per_shard, self.n_clips - first)
        # A record may be shorter, of before clips were added, or longer, of after.
        clips = (*commit.clips, *[PENDING] * (n_rows - len(commit.clips)))[:n_rows]
        rows = slice(first, first + n_rows)
        for name, column in self._columns.items():
            column[rows] = [getattr(clip, name) for clip in clips]
        is_ready = np.array([clip.status == "ready" for clip in clips], np.bool_)
        for name, ready in self.ready.items():
            self._written[name][shard] = name in commit.specs
            kept = np.frombuffer(commit.specs.get(name, b""), "<u8")[:n_rows]
            checksums = np.zeros(n_rows, np.uint64)
            checksums[: len(kept)] = kept
            ready[rows] = is_ready & (checksums != 0)
            self.checksums[name][rows] = checksums & np.uint64(2**32 - 1)
        self.recorded[shard] = True
        self.software.add(tuple(sorted(commit.software.items())))

    def record(self, row: int) -> ClipRecord:
        """What is recorded of one row."""
        values = {name: column[row] for name, column in self._columns.items()}
        values["digest"] = values["digest"].decode()
        return ClipRecord(
            **{k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}
        )

    def done(self, name: str) -> npt.NDArray[np.bool_]:
        """Rows of a spec with nothing to compute, ``(n_clips,)``: ready, or known to fail."""
        written = np.repeat(self._written[name], self.division.clips_per_shard)[: self.n_clips]
        done: npt.NDArray[np.bool_] = self.ready[name] | ((self.status == "failed") & written)
        return done

    def column(self, name: str) -> npt.NDArray[Any]:
        """One of the columns of what is recorded of clips, by its name."""
        return self._columns[name]
