"""What each point of a study loses under each condition, and which point is most robust.

Conventions
-----------
Loss
    ROC AUC as a network was trained, clean unless its spec says otherwise, minus that of the same
    network under the condition: the same weights, the same test clips. So the runs are paired, and
    a condition that changes nothing loses exactly nothing. Judged as points are, by
    `models.study.difference` and `models.study.recommendation`, against the same margin.
Runs
    Of few runs, the variance over runs is much too small now and then: it is at least what the
    points have together under the same condition (`typical_change`). Conditions are not pooled: a
    mild one varies less than a harsh one.
Against the baseline
    Under each condition, every point is compared with the study's baseline under the same
    condition, as on clean audio.
Many comparisons
    As on clean audio, all points together (Holm), for each condition anew: of twenty conditions
    under which no point differs, one shows a verdict of better or worse. So a condition that
    changes nothing leaves the study's own verdicts against the baseline.
Most robust
    The point of the smallest loss, averaged over the conditions that all points were tested under;
    told if all others are shown to lose more (Holm). A point that is worse on clean audio has less
    to lose.
"""

import dataclasses
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from models.study.comparison import Comparison, Point
from models.study.difference import Difference, difference, runs_of, typical_variance
from models.study.formatting import count, percent, percent_interval
from models.study.label import label_points
from models.study.recommendation import Verdict, remedy_of, verdict_of
from models.study.recommendation import percent as rounded
from models.study.results import (
    Identity,
    Row,
    identity,
    is_as_trained,
    is_of_one_network,
    spec_of,
)
from models.study.run_table import RunTable, run_table
from models.study.significance import ALPHA, NO_INTERVAL, Interval, Variance, holm
from models.study.tag_losses import TagLoss, tag_losses

_WIDTH = 80
"""Columns of a terminal."""

_MOST_LISTED = 12
"""Points of a condition that the text table lists; of more, some of either end."""

_MOST_NAMED = 3
"""Points that a sentence names; of more, it gives the number."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConditionLoss:
    """What a point loses under a condition. What is not known is nan.

    Attributes
    ----------
    point : Point
    condition : str
    n_runs, n_folds : int
        That were tested under it.
    roc_auc, pr_auc : float
        Under the condition, means over runs and folds.
    loss : float
        ROC AUC as trained minus that under the condition.
    loss_interval : tuple of float
        95 %, over runs, test clips and training clips.
    loss_bound : float
        One-sided 95 % upper bound.
    p_holm : float
        Two-sided, all kinds of chance included, corrected for many comparisons.
    verdict : {'better', 'worse', 'no worse', 'not told'}
        Of the condition, against the audio that it was trained on.
    why_not_told : str
        A clause, empty for other verdicts.
    against_baseline : {'baseline', 'better', 'worse', 'no worse', 'not told'}
        Of the point, against the baseline under the same condition.
    loss_against_baseline : float
        ROC AUC of the baseline under the condition minus the point's.
    tag_losses : dict of str to TagLoss
        Under the condition, of each tag.
    """

    point: Point
    condition: str
    n_runs: int
    n_folds: int
    roc_auc: float
    pr_auc: float
    loss: float
    loss_interval: Interval
    loss_bound: float
    p_holm: float
    verdict: Verdict
    why_not_told: str
    against_baseline: Verdict
    loss_against_baseline: float
    tag_losses: dict[str, TagLoss]

    @property
    def is_told(self) -> bool:
        """Whether the loss, or the gain, is told from none at all: at 5 %, by `p_holm`."""
        return self.p_holm < ALPHA

    @property
    def tags_lost(self) -> list[str]:
        """Tags whose loss is shown, the largest first."""
        shown = [tag for tag, found in self.tag_losses.items() if found.verdict == "worse"]
        return sorted(shown, key=lambda tag: -self.tag_losses[tag].loss)

    def json(self) -> dict[str, Any]:
        """All of it as plain values; the point as its label."""
        fields = dataclasses.asdict(dataclasses.replace(self, point=None))  # type: ignore[arg-type]
        return fields | {"point": str(self.point.label)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Robustness:
    """What the points of a study lose under conditions.

    Attributes
    ----------
    conditions : tuple of str
        Mildest first, by the mean loss.
    points : tuple of Point
        Cheapest first, those that were tested under one.
    losses : tuple of ConditionLoss
        Condition by condition, points in order.
    margin : float
    most_robust : Point or None
        None where it is not told.
    sentence : str
        Which point is most robust, or that it is not told, with its full stop.
    notes : tuple of str
        What the reader must know, a sentence each.
    """

    conditions: tuple[str, ...]
    points: tuple[Point, ...]
    losses: tuple[ConditionLoss, ...]
    margin: float
    most_robust: Point | None
    sentence: str
    notes: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """All of it as plain values; points are named by their labels."""
        return {
            "conditions": list(self.conditions),
            "most_robust": None if self.most_robust is None else str(self.most_robust.label),
            "sentence": self.sentence,
            "notes": list(self.notes),
            "losses": [loss.json() for loss in self.losses],
        }

    def lines(self) -> list[str]:
        """A text table, 80 columns wide, a block a condition, and what it says.

        Of many points, the baseline and those that lose least and most.
        """
        head = ["ROC AUC", "loss %", "95 % interval", "verdict", "vs baseline"]
        blocks = {
            condition: [
                (
                    str(loss.point.label),
                    [
                        f"{loss.roc_auc:.3f}",
                        percent(loss.loss),
                        percent_interval(loss.loss_interval),
                        loss.verdict,
                        loss.against_baseline,
                    ],
                )
                for loss in _listed([c for c in self.losses if c.condition == condition])
            ]
            for condition in self.conditions
        }
        cells = [head, *(c for block in blocks.values() for _, c in block)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        longest = max(len(label) for block in blocks.values() for label, _ in block)
        left = min(2 + longest, _WIDTH - sum(widths) - 2 * len(widths))

        def line(label: str, cells: Sequence[str]) -> list[str]:
            columns = [f"{c:>{w}}" for c, w in zip(cells[:3], widths, strict=False)]
            columns += [f"{c:<{w}}" for c, w in zip(cells[3:], widths[3:], strict=True)]
            own_line = []
            if len(label) > left:  # a long label takes a line of its own
                own_line, label = textwrap.wrap(label, _WIDTH, subsequent_indent="  "), ""
            return [*own_line, "  ".join([f"{label:<{left}}", *columns]).rstrip()]

        text = textwrap.wrap(
            "Robustness: what each network loses of ROC AUC under a condition, against itself on "
            "the audio that it was trained on, and how it stands to the baseline under the same "
            "condition.",
            _WIDTH,
        )
        text += line("", head)
        for condition, block in blocks.items():
            text.append(condition)
            for label, values in block:
                text += line(f"  {label}", values)
        said = [self.sentence, *self.notes]
        if len(self.points) > _MOST_LISTED:
            said.append("Of each condition, those that lose least and most are listed here.")
        for sentence in said:
            text += textwrap.wrap(sentence, _WIDTH)
        return text


def _listed(losses: Sequence[ConditionLoss]) -> Sequence[ConditionLoss]:
    if len(losses) <= _MOST_LISTED:
        return losses
    ordered = sorted(range(len(losses)), key=lambda i: losses[i].loss)
    ends = {*ordered[: _MOST_LISTED // 2], *ordered[-(_MOST_LISTED // 2) :]}
    return [
        loss for i, loss in enumerate(losses) if i in ends or loss.against_baseline == "baseline"
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tested:
    """A point as trained and under a condition: tables of the same runs and folds."""

    own: RunTable
    other: RunTable


_Key = tuple[str, str]
"""A point's label, and a condition."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Judged:
    """Differences of one kind; those of a condition are corrected for as many comparisons."""

    found: Mapping[_Key, Difference]
    p_holm: Mapping[_Key, float]
    margin: float

    @classmethod
    def of(cls, found: Mapping[_Key, Difference], margin: float) -> Self:
        p_holm: dict[_Key, float] = {}
        for name in dict.fromkeys(condition for _, condition in found):
            keys = [key for key in found if key[1] == name]
            corrected = holm([found[key].estimate.p for key in keys])
            p_holm |= dict(zip(keys, corrected, strict=True))
        return cls(found=found, p_holm=p_holm, margin=margin)

    def verdict(self, key: _Key) -> Verdict:
        if key not in self.found:
            return "not told"
        return verdict_of(self.found[key], self.p_holm[key], self.margin)

    def loss(self, key: _Key) -> float:
        return self.found[key].estimate.value if key in self.found else math.nan


def compare_conditions(rows: Sequence[Row], comparison: Comparison) -> Robustness | None:
    """Judge the rows of other conditions than the one trained on; None where there are none.

    Parameters
    ----------
    rows : sequence of dict
        As `models.study.results.read_results` gives them.
    comparison : Comparison
        Of these rows: its baseline, margin and labels are taken.
    """
    tested = _tested(rows, comparison)
    if not tested:
        return None
    labels = {label for label, _ in tested}
    points = tuple(point for point in comparison.points if str(point.label) in labels)
    names = {condition for _, condition in tested}
    losses = _Judged.of(_losses(tested, names), comparison.margin)
    severity = {
        name: float(np.mean([f.estimate.value for (_, c), f in losses.found.items() if c == name]))
        for name in names
    }
    order = sorted(names, key=lambda name: (severity[name], name))
    to_baseline = _Judged.of(_against_baseline(tested, names, comparison), comparison.margin)
    of_tags = _tags(tested)
    judged = tuple(
        _condition_loss(
            point, name, tested[key].other, losses, to_baseline, comparison, of_tags[key]
        )
        for name in order
        for point in points
        if (key := (str(point.label), name)) in tested
    )
    most_robust, sentence = _most_robust(tested, order, points)
    return Robustness(
        conditions=tuple(order),
        points=points,
        losses=judged,
        margin=comparison.margin,
        most_robust=most_robust,
        sentence=sentence,
        notes=_notes(comparison, judged, order),
    )


def _condition_loss(
    point: Point,
    condition: str,
    table: RunTable,
    losses: _Judged,
    to_baseline: _Judged,
    comparison: Comparison,
    of_tags: dict[str, TagLoss],
) -> ConditionLoss:
    key = str(point.label), condition
    found, verdict = losses.found[key], losses.verdict(key)
    is_known = bool(found.estimate.variances)
    why = ""
    if verdict == "not told":
        clauses = (found.unknown, remedy_of(found, comparison.margin))
        why = "; ".join(filter(None, clauses)) or "these runs and test clips cannot tell"
    is_baseline = point is comparison.baseline
    return ConditionLoss(
        point=point,
        condition=condition,
        n_runs=len(table.runs),
        n_folds=len(table.folds),
        roc_auc=table.roc_auc,
        pr_auc=table.mean("pr_auc"),
        loss=found.estimate.value,
        loss_interval=found.estimate.interval if is_known else NO_INTERVAL,
        loss_bound=found.estimate.upper_bound if is_known else math.nan,
        p_holm=losses.p_holm[key],
        verdict=verdict,
        why_not_told=why,
        against_baseline="baseline" if is_baseline else to_baseline.verdict(key),
        loss_against_baseline=0.0 if is_baseline else to_baseline.loss(key),
        tag_losses=of_tags,
    )


def _tags(tested: Mapping[_Key, _Tested]) -> dict[_Key, dict[str, TagLoss]]:
    """What each tag loses; the discoveries of a point are one family."""
    found: dict[_Key, dict[str, TagLoss]] = {}
    families: dict[tuple[object, ...], list[_Key]] = {}
    for key, pair in tested.items():
        # Where a condition lacks runs, what it is compared with lacks them, too.
        families.setdefault((key[0], *pair.own.cells), []).append(key)
    for keys in families.values():
        losses = tag_losses(tested[keys[0]].own, [tested[key].other for key in keys])
        found |= dict(zip(keys, losses, strict=True))
    return found


def _tested(rows: Sequence[Row], comparison: Comparison) -> dict[_Key, _Tested]:
    """By point's label and condition; of the runs and folds that have both rows."""
    groups: dict[Identity, list[Row]] = {}
    for row in rows:
        if is_as_trained(row):
            groups.setdefault(identity(row).point, []).append(row)
    labels, _ = label_points([(spec_of(r[0]), key._asdict()) for key, r in groups.items()])
    own = {identity(row): row for runs in groups.values() for row in runs}
    # Of a training that was done twice, the last row counts: the others' weights are gone.
    others = {identity(row): row for row in rows if not is_as_trained(row)}
    pairs: dict[tuple[Identity, str], list[tuple[Row, Row]]] = {}
    for name, row in others.items():
        before = own.get(name.as_trained)
        if before is not None and is_of_one_network(before, row):
            pairs.setdefault((name.as_trained.point, name.condition), []).append((before, row))
    known = {str(point.label) for point in comparison.points}
    return {
        (str(label), condition): _Tested(
            own=run_table(label, [a for a, _ in found]),
            other=run_table(label, [b for _, b in found]),
        )
        for key, label in zip(groups, labels, strict=True)
        for (of, condition), found in pairs.items()
        if of == key and str(label) in known
    }


def _losses(tested: Mapping[_Key, _Tested], names: Iterable[str]) -> dict[_Key, Difference]:
    found: dict[_Key, Difference] = {}
    for name in names:
        alike = {key: pair for key, pair in tested.items() if key[1] == name}
        typical = typical_change([(pair.own, pair.other) for pair in alike.values()])
        for key, pair in alike.items():
            found[key] = difference(pair.own, pair.other, typical)
    return found


def typical_change(pairs: Sequence[tuple[RunTable, RunTable]]) -> Variance | None:
    """What runs do to the loss under one condition, of several points together.

    The variance over runs, pooled over the points. None where there is but one.

    Parameters
    ----------
    pairs : sequence of (RunTable, RunTable)
        Of each point, as trained and under the condition.
    """
    squares, freedom, n_points = 0.0, 0, 0
    for own, other in pairs:
        runs = runs_of(own, other)[0]
        if len(runs) < 2:
            continue
        change = np.subtract(*(t.per_run("roc_auc", own.folds, runs) for t in (own, other)))
        squares += float(((change - change.mean()) ** 2).sum())
        freedom += len(runs) - 1
        n_points += 1
    return Variance(value=squares / freedom, freedom=freedom) if n_points > 1 else None


def _against_baseline(
    tested: Mapping[_Key, _Tested], names: Iterable[str], comparison: Comparison
) -> dict[_Key, Difference]:
    """Of the points with the baseline's clips, but for the baseline."""
    label = str(comparison.baseline.label)
    found: dict[_Key, Difference] = {}
    for name in names:
        if (label, name) not in tested:
            continue
        reference = tested[label, name].other
        others = {
            key: pair.other
            for key, pair in tested.items()
            if key[1] == name and key[0] != label and pair.other.data == reference.data
        }
        typical = typical_variance([reference, *others.values()])
        found |= {key: difference(reference, other, typical) for key, other in others.items()}
    return found


def _most_robust(
    tested: Mapping[_Key, _Tested], names: Sequence[str], points: Sequence[Point]
) -> tuple[Point | None, str]:
    """The point of the smallest mean loss, if all others are shown to lose more; a sentence."""
    shared = [n for n in names if all((str(p.label), n) in tested for p in points)]
    alike = {
        str(p.label): change
        for p in points
        if (change := _mean_change([tested[str(p.label), n] for n in shared])) is not None
        and p.data == points[0].data
    }
    is_resolution = len({p.label.settings for p in points}) == 1
    what = "resolution" if is_resolution else "point"
    if len(points) == 1:
        return None, f"Which {what} is most robust is not told: there is but one."
    if len(alike) < len(points):
        return None, (
            f"Which {what} is most robust is not told: they were not tested under the same "
            "conditions, in the same runs and on the same clips."
        )
    best = max(points, key=lambda p: alike[str(p.label)].roc_auc)
    reference = alike[str(best.label)]
    others = {name: table for name, table in alike.items() if name != str(best.label)}
    typical = typical_variance(list(alike.values()))
    found = {name: difference(reference, table, typical) for name, table in others.items()}
    corrected = dict(zip(found, holm([f.estimate.p for f in found.values()]), strict=True))
    unsure = [name for name, p in corrected.items() if not p < ALPHA]
    mean = rounded(-reference.roc_auc)
    over = f"on average over {count(len(shared), 'condition')}"
    if not unsure:
        return best, (
            f"Most robust is {best.label}: it loses least of ROC AUC, {mean} {over}, and all "
            "others are shown to lose more."
        )
    if len(unsure) <= _MOST_NAMED:
        rest = f"{', '.join(unsure)} {'is' if len(unsure) == 1 else 'are'}"
    else:
        rest = f"{len(unsure)} of {len(others)} others are"
    return None, (
        f"Which {what} is most robust is not told: {best.label} loses least of ROC AUC, {mean} "
        f"{over}, but {rest} not shown to lose more."
    )


def _mean_change(tested: Sequence[_Tested]) -> RunTable | None:
    """Gains over the audio trained on, means over conditions, as scores in a table of the runs.

    None where conditions were tested in other runs.
    """
    if not tested or any(t.own.cells.keys() != tested[0].own.cells.keys() for t in tested):
        return None
    own = tested[0].own
    cells = {}
    for cell, row in own.cells.items():
        changes: dict[str, Any] = {}
        for field in ("roc_auc", "pr_auc", "bootstrap_roc_auc", "bootstrap_pr_auc"):
            values = [(t.other.cells[cell][field], t.own.cells[cell][field]) for t in tested]
            if field.startswith("bootstrap"):
                n = min(len(v) for pair in values for v in pair)
                gains = [np.subtract(other[:n], before[:n]) for other, before in values]
                changes[field] = np.mean(gains, axis=0).tolist()
            else:
                changes[field] = float(np.mean([other - before for other, before in values]))
        cells[cell] = row | changes
    return dataclasses.replace(own, cells=cells)


def _notes(
    comparison: Comparison,
    judged: Sequence[ConditionLoss],
    names: Sequence[str],
) -> tuple[str, ...]:
    notes = []
    done = {
        (str(loss.point.label), loss.condition)
        for loss in judged
        if (loss.n_runs, loss.n_folds) >= (loss.point.n_runs, loss.point.n_folds)
    }
    n_lacking = sum(
        any((str(point.label), name) not in done for name in names) for point in comparison.points
    )
    if n_lacking:
        notes.append(
            f"{n_lacking} of {count(len(comparison.points), 'point')} "
            f"{'was' if n_lacking == 1 else 'were'} not tested under all conditions in all runs: "
            "run the study with --conditions again to complete them."
        )
    reasons = {loss.why_not_told for loss in judged}
    if len(reasons) == 1 and all(reasons):
        notes.append(f"Not told of any loss: {reasons.pop()}.")
    notes.append(
        "A point that is worse on clean audio has less to lose: its scores under a condition say "
        "what is left."
    )
    return tuple(notes)
