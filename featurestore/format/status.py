"""What became of each clip, gathered from the commit records in one pass."""

import types
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.format.commits import Commit, read_commits
from featurestore.format.layout import Layout, Spans, numbers_in, spans_of
from featurestore.storage.files import Files

OUTCOMES = ("status", "reason", "detail", "sr", "start", "n_valid", "peak", "n_clipped", "decoder")
"""The columns of `Outcomes` that the clip table shows as they are."""

PUBLISHED = {
    "status": "string",
    "reason": "string",
    "sr": "int64",
    "start": "int64",
    "n_valid": "int64",
    "peak": "float64",
    "n_clipped": "int64",
    "decoder": "string",
    "digest": "string",
}
"""The columns that are repeated in the store's clip table, for readers other than melgrid: types.
"""


class Outcomes:
    """Columns, a row a clip; a million rows take some 80 MB, where their records would take 500.

    And 5 MB a spec.

    Parameters
    ----------
    files : Files
    layouts : iterable of Layout
        Of the specs stored.
    active : np.ndarray [shape=(n_clips,), dtype=bool]
        Rows that were not pruned; the others are pending, whatever the records say.
    expected : mapping of str to spans
        By shard length, the records that must be there, as `Root.records`.

    Attributes
    ----------
    ready : dict of str to np.ndarray [shape=(n_clips,), dtype=bool]
        By spec name, rows that can be read; not to be written to.
    checksums : dict of str to np.ndarray [shape=(n_clips,), dtype=uint32]
        By spec name, the checksum that each row's chunk must end with; not to be written to.
    status, reason, detail, decoder : np.ndarray [shape=(n_clips,), dtype=object]
        As in `ClipRecord`; a clip is ready if it is so for every spec.
    sr, start, n_valid, n_clipped : np.ndarray [shape=(n_clips,), dtype=int64]
    peak : np.ndarray [shape=(n_clips,), dtype=float64]
    digest : np.ndarray [shape=(n_clips,), dtype=S32]
    software : dict of int to set
        By shard length, the versions that computed the values, as pairs.
    records : dict of str to spans
        By shard length, the records that are there, as `Root.records`.

    Raises
    ------
    CorruptDataError
        If a record is damaged, that of another shard, or missing.
    """

    def __init__(
        self,
        files: Files,
        layouts: Iterable[Layout],
        active: npt.NDArray[np.bool_],
        expected: Mapping[str, Spans] = types.MappingProxyType({}),
    ) -> None:
        n_clips = len(active)
        self.status = np.full(n_clips, "pending", object)
        self.reason, self.detail, self.decoder = (np.full(n_clips, "", object) for _ in range(3))
        self.sr, self.start, self.n_valid, self.n_clipped = (
            np.zeros(n_clips, np.int64) for _ in range(4)
        )
        self.peak = np.zeros(n_clips)
        self.digest = np.zeros(n_clips, "S32")
        self.ready: dict[str, npt.NDArray[np.bool_]] = {}
        self.checksums: dict[str, npt.NDArray[np.uint32]] = {}
        self.software: dict[int, set[tuple[tuple[str, str], ...]]] = {}
        self.records: dict[str, Spans] = {}
        names: dict[int, list[str]] = {}
        for layout in layouts:
            names.setdefault(layout.clips_per_shard, []).append(layout.spec.name)
            self.ready[layout.spec.name] = np.zeros(n_clips, np.bool_)
            self.checksums[layout.spec.name] = np.zeros(n_clips, np.uint32)
        for length, specs in names.items():
            self.software[length] = set()
            shards, there = range(-(-n_clips // length)), []
            must = numbers_in(expected.get(str(length), ()))
            for shard, commit in read_commits(files, length, shards, must):
                self.software[length].add(tuple(sorted(commit.software.items())))
                self._put(shard * length, commit, specs)
                there.append(shard)
            self.records[str(length)] = spans_of(there)
        complete = active.copy()
        for name, ready in self.ready.items():
            ready &= active
            ready.flags.writeable = self.checksums[name].flags.writeable = False
            complete &= ready
        undone = ~complete & (self.status == "ready")
        for rows in (undone, ~active):
            self.status[rows] = "pending"
            self.reason[rows] = self.detail[rows] = self.decoder[rows] = ""

    def column(self, name: str) -> npt.NDArray[Any]:
        """One of `PUBLISHED`; texts as objects."""
        values: npt.NDArray[Any] = getattr(self, name)
        return values.astype("U32").astype(object) if name == "digest" else values

    def _put(self, first: int, commit: Commit, specs: Iterable[str]) -> None:
        clips = commit.clips[: len(self.status) - first]
        rows = slice(first, first + len(clips))
        is_ready = np.array([clip.status == "ready" for clip in clips], np.bool_)
        has_values = np.zeros(len(clips), np.bool_)
        for name in specs:
            if name in commit.specs:
                checksums = np.frombuffer(commit.specs[name], "<u8")[: len(clips)]
                self.ready[name][rows] = is_ready & (checksums != 0)
                self.checksums[name][rows] = checksums & np.uint64(2**32 - 1)
                has_values |= self.ready[name][rows]
        for row, clip, has_value in zip(range(first, rows.stop), clips, has_values, strict=True):
            # Specs whose shards are of another length have a record of their own: a clip failed if
            # one of them says so, and what is known of it comes from one that vouches for values.
            if clip.status != "pending" and self.status[row] != "failed":
                self.status[row], self.reason[row], self.detail[row] = (
                    clip.status,
                    clip.reason,
                    clip.detail,
                )
                self.decoder[row] = clip.decoder
            if not has_value and (self.sr[row] or clip.status != "ready"):
                continue
            self.sr[row], self.start[row], self.n_valid[row] = clip.sr, clip.start, clip.n_valid
            self.peak[row], self.n_clipped[row] = clip.peak, clip.n_clipped
            self.digest[row] = clip.digest
