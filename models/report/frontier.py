"""The frontier: ROC AUC against what it costs, in multiply-accumulates, bytes and time."""

import math
from collections.abc import Callable, Mapping, Sequence

from models.report.axis import Axis
from models.report.figure import Dot, Figure, Key, Line, Panel
from models.report.marks import marks_of, marks_of_networks
from models.study.comparison import Comparison, Point
from models.study.formatting import describe
from models.study.label import Label
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

_FEW_OF_NETWORKS = 15
"""Up to so many are, where the labels hold names of networks, which are long."""

_FEW_NETWORKS = 2
"""Up to so many are told apart by full and hollow marks."""


def frontier(comparison: Comparison) -> Figure:
    """ROC AUC against each cost that is known of all points, and not of all the same; a panel each.

    A line climbs over the points that nothing cheaper beats by this panel's cost; a dot is faint
    unless it is on the frontier of all costs together. A dashed line is the margin below the
    baseline, and a sign behind each label its verdict. Where there are many points, only the
    baseline and the recommended one are labelled.

    A mark is a number of bands, hollow for a second network. Of more networks, it is a network,
    and the labels say the bands; where there are many points, those on the frontier have labels,
    too.
    """
    points = comparison.points
    networks = marks_of_networks(p.model for p in points)
    bands = marks_of(p.label.spec for p in points)
    of_networks = len(networks) > _FEW_NETWORKS
    stds = [0 if math.isnan(p.roc_auc_std) else p.roc_auc_std for p in points]
    limit = comparison.baseline.roc_auc - comparison.margin
    reached = [p.roc_auc + sign * s for p, s in zip(points, stds, strict=True) for sign in (-1, 1)]
    y = Axis.linear("ROC AUC", [*reached, limit])
    few = len(points) <= (_FEW_OF_NETWORKS if of_networks else _FEW)
    words = _short([p.label for p in points])

    def label(point: Point) -> str:
        is_key = point is comparison.baseline or point is comparison.recommended
        if few or is_key or (of_networks and point.on_frontier):
            return f"{words[point.label]} {SIGNS[point.verdict]}"
        return ""

    panels: list[Panel] = []
    for name, title, cost in _COSTS:
        costs = {cost(p) for p in points}
        if not all(value > 0 for value in costs):  # nor nan
            continue
        if panels and len(costs) == 1 < len(points):
            continue
        dots = [
            Dot(
                x=cost(p),
                y=p.roc_auc,
                std=p.roc_auc_std,
                mark=networks[p.model] if of_networks else bands[p.label.spec.family],
                hollow=not of_networks and networks[p.model] > 0,
                faint=not p.on_frontier,
                baseline=p is comparison.baseline,
                recommended=p is comparison.recommended,
                label=label(p),
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
        title="What networks cost, and what they are worth"
        if of_networks
        else "What resolution costs, and what it is worth",
        rows=(tuple(panels),),
        legend=keys_of_networks(networks) if of_networks else keys_of_bands(bands, tuple(networks)),
        note=verdict_key(),
    )


def verdict_key() -> str:
    """What the signs mean, a line."""
    return "   ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())


def keys_of_bands(bands: Mapping[str, int], models: Sequence[str] = ()) -> tuple[Key, ...]:
    """A key for each number of bands, and for the second network if there is one."""
    keys = tuple(Key(text=family, mark=mark) for family, mark in bands.items())
    hollow = (Key(text=name, mark=None, hollow=i > 0) for i, name in enumerate(models))
    return (*keys, *hollow) if len(models) > 1 else keys


def keys_of_networks(networks: Mapping[str, int]) -> tuple[Key, ...]:
    """A key for each network."""
    return tuple(Key(text=name, mark=mark) for name, mark in networks.items())


def _short(labels: Sequence[Label]) -> dict[Label, str]:
    """Labels without the resolution where all points share it."""
    if len({label.spec.resolution for label in labels}) > 1:
        return {label: str(label) for label in labels}
    return {label: " ".join([*label.of_spec, *label.settings]) or str(label) for label in labels}


def _staircase(dots: Sequence[Dot]) -> tuple[tuple[float, float], ...]:
    steps: list[tuple[float, float]] = []
    for dot in sorted(dots, key=lambda dot: (dot.x, -dot.y)):
        if not steps:
            steps.append((dot.x, dot.y))
        elif dot.y > steps[-1][1]:
            steps += [(dot.x, steps[-1][1]), (dot.x, dot.y)]
    return (*steps, (max(dot.x for dot in dots), steps[-1][1]))
