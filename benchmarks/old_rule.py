"""What melgrid said of a study before it knew a margin: take the cheapest within the noise."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from models.study.results import Row
from models.study.significance import holm

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OldRule:
    """What the old rule says of a study: Welch's test with the variance over clips added.

    Attributes
    ----------
    specs : tuple of str
        All but the baseline, cheapest first, as in the fields that follow.
    losses : tuple of float
    intervals : tuple of (float, float)
        95 %, of test clips alone.
    verdicts : tuple of str
        ``better``, ``worse`` or ``within noise``: against the baseline, after Holm.
    within_noise : tuple of bool
        Whether each point may be recommended: not worse than the best.
    recommended : str
        Spec: the cheapest that is within the noise of the best.
    """

    specs: tuple[str, ...]
    losses: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    verdicts: tuple[str, ...]
    within_noise: tuple[bool, ...]
    recommended: str

    @property
    def shown(self) -> bool:
        """Whether any point is better or worse than the baseline."""
        return any(verdict != "within noise" for verdict in self.verdicts)

    @property
    def covered(self) -> tuple[bool, ...]:
        """Whether 0 is in each point's interval."""
        return tuple(low <= 0 <= high for low, high in self.intervals)


def old_rule(rows: Sequence[Row]) -> OldRule:
    """Judge the rows of a study whose points are its specs; the most expensive is the baseline."""
    points: dict[str, tuple[Floats, Floats]] = {}
    cost = {row["spec"]: (row["gmac"], row["bytes_per_clip"]) for row in rows}
    for spec in sorted(cost, key=lambda spec: cost[spec]):
        mine = [row for row in rows if row["spec"] == spec]
        seeds = sorted({row["seed"] for row in mine})
        runs = [np.mean([r["roc_auc"] for r in mine if r["seed"] == seed]) for seed in seeds]
        points[spec] = np.array(runs), np.mean([r["bootstrap_roc_auc"] for r in mine], axis=0)
    names = list(points)  # cheapest first
    baseline, others = points[names[-1]], [points[name] for name in names[:-1]]
    losses = [float(baseline[0].mean() - runs.mean()) for runs, _ in others]
    intervals = []
    for loss, (_, draws) in zip(losses, others, strict=True):
        differences = baseline[1] - draws
        low, high = np.quantile(differences, (0.025, 0.975)) + loss - differences.mean()
        intervals.append((float(low), float(high)))
    corrected = holm([_p(baseline, other) for other in others])
    best = max(points.values(), key=lambda point: point[0].mean())
    within = [point is best or _p(best, point) >= 0.05 for point in points.values()]
    return OldRule(
        specs=tuple(names[:-1]),
        losses=tuple(losses),
        intervals=tuple(intervals),
        verdicts=tuple(
            "within noise" if p >= 0.05 else "worse" if loss > 0 else "better"
            for p, loss in zip(corrected, losses, strict=True)
        ),
        within_noise=tuple(within[:-1]),
        recommended=names[within.index(True)],
    )


def _p(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> float:
    over_runs = [(x.var(ddof=1) / len(x), len(x) - 1) for x in (a[0], b[0])]
    variance = sum(v for v, _ in over_runs) + (a[1] - b[1]).var(ddof=1)
    freedom = 1 / sum((v / variance) ** 2 / f for v, f in over_runs)
    distance = abs(a[0].mean() - b[0].mean()) / np.sqrt(variance)
    return float(2 * stats.t.sf(distance, freedom))
