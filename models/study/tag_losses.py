"""What each tag pays: its loss of ROC AUC between two points, and whether that is shown.

Conventions
-----------
The variance over runs is that of the runs' differences (or of either side, see
`models.study.difference`). Rows hold no bootstrap by tag, so that the variance over test clips is
an estimate: Hanley and McNeil's [1]_ of either side, from its AUC and the number of clips with and
without the tag, and of both together as their macro scores' replicates are correlated. A tag with
fewer than `models.study.difference.FEWEST` clips with it, or without it, is never told; nor is one
of a row that does not say how many there are. Among all tags and points, at most one discovery in
twenty is expected to be false (Benjamini and Hochberg).

References
----------
.. [1] Hanley and McNeil: The meaning and use of the area under a receiver operating characteristic
   (ROC) curve. Radiology 143, 1982.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from models.study.difference import FEWEST, correction, over_runs, ratio_of_clips, runs_of
from models.study.run_table import Run, RunTable
from models.study.significance import (
    ALPHA,
    NO_INTERVAL,
    Estimate,
    Interval,
    Variance,
    benjamini_hochberg,
)

TagVerdict = Literal["better", "worse", "not told"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TagLoss:
    """What a tag loses at a point against the baseline.

    Attributes
    ----------
    loss : float
        ROC AUC of the baseline minus the point's; nan where the tag was not scored at both.
    interval : tuple of float
        95 %, of runs and test clips; nan where not known.
    rate : float
        The false discovery rate at which it would be a discovery; nan where not known.
    verdict : {'better', 'worse', 'not told'}
    """

    loss: float
    interval: Interval
    rate: float
    verdict: TagVerdict


def tag_losses(reference: RunTable, others: Sequence[RunTable]) -> list[dict[str, TagLoss]]:
    """Losses of every tag that the baseline scored, at each of `others`."""
    tags = list(dict.fromkeys(tag for row in reference.rows for tag in row["roc_auc_per_tag"]))
    estimates = []
    for other in others:
        correlation = _correlation(reference, other)
        estimates.append({tag: _estimate(reference, other, tag, correlation) for tag in tags})
    flat = [estimate for found in estimates for estimate in found.values()]
    rates = iter(benjamini_hochberg([estimate.p for estimate in flat]))
    return [
        {tag: _judged(estimate, next(rates)) for tag, estimate in found.items()}
        for found in estimates
    ]


def _judged(estimate: Estimate, rate: float) -> TagLoss:
    shown = rate < ALPHA
    return TagLoss(
        loss=estimate.value,
        interval=estimate.interval if estimate.variances else NO_INTERVAL,
        rate=rate,
        verdict=("worse" if estimate.value > 0 else "better") if shown else "not told",
    )


def _estimate(reference: RunTable, other: RunTable, tag: str, correlation: float) -> Estimate:
    tables = (reference, other)
    folds = [
        fold
        for fold in reference.folds
        if fold in other.folds and all(_has(table, tag, fold) for table in tables)
    ]
    if not folds:
        return Estimate(value=math.nan, variances=())
    sides = [_per_run(table, tag, folds, table.runs) for table in tables]
    loss = float(sides[0].mean() - sides[1].mean())
    runs = runs_of(reference, other)
    if min(map(len, runs)) < 2:
        return Estimate(value=loss, variances=())
    sides = [_per_run(table, tag, folds, r) for table, r in zip(tables, runs, strict=True)]
    areas = [float(side.mean()) for side in sides]
    clips = _over_clips(reference, tag, folds, areas, correlation)
    if clips is None:
        return Estimate(value=loss, variances=())
    if runs[0] == runs[1]:
        sides = [sides[0] - sides[1]]
    rows = [table.cells[run, fold] for table in tables for run in table.runs for fold in folds]
    shared, allowance = correction(tables, ratio_of_clips(rows), has_folds=folds != [None])
    variances = [
        Variance(value=term.value * (1 + len(side) * shared), freedom=term.freedom)
        for term, side in zip(over_runs(sides), sides, strict=True)
    ]
    variances.append(Variance(value=clips.value * (1 + allowance), freedom=clips.freedom))
    return Estimate(value=loss, variances=tuple(variances))


def _has(table: RunTable, tag: str, fold: int | None) -> bool:
    return all(tag in table.cells[run, fold]["roc_auc_per_tag"] for run in table.runs)


def _per_run(
    table: RunTable, tag: str, folds: Sequence[int | None], runs: Sequence[Run]
) -> np.ndarray:
    scores = [[table.cells[run, fold]["roc_auc_per_tag"][tag] for fold in folds] for run in runs]
    return np.asarray(np.mean(scores, axis=1))


def _over_clips(
    reference: RunTable,
    tag: str,
    folds: Sequence[int | None],
    areas: Sequence[float],
    correlation: float,
) -> Variance | None:
    """Of the difference, by Hanley and McNeil; None where too little is known of the clips."""
    rows = [reference.cells[reference.runs[0], fold] for fold in folds]
    if not all("n_test" in row and tag in row.get("n_positive_per_tag", {}) for row in rows):
        return None
    n_with = sum(row["n_positive_per_tag"][tag] for row in rows)
    n_without = sum(row["n_test"] for row in rows) - n_with
    if min(n_with, n_without) < FEWEST:
        return None
    ours, theirs = (hanley_mcneil(area, n_with, n_without) for area in areas)
    variance = ours + theirs - 2 * correlation * math.sqrt(ours * theirs)
    return Variance(value=variance, freedom=min(n_with, n_without) - 1)


def _correlation(reference: RunTable, other: RunTable) -> float:
    """Of the macro scores' replicates, each averaged over runs; 0 rather than less."""
    folds = [fold for fold in reference.folds if fold in other.folds]
    if not folds:
        return 0.0
    means = [
        table.replicates("bootstrap_roc_auc", folds, table.runs).mean(axis=0)
        for table in (reference, other)
    ]
    n = min(map(len, means))
    if n < 2 or any(np.ptp(mean[:n]) == 0 for mean in means):
        return 0.0
    return max(0.0, float(np.corrcoef(means[0][:n], means[1][:n])[0, 1]))


def hanley_mcneil(area: float, n_with: int, n_without: int) -> float:
    """Variance of an AUC over clips.

    ``(A (1 - A) + (m - 1) (A / (2 - A) - A²) + (n - 1) (2 A² / (1 + A) - A²)) / (m n)`` with `m`
    clips that have the tag and `n` that have not. At an area of 0 or 1 it would be 0, though
    nothing is known for certain: the area is kept half a pair of clips away from them.
    """
    m, n = n_with, n_without
    edge = 0.5 / (m * n)
    a = min(max(area, edge), 1 - edge)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    return (a * (1 - a) + (m - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (m * n)
