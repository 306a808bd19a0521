"""What a study can tell: the smallest loss that so many runs and test clips show.

Model
-----
The difference of macro ROC AUC between two points has two kinds of chance: over runs (first
weights, order, and which clips train, where these are redrawn) and over test clips. With `J` runs
and `n` test clips, its variance is::

    over_runs² (1 / J + n_test / n_train)  +  per_clip² / n

The term ``n_test / n_train`` is Nadeau and Bengio's [1]_: runs whose training clips are redrawn
from one collection share most of them, so that their mean varies more than independent runs' would.
It is 0 where the same clips train in all runs. The first summand is estimated with ``J - 1``
degrees of freedom, the second with as good as infinitely many; the sum's are Welch and
Satterthwaite's.

A loss is *detectable* if a one-sided t-test at 5 % finds it in 80 % of all studies. It is about
``(t_0.95 + t_0.8)`` standard errors; the noncentral t distribution gives it without the
approximation, which matters with few runs. The same number answers both questions of a study: the
smallest true loss that is found ``worse``, and how far below the margin a true loss must lie to be
found ``no worse``.

References
----------
.. [1] Nadeau and Bengio: Inference for the generalization error. Machine Learning 52, 2003.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from featurestore.errors import TrainingSettingsError

ALPHA = 0.05
"""How often a loss is found that is none, at most."""

POWER = 0.8
"""How often a loss that is there is found."""

_LARGE = 1000.0
"""Degrees of freedom from which on the normal distribution is within 0.3 % of Student's."""

_MOST = 2**40
"""No study is larger."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deviations:
    """Standard deviations of a difference of macro ROC AUC, by what they come from.

    Attributes
    ----------
    over_runs : float
        Of one run's difference, all of its folds averaged, from run to run.
    per_clip : float
        Of the difference from one set of test clips to another, scaled to a single clip: over `n`
        test clips it is ``per_clip / sqrt(n)``.
    test_per_train : float
        Test clips per training clip, ``n_test / n_train``, where the training clips are redrawn
        with each run; 0 where all runs learn from the same ones.

    Raises
    ------
    TrainingSettingsError
        If one is negative or no finite number.
    """

    over_runs: float
    per_clip: float
    test_per_train: float = 0.0

    def __post_init__(self) -> None:
        for field, value in dataclasses.asdict(self).items():
            if not 0 <= value < math.inf:
                raise TrainingSettingsError(
                    f"invalid {field} {value}: must be a finite number from 0 on"
                )

    def standard_error(self, *, n_runs: float, n_clips: float) -> float:
        """Of the mean difference over `n_runs`, tested on `n_clips`."""
        return math.sqrt(sum(self._variances(n_runs, n_clips)))

    def freedom(self, *, n_runs: float, n_clips: float) -> float:
        """Degrees of freedom of the standard error, after Welch and Satterthwaite."""
        over_runs, over_clips = self._variances(n_runs, n_clips)
        if over_runs == 0:
            return math.inf
        share = over_runs / (over_runs + over_clips)
        return (n_runs - 1) / share**2

    def _variances(self, n_runs: float, n_clips: float) -> tuple[float, float]:
        return self.over_runs**2 * (1 / n_runs + self.test_per_train), self.per_clip**2 / n_clips


TYPICAL = Deviations(over_runs=0.011, per_clip=0.14)
"""Where nothing was measured yet: what benchmarks/RESULTS.md found on 200 real clips.

Over runs: the median standard deviation of its eight points, 0.008 (0.004 to 0.013), times the root
of 2 for a difference. Per clip: the difference of 16 to 96 bands, 0.53 % and at worst 2.4 %, is a
standard deviation of 0.0096 over 200 clips.
"""

TYPICAL_SOURCE = "typical standard deviations (benchmarks/RESULTS.md: 200 clips, 4 tags)"


def deviations_of(
    differences: npt.ArrayLike,
    replicates: npt.ArrayLike,
    *,
    n_clips: int,
    test_per_train: float = 0.0,
) -> Deviations | None:
    """Estimate from a pilot's paired differences; None where one of the two cannot be known.

    Parameters
    ----------
    differences : array, shape (n_runs,)
        Of each run, the means over its folds.
    replicates : array, shape (n_replicates,)
        Of the means over all runs, with resampled test clips.
    n_clips : int
        Test clips that were resampled, all folds together.
    test_per_train : float
        See `Deviations`.
    """
    differences, replicates = np.asarray(differences, float), np.asarray(replicates, float)
    if differences.size < 2 or replicates.size < 2:
        return None
    return Deviations(
        over_runs=float(differences.std(ddof=1)),
        per_clip=float(replicates.std(ddof=1)) * math.sqrt(n_clips),
        test_per_train=test_per_train,
    )


def detectable_loss(
    deviations: Deviations,
    *,
    n_runs: int,
    n_clips: int,
    alpha: float = ALPHA,
    power: float = POWER,
) -> float | None:
    """Smallest true loss of ROC AUC that is told with probability `power`.

    None where no loss is told, however large: a single run says nothing of other runs.

    Parameters
    ----------
    deviations : Deviations
    n_runs, n_clips : int
        Runs of either point; test clips, all folds together.
    alpha : float
        Level of the one-sided test.
    power : float

    Raises
    ------
    TrainingSettingsError
        If there are no runs or no clips.
    """
    for field, value in (("n_runs", n_runs), ("n_clips", n_clips)):
        if value < 1:
            raise TrainingSettingsError(f"invalid {field} {value}: must be at least 1")
    if n_runs == 1:
        return None
    return _detectable(deviations, n_runs, n_clips, alpha, power)


def runs_needed(
    deviations: Deviations,
    loss: float,
    *,
    n_clips: int,
    alpha: float = ALPHA,
    power: float = POWER,
) -> int | None:
    """Fewest runs of either point that tell `loss`; None where no number of runs would.

    More runs do not help where the test clips alone, or the training clips that all runs share,
    leave too much to chance: then it takes more clips.
    """
    return _fewest(lambda n: _detectable(deviations, n, n_clips, alpha, power), loss, first=2)


def clips_needed(
    deviations: Deviations,
    loss: float,
    *,
    n_runs: int,
    alpha: float = ALPHA,
    power: float = POWER,
) -> int | None:
    """Fewest test clips that tell `loss`; None where no number of clips would.

    With as many training clips more, so that ``n_test / n_train`` stays. That a network which
    learns from more clips varies less is not counted on.
    """
    if n_runs < 2:
        return None
    return _fewest(lambda n: _detectable(deviations, n_runs, n, alpha, power), loss, first=1)


def runs_and_clips_needed(
    deviations: Deviations,
    loss: float,
    *,
    most_runs: int,
    alpha: float = ALPHA,
    power: float = POWER,
) -> tuple[int, int] | None:
    """Runs and test clips that tell `loss` at the least cost; None where no clips would.

    The least cost is the smallest product of both, which is what trainings times the clips of each
    come to; of equals, the one of fewest runs. It leaves about as much to the chance of the runs as
    to that of the test clips, and is what a user can act on: the fewest clips that could do take
    all runs that are allowed, and spare about half of the clips; the fewest runs take clips without
    end. One run less or one clip less does not tell `loss`.

    Parameters
    ----------
    deviations : Deviations
    loss : float
    most_runs : int
        Of either point; more are not considered.
    alpha, power : float
        See `detectable_loss`.

    Returns
    -------
    tuple of int or None
        Runs of either point, test clips. Of the clips, what `clips_needed` says holds.
    """
    fewest = clips_needed(deviations, loss, n_runs=most_runs, alpha=alpha, power=power)
    if fewest is None:
        return None
    reach = loss / _noncentrality(math.inf, alpha, power)

    def at_least(n_runs: int) -> float:
        """The product, were the variance known: Student's test needs no fewer clips."""
        spare = reach**2 - deviations.standard_error(n_runs=n_runs, n_clips=math.inf) ** 2
        return n_runs * deviations.per_clip**2 / spare if spare > 0 else math.inf

    best = (most_runs * fewest, most_runs, fewest)
    for n_runs in sorted(range(2, most_runs), key=at_least):
        if at_least(n_runs) > best[0]:
            break
        # As many clips as cost no more: where they do not tell, it takes no bisection.
        most_clips = best[0] // n_runs
        if not most_clips or _detectable(deviations, n_runs, most_clips, alpha, power) > loss:
            continue
        n_clips = clips_needed(deviations, loss, n_runs=n_runs, alpha=alpha, power=power)
        if n_clips is not None:
            best = min(best, (n_runs * n_clips, n_runs, n_clips))
    return best[1:]


def _detectable(
    deviations: Deviations, n_runs: float, n_clips: float, alpha: float, power: float
) -> float:
    # Welch and Satterthwaite's degrees of freedom fall as the clips' part shrinks: with two or
    # three runs the test would tell less with more clips. What endless clips tell is the floor, so
    # that more clips are never planned to tell less.
    return max(
        deviations.standard_error(n_runs=n_runs, n_clips=n)
        * _noncentrality(deviations.freedom(n_runs=n_runs, n_clips=n), alpha, power)
        for n in (n_clips, math.inf)
    )


def _noncentrality(freedom: float, alpha: float, power: float) -> float:
    """Standard errors that a difference must have for a one-sided t-test to find it."""
    if freedom >= _LARGE:
        return float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(power))
    critical = stats.t.ppf(1 - alpha, freedom)
    # Few degrees of freedom need most, and never more than this.
    most = 2 * (critical + stats.t.ppf(power, freedom)) + 10
    return float(
        optimize.brentq(lambda ncp: stats.nct.sf(critical, freedom, ncp) - power, 0.0, most)
    )


def _fewest(detectable: Callable[[float], float], loss: float, *, first: int) -> int | None:
    """Smallest whole number from `first` on at which `loss` is detectable, by bisection."""
    if detectable(first) <= loss:
        return first
    if detectable(math.inf) > loss:
        return None
    low, high = first, 2 * first
    while detectable(high) > loss:
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if detectable(middle) <= loss else (middle, high)
    return high
