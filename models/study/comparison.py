"""What a study's results say: which specs lose, which win, and which one to take.

Conventions
-----------
Points
    Runs that agree in all but seed and fold are one `Point`. Where there are folds, a run is one
    seed on all of them: folds share their training clips, so that they are not independent of each
    other, and differ in how hard they are, so that their spread is not a run's. Scores are
    averaged over the folds of a seed first, and spreads are those of the seeds' means. Seeds that
    have not been tested on all folds yet are left out, and `Judgement.notes` says so. A point
    tested on other folds than the rest, which an unfinished study leaves behind, is compared over
    the folds that are common, but is neither best, recommended nor on the frontier: its mean is of
    other clips.
Intervals
    95 % of the bootstrap's replicates, which resample the test clips, moved so that their mean is
    the score. Clips that are drawn twice raise PR AUC: its replicates are too high by some points
    where clips are few, which says nothing of the score. (So is PR AUC itself on few clips. Its
    interval is for as many clips as there are, not for the score on endlessly many.) The same clips
    are drawn for every spec (`models.evaluation.metrics.bootstrap`), so that differences are
    *paired*: what makes a resample easy is easy for both.
Tests
    Two kinds of chance stand behind a difference: another seed would train another network, and
    other test clips would be tagged otherwise. Welch's t-test over runs (`Point.p_welch`), which
    the study of Ferraro et al. used, sees the first alone, as all runs share their test clips. The
    verdict is Welch's test with both: the variance of the difference is that over runs of either
    side plus that of its paired replicates, its degrees of freedom are Welch and Satterthwaite's
    (the replicates' without bound). Where a side has a single run, the replicates judge alone, and
    the seed's chance goes unseen; without replicates, or where no draw of the few clips there are
    changes the difference, runs judge alone; with neither, nothing is judged.
Many comparisons
    `Point.p_holm` is Holm's correction over all points that are compared with the baseline: were
    there no differences at all, one study in twenty would show a verdict of better or worse.
Recommendation
    The cheapest point (GMAC, then bytes) that is not worse than the best (the highest ROC AUC) by
    the same test, *without* Holm's correction: overlooking a loss is the costlier mistake here.
    Or, with `max_loss`, the cheapest whose mean is at most so much below the best.

All of it is about ROC AUC on one collection; PR AUC is reported beside it. That the networks of
different folds were trained on overlapping clips makes no correction [1]_.

References
----------
.. [1] Bengio and Grandvalet: No unbiased estimator of the variance of K-fold cross-validation.
   JMLR 5, 2004.
"""

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from featurestore.errors import TrainingError, TrainingSettingsError
from featurestore.specs.mel import FeatureSpec
from models.study.results import IDENTITY, Row

Verdict = Literal["baseline", "better", "worse", "within noise", "unknown"]
Interval = tuple[float, float]

ALPHA = 0.05
"""Below this a p-value is a verdict."""

_SHARED = tuple(field for field in IDENTITY if field not in ("seed", "fold"))
"""Runs that agree in these are one point."""

_NO_INTERVAL = (math.nan, math.nan)

_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """All runs that agree in everything but seed and fold.

    What is not known is nan: spreads of a single run, intervals without replicates, the baseline's
    own tests.

    Attributes
    ----------
    label : str
        Short words that tell this point from the others: bands, hop, and whatever else varies.
    spec : FeatureSpec
    model, encoding, recipe, augment : str
    width : float
    data : str
        Digest of what was learnt from; only points of one digest can be compared.
    n_runs : int
        Seeds, each tested on all of the folds.
    n_folds : int
        1 where the store has splits of its own.
    roc_auc, pr_auc : float
        Means over runs and folds, 0 to 1.
    roc_auc_std, pr_auc_std : float
        Sample standard deviations over runs.
    roc_auc_interval, pr_auc_interval : tuple of float
        95 %, over test clips.
    gmac, parameters, bytes_per_clip : float
        What a clip costs, in 1e9 multiply-accumulates and in bytes stored; the network's size.
    train_seconds, inference_seconds_per_clip : float
        Means [s]; of a training, and of a clip that is tagged.
    loss : float
        ROC AUC of the baseline minus this one's, over the folds that both have.
    loss_interval : tuple of float
        95 %, over test clips, paired.
    p_welch : float
        Welch's t-test over runs, as the study did.
    p : float
        Of the difference to the baseline, runs and clips both taken for chance.
    p_holm : float
        The same, corrected for many comparisons.
    verdict : {'baseline', 'better', 'worse', 'within noise', 'unknown'}
    on_frontier : bool
        No point tested on the same clips is at least as good in ROC AUC, GMAC and bytes, and
        better in one.
    roc_auc_per_tag, pr_auc_per_tag : dict of str to float
        Means over the runs and folds in which the tag was scored.
    """

    label: str
    spec: FeatureSpec
    model: str
    width: float
    encoding: str
    recipe: str
    augment: str
    data: str
    n_runs: int
    n_folds: int
    roc_auc: float
    roc_auc_std: float
    roc_auc_interval: Interval
    pr_auc: float
    pr_auc_std: float
    pr_auc_interval: Interval
    gmac: float
    parameters: float
    bytes_per_clip: float
    train_seconds: float
    inference_seconds_per_clip: float
    loss: float
    loss_interval: Interval
    p_welch: float
    p: float
    p_holm: float
    verdict: Verdict
    on_frontier: bool
    roc_auc_per_tag: dict[str, float]
    pr_auc_per_tag: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """A study, judged.

    Attributes
    ----------
    points : tuple of Point
        Cheapest first: by GMAC, then bytes.
    baseline : Point
        What the others are compared with.
    best : Point
        Highest ROC AUC of those that were tested on the same clips.
    recommended : Point
    recommended_why : str
        In words, a sentence.
    common : str
        What all points share and no label says, in words.
    notes : tuple of str
        What the reader must know before believing any of it, a sentence each.
    """

    points: tuple[Point, ...]
    baseline: Point
    best: Point
    recommended: Point
    recommended_why: str
    common: str
    notes: tuple[str, ...]


def judge(
    rows: Sequence[Row], *, baseline: str | None = None, max_loss: float | str | None = None
) -> Judgement:
    """Weigh the rows of a results file.

    Parameters
    ----------
    rows : sequence of dict
        As `models.study.results.read_results` gives them.
    baseline : str, optional
        Name of a spec, or a point's label; of several that fit, the most expensive. None is the
        most expensive point of all (by GMAC, then bytes). With several networks in the file, all
        are compared with this one; judge the rows of each alone for a baseline each.
    max_loss : float or str, optional
        ROC AUC that may be given up: 0.005, or ``0.5%``. None asks that no loss shows.

    Raises
    ------
    TrainingError
        If there are no rows, no such baseline, or no such loss.
    """
    if not rows:
        raise TrainingError("there are no results to judge; melgrid study makes them")
    allowed = None if max_loss is None else parse_loss(max_loss)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[field] for field in _SHARED), []).append(row)
    labels, common = _labels([dict(zip(_SHARED, key, strict=True)) for key in groups])
    trials = sorted(
        (_Trial(label, runs) for label, runs in zip(labels, groups.values(), strict=True)),
        key=lambda trial: (*trial.cost, trial.label),
    )
    reference = _baseline(trials, baseline, Counter(row["data"] for row in rows))
    comparable = [trial for trial in trials if trial.data == reference.data]
    fullest = max(comparable, key=lambda trial: (len(trial.folds), trial is reference))
    ranked = [trial for trial in comparable if trial.folds == fullest.folds]
    others = [trial for trial in comparable if trial is not reference]
    compared = {trial.label: _compare(reference, trial) for trial in others}
    holm = dict(zip(compared, _holm([c.p for c in compared.values()]), strict=True))
    points = tuple(
        _point(
            trial,
            comparison=compared.get(trial.label, _NOT_COMPARED),
            p_holm=holm.get(trial.label, math.nan),
            verdict="baseline"
            if trial is reference
            else _verdict(holm.get(trial.label, math.nan), compared.get(trial.label)),
            on_frontier=trial in ranked and not any(_dominates(other, trial) for other in ranked),
        )
        for trial in trials
    )
    best = max(ranked, key=lambda trial: trial.roc_auc)  # the cheapest of equals
    recommended, why = _recommend(ranked, best, allowed)
    named = {point.label: point for point in points}
    return Judgement(
        points=points,
        baseline=named[reference.label],
        best=named[best.label],
        recommended=named[recommended.label],
        recommended_why=why,
        common=common,
        notes=_notes(trials, reference, n_unranked=len(comparable) - len(ranked)),
    )


def parse_loss(loss: float | str) -> float:
    """Read a loss of ROC AUC: ``0.5%``, ``"0.005"`` and 0.005 are the same.

    Raises
    ------
    TrainingSettingsError
        If it is no number from 0 to below 1.
    """
    text = str(loss).strip()
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise TrainingSettingsError(
            f"max_loss is {loss!r}; it must be a loss of ROC AUC such as 0.5% or 0.005"
        )
    return value


class _Trial:
    """The runs of one point, as a table of seeds x folds without holes."""

    def __init__(self, label: str, rows: Sequence[Row]) -> None:
        self.label = label
        cells = {(row["seed"], row["fold"]): row for row in rows}
        folds: dict[int, list[int | None]] = {}
        for seed, fold in cells:
            folds.setdefault(seed, []).append(fold)
        longest = max(folds.values(), key=len)
        self.folds = sorted(longest, key=lambda fold: -1 if fold is None else fold)
        self.seeds = sorted(seed for seed in folds if set(folds[seed]) >= set(longest))
        self._cells = {
            (seed, fold): cells[seed, fold] for seed in self.seeds for fold in self.folds
        }
        self.rows = list(self._cells.values())
        self.n_left_out = len(cells) - len(self.rows)
        self.data: str = self.rows[0]["data"]
        self.roc_auc = self.mean("roc_auc")
        self.cost = (self.mean("gmac"), self.mean("bytes_per_clip"))

    def mean(self, field: str) -> float:
        # Exact, so that what costs the same in every row costs the same in other numbers of rows.
        return float(statistics.mean([row[field] for row in self.rows]))

    def per_run(self, field: str, folds: Sequence[int | None]) -> npt.NDArray[np.float64]:
        """Means over `folds` of each seed, ``(n_runs,)``."""
        table = [[self._cells[seed, fold][field] for fold in folds] for seed in self.seeds]
        return np.asarray(np.mean(table, axis=1))

    def replicates(self, field: str, folds: Sequence[int | None]) -> npt.NDArray[np.float64]:
        """Means over seeds and `folds` of each replicate, ``(n_replicates,)``, perhaps none."""
        lists = [self._cells[seed, fold][field] for seed in self.seeds for fold in folds]
        # The first of few replicates are the first of many: they stay paired.
        return np.asarray(np.mean([v[: min(map(len, lists))] for v in lists], axis=0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Comparison:
    """One trial against another: `loss` is how much less ROC AUC it has."""

    loss: float
    interval: Interval
    p_welch: float
    p: float


_NOT_COMPARED = _Comparison(loss=math.nan, interval=_NO_INTERVAL, p_welch=math.nan, p=math.nan)


def _compare(reference: _Trial, other: _Trial) -> _Comparison:
    folds = [fold for fold in reference.folds if fold in other.folds]
    if not folds:
        return _NOT_COMPARED
    sides = [trial.per_run("roc_auc", folds) for trial in (reference, other)]
    loss = float(sides[0].mean() - sides[1].mean())
    replicates = [trial.replicates("bootstrap_roc_auc", folds) for trial in (reference, other)]
    n = min(map(len, replicates))
    differences = replicates[0][:n] - replicates[1][:n]
    over_runs = [(side.var(ddof=1) / len(side), len(side) - 1.0) for side in sides if side[1:].size]
    if len(over_runs) < 2:
        over_runs = []  # nothing is known of one side
    over_clips = [(differences.var(ddof=1), math.inf)] if n > 1 else []
    if loss and n > 1 and np.ptp(differences) < _ROUNDING:
        over_clips = []  # two clips, say: whichever are drawn, nothing is learnt of others
    return _Comparison(
        loss=loss,
        interval=_interval(differences, loss),
        p_welch=_p(loss, over_runs),
        p=_p(loss, over_runs + over_clips),
    )


def _p(difference: float, variances: Sequence[tuple[float, float]]) -> float:
    """Two-sided p-value of a difference whose variance is a sum of estimates.

    Each estimate comes with its degrees of freedom; the sum's are Welch and Satterthwaite's. With
    the two of ``s_i² / n_i`` and ``n_i - 1``, this is Welch's t-test.
    """
    if not variances:
        return math.nan
    variance = sum(v for v, _ in variances)
    if variance == 0:
        return 1.0 if difference == 0 else 0.0
    inverse_freedom = sum((v / variance) ** 2 / freedom for v, freedom in variances)
    freedom = 1 / inverse_freedom if inverse_freedom else math.inf
    return float(2 * stats.t.sf(abs(difference) / math.sqrt(variance), freedom))


def _holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; nan stays nan, and does not count as a comparison."""
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        corrected[i] = highest
    return corrected


def _interval(replicates: npt.NDArray[np.float64], score: float) -> Interval:
    if not replicates.size:
        return _NO_INTERVAL
    low, high = (np.quantile(replicates, (0.025, 0.975)) + score - replicates.mean()).tolist()
    return low, high


def _verdict(p_holm: float, comparison: _Comparison | None) -> Verdict:
    if comparison is None or math.isnan(p_holm):
        return "unknown"
    if p_holm >= ALPHA:
        return "within noise"
    return "worse" if comparison.loss > 0 else "better"


def _dominates(a: _Trial, b: _Trial) -> bool:
    ours, theirs = (-a.roc_auc, *a.cost), (-b.roc_auc, *b.cost)
    return ours != theirs and all(x <= y for x, y in zip(ours, theirs, strict=True))


def _baseline(trials: Sequence[_Trial], name: str | None, data: Counter[str]) -> _Trial:
    """Of several that fit, the most expensive of the data that most rows are from."""
    fitting = [t for t in trials if name in (None, t.label, t.rows[0]["spec"])]
    if not fitting:
        labels = ", ".join(trial.label for trial in trials)
        raise TrainingError(f"there are no results of a baseline {name!r}; there are {labels}")
    return max(fitting, key=lambda trial: (data[trial.data], trial.cost))


def _recommend(
    trials: Sequence[_Trial], best: _Trial, max_loss: float | None
) -> tuple[_Trial, str]:
    """Take the first, that is the cheapest, of `trials` that will do; and say why."""
    for trial in trials:
        if trial is best:
            break
        comparison = _compare(best, trial)
        if max_loss is not None:
            if comparison.loss <= max_loss:
                return trial, (
                    f"the cheapest that loses at most {_percent(max_loss)} of ROC AUC: "
                    f"{_percent(comparison.loss)} less than the best, {best.label}"
                )
        elif comparison.p >= ALPHA:
            worst = comparison.interval[1]
            return trial, (
                f"the cheapest within the noise of the best, {best.label}: "
                f"{_percent(comparison.loss)} less ROC AUC"
                + ("" if math.isnan(worst) else f", at worst {_percent(worst)} (95 %)")
            )
    if trials[0] is best:
        return best, "it has the best ROC AUC, and nothing is cheaper"
    if max_loss is None:
        return best, "it has the best ROC AUC, and nothing cheaper is within its noise"
    return best, f"it has the best ROC AUC; all that is cheaper loses over {_percent(max_loss)}"


def _percent(value: float) -> str:
    return f"{100 * value:.2g} %"


def _point(
    trial: _Trial,
    *,
    comparison: _Comparison,
    p_holm: float,
    verdict: Verdict,
    on_frontier: bool,
) -> Point:
    row = trial.rows[0]

    def std(field: str) -> float:
        runs = trial.per_run(field, trial.folds)
        return float(runs.std(ddof=1)) if len(runs) > 1 else math.nan

    def interval(field: str) -> Interval:
        return _interval(trial.replicates(f"bootstrap_{field}", trial.folds), trial.mean(field))

    return Point(
        label=trial.label,
        spec=FeatureSpec.parse(row["spec"]),
        **{f: row[f] for f in ("model", "width", "encoding", "recipe", "augment", "data")},
        n_runs=len(trial.seeds),
        n_folds=len(trial.folds),
        roc_auc=trial.roc_auc,
        roc_auc_std=std("roc_auc"),
        roc_auc_interval=interval("roc_auc"),
        pr_auc=trial.mean("pr_auc"),
        pr_auc_std=std("pr_auc"),
        pr_auc_interval=interval("pr_auc"),
        gmac=trial.mean("gmac"),
        parameters=trial.mean("parameters"),
        bytes_per_clip=trial.mean("bytes_per_clip"),
        train_seconds=trial.mean("train_seconds"),
        inference_seconds_per_clip=trial.mean("inference_seconds_per_clip"),
        loss=0.0 if verdict == "baseline" else comparison.loss,
        loss_interval=comparison.interval,
        p_welch=comparison.p_welch,
        p=comparison.p,
        p_holm=p_holm,
        verdict=verdict,
        on_frontier=on_frontier,
        roc_auc_per_tag=_per_tag(trial.rows, "roc_auc_per_tag"),
        pr_auc_per_tag=_per_tag(trial.rows, "pr_auc_per_tag"),
    )


def _per_tag(rows: Sequence[Row], field: str) -> dict[str, float]:
    tags = dict.fromkeys(tag for row in rows for tag in row[field])
    return {tag: float(np.mean([r[field][tag] for r in rows if tag in r[field]])) for tag in tags}


def _notes(trials: Sequence[_Trial], reference: _Trial, *, n_unranked: int) -> tuple[str, ...]:
    notes = []
    strangers = [trial for trial in trials if trial.data != reference.data]
    if strangers:
        notes.append(
            f"{len(strangers)} of {len(trials)} points are from other clips, splits or tags than "
            f"the baseline {reference.label}: their scores cannot be compared with its."
        )
    if n_unranked:
        notes.append(
            f"{n_unranked} of {len(trials)} points have not been tested on all folds yet: their "
            "scores are of other clips than the others', and they are not recommended; run the "
            "study again to complete them."
        )
    if any(len(trial.seeds) == 1 for trial in trials):
        notes.append(
            "Where a point has one run, its verdict is from the test clips alone: another seed "
            "might turn it. Two runs or more (--runs) tell."
        )
    left_out = sum(trial.n_left_out for trial in trials)
    if left_out:
        notes.append(
            f"{left_out} rows are of seeds that have not been tested on all folds yet, and are "
            "left out; run the study again to complete them."
        )
    return tuple(notes)


def _labels(settings: Sequence[Row]) -> tuple[list[str], str]:
    """Words that tell each from the others, and those that all have in common."""
    words = [_words(s) for s in settings]
    everywhere = set.intersection(*map(set, words))
    # Bands and hop are the point of it all: they stay, shared or not.
    labels = [" ".join(w[:2] + [word for word in w[2:] if word not in everywhere]) for w in words]
    # That all rows are from the same data goes without saying.
    common = [w for w in words[0][2:] if w in everywhere and not w.startswith("data ")]
    return labels, ", ".join(common)


def _words(settings: Row) -> list[str]:
    """Bands and hop first, then all the rest."""
    sr, bands, hop, *rest = settings["spec"].split("-")
    return [
        bands,
        hop,
        f"{int(sr.removeprefix('sr')) / 1000:g} kHz",
        *rest,
        settings["encoding"],
        settings["model"],
        f"width {settings['width']:g}",
        settings["recipe"],
        f"augment {settings['augment']}",
        f"{settings['epochs']} epochs",
        f"batches of {settings['batch_size']}",
        f"learning rate {settings['learning_rate']:g}",
        f"amp {settings['amp']}",
        f"data {settings['data']}",
    ]
