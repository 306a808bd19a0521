"""The study: networks x specs x folds x runs, a row of results each."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import product
from typing import TYPE_CHECKING

from featurestore.errors import TrainingError
from featurestore.spec import FeatureSpec
from models.checkpoint import Trained
from models.data import TrainingData, folds_of, training_data
from models.macs import count_macs, count_parameters
from models.metrics import bootstrap
from models.networks import count_segments, segment_frames
from models.results import IDENTITY, ResultsFile, Row, identity
from models.settings import TrainSettings
from models.train import train

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

_PACKAGES = ("melgrid", "numpy", "scikit-learn", "torch")


def study(
    store: "FeatureStore",
    results: str | os.PathLike[str],
    *,
    settings: TrainSettings,
    specs: Sequence[FeatureSpec | str] | None = None,
    models: Sequence[str] = ("vgg",),
    runs: int = 3,
    folds: Sequence[int] | None = None,
    tags: Sequence[str] | None = None,
    say: Callable[[str], None] | None = None,
    progress: bool = True,
) -> list[Row]:
    """Train every network on every spec, and add a row a run to a results file.

    A run whose row is in the file is not done again (`models.results.IDENTITY` says what makes
    two runs the same), so running again continues what was interrupted.

    Parameters
    ----------
    store : FeatureStore
    results : path
        Results file; made where there is none.
    settings : TrainSettings
        Of every run; its `seed` is the first run's, and `model` is replaced by each of `models`.
    specs : sequence of FeatureSpec or str, optional
        None is all that are stored.
    models : sequence of str
    runs : int
        Trainings of each network on each spec (and fold), with consecutive seeds.
    folds : sequence of int, optional
        Folds to test on, one after the other. None is the store's own splits, or where it has
        none, all of its folds.
    tags : sequence of str, optional
        None is all of the store's.
    say : callable, optional
        Is told, a line at a time, what was skipped, done and dropped.
    progress : bool
        Show a bar on stderr while a network trains.

    Returns
    -------
    list of dict
        The rows of these runs, old and new, in the order in which they stand in the file.

    Raises
    ------
    TrainingError
        If one of the runs could not be, before the first is begun.
    RunError
        If another study is writing to the file.
    """
    if runs < 1:
        raise TrainingError(f"runs is {runs}; it must be at least 1")
    say = say or (lambda line: None)
    specs = store.specs if specs is None else specs
    choices = folds_of(store) if folds is None else list(folds)
    trainings = [
        dataclasses.replace(settings, model=model, seed=settings.seed + run)
        for model in models
        for run in range(runs)
    ]
    for spec, fold in product(specs, choices):
        training_data(store, spec, tags=tags, fold=fold)  # raises now what would later
    wanted = set()
    with ResultsFile(results) as file:
        if file.note:
            say(file.note)
        done = {identity(row) for row in file.rows}
        n_runs, number = len(specs) * len(choices) * len(trainings), 0
        for spec, fold in product(specs, choices):
            data = training_data(store, spec, tags=tags, fold=fold)
            for training in trainings:
                number += 1
                fields = _identity_fields(data, training)
                wanted.add(identity(fields))
                where = f"{number}/{n_runs} {data.spec.name} {training.model} seed {training.seed}"
                where += "" if fold is None else f" fold {fold}"
                if identity(fields) in done:
                    say(f"{where}: done before")
                    continue
                trained = train(data, training, progress=progress)
                file.append(fields | _outcome(data, trained))
                say(
                    f"{where}: ROC AUC {trained.test.roc_auc:.3f}, "
                    f"PR AUC {trained.test.pr_auc:.3f}, {trained.seconds:.0f} s"
                )
        return [row for row in file.rows if identity(row) in wanted]


def _identity_fields(data: TrainingData, settings: TrainSettings) -> Row:
    known = {
        **dataclasses.asdict(settings),
        "data": data.digest,
        "spec": data.spec.name,
        "encoding": data.encoding,
        "fold": data.fold,
    }
    return {field: known[field] for field in IDENTITY}


def _outcome(data: TrainingData, trained: Trained) -> Row:
    network, test = trained.network, trained.test
    n_frames = segment_frames(trained.settings.model, data.spec, data.n_frames) or data.n_frames
    n_segments = count_segments(trained.settings.model, data.spec, data.n_frames)
    macs = count_macs(network, data.spec.n_mels, n_frames)
    roc, pr = bootstrap(trained.truth, trained.scores, seed=_bootstrap_seed(data))
    return {
        "roc_auc": test.roc_auc,
        "pr_auc": test.pr_auc,
        "gmac": n_segments * sum(macs.values()) / 1e9,
        "parameters": count_parameters(network),
        "bytes_per_clip": data.bytes_per_clip,
        "n_frames": data.n_frames,
        "n_segments": n_segments,
        "n_tags_scored": test.n_tags_scored,
        "tags_left_out": list(test.tags_left_out),
        "roc_auc_per_tag": test.roc_auc_per_tag,
        "pr_auc_per_tag": test.pr_auc_per_tag,
        "validation_roc_auc": trained.validation.roc_auc,
        "validation_pr_auc": trained.validation.pr_auc,
        "best_epoch": trained.best_epoch,
        "n_train": len(data.train),
        "n_validation": len(data.validation),
        "n_test": len(data.test),
        "bootstrap_roc_auc": roc.round(5).tolist(),
        "bootstrap_pr_auc": pr.round(5).tolist(),
        "train_seconds": round(trained.seconds, 3),
        "inference_seconds_per_clip": float(f"{trained.inference_seconds_per_clip:.3g}"),
        "device": trained.settings.torch_device().type,
        "bf16": trained.settings.autocast(),
        "versions": {package: version(package) for package in _PACKAGES},
    }


def _bootstrap_seed(data: TrainingData) -> int:
    """Of the test clips and nothing else, so that all runs on them draw the same ones."""
    return int(hashlib.sha256(f"{data.digest} {data.fold}".encode()).hexdigest()[:8], 16)
