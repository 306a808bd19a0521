"""Marks: a colour and a shape for each number of bands, or network, the same in every figure.

The colours are Okabe and Ito's (*Color Universal Design*, 2008), which the colour-blind can tell
apart; each has a shape of its own, so that grey print tells them apart as well.
"""

import dataclasses
from collections.abc import Iterable

from models.study.label import SpecWords


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mark:
    """How the points of one number of bands, or of one network, look.

    Attributes
    ----------
    light, dark : str
        Colour on a light and on a dark ground.
    marker : str
        matplotlib's name of the shape.
    hollow : bool
        Drawn as an outline.
    """

    light: str
    dark: str
    marker: str
    hollow: bool = False


MARKS = (
    Mark(light="#0072b2", dark="#4da9e0", marker="o"),
    Mark(light="#d55e00", dark="#f08030", marker="s"),
    Mark(light="#009e73", dark="#2dc79b", marker="^"),
    Mark(light="#cc79a7", dark="#df93bd", marker="D"),
    Mark(light="#e69f00", dark="#f2b632", marker="v"),
    Mark(light="#56b4e9", dark="#8acdf3", marker="P"),
    Mark(light="#010101", dark="#e8e6e1", marker="X"),
)


def mark_of(place: int) -> Mark:
    """The mark of a place: `MARKS`, these hollow, and then with other shapes, 98 in all."""
    n = len(MARKS)
    turn = place // n
    return dataclasses.replace(
        MARKS[place % n],
        marker=MARKS[(place + turn // 2) % n].marker,
        hollow=turn % 2 == 1,
    )


def marks_of(specs: Iterable[SpecWords]) -> dict[str, int]:
    """Which of `MARKS` each family has: the most bands the first; those after the last begin anew.

    Families without bands follow, by name.
    """
    found = {spec.family: spec.n_bands for spec in specs}
    order = sorted(found, key=lambda family: (-found[family], family))
    return {family: i % len(MARKS) for i, family in enumerate(order)}


def marks_of_networks(models: Iterable[str]) -> dict[str, int]:
    """Which mark, by `mark_of`, each network has: ``vgg`` the first, then by name."""
    order = sorted(set(models), key=lambda name: (name != "vgg", name))
    return {name: i for i, name in enumerate(order)}
