"""A figure as data: panels with dots and lines, drawn by `models.report.drawing`."""

import dataclasses

from models.report.axis import Axis


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dot:
    """A point of a panel.

    Attributes
    ----------
    x, y : float
    std : float
        Half the length of the bar through it; nan for no bar.
    mark : int
        Its place among marks, see `marks.mark_of`.
    hollow, faint : bool
        Drawn as an outline, whatever its mark; drawn with less weight.
    baseline, recommended : bool
        Whether it is that; such dots are ringed, and their labels come first.
    label : str
        Words beside it, where there is room.
    tip : str
        What is said of it when it is pointed at; lines.
    """

    x: float
    y: float
    std: float
    mark: int
    hollow: bool = False
    faint: bool = False
    baseline: bool = False
    recommended: bool = False
    label: str = ""
    tip: str = ""

    @property
    def is_key(self) -> bool:
        """Whether it is the baseline or recommended."""
        return self.baseline or self.recommended


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """A square of a heat map.

    Attributes
    ----------
    x, y : int
    shade : int
        Its colour, see `models.report.shades`; that of 0 is an outline, its words grey.
    text : str
        In it; lines.
    tip : str
        What is said of it when it is pointed at; lines.
    """

    x: int
    y: int
    shade: int
    text: str
    tip: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A line from point to point; of the colour of a mark, or of none.

    A dashed one is a limit, and its `text` stands at its right end.
    """

    points: tuple[tuple[float, float], ...]
    mark: int | None = None
    is_dashed: bool = False
    text: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """Dots and lines on two axes, or cells.

    Attributes
    ----------
    name : str
        A word of its own within the figure.
    title : str
        Over it; may be empty.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    dots: tuple[Dot, ...] = ()
    lines: tuple[Line, ...] = ()
    cells: tuple[Cell, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """A line of the legend; a `mark` of None says what full and hollow marks are, or a shade."""

    text: str
    mark: int | None
    hollow: bool = False
    shade: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """Rows of panels under one title, and their legend.

    Attributes
    ----------
    name : str
        The files' name without suffix.
    note : str
        A line below the legend.
    """

    name: str
    title: str
    rows: tuple[tuple[Panel, ...], ...]
    legend: tuple[Key, ...]
    note: str = ""
