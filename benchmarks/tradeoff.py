"""The study on real clips: resolutions and encodings, five folds, three runs, compared.

Not among those that ``python -m benchmarks`` runs: it takes half an hour or more. Interrupted, it
goes on.
"""

import time
from pathlib import Path

import click

from benchmarks.page import publish, save_option, table
from featurestore import FeatureStore
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import under
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import CONDITIONS
from models.robustness import ConditionLoss, compare_conditions
from models.study.comparison import Point, compare
from models.study.formatting import percent, percent_interval, probability
from models.study.study import study
from models.training.settings import TrainSettings
from pipeline.catalogs import open_catalog
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

RESOLUTIONS = ((96, 1), (48, 1), (16, 1), (48, 2), (48, 4), (48, 10))
"""Bands and hop, as float16."""

OTHER_ENCODINGS = {"float32": ((48, 2),), "uint8": ((48, 2),)}

RUNS = 3


@click.command(help=__doc__)
@click.option("--audio", required=True, help="A CSV with tags and folds or splits.")
@click.option("--tags", metavar="TAG,...", help="Tags to learn.  [all]")
@click.option("--folder", default="tradeoff", show_default=True, help="For stores and results.")
@click.option("--width", default=0.125, show_default=True, help="Of the VGG-CNN.")
@click.option("--recipe", default="ferraro2020", show_default=True, help="How it is trained.")
@click.option("--epochs", type=int, help="Of a training.  [the recipe's]")
@click.option("--encodings/--no-encodings", default=True, help="float32 and uint8 too.  [yes]")
@click.option("--conditions", metavar="NAME", help="Test under these too: smc2020, mtat.")
@click.option("--duration", default=29.1, show_default=True, help="Of a clip [s].")
@click.option("--jobs", default=2, show_default=True, help="Trainings at a time, a thread each.")
@save_option
def main(
    audio: str,
    tags: str | None,
    folder: str,
    width: float,
    recipe: str,
    epochs: int | None,
    encodings: bool,
    conditions: str | None,
    duration: float,
    jobs: int,
    save: bool,
) -> None:
    """Featurize, train, judge, print."""
    catalog = open_catalog(audio)
    stores = []
    others = OTHER_ENCODINGS if encodings else {}
    for encoding, resolutions in {"float16": RESOLUTIONS, **others}.items():
        path = f"{folder}/{encoding}.zarr"
        specs = [FeatureSpec(sr=16000, n_mels=bands, hop=hop) for bands, hop in resolutions]
        settings = RunSettings(window=Excerpt(duration=duration), encoding=Encoding(name=encoding))
        run(catalog, path, under(specs, CONDITIONS[conditions] if conditions else ()), settings)
        stores.append(FeatureStore.open(path))
    chosen = tags.split(",") if tags else None
    began = time.monotonic()
    rows = study(
        stores,
        Path(folder, "results.jsonl"),
        settings=TrainSettings(width=width, recipe=recipe, epochs=epochs),
        runs=RUNS,
        tags=chosen,
        conditions=[conditions] if conditions else (),
        jobs=jobs,
        threads=1,
        say=click.echo,
    )
    minutes = (time.monotonic() - began) / 60
    comparison = compare(rows)
    robustness = compare_conditions(rows, comparison)
    trained = [row for row in rows if row.get("condition", "clean") == "clean"]
    spent = sum(row["train_seconds"] for row in trained) / 60
    publish(
        "tradeoff",
        [
            table(
                (
                    "point",
                    "ROC AUC",
                    "95 % of clips",
                    "PR AUC",
                    "GMAC",
                    "kB per clip",
                    "loss [%]",
                    "95 %",
                    "at most [%]",
                    "p",
                    "p, runs",
                    "verdict",
                    "on the frontier",
                ),
                [_cells(point) for point in comparison.points],
            ),
            f"Take **{comparison.recommended.label}**: {comparison.recommended_why}. Baseline: "
            f"{comparison.baseline.label}. Common to all: {', '.join(comparison.common)}; "
            f"{comparison.baseline.n_folds} folds x {RUNS} seeds; tags "
            f"{', '.join(chosen or ['all'])}.",
            " ".join(comparison.notes),
            f"{len(trained)} trainings, {spent:.0f} minutes of training in all, {jobs} at a time; "
            f"this call took {minutes:.0f} minutes, without those that were done before.",
        ],
        save,
    )
    if robustness is not None:
        header = ("condition", "point", "ROC AUC", "loss [%]", "95 %", "verdict", "vs baseline")
        publish(
            "robustness",
            [
                table(header, [_lost(loss) for loss in robustness.losses]),
                robustness.sentence,
                " ".join(robustness.notes),
            ],
            save,
        )


def _lost(loss: ConditionLoss) -> tuple[str, ...]:
    return (
        loss.condition,
        str(loss.point.label),
        f"{loss.roc_auc:.3f}",
        f"{100 * loss.loss:+.2f}",
        percent_interval(loss.loss_interval),
        loss.verdict,
        loss.against_baseline,
    )


def _cells(point: Point) -> tuple[str, ...]:
    low, high = point.roc_auc_interval
    compared = point.verdict != "baseline"
    return (
        str(point.label),
        f"{point.roc_auc:.3f} ± {point.roc_auc_std:.3f}",
        f"{low:.3f} to {high:.3f}",
        f"{point.pr_auc:.3f} ± {point.pr_auc_std:.3f}",
        f"{point.gmac:.4f}",
        f"{point.bytes_per_clip / 1000:.1f}",
        f"{100 * point.loss:+.2f}" if compared else "",
        percent_interval(point.loss_interval) if compared else "",
        percent(point.loss_bound) if compared else "",
        probability(point.p_holm) if compared else "",
        probability(point.p_welch) if compared else "",
        point.verdict,
        "yes" if point.on_frontier else "",
    )


if __name__ == "__main__":
    main()
