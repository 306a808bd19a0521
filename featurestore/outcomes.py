"""What became of each clip, gathered from the commit records in one pass."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore.commits import Commit, read_commits
from featurestore.files import Files
from featurestore.layout import Layout

OUTCOMES = ("status", "reason", "detail", "sr", "start", "n_valid", "peak", "n_clipped", "decoder")
"""The columns of `Outcomes` that the clip table shows as they are."""

# fmt: off
PUBLISHED = (
    "status", "reason", "sr", "start", "n_valid", "peak", "n_clipped", "decoder", "digest",
)
# fmt: on
"""The columns that are repeated in the store's clip table, for readers other than melgrid."""


class Outcomes:
    """Columns, a row a clip; a million rows take some 80 MB, where their records would take 500.

    Parameters
    ----------
    files : Files
    layouts : iterable of Layout
        Of the specs stored.
    active : np.ndarray [shape=(n_clips,), dtype=bool]
        Rows that were not pruned; the others are pending, whatever the records say.

    Attributes
    ----------
    ready : dict of str to np.ndarray [shape=(n_clips,), dtype=bool]
        By spec name, rows that can be read; not to be written to.
    status, reason, detail, decoder : np.ndarray [shape=(n_clips,), dtype=object]
        As in `ClipRecord`; a clip is ready if it is so for every spec.
    sr, start, n_valid, n_clipped : np.ndarray [shape=(n_clips,), dtype=int64]
    peak : np.ndarray [shape=(n_clips,), dtype=float64]
    digest : np.ndarray [shape=(n_clips,), dtype=S32]
    software : dict of int to set
        By shard length, the versions that computed the values, as pairs.
    """

    def __init__(
        self, files: Files, layouts: Iterable[Layout], active: npt.NDArray[np.bool_]
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
        self.software: dict[int, set[tuple[tuple[str, str], ...]]] = {}
        names: dict[int, list[str]] = {}
        for layout in layouts:
            names.setdefault(layout.clips_per_shard, []).append(layout.spec.name)
            self.ready[layout.spec.name] = np.zeros(n_clips, np.bool_)
        for length, specs in names.items():
            self.software[length] = set()
            for shard, commit in read_commits(files, length, range(-(-n_clips // length))):
                self.software[length].add(tuple(sorted(commit.software.items())))
                self._put(shard * length, commit, specs)
        complete = active.copy()
        for ready in self.ready.values():
            ready &= active
            ready.flags.writeable = False
            complete &= ready
        undone = ~complete & (self.status == "ready")
        for rows in (undone, ~active):
            self.status[rows], self.reason[rows], self.detail[rows] = "pending", "", ""

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
                checksums = np.frombuffer(commit.specs[name], "<u4")[: len(clips)]
                self.ready[name][rows] = is_ready & (checksums != 0)
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
            if not has_value and (self.sr[row] or clip.status != "ready"):
                continue
            self.sr[row], self.start[row], self.n_valid[row] = clip.sr, clip.start, clip.n_valid
            self.peak[row], self.n_clipped[row] = clip.peak, clip.n_clipped
            self.digest[row], self.decoder[row] = clip.digest, clip.decoder
