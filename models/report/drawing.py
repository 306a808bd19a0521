"""Drawing a figure: to a file, PNG, SVG or what else matplotlib writes, or into the page."""

import contextlib
import dataclasses
import io
import math
import os
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from featurestore.storage.atomic import atomic_write
from models.report.figure import Dot, Figure, Panel
from models.report.marks import mark_of
from models.report.placement import Box, obstacles, place_labels
from models.report.shades import colour_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

GREY = "#666666"
INK = "#000000"
GROUND = "#ffffff"
_PALE = "#cccccc"

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"

_WRITTEN = "written"
"""What words in a panel are called that are there before its labels."""

_LETTERS_PER_INCH = 13
"""Of a caption."""

_NARROWEST, _CELL_WIDTH, _CELL_HEIGHT = 6.0, 0.8, 0.36
"""Of a heat map and its cells [inch]."""

_HIT_RADIUS = 9
"""How near to a dot one must point [1/72 inch]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """How large a figure is drawn [inch].

    Attributes
    ----------
    width : float
    panel_height : float
    n_columns : int or None
        Panels side by side; None is as the figure has them.
    keys_only : bool
        Label the baseline and the recommended point alone.
    """

    width: float
    panel_height: float
    n_columns: int | None = None
    keys_only: bool = False


WIDE = Size(width=10.0, panel_height=4.6)
NARROW = Size(width=3.9, panel_height=3.4, n_columns=1, keys_only=True)


def draw(figure: Figure, *paths: str | os.PathLike[str], caption: str = "") -> None:
    """Draw a figure to files, in the formats that their suffixes name; the same bytes each time.

    In an SVG, each dot says its numbers when it is pointed at.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    with _settings(figure.name):
        canvas = _canvas(figure, _file_size(figure), caption)
        for path in map(Path, paths):
            form = path.suffix.removeprefix(".")
            with atomic_write(path, what="the picture") as partial:
                if form == "svg":
                    root = _svg(canvas, figure)
                    partial.write_bytes(ElementTree.tostring(root, "utf-8"))
                else:
                    canvas.savefig(partial, format=form)


def inline(figure: Figure, size: Size, *, name: str) -> str:
    """Draw a figure as an SVG element of a page, whose style sheet has its say on colours.

    Every dot is a group of class ``dot`` that the keyboard can reach, named by its tip. Nothing has
    a style attribute, which the page's policy forbids.

    Parameters
    ----------
    figure : Figure
    size : Size
    name : str
        Of its own within the page; begins all ids.
    """
    with _settings(name):
        root = _svg(_canvas(figure, size), figure)
    root.set("class", "plot")
    root.set("role", "group")
    root.set("aria-label", figure.title or name)
    for attribute in ("width", "height"):
        del root.attrib[attribute]  # the page's width is its own
    first = True
    for element in root.iter():
        if element.get("class") == "dot":
            element.set("tabindex", "0" if first else "-1")
            element.set("role", "img")
            title = element.find(f"{{{_SVG}}}title")
            if title is not None:  # the page shows it by itself
                element.set("aria-label", title.text or "")
                element.remove(title)
            first = False
        for key, value in _declarations(element.attrib.pop("style", "")):
            element.set(key, value)
    for defs in root.iter(f"{{{_SVG}}}defs"):
        for path in defs.iter(f"{{{_SVG}}}path"):
            # It takes that of its use: what is defined is out of the style sheet's reach.
            path.attrib.pop("stroke", None)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                parent.remove(child)
    _keep_needed_ids(root, name)
    return ElementTree.tostring(root, "unicode")


@contextlib.contextmanager
def _settings(salt: str) -> Iterator[None]:
    import matplotlib

    # Words stay words in an SVG, to be searched and edited; and no date, no random ids. A name
    # with dollars is no formula.
    own = matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": salt, "text.parse_math": False}
    )
    with own, warnings.catch_warnings():
        # Of letters that the font lacks: names of classes are in any script.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def _svg(canvas: "Canvas", figure: Figure) -> ElementTree.Element:
    """The drawing, each dot with its bar and ring a group that has a title."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    file = io.BytesIO()
    canvas.savefig(file, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    height = canvas.get_figheight() * 72
    parents = {child: parent for parent in root.iter() for child in parent}
    by_id = {element.get("id", ""): element for element in root.iter()}
    for panel, axes in zip(_panels(figure), canvas.axes, strict=True):
        for i, dot in enumerate(panel.dots):
            x, y = axes.transData.transform((dot.x, dot.y)) * 72 / canvas.dpi
            place = {"cx": f"{x:.2f}", "cy": f"{height - y:.2f}", "r": str(_HIT_RADIUS)}
            hit = {"class": "hit", "fill": "none", "pointer-events": "all"}
            circle = ElementTree.Element(f"{{{_SVG}}}circle", place | hit)
            parts = [by_id.get(f"{panel.name}-{i}-{part}") for part in ("bar", "ring", "mark")]
            group = {"class": "dot", "id": f"{panel.name}-{i}"}
            _gather(group, dot.tip, [circle, *parts], parents)
        for i, cell in enumerate(panel.cells):
            parts = [by_id[f"{panel.name}-{i}-{part}"] for part in ("text", "square")]
            _gather({"class": "cell"}, cell.tip, parts[::-1], parents)
    return root


def _gather(
    attributes: dict[str, str],
    tip: str,
    parts: Sequence[ElementTree.Element | None],
    parents: dict[ElementTree.Element, ElementTree.Element],
) -> None:
    """Move parts, those that are there, into a group with a title, where the last of them was."""
    group = ElementTree.Element(f"{{{_SVG}}}g", attributes)
    ElementTree.SubElement(group, f"{{{_SVG}}}title").text = tip
    found = [part for part in parts if part is not None]
    parent = parents[found[-1]]
    at = list(parent).index(found[-1])
    for part in found:
        if part in parents:
            parents[part].remove(part)
        group.append(part)
    parent.insert(min(at, len(parent)), group)


def _panels(figure: Figure) -> Iterator[Panel]:
    return (panel for row in figure.rows for panel in row)


def _declarations(style: str) -> Iterator[tuple[str, str]]:
    """A style attribute as the attributes of SVG that say the same; the page chooses the font."""
    for declaration in filter(None, map(str.strip, style.split(";"))):
        key, _, value = declaration.partition(":")
        key, value = key.strip(), value.strip()
        if key == "font":
            size = re.search(r"([\d.]+)px", value)
            if size:
                yield "font-size", size[1]
            if "bold" in value or "700" in value:
                yield "font-weight", "650"
        elif key not in ("font-family", "-inkscape-stroke"):
            yield key, value


def _keep_needed_ids(root: ElementTree.Element, name: str) -> None:
    """Keep the ids that something refers to, and the dots', all with `name` before them."""
    href = f"{{{_XLINK}}}href"
    used = {e.get(href, "").removeprefix("#") for e in root.iter()}
    for element in root.iter():
        used |= set(re.findall(r"url\(#(.+?)\)", " ".join(element.attrib.values())))
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own is not None and (own in used or element.get("class") == "dot"):
            element.set("id", f"{name}-{own}")
        if href in element.attrib:
            element.set(href, f"#{name}-{element.get(href, '').removeprefix('#')}")
        for key, value in element.attrib.items():
            if "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))


def _file_size(figure: Figure) -> Size:
    n_columns = max(map(len, figure.rows))
    panel = figure.rows[0][0]
    if panel.cells:
        across, upwards = (
            max(len(name) for _, name in axis.ticks) / _LETTERS_PER_INCH
            for axis in (panel.y, panel.x)
        )
        return Size(
            width=max(_NARROWEST, 0.5 + across + _CELL_WIDTH * len(panel.x.ticks)),
            panel_height=0.1 + 0.5 * upwards + _CELL_HEIGHT * len(panel.y.ticks),
        )
    large = _is_large(figure)
    return Size(
        width=max(10.0, (4.4 if large else 2.9) * n_columns),
        panel_height=4.0 if large else 2.3,
    )


def _is_large(figure: Figure) -> bool:
    return any(dot.label for panel in figure.rows[0] for dot in panel.dots)


def _canvas(figure: Figure, size: Size, caption: str = "") -> "Canvas":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    rows = figure.rows
    if size.n_columns == 1:
        rows = tuple((panel,) for panel in _panels(figure))
    n_columns = max(map(len, rows))
    n_keys = 2 if size.keys_only else 7
    # Two lines of keys are in the 0.9 inch; more must not press the panels flat.
    more = max(0, math.ceil(len(figure.legend) / n_keys) - 2)
    height = 0.9 + size.panel_height * len(rows) + 0.19 * more
    canvas = Canvas(figsize=(size.width, height), dpi=160, layout="constrained")
    FigureCanvasAgg(canvas)
    grid = canvas.add_gridspec(len(rows), n_columns)
    drawn = []
    large = _is_large(figure)
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            axes = canvas.add_subplot(grid[i, j])
            with_y = j == 0 or panel.y != row[j - 1].y
            dot_size = 8.0 if large and len(panel.dots) <= 60 else 5.5
            _draw_panel(axes, panel, with_y=with_y, size=dot_size)
            drawn.append((axes, panel))
    if figure.title and not size.keys_only:
        canvas.suptitle(figure.title, x=0.01, ha="left", weight="bold")
    _draw_legend(canvas, figure, n_columns=n_keys)
    if caption:
        _draw_caption(drawn[0][0], caption, width=size.width)
    canvas.canvas.draw()
    canvas.set_layout_engine("none")  # the axes stay where the labels are placed for
    for axes, panel in drawn:
        _draw_labels(axes, panel, keys_only=size.keys_only)
    return canvas


def _draw_caption(axes: "Axes", caption: str, *, width: float) -> None:
    """Over the first panel, across all."""
    lines = textwrap.wrap(caption, round(_LETTERS_PER_INCH * width))
    # The title keeps the place; were the words in it, the first panel would become as wide.
    axes.set_title("\n".join([" "] * len(lines)), loc="left", fontsize=9, pad=12)
    words = axes.annotate(
        "\n".join(lines), (0, 1), (0, 12), xycoords="axes fraction",
        textcoords="offset points", fontsize=9, color=GREY, va="bottom", annotation_clip=False,
    )  # fmt: skip
    words.set_in_layout(False)


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
        colour = GREY if line.mark is None else mark_of(line.mark).light
        axes.plot(
            *zip(*line.points, strict=True),
            color=colour,
            lw=1,
            linestyle="--" if line.is_dashed else "-",
            zorder=1,
        )
        if line.text:
            axes.annotate(
                line.text, line.points[-1], (-2, -3), textcoords="offset points", fontsize=8,
                color=GREY, ha="right", va="top", gid=_WRITTEN,
            )  # fmt: skip
    for i, dot in enumerate(panel.dots):
        _draw_dot(axes, dot, f"{panel.name}-{i}", size)
    if panel.cells:
        _draw_cells(axes, panel)


def _draw_dot(axes: "Axes", dot: Dot, name: str, size: float) -> None:
    mark = mark_of(dot.mark)
    colour, hollow = mark.light, dot.hollow or mark.hollow
    alpha = 0.45 if dot.faint else 1.0
    if not np.isnan(dot.std):
        axes.vlines(
            dot.x, dot.y - dot.std, dot.y + dot.std,
            color=colour, lw=1, alpha=alpha, zorder=3, gid=f"{name}-bar",
        )  # fmt: skip
    if dot.is_key:
        axes.plot(
            dot.x, dot.y, "o", markersize=2.1 * size, markerfacecolor="none", zorder=3,
            markeredgecolor=INK if dot.recommended else GREY, gid=f"{name}-ring",
        )  # fmt: skip
    axes.plot(
        dot.x, dot.y, mark.marker, markersize=size,
        markerfacecolor=GROUND if hollow else colour,
        markeredgecolor=colour if hollow else GROUND,
        markeredgewidth=1.2 if hollow else 0.6,
        alpha=alpha, zorder=3, gid=f"{name}-mark",
    )  # fmt: skip


def _draw_cells(axes: "Axes", panel: Panel) -> None:
    """Squares with words, below the names of their columns."""
    from matplotlib.patches import Rectangle

    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    for label in axes.get_xticklabels():
        label.set(rotation=30, horizontalalignment="left", rotation_mode="anchor")
    for i, cell in enumerate(panel.cells):
        axes.add_patch(
            Rectangle(
                (cell.x - 0.47, cell.y - 0.47), 0.94, 0.94, gid=f"{panel.name}-{i}-square",
                facecolor=colour_of(cell.shade) if cell.shade else GROUND,
                edgecolor="none" if cell.shade else _PALE, linewidth=0.8,
            )
        )  # fmt: skip
        axes.text(
            cell.x, cell.y, cell.text, ha="center", va="center", fontsize=8, linespacing=1.1,
            color=INK if cell.shade else GREY, gid=f"{panel.name}-{i}-text",
        )  # fmt: skip


def _draw_legend(canvas: "Canvas", figure: Figure, *, n_columns: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = []
    for key in figure.legend:
        if key.shade is not None:
            colour = colour_of(key.shade) if key.shade else GROUND
            edge = colour if key.shade else _PALE
            handles.append(Patch(facecolor=colour, edgecolor=edge, label=key.text))
            continue
        mark = None if key.mark is None else mark_of(key.mark)
        colour = GREY if mark is None else mark.light
        handles.append(
            Line2D(
                [],
                [],
                color=colour,
                marker="o" if mark is None else mark.marker,
                markerfacecolor="none" if key.hollow or (mark and mark.hollow) else colour,
                linestyle="",
                markersize=7,
                label=key.text,
            )
        )
    for n in range(min(n_columns, len(handles)), 0, -1):
        legend = canvas.legend(
            handles=handles,
            loc="outside lower center",
            ncols=n,
            title=figure.note or None,
            title_fontsize=9,
            frameon=False,
            fontsize=9,
        )
        if n == 1 or legend.get_window_extent().width <= canvas.bbox.width:
            break
        legend.remove()


def _draw_labels(axes: "Axes", panel: Panel, *, keys_only: bool) -> None:
    """Set the labels where they touch nothing; leave out those for which there is no place."""
    labelled = [
        i for i, dot in enumerate(panel.dots) if dot.label and (dot.is_key or not keys_only)
    ]
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

    def box(artist: "Artist", *, margin: float = 0.0) -> Box:
        extent = artist.get_window_extent()
        return Box(
            left=extent.x0 / pixels,
            bottom=extent.y0 / pixels,
            right=extent.x1 / pixels + margin,
            top=extent.y1 / pixels + margin,
        )

    sizes = [(0.0, 0.0)] * len(panel.dots)
    for i, text in texts.items():
        found = box(text)
        sizes[i] = (found.right - found.left, found.top - found.bottom)
    keys = [i for i in labelled if panel.dots[i].is_key]
    places = place_labels(
        [at(dot.x, dot.y) for dot in panel.dots],
        sizes,
        box(axes.patch, margin=5),
        words=[box(text) for text in axes.texts if text.get_gid() == _WRITTEN],
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
