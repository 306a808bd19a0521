"""Drawing a figure to a file: PNG, SVG, or what else matplotlib writes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from featurestore.storage.atomic import atomic_write
from models.report.figure import Dot, Figure, Panel
from models.report.labels import Box, obstacles, place_labels
from models.report.marks import MARKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_GREY = "0.4"


def draw(figure: Figure, *paths: str | os.PathLike[str], caption: str = "") -> None:
    """Draw a figure to files, in the formats that their suffixes name; the same bytes each time.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    import matplotlib

    # Words stay words in an SVG, to be searched and edited; and no date, no random ids.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": figure.name}):
        canvas = _canvas(figure, caption)
        for path in map(Path, paths):
            form = path.suffix.removeprefix(".")
            with atomic_write(path, what="the picture") as partial:
                metadata = {"Date": None} if form == "svg" else None
                canvas.savefig(partial, format=form, metadata=metadata)


def _canvas(figure: Figure, caption: str) -> "Canvas":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    n_columns = max(map(len, figure.rows))
    large = any(dot.label for panel in figure.rows[0] for dot in panel.dots)
    width = max(10.0, (4.4 if large else 2.9) * n_columns)
    height = 4.8 if large else 0.9 + 2.3 * len(figure.rows)
    canvas = Canvas(figsize=(width, height), dpi=160, layout="constrained")
    FigureCanvasAgg(canvas)
    grid = canvas.add_gridspec(len(figure.rows), n_columns)
    drawn = []
    for i, row in enumerate(figure.rows):
        for j, panel in enumerate(row):
            axes = canvas.add_subplot(grid[i, j])
            with_y = j == 0 or panel.y != row[j - 1].y
            size = 8.0 if large and len(panel.dots) <= 60 else 5.5
            _draw_panel(axes, panel, with_y=with_y, size=size)
            drawn.append((axes, panel))
    if figure.title:
        canvas.suptitle(figure.title, x=0.01, ha="left", weight="bold")
    _draw_legend(canvas, figure)
    if caption:
        drawn[0][0].set_title(caption, loc="left", fontsize=9, color=_GREY, pad=12)
    canvas.canvas.draw()
    canvas.set_layout_engine("none")  # the axes stay where the labels are placed for
    for axes, panel in drawn:
        _draw_labels(axes, panel)
    return canvas


def _draw_panel(axes: "Axes", panel: Panel, *, with_y: bool, size: float) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    if panel.x.log:
        axes.set_xscale("log")
    if panel.y.log:
        axes.set_yscale("log")
    axes.set_xlim(panel.x.low, panel.x.high)
    axes.set_ylim(panel.y.low, panel.y.high)
    for ticks, which in ((panel.x.ticks, axes.xaxis), (panel.y.ticks, axes.yaxis)):
        which.set_major_locator(FixedLocator([value for value, _ in ticks]))
        which.set_minor_locator(NullLocator())
        which.set_ticklabels([name for _, name in ticks])
    axes.tick_params(labelleft=with_y, labelsize=9)
    axes.set_xlabel(panel.x.title, fontsize=9)
    if with_y:
        axes.set_ylabel(panel.y.title, fontsize=9)
    if panel.title:
        axes.set_title(panel.title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    for line in panel.lines:
        colour = _GREY if line.mark is None else MARKS[line.mark].light
        axes.plot(*zip(*line.points, strict=True), color=colour, lw=1, zorder=1)
    looks: dict[tuple[int, bool, bool], list[Dot]] = {}
    for dot in panel.dots:
        looks.setdefault((dot.mark, dot.hollow, dot.faint), []).append(dot)
    for (i, hollow, faint), dots in looks.items():
        colour = MARKS[i].light
        axes.errorbar(
            [dot.x for dot in dots],
            [dot.y for dot in dots],
            yerr=np.nan_to_num([dot.spread for dot in dots]),
            color=colour,
            linestyle="",
            marker=MARKS[i].marker,
            markersize=size,
            markerfacecolor="white" if hollow else colour,
            markeredgecolor=colour if hollow else "white",
            markeredgewidth=1.2 if hollow else 0.6,
            elinewidth=1,
            alpha=0.45 if faint else 1,
            zorder=2 if faint else 3,
        )
    for dot in panel.dots:
        if dot.is_key:
            axes.plot(
                dot.x, dot.y, "o", markersize=2.1 * size, markerfacecolor="none",
                markeredgecolor="black" if dot.recommended else _GREY,
            )  # fmt: skip


def _draw_legend(canvas: "Canvas", figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for key in figure.legend:
        colour = _GREY if key.mark is None else MARKS[key.mark].light
        handles.append(
            Line2D(
                [],
                [],
                color=colour,
                marker="o" if key.mark is None else MARKS[key.mark].marker,
                markerfacecolor="none" if key.hollow else colour,
                linestyle="",
                markersize=7,
                label=key.text,
            )
        )
    canvas.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
    )


def _draw_labels(axes: "Axes", panel: Panel) -> None:
    """Set the labels where they touch nothing; leave out those for which there is no place."""
    labelled = [i for i, dot in enumerate(panel.dots) if dot.label]
    if not labelled:
        return
    pixels = axes.figure.dpi / 72

    def at(x: float, y: float) -> tuple[float, float]:
        right, up = axes.transData.transform((x, y)) / pixels
        return float(right), float(up)

    texts = {}
    for i in labelled:
        dot = panel.dots[i]
        texts[i] = axes.annotate(
            dot.label,
            (dot.x, dot.y),
            (0, 0),
            textcoords="offset points",
            fontsize=8,
            weight="bold" if dot.is_key else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.7},
            zorder=4,
        )
    sizes = [(0.0, 0.0)] * len(panel.dots)
    for i, text in texts.items():
        extent = text.get_window_extent()
        sizes[i] = (extent.width / pixels, extent.height / pixels)
    frame = axes.bbox
    within = Box(
        left=frame.x0 / pixels,
        bottom=frame.y0 / pixels,
        right=frame.x1 / pixels + 5,
        top=frame.y1 / pixels + 5,
    )
    keys = [i for i in labelled if panel.dots[i].is_key]
    places = place_labels(
        [at(dot.x, dot.y) for dot in panel.dots],
        sizes,
        within,
        soft=obstacles(panel, at),
        first=keys,
    )
    for i, text in texts.items():
        place = places[i]
        if place is None:
            text.remove()
            continue
        dx, dy = place
        text.set_position(place)
        text.set_horizontalalignment("left" if dx > 0 else "right")
        text.set_verticalalignment("bottom" if dy > 0 else "top" if dy < 0 else "center")
