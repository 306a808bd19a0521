"""The loss of one point against another, and the three kinds of chance that it stands under.

Conventions
-----------
Pairs
    Runs of the same seed and partition meet the same chance on both sides. Where two points have
    the same runs, what varies is taken of their differences; otherwise of each side, as Welch does.
Runs
    Another run has other first weights, another order, and where partitions are drawn other
    training clips. The mean over runs varies by the variance over runs, ``s²``, over their number
    ``R``, with ``R - 1`` degrees of freedom. Of few runs, ``s²`` is much too small now and then:
    it is at least what all points of the study have together (`typical_variance`). A run is one
    seed (and partition) on all of the folds, averaged first: folds share training clips and differ
    in how hard they are.
Test clips
    The covariance of the bootstrap's replicates between *different* runs: what the clips do to all
    runs. What they do to one run alone is in ``s²`` already, and would be counted twice.
Training clips
    Runs whose training clips are drawn from one collection share most of them, so that their mean
    varies by more than ``s² / R``. Where folds are redrawn, the variance is ``s² (1 / R + n_test /
    n_train)`` as Nadeau and Bengio have it [1]_, of one training: with k folds, of which one
    tests and one validates, the ratio is ``1 / (k - 2)``, and R counts partitions, not folds, as
    all clips are tested in each. Where a training split is drawn with replacement, the drawings
    vary among each other by as much as training splits do, so that it is ``s² (1 / R + 1)``. Where
    all runs learn from the same clips, nothing shows what others would have changed; the variance
    over test clips is then raised by ``n_test / n_train``: a training clip is taken to leave as
    much to chance as a test clip. This is an allowance, no estimate: none without bias exists [2]_.

References
----------
.. [1] Nadeau and Bengio: Inference for the generalization error. Machine Learning 52, 2003.
.. [2] Bengio and Grandvalet: No unbiased estimator of the variance of K-fold cross-validation.
   JMLR 5, 2004.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.study.power import Deviations
from models.study.results import Row
from models.study.run_table import Folds, Run, RunTable
from models.study.significance import Estimate, Variance

_ROUNDING = 1e-9

_TYPICAL_RATIO = 1 / 3
"""Where rows do not say how many clips trained and tested: three folds of five train, one tests."""

FEWEST = 10
"""Clips with a tag, and clips without, below which an AUC's error is not estimated."""

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """How much ROC AUC `other` loses against `reference`.

    Attributes
    ----------
    estimate : Estimate
        The loss, with all kinds of chance; without variances where one of them is not known.
    welch : Estimate
        The loss, with the chance over runs alone, as the study of Ferraro et al. tested it.
    unknown : str
        Why nothing is told, a clause; empty where something may be.
    n_runs : int
        Of the side that has fewer.
    n_clips : int
        Test clips, all folds together.
    deviations : Deviations or None
        For planning; None where not known.
    """

    estimate: Estimate
    welch: Estimate
    unknown: str
    n_runs: int
    n_clips: int
    deviations: Deviations | None


def difference(reference: RunTable, other: RunTable, typical: Variance | None = None) -> Difference:
    """Compare two points over the folds that both have.

    Parameters
    ----------
    reference, other : RunTable
    typical : Variance, optional
        See `typical_variance`. Where the variance over runs is less, as it is by chance where they
        are few, this one is taken.
    """
    folds = [fold for fold in reference.folds if fold in other.folds]
    if not folds:
        return _not_told(math.nan, "no fold was tested at both points")
    tables = (reference, other)
    all_sides = [table.per_run("roc_auc", folds, table.runs) for table in tables]
    loss = float(all_sides[0].mean() - all_sides[1].mean())
    welch = Estimate(value=loss, variances=over_runs(all_sides))
    runs = runs_of(reference, other)
    n_runs = min(map(len, runs))
    rows = [table.cells[run, fold] for table in tables for run in table.runs for fold in folds]
    n_clips = _n_test_clips(rows, len(folds))
    found = Difference(
        estimate=Estimate(value=loss, variances=()),
        welch=welch,
        unknown="",
        n_runs=n_runs,
        n_clips=n_clips,
        deviations=None,
    )
    sides = [t.per_run("roc_auc", folds, r) for t, r in zip(tables, runs, strict=True)]
    replicates = [
        t.replicates("bootstrap_roc_auc", folds, r) for t, r in zip(tables, runs, strict=True)
    ]
    n_replicates = min(r.shape[1] for r in replicates)
    replicates = [r[:, :n_replicates] for r in replicates]
    all_replicates = replicates
    if runs[0] == runs[1]:
        sides, replicates = [sides[0] - sides[1]], [replicates[0] - replicates[1]]
    unknown = _unknown(tables, n_runs, all_replicates, sides, replicates)
    if unknown or (unknown := _too_few_with_tags(reference, folds)):
        return dataclasses.replace(found, unknown=unknown)
    shared, allowance = correction(tables, ratio_of_clips(rows), has_folds=folds != [None])
    terms = over_runs(sides)
    if typical and len(sides) == 1 and terms[0].value < typical.value / n_runs:
        terms = (Variance(value=typical.value / n_runs, freedom=typical.freedom),)
    # A bootstrap's variance is too small by one clip in those of a fold; where runs are tested by
    # other folds than clips are drawn from, so is what either run leaves about its folds' means.
    is_redrawn = all(table.is_redrawn for table in tables) and folds != [None]
    n_fold = n_clips / len(folds)
    of_sample = (n_fold / (n_fold - 1)) ** (3 if is_redrawn else 1) if n_fold > 1 else 1.0
    over_clips = (1 + allowance) * of_sample * max(0.0, _shared_variance(replicates))
    variances = [
        Variance(value=term.value * (1 + len(side) * shared), freedom=term.freedom)
        for term, side in zip(terms, sides, strict=True)
    ]
    variances.append(Variance(value=over_clips, freedom=n_clips - 1 if n_clips > 1 else math.inf))
    return dataclasses.replace(
        found,
        estimate=Estimate(value=loss, variances=tuple(variances)),
        deviations=Deviations(
            over_runs=math.sqrt(sum(term.value for term in terms) * n_runs),
            per_clip=math.sqrt(over_clips * n_clips),
            test_per_train=shared,
        )
        if n_clips
        else None,
    )


def typical_variance(tables: Sequence[RunTable]) -> Variance | None:
    """What runs do to the difference of two points of a study, where all points have the same runs.

    Twice the residual variance of points by runs, from ``(n_points - 1) (n_runs - 1)`` degrees of
    freedom. None where fewer than three points share runs and folds.
    """
    first = tables[0]
    alike = [t for t in tables if (t.runs, t.folds) == (first.runs, first.folds)]
    if len(alike) < 3 or len(first.runs) < 2:
        return None
    scores = np.array([t.per_run("roc_auc", t.folds, t.runs) for t in alike])
    residuals = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    freedom = (scores.shape[0] - 1) * (scores.shape[1] - 1)
    return Variance(value=2 * float((residuals**2).sum()) / freedom, freedom=freedom)


def _not_told(loss: float, unknown: str) -> Difference:
    nothing = Estimate(value=loss, variances=())
    return Difference(
        estimate=nothing, welch=nothing, unknown=unknown, n_runs=0, n_clips=0, deviations=None
    )


def runs_of(reference: RunTable, other: RunTable) -> tuple[Sequence[Run], Sequence[Run]]:
    """The runs of either side that differ from one another by more than their label."""
    ours, theirs = reference.distinct_runs, other.distinct_runs
    if reference.runs == other.runs:
        both = [run for run in ours if run in theirs]
        return both, both
    return ours, theirs


def _unknown(
    tables: Sequence[RunTable],
    n_runs: int,
    all_replicates: Sequence[Floats],
    sides: Sequence[Floats],
    replicates: Sequence[Floats],
) -> str:
    """Which kind of chance is not known, a clause; empty if none.

    `all_replicates` are of either point; `sides` and `replicates` of the differences where runs are
    paired.
    """
    for table in tables:
        if len(table.runs) == 1:
            return (
                "a single run says nothing of other runs; two runs or more (--runs) would begin to "
                "tell"
            )
    # Before the runs, whose scores are alike now and then where hardly any scores are possible.
    if replicates[0].shape[1] > 1 and not any(map(_varies, all_replicates)):
        return "the test clips are too few: whichever are drawn, the scores stay the same"
    if n_runs < 2:
        return "the runs have the same scores, so that they say nothing of other runs"
    if replicates[0].shape[1] < 2:
        return "the rows hold no bootstrap replicates, which tell what other test clips would do"
    if not any(map(_varies, replicates)) and any(map(np.any, sides)):
        return "the test clips are too few: whichever are drawn, the loss stays the same"
    return ""


def _too_few_with_tags(reference: RunTable, folds: Folds) -> str:
    """Whether all tags together have too few clips for a bootstrap, a clause; empty if not.

    What tells of a tag is the clips that have it, or those that do not where these are fewer: of a
    single tag of three clips, draws vary much less than three other clips would make the score.
    """
    rows = [reference.cells[reference.runs[0], fold] for fold in folds]
    if not all(row.get("n_positive_per_tag") and "n_test" in row for row in rows):
        return ""
    n = sum(min(n, row["n_test"] - n) for row in rows for n in row["n_positive_per_tag"].values())
    if n >= FEWEST:
        return ""
    return (
        f"the test clips are too few: {n} are all that the tags have with them, or without, and "
        f"{FEWEST} is the least to tell from"
    )


def _varies(replicates: Floats) -> bool:
    """Whether other test clips change any run's score, or difference of scores."""
    return bool(np.ptp(replicates, axis=1).max() >= _ROUNDING)


def correction(tables: Sequence[RunTable], ratio: float, *, has_folds: bool) -> tuple[float, float]:
    """What training clips add: to the variance over runs, and to that over test clips.

    Parameters
    ----------
    tables : sequence of RunTable
    ratio : float
        Test clips per training clip of one training.
    has_folds : bool

    Returns
    -------
    shared : float
        Of a run's variance, what all runs have in common, since they learn from one collection.
    allowance : float
        Of the test clips' variance, what is added for training clips that no run varies.
    """
    if all(table.is_redrawn for table in tables):
        return (ratio if has_folds else 1.0), 0.0
    return 0.0, ratio


def over_runs(sides: Sequence[Floats]) -> tuple[Variance, ...]:
    """Of the mean over the runs of each side; none where a side has a single run."""
    if min(map(len, sides)) < 2:
        return ()
    return tuple(
        Variance(value=float(side.var(ddof=1)) / len(side), freedom=len(side) - 1) for side in sides
    )


def _shared_variance(replicates: Sequence[Floats]) -> float:
    """Mean covariance of different runs' replicates, each ``(n_runs, n_replicates)``.

    Of two sides, that of their difference.
    """
    own = sum(_covariance_of_runs(side) for side in replicates)
    if len(replicates) == 1:
        return own
    means = [side.mean(axis=0) for side in replicates]
    return own - 2 * float(np.cov(*means)[0, 1])


def _covariance_of_runs(replicates: Floats) -> float:
    n_runs = len(replicates)
    of_mean = replicates.mean(axis=0).var(ddof=1)
    of_run = replicates.var(axis=1, ddof=1).mean()
    return float((n_runs * of_mean - of_run) / (n_runs - 1))


def _n_test_clips(rows: Sequence[Row], n_folds: int) -> int:
    """Of all folds together; 0 where rows do not say."""
    found = [row["n_test"] for row in rows if "n_test" in row]
    return round(sum(found) / len(found) * n_folds) if found else 0


def ratio_of_clips(rows: Sequence[Row]) -> float:
    """Test clips per training clip of one training."""
    known = [r for r in rows if r.get("n_train") and r.get("n_test")]
    if not known:
        return _TYPICAL_RATIO
    return float(sum(r["n_test"] for r in known) / sum(r["n_train"] for r in known))
