"""Placement: where words go beside the points of a chart, so that they touch nothing."""

import dataclasses
from collections.abc import Callable, Sequence
from itertools import pairwise, product

from models.report.figure import Panel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle, upright."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: "Box") -> bool:
        """Whether they share more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def holds(self, other: "Box") -> bool:
        """Whether all of `other` is inside."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )


_PLACES = tuple(
    (side * dx, dy) for dx, dy in ((13, 0), (9, 8), (9, -8), (9, 15), (9, -15)) for side in (1, -1)
)
"""Where the nearest corner or edge of a label may be from its point, nearest first."""


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    within: Box,
    *,
    words: Sequence[Box] = (),
    soft: Sequence[Box] = (),
    first: Sequence[int] = (),
) -> list[tuple[float, float] | None]:
    """Find the first place around each point where its label is free.

    Free of points and labels, that is, and of what is `soft` too if there is such a place; those
    that come `first` may cover points rather than go without. All in points of 1/72 inch, y
    upwards.

    Parameters
    ----------
    points : sequence of (x, y)
    sizes : sequence of (width, height)
        Of the labels; a width of 0 is no label.
    within : Box
        What labels must not leave.
    words : sequence of Box
        What is written there already, which labels never cover.
    soft : sequence of Box
        What labels should not cover, such as bars and lines.
    first : sequence of int
        Points whose labels are placed before the others'.

    Returns
    -------
    list of (dx, dy) or None
        From the point to the label's nearer edge: its left one if dx > 0, else its right one; its
        bottom if dy > 0, its top if dy < 0, its middle if 0. None where there is no free place.
    """
    dots = [Box(left=x - 6, bottom=y - 6, right=x + 6, top=y + 6) for x, y in points]
    labels: list[Box] = []
    found: list[tuple[float, float] | None] = [None] * len(points)
    for i in [*first, *(i for i in range(len(points)) if i not in first)]:
        (x, y), (width, height) = points[i], sizes[i]
        if not width:
            continue
        written = [*words, *labels]
        taken = [*dots, *written]
        rounds = [[*taken, *soft], taken, *([written] if i in first else [])]
        for obstacles, (dx, dy) in product(rounds, _PLACES):
            left = x + dx - (0 if dx > 0 else width)
            bottom = y + dy - (0 if dy > 0 else height if dy < 0 else height / 2)
            box = Box(left=left, bottom=bottom, right=left + width, top=bottom + height)
            if within.holds(box) and not any(box.overlaps(other) for other in obstacles):
                labels.append(box)
                found[i] = (dx, dy)
                break
    return found


def obstacles(panel: Panel, at: Callable[[float, float], tuple[float, float]]) -> list[Box]:
    """The bars and upright or level lines of a panel, as `at` places them; a little wider."""
    ends = [((d.x, d.y - d.std), (d.x, d.y + d.std)) for d in panel.dots if d.std > 0]
    ends += [pair for line in panel.lines for pair in pairwise(line.points)]
    boxes = []
    for start, end in ends:
        (x0, y0), (x1, y1) = at(*start), at(*end)
        boxes.append(
            Box(
                left=min(x0, x1) - 2,
                bottom=min(y0, y1) - 2,
                right=max(x0, x1) + 2,
                top=max(y0, y1) + 2,
            )
        )
    return boxes
