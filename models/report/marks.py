"""Marks: a colour and a shape for each number of bands, the same in every figure.

The colours are Okabe and Ito's (*Color Universal Design*, 2008), which the colour-blind can tell
apart; each has a shape of its own, so that grey print tells them apart as well.
"""

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mark:
    """How the points of one number of bands look.

    Attributes
    ----------
    light, dark : str
        Colour on a light and on a dark ground.
    marker : str
        matplotlib's name of the shape.
    path : str
        The shape as an SVG path around (0, 0), about 10 px wide.
    """

    light: str
    dark: str
    marker: str
    path: str


# fmt: off
MARKS = (
    Mark(light="#0072B2", dark="#4DA9E0", marker="o", path="M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z"),
    Mark(light="#D55E00", dark="#F08030", marker="s", path="M-4.5-4.5h9v9h-9z"),
    Mark(light="#009E73", dark="#2DC79B", marker="^", path="M0-5.6L5.4 4H-5.4z"),
    Mark(light="#CC79A7", dark="#DF93BD", marker="D", path="M0-5.8L5.8 0L0 5.8L-5.8 0z"),
    Mark(light="#E69F00", dark="#F2B632", marker="v", path="M0 5.6L5.4-4H-5.4z"),
    Mark(light="#56B4E9", dark="#8ACDF3", marker="P",
         path="M-2-5.5h4v3.5h3.5v4h-3.5v3.5h-4v-3.5h-3.5v-4h3.5z"),
    Mark(light="#000000", dark="#E8E6E1", marker="X",
         path="M-5-2.5L-2.5-5L0-2.5L2.5-5L5-2.5L2.5 0L5 2.5L2.5 5L0 2.5L-2.5 5L-5 2.5L-2.5 0z"),
)
# fmt: on


def marks_of(bands: Iterable[int]) -> dict[int, int]:
    """Which of `MARKS` each number of bands has: the most bands the first, then round and round."""
    return {n: i % len(MARKS) for i, n in enumerate(sorted(set(bands), reverse=True))}
