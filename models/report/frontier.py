"""The frontier: ROC AUC against what it costs, in multiply-accumulates, bytes and time."""

import math
from collections.abc import Callable, Sequence

from models.report.axis import Axis
from models.report.figure import Dot, Figure, Key, Line, Panel
from models.report.marks import marks_of
from models.report.words import describe
from models.study.comparison import Judgement, Point

_COSTS: tuple[tuple[str, str, Callable[[Point], float]], ...] = (
    ("gmac", "multiply-accumulates a clip [GMAC]", lambda p: p.gmac),
    ("bytes", "stored size a clip [kB]", lambda p: p.bytes_per_clip / 1000),
    ("seconds", "inference a clip [ms]", lambda p: 1000 * p.inference_seconds_per_clip),
)

_FEW = 30
"""Up to so many points are all labelled."""


def frontier(judgement: Judgement) -> Figure:
    """ROC AUC against each cost that is known of all points, a panel each.

    A line climbs over the points that nothing cheaper beats by this panel's cost; a dot is faint
    unless it is on the frontier of all costs together. Where there are many points, only the
    baseline and the recommended one are labelled.
    """
    points = judgement.points
    marks = marks_of(p.spec.n_mels for p in points)
    models = sorted({p.model for p in points}, key=lambda name: (name != "vgg", name))
    spreads = [0 if math.isnan(p.roc_auc_std) else p.roc_auc_std for p in points]
    y = Axis.linear(
        "ROC AUC",
        [p.roc_auc + sign * s for p, s in zip(points, spreads, strict=True) for sign in (-1, 1)],
    )
    few = len(points) <= _FEW
    panels = []
    for name, title, cost in _COSTS:
        if not all(cost(p) > 0 for p in points):  # nor nan
            continue
        dots = [
            Dot(
                x=cost(p),
                y=p.roc_auc,
                spread=p.roc_auc_std,
                mark=marks[p.spec.n_mels],
                hollow=p.model != models[0],
                faint=not p.on_frontier,
                baseline=p is judgement.baseline,
                recommended=p is judgement.recommended,
                label=p.label if few or p in (judgement.baseline, judgement.recommended) else "",
                tip=describe(p),
            )
            for p in points
        ]
        panels.append(
            Panel(
                name=name,
                title="",
                x=Axis.logarithmic(title, [dot.x for dot in dots]),
                y=y,
                dots=tuple(sorted(dots, key=lambda dot: (dot.x, dot.y))),
                lines=(Line(points=_staircase(dots)),),
            )
        )
    return Figure(
        name="frontier",
        title="What resolution costs, and what it is worth",
        rows=(tuple(panels),),
        legend=legend(points, models),
    )


def legend(points: Sequence[Point], models: Sequence[str]) -> tuple[Key, ...]:
    """A key for each number of bands, and if there are several networks for those."""
    bands = [
        Key(text=f"{n} bands", mark=m) for n, m in marks_of(p.spec.n_mels for p in points).items()
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
