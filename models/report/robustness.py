"""What points lose under conditions, side by side."""

import math
from collections.abc import Sequence

from models.report.axis import Axis
from models.report.figure import Dot, Figure, Key, Line, Panel
from models.report.frontier import SIGNS
from models.report.marks import MARKS
from models.robustness import ConditionLoss, Robustness
from models.study.comparison import Comparison, Point
from models.study.formatting import percent, percent_interval

_MOST = 2 * len(MARKS)
"""Points that marks tell apart, full and hollow ones."""


def robustness_figure(robustness: Robustness, comparison: Comparison) -> Figure:
    """Loss of ROC AUC by condition, mildest first; a mark a point, its bar the 95 % interval.

    Over each mark stands the sign of its verdict. Of more points than there are marks, the
    baseline and the recommended one are drawn, and others evenly between, by cost.
    """
    points = _drawn(robustness.points, comparison)
    places = {str(point.label): i for i, point in enumerate(points)}
    columns = {name: i for i, name in enumerate(robustness.conditions)}
    dots = [
        Dot(
            # Side by side, not overlapping.
            x=columns[loss.condition] + 0.7 * ((place + 0.5) / len(points) - 0.5),
            y=100 * loss.loss,
            std=50 * (loss.loss_interval[1] - loss.loss_interval[0]),
            mark=place % len(MARKS),
            hollow=place >= len(MARKS),
            sign=SIGNS[loss.verdict],
            tip=_tip(loss),
        )
        for loss in robustness.losses
        if (place := places.get(str(loss.point.label))) is not None
    ]
    limit = 100 * robustness.margin
    title = f"condition of the test clips (dashed: the margin, {limit:g} %)"
    x = Axis.categories(title, robustness.conditions, slanted=True)
    reached = [d.y + s * d.std for d in dots for s in (-1, 1) if not math.isnan(d.std)]
    y = Axis.linear("loss of ROC AUC [%]", [0, limit, *(d.y for d in dots), *reached])
    lines = (
        Line(points=((x.low, 0.0), (x.high, 0.0))),
        Line(points=((x.low, limit), (x.high, limit)), is_dashed=True),
    )
    panel = Panel(name="robustness", title="", x=x, y=y, dots=tuple(dots), lines=lines)
    return Figure(
        name="robustness",
        title="What each loses on perturbed audio",
        rows=((panel,),),
        legend=tuple(
            Key(text=str(point.label), mark=i % len(MARKS), hollow=i >= len(MARKS))
            for i, point in enumerate(points)
        ),
        note="   ".join(f"{sign} {word}" for word, sign in SIGNS.items() if word != "baseline"),
    )


def _drawn(points: Sequence[Point], comparison: Comparison) -> list[Point]:
    if len(points) <= _MOST:
        return list(points)
    keys = {str(point.label) for point in (comparison.baseline, comparison.recommended)}
    rest = [str(point.label) for point in points if str(point.label) not in keys]
    n = _MOST - len(keys)
    keys |= {rest[round(i * (len(rest) - 1) / (n - 1))] for i in range(n)}
    return [point for point in points if str(point.label) in keys]


def _tip(loss: ConditionLoss) -> str:
    """A line each for what it is, its score, its loss and how it stands to the baseline."""
    text = f"loss of ROC AUC {percent(loss.loss)} %"
    if not math.isnan(loss.loss_interval[0]):
        text += f" ({percent_interval(loss.loss_interval)})"
    lines = [
        f"{loss.point.label} under {loss.condition}",
        f"ROC AUC {loss.roc_auc:.3f}, as trained {loss.point.roc_auc:.3f}",
        f"{text}: {loss.verdict}",
    ]
    if loss.against_baseline != "baseline":
        lines.append(
            f"under this condition {percent(loss.loss_against_baseline)} % against the baseline: "
            f"{loss.against_baseline}"
        )
    if loss.tags_lost:
        lines.append(f"shown of {', '.join(loss.tags_lost[:5])}")
    return "\n".join(lines)
