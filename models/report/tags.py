"""Tags: which of them pay for lost resolution."""

import dataclasses
import math

from featurestore.specs.mel import FeatureSpec
from models.study.comparison import Comparison, Point
from models.study.formatting import scaling, settings
from models.study.tag_losses import TagLoss

_COLUMNS = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class TagRow:
    """What a tag's ROC AUC loses.

    Attributes
    ----------
    tag : str
    baseline : float
        ROC AUC of the tag at the baseline.
    losses : tuple of TagLoss
        Baseline minus each of the points, in their order.
    """

    tag: str
    baseline: float
    losses: tuple[TagLoss, ...]

    @property
    def largest_shown(self) -> float:
        """The largest loss that is shown; -inf where none is."""
        return max((t.loss for t in self.losses if t.verdict == "worse"), default=-math.inf)


def tag_rows(comparison: Comparison) -> tuple[tuple[Point, ...], list[TagRow]]:
    """Losses of each tag at points that differ from the baseline in resolution alone.

    Returns
    -------
    points : tuple of Point
        Costliest first. Of more than twelve, those that have fewer bands or a longer hop, but not
        both, and the recommended one.
    rows : list of TagRow
        The tag of the largest loss that is shown first; those of which none is, by name.
    """
    points = _alike(comparison)
    rows = [
        TagRow(tag=tag, baseline=auc, losses=tuple(p.tag_losses[tag] for p in points))
        for tag, auc in comparison.baseline.roc_auc_per_tag.items()
    ]
    return points, sorted(rows, key=lambda row: (-row.largest_shown, row.tag))


def _alike(comparison: Comparison) -> tuple[Point, ...]:
    baseline = comparison.baseline
    points = [
        p
        for p in reversed(comparison.points)
        if p is not baseline and p.data == baseline.data and settings(p) == settings(baseline)
    ]
    if len(points) > _COLUMNS:
        points = [p for p in points if p is comparison.recommended or _is_one_step(baseline, p)]
    if len(points) > _COLUMNS:
        chosen = {round(i * (len(points) - 1) / (_COLUMNS - 1)) for i in range(_COLUMNS)}
        points = [points[i] for i in sorted(chosen)]
    return tuple(points)


def _is_one_step(a: Point, b: Point) -> bool:
    """Whether the specs differ in bands alone, or in hop alone."""
    if not (isinstance(a.spec, FeatureSpec) and isinstance(b.spec, FeatureSpec)):
        return False
    same_bands, same_hop = a.spec.n_mels == b.spec.n_mels, a.spec.hop == b.spec.hop
    return scaling(a.spec) == scaling(b.spec) and same_bands != same_hop
