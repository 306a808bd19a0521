"""Tags: which of them pay for lost resolution."""

import dataclasses
import math

from models.report.words import rest, settings
from models.study.comparison import Judgement, Point

_COLUMNS = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class TagLoss:
    """What a tag's ROC AUC loses.

    Attributes
    ----------
    tag : str
    baseline : float
        ROC AUC of the tag at the baseline.
    losses : tuple of float
        Baseline minus each of the points, in their order; nan where the tag was not scored.
    """

    tag: str
    baseline: float
    losses: tuple[float, ...]

    @property
    def worst(self) -> float:
        """The largest loss."""
        return max((loss for loss in self.losses if not math.isnan(loss)), default=math.nan)


def tag_losses(judgement: Judgement) -> tuple[tuple[Point, ...], list[TagLoss]]:
    """Losses of each tag at points that differ from the baseline in resolution alone.

    Returns
    -------
    points : tuple of Point
        Costliest first. Of more than twelve, those that have fewer bands or a longer hop, but not
        both, and the recommended one.
    losses : list of TagLoss
        The tag that loses most first.
    """
    baseline = judgement.baseline
    points = _alike(judgement)
    losses = [
        TagLoss(
            tag=tag,
            baseline=auc,
            losses=tuple(auc - p.roc_auc_per_tag.get(tag, math.nan) for p in points),
        )
        for tag, auc in baseline.roc_auc_per_tag.items()
    ]
    order = sorted(losses, key=lambda loss: (-_or_least(loss.worst), loss.tag))
    return points, order


def _alike(judgement: Judgement) -> tuple[Point, ...]:
    baseline = judgement.baseline
    points = [
        p
        for p in reversed(judgement.points)
        if p is not baseline and p.data == baseline.data and settings(p) == settings(baseline)
    ]
    if len(points) > _COLUMNS:
        points = [p for p in points if p is judgement.recommended or _is_one_step(baseline, p)]
    if len(points) > _COLUMNS:
        chosen = {round(i * (len(points) - 1) / (_COLUMNS - 1)) for i in range(_COLUMNS)}
        points = [points[i] for i in sorted(chosen)]
    return tuple(points)


def _is_one_step(a: Point, b: Point) -> bool:
    """Whether the specs differ in bands alone, or in hop alone."""
    same_bands, same_hop = a.spec.n_mels == b.spec.n_mels, a.spec.hop == b.spec.hop
    return rest(a.spec) == rest(b.spec) and same_bands != same_hop


def _or_least(value: float) -> float:
    return -math.inf if math.isnan(value) else value
