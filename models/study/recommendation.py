"""Which point to take, and why; what it would take to know more."""

from collections.abc import Mapping, Sequence
from typing import Literal

from models.study.difference import Difference
from models.study.power import (
    Deviations,
    clips_needed,
    detectable_loss,
    runs_and_clips_needed,
    runs_needed,
)
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
    deviations, loss = found.deviations, found.estimate.value
    if deviations is None or found.n_runs < 2:
        return ""
    wanted = margin - loss if loss < margin else loss
    if wanted <= 0:
        return ""
    what = (
        f"a loss of {percent(loss)}"
        if loss >= margin
        else f"that the loss is below {percent(margin)}"
        if margin
        else "that nothing is lost"
    )
    return what_tells(deviations, wanted, what, n_runs=found.n_runs, n_clips=found.n_clips)


def what_tells(deviations: Deviations, loss: float, what: str, *, n_runs: int, n_clips: int) -> str:
    """More runs or test clips that tell `loss` in 80 % of all studies, a clause.

    Either alone, where it can; else both together, see `runs_and_clips_needed`.

    Parameters
    ----------
    deviations : Deviations
    loss : float
    what : str
        The loss in words, after "would tell".
    n_runs, n_clips : int
        As many as there are, which do not tell it; two runs at least.
    """
    most_runs = max(_MOST_RUNS, n_runs)
    runs = runs_needed(deviations, loss, n_clips=n_clips)
    clips = clips_needed(deviations, loss, n_runs=n_runs)
    ways = []
    if runs is not None and runs <= most_runs:
        ways.append(f"{max(runs, n_runs + 1):,} runs")
    if clips is not None:
        ways.append(f"{max(clips, n_clips + 1):,} test clips")
    if ways:
        said = f"about {' or '.join(ways)} would tell {what}"
        return (
            said
            if runs is not None and runs <= most_runs
            else f"more runs cannot help, as the clips are too few: {said}"
        )
    both = runs_and_clips_needed(deviations, loss, most_runs=most_runs)
    if both is None:
        return (
            f"not even {most_runs} runs on any number of test clips would tell {what}: the runs "
            "differ too much"
        )
    return (
        f"neither more runs nor more test clips alone would tell {what}; about {both[0]:,} runs "
        f"and {both[1]:,} test clips together would"
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
                else f"lose {_less_than(margin)} of ROC AUC"
            )
            return table, f"the cheapest that is shown to {shown}"
    if ranked[0] is best:
        return best, "it has the best ROC AUC, and nothing is cheaper"
    return best, (
        "it has the best ROC AUC, and nothing is shown to be better than the baseline, or to lose "
        f"{_less_than(margin)}"
    )


def _worse(differences: Mapping[str, Difference]) -> set[str]:
    corrected = holm([found.estimate.p for found in differences.values()])
    return {
        label
        for (label, found), p in zip(differences.items(), corrected, strict=True)
        if p < ALPHA and found.estimate.value > 0
    }


def _less_than(margin: float) -> str:
    return f"less than {percent(margin)}" if margin else "nothing"


def percent(value: float) -> str:
    """``0.53 %``."""
    return f"{100 * value:.2g} %"


def smallest_loss(found: Difference) -> float | None:
    """Smallest loss that so many runs and clips tell in 80 % of all studies."""
    if found.deviations is None or found.n_runs < 2:
        return None
    return detectable_loss(found.deviations, n_runs=found.n_runs, n_clips=found.n_clips)
