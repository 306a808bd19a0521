"""The frontier: ROC AUC against what it costs, in multiply-accumulates, bytes and time."""

import math
from collections.abc import Callable, Sequence

from models.report.axis import Axis
from models.report.figure import Dot, Figure, Key, Line, Panel
from models.report.marks import marks_of
from models.study.comparison import Comparison, Point
from models.study.formatting import describe
from models.study.recommendation import Verdict

_COSTS: tuple[tuple[str, str, Callable[[Point], float]], ...] = (
    ("gmac", "multiply-accumulates per clip [GMAC]", lambda p: p.gmac),
    ("bytes", "stored size per clip [kB]", lambda p: p.bytes_per_clip / 1000),
    ("seconds", "inference per clip [ms]", lambda p: 1000 * p.inference_seconds_per_clip),
)

SIGNS: dict[Verdict, str] = {
    "baseline": "○",
    "better": "▲",
    "no worse": "✓",
    "worse": "▼",
    "not told": "?",
}
"""What stands behind a label, for a verdict."""

_FEW = 30
"""Up to so many points are all labelled."""


def frontier(comparison: Comparison) -> Figure:
    """ROC AUC against each cost that is known of all points, a panel each.

    A line climbs over the points that nothing cheaper beats by this panel's cost; a dot is faint
    unless it is on the frontier of all costs together. A dashed line is the margin below the
    baseline, and a sign behind each label its verdict. Where there are many points, only the
    baseline and the recommended one are labelled.
    """
    points = comparison.points
    marks = marks_of(p.label.spec for p in points)
    models = sorted({p.model for p in points}, key=lambda name: (name != "vgg", name))
    stds = [0 if math.isnan(p.roc_auc_std) else p.roc_auc_std for p in points]
    limit = comparison.baseline.roc_auc - comparison.margin
    reached = [p.roc_auc + sign * s for p, s in zip(points, stds, strict=True) for sign in (-1, 1)]
    y = Axis.linear("ROC AUC", [*reached, limit])
    few = len(points) <= _FEW
    panels = []
    for name, title, cost in _COSTS:
        if not all(cost(p) > 0 for p in points):  # nor nan
            continue
        dots = [
            Dot(
                x=cost(p),
                y=p.roc_auc,
                std=p.roc_auc_std,
                mark=marks[p.label.spec.family],
                hollow=p.model != models[0],
                faint=not p.on_frontier,
                baseline=p is comparison.baseline,
                recommended=p is comparison.recommended,
                label=f"{p.label} {SIGNS[p.verdict]}" if few or _is_key(comparison, p) else "",
                tip=describe(p),
            )
            for p in points
        ]
        x = Axis.logarithmic(title, [dot.x for dot in dots])
        margin = Line(
            points=((x.low, limit), (x.high, limit)),
            is_dashed=True,
            text=f"margin: {100 * comparison.margin:g} % below the baseline",
        )
        panels.append(
            Panel(
                name=name,
                title="",
                x=x,
                y=y,
                dots=tuple(sorted(dots, key=lambda dot: (dot.x, dot.y))),
                lines=(Line(points=_staircase(dots)), margin),
            )
        )
    return Figure(
        name="frontier",
        title="What resolution costs, and what it is worth",
        rows=(tuple(panels),),
        legend=legend(points, models),
        note=verdict_key(),
    )


def _is_key(comparison: Comparison, point: Point) -> bool:
    return point is comparison.baseline or point is comparison.recommended


def verdict_key() -> str:
    """What the signs mean, a line."""
    return "   ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())


def legend(points: Sequence[Point], models: Sequence[str]) -> tuple[Key, ...]:
    """A key for each number of bands, and if there are several networks for those."""
    bands = [
        Key(text=family, mark=m) for family, m in marks_of(p.label.spec for p in points).items()
    ]
    if len(models) == 1:
        return tuple(bands)
    networks = [
        Key(text=models[0], mark=None),
        Key(text=", ".join(models[1:]), mark=None, hollow=True),
    ]
    return (*bands, *networks)


def _staircase(dots: Sequence[Dot]) -> tuple[tuple[float, float], ...]:
    steps: list[tuple[float, float]] = []
    for dot in sorted(dots, key=lambda dot: (dot.x, -dot.y)):
        if not steps:
            steps.append((dot.x, dot.y))
        elif dot.y > steps[-1][1]:
            steps += [(dot.x, steps[-1][1]), (dot.x, dot.y)]
    return (*steps, (max(dot.x for dot in dots), steps[-1][1]))
