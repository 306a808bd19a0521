"""A page of a tuning: its history, what mattered, and each setting against the score."""

import base64
import dataclasses
import hashlib
import math
from importlib import resources
from pathlib import Path

import jinja2

from featurestore.storage.atomic import atomic_write
from models.report import shades
from models.report.axis import Axis
from models.report.drawing import GREY, GROUND, INK, NARROW, WIDE, draw, inline
from models.report.figure import Dot, Figure, Key, Line, Panel
from models.report.marks import MARKS
from models.tuning.outcome import TrialOutcome, Tuning, options_of, short

_COMPLETE, _PRUNED = 0, 1
"""Marks."""

_ACROSS = 2
"""Panels of settings side by side."""

_KEYS = {
    "complete": Key(text="complete", mark=_COMPLETE),
    "pruned": Key(text="given up", mark=_PRUNED, hollow=True),
}


def write_page(tuning: Tuning) -> Tuning:
    """Write a page beside the tuning's file, and a picture of its history.

    The page needs no network and holds all; the picture is a PNG.

    Returns
    -------
    Tuning
        The same, with the page's place.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    page = Path(tuning.path).with_suffix(".html")
    draw(history(tuning), page.with_suffix(".png"))
    with atomic_write(page, what="the page") as partial:
        partial.write_text(render(tuning), encoding="utf-8")
    return dataclasses.replace(tuning, page=str(page))


def render(tuning: Tuning) -> str:
    """The page's HTML, which runs its own script and no other, and loads nothing."""
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("models.tuning"), jinja2.PackageLoader("models.report")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = environment.get_template("page.css").render(
        marks=MARKS, shades=shades, ink=INK, grey=GREY, ground=GROUND
    )
    script = (resources.files("models.report") / "templates" / "page.js").read_text("utf-8")
    figures = [history(tuning), *importance(tuning), settings(tuning)]
    return environment.get_template("tune.html").render(
        tuning=tuning,
        figures=[(figure, _drawn(figure)) for figure in figures],
        options=options_of(tuning.best.settings),
        short=short,
        isnan=math.isnan,
        style=style,
        script=script,
        style_digest=_digest(style),
        script_digest=_digest(script),
    )


def history(tuning: Tuning) -> Figure:
    """The score of each trial, and the best until then."""
    trials = _scored(tuning)
    best: list[tuple[float, float]] = []
    for trial in trials:
        if trial.state == "complete":
            last = best[-1][1] if best else trial.value
            better = max if tuning.maximise else min
            best.append((trial.number, better(last, trial.value)))
    best.append((trials[-1].number, best[-1][1]))
    steps = [
        point
        for (_, before), (x, y) in zip([best[0], *best], best, strict=False)
        for point in ((x, before), (x, y))
    ]
    panel = Panel(
        name="history",
        title="",
        x=Axis.linear("trial", [trial.number for trial in trials]),
        y=Axis.linear(tuning.metric, [trial.value for trial in trials]),
        dots=tuple(_dot(tuning, trial, trial.number) for trial in trials),
        lines=(Line(points=tuple(steps)),),
    )
    return Figure(
        name="history",
        title=f"{tuning.metric} on the validation split, by trial, and the best until then",
        rows=((panel,),),
        legend=_legend(trials),
    )


def importance(tuning: Tuning) -> tuple[Figure, ...]:
    """What share of the variance each setting explains; no figure where it is not known."""
    if not tuning.importance:
        return ()
    names = list(tuning.importance)[::-1]
    shares = [tuning.importance[name] for name in names]
    panel = Panel(
        name="importance",
        title="",
        x=Axis.linear("share of the variance", [0.0, *shares]),
        y=Axis.categories("", names),
        dots=tuple(
            Dot(x=share, y=y, std=math.nan, mark=_COMPLETE, tip=f"{name}\n{share:.2f}")
            for y, (name, share) in enumerate(zip(names, shares, strict=True))
        ),
        lines=tuple(
            Line(points=((0.0, y), (share, y)), mark=_COMPLETE) for y, share in enumerate(shares)
        ),
    )
    return (
        Figure(
            name="importance",
            title="How much of the difference between trials a setting explains",
            rows=((panel,),),
            legend=(),
        ),
    )


def settings(tuning: Tuning) -> Figure:
    """The score against each setting, those that matter first."""
    trials = _scored(tuning)
    y = Axis.linear(tuning.metric, [trial.value for trial in trials])
    panels: list[Panel] = []
    for name in tuning.names:
        of = [trial for trial in trials if name in trial.settings]
        values = [trial.settings[name] for trial in of]
        space = next(space for space in tuning.spaces if space.name == name)
        if space.kind == "choice":
            x = Axis.categories(name, [str(choice) for choice in space.choices])
            places = [float(space.choices.index(value)) for value in values]
        else:
            places = [float(value) for value in values]
            x = (Axis.logarithmic if space.is_log else Axis.linear)(name, places)
        dots = tuple(_dot(tuning, t, place) for t, place in zip(of, places, strict=True))
        panels.append(Panel(name=f"of-{len(panels)}", title="", x=x, y=y, dots=dots))
    rows = [panels[first : first + _ACROSS] for first in range(0, len(panels), _ACROSS)]
    return Figure(
        name="settings",
        title=f"{tuning.metric} by each setting",
        rows=tuple(map(tuple, rows)),
        legend=_legend(trials),
    )


def _scored(tuning: Tuning) -> list[TrialOutcome]:
    return [
        trial
        for trial in tuning.trials
        if trial.state in ("complete", "pruned") and math.isfinite(trial.value)
    ]


def _legend(trials: list[TrialOutcome]) -> tuple[Key, ...]:
    there = {trial.state for trial in trials}
    return tuple(key for state, key in _KEYS.items() if state in there)


def _dot(tuning: Tuning, trial: TrialOutcome, x: float) -> Dot:
    is_complete = trial.state == "complete"
    lines = [
        f"trial {trial.number}: {tuning.metric} {trial.value:.4f}",
        *([] if is_complete else [trial.reason]),
        *(f"{name} {short(value)}" for name, value in trial.settings.items()),
    ]
    return Dot(
        x=x,
        y=trial.value,
        std=math.nan,
        mark=_COMPLETE if is_complete else _PRUNED,
        hollow=not is_complete,
        recommended=trial is tuning.best,
        tip="\n".join(lines),
    )


def _drawn(figure: Figure) -> dict[str, str]:
    """A figure for wide windows and for narrow ones; the style sheet shows one of them."""
    figure = dataclasses.replace(figure, title="")  # the page has it as a heading
    wide = dataclasses.replace(WIDE, panel_height=3.4)
    if figure.rows[0][0].name == "importance":
        n_names = len(figure.rows[0][0].y.ticks)
        wide = dataclasses.replace(WIDE, panel_height=0.5 + 0.3 * n_names)
    elif len(figure.rows[0]) > 1:
        wide = dataclasses.replace(WIDE, panel_height=2.4)
    return {
        name: inline(figure, size, name=f"{figure.name}-{name}")
        for name, size in (("wide", wide), ("narrow", NARROW))
    }


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
