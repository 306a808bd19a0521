"""The text table of a study's results, for a terminal."""

import textwrap
from typing import TYPE_CHECKING

from models.study.formatting import percent, plus_minus, probability, significant

if TYPE_CHECKING:
    from models.study.comparison import Comparison

_WIDTH = 80


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
    for sentence in (*said, *comparison.notes):
        text += textwrap.wrap(sentence, _WIDTH)
    return text
