"""The page: one HTML file that holds all it needs and asks the network for nothing."""

import base64
import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from featurestore.storage.atomic import atomic_write
from models.report import words
from models.report.figure import Panel
from models.report.frontier import frontier
from models.report.labels import Box, obstacles, place_labels
from models.report.marks import MARKS
from models.report.published import DATA_SETS, compare
from models.report.resolution import resolutions
from models.report.tags import tag_losses
from models.study.comparison import Judgement
from models.study.results import Row


def write_page(rows: Sequence[Row], judgement: Judgement, folder: Path) -> Path:
    """Write ``index.html``.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = folder / "index.html"
    text = render(rows, judgement, listen=(folder / "listen.html").is_file())
    with atomic_write(path, what="the page") as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def render(rows: Sequence[Row], judgement: Judgement, *, listen: bool = False) -> str:
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
        "words": words,
        "place_labels": labels,
        "heat": heat,
        "isnan": math.isnan,
    }
    style = environment.get_template("page.css").render(marks=MARKS)
    script = (resources.files("models.report") / "templates" / "page.js").read_text("utf-8")
    catalogs = sorted({row["catalog"] for row in rows if row.get("catalog")})
    catalog = catalogs[0] if len(catalogs) == 1 else None
    tag_points, losses = tag_losses(judgement)
    return environment.get_template("index.html").render(
        judgement=judgement,
        headline=headline(judgement),
        marks=MARKS,
        frontier=frontier(judgement),
        resolutions=resolutions(judgement),
        tag_points=tag_points,
        tag_losses=losses if tag_points else [],
        catalog=catalog,
        data_set=DATA_SETS.get(catalog or ""),
        pairs=compare(judgement, catalog),
        facts=facts(rows),
        n_rows=len(rows),
        listen=listen,
        style=style,
        script=script,
        style_digest=_digest(style),
        script_digest=_digest(script),
    )


def headline(judgement: Judgement) -> str:
    """The recommendation in one sentence."""
    best, baseline = judgement.recommended, judgement.baseline
    if len(judgement.points) == 1:
        return f"{words.name(best)}: nothing to compare it with yet"
    if best is baseline:
        return f"Stay with {words.name(best)}"
    macs = words.times(baseline.gmac / best.gmac)
    nbytes = words.times(baseline.bytes_per_clip / best.bytes_per_clip)
    costs = (
        f"{macs} to compute, {nbytes} to store"
        if macs != nbytes
        else (f"{macs} to compute and to store")
    )
    return f"Take {words.name(best)}: {costs}"


def facts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What was run on what: pairs of a name and all the values that it had."""
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


def heat(loss: float) -> str:
    """How strongly a loss is coloured: ``lost-1`` from 1 %, then twice as much each, ``won-1``."""
    if math.isnan(loss) or abs(loss) < 0.01:
        return ""
    level = min(4, 1 + int(math.log2(abs(loss) / 0.01)))
    return f"{'lost' if loss > 0 else 'won'}-{level}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Label:
    """Where a dot's label stands, as SVG has it: y downwards."""

    dx: float
    dy: float
    anchor: str


def labels(panel: Panel, width: float, height: float, *, keys_only: bool) -> list[Label | None]:
    """Place the labels of a panel that is `width` x `height` [CSS pixels] large, or larger."""

    def at(x: float, y: float) -> tuple[float, float]:
        return width * panel.x.place(x), height * panel.y.place(y)

    sizes = [
        # 12 px letters are 6.4 px wide on average, bold ones 7.
        ((7.0 if d.is_key else 6.4) * len(d.label), 15.0) if d.is_key or not keys_only else (0, 0)
        for d in panel.dots
    ]
    keys = [i for i, d in enumerate(panel.dots) if d.is_key]
    within = Box(left=0, bottom=0, right=width + 8, top=height + 8)
    return [
        None
        if place is None
        else Label(
            dx=place[0],
            # The baseline of letters is a little below their middle.
            dy=-place[1] + (0 if place[1] > 0 else 11 if place[1] < 0 else 4),
            anchor="start" if place[0] > 0 else "end",
        )
        for place in place_labels(
            [at(d.x, d.y) for d in panel.dots], sizes, within, soft=obstacles(panel, at), first=keys
        )
    ]


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
