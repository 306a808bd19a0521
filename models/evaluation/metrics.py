"""Scores of a multi-label tagger: macro ROC AUC and macro PR AUC.

Conventions
-----------
`truth` is ``(n_clips, n_tags)`` of 0 and 1, `scores` is ``(n_clips, n_tags)`` of finite numbers,
larger where the tag is likelier; logits and probabilities score alike, only their order along the
clips matters. A tag that no clip has, or that all have, orders nothing: it is left out of the
means, and counted.

Metrics
-------
* `roc_auc`: area under the receiver operating characteristic, mean over tags. The chance that a
  clip with the tag is scored above one without; 0.5 for a coin.
* `pr_auc`: area under the precision-recall curve as average precision, mean over tags. For a coin,
  the share of clips that have the tag.

Both from scikit-learn, as in Ferraro et al. 2020; `bootstrap` has them for resampled clips, by
own code that agrees with it and is hundreds of times as fast.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from featurestore.errors import TrainingError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaggingScores:
    """What a tagger reached on a set of clips. PR AUC chooses the best epoch.

    Attributes
    ----------
    roc_auc, pr_auc : float
        Means over the tags that were scored, 0 to 1.
    n_tags_scored : int
        Tags in those means.
    tags_left_out : tuple of str
        Tags without both classes among the clips.
    roc_auc_per_tag, pr_auc_per_tag : dict of str to float
        Of each tag scored.
    """

    monitored: ClassVar[str] = "pr_auc"

    roc_auc: float
    pr_auc: float
    n_tags_scored: int
    tags_left_out: tuple[str, ...]
    roc_auc_per_tag: dict[str, float]
    pr_auc_per_tag: dict[str, float]

    @property
    def metrics(self) -> dict[str, float]:
        """Both means."""
        return {"roc_auc": self.roc_auc, "pr_auc": self.pr_auc}

    def line(self) -> str:
        """Write both means for a person."""
        return f"ROC AUC {self.roc_auc:.3f}  PR AUC {self.pr_auc:.3f}"

    def json(self) -> dict[str, Any]:
        """Give all fields, for a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read what `json` gave."""
        return cls(**fields | {"tags_left_out": tuple(fields["tags_left_out"])})


def validate(truth: npt.NDArray[np.generic], scores: npt.NDArray[np.generic]) -> None:
    """Check that `truth` and `scores` follow the conventions.

    Raises
    ------
    TrainingError
        If they do not, or if no tag has both classes.
    """
    if truth.ndim != 2 or truth.shape != scores.shape:
        raise TrainingError(
            f"truth is {truth.shape} and scores {scores.shape}; "
            "both must be (n_clips, n_tags), clips along the first axis"
        )
    if not np.isin(truth, (0, 1)).all():
        odd = truth[~np.isin(truth, (0, 1))][0]
        raise TrainingError(
            f"truth holds {odd}; it must hold 0 and 1 only (did you swap truth and scores?)"
        )
    if not np.isfinite(scores).all():
        clip, tag = np.argwhere(~np.isfinite(scores))[0]
        raise TrainingError(
            f"scores hold {scores[clip, tag]} at clip {clip}, tag {tag}; the model has diverged: "
            "train with a smaller learning rate"
        )
    if not scorable(truth).any():
        raise TrainingError(
            f"none of the {truth.shape[1]} tags has clips both with and without it among these "
            f"{truth.shape[0]} clips; use more clips, other tags or another split"
        )


def scorable(truth: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Whether each tag has both classes, ``(n_tags,)``."""
    return np.asarray((truth == 1).any(axis=0) & (truth == 0).any(axis=0))


def roc_auc(truth: npt.NDArray[np.generic], scores: npt.NDArray[np.generic]) -> float:
    """Macro ROC AUC, 0 to 1."""
    from sklearn.metrics import roc_auc_score

    return _macro(roc_auc_score, truth, scores)


def pr_auc(truth: npt.NDArray[np.generic], scores: npt.NDArray[np.generic]) -> float:
    """Macro PR AUC (average precision), 0 to 1."""
    from sklearn.metrics import average_precision_score

    return _macro(average_precision_score, truth, scores)


def evaluate(
    truth: npt.NDArray[np.generic], scores: npt.NDArray[np.generic], tags: Sequence[str]
) -> TaggingScores:
    """All metrics, overall and by tag; `tags` names the columns."""
    if len(tags) != truth.shape[-1]:
        raise TrainingError(f"{len(tags)} tags are named for the {truth.shape[-1]} in truth")
    validate(truth, scores)
    scored = np.flatnonzero(scorable(truth))
    columns = {tags[i]: (truth[:, [i]], scores[:, [i]]) for i in scored.tolist()}
    roc_auc_per_tag = {tag: roc_auc(*column) for tag, column in columns.items()}
    pr_auc_per_tag = {tag: pr_auc(*column) for tag, column in columns.items()}
    return TaggingScores(
        roc_auc=float(np.mean(list(roc_auc_per_tag.values()))),
        pr_auc=float(np.mean(list(pr_auc_per_tag.values()))),
        n_tags_scored=len(scored),
        tags_left_out=tuple(tag for tag in tags if tag not in columns),
        roc_auc_per_tag=roc_auc_per_tag,
        pr_auc_per_tag=pr_auc_per_tag,
    )


def bootstrap(
    truth: npt.NDArray[np.generic],
    scores: npt.NDArray[np.generic],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Macro ROC AUC and PR AUC of clips drawn with replacement, many times.

    Which clips are drawn follows from `seed` and `truth` alone, so that the replicates of two
    models on the same clips are paired: replicate i of both is of the same draw. The first of many
    replicates are those of few.

    A draw in which no tag has both classes cannot be scored and is drawn anew; in the others, a tag
    without both classes is left out of the mean, as ever.

    Parameters
    ----------
    truth, scores : array, shape (n_clips, n_tags)
    replicates : int
    seed : int

    Returns
    -------
    roc_auc, pr_auc : array of float64, shape (replicates,)

    References
    ----------
    Efron and Tibshirani: An Introduction to the Bootstrap. 1993.
    """
    validate(truth, scores)
    n_clips = len(truth)
    columns = []
    for tag in np.flatnonzero(scorable(truth)).tolist():
        order = np.argsort(scores[:, tag])[::-1]
        columns.append((order, truth[order, tag] == 1, scores[order, tag]))
    rng = np.random.default_rng(seed)
    blocks: list[npt.NDArray[np.float64]] = []
    n_left = replicates
    while n_left > 0:
        drawn = rng.integers(n_clips, size=(min(n_left, max(1, _BLOCK // n_clips)), n_clips))
        counts = np.empty((n_clips, len(drawn)), np.int32)
        for replicate, clips in enumerate(drawn):
            counts[:, replicate] = np.bincount(clips, minlength=n_clips)
        areas = np.array([_areas(counts[order], hit, score) for order, hit, score in columns])
        possible = ~np.isnan(areas[:, 0]).all(axis=0)
        blocks.append(np.nanmean(areas[:, :, possible], axis=0))
        n_left -= int(possible.sum())
    roc, pr = np.concatenate(blocks, axis=1)
    return roc, pr


_BLOCK = 2**21
"""Clips times replicates that are worked on at once, which bounds the memory."""


def _areas(
    counts: npt.NDArray[np.int32], hit: npt.NDArray[np.bool_], score: npt.NDArray[np.generic]
) -> npt.NDArray[np.float64]:
    """ROC AUC and average precision of one tag in many draws, ``(2, n_replicates)``.

    nan in draws where the tag has one class only.

    Parameters
    ----------
    counts : array, shape (n_clips, n_replicates)
        How often each clip was drawn.
    hit : array, shape (n_clips,)
        Whether the clip has the tag.
    score : array, shape (n_clips,)
        Highest first, as are the clips in `counts` and `hit`.
    """
    # Clips of equal score are passed at once, as one step of the curves: [start, end).
    edges = np.concatenate([[0], np.flatnonzero(np.diff(score)) + 1, [len(score)]])
    hits_until = np.concatenate([[0], np.cumsum(hit)])
    steps = np.flatnonzero(np.diff(hits_until[edges]))  # the others add nothing to either area
    start, end = edges[steps], edges[steps + 1]
    passed, hits = _cumulated(counts), _cumulated(counts[hit])
    n_hits, n_others = hits[-1].astype(float), (passed[-1] - hits[-1]).astype(float)
    hits_before, hits_after = hits[hits_until[start]], hits[hits_until[end]]
    others_before, others_after = passed[start] - hits_before, passed[end] - hits_after
    step = hits_after - hits_before
    below = n_others - (others_before + others_after) / 2  # half of those of equal score
    precision = hits_after / np.maximum(1, passed[end])
    with np.errstate(divide="ignore", invalid="ignore"):
        areas = np.stack(
            [(step * below).sum(axis=0) / (n_hits * n_others), (step * precision).sum(axis=0)]
        )
        areas[1] /= n_hits
    areas[:, (n_hits == 0) | (n_others == 0)] = np.nan
    return areas


def _cumulated(counts: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Sums of the first 0, 1, 2, … rows."""
    sums = np.zeros((len(counts) + 1, counts.shape[1]), np.int32)
    np.cumsum(counts, axis=0, out=sums[1:])
    return sums


def _macro(
    metric: Callable[..., float],
    truth: npt.NDArray[np.generic],
    scores: npt.NDArray[np.generic],
) -> float:
    validate(truth, scores)
    scored = np.flatnonzero(scorable(truth))
    return float(np.mean([metric(truth[:, i], scores[:, i]) for i in scored]))
