"""The confusion matrix: how many clips of each class are said to be of which."""

import math

from models.evaluation.confusion import Confusion
from models.report.axis import Axis
from models.report.figure import Cell, Figure, Key, Panel
from models.report.shades import STRONGEST, shade_of, words_of
from models.study.comparison import Comparison, Point

_MOST = 40
"""Classes that a picture has room for."""


def confused_points(comparison: Comparison) -> tuple[Point, ...]:
    """The points whose matrices are shown: the recommended one and the baseline, if they have any.

    None of taggings.
    """
    points = {str(p.label): p for p in (comparison.recommended, comparison.baseline)}
    return tuple(point for point in points.values() if point.confusion is not None)


def confusion_figure(comparison: Comparison) -> Figure | None:
    """The matrix of the recommended point, else of the baseline; None where there is none.

    Of more classes than there is room for, those that are recalled worst are drawn.
    """
    points = confused_points(comparison)
    if not points:
        return None
    point, confusion = points[0], points[0].confusion
    assert confusion is not None
    drawn = drawn_classes(confusion)
    names = [confusion.classes[i] for i in drawn]
    cells = [
        Cell(
            x=x,
            y=len(drawn) - 1 - y,
            shade=shade(confusion, of, said),
            text=f"{confusion.counts[of][said]:,}",
            tip=tip(confusion, of, said),
        )
        for y, of in enumerate(drawn)
        for x, said in enumerate(drawn)
        if confusion.counts[of][said] or of == said
    ]
    panel = Panel(
        name="confusion",
        title="",
        x=Axis.categories("", names),
        y=Axis.categories("", names[::-1]),
        cells=tuple(cells),
    )
    low, high = confusion.interval
    runs = f", summed over {confusion.n_runs} runs" if confusion.n_runs > 1 else ""
    return Figure(
        name="confusion",
        title=f"What is taken for what: {point.label}",
        rows=((panel,),),
        legend=confusion_keys(confusion),
        note=f"clips by class (rows) and by what is said (columns){runs}; "
        f"accuracy {confusion.accuracy:.3f}, 95 % {low:.3f} to {high:.3f}",
    )


def drawn_classes(confusion: Confusion) -> list[int]:
    """Numbers of the classes that there is room for, in order."""
    everything = range(len(confusion.classes))
    if len(confusion.classes) <= _MOST:
        return list(everything)
    recalls = [2.0 if math.isnan(recall) else recall for recall in confusion.recalls]
    return sorted(sorted(everything, key=recalls.__getitem__)[:_MOST])


def shade(confusion: Confusion, of: int, said: int) -> int:
    """How a cell is coloured: a mistake as a loss of that share of its class's clips.

    What is right is of the other colour, the stronger the more of the class's clips it is.
    """
    share = confusion.share(of, said)
    return -math.ceil(share * STRONGEST) if of == said else shade_of(share)


def confusion_keys(confusion: Confusion) -> tuple[Key, ...]:
    """A key for each shade of mistakes that is there, and one for what is right."""
    n = range(len(confusion.classes))
    found = sorted({shade(confusion, a, b) for a in n for b in n if a != b} - {0})
    wrong = [Key(text=f"{words_of(s)} of the class", mark=None, shade=s) for s in found]
    return (Key(text="said rightly", mark=None, shade=-STRONGEST), *wrong)


def tip(confusion: Confusion, of: int, said: int) -> str:
    """A sentence about a cell."""
    count, share = confusion.counts[of][said], confusion.share(of, said)
    return f"{confusion.classes[of]}, said {confusion.classes[said]}: {count:,} ({share:.0%})"


def lowest_recall(confusion: Confusion) -> tuple[str, float]:
    """The class that is recalled worst, and its recall."""
    known = [
        (recall, name)
        for recall, name in zip(confusion.recalls, confusion.classes, strict=True)
        if not math.isnan(recall)
    ]
    recall, name = min(known)
    return name, recall
