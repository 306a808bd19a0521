"""Scores by hop and bands: the study's figure 1, for these results."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from featurestore.specs.mel import FeatureSpec
from models.report.axis import Axis
from models.report.figure import Dot, Figure, Line, Panel
from models.report.frontier import keys_of_bands
from models.report.marks import marks_of
from models.study.comparison import Comparison, Point
from models.study.formatting import describe, scaling, settings
from models.study.label import hop_name

_ROWS: tuple[tuple[str, str, Callable[[Point], float], Callable[[Point], float]], ...] = (
    ("roc_auc", "ROC AUC", lambda p: p.roc_auc, lambda p: p.roc_auc_std),
    ("pr_auc", "PR AUC", lambda p: p.pr_auc, lambda p: p.pr_auc_std),
    ("gmac", "GMAC", lambda p: p.gmac, lambda p: math.nan),
)

_FEWEST = 3
"""Specs of one network that a line can join."""


def resolutions(comparison: Comparison) -> tuple[Figure, ...]:
    """A figure for each network (and width, encoding, recipe …) on mel-spectrograms.

    Rows are ROC AUC, PR AUC and GMAC, columns the sample rates and amplitude scalings. A column
    says its GMAC once: where two differ in the scaling alone, the first shows it. Of several
    networks, those on fewer than three specs have none: the frontier says as much of them.
    """
    groups: dict[str, list[_OnMel]] = {}
    for point in comparison.points:
        if isinstance(point.spec, FeatureSpec):
            groups.setdefault(settings(point), []).append(_OnMel(point.spec, point))
    if len(groups) > 1:
        groups = {title: points for title, points in groups.items() if len(points) >= _FEWEST}
    return tuple(
        _figure("resolution" if len(groups) == 1 else f"resolution-{i}", title, points)
        for i, (title, points) in enumerate(groups.items(), start=1)
    )


class _OnMel(NamedTuple):
    spec: FeatureSpec
    point: Point


def _figure(name: str, title: str, points: Sequence[_OnMel]) -> Figure:
    marks = marks_of(point.label.spec for _, point in points)
    hops = sorted({spec.hop for spec, _ in points})
    names = {spec.hop: hop_name(spec) for spec, _ in points}
    x = Axis.categories("hop", [names[h] for h in hops])
    columns: dict[str, list[_OnMel]] = {}
    for each in sorted(points, key=lambda p: (p.spec.sr, p.spec.log != "log", p.spec.name)):
        columns.setdefault(scaling(each.spec), []).append(each)
    rows: list[tuple[Panel, ...]] = []
    for row, score, value, std in _ROWS:
        values = [value(p) + s * _or_zero(std(p)) for _, p in points for s in (-1, 1)]
        y = (Axis.logarithmic if row == "gmac" else Axis.linear)(score, values)
        panels = []
        shown = set()
        for i, (column, members) in enumerate(columns.items()):
            costs = frozenset((spec.n_mels, spec.hop, p.gmac) for spec, p in members)
            if row == "gmac" and costs in shown:
                continue
            shown.add(costs)
            dots = {
                family: [
                    Dot(
                        # Bars of different bands side by side, not overlapping.
                        x=hops.index(spec.hop) + 0.5 * (mark + 0.5) / len(marks) - 0.25,
                        y=value(point),
                        std=std(point),
                        mark=mark,
                        tip=describe(point),
                    )
                    for spec, point in sorted(members, key=lambda p: p.spec.hop)
                    if point.label.spec.family == family
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
        legend=keys_of_bands(marks),
    )


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
