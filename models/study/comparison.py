"""What a study's results say: which points lose, which win, and which one to take.

Conventions
-----------
Points
    Runs that agree in all but seed, partition and fold are one `Point`: a spec, a network, a
    condition, whatever varies. A point tested on other folds than the rest, which an unfinished
    study leaves behind, is compared over the folds that are common, but is neither best,
    recommended nor on the frontier: its mean is of other clips.
Loss
    ROC AUC of the baseline minus the point's, with its chance over runs, test clips and training
    clips: `models.study.difference`.
Verdicts
    ``better``, ``worse``, ``no worse`` or ``not told``, see `models.study.recommendation`. Of
    studies without any true difference, one in twenty shows a verdict of better or worse, all
    points together (`Point.p_holm`, Holm's correction). A point whose true loss is the margin is
    called no worse in one study of twenty; that is said of each point, not of all together.
    `Point.p_welch`, of runs alone, is what the study of Ferraro et al. tested.
Intervals of scores
    95 % of the bootstrap's replicates, which resample the test clips, moved so that their mean is
    the score. Clips that are drawn twice raise PR AUC: its replicates are too high by some points
    where clips are few, which says nothing of the score. (So is PR AUC itself on few clips. Its
    interval is for as many clips as there are, not for the score on endlessly many.)

All of it is about ROC AUC on one collection; PR AUC is reported beside it.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.errors import TrainingError, TrainingSettingsError
from featurestore.specs.spec import Spec
from models.evaluation.confusion import Confusion
from models.study.difference import Difference, difference, typical_variance
from models.study.formatting import count, table
from models.study.label import Label, label_points
from models.study.recommendation import (
    Verdict,
    percent,
    recommend,
    remedy_of,
    smallest_loss,
    verdict_of,
)
from models.study.results import Identity, Row, identity, is_as_trained, spec_of
from models.study.run_table import RunTable, ScoredOn, run_table
from models.study.significance import NO_INTERVAL, Interval, holm, percentile_interval
from models.study.tag_losses import TagLoss, tag_losses

MARGIN = 0.01
"""The loss of ROC AUC that is accepted, unless told."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """All runs that agree in everything but seed, partition and fold.

    What is not known is nan: standard deviations of a single run, intervals without replicates,
    the baseline's own tests.

    Attributes
    ----------
    label : Label
        Short words that tell this point from the others: bands, hop, and whatever else varies.
    spec : Spec
    model, encoding, recipe, augment : str
    width : float
    data : str
        Digest of what was learnt from; only points of one digest can be compared.
    scored_on : ScoredOn or None
        On what; None where runs differ in it or do not say.
    n_runs : int
        Each tested on all of the folds.
    n_folds : int
        1 where the store has splits of its own.
    roc_auc, pr_auc : float
        Means over runs and folds, 0 to 1.
    roc_auc_std, pr_auc_std : float
        Sample standard deviations over runs.
    roc_auc_interval, pr_auc_interval : tuple of float
        95 %, over test clips.
    gmac, parameters, bytes_per_clip : float
        Cost per clip, in 1e9 multiply-accumulates and in bytes stored; the network's size.
    train_seconds, inference_seconds_per_clip : float
        Means [s]; per training, and per clip that is tagged.
    loss : float
        ROC AUC of the baseline minus this one's, over the folds that both have.
    loss_interval : tuple of float
        95 %, over runs, test clips and training clips.
    loss_bound : float
        One-sided 95 % upper bound of the loss; below the margin, the point is no worse.
    p_welch : float
        Welch's t-test over runs, as the study did.
    p : float
        Of the difference to the baseline, two-sided, all kinds of chance included.
    p_holm : float
        The same, corrected for many comparisons.
    verdict : {'baseline', 'better', 'worse', 'no worse', 'not told'}
    why_not_told : str
        What is not known, or what it would take to tell; a clause, empty for other verdicts.
    smallest_loss : float
        That so many runs and clips would have told in 80 % of all studies; nan if none.
    on_frontier : bool
        No point tested on the same clips is at least as good in ROC AUC, GMAC and bytes, and
        better in one.
    roc_auc_per_tag, pr_auc_per_tag : dict of str to float
        Means over the runs and folds in which the tag was scored.
    tag_losses : dict of str to TagLoss
        Against the baseline; empty for itself.
    confusion : Confusion or None
        Of a classification, over all runs and folds; None of a tagging.
    """

    label: Label
    spec: Spec
    model: str
    width: float
    encoding: str
    recipe: str
    augment: str
    data: str
    scored_on: ScoredOn | None
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
    loss_bound: float
    p_welch: float
    p: float
    p_holm: float
    verdict: Verdict
    why_not_told: str
    smallest_loss: float
    on_frontier: bool
    roc_auc_per_tag: dict[str, float]
    pr_auc_per_tag: dict[str, float]
    tag_losses: dict[str, TagLoss]
    confusion: Confusion | None = None

    def json(self) -> dict[str, Any]:
        """All of it as plain values; label and spec as their names."""
        fields = dataclasses.asdict(self) | {"label": str(self.label), "spec": self.spec.name}
        if self.confusion is not None:
            fields |= {
                "accuracy": self.confusion.accuracy,
                "accuracy_interval": self.confusion.interval,
            }
        return fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The points of a study, compared.

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
        In words, a sentence without its full stop.
    margin : float
        The loss of ROC AUC that is accepted.
    common : tuple of str
        What all points share and no label says, in words.
    notes : tuple of str
        What the reader must know before believing any of it, a sentence each.
    """

    points: tuple[Point, ...]
    baseline: Point
    best: Point
    recommended: Point
    recommended_why: str
    margin: float
    common: tuple[str, ...]
    notes: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """All of it as plain values; points that have a part are named by their labels."""
        return {
            "recommended": str(self.recommended.label),
            "recommended_why": self.recommended_why,
            "baseline": str(self.baseline.label),
            "best": str(self.best.label),
            "margin": self.margin,
            "common": ", ".join(self.common),
            "notes": list(self.notes),
            "points": [point.json() for point in self.points],
        }

    def lines(self) -> list[str]:
        """A text table, 80 columns wide, and what it says."""
        return table(self)


def compare(
    rows: Sequence[Row], *, baseline: str | None = None, margin: float | str = MARGIN
) -> Comparison:
    """Compare the points in the rows of a results file.

    Parameters
    ----------
    rows : sequence of dict
        As `models.study.results.read_results` gives them. Those of other conditions than the one
        trained on are left out: `models.robustness` judges them.
    baseline : str, optional
        Name of a spec, or a point's label; of several that fit, the most expensive. None is the
        most expensive point of all (by GMAC, then bytes). With several networks in the file, all
        are compared with this one; compare the rows of each alone for a baseline each.
    margin : float or str
        Loss of ROC AUC that is accepted: 0.005, or ``0.5%``.

    Raises
    ------
    TrainingError
        If there are no rows, no such baseline, or no such margin.
    """
    rows = [row for row in rows if is_as_trained(row)]
    if not rows:
        raise TrainingError("there are no results to compare; melgrid study makes them")
    margin = parse_margin(margin)
    groups: dict[Identity, list[Row]] = {}
    for row in rows:
        groups.setdefault(identity(row).point, []).append(row)
    labels, common = label_points(
        [(spec_of(runs[0]), key._asdict()) for key, runs in groups.items()]
    )
    tables = sorted(
        (run_table(label, runs) for label, runs in zip(labels, groups.values(), strict=True)),
        key=lambda table: (*table.cost, str(table.label)),
    )
    reference = _baseline(tables, baseline, Counter(row["data"] for row in rows))
    comparable = [table for table in tables if table.data == reference.data]
    fullest = max(comparable, key=lambda table: (len(table.folds), table is reference))
    ranked = [table for table in comparable if table.folds == fullest.folds]
    best = max(ranked, key=lambda table: table.roc_auc)  # the cheapest of equals
    others = [table for table in comparable if table is not reference]
    typical = typical_variance([reference, *others])
    found = {str(table.label): difference(reference, table, typical) for table in others}
    p_holm = dict(zip(found, holm([f.estimate.p for f in found.values()]), strict=True))
    of_tags = dict(zip(found, tag_losses(reference, others), strict=True))
    verdicts: dict[str, Verdict] = {str(table.label): "not told" for table in tables}
    verdicts |= {name: verdict_of(f, p_holm[name], margin) for name, f in found.items()}
    verdicts[str(reference.label)] = "baseline"
    to_best = (
        {n: f for n, f in found.items() if n in {str(t.label) for t in ranked}}
        if best is reference
        else {str(t.label): difference(best, t, typical) for t in ranked if t is not best}
    )
    recommended, why = recommend(ranked, best, verdicts, to_best, margin)
    points = {
        str(table.label): _point(
            table,
            found.get(str(table.label)),
            p_holm=p_holm.get(str(table.label), math.nan),
            verdict=verdicts[str(table.label)],
            margin=margin,
            on_frontier=table in ranked and not any(_dominates(other, table) for other in ranked),
            of_tags=of_tags.get(str(table.label), {}),
        )
        for table in tables
    }
    return Comparison(
        points=tuple(points.values()),
        baseline=points[str(reference.label)],
        best=points[str(best.label)],
        recommended=points[str(recommended.label)],
        recommended_why=why,
        margin=margin,
        common=common,
        notes=_notes(tables, reference, points, found, n_unranked=len(comparable) - len(ranked)),
    )


def parse_margin(margin: float | str) -> float:
    """Read a loss of ROC AUC: ``0.5%``, ``"0.005"`` and 0.005 are the same.

    Raises
    ------
    TrainingSettingsError
        If it is no number from 0 to below 1.
    """
    text = str(margin).strip()
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise TrainingSettingsError(
            f"invalid margin {margin!r}: must be a loss of ROC AUC such as 0.5% or 0.005"
        )
    return value


def _dominates(a: RunTable, b: RunTable) -> bool:
    ours, theirs = (-a.roc_auc, *a.cost), (-b.roc_auc, *b.cost)
    return ours != theirs and all(x <= y for x, y in zip(ours, theirs, strict=True))


def _baseline(tables: Sequence[RunTable], name: str | None, data: Counter[str]) -> RunTable:
    """Of several that fit, the most expensive of the data that most rows are from."""
    fitting = [t for t in tables if name in (None, str(t.label), t.rows[0]["spec"])]
    if not fitting:
        labels = ", ".join(str(table.label) for table in tables)
        raise TrainingError(f"there are no results of a baseline {name!r}; there are {labels}")
    return max(fitting, key=lambda table: (data[table.data], table.cost))


def _point(
    table: RunTable,
    found: Difference | None,
    *,
    p_holm: float,
    verdict: Verdict,
    margin: float,
    on_frontier: bool,
    of_tags: dict[str, TagLoss],
) -> Point:
    row = table.rows[0]
    is_known = found is not None and not found.unknown
    smallest = smallest_loss(found) if found else None

    def std(field: str) -> float:
        runs = table.per_run(field, table.folds, table.runs)
        return float(runs.std(ddof=1)) if len(runs) > 1 else math.nan

    def interval(field: str) -> Interval:
        replicates = table.replicates(f"bootstrap_{field}", table.folds, table.runs).mean(axis=0)
        return percentile_interval(replicates, table.mean(field))

    why = ""
    if verdict == "not told":
        clauses = (found.unknown, remedy_of(found, margin)) if found else ("it is of other clips",)
        why = "; ".join(filter(None, clauses)) or "these runs and test clips cannot tell"
    return Point(
        label=table.label,
        spec=spec_of(row),
        **{f: row[f] for f in ("model", "width", "encoding", "recipe", "augment", "data")},
        scored_on=table.scored_on,
        n_runs=len(table.runs),
        n_folds=len(table.folds),
        roc_auc=table.roc_auc,
        roc_auc_std=std("roc_auc"),
        roc_auc_interval=interval("roc_auc"),
        pr_auc=table.mean("pr_auc"),
        pr_auc_std=std("pr_auc"),
        pr_auc_interval=interval("pr_auc"),
        gmac=table.mean("gmac"),
        parameters=table.mean("parameters"),
        bytes_per_clip=table.mean("bytes_per_clip"),
        train_seconds=table.mean("train_seconds"),
        inference_seconds_per_clip=table.mean("inference_seconds_per_clip"),
        loss=0.0 if verdict == "baseline" else found.estimate.value if found else math.nan,
        loss_interval=found.estimate.interval if found and is_known else NO_INTERVAL,
        loss_bound=found.estimate.upper_bound if found and is_known else math.nan,
        p_welch=found.welch.p if found else math.nan,
        p=found.estimate.p if found else math.nan,
        p_holm=p_holm,
        verdict=verdict,
        why_not_told=why,
        smallest_loss=math.nan if smallest is None else smallest,
        on_frontier=on_frontier,
        roc_auc_per_tag=table.per_tag("roc_auc_per_tag"),
        pr_auc_per_tag=table.per_tag("pr_auc_per_tag"),
        tag_losses=of_tags,
        confusion=_confusion(table),
    )


def _confusion(table: RunTable) -> Confusion | None:
    classes = {tuple(row["classes"]) for row in table.rows if "confusion" in row}
    if len(classes) != 1 or not all("confusion" in row for row in table.rows):
        return None
    parts = [row["confusion"] for row in table.rows]
    return Confusion.summed(classes.pop(), parts, n_runs=len(table.runs))


def _notes(
    tables: Sequence[RunTable],
    reference: RunTable,
    points: Mapping[str, Point],
    found: Mapping[str, Difference],
    *,
    n_unranked: int,
) -> tuple[str, ...]:
    notes = []
    elsewhere = [table for table in tables if table.data != reference.data]
    if elsewhere:
        notes.append(
            f"{len(elsewhere)} of {len(tables)} points are from other clips, splits or tags than "
            f"the baseline {reference.label}: their scores cannot be compared with its."
        )
    if n_unranked:
        notes.append(
            f"{n_unranked} of {len(tables)} points have not been tested on all folds yet: their "
            "scores are of other clips than the others', and they are not recommended; run the "
            "study again to complete them."
        )
    left_out = sum(table.n_left_out for table in tables)
    if left_out:
        notes.append(
            f"{count(left_out, 'row')} of runs that have not been tested on all folds yet "
            f"{'is' if left_out == 1 else 'are'} left out; run the study again to complete them."
        )
    told = [f for f in found.values() if not f.unknown]
    if told:
        notes.append(_training_clips(reference, tables))
    # Of points that give the same answers, clip by clip, it is 0, which says nothing of a study.
    smallest = [p.smallest_loss for p in points.values() if p.smallest_loss > 0]
    if smallest:
        least, most = min(smallest), max(smallest)
        between = (
            percent(least)
            if percent(least) == percent(most)
            else (f"{percent(least)} to {percent(most)}, depending on the point,")
        )
        notes.append(f"So many runs and clips tell a loss of {between} in 80 % of all studies.")
    reasons: dict[str, list[str]] = {}
    for name, point in points.items():
        if point.why_not_told and point.data == reference.data:
            reasons.setdefault(point.why_not_told, []).append(name)
    notes += [f"Not told of {', '.join(names)}: {why}." for why, names in reasons.items()]
    return tuple(notes)


def _training_clips(reference: RunTable, tables: Sequence[RunTable]) -> str:
    """What is known of the chance of the training clips, a sentence."""
    if all(table.is_redrawn for table in tables if table.data == reference.data):
        return (
            "Each run learnt from other training clips, all drawn from one collection: no "
            "estimator without bias exists for what these drawings share (Bengio and Grandvalet, "
            "2004); it is corrected for as Nadeau and Bengio (2003) do."
        )
    return (
        "All runs learnt from the same training clips: what others would change is not seen; the "
        "intervals allow for it as if a training clip left as much to chance as a test clip, which "
        "is a guess (Bengio and Grandvalet, 2004: no estimator without bias exists)."
    )
