"""Whether verdicts on simulated studies, whose truth is known, are true as often as they say.

A score is a level, plus what the test clips do to all runs and to each alone, what the run does
(first weights, order), and what the training clips do. The last is of the run's own drawing in
part, and in part shared by all drawings of one collection, as much as the rule assumes; and, in the
last mixtures, all shared, which no run shows.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import click
import numpy as np
import numpy.typing as npt

from benchmarks.old_rule import old_rule
from benchmarks.page import publish, save_option, table
from models.study.difference import difference, typical_variance
from models.study.label import label_points
from models.study.recommendation import recommend, verdict_of
from models.study.results import Identity, Row, identity, spec_of
from models.study.run_table import run_table
from models.study.significance import holm

Floats = npt.NDArray[np.float64]
Design = Literal["fixed", "folds", "redrawn", "resampled"]

N_POINTS = 6
MARGIN = 0.01
REPLICATES = 200
N_FOLDS = 5

BANDS = (8, 16, 24, 32, 48, 96)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
    """Studies of one kind; standard deviations are of a difference between two points [AUC].

    Attributes
    ----------
    design : {'fixed', 'folds', 'redrawn', 'resampled'}
        Splits of the store; its folds; folds drawn with each run; a training split drawn with each.
    n_runs, n_clips : int
        `n_clips` are tested, all folds together.
    clips : float
        What the test clips do to all runs.
    of_run : float
        What a run does: half by itself, half by what it makes of single test clips.
    training : float
        What the training clips do.
    shared : float or None
        Which share of the training clips' variance all drawings have in common. None is what the
        rule assumes.
    """

    design: Design
    n_runs: int
    n_clips: int
    clips: float
    of_run: float
    training: float
    shared: float | None = None

    @property
    def folds(self) -> tuple[int | None, ...]:
        """Of each run."""
        return tuple(range(N_FOLDS)) if self.design in ("folds", "redrawn") else (None,)

    @property
    def n_train(self) -> int:
        """Clips that one training learns from."""
        return self.n_clips * 3 // (N_FOLDS if len(self.folds) > 1 else 1)

    @property
    def n_test(self) -> int:
        """Clips that one training is tested on."""
        return self.n_clips // len(self.folds)

    @property
    def share(self) -> float:
        """Of the training clips' variance, what all drawings of one collection have in common."""
        if self.shared is not None:
            return self.shared
        if self.design == "redrawn":
            return self.n_test / (self.n_test + self.n_train)
        return 0.5 if self.design == "resampled" else 1.0


def simulate(mixture: Mixture, rng: np.random.Generator) -> list[Row]:
    """The rows of a study without any true difference."""
    n, n_runs = mixture.n_clips, mixture.n_runs
    half = 2**-0.5  # a difference is of two points
    per_clip = np.sqrt(n) * half
    hard = rng.normal(0, 0.3, n)
    own = np.arange(n) % len(mixture.folds)
    weights = np.empty((REPLICATES, n))
    for fold in range(len(mixture.folds)):
        inside = np.flatnonzero(own == fold)
        chances = np.full(len(inside), 1 / len(inside))
        weights[:, inside] = rng.multinomial(len(inside), chances, REPLICATES)
    tested = [own] * n_runs
    if mixture.design == "redrawn":
        tested = [rng.permutation(own) for _ in range(n_runs)]
    rows = []
    for bands in BANDS:
        of_clips = hard + rng.normal(0, mixture.clips * per_clip, n)
        common = rng.normal(0, mixture.training * half)
        for run in range(n_runs):
            run_of_clips = rng.normal(0, mixture.of_run * per_clip * half, n)
            alone = rng.normal(0, mixture.of_run * half * half)
            drawn = rng.normal(0, mixture.training * half)
            training = np.sqrt(mixture.share) * common + np.sqrt(1 - mixture.share) * drawn
            scores = 0.8 + of_clips + run_of_clips + alone + training
            for i, fold in enumerate(mixture.folds):
                inside = tested[run] == i
                of_fold = weights[:, inside]
                draws = of_fold @ scores[inside] / of_fold.sum(axis=1)
                rows.append(_row(mixture, bands, run, fold, float(scores[inside].mean()), draws))
    return rows


def _row(
    mixture: Mixture, bands: int, run: int, fold: int | None, score: float, draws: Floats
) -> Row:
    is_drawn = mixture.design in ("redrawn", "resampled")
    return {
        "data": "simulated",
        "spec": f"sr16000-mel{bands}-x1-db",
        "encoding": "float16",
        "model": "vgg",
        "width": 1.0,
        "recipe": "none",
        "augment": "none",
        "seed": run,
        "fold": fold,
        "partition": run if is_drawn else None,
        "epochs": 1,
        "batch_size": 1,
        "learning_rate": 1.0,
        "amp": "off",
        "roc_auc": score,
        "pr_auc": score,
        "gmac": bands / 96,
        "parameters": 1,
        "bytes_per_clip": 1000.0 * bands,
        "train_seconds": 1.0,
        "inference_seconds_per_clip": 0.001,
        "roc_auc_per_tag": {},
        "pr_auc_per_tag": {},
        "bootstrap_roc_auc": draws,
        "bootstrap_pr_auc": draws,
        "n_train": mixture.n_train,
        "n_validation": mixture.n_test,
        "n_test": mixture.n_test,
    }


def lowered(rows: Sequence[Row], loss: float) -> list[Row]:
    """The same study, where all but the baseline lose `loss`."""
    return [
        row
        if row["gmac"] == 1
        else row
        | {
            "roc_auc": row["roc_auc"] - loss,
            "bootstrap_roc_auc": row["bootstrap_roc_auc"] - loss,
        }
        for row in rows
    ]


@dataclasses.dataclass
class Tally:
    """Shares of studies, or of their points."""

    shown: list[bool] = dataclasses.field(default_factory=list)
    covered: list[bool] = dataclasses.field(default_factory=list)
    no_worse: list[bool] = dataclasses.field(default_factory=list)
    taken: list[bool] = dataclasses.field(default_factory=list)

    def cells(self) -> list[str]:
        """In percent."""
        shares = (self.shown, self.covered, self.no_worse, self.taken)
        return [f"{100 * np.mean(share):.1f}" for share in shares]


def tally(mixture: Mixture, n_studies: int, seed: int) -> tuple[Tally, Tally]:
    """The old rule's and the new one's shares over many studies of a mixture."""
    old, new = Tally(), Tally()
    for study in range(n_studies):
        rows = simulate(mixture, np.random.default_rng([seed, study]))
        at_margin = lowered(rows, MARGIN)
        before, before_at_margin = old_rule(rows), old_rule(at_margin)
        old.shown.append(before.shown)
        old.covered += before.covered
        old.no_worse += before_at_margin.within_noise
        old.taken.append(before_at_margin.recommended != rows[-1]["spec"])
        now, now_at_margin = new_rule(rows), new_rule(at_margin)
        new.shown.append(now.shown)
        new.covered += now.covered
        new.no_worse += now_at_margin.no_worse
        new.taken.append(now_at_margin.taken)
    return old, new


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewRule:
    """What `models.study.comparison.compare` says, without planning, which takes long.

    Attributes
    ----------
    shown : bool
    covered : tuple of bool
    no_worse : tuple of bool
        Whether each point is better or no worse.
    taken : bool
        Whether another point than the baseline is recommended as better or no worse.
    """

    shown: bool
    covered: tuple[bool, ...]
    no_worse: tuple[bool, ...]
    taken: bool


def new_rule(rows: Sequence[Row]) -> NewRule:
    """Judge by the functions that `compare` calls."""
    groups: dict[Identity, list[Row]] = {}
    for row in rows:
        groups.setdefault(identity(row).point, []).append(row)
    labels, _ = label_points([(spec_of(g[0]), key._asdict()) for key, g in groups.items()])
    tables = [run_table(*pair) for pair in zip(labels, groups.values(), strict=True)]
    *others, baseline = tables  # cheapest first
    typical = typical_variance([baseline, *others])
    found = {str(other.label): difference(baseline, other, typical) for other in others}
    p_holm = holm([f.estimate.p for f in found.values()])
    verdicts = {
        name: verdict_of(f, p, MARGIN) for (name, f), p in zip(found.items(), p_holm, strict=True)
    }
    best = max(tables, key=lambda table: table.roc_auc)
    to_best = {str(t.label): difference(best, t, typical) for t in tables if t is not best}
    told = {**verdicts, str(baseline.label): "baseline"}
    recommended, why = recommend(tables, best, told, to_best, MARGIN)
    return NewRule(
        shown=any(p < 0.05 for p in p_holm),
        covered=tuple(
            f.estimate.interval[0] <= 0 <= f.estimate.interval[1] for f in found.values()
        ),
        no_worse=tuple(verdict in ("better", "no worse") for verdict in verdicts.values()),
        taken=recommended is not baseline and "is shown to" in why and "nothing" not in why,
    )


_CHANCE = {
    "clips": (0.008, 0.001, 0.0),
    "runs": (0.001, 0.008, 0.0),
    "clips + runs": (0.006, 0.008, 0.0),
    "clips + training": (0.006, 0.002, 0.004),
    "all three": (0.006, 0.006, 0.004),
    "training": (0.001, 0.002, 0.008),
}
"""Of test clips (200), runs, training clips; names of what is large."""


def mixtures() -> list[tuple[str, Mixture]]:
    """All that are simulated, by name."""
    found = []
    sizes = ((2, 200), (3, 200), (5, 100))
    for design in ("fixed", "folds", "redrawn", "resampled"):
        for n_runs, n_clips in sizes:
            for name, (clips, of_run, training) in _CHANCE.items():
                if training and design in ("fixed", "folds"):
                    continue
                scale = (200 / n_clips) ** 0.5
                mixture = Mixture(
                    design=design,
                    n_runs=n_runs,
                    n_clips=n_clips,
                    clips=clips * scale,
                    of_run=of_run,
                    training=training,
                )
                found.append((name, mixture))
    return found


def unseen() -> list[tuple[str, Mixture]]:
    """What no run shows: training clips that all runs share."""
    return [
        (
            "clips + runs + unseen training",
            Mixture(
                design=design,
                n_runs=5,
                n_clips=200,
                clips=0.006,
                of_run=0.006,
                training=training,
                shared=1.0,
            ),
        )
        for design in ("fixed", "folds", "redrawn")
        for training in (0.0035, 0.006)
    ]


@click.command(name="simulated", help=__doc__)
@click.option("--studies", default=400, show_default=True, help="Of each mixture.")
@save_option
def simulated(studies: int, save: bool) -> None:
    """Studies of known truth."""
    head = ("design", "runs", "clips", "chance", "sd [%]: clips, run, training")
    shares = ("shown", "covered", "no worse", "taken")
    columns = (*head, *(f"{share}, {rule}" for share in shares for rule in ("old", "new")))
    lines = []
    for number, (name, mixture) in enumerate([*mixtures(), *unseen()]):
        old, new = tally(mixture, studies, number)
        both = zip(old.cells(), new.cells(), strict=True)
        deviations = (mixture.clips, mixture.of_run, mixture.training)
        lines.append(
            (
                mixture.design,
                str(mixture.n_runs),
                str(mixture.n_clips),
                name,
                ", ".join(f"{100 * x:.1f}" for x in deviations),
                *(cell for pair in both for cell in pair),
            )
        )
        print(*lines[-1], sep="\t", flush=True)
    publish(
        "verdicts-simulated",
        [
            table(columns, lines),
            f"Of {studies} simulated studies of {N_POINTS} points each, in percent. *Shown*: "
            "studies without any true difference in which a point is called worse or better (5 at "
            "most is right). *Covered*: true losses that the 95 % interval holds. *No worse*: "
            f"points that truly lose the margin, {100 * MARGIN:g} %, and are called no worse (by "
            "the old rule: within the noise of the best); 5 at most. *Taken*: studies in which "
            "such a point is recommended.",
        ],
        save,
    )
