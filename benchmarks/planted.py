"""Whether a study finds what was planted, and nothing where nothing was.

A corpus is synthesised, noise in four respects, each a tag that half the clips have:

- ``comb``: ripples in the spectrum, 160 Hz apart rather than 80. Bands that are wider see neither.
- ``tremble``: a tremolo of 11.8 to 15.7 Hz rather than 4 to 7.9, equally deep. Every 16th frame,
  3.9 a second, shows both alike: what is left of either rate is anything.
- ``dull``: weaker high frequencies, and ``loud``: both overlap, and need no fine resolution.

So 8 bands must lose the first, and hop x16 the second. A second corpus has the last two tags alone,
and neither ripples nor tremolo: of it, no loss must be found at either.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import soundfile
from scipy.signal import lfilter

from benchmarks.old_rule import old_rule
from benchmarks.page import publish, save_option, table
from featurestore import FeatureStore
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec
from models.study.comparison import Point, compare
from models.study.study import study
from models.training.settings import TrainSettings
from pipeline.catalogs import open_catalog
from pipeline.demo import synth
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

SR = 16000
SECONDS = 4.0
N_CLIPS = 150
TAGS = ("comb", "tremble", "dull", "loud")
CONTROLS = ("dull", "loud")

FINE = FeatureSpec(sr=SR, n_mels=96)
FEW_BANDS = FeatureSpec(sr=SR, n_mels=8)
LONG_HOP = FeatureSpec(sr=SR, n_mels=96, hop=16)

MUST_LOSE = {FEW_BANDS.name: "comb", LONG_HOP.name: "tremble"}

SETTINGS = TrainSettings(
    width=1 / 32, recipe="modern", epochs=12, batch_size=16, learning_rate=5e-3
)
RUNS = 3


def compose(tags: frozenset[str], rng: np.random.Generator, *, planted: bool) -> synth.Audio:
    """A clip, ``(n,)``; `planted` is whether it has ripples and a tremolo at all."""
    n = round(SECONDS * SR)
    noise = rng.standard_normal(n + SR)
    tilt = rng.normal(0.35 if "dull" in tags else 0.05, 0.15)
    gain = 10 ** (rng.normal(2 if "loud" in tags else -2, 2) / 20)
    if planted:
        ripple = rng.uniform(150, 170) / (1 if "comb" in tags else 2)
        delay = round(SR / ripple)
        noise = noise[delay:] + rng.choice((-0.9, 0.9)) * noise[:-delay]
        rate = rng.uniform(11.8, 15.7) if "tremble" in tags else rng.uniform(4.0, 7.9)
        gain *= np.roll(synth.tremolo(n, rate, rng.uniform(0.6, 0.9), SR), rng.integers(n))
    tilted = lfilter((1, tilt), (1,), noise[-n:]) / np.hypot(1, tilt)
    return np.asarray(0.05 * gain * tilted, np.float32)


def make_corpus(folder: Path, seed: int, all_tags: Sequence[str]) -> Path:
    """Write the clips and their table, unless they are there; the table's path."""
    labels = folder / "labels.csv"
    if labels.exists():
        return labels
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    holds = rng.permuted(np.tile(np.arange(N_CLIPS) % 2, (len(all_tags), 1)), axis=1).T
    rows = []
    for number, has in enumerate(holds):
        tags = frozenset(tag for tag, held in zip(all_tags, has, strict=True) if held)
        rng = np.random.default_rng((seed, number))
        audio = compose(tags, rng, planted=all_tags == TAGS)
        soundfile.write(folder / f"{number:03}.flac", audio, SR)
        rows.append([f"{number:03}.flac", *has])
    with labels.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", *all_tags), *rows])
    return labels


def _line(seed: int, planted: bool, point: Point, old: str) -> tuple[str, ...]:
    low, high = point.loss_interval
    told = [
        f"{tag} {loss.verdict}" for tag, loss in point.tag_losses.items() if loss.verdict in _TOLD
    ]
    of_tags = ", ".join(f"{tag} {100 * x.loss:+.0f}" for tag, x in point.tag_losses.items())
    return (
        str(seed),
        "planted" if planted else "controls",
        str(point.label),
        f"{100 * point.loss:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})",
        old,
        point.verdict,
        of_tags,
        ", ".join(told) or "none",
    )


def is_as_planted(point: Point, *, planted: bool) -> bool:
    """Whether the tag that must lose is told, and no other, and the point is worse just then."""
    expected = {MUST_LOSE[point.spec.name]} if planted else set()
    found = {tag for tag, loss in point.tag_losses.items() if loss.verdict in _TOLD}
    return found == expected and (point.verdict == "worse") == planted


_TOLD = ("worse", "better")


@click.command(name="planted", help=__doc__)
@click.option("--folder", default="planted", show_default=True, help="For clips, store, results.")
@click.option("--corpora", default=2, show_default=True, help="Seeds of the corpus, from 0.")
@click.option("--jobs", default=2, show_default=True, help="Trainings at a time, a thread each.")
@save_option
def planted(folder: str, corpora: int, jobs: int, save: bool) -> None:
    """A truth that was planted."""
    lines, n_rows, wrong, scores = [], 0, [], []
    for seed in range(corpora):
        specs = [FINE, FEW_BANDS, LONG_HOP]
        for tags in (TAGS, CONTROLS):
            own = Path(folder, f"{seed}-{'-'.join(tags)}")
            catalog = open_catalog(str(make_corpus(own / "clips", seed, tags)))
            path = str(own / "planted.zarr")
            run(catalog, path, specs, RunSettings(window=Excerpt(duration=SECONDS)))
            rows = study(
                [FeatureStore.open(path)],
                own / "results.jsonl",
                settings=SETTINGS,
                specs=specs,
                runs=RUNS,
                tags=tags,
                jobs=jobs,
                threads=1,
                progress=False,
                say=click.echo,
            )
            n_rows += len(rows)
            comparison = compare(rows, baseline=FINE.name)
            scores.append(f"{comparison.baseline.roc_auc:.3f}")
            before = old_rule(rows)
            said = dict(zip(before.specs, before.verdicts, strict=True))
            for point in comparison.points:
                if point is comparison.baseline:
                    continue
                name = point.spec.name
                lines.append(_line(seed, tags is TAGS, point, said[name]))
                if not is_as_planted(point, planted=tags is TAGS):
                    wrong.append(f"corpus {seed}, {lines[-1][1]}, {point.label}")
    publish(
        "verdicts-planted",
        [
            table(
                (
                    *("corpus", "tags", "point", "loss and 95 % [%]", "old rule", "verdict"),
                    *("loss by tag [%]", "tags told"),
                ),
                lines,
            ),
            f"{corpora} of either corpus, {N_CLIPS} clips of {SECONDS:g} s, against 96 bands x1 "
            f"(ROC AUC {', '.join(scores)}); {n_rows} trainings: five folds x {RUNS} runs, "
            f"{SETTINGS.model} at width {SETTINGS.width:.3g}, {SETTINGS.epochs} epochs of "
            f"{SETTINGS.recipe}. Planted: 8 bands must lose comb, hop x16 tremble, and nothing "
            "else; of the controls, nothing. "
            + (f"Not so: {'; '.join(wrong)}." if wrong else "All of it is so."),
        ],
        save,
    )
