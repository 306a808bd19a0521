"""Which point to take, and why; what it would take to know more."""

from collections.abc import Mapping, Sequence
from typing import Literal

from models.study.difference import Difference
from models.study.power import clips_needed, detectable_loss, runs_needed
from models.study.run_table import RunTable
from models.study.significance import ALPHA, holm

Verdict = Literal["baseline", "better", "worse", "no worse", "not told"]


def verdict_of(found: Difference, p_holm: float, margin: float) -> Verdict:
    """Say what is shown of a loss against the baseline.

    ``better`` if it is a gain at 5 % of all studies, corrected for many comparisons; ``no worse``
    if the one-sided 95 % upper bound is below the margin; ``worse`` if it is a loss, at 5 % again;
    else ``not told``. A loss that is shown, but shown to be below the margin, is ``no worse``.
    """
    loss = found.estimate.value
    if found.unknown or not found.estimate.variances:
        return "not told"
    if p_holm < ALPHA and loss < 0:
        return "better"
    if found.estimate.upper_bound < margin:
        return "no worse"
    return "worse" if p_holm < ALPHA else "not told"


def remedy_of(found: Difference, margin: float) -> str:
    """What it would take to tell a loss such as was found, a clause; empty where not known.

    Below the margin, to show that the loss is; else, that there is one. With 80 % power, without
    the correction for many comparisons.
    """
    if found.n_runs == 1:
        return "two runs or more (--runs) would begin to tell"
    deviations, loss = found.deviations, found.estimate.value
    if deviations is None or found.n_runs < 2:
        return ""
    wanted = margin - loss if loss < margin else loss
    what = (
        f"that the loss is below {percent(margin)}"
        if loss < margin
        else f"a loss of {percent(loss)}"
    )
    if wanted <= 0:
        return ""
    runs = runs_needed(deviations, wanted, n_clips=found.n_clips)
    clips = clips_needed(deviations, wanted, n_runs=found.n_runs)
    ways = []
    if runs is not None and runs <= _MOST_RUNS:
        ways.append(f"{max(runs, found.n_runs + 1):,} runs")
    if clips is not None:
        ways.append(f"{max(clips, found.n_clips + 1):,} test clips")
    if not ways:
        return "neither more runs nor more test clips alone would tell"
    said = f"about {' or '.join(ways)} would tell {what}"
    return (
        said
        if runs is not None and runs <= _MOST_RUNS
        else f"more runs cannot help, as the clips are too few: {said}"
    )


_MOST_RUNS = 100
"""Nobody does more runs of a point than this."""


def recommend(
    ranked: Sequence[RunTable],
    best: RunTable,
    verdicts: Mapping[str, Verdict],
    differences_to_best: Mapping[str, Difference],
    margin: float,
) -> tuple[RunTable, str]:
    """Take the cheapest that is better or no worse than the baseline, and not worse than the best.

    Parameters
    ----------
    ranked : sequence of RunTable
        Cheapest first, tested on the same clips.
    best : RunTable
        Of highest ROC AUC.
    verdicts : mapping
        Against the baseline, by label.
    differences_to_best : mapping
        Of all but the best, by label.
    margin : float

    Returns
    -------
    recommended : RunTable
    why : str
        A sentence without its full stop.
    """
    worse_than_best = _worse(differences_to_best)
    for table in ranked:
        label = str(table.label)
        verdict = verdicts[label]
        if verdict in ("better", "no worse") and label not in worse_than_best:
            shown = (
                "be better than the baseline"
                if verdict == "better"
                else f"lose less than {percent(margin)} of ROC AUC"
            )
            return table, f"the cheapest that is shown to {shown}"
    if ranked[0] is best:
        return best, "it has the best ROC AUC, and nothing is cheaper"
    return best, (
        "it has the best ROC AUC, and nothing is shown to be better than the baseline, or to lose "
        f"less than {percent(margin)}"
    )


def _worse(differences: Mapping[str, Difference]) -> set[str]:
    corrected = holm([found.estimate.p for found in differences.values()])
    return {
        label
        for (label, found), p in zip(differences.items(), corrected, strict=True)
        if p < ALPHA and found.estimate.value > 0
    }


def percent(value: float) -> str:
    """``0.53 %``."""
    return f"{100 * value:.2g} %"


def smallest_loss(found: Difference) -> float | None:
    """Smallest loss that so many runs and clips tell in 80 % of all studies."""
    if found.deviations is None or found.n_runs < 2:
        return None
    return detectable_loss(found.deviations, n_runs=found.n_runs, n_clips=found.n_clips)
