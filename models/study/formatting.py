"""Numbers, points and whole comparisons in words, as the terminal, page and figures say them."""

import math
import textwrap
from typing import TYPE_CHECKING

from models.study.label import words_of

if TYPE_CHECKING:
    from featurestore.specs.mel import FeatureSpec
    from models.study.comparison import Comparison, Point

_WIDTH = 80
"""Columns of a terminal."""


def plus_minus(mean: float, std: float) -> str:
    """``0.912 ± 0.004``; without a standard deviation where there is none."""
    return f"{mean:.3f}" + ("" if math.isnan(std) else f" ± {std:.3f}")


def interval(bounds: tuple[float, float]) -> str:
    """``0.880 to 0.931``; a dash where it is not known."""
    return "–" if any(map(math.isnan, bounds)) else "{:.3f} to {:.3f}".format(*bounds)


def percent(loss: float) -> str:
    """A difference of AUC in percent, as the study gives it: ``+0.31``; a dash if unknown."""
    if math.isnan(loss):
        return "–"
    # Adding 0 makes a 0 of a −0.
    return f"{round(100 * loss, 2) + 0:+.2f}".replace("-", "−")


def percent_plus_minus(mean: float, std: float) -> str:
    """``89.12 ± 0.23``: a score in percent, as the study gives it."""
    return f"{100 * mean:.2f}" + ("" if math.isnan(std) else f" ± {100 * std:.2f}")


def percent_interval(bounds: tuple[float, float]) -> str:
    """``−0.42 to +1.13``; a dash where it is not known."""
    return "–" if any(map(math.isnan, bounds)) else f"{percent(bounds[0])} to {percent(bounds[1])}"


def probability(p: float) -> str:
    """``0.012``, ``< 0.001``; a dash where it is not known."""
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def significant(value: float) -> str:
    """Three digits that mean something, without an exponent; a dash where it is not known."""
    if math.isnan(value):
        return "–"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def times(factor: float) -> str:
    """``4 times less``, ``1.2 times more``, ``the same``: a cost, `factor` times smaller."""
    if 0.95 < factor < 1.05:
        return "the same"
    if factor < 1:
        return f"{_factor(1 / factor)} times more"
    return f"{_factor(factor)} times less"


def _factor(factor: float) -> str:
    return f"{factor:.0f}" if factor >= 9.95 else f"{factor:.1f}".removesuffix(".0")


def count(n: int, noun: str) -> str:
    """``1 run``, ``3 runs``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def scaling(spec: "FeatureSpec") -> str:
    """All of a mel spec but its bands and hop: ``16 kHz, dB``."""
    rate, log, *others = words_of(spec).rest
    return ", ".join([rate, {"db": "dB"}.get(log, log), *others])


def name(point: "Point") -> str:
    """A point's label as one would say it: ``48 bands, hop x2, 12 kHz …``."""
    label = point.label
    _, *hop = label.spec.resolution
    return ", ".join(
        [label.spec.family, *(f"hop {h}" for h in hop), *label.of_spec, *label.settings]
    )


def settings(point: "Point") -> str:
    """What a point's label says beyond its spec: network, width, encoding …, if they vary."""
    return " ".join(point.label.settings)


def describe(point: "Point") -> str:
    """What a figure says of a point: a line each for what it is, its scores, cost and verdict."""
    lines = [
        point.spec.name,
        ", ".join(filter(None, (settings(point), runs(point)))),
        f"ROC AUC {plus_minus(point.roc_auc, point.roc_auc_std)}",
        f"PR AUC {plus_minus(point.pr_auc, point.pr_auc_std)}",
        f"{significant(point.gmac)} GMAC, {significant(point.bytes_per_clip / 1000)} kB per clip",
    ]
    if not math.isnan(point.inference_seconds_per_clip):
        lines[-1] += f", {significant(1000 * point.inference_seconds_per_clip)} ms"
    if point.verdict == "baseline":
        lines.append("the baseline")
    elif math.isnan(point.loss):
        lines.append("not compared with the baseline")
    else:
        loss = f"loss of ROC AUC {percent(point.loss)} %"
        if not math.isnan(point.loss_interval[0]):
            loss += f" ({percent_interval(point.loss_interval)})"
        lines.append(f"{loss}: {point.verdict}")
    return "\n".join(lines)


def runs(point: "Point") -> str:
    """``3 runs of 5 folds``, ``1 run``."""
    text = count(point.n_runs, "run")
    return text + (f" of {point.n_folds} folds" if point.n_folds > 1 else "")


_MOST_ACCURACIES = 8
"""Points whose accuracy is said in a sentence; the page has all."""


def accuracies(comparison: "Comparison") -> list[str]:
    """Accuracy of the points with its interval, a sentence; none of taggings."""
    points = [point for point in comparison.points if point.confusion is not None]
    if len(points) > _MOST_ACCURACIES:
        points = [p for p in points if p in (comparison.recommended, comparison.baseline)]
    found = [
        f"{p.label} {p.confusion.accuracy:.3f} ({interval(p.confusion.interval)})"
        for p in points
        if p.confusion is not None
    ]
    return [f"Accuracy, with its 95 % interval over clips: {'; '.join(found)}."] if found else []


def table(comparison: "Comparison") -> list[str]:
    """Lay the points out as text, 80 columns wide, cheapest first, and say which to take.

    Scores are means ± sample standard deviations over runs; the loss is of ROC AUC, against the
    baseline; ``runs p`` is Welch's test over runs, which the study of Ferraro et al. used; a kB is
    1000 bytes.
    """
    head = ["runs", "ROC AUC", "PR AUC", "GMAC", "kB", "loss %", "runs p", "verdict"]
    lines = [
        (
            str(point.label),
            [
                str(point.n_runs),
                plus_minus(point.roc_auc, point.roc_auc_std),
                f"{point.pr_auc:.3f}",
                significant(point.gmac),
                significant(point.bytes_per_clip / 1000),
                "" if point.verdict == "baseline" else percent(point.loss),
                "" if point.verdict == "baseline" else probability(point.p_welch),
                point.verdict,
            ],
        )
        for point in comparison.points
    ]
    widths = [max(map(len, column)) for column in zip(head, *(c for _, c in lines), strict=True)]
    right = sum(widths) + 2 * len(widths)
    left = min(max(len("spec"), *(len(label) for label, _ in lines)), _WIDTH - right)
    text = textwrap.wrap(", ".join(comparison.common), _WIDTH)
    for label, cells in [("spec", head), *lines]:
        numbers = [f"{c:>{w}}" for c, w in zip(cells[:-1], widths, strict=False)]
        columns = "  ".join(["", *numbers, cells[-1]])
        if len(label) > left:  # a long label takes a line of its own
            text += textwrap.wrap(label, _WIDTH)
            label = ""
        text.append(f"{label:<{left}}{columns}".rstrip())
    said = [f"Take {comparison.recommended.label}: {comparison.recommended_why}."]
    said += accuracies(comparison)
    for sentence in (*said, *comparison.notes):
        text += textwrap.wrap(sentence, _WIDTH)
    return text
