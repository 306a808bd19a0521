"""The heat map: what each point loses under each condition."""

import math
from collections.abc import Iterable, Sequence

from models.report.axis import Axis
from models.report.figure import Cell, Figure, Key, Panel
from models.report.frontier import SIGNS
from models.report.shades import shade_of, words_of
from models.robustness import ConditionLoss, Robustness
from models.study.comparison import Comparison, Point
from models.study.formatting import percent, percent_interval, settings

_MOST = 40
"""Points that a picture has room for."""

HeatLine = tuple[Point, tuple[ConditionLoss | None, ...]]
"""A point and its losses, condition by condition; None where it was not tested."""


def heat_lines(robustness: Robustness) -> tuple[HeatLine, ...]:
    """The lines of the map: points of one network together, cheapest first."""
    found = {(str(loss.point.label), loss.condition): loss for loss in robustness.losses}
    networks = list(dict.fromkeys(settings(point) for point in robustness.points))
    return tuple(
        (point, tuple(found.get((str(point.label), name)) for name in robustness.conditions))
        for network in networks
        for point in robustness.points
        if settings(point) == network
    )


def heat_map(robustness: Robustness, comparison: Comparison) -> Figure:
    """Loss of ROC AUC by point and condition, mildest first.

    A cell has the loss in percent, the sign of its verdict, and half its 95 % interval. It is
    coloured if the loss is told from none, and there is no cell where nothing was tested. Of more
    points than there is room for, the baseline and the recommended one are drawn, and others evenly
    between.
    """
    lines = _drawn(heat_lines(robustness), comparison)
    cells = [
        Cell(x=x, y=len(lines) - 1 - i, shade=shade(loss), text=_text(loss), tip=tip(loss))
        for i, (_, losses) in enumerate(lines)
        for x, loss in enumerate(losses)
        if loss is not None
    ]
    panel = Panel(
        name="robustness",
        title="",
        x=Axis.categories("", robustness.conditions),
        y=Axis.categories("", [str(point.label) for point, _ in reversed(lines)]),
        cells=tuple(cells),
    )
    return Figure(
        name="robustness",
        title="What each loses on perturbed audio: ROC AUC [%]",
        rows=((panel,),),
        legend=shade_keys(cell.shade for cell in cells),
        note="   ".join(
            [
                *(f"{sign} {word}" for word, sign in SIGNS.items() if word != "baseline"),
                f"(margin: {100 * robustness.margin:g} %)",
            ]
        ),
    )


def shade(loss: ConditionLoss) -> int:
    """How a loss is coloured: not at all where it is not told from none."""
    return shade_of(loss.loss) if loss.is_told else 0


def half_interval(loss: ConditionLoss) -> str:
    """``± 0.42``: half the 95 % interval, in percent; nothing where it is not known."""
    low, high = loss.loss_interval
    return "" if math.isnan(low) else f"± {50 * (high - low):.2f}"


def _text(loss: ConditionLoss) -> str:
    return "\n".join([f"{SIGNS[loss.verdict]} {percent(loss.loss)}", half_interval(loss)]).rstrip()


def shade_keys(shades: Iterable[int]) -> tuple[Key, ...]:
    """A key for each shade that is there, gains first."""
    return tuple(
        Key(text=words_of(found) if found else "not told from 0", mark=None, shade=found)
        for found in sorted(set(shades))
    )


def _drawn(lines: Sequence[HeatLine], comparison: Comparison) -> Sequence[HeatLine]:
    if len(lines) <= _MOST:
        return lines
    keys = {str(point.label) for point in (comparison.baseline, comparison.recommended)}
    rest = [str(point.label) for point, _ in lines if str(point.label) not in keys]
    n = _MOST - len(keys)
    keys |= {rest[round(i * (len(rest) - 1) / (n - 1))] for i in range(n)}
    return [line for line in lines if str(line[0].label) in keys]


def tip(loss: ConditionLoss) -> str:
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
