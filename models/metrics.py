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

Both from scikit-learn, as in Ferraro et al. 2020.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from featurestore.errors import TrainingError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """What a tagger reached on a set of clips.

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

    roc_auc: float
    pr_auc: float
    n_tags_scored: int
    tags_left_out: tuple[str, ...]
    roc_auc_per_tag: dict[str, float]
    pr_auc_per_tag: dict[str, float]


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
) -> Scores:
    """All metrics, overall and by tag; `tags` names the columns."""
    if len(tags) != truth.shape[-1]:
        raise TrainingError(f"{len(tags)} tags are named for the {truth.shape[-1]} in truth")
    validate(truth, scores)
    scored = np.flatnonzero(scorable(truth))
    columns = {tags[i]: (truth[:, [i]], scores[:, [i]]) for i in scored.tolist()}
    return Scores(
        roc_auc=roc_auc(truth, scores),
        pr_auc=pr_auc(truth, scores),
        n_tags_scored=len(scored),
        tags_left_out=tuple(tag for tag in tags if tag not in columns),
        roc_auc_per_tag={tag: roc_auc(*column) for tag, column in columns.items()},
        pr_auc_per_tag={tag: pr_auc(*column) for tag, column in columns.items()},
    )


def _macro(
    metric: Callable[..., float],
    truth: npt.NDArray[np.generic],
    scores: npt.NDArray[np.generic],
) -> float:
    validate(truth, scores)
    scored = np.flatnonzero(scorable(truth))
    return float(np.mean([metric(truth[:, i], scores[:, i]) for i in scored]))
