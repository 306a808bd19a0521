"""Noisy students with few labels: against labels alone, and against all of the labels.

Of a store's training clips a share keeps its labels, another one for each seed. Four ways to train:

- teacher: on these labels alone.
- labels alone, as many steps: in batches half as large, the student's own halves.
- student: half of each batch are clips without labels, with noise, and what the teacher says.
- all labels: as the teacher, but nothing is hidden.

Not among those that ``python -m benchmarks`` runs: it takes as long as the trainings do.
Interrupted, it goes on.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.page import publish, save_option, table
from featurestore import FeatureStore
from featurestore.specs.kinds import parse_spec
from models.data import TrainingData, clean_specs, folds_of, training_data
from models.evaluation.metrics import bootstrap
from models.student.student import TeacherSettings, train_student
from models.study.difference import difference
from models.study.label import Label, words_of
from models.study.run_table import RunTable, run_table
from models.training.loop import Trained, train_to_checkpoint
from models.training.settings import TrainSettings

TEACHER, SAME_STEPS, STUDENT, CEILING = (
    "teacher", "labels alone, as many steps", "student", "all labels",
)  # fmt: skip

Row = dict[str, Any]


@click.command(help=__doc__)
@click.argument("store_path", metavar="STORE")
@click.option("--spec", help="Its name.  [the store's only clean one]")
@click.option("--tags", metavar="TAG,...", help="Tags to learn.  [all]")
@click.option("--folder", default="noisy-student", show_default=True, help="For checkpoints.")
@click.option("--model", default="mtt", show_default=True, help="Of the teacher.")
@click.option("--student", "student_model", help="Network of the student.  [the teacher's]")
@click.option("--width", default=0.125, show_default=True, help="Of both.")
@click.option("--recipe", default="won2021", show_default=True)
@click.option("--epochs", default=40, show_default=True, help="Of a training, at most.")
@click.option("--learning-rate", type=float, help="[the recipe's]")
@click.option("--batch-size", default=32, show_default=True)
@click.option("--augment", default="none", show_default=True, help="Of all trainings.")
@click.option("--share", default=0.2, show_default=True, help="Of the labels that are kept.")
@click.option("--mixing", default=1.0, show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--folds", type=int, help="How many to test on.  [all that the store has]")
@click.option("--ceiling/--no-ceiling", default=True, help="Train on all labels, too.  [yes]")
@save_option
def main(
    store_path: str,
    spec: str | None,
    tags: str | None,
    folder: str,
    share: float,
    mixing: float,
    seeds: int,
    folds: int | None,
    ceiling: bool,
    save: bool,
    **options: Any,
) -> None:
    """Train, compare, print."""
    store = FeatureStore.open(store_path)
    Path(folder).mkdir(parents=True, exist_ok=True)
    student_model = options.pop("student_model") or options["model"]
    settings = TrainSettings(**options)
    how = {"share": share, "mixing": mixing, "tags": tags, "student": student_model, "spec": spec}
    results = Results(Path(folder, "results.jsonl"), settings.json() | how)
    began = time.monotonic()
    for fold in folds_of(store)[:folds]:
        for seed in range(seeds):
            experiment = Experiment(
                store=store,
                spec=spec or clean_specs(store, settings.architecture.accepts)[0].name,
                tags=tags.split(",") if tags else None,
                fold=fold,
                settings=dataclasses.replace(settings, seed=seed),
                student_model=student_model,
                share=share,
                mixing=mixing,
                folder=Path(folder),
            )
            for way in (TEACHER, SAME_STEPS, STUDENT, *([CEILING] if ceiling else ())):
                if not results.has(way, seed, fold):
                    results.add(way, experiment.train(way))
    report(results.rows, settings, how, minutes=(time.monotonic() - began) / 60, save=save)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One seed and fold: the same labels are hidden in all ways to train."""

    store: FeatureStore
    spec: str
    tags: Sequence[str] | None
    fold: int | None
    settings: TrainSettings
    student_model: str
    share: float
    mixing: float
    folder: Path

    def train(self, way: str) -> Row:
        """Train in one way; a row of scores."""
        seed = self.settings.seed
        data = training_data(
            self.store,
            self.spec,
            tags=self.tags,
            fold=self.fold,
            labelled_share=1.0 if way == CEILING else self.share,
            labelled_seed=seed,
        )
        path = self._path(way)
        click.echo(f"{way}, seed {seed}, fold {self.fold}: {len(data.train)} clips with labels")
        settings = self.settings
        if way == SAME_STEPS:
            settings = dataclasses.replace(settings, batch_size=settings.batch_size // 2)
        if way == STUDENT:
            trained = train_student(
                path,
                data,
                dataclasses.replace(settings, model=self.student_model),
                teacher=TeacherSettings(checkpoint=self._path(TEACHER), mixing=self.mixing),
                store=self.store,
                say=click.echo,
            )
        else:
            trained = train_to_checkpoint(path, data, settings)
        assert trained is not None
        return row_of(trained, data, seed)

    def _path(self, way: str) -> Path:
        name = way.replace(",", "").replace(" ", "-")
        return self.folder / f"{name}-seed{self.settings.seed}-fold{self.fold}.safetensors"


def row_of(trained: Trained, data: TrainingData, seed: int) -> Row:
    """What `models.study.difference` asks of a study's row, and what the table shows."""
    test = trained.training.test
    roc, pr = bootstrap(data.test.labels, trained.predictions, strata=data.strata)
    positive = data.test.labels.sum(axis=0).astype(int)
    return {
        "seed": seed,
        "fold": data.fold,
        "spec": data.spec.name,
        "roc_auc": test.metrics["roc_auc"],
        "pr_auc": test.metrics["pr_auc"],
        "bootstrap_roc_auc": np.round(roc, 6).tolist(),
        "bootstrap_pr_auc": np.round(pr, 6).tolist(),
        "n_train": len(data.train),
        "n_test": len(data.test),
        "n_unlabelled": len(data.unlabelled),
        "n_positive_per_tag": dict(zip(data.tags, positive.tolist(), strict=True)),
        "epochs_done": len(trained.training.losses),
        "seconds": trained.training.seconds,
    }


class Results:
    """Rows that are there, of the same settings, and a file to add to."""

    def __init__(self, path: Path, settings: Row) -> None:
        self._path = path
        self._settings = {key: value for key, value in settings.items() if key != "seed"}
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        self._rows = [json.loads(line) for line in lines]

    @property
    def rows(self) -> list[Row]:
        """Those of these settings."""
        return [row for row in self._rows if row["settings"] == self._settings]

    def has(self, way: str, seed: int, fold: int | None) -> bool:
        """Whether this was trained."""
        return any((r["way"], r["seed"], r["fold"]) == (way, seed, fold) for r in self.rows)

    def add(self, way: str, row: Row) -> None:
        """Write a row."""
        row = {"way": way, "settings": self._settings, **row}
        self._rows.append(row)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def report(
    rows: list[Row], settings: TrainSettings, how: Row, *, minutes: float, save: bool
) -> None:
    """Print what each way comes to, and what each gains over the others with few labels."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    label = Label(spec=words_of(parse_spec(rows[0]["spec"])))
    tables = {way: run_table(label, [row for row in rows if row["way"] == way]) for way in ways}
    publish(
        "noisy_student",
        [
            table(
                ("", "clips with labels", "ROC AUC", "PR AUC", "epochs", "minutes a training"),
                [cells(way, runs) for way, runs in tables.items()],
            ),
            table(
                ("", "over", "gain in ROC AUC [%]", "95 %", "p", "seed by seed"),
                [
                    gain(way, over, tables)
                    for way, over in (
                        (STUDENT, SAME_STEPS),
                        (STUDENT, TEACHER),
                        (SAME_STEPS, TEACHER),
                        (CEILING, STUDENT),
                    )
                    if way in tables and over in tables
                ],
            ),
            f"{settings.architecture.name}"
            + ("" if how["student"] == settings.architecture.name else f" to {how['student']}")
            + f", width {settings.width:g}, {settings.recipe}, at most {settings.epochs} epochs of "
            f"batches of {settings.batch_size}, rate {settings.learning_rate:g}, augment "
            f"{settings.augment}; {how['share']:.0%} of the labels, mixing {how['mixing']:g}; "
            f"{max(row['n_unlabelled'] for row in rows)} clips without labels, tags "
            f"{how['tags'] or 'all'}. Means over "
            f"{len(tables[ways[0]].runs)} seeds and {len(tables[ways[0]].folds)} folds. Intervals "
            "are of differences, seeds and test clips both taken for chance, and the training "
            "clips by an allowance (models/study/difference.py). This call took "
            f"{minutes:.0f} minutes, without those that were done before.",
        ],
        save,
    )


def cells(way: str, runs: RunTable) -> list[str]:
    """What a way comes to."""
    spread = [
        f"{runs.mean(field):.3f} ± {np.std(per_seed(runs, field), ddof=1):.3f}"
        if len(runs.runs) > 1
        else f"{runs.mean(field):.3f}"
        for field in ("roc_auc", "pr_auc")
    ]
    return [
        way,
        f"{runs.mean('n_train'):.0f}",
        *spread,
        f"{runs.mean('epochs_done'):.0f}",
        f"{runs.mean('seconds') / 60:.1f}",
    ]


def gain(way: str, over: str, tables: dict[str, RunTable]) -> list[str]:
    """What `way` gains over another one."""
    found = difference(tables[way], tables[over])  # what the other one loses
    low, high = found.estimate.interval
    differences = per_seed(tables[way], "roc_auc") - per_seed(tables[over], "roc_auc")
    interval = found.unknown or f"{100 * low:+.2f} to {100 * high:+.2f}"
    return [
        way,
        over,
        f"{100 * found.estimate.value:+.2f}",
        interval,
        "" if found.unknown else f"{found.estimate.p:.3f}",
        ", ".join(f"{100 * d:+.2f}" for d in differences),
    ]


def per_seed(runs: RunTable, field: str) -> np.ndarray:
    """Means over the folds, of each seed."""
    return runs.per_run(field, runs.folds, runs.runs)


if __name__ == "__main__":
    main()
