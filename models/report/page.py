"""The page: one HTML file that holds all it needs and asks the network for nothing."""

import base64
import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Self

import jinja2

from featurestore.storage.atomic import atomic_write
from models.report import confusion, heatmap, shades
from models.report.drawing import GREY, GROUND, INK, NARROW, WIDE, inline
from models.report.figure import Figure
from models.report.frontier import frontier
from models.report.marks import MARKS
from models.report.published import DATA_SETS, beside_published
from models.report.resolution import resolutions
from models.report.tags import tag_rows
from models.robustness import Robustness
from models.study import formatting
from models.study.comparison import Comparison
from models.study.results import Row, is_as_trained


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of a report."""

    frontier: Figure
    resolutions: tuple[Figure, ...]
    robustness: Figure | None = None
    confusion: Figure | None = None

    @classmethod
    def of(cls, comparison: Comparison, robustness: Robustness | None = None) -> Self:
        """Those of a study, built once for the page and the files."""
        return cls(
            frontier=frontier(comparison),
            resolutions=resolutions(comparison),
            robustness=None if robustness is None else heatmap.heat_map(robustness, comparison),
            confusion=confusion.confusion_figure(comparison),
        )


def write_page(
    rows: Sequence[Row],
    comparison: Comparison,
    figures: Figures,
    folder: Path,
    robustness: Robustness | None = None,
) -> Path:
    """Write ``index.html``.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = folder / "index.html"
    listen = (folder / "listen.html").is_file()
    text = render(rows, comparison, figures, listen=listen, robustness=robustness)
    with atomic_write(path, what="the page") as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def render(
    rows: Sequence[Row],
    comparison: Comparison,
    figures: Figures,
    *,
    listen: bool = False,
    robustness: Robustness | None = None,
) -> str:
    """The page's HTML; `listen` says that there is a listening page to link to.

    Everything that comes from the results is escaped, and the browser is told to run the page's
    own script and no other, and to load nothing (Content-Security-Policy).
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("models.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "formatting": formatting,
        "heatmap": heatmap,
        "confusion": confusion,
        "shades": shades,
        "isnan": math.isnan,
    }
    style = environment.get_template("page.css").render(
        marks=MARKS, shades=shades, ink=INK, grey=GREY, ground=GROUND
    )
    script = (resources.files("models.report") / "templates" / "page.js").read_text("utf-8")
    catalogs = sorted({row["catalog"] for row in rows if row.get("catalog")})
    catalog = catalogs[0] if len(catalogs) == 1 else None
    tag_points, rows_of_tags = tag_rows(comparison)
    return environment.get_template("index.html").render(
        comparison=comparison,
        headline=headline(comparison),
        frontier_title=figures.frontier.title,
        charts={
            panel.name: _drawn(dataclasses.replace(figures.frontier, rows=((panel,),), title=""))
            for panel in figures.frontier.rows[0]
        },
        resolutions=[(figure, _drawn(figure)) for figure in figures.resolutions],
        robustness=robustness,
        heat_lines=() if robustness is None else heatmap.heat_lines(robustness),
        shade_keys=figures.robustness.legend if figures.robustness else (),
        n_drawn=len(figures.robustness.rows[0][0].y.ticks) if figures.robustness else 0,
        classified=[point for point in comparison.points if point.confusion is not None],
        confused=confusion.confused_points(comparison),
        tag_points=tag_points,
        tag_rows=rows_of_tags if tag_points else [],
        catalog=catalog,
        data_sets=DATA_SETS,
        published=beside_published(comparison),
        facts=facts(rows),
        n_rows=sum(map(is_as_trained, rows)),
        listen=listen,
        style=style,
        script=script,
        style_digest=_digest(style),
        script_digest=_digest(script),
    )


def _drawn(figure: Figure) -> dict[str, str]:
    """A figure for wide windows and for narrow ones; the style sheet shows one of them."""
    wide = WIDE
    if len(figure.rows[0]) > 1:
        wide = dataclasses.replace(WIDE, panel_height=2.2)
    panel = figure.rows[0][0].name
    return {
        name: inline(figure, size, name=f"{panel}-{name}")
        for name, size in (("wide", wide), ("narrow", NARROW))
    }


def headline(comparison: Comparison) -> str:
    """The recommendation in one sentence."""
    best, baseline = comparison.recommended, comparison.baseline
    if len(comparison.points) == 1:
        return f"{formatting.name(best)}: nothing to compare it with yet"
    if best is baseline:
        return f"Stay with {formatting.name(best)}"
    macs = formatting.times(baseline.gmac / best.gmac)
    nbytes = formatting.times(baseline.bytes_per_clip / best.bytes_per_clip)
    costs = (
        f"{macs} to compute, {nbytes} to store"
        if macs != nbytes
        else (f"{macs} to compute and to store")
    )
    return f"Take {formatting.name(best)}: {costs}"


def facts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What was run on what: pairs of a name and all the values that it had."""
    tests = [row for row in rows if not is_as_trained(row)]
    rows = [row for row in rows if is_as_trained(row)]
    versions: dict[str, list[Any]] = {}
    for row in rows:
        for package, version in row.get("versions", {}).items():
            versions.setdefault(package, []).append(version)

    def of(field: str) -> list[Any]:
        return [row[field] for row in rows if row.get(field) is not None]

    clips = [
        f"{row['n_train']:,} / {row['n_validation']:,} / {row['n_test']:,}"
        for row in rows
        if {"n_train", "n_validation", "n_test"} <= row.keys()
    ]
    seconds = sum(of("train_seconds"))
    found = {
        "data set": of("catalog"),
        "digest of clips, splits and tags": of("data"),
        "clips to train / validate / test": clips,
        "tags scored": of("n_tags_scored"),
        "task": sorted({row.get("task", "tagging") for row in rows} - {"tagging"}),
        "tags left out": [tag for tags in of("tags_left_out") for tag in tags],
        "networks": of("model"),
        "width": of("width"),
        "encoding": of("encoding"),
        "recipe": of("recipe"),
        "augmentation": of("augment"),
        "epochs": of("epochs"),
        "batch size": of("batch_size"),
        "learning rate": of("learning_rate"),
        "seeds": of("seed"),
        "folds": of("fold"),
        "tested under": [row["condition"] for row in tests],
        "device": of("device"),
        "bfloat16": ["yes" if value else "no" for value in of("bf16")],
        "time to train, all runs": [_duration(seconds)] if seconds else [],
        **{f"version of {package}": found for package, found in versions.items()},
    }
    return [(name, _listed(values)) for name, values in found.items() if values]


def _listed(values: Iterable[Any]) -> str:
    """All different values, in order, the first twelve of them."""
    different = sorted(set(values), key=lambda v: (isinstance(v, str), v))
    text = ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in different[:12])
    return text + (f", … ({len(different)} in all)" if different[12:] else "")


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
