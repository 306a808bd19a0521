"""Statistics of a spec's values, by band: kept for each clip, pooled over any set of clips.

Kept by clip, so that they hold for whatever is asked later: the training split alone, other
folds, a collection that has grown or was pruned.
"""

import dataclasses
from collections.abc import Sequence

import google_crc32c
import numpy as np
import numpy.typing as npt

from featurestore.errors import CorruptDataError, RowNotReadyError
from featurestore.format.commits import commit_key, unpack_commit
from featurestore.format.division import Division
from featurestore.format.layout import STATISTICS, Layout
from featurestore.format.shard import Clip, checksum_of, clip_checksum
from featurestore.storage.checksum import append_crc32c, verify_crc32c
from featurestore.storage.files import Files

Statistics = npt.NDArray[np.float32]
"""As `STATISTICS` names them, of one clip, ``(3, n_bands)``; of several, ``(n, 3, n_bands)``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BandStatistics:
    """Value statistics of some clips together, over the frames that are audio.

    Attributes
    ----------
    n_clips, n_frames : int
        How much they are of.
    mean, std : np.ndarray [shape=(n_bands,), dtype=float64]
        In the values' unit; nan if of nothing.
    saturated : np.ndarray [shape=(n_bands,), dtype=float64]
        Share of the values that the encoding had to clip.
    """

    n_clips: int
    n_frames: int
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    saturated: npt.NDArray[np.float64]


def statistics_of(values: npt.NDArray[np.float32]) -> Statistics:
    """Statistics of one clip's valid frames, ``(n_bands, n_frames)``; nothing saturated."""
    wide = values.astype(np.float64)
    made = np.stack([wide.mean(axis=1), wide.std(axis=1), np.zeros(len(wide))])
    return made.astype(np.float32)


def pool(clips: Statistics, n_frames: npt.NDArray[np.int64]) -> BandStatistics:
    """Statistics of several clips together.

    Parameters
    ----------
    clips : np.ndarray [shape=(n_clips, 3, n_bands), dtype=float32]
    n_frames : np.ndarray [shape=(n_clips,), dtype=int64]
        Valid frames of each.
    """
    total = int(n_frames.sum())
    if not total:
        nothing = np.full(clips.shape[2], np.nan)
        return BandStatistics(n_clips=0, n_frames=0, mean=nothing, std=nothing, saturated=nothing)
    mean, std, saturated = (clips[:, i].astype(np.float64) for i in range(len(STATISTICS)))
    share = (n_frames / total)[:, None]
    pooled = (share * mean).sum(axis=0)
    variance = (share * (std**2 + (mean - pooled) ** 2)).sum(axis=0)
    return BandStatistics(
        n_clips=len(clips),
        n_frames=total,
        mean=pooled,
        std=np.sqrt(variance),
        saturated=(share * saturated).sum(axis=0),
    )


def pack_statistics(clips: Sequence[Statistics | None], layout: Layout) -> bytes:
    """A shard's statistics as a chunk of the Zarr array; nan where there are none."""
    shape = layout.clips_per_shard, len(STATISTICS), layout.spec.n_bands
    chunk = np.full(shape, np.nan, "<f4")
    for position, statistics in enumerate(clips):
        if statistics is not None:
            chunk[position] = statistics
    return append_crc32c(chunk.tobytes())


def unpack_statistics(data: bytes, layout: Layout, key: str) -> Statistics:
    """Inverse of `pack_statistics`: ``(clips_per_shard, 3, n_bands)``.

    Raises
    ------
    CorruptDataError
        If the bytes, read at `key`, are damaged.
    """
    body = verify_crc32c(data, key)
    shape = layout.clips_per_shard, len(STATISTICS), layout.spec.n_bands
    if len(body) != 4 * int(np.prod(shape)):
        raise CorruptDataError(f"{len(body)} bytes are not the statistics of {shape[0]}", key=key)
    return np.frombuffer(body, "<f4").reshape(shape)


def row_checksum(clip: Clip, statistics: Statistics) -> int:
    """Checksum of a row in a commit record: that of its chunks, then that of its statistics.

    Never 0, which stands for no row. It tells a row from every other undamaged one: from another
    clip's, where two files were swapped, and from its own of before. Each half does so alone, so
    that neither values nor statistics are read for the sake of the other.
    """
    values = clip_checksum([checksum_of(chunk) for chunk in clip])
    return values | _statistics_checksum(statistics) << 32


def _statistics_checksum(statistics: Statistics) -> int:
    value: int = google_crc32c.value(statistics.astype("<f4").tobytes())
    return value or 1


def read_statistics(
    files: Files, division: Division, layout: Layout, rows: npt.NDArray[np.int64]
) -> Statistics:
    """Statistics of some rows that are ready, in their order.

    Raises
    ------
    CorruptDataError
        If stored bytes are missing or damaged, or are not those committed.
    RowNotReadyError
        If a row is no longer committed.
    """
    shards, positions = np.divmod(rows, layout.clips_per_shard)
    wanted = np.unique(shards).tolist()
    keys = [layout.statistics_key(shard) for shard in wanted]
    found = np.empty((len(rows), len(STATISTICS), layout.spec.n_bands), np.float32)
    records = files.read_several([commit_key(division, shard) for shard in wanted])
    commits = {
        shard: unpack_commit(data, division, shard)
        for shard, data in zip(wanted, records, strict=True)
    }
    for shard, key, data in zip(wanted, keys, files.read_several(keys), strict=True):
        if data is None:
            raise CorruptDataError(f"missing from {files.root}", key=key)
        here = shards == shard
        there, commit = unpack_statistics(data, layout, key), commits[shard]
        for position in np.unique(positions[here]).tolist():
            if not commit.is_ready(layout.spec.name, position):
                raise RowNotReadyError(
                    f"row {shard * layout.clips_per_shard + position} of {layout.spec.name} is no "
                    f"longer ready: a run has changed {files.root}; open it again"
                )
            committed = commit.checksum(layout.spec.name, position) >> 32
            if _statistics_checksum(there[position]) != committed:
                raise CorruptDataError(
                    "other statistics than those committed",
                    key=key,
                    position=position,
                )
            if not np.isfinite(there[position]).all():
                raise CorruptDataError("statistics that are no numbers", key=key, position=position)
        found[here] = there[positions[here]]
    return found
