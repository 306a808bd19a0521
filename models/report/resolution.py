"""Scores by hop and bands: the study's figure 1, for these results."""

import math
from collections.abc import Callable, Sequence

from featurestore.specs.mel import FeatureSpec
from models.report.axis import Axis
from models.report.figure import Dot, Figure, Line, Panel
from models.report.frontier import legend
from models.report.marks import marks_of
from models.study.comparison import Comparison, Point
from models.study.formatting import describe, scaling, settings
from models.study.label import hop_name

_ROWS: tuple[tuple[str, str, Callable[[Point], float], Callable[[Point], float]], ...] = (
    ("roc_auc", "ROC AUC", lambda p: p.roc_auc, lambda p: p.roc_auc_std),
    ("pr_auc", "PR AUC", lambda p: p.pr_auc, lambda p: p.pr_auc_std),
    ("gmac", "GMAC", lambda p: p.gmac, lambda p: math.nan),
)


def resolutions(comparison: Comparison) -> tuple[Figure, ...]:
    """A figure for each network (and width, encoding, recipe …) on mel-spectrograms.

    Rows are ROC AUC, PR AUC and GMAC, columns the sample rates and amplitude scalings. A column
    says its GMAC once: where two differ in the scaling alone, the first shows it.
    """
    groups: dict[str, list[Point]] = {}
    for point in comparison.points:
        if not isinstance(point.spec, FeatureSpec):
            continue
        groups.setdefault(settings(point), []).append(point)
    return tuple(
        _figure("resolution" if len(groups) == 1 else f"resolution-{i}", title, points)
        for i, (title, points) in enumerate(groups.items(), start=1)
    )


def _figure(name: str, title: str, points: Sequence[Point]) -> Figure:
    marks = marks_of(p.label.spec for p in points)
    hops = sorted({p.spec.hop for p in points})
    names = {p.spec.hop: hop_name(p.spec) for p in points}
    x = Axis.categories("hop", [names[h] for h in hops])
    columns: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda p: (p.spec.sr, p.spec.log != "log", p.spec.name)):
        columns.setdefault(scaling(point.spec), []).append(point)
    rows: list[tuple[Panel, ...]] = []
    for row, score, value, std in _ROWS:
        values = [value(p) + s * _or_zero(std(p)) for p in points for s in (-1, 1)]
        y = (Axis.logarithmic if row == "gmac" else Axis.linear)(score, values)
        panels = []
        shown = set()
        for i, (column, members) in enumerate(columns.items()):
            costs = frozenset((p.spec.n_mels, p.spec.hop, p.gmac) for p in members)
            if row == "gmac" and costs in shown:
                continue
            shown.add(costs)
            dots = {
                family: [
                    Dot(
                        # Bars of different bands side by side, not overlapping.
                        x=hops.index(p.spec.hop) + 0.5 * (mark + 0.5) / len(marks) - 0.25,
                        y=value(p),
                        std=std(p),
                        mark=mark,
                        tip=describe(p),
                    )
                    for p in sorted(members, key=lambda p: p.spec.hop)
                    if p.label.spec.family == family
                ]
                for family, mark in marks.items()
            }
            panels.append(
                Panel(
                    name=f"{name}-{row}-{i}",
                    title=column.split(",")[0] if row == "gmac" else column,
                    x=x,
                    y=y,
                    dots=tuple(dot for band in dots.values() for dot in band),
                    lines=tuple(
                        Line(points=tuple((dot.x, dot.y) for dot in band), mark=marks[family])
                        for family, band in dots.items()
                        if band[1:]
                    ),
                )
            )
        rows.append(tuple(panels))
    if len(columns) == 1:  # lay the column down
        rows = [tuple(panel for row in rows for panel in row)]
    return Figure(
        name=name,
        title=title,
        rows=tuple(rows),
        legend=legend(points, [points[0].model]),
    )


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
