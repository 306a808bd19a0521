"""Tests of a difference whose variance is a sum of estimates, and corrections for many of them."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

ALPHA = 0.05
"""Below this a p-value is a verdict."""

Interval = tuple[float, float]

NO_INTERVAL: Interval = (math.nan, math.nan)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variance:
    """An estimate of a variance, and its degrees of freedom (inf where it is known)."""

    value: float
    freedom: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value whose variance is the sum of some independent estimates.

    The sum's degrees of freedom are Welch and Satterthwaite's. With the two of ``s_i² / n_i`` and
    ``n_i - 1``, the test is Welch's. Without variances, nothing is known: tests give nan.
    """

    value: float
    variances: tuple[Variance, ...]

    @property
    def standard_error(self) -> float:
        """Root of the summed variance."""
        if not self.variances:
            return math.nan
        return math.sqrt(sum(v.value for v in self.variances))

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the summed variance."""
        total = sum(v.value for v in self.variances)
        if not total:
            return math.inf
        inverse = sum((v.value / total) ** 2 / v.freedom for v in self.variances)
        return 1 / inverse if inverse else math.inf

    @property
    def interval(self) -> Interval:
        """95 %, from both sides."""
        reach = self.standard_error * float(stats.t.ppf(1 - ALPHA / 2, self.freedom))
        return self.value - reach, self.value + reach

    @property
    def upper_bound(self) -> float:
        """95 %, from one side."""
        return self.value + self.standard_error * float(stats.t.ppf(1 - ALPHA, self.freedom))

    @property
    def p(self) -> float:
        """Two-sided, of the value being 0."""
        distance, error = abs(self.value), self.standard_error
        if math.isnan(error):
            return math.nan
        if error == 0:
            return 1.0 if distance == 0 else 0.0
        return float(2 * stats.t.sf(distance / error, self.freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; nan stays nan, and does not count as a comparison."""
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        corrected[i] = highest
    return corrected


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Smallest false discovery rates at which each is a discovery; nan stays nan, uncounted.

    References
    ----------
    Benjamini and Hochberg: Controlling the false discovery rate. J. R. Stat. Soc. B 57, 1995.
    """
    order = sorted(((p, i) for i, p in enumerate(p_values) if not math.isnan(p)), reverse=True)
    corrected = [math.nan] * len(p_values)
    lowest = 1.0
    for n_larger, (p, i) in enumerate(order):
        lowest = min(lowest, p * len(order) / (len(order) - n_larger))
        corrected[i] = lowest
    return corrected


def percentile_interval(replicates: np.ndarray, score: float) -> Interval:
    """95 % of bootstrap replicates, moved so that their mean is the score."""
    if not replicates.size:
        return NO_INTERVAL
    low, high = (np.quantile(replicates, (0.025, 0.975)) + score - replicates.mean()).tolist()
    return low, high
