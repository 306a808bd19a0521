"""The study: networks x specs x folds x runs, a row of results each, and one a condition."""

import dataclasses
import os
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from featurestore.errors import MelgridError, RunError, TrainingSettingsError
from featurestore.specs.perturbation import Condition
from featurestore.specs.spec import Spec
from models.data import Perturber, TrainingData, under
from models.evaluation.classification import ClassificationScores
from models.evaluation.metrics import TaggingScores, bootstrap
from models.networks.cost import clip_cost
from models.study import workers
from models.study.results import Identity, ResultsFile, Row, identity, is_of_one_network
from models.study.runs import Run, Vary, identity_fields, list_runs, rows_done, rows_wanted
from models.tasks.task import Scores
from models.training.evaluate import evaluate, weights_digest
from models.training.loop import Trained, train
from models.training.settings import TrainSettings

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

_MAX_THREADS = 1024  # more, torch tries to start, and dies of it

_PACKAGES = ("melgrid", "numpy", "scikit-learn", "torch")


def study(
    stores: Sequence["FeatureStore"],
    results: str | os.PathLike[str],
    *,
    settings: TrainSettings,
    specs: Sequence[Spec | str] | None = None,
    models: Sequence[str] = ("vgg",),
    runs: int = 3,
    folds: Sequence[int] | None = None,
    tags: Sequence[str] | None = None,
    vary: Vary | None = None,
    conditions: Sequence[str] = (),
    perturber: Perturber | None = None,
    jobs: int = 1,
    threads: int | None = None,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
    progress: bool = True,
) -> list[Row]:
    """Train every network on every spec, and add a row a run and condition to a results file.

    A run whose row is in the file is not done again (`results.identity` says what makes two
    runs the same), so running again continues what was interrupted: at whatever moment this
    process was killed, the rows are in the end those of an uninterrupted study, none twice. Rows
    are added by this process alone. A run that fails does not end the others.

    Weights are not kept. So a run that lacks a row, as after `conditions` were added, is trained
    again: on a CPU, to the same weights, and what is missing is added. Where the weights differ, as
    they may on a GPU or another machine, all of its rows are added anew, and the last ones count.

    On a CPU, the same seed gives the same numbers on the same machine with the same number of
    threads a run, which each row holds; how many runs there are at a time, where, and in which
    order, does not matter. By default `threads` follows from `jobs`: to have the same numbers with
    other `jobs`, give it.

    Parameters
    ----------
    stores : sequence of FeatureStore
        Several hold the same clips in other encodings: the same spec enters the study from each.
    results : path
        Results file; made where there is none.
    settings : TrainSettings
        Of every run; its `seed` is the first run's, and `model` is replaced by each of `models`.
    specs : sequence of Spec or str, optional
        Each from every store that holds it or can serve it as a view. None is all that are stored,
        of clean audio.
    models : sequence of str
        Each is trained on those of the specs that are of the kind that it takes.
    runs : int
        Trainings of each network on each spec (and fold), with consecutive seeds.
    folds : sequence of int, optional
        Folds to test on, one after the other. None is the store's own splits, or where it has
        none, all of its folds, or where it has none either, five that are drawn.
    tags : sequence of str, optional
        None is all of the store's.
    vary : {'weights', 'clips'}, optional
        What differs from run to run. ``weights``: first weights and the order of clips.
        ``clips``: which clips train, too: folds are drawn anew for each seed, or, where the store's
        own splits are used, the training clips are drawn from theirs with replacement; runs of one
        seed share what was drawn. None is ``clips`` with folds and ``weights`` with splits.
    conditions : sequence of str
        Under which each trained network is tested besides: ``all`` that its spec is stored under,
        names of conditions (``noise0.1``), or of sets of them (``smc2020``). Its weights stay as
        they are, and the clips are those of the test split. Seconds in a condition's row are of
        this test alone.
    perturber : Perturber, optional
        Perturbs training clips, which are waveforms, anew each time; the settings say `draws` then.
    jobs : int
        Runs at a time, each in a process of its own; on as many GPUs in turn, where there are any.
        1 is this process.
    threads : int, optional
        CPU threads of a run. None shares this process's among the jobs; on Dask, it is the
        worker's.
    scheduler : str, optional
        Address of a Dask scheduler on whose workers to train, one run at a time each; they read
        the stores themselves, by the same paths.
    say : callable, optional
        Is told, a line at a time, what was skipped, done and dropped.
    progress : bool
        Show a bar on stderr while a network trains; with one job only.

    Returns
    -------
    list of dict
        The rows of these runs, old and new, in the order in which they stand in the file.

    Raises
    ------
    TrainingError
        If one of the runs could not be, before the first is begun.
    UnknownSpecError
        If no store has one of the specs, before the first is begun.
    RunError
        If another study is writing to the file; or at the end, if runs failed.
    """
    say = say or (lambda line: None)
    wanted = list_runs(
        stores,
        settings=settings,
        specs=specs,
        models=models,
        runs=runs,
        folds=folds,
        tags=tags,
        vary=vary,
        conditions=conditions,
        perturber=perturber,
        threads=_threads(jobs, threads, scheduler),
        say=say,
    )
    with ResultsFile(results) as file:
        if file.note:
            say(file.note)
        names, done = rows_wanted(wanted), rows_done(wanted, file.rows)
        left = _left(wanted, done, file.rows, say)
        failed: list[str] = []
        with closing(_outcomes(list(left.values()), jobs, scheduler, say, progress)) as outcomes:
            for number, (run, outcome) in enumerate(outcomes, start=len(wanted) - len(left) + 1):
                where = f"{number}/{len(wanted)} {run}"
                where += f" {run.encoding}" if len(stores) > 1 else ""
                if isinstance(outcome, MelgridError):
                    failed.append(f"{run}: {outcome}")
                    say(f"{where} failed: {outcome}")
                    continue
                _require_wanted(outcome, names, run)
                own, *tests = outcome
                file.append(*_missing(outcome, done))
                second = f"PR {own['pr_auc']:.3f}"
                if run.settings.task == "classification":
                    second = f"accuracy {own['accuracy']:.3f}"
                say(
                    f"{where}: ROC AUC {own['roc_auc']:.3f}, "
                    f"{second}, {own['train_seconds']:.0f} s{_tested(tests)}"
                )
        _require_none_failed(failed, len(wanted), results)
        return [row for row in file.rows if identity(row) in names]


def _threads(jobs: int, threads: int | None, scheduler: str | None) -> int | None:
    """CPU threads of a run; None for as many as its process has."""
    for field, value in (("jobs", jobs), ("threads", threads)):
        if value is not None and value < 1:
            raise TrainingSettingsError(f"{field} is {value}; it must be at least 1")
    if threads is not None and threads > _MAX_THREADS:
        raise TrainingSettingsError(f"threads is {threads}; it must be at most {_MAX_THREADS}")
    if scheduler is not None and jobs > 1:
        raise TrainingSettingsError(f"jobs is {jobs}; with a scheduler, its workers say how many")
    if threads is None and jobs > 1:
        return max(1, torch.get_num_threads() // jobs)
    return threads


def _left(
    wanted: dict[Identity, Run],
    done: dict[Identity, Row],
    rows: Sequence[Row],
    say: Callable[[str], None],
) -> dict[Identity, Run]:
    """The runs of which a row is not there yet."""
    left = {
        name: run
        for name, run in wanted.items()
        if not all(row in done for row in rows_wanted({name: run}))
    }
    if len(left) < len(wanted):
        say(f"{len(wanted) - len(left)} of {len(wanted)} runs were done before")
    again = sum(name in done for name in left)
    if again:
        say(
            f"{again} of {len(wanted)} runs were not tested under all conditions: they are trained "
            "again, as weights are not kept"
        )
    drawn = {name._replace(partition=None) for name in wanted if name.partition is not None}
    old = sum(row.get("partition") is None and identity(row) in drawn for row in rows)
    if old:
        say(
            f"{old} rows of the file are of the store's own folds or splits, and these runs of "
            "clips drawn anew: --vary weights continues those"
        )
    return left


def _missing(outcome: Sequence[Row], done: dict[Identity, Row]) -> list[Row]:
    """Those of a run's rows to add: all, if it was done before and came to other weights."""
    own = outcome[0]
    before = done.get(identity(own))
    fields = ("roc_auc", "pr_auc", "roc_auc_per_tag", "pr_auc_per_tag")
    if (
        before is None
        or not is_of_one_network(before, own)
        or any(before[field] != own[field] for field in fields)
    ):
        return list(outcome)
    return [row for row in outcome if identity(row) not in done]


def _tested(tests: Sequence[Row]) -> str:
    """The lowest score of the conditions, in words; empty where there are none."""
    if not tests:
        return ""
    lowest = min(tests, key=lambda row: row["roc_auc"])
    return f"; lowest under {lowest['condition']}, {lowest['roc_auc']:.3f}"


def _require_wanted(rows: Sequence[Row], names: dict[Identity, Identity], run: Run) -> None:
    if not all(identity(row) in names for row in rows):
        raise RunError(
            f"{run.store.path} was changed while its specs were trained on; run the study again"
        )


def _require_none_failed(
    failed: Sequence[str], n_wanted: int, results: str | os.PathLike[str]
) -> None:
    if not failed:
        return
    if len(failed) < n_wanted:
        rows = f"the rows of the others are in {os.fspath(results)}"
    else:
        rows = "and so there are no rows of them"
    raise RunError(f"{len(failed)} of {n_wanted} runs failed, {rows}; {failed[0]}")


def _outcomes(
    runs: Sequence[Run],
    jobs: int,
    scheduler: str | None,
    say: Callable[[str], None],
    progress: bool,
) -> Generator[tuple[Run, list[Row] | MelgridError], None, None]:
    if scheduler is not None and runs:
        yield from workers.on_dask(_train_on_worker, runs, scheduler=scheduler, notify=say)
    elif jobs > 1:
        yield from workers.in_processes(_Trainer, runs, jobs=jobs)
    else:
        yield from workers.here(_Trainer(progress=progress), runs)


class _Trainer:
    """Does runs one after the other, and keeps what was read for the next one.

    Parameters
    ----------
    number : int
        Of its process, which of several GPUs takes in turn.
    progress : bool
        Show a bar.
    """

    def __init__(self, number: int = 0, *, progress: bool = False) -> None:
        self._progress = progress
        self._held: tuple[object, TrainingData] | None = None
        if number and torch.cuda.is_available():
            torch.cuda.set_device(number % torch.cuda.device_count())

    def __call__(self, run: Run) -> list[Row]:
        if self._held is None or self._held[0] != run.source:
            self._held = None  # frees the memory before the next is read
            self._held = run.source, run.data()
        data = self._held[1]
        threads = torch.get_num_threads()
        if run.threads is not None:
            torch.set_num_threads(run.threads)
        try:
            trained = train(data, run.settings, progress=self._progress)
            return _rows(run, data, trained)
        finally:
            torch.set_num_threads(threads)


_TURN = threading.Lock()
"""A worker of several threads trains once at a time: random numbers are a process's."""


def _train_on_worker(run: Run) -> list[Row]:
    from distributed import get_worker

    with _TURN:
        threads = run.threads or get_worker().state.nthreads
        return _Trainer()(dataclasses.replace(run, threads=threads))


def _rows(run: Run, data: TrainingData, trained: Trained) -> list[Row]:
    """The row of a training, and one for each condition that it is tested under besides."""
    checkpoint, training = trained.checkpoint, trained.training
    validation, settings = training.validation, checkpoint.settings
    # A row has fields for these tasks alone.
    assert isinstance(validation, TaggingScores | ClassificationScores)
    window = settings.architecture.window_frames(data.spec, data.n_frames)
    cost = clip_cost(
        settings.architecture,
        data.spec,
        n_frames=data.n_frames,
        n_outputs=len(data.tags),
        width=settings.width,
        n_windows=len(settings.schedule.windows(data.n_frames, window)),
    )
    positive = (data.test.labels > 0).sum(axis=0).tolist()
    common = identity_fields(data, run.settings) | {
        "weights": weights_digest(checkpoint.network),
        "catalog": data.catalog,
        "gmac": cost.gmac,
        "parameters": cost.parameters,
        "n_frames": data.n_frames,
        "n_segments": cost.n_windows,
        "best_epoch": training.best_epoch,
        "n_train": len(data.train),
        "n_validation": len(data.validation),
        "n_test": len(data.test),
        "n_positive_per_tag": dict(zip(data.tags, positive, strict=True)),
        "threads": torch.get_num_threads(),
        "device": settings.torch_device().type,
        "bf16": settings.autocast(),
        "versions": {package: version(package) for package in _PACKAGES},
    }
    own = common | {
        "bytes_per_clip": data.bytes_per_clip,
        "validation_roc_auc": validation.roc_auc,
        "validation_pr_auc": validation.pr_auc,
        f"validation_{validation.monitored}": validation.metrics[validation.monitored],
        "train_seconds": round(training.seconds, 3),
        **_tested_fields(
            data, training.test, trained.predictions, training.inference_seconds_per_clip
        ),
    }
    rows = [own]
    for name in run.conditions:
        clips = under(run.store, data.test, Condition.parse(name))
        found = evaluate(checkpoint, clips)
        rows.append(
            common
            | {
                "condition": name,
                "bytes_per_clip": clips.bytes_per_clip,
                "train_seconds": 0.0,
                **_tested_fields(data, found.scores, found.predictions, found.seconds_per_clip),
            }
        )
    return rows


def _tested_fields(
    data: TrainingData,
    scores: Scores,
    predictions: npt.NDArray[np.float32],
    seconds_per_clip: float,
) -> Row:
    assert isinstance(scores, TaggingScores | ClassificationScores)
    of_classes = {}
    if isinstance(scores, ClassificationScores):
        of_classes = {
            "classes": list(scores.classes),
            "confusion": [list(row) for row in scores.confusion],
            "recall_per_class": scores.recall_per_class,
        }
    # Draws follow from the clips, so that replicates are paired between conditions, too.
    roc, pr = bootstrap(data.test.labels, predictions, strata=data.strata)
    return {
        "roc_auc": scores.roc_auc,
        "pr_auc": scores.pr_auc,
        **{n: v for n, v in scores.metrics.items() if n not in ("roc_auc", "pr_auc")},
        **of_classes,
        "n_tags_scored": scores.n_tags_scored,
        "tags_left_out": list(scores.tags_left_out),
        "roc_auc_per_tag": scores.roc_auc_per_tag,
        "pr_auc_per_tag": scores.pr_auc_per_tag,
        "bootstrap_roc_auc": roc.round(5).tolist(),
        "bootstrap_pr_auc": pr.round(5).tolist(),
        "inference_seconds_per_clip": float(f"{seconds_per_clip:.3g}"),
    }
