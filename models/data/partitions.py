"""Which clips train, drawn anew for a run: other folds, a resampled training split, few labels.

Folds and resamples are drawn from a seed and by groups, so that no artist is in two folds.
"""

import functools

import numpy as np
import numpy.typing as npt

from featurestore.errors import TrainingError
from featurestore.stratification import stratify

_CACHED = 16
"""Partitions kept: one for each of the runs that a study goes through spec by spec."""


def draw_folds(
    labels: npt.NDArray[np.float32],
    groups: npt.NDArray[np.int64],
    *,
    n_folds: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Draw the fold of each clip, from 0.

    Groups stay together, folds are about equally large, and each has about its share of the clips
    of each tag: `featurestore.stratification.stratify`.

    scikit-learn's ``StratifiedGroupKFold`` knows no clip of several tags, and draws the order of
    like groups alone: of artists of many sizes it makes the same folds whatever the seed. The
    package iterative-stratification knows no groups.

    Parameters
    ----------
    labels : array, shape (n_clips, n_tags)
        Above 0 where the clip has the tag.
    groups : array of int, shape (n_clips,)
        Number of each clip's group, from 0; a group of its own where it depends on no other.
    n_folds, seed : int
    """
    bits = np.packbits(labels > 0).tobytes()
    drawn = _draw_folds(bits, labels.shape, groups.tobytes(), n_folds, seed)
    return np.frombuffer(drawn, np.int64)


@functools.lru_cache(_CACHED)
def _draw_folds(
    bits: bytes, shape: tuple[int, int], group_bytes: bytes, n_folds: int, seed: int
) -> bytes:
    n_clips, n_tags = shape
    positive = np.unpackbits(np.frombuffer(bits, np.uint8), count=n_clips * n_tags).reshape(shape)
    groups = np.frombuffer(group_bytes, np.int64)
    folds = stratify(positive, groups, [1] * n_folds, seed=seed)
    return folds.tobytes()


def resample(groups: npt.NDArray[np.int64], *, seed: int) -> npt.NDArray[np.int64]:
    """Positions of clips drawn with replacement, as many groups as there are, all of each.

    Parameters
    ----------
    groups : array of int, shape (n_clips,)
        Number of each clip's group; any numbers.
    seed : int

    Returns
    -------
    array of int64
        In order; as many as there are clips where each is a group of its own.
    """
    _, member = np.unique(groups, return_inverse=True)
    n_groups = int(member.max(initial=-1)) + 1
    times = np.bincount(
        np.random.default_rng(seed).integers(n_groups, size=n_groups), minlength=n_groups
    )
    return np.repeat(np.arange(len(groups)), times[member])


def keep_share(
    n_clips: int, rows: npt.NDArray[np.int64], share: float, *, seed: int
) -> npt.NDArray[np.int64]:
    """Draw which of some clips keep their labels.

    Parameters
    ----------
    n_clips : int
        Of the whole table: a clip's lot hangs on its row alone, so that what a smaller share keeps
        a larger one keeps, too.
    rows : array of int
        Rows to draw from, each perhaps several times.
    share : float
        Of the different rows, above 0 and at most 1.
    seed : int

    Returns
    -------
    array of int64
        In order, each once; at least one.

    Raises
    ------
    TrainingError
        If there is no such share.
    """
    if not 0 < share <= 1:
        raise TrainingError(f"labelled_share is {share}; it must be above 0 and at most 1")
    different = np.unique(rows)
    lots = np.random.default_rng(seed).random(n_clips)[different]
    n_kept = max(1, round(share * len(different)))
    return np.sort(different[np.argsort(lots, kind="stable")[:n_kept]])
