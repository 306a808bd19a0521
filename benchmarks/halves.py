"""Whether one half of a collection says what the other half says: real clips, small networks.

The clips are drawn into halves at random many times, as many of each tag in either, and no artist
in both where artists are known. Each half is studied by itself, as ``melgrid study`` does it: five
folds, drawn anew with each of three runs. Interrupted, it goes on. The values are coarse and the
network tiny, so that a study takes seconds: what is measured is the rule, not the music.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks.old_rule import old_rule
from benchmarks.page import publish, save_option, table
from featurestore import FeatureStore
from featurestore.errors import MelgridError
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec
from models.data.partitions import draw_folds
from models.study import workers
from models.study.comparison import compare
from models.study.results import Row, read_results
from models.study.study import study
from models.training.settings import TrainSettings
from pipeline.catalogs import open_catalog
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

SPECS = tuple(
    FeatureSpec(sr=16000, n_mels=bands, hop=hop)
    for bands, hop in ((48, 4), (48, 16), (16, 4), (8, 4))
)
"""The first is the baseline."""

DURATION = 15.0
"""Of a clip [s]."""

SETTINGS = TrainSettings(
    width=1 / 32, recipe="modern", epochs=10, batch_size=16, learning_rate=5e-3
)

RUNS = 3
N_FOLDS = 5

MARGINS = (0.01, 0.03, 0.05)
"""Losses of ROC AUC that are accepted, one after the other."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Half:
    """One half of the clips, to be studied.

    Attributes
    ----------
    store : str
    tags : tuple of str
    draw : int
        Which drawing of halves, from 0.
    side : {0, 1}
    results : str
        Its results file.
    """

    store: str
    tags: tuple[str, ...]
    draw: int
    side: int
    results: str


def study_half(half: Half) -> int:
    """Study one half; the number of its rows."""
    store = FeatureStore.open(half.store)
    clips = store.clips
    labels = clips[list(half.tags)].to_numpy(np.float32)
    alone = [f"clip {row}" for row in range(len(clips))]
    named = clips["artist"].where(clips["artist"] != "", alone)
    _, artists = np.unique(named, return_inverse=True)
    sides = draw_folds(labels, artists, n_folds=2, seed=half.draw)
    rows = np.flatnonzero(sides == half.side)
    _, artists = np.unique(artists[rows], return_inverse=True)
    folds = np.full(len(clips), -1)
    folds[rows] = draw_folds(labels[rows], artists, n_folds=N_FOLDS, seed=half.draw)
    store.clips = clips.assign(split="", fold=folds)  # -1 is in no fold: not used
    done = study(
        [store],
        half.results,
        settings=SETTINGS,
        specs=SPECS,
        runs=RUNS,
        tags=half.tags,
        threads=1,
        progress=False,
    )
    return len(done)


def _student(number: int) -> "functools.partial[int]":
    return functools.partial(study_half)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """What a rule says of a point in one half.

    Attributes
    ----------
    verdict : str
    loss : float
    low, high : float
        The rule's 95 % interval of the loss.
    recommended : bool
    """

    verdict: str
    loss: float
    low: float
    high: float
    recommended: bool

    def predicts(self, other: "Said") -> bool:
        """Whether the other half's loss lies in the prediction interval from this one.

        Both are as uncertain as each other, so the interval is widened by the root of 2.
        """
        low = self.loss - math.sqrt(2) * (self.loss - self.low)
        high = self.loss + math.sqrt(2) * (self.high - self.loss)
        return low <= other.loss <= high


def said_now(rows: Sequence[Row], margin: float) -> dict[str, Said]:
    """Of all points but the baseline."""
    comparison = compare(rows, baseline=SPECS[0].name, margin=margin)
    return {
        point.spec.name: Said(
            verdict=point.verdict,
            loss=point.loss,
            low=point.loss_interval[0],
            high=point.loss_interval[1],
            recommended=point is comparison.recommended,
        )
        for point in comparison.points
        if point is not comparison.baseline
    }


def said_before(rows: Sequence[Row], margin: float) -> dict[str, Said]:
    """By the old rule, which knew no margin and took the cheapest within the noise of the best."""
    judged = old_rule(rows)
    return {
        spec: Said(
            verdict=verdict if verdict in ("worse", "better") else "no worse",
            loss=loss,
            low=interval[0],
            high=interval[1],
            recommended=spec == judged.recommended,
        )
        for spec, verdict, loss, interval in zip(
            judged.specs, judged.verdicts, judged.losses, judged.intervals, strict=True
        )
    }


Pair = tuple[dict[str, Said], dict[str, Said]]
"""What a rule says of either half, by spec."""


def shares_of(pairs: Sequence[Pair]) -> list[str]:
    """How often either half says what the other does, in percent, in the table's columns.

    Of points, those that are worse in one half and no worse or better in the other; of drawings,
    those with any such point; of either half's losses, those that the other half's interval
    predicts; of the points that a half recommends, those that are worse in the other; then the
    share of each verdict. ``none`` where there is nothing to take a share of.
    """
    points = [(a[spec], b[spec]) for a, b in pairs for spec in a]
    both = [pair for a, b in points for pair in ((a, b), (b, a))]
    fine = ("no worse", "better")
    contradicting = [a.verdict == "worse" and b.verdict in fine for a, b in both]
    of_points = np.reshape(contradicting, (-1, 2)).any(axis=1)
    of_draws = of_points.reshape(len(pairs), -1).any(axis=1)
    chosen = [b.verdict == "worse" for a, b in both if a.recommended]
    shares = (
        of_points,
        of_draws,
        [a.predicts(b) for a, b in both],
        chosen,
        *([a.verdict == verdict for a, _ in both] for verdict in _VERDICTS),
    )
    return [f"{100 * np.mean(share):.1f}" if len(share) else "none" for share in shares]


_VERDICTS = ("worse", "no worse", "better", "not told")


@click.command(name="halves", help=__doc__)
@click.option("--audio", help="A CSV with tags.")
@click.option("--tags", metavar="TAG,...", help="Tags to learn.  [all]")
@click.option("--folder", default="halves", show_default=True, help="For the store and results.")
@click.option("--draws", default=50, show_default=True, help="Drawings of halves.")
@click.option("--jobs", default=2, show_default=True, help="Halves at a time, a thread each.")
@click.option("--judge-only", is_flag=True, help="Of what was done before, without audio.")
@save_option
def halves(
    audio: str | None,
    tags: str | None,
    folder: str,
    draws: int,
    jobs: int,
    judge_only: bool,
    save: bool,
) -> None:
    """Real clips, drawn into halves."""
    files = [[Path(folder, f"{draw:03}-{side}.jsonl") for side in (0, 1)] for draw in range(draws)]
    if not judge_only:
        if audio is None:
            raise click.UsageError("there is no music to study: give --audio CSV, with tags")
        _study_all(audio, tags, folder, files, jobs)
    n_rows = len(SPECS) * RUNS * N_FOLDS
    pairs = []
    for both in files:
        if all(file.is_file() for file in both):
            rows = [read_results(file)[0] for file in both]
            if all(len(some) == n_rows for some in rows):
                pairs.append((rows[0], rows[1]))
    if not pairs:
        raise click.UsageError(f"no draw is complete in {folder}")
    lines = [
        ("old", "", *shares_of([(said_before(a, 0), said_before(b, 0)) for a, b in pairs])),
        *(
            (
                "new",
                f"{100 * m:g} %",
                *shares_of([(said_now(a, m), said_now(b, m)) for a, b in pairs]),
            )
            for m in MARGINS
        ),
    ]
    n_clips = sum(row["n_test"] for row in pairs[0][0]) // (len(SPECS) * RUNS)
    every = [row for pair in pairs for rows in pair for row in rows]
    scores = {
        spec.name: f"{np.mean([r['roc_auc'] for r in every if r['spec'] == spec.name]):.3f}"
        for spec in SPECS
    }
    of_specs = [said_now(rows, MARGINS[0]) for pair in pairs for rows in pair]
    spread = [said.loss for one in of_specs for said in one.values()]
    publish(
        "verdicts-halves",
        [
            table(
                (
                    *("rule", "margin", "contradict", "in a draw", "predicted"),
                    "recommended, yet worse",
                    *_VERDICTS,
                ),
                lines,
            ),
            f"{len(pairs)} drawings of halves of {n_clips} clips, each half a study of "
            f"{len(SPECS)} specs, {N_FOLDS} folds x {RUNS} runs ({len(every)} trainings); in "
            "percent. *Contradict*: of points, those that are worse in one half and no worse or "
            "better in the other (5 at most; by the old rule: worse, and within noise or better); "
            "*in a draw*: of drawings, those with any such point. *Predicted*: losses that lie in "
            "the other half's prediction interval (93 at least). *Recommended, yet worse*: of the "
            "points recommended by one half, the baseline left out, those that are worse in the "
            "other. Then the verdicts themselves (the old rule's within noise under no worse). "
            f"Mean ROC AUC: {', '.join(f'{name} {score}' for name, score in scores.items())}; "
            f"losses from {100 * min(spread):+.1f} to {100 * max(spread):+.1f} %. Clips of "
            f"{DURATION:g} s; {SETTINGS.model} at width {SETTINGS.width:.3g}, "
            f"{SETTINGS.epochs} epochs of {SETTINGS.recipe}. All drawings are of the same clips, "
            "so that they are not independent of each other: the shares are less certain than "
            "their number says.",
        ],
        save,
    )


def _study_all(
    audio: str, tags: str | None, folder: str, files: Sequence[Sequence[Path]], jobs: int
) -> None:
    catalog = open_catalog(audio)
    chosen = tuple(tags.split(",")) if tags else tuple(catalog.tags)
    store = f"{folder}/halves.zarr"
    Path(folder).mkdir(parents=True, exist_ok=True)
    run(catalog, store, list(SPECS), RunSettings(window=Excerpt(duration=DURATION)))
    tasks = [
        Half(store=store, tags=chosen, draw=draw, side=side, results=str(file))
        for draw, both in enumerate(files)
        for side, file in enumerate(both)
    ]
    for number, (half, outcome) in enumerate(workers.in_processes(_student, tasks, jobs=jobs), 1):
        if isinstance(outcome, MelgridError):
            raise outcome
        click.echo(f"{number}/{len(tasks)} draw {half.draw} side {half.side}: {outcome} rows")
