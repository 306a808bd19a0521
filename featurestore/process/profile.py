"""A profile: what each stage takes, as a table, as JSON and as a picture."""

import dataclasses
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featurestore.storage.atomic import atomic_write

_WIDTH = 80


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageCost:
    """Time and memory of one stage.

    Parameters
    ----------
    stage : str
    seconds : float
        By the clock, all rounds together [s].
    nbytes : int or None
        The most memory it used above what there was when it began [bytes]; None where
        that cannot be known. Of the rest, which begins with the work itself: what is kept between
        stages, such as a network's activations from forward to backward.
    """

    stage: str
    seconds: float
    nbytes: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    """Time and memory by stage of some work on clips.

    Parameters
    ----------
    work : str
        What was done, in a few words: a bar's name.
    settings : mapping of str to values that JSON has
        How it was done.
    round : str
        What the table's times are for one of: ``clip`` or ``batch``.
    n_rounds, n_clips : int
        How many of these were done, and of how many clips.
    audio_seconds : float
        How much music these clips are [s].
    stages : tuple of StageCost
        In their order, the rest last; their times add up to all the time it took.
    peak_nbytes : int or None
        The most memory that the process used [bytes].
    device_peak_nbytes : int or None
        The same of a GPU. The stages' memory is then the GPU's.
    """

    work: str
    settings: Mapping[str, Any]
    round: str
    n_rounds: int
    n_clips: int
    audio_seconds: float
    stages: tuple[StageCost, ...]
    peak_nbytes: int | None = None
    device_peak_nbytes: int | None = None

    @property
    def seconds(self) -> float:
        """All that it took [s]."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def clips_per_second(self) -> float:
        """Speed [clips/s]."""
        return self.n_clips / self.seconds

    @property
    def times_real_time(self) -> float:
        """Seconds of music processed per second."""
        return self.audio_seconds / self.seconds

    def json(self) -> dict[str, Any]:
        """All of it, in values that JSON has."""
        return {
            "work": self.work,
            **self.settings,
            "clips": self.n_clips,
            _several(self.round): self.n_rounds,
            "seconds": round(self.seconds, 6),
            "clips_per_second": round(self.clips_per_second, 3),
            "times_real_time": round(self.times_real_time, 1),
            "peak_bytes": self.peak_nbytes,
            "device_peak_bytes": self.device_peak_nbytes,
            "stages": [
                {
                    "stage": stage.stage,
                    "seconds": round(stage.seconds, 6),
                    "share": round(stage.seconds / self.seconds, 5),
                    "bytes": stage.nbytes,
                }
                for stage in self.stages
            ],
        }

    def lines(self) -> list[str]:
        """All of it as a table, 80 columns wide; an MB is 1e6 bytes."""
        stages = [*self.stages, StageCost(stage="total", seconds=self.seconds, nbytes=None)]
        rows = [["stage", f"ms per {self.round}", "share", "at most [MB]"]]
        for stage in stages:
            memory = "" if stage.nbytes is None else f"{stage.nbytes / 1e6:,.1f}"
            share = stage.seconds / self.seconds
            rows.append([stage.stage, f"{self._ms(stage):,.2f}", f"{share:.1%}", memory])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = textwrap.wrap(self._title(), _WIDTH)
        for first, *rest in rows:
            cells = [f"{cell:>{w}}" for cell, w in zip(rest, widths[1:], strict=True)]
            lines.append("   ".join([first.ljust(widths[0]), *cells]).rstrip())
        return [*lines, *textwrap.wrap(self._sum(), _WIDTH)]

    def _ms(self, stage: StageCost) -> float:
        return 1e3 * stage.seconds / self.n_rounds

    def _title(self) -> str:
        noun = self.round if self.n_rounds == 1 else _several(self.round)
        names = {key: key.replace("_a_", " per ").replace("_", " ") for key in self.settings}
        words = [self.work, *(f"{names[key]} {value}" for key, value in self.settings.items())]
        return f"{', '.join(words)}: {self.n_rounds:,} {noun}"

    def _sum(self) -> str:
        text = (
            f"{_number(self.clips_per_second)} clips/s, {_number(self.times_real_time)} times "
            "faster than real time"
        )
        if self.peak_nbytes is not None:
            text += f"; at most {_number(self.peak_nbytes / 1e6)} MB of memory"
        if self.device_peak_nbytes is not None:
            text += f" and {_number(self.device_peak_nbytes / 1e6)} MB of the GPU's"
        return text


def _several(noun: str) -> str:
    return f"{noun}es" if noun.endswith("ch") else f"{noun}s"


def _number(value: float) -> str:
    """Three digits that mean something, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


_HATCHES = ("", "", "///", "...")


def picture(profiles: Sequence[Profile], path: str | os.PathLike[str]) -> None:
    """Draw profiles of the same stages to a PNG file: a bar each, stacked of its stages.

    Stages of less than a hundredth of every bar are one, in the end.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [stage.stage for stage in profiles[0].stages]
    times = {
        name: [p._ms(next(s for s in p.stages if s.stage == name)) for p in profiles]
        for name in names
    }
    totals = [1e3 * p.seconds / p.n_rounds for p in profiles]
    large = [
        name
        for name in names
        if any(t >= total / 100 for t, total in zip(times[name], totals, strict=True))
    ]
    rest = [name for name in names if name not in large]
    if rest:
        label = rest[0] if len(rest) == 1 else f"{len(rest)} more, each under 1 %"
        times[label] = [sum(times[name][i] for name in rest) for i in range(len(profiles))]
        large.append(label)
    figure = Figure(figsize=(10, 2.3 + 0.75 * len(profiles)), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colours = matplotlib.colormaps["cividis"]  # made for the colour-blind; even in grey
    left = [0.0] * len(profiles)
    labels = [p.work.replace(", ", "\n", 1) for p in profiles]
    for number, name in enumerate(large):
        # Dark and light by turns, so that neighbours differ in grey print as well.
        shade = number // 2 / len(large) + 0.55 * (number % 2)
        bars = axes.barh(
            range(len(profiles)),
            times[name],
            left=left,
            label=name,
            color=colours(shade),
            hatch=_HATCHES[number % len(_HATCHES)],
            edgecolor="white",
            linewidth=0.8,
            height=0.6,
        )
        ink = "white" if shade < 0.5 else "black"
        for i, bar in enumerate(bars):
            share = f"{times[name][i] / totals[i]:.0%}"
            # A letter takes a hundredth of the picture's width.
            if times[name][i] >= 0.012 * len(name) * max(totals):
                share = f"{name}\n{share}"
            if times[name][i] >= 0.06 * max(totals):
                axes.annotate(
                    share,
                    (bar.get_x() + bar.get_width() / 2, i),
                    ha="center",
                    va="center",
                    fontsize=9,
                    color=ink,
                    bbox={"boxstyle": "round,pad=0.2", "facecolor": colours(shade), "linewidth": 0},
                )
            left[i] += times[name][i]
    for i, p in enumerate(profiles):
        rate = f"{_number(p.clips_per_second)} clips/s"
        axes.annotate(
            rate, (totals[i], i), (5, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_xlim(0, max(totals) * 1.14)
    axes.set_yticks(range(len(profiles)), labels)
    axes.invert_yaxis()
    axes.set_xlabel(f"time per {profiles[0].round} [ms]")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=min(6, len(large)), frameon=False, fontsize=9)
    figure.suptitle("Where the time goes", x=0.01, ha="left", weight="bold")
    with atomic_write(Path(path), what="the picture") as partial:
        figure.savefig(partial, format="png")
