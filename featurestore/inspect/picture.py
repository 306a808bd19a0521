"""Pictures of a clip's stored values: its specs and conditions, side by side."""

import dataclasses
import io
import os
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featurestore import result
from featurestore.inspect.captions import (
    condition_in_words,
    file_stem,
    shortened,
    spec_in_words,
    tags_of,
)
from featurestore.inspect.choice import MOST, Conditions, choose
from featurestore.inspect.drawing import Panel, draw_panel, highest_frequency, scales_of
from featurestore.specs.perturbation import CLEAN, Condition
from featurestore.specs.spec import Spec
from featurestore.storage.atomic import atomic_write
from featurestore.store import FeatureStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_WIDEST = 14.0
"""Width of a picture of several columns, unless these then become too narrow [inches]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawn clip.

    Attributes
    ----------
    row : int
    clip_id : str
    specs : tuple of Spec
        Drawn, in order.
    left_out : tuple of Spec
        Stored, and left out for want of space.
    path : Path
        Of the PNG file.
    """

    row: int
    clip_id: str
    specs: tuple[Spec, ...]
    left_out: tuple[Spec, ...]
    path: Path

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {
            "row": self.row,
            "clip_id": self.clip_id,
            "specs": [spec.name for spec in self.specs],
            "left_out": [spec.name for spec in self.left_out],
            "picture": str(self.path),
        }

    def lines(self) -> list[str]:
        """Lines with the picture's path, and the specs that it lacks."""
        lines = [f"{_drawn(self.specs)} of {self.clip_id} in {self.path}"]
        names = [spec.name for spec in self.left_out]
        if len(names) > MOST:
            names = [f"{len(names)} of those stored; name them with --specs or --conditions"]
        return lines + (result.fact("left out", names) if names else [])


def _drawn(specs: Sequence[Spec]) -> str:
    lines = sum(spec.n_bands == 1 for spec in specs)
    counts = [
        result.count(n, noun)
        for n, noun in ((len(specs) - lines, "spectrogram"), (lines, "waveform"))
        if n
    ]
    return " and ".join(counts)


def draw_clip(
    store: FeatureStore,
    row: int,
    path: str | os.PathLike[str] | None = None,
    specs: Sequence[Spec | str] | None = None,
    conditions: Conditions | None = None,
) -> Picture:
    """Draw one clip's specs and conditions side by side to a PNG file.

    Where there are several conditions of several specs, a row is a spec and a column a condition;
    from five conditions on, a row is a condition. Frequencies are level with each other, and so
    are times. Values that can be compared have the same colours: those of all conditions of a
    spec, and of all specs that differ in resolution alone.

    Parameters
    ----------
    store : FeatureStore
    row : int
        Of the clip.
    path : path
        Of the file; None for one that is named after the clip, here.
    specs : sequence of (Spec or str)
    conditions : 'all' or sequence of (Condition or str)
        Which, as in `choose`; None for what is stored, and `MOST` of it where there is more.

    Raises
    ------
    RowNotReadyError
        If the clip failed or is pending.
    SettingsError, SpecError, UnknownSpecError
        As `choose` says.
    CorruptDataError
        As `FeatureArray.read` says.
    OutputError
        If the file cannot be written.
    """
    chosen = choose(store, specs, conditions, row=row)
    panels = read_panels(store, row, chosen)
    figure = _draw(_arranged(panels), store.window.duration)
    clip_id = store.table.clip_id[row]
    title = f"{shortened(clip_id, 100)}\n{shortened(', '.join(tags_of(store, row)), 100)}"
    figure.suptitle(title.rstrip(), x=0.01, ha="left", fontsize=11, parse_math=False)
    everything = specs is not None or conditions is not None
    left_out = () if everything else tuple(spec for spec in store.specs if spec not in chosen)
    path = Path(f"{file_stem(clip_id)}.png" if path is None else path)
    with atomic_write(path, what="the picture") as partial:
        partial.write_bytes(_png(figure))
    return Picture(row=row, clip_id=clip_id, specs=chosen, left_out=left_out, path=path)


def draw_thumbnails(panels: Sequence[Panel]) -> list[bytes]:
    """Draw panels for a page, each alone and without a title: PNG, 720 x 300 pixels.

    As in a picture, their colours can be compared, and so can frequencies and times.
    """
    scales, highest = scales_of(panels), highest_frequency(panels)
    longest = max((panel.seconds for panel in panels), default=0.0)
    drawn = []
    for panel in panels:
        figure = _figure(4.5, 1.875)
        axes = figure.subplots()
        draw_panel(axes, panel, scales[panel.scale_key], highest)
        axes.set_xlim(0, longest)
        _shade_padding(axes, panel, longest, is_labelled=False)
        axes.set_ylabel(panel.axis_label.replace("frequency [Hz]", "Hz"), fontsize=8)
        axes.set_xlabel("s", fontsize=8)
        drawn.append(_png(figure))
    return drawn


def read_panels(store: FeatureStore, row: int, specs: Sequence[Spec]) -> list[Panel]:
    """Read what is drawn of a clip; errors as of `FeatureArray.read`."""
    return [
        Panel(spec=spec, values=store[spec][row], seconds=valid_seconds(store, row, spec.condition))
        for spec in specs
    ]


def valid_seconds(store: FeatureStore, row: int, condition: Condition = CLEAN) -> float:
    """Length of a clip's audio without padding [s]."""
    status, duration = store.status, store.window.duration
    sr, n_valid = status["sr"][[row]], status["n_valid"][[row]]
    if not sr[0]:
        return duration
    n_following = np.maximum(status["n_track"][[row]] - status["start"][[row]] - n_valid, 0)
    return min(duration, float(condition.n_valid(n_valid, n_following)[0] / sr[0]))


def _arranged(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Rows of panels."""
    by_spec: dict[Spec, list[Panel]] = {}
    by_condition: dict[Condition, list[Panel]] = {}
    for panel in panels:
        by_spec.setdefault(panel.spec.under(CLEAN), []).append(panel)
        by_condition.setdefault(panel.spec.condition, []).append(panel)
    if len(by_spec) > 1 and len(by_condition) > 1:
        return [*(by_spec if len(by_condition) <= 4 else by_condition).values()]
    columns = 2 if len(panels) == 4 else 3
    return [list(panels[start : start + columns]) for start in range(0, len(panels), columns)]


def _draw(rows: Sequence[Sequence[Panel]], duration: float) -> "Figure":
    panels = [panel for row in rows for panel in row]
    scales, highest = scales_of(panels), highest_frequency(panels)
    n_columns = max(map(len, rows))
    width = max(2.6, min(4.6, _WIDEST / n_columns))
    figure = _figure(max(6.4, width * n_columns), 1.1 + 2.7 * len(rows))
    every = figure.subplots(len(rows), n_columns, squeeze=False, sharex=True)
    with_conditions = any(panel.spec.condition for panel in panels)
    # One bar for a row whose colours all mean the same, if that holds for every row.
    one_bar = all(len({panel.scale_key for panel in row}) == 1 for row in rows)
    for number, row in enumerate(rows):
        image = None
        for axes, panel in zip(every[number], row, strict=False):
            image = draw_panel(axes, panel, scales[panel.scale_key], highest)
            axes.set_xlim(0, duration)
            _shade_padding(axes, panel, duration)
            _add_title(axes, panel.spec, width, with_condition=with_conditions)
            is_first = panel is row[0]
            if is_first or panel.axis_label != row[0].axis_label:
                axes.set_ylabel(panel.axis_label)
            axes.tick_params(labelleft=is_first or panel.is_line != row[0].is_line)
            if image is not None and not one_bar:
                _add_bar(figure, image, [axes], panel)
        if image is not None and one_bar:
            _add_bar(figure, image, [*every[number][: len(row)]], row[0])
        for axes in every[number][len(row) :]:
            axes.remove()
    for column in range(n_columns):  # the last one of each column
        axes = [every[n][column] for n, row in enumerate(rows) if column < len(row)][-1]
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("time [s]")
    return figure


def _add_title(axes: "Axes", spec: Spec, width: float, *, with_condition: bool) -> None:
    """What the spec is, in words, and its name; above, the condition."""
    size = 7 if width > 3 else 6
    words = [*textwrap.wrap(spec_in_words(spec), int(width * 110 / size)), spec.name]
    axes.set_title("\n".join(words), loc="left", fontsize=size)
    if with_condition:
        axes.annotate(
            condition_in_words(spec.condition),
            (0, 1), (0, 10 + 1.25 * size * len(words)),
            xycoords="axes fraction", textcoords="offset points", fontsize=9, weight="bold",
        )  # fmt: skip


def _add_bar(
    figure: "Figure", image: "AxesImage", every_axes: Sequence["Axes"], panel: Panel
) -> None:
    bar = figure.colorbar(image, ax=every_axes, pad=0.015, fraction=0.05)
    bar.set_label(panel.colour_label.replace(", ", "\n"), fontsize=8)
    bar.ax.tick_params(labelsize=8)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160 if width < 5 else 110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _shade_padding(
    axes: "Axes", panel: Panel, duration: float, *, is_labelled: bool = True
) -> None:
    valid = panel.seconds
    if duration - valid < 1e-3:
        return
    axes.axvspan(valid, duration, facecolor="white", alpha=0.25, hatch="///", edgecolor="0.6")
    axes.axvline(valid, color="0.4" if panel.is_line else "white", linewidth=1.2)
    if not is_labelled:
        return
    axes.annotate(
        f"audio ends, {valid:.1f} s",
        (valid, 1), (-3, -4), textcoords="offset points", xycoords=("data", "axes fraction"),
        ha="right", va="top", fontsize=8, color="white",
        bbox={"facecolor": "0.1", "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip


def _png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():  # of letters that the font lacks: ids are in any script
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
