"""Scores of a multi-label tagger: macro ROC AUC, macro PR AUC, and those at a threshold.

Conventions
-----------
`truth` is ``(n_clips, n_tags)`` of 0 and 1, `scores` is ``(n_clips, n_tags)`` of finite numbers,
larger where the tag is likelier: for the areas, logits and probabilities score alike, only their
order along the clips matters; the others need probabilities. A tag that no clip has, or that all
have, orders nothing: it is left out of the means, and counted.

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
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from featurestore.errors import TrainingError

_THRESHOLD = 0.5
_LEAST = np.exp(-100)  # as torch bounds the logarithm

METRICS = ("roc_auc", "pr_auc", "f1", "precision", "recall", "accuracy", "loss")
"""Names of the means that `TaggingScores` has, those that tell most first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaggingScores:
    """Scores of a tagger on a set of clips. PR AUC chooses the best epoch.

    A field that a file of an earlier melgrid lacks is nan.

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
    loss : float
        Mean binary cross-entropy over clips and all tags.
    accuracy : float
        Share of clips and tags, of all, where a probability of 0.5 or more says rightly whether the
        clip has the tag. Where tags are rare, a tagger that says none is nearly always right.
    precision, recall, f1 : float
        At a probability of 0.5, means over the tags that were scored; 0 for a tag that is never
        said.
    """

    monitored: ClassVar[str] = "pr_auc"

    roc_auc: float
    pr_auc: float
    n_tags_scored: int
    tags_left_out: tuple[str, ...]
    roc_auc_per_tag: dict[str, float]
    pr_auc_per_tag: dict[str, float]
    loss: float = math.nan
    accuracy: float = math.nan
    precision: float = math.nan
    recall: float = math.nan
    f1: float = math.nan

    @property
    def metrics(self) -> dict[str, float]:
        """The means, those that tell most first."""
        return {name: getattr(self, name) for name in METRICS}

    def line(self) -> str:
        """Write the means for a person."""
        return f"ROC AUC {self.roc_auc:.3f}  PR AUC {self.pr_auc:.3f}  F1 {self.f1:.3f}"

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
    """Return whether each tag has both classes, ``(n_tags,)``."""
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
    """All metrics of probabilities, overall and by tag; `tags` names the columns."""
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
        **_at_threshold(truth, scores, scored),
    )


def _at_threshold(
    truth: npt.NDArray[np.generic],
    probabilities: npt.NDArray[np.generic],
    scored: npt.NDArray[np.int64],
) -> dict[str, float]:
    """Cross-entropy, and what follows from saying the tags whose probability is at least 0.5."""
    has = truth == 1
    of_tag = probabilities.astype(np.float64)
    said, of_truth = of_tag >= _THRESHOLD, np.where(has, of_tag, 1 - of_tag)
    hits = (has & said).sum(axis=0)[scored]
    n_said, n_has = said.sum(axis=0)[scored], has.sum(axis=0)[scored]
    return {
        "loss": float(-np.log(np.maximum(of_truth, _LEAST)).mean()),
        "accuracy": float((has == said).mean()),
        "precision": float((hits / np.maximum(n_said, 1)).mean()),
        "recall": float((hits / n_has).mean()),
        "f1": float((2 * hits / (n_said + n_has)).mean()),
    }


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stratum:
    """Clips that are drawn with replacement, as many as there are, from each other.

    Attributes
    ----------
    seed : int
    truth : array, shape (n_clips, n_tags)
    place : array of int, shape (n_clips,)
        Which of the test clips each is, from 0; negative where it is none of them.
    """

    seed: int
    truth: npt.NDArray[np.generic]
    place: npt.NDArray[np.int64]

    def draws(self) -> Iterator[npt.NDArray[np.int64]]:
        """Yield how often each clip is drawn, ``(n_clips,)``, without end.

        A draw in which no tag has both classes is drawn anew, if there is a tag that has.
        """
        rng = np.random.default_rng(self.seed)
        n_clips = len(self.truth)
        # As floats, which are exact here and have a fast product.
        positive = (self.truth[:, scorable(self.truth)] == 1).T.astype(np.float64)
        while True:
            counts = np.bincount(rng.integers(n_clips, size=n_clips), minlength=n_clips)
            hits = positive @ counts
            if not len(positive) or ((hits > 0) & (hits < n_clips)).any():
                yield counts


def bootstrap(
    truth: npt.NDArray[np.generic],
    scores: npt.NDArray[np.generic],
    *,
    replicates: int = 1000,
    seed: int = 0,
    strata: Sequence[Stratum] | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Macro ROC AUC and PR AUC of clips drawn with replacement, many times.

    Which clips are drawn follows from `seed` and `truth` alone, or from `strata`, so that the
    replicates of two models on the same clips are paired: replicate i of both is of the same draw.
    The first of many replicates are those of few.

    The same clip may be tested in other company, where folds are drawn anew for each run. Were it
    drawn anew with them, the mean over runs would vary less than the clips do. So each of `strata`
    is drawn whole, and the test clips take the numbers of times that they are drawn in it.

    Clips are drawn, not artists: where clips of an artist are alike beyond their tags, intervals
    are too narrow.

    A draw in which no tag has both classes cannot be scored and is drawn anew; in the others, a tag
    without both classes is left out of the mean, as ever. With `strata`, where other test clips
    share the draw, the next one that can be scored stands in for it.

    Parameters
    ----------
    truth, scores : array, shape (n_clips, n_tags)
    replicates : int
    seed : int
        Without `strata`.
    strata : sequence of Stratum, optional
        Each test clip is in one of them. None is one, of the test clips alone.

    Returns
    -------
    roc_auc, pr_auc : array of float64, shape (replicates,)

    References
    ----------
    Efron and Tibshirani: An Introduction to the Bootstrap. 1993.
    """
    validate(truth, scores)
    n_clips = len(truth)
    if strata is None:
        strata = [Stratum(seed=seed, truth=truth, place=np.arange(n_clips))]
    columns = []
    for tag in np.flatnonzero(scorable(truth)).tolist():
        order = np.argsort(scores[:, tag])[::-1]
        columns.append((order, truth[order, tag] == 1, scores[order, tag]))
    drawn = zip(*(stratum.draws() for stratum in strata), strict=True)
    blocks: list[npt.NDArray[np.float64]] = []
    n_left = replicates
    while n_left > 0:
        counts = np.zeros((n_clips, min(n_left, max(1, _BLOCK // n_clips))), np.int32)
        for replicate, draws in enumerate(itertools.islice(drawn, counts.shape[1])):
            for stratum, draw in zip(strata, draws, strict=True):
                tested = stratum.place >= 0
                counts[stratum.place[tested], replicate] = draw[tested]
        areas = np.array([_areas(counts[order], hit, score) for order, hit, score in columns])
        blocks.append(_means(areas))
        n_left -= counts.shape[1]
    roc, pr = _with_stand_ins(np.concatenate(blocks, axis=1))
    return roc, pr


def _means(areas: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means over the tags that can be scored, ``(2, n_replicates)``; nan where none can."""
    possible = ~np.isnan(areas[:, 0]).all(axis=0)
    means = np.full(areas.shape[1:], np.nan)
    means[:, possible] = np.nanmean(areas[:, :, possible], axis=0)
    return means


def _with_stand_ins(replicates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Put the next replicate, after the last the first, in the place of each that is nan."""
    possible = np.flatnonzero(~np.isnan(replicates[0]))
    if not len(possible):
        raise TrainingError(
            f"none of {replicates.shape[1]} draws of the test clips has a tag both with and "
            "without clips; use more clips or other tags"
        )
    wanted = np.arange(replicates.shape[1])
    following = np.searchsorted(possible, wanted) % len(possible)
    return replicates[:, possible[following]]


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
