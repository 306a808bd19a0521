"""The report of a study: a text table and a picture, from its results file and nothing else."""

import dataclasses
import os
import textwrap
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featurestore.errors import TrainingError
from models.results import IDENTITY, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHARED = tuple(field for field in IDENTITY if field not in ("seed", "fold"))
"""Runs that agree in these are one line of the report."""

_WIDTH = 80


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """All runs of one network on one spec.

    Attributes
    ----------
    label : str
        What tells this line from the others: bands, hop, and whatever else varies.
    bands : str
        The part of the spec's name that says the bands.
    n_runs : int
        Trainings, over seeds and folds.
    roc_auc, pr_auc : float
        Means over the runs.
    roc_auc_std, pr_auc_std : float
        Sample standard deviations over the runs; nan for a single one.
    gmac, bytes_per_clip : float
        Cost of a clip; means, where runs differ.
    """

    label: str
    bands: str
    n_runs: int
    roc_auc: float
    roc_auc_std: float
    pr_auc: float
    pr_auc_std: float
    gmac: float
    bytes_per_clip: float


def summarise(rows: Sequence[Row]) -> tuple[str, list[Summary]]:
    """Gather the runs that differ in seed and fold alone.

    Returns
    -------
    common : str
        What all rows share, in words.
    summaries : list of Summary
        Cheapest first.

    Raises
    ------
    TrainingError
        If there are no rows.
    """
    if not rows:
        raise TrainingError("there are no results to report; melgrid study makes them")
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[field] for field in _SHARED), []).append(row)
    tellers = {key: _tellers(dict(zip(_SHARED, key, strict=True))) for key in groups}
    everywhere = set.intersection(*(set(words) for words in tellers.values()))
    summaries = []
    for key, runs in groups.items():
        # Bands and hop are the point of it all: they stay, shared or not.
        bands, hop, *others = tellers[key]
        words = [bands, hop, *(word for word in others if word not in everywhere)]

        def mean(field: str, runs: list[Row] = runs) -> float:
            return float(np.mean([row[field] for row in runs]))

        def std(field: str, runs: list[Row] = runs) -> float:
            return float(np.std([row[field] for row in runs], ddof=1)) if runs[1:] else np.nan

        summaries.append(
            Summary(
                label=" ".join(words),
                bands=bands,
                n_runs=len(runs),
                roc_auc=mean("roc_auc"),
                roc_auc_std=std("roc_auc"),
                pr_auc=mean("pr_auc"),
                pr_auc_std=std("pr_auc"),
                gmac=mean("gmac"),
                bytes_per_clip=mean("bytes_per_clip"),
            )
        )
    first = next(iter(tellers.values()))
    # That all rows are from the same data goes without saying.
    common = ", ".join(w for w in first[2:] if w in everywhere and not w.startswith("data "))
    return common, sorted(summaries, key=lambda s: (s.gmac, s.bytes_per_clip, s.label))


def _tellers(shared: Row) -> list[str]:
    """Words that tell a line from others: bands and hop first, then all the rest."""
    sr, bands, hop, *rest = shared["spec"].split("-")
    return [
        bands,
        hop,
        f"{int(sr.removeprefix('sr')) / 1000:g} kHz",
        *rest,
        shared["encoding"],
        shared["model"],
        f"width {shared['width']:g}",
        f"{shared['epochs']} epochs",
        f"batches of {shared['batch_size']}",
        f"learning rate {shared['learning_rate']:g}",
        f"amp {shared['amp']}",
        f"data {shared['data']}",
    ]


def table(rows: Sequence[Row]) -> str:
    """Lay the results out as text, 80 columns wide, cheapest spec first.

    Scores are means ± sample standard deviations over runs; a kB is 1000 bytes.
    """
    common, summaries = summarise(rows)
    numbers = ["runs", "ROC AUC", "PR AUC", "GMAC", "kB/clip"]
    lines = [
        (
            s.label,
            [
                str(s.n_runs),
                _plus_minus(s.roc_auc, s.roc_auc_std),
                _plus_minus(s.pr_auc, s.pr_auc_std),
                _significant(s.gmac),
                _significant(s.bytes_per_clip / 1000),
            ],
        )
        for s in summaries
    ]
    widths = [max(map(len, column)) for column in zip(numbers, *(n for _, n in lines), strict=True)]
    right = sum(widths) + 2 * len(widths)
    left = min(max(len("spec"), *(len(label) for label, _ in lines)), _WIDTH - right)
    text = textwrap.wrap(common, _WIDTH)
    for label, cells in [("spec", numbers), *lines]:
        columns = "".join(f"  {c:>{w}}" for c, w in zip(cells, widths, strict=True))
        if len(label) > left:  # a long label takes a line of its own
            text += textwrap.wrap(label, _WIDTH)
            label = ""
        text.append(f"{label:<{left}}{columns}")
    return "\n".join(text)


def _plus_minus(mean: float, std: float) -> str:
    return f"{mean:.3f}" + ("" if np.isnan(std) else f" ± {std:.3f}")


def _significant(value: float) -> str:
    """Three digits that mean something, without an exponent."""
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(value))))}f}" if value > 0 else "0"


# Okabe and Ito's colours, which the colour-blind can tell apart, each with a shape of its own, so
# that grey print tells them apart as well.
_MARKERS = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
)


def picture(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Draw ROC AUC against GMAC and against bytes a clip, to a PNG file.

    Points are means over runs, bars their standard deviations. Colour and shape say the bands;
    labels are set where they touch nothing, and left out where there is no such place.

    Raises
    ------
    TrainingError
        If there are no rows, or if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    common, summaries = summarise(rows)
    figure = Figure(figsize=(10, 4.8), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    bands = sorted({s.bands for s in summaries}, key=lambda name: -int(name.removeprefix("mel")))
    markers = {name: _MARKERS[i % len(_MARKERS)] for i, name in enumerate(bands)}
    panels: tuple[tuple[Axes, str, Callable[[Summary], float]], ...] = (
        (left, "multiply-accumulates a clip [GMAC]", lambda s: s.gmac),
        (right, "stored size a clip [kB]", lambda s: s.bytes_per_clip / 1000),
    )
    for axes, title, cost in panels:
        for s in summaries:
            colour, marker = markers[s.bands]
            axes.errorbar(
                cost(s),
                s.roc_auc,
                yerr=None if np.isnan(s.roc_auc_std) else s.roc_auc_std,
                color=colour,
                marker=marker,
                markersize=8,
                markeredgecolor="white",
                elinewidth=1.2,
                capsize=3,
            )
        axes.set_xscale("log")
        axes.set_xlabel(title)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        _plain_ticks(axes, [cost(s) for s in summaries])
    left.set_ylabel("macro ROC AUC on the test split")
    left.set_title(common, loc="left", fontsize=9, color="0.35", pad=12)
    figure.suptitle("What resolution costs, and what it is worth", x=0.01, ha="left", weight="bold")
    figure.legend(
        handles=[
            Line2D([], [], color=colour, marker=marker, linestyle="", markersize=8, label=name)
            for name, (colour, marker) in markers.items()
        ],
        loc="outside lower center",
        ncols=len(markers),
        frameon=False,
    )
    figure.canvas.draw()
    figure.set_layout_engine("none")  # the axes stay where the labels were placed for
    for axes, _, cost in panels:
        _label(axes, [(cost(s), s) for s in summaries])
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        figure.savefig(partial, format="png")
        partial.replace(path)
    except OSError as error:
        raise TrainingError(
            f"the picture {path} cannot be written: {error.strerror}; name another place"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _plain_ticks(axes: "Axes", values: Sequence[float]) -> None:
    """Ticks at 1, 2, 5 times a power of ten, written out, over half an octave around `values`."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xlim(min(values) / 1.5, max(values) * 1.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _label(axes: "Axes", points: Sequence[tuple[float, Summary]]) -> None:
    """Write each point's label at the first place around it that is free.

    Free of points and labels, that is, and of error bars too if there is such a place.
    """
    from matplotlib.transforms import Bbox

    point = axes.figure.dpi / 72  # [pixels]
    taken, bars = [], []
    for x, s in points:
        half = np.nan_to_num(s.roc_auc_std)
        ends = [(x, s.roc_auc - half), (x, s.roc_auc + half)]
        bars.append(Bbox(axes.transData.transform(ends)).padded(2 * point))
        centre = axes.transData.transform((x, s.roc_auc))
        taken.append(Bbox([centre, centre]).padded(5 * point))
    for x, s in points:
        for obstacles, (dx, dy) in product(([*taken, *bars], taken), _PLACES):
            text = axes.annotate(
                s.label,
                (x, s.roc_auc),
                (dx, dy),
                textcoords="offset points",
                fontsize=8,
                ha="left" if dx > 0 else "right",
                va="bottom" if dy > 0 else "top" if dy < 0 else "center",
            )
            box = text.get_window_extent()
            inside = axes.bbox.padded(5 * point).count_contains(box.corners()) == 4
            if inside and not any(box.overlaps(other) for other in obstacles):
                taken.append(box)
                break
            text.remove()


_PLACES = tuple(
    (side * dx, dy) for dx, dy in ((8, 0), (6, 5), (6, -5), (6, 12), (6, -12)) for side in (1, -1)
)
"""Where a label may go, nearest first [points]."""
