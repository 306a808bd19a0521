"""The study: networks x specs x folds x runs, a row of results each."""

import dataclasses
import hashlib
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from importlib.metadata import version
from itertools import product
from typing import TYPE_CHECKING

import torch

from featurestore.errors import (
    MelgridError,
    RunError,
    TrainingError,
    TrainingSettingsError,
)
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.spec import Spec
from models.data import TrainingData, folds_of, training_data
from models.evaluation.metrics import TaggingScores, bootstrap
from models.networks.cost import clip_cost
from models.study import workers
from models.study.results import IDENTITY, ResultsFile, Row, identity
from models.training.checkpoint import Trained
from models.training.loop import train
from models.training.settings import TrainSettings

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

_MAX_THREADS = 1024  # more, torch tries to start, and dies of it

_PACKAGES = ("melgrid", "numpy", "scikit-learn", "torch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """One training: what a process needs to do it."""

    store: "FeatureStore"
    spec: str
    encoding: str
    fold: int | None
    tags: tuple[str, ...]
    settings: TrainSettings
    threads: int | None

    def __str__(self) -> str:
        where = f"{self.spec} {self.settings.model} seed {self.settings.seed}"
        return where + ("" if self.fold is None else f" fold {self.fold}")

    @property
    def source(self) -> tuple[str, str, int | None, tuple[str, ...]]:
        """What it learns from: equal for runs that can share what was read."""
        return self.store.path, self.spec, self.fold, self.tags


def study(
    stores: Sequence["FeatureStore"],
    results: str | os.PathLike[str],
    *,
    settings: TrainSettings,
    specs: Sequence[FeatureSpec | str] | None = None,
    models: Sequence[str] = ("vgg",),
    runs: int = 3,
    folds: Sequence[int] | None = None,
    tags: Sequence[str] | None = None,
    jobs: int = 1,
    threads: int | None = None,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
    progress: bool = True,
) -> list[Row]:
    """Train every network on every spec, and add a row a run to a results file.

    A run whose row is in the file is not done again (`results.IDENTITY` says what makes two
    runs the same), so running again continues what was interrupted: at whatever moment this
    process was killed, the rows are in the end those of an uninterrupted study, none twice. Rows
    are added by this process alone. A run that fails does not end the others.

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
    specs : sequence of FeatureSpec or str, optional
        Each from every store that holds it or can serve it as a view. None is all that are stored.
    models : sequence of str
    runs : int
        Trainings of each network on each spec (and fold), with consecutive seeds.
    folds : sequence of int, optional
        Folds to test on, one after the other. None is the store's own splits, or where it has
        none, all of its folds.
    tags : sequence of str, optional
        None is all of the store's.
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
    for field, value in (("runs", runs), ("jobs", jobs), ("threads", threads)):
        if value is not None and value < 1:
            raise TrainingSettingsError(f"{field} is {value}; it must be at least 1")
    if threads is not None and threads > _MAX_THREADS:
        raise TrainingSettingsError(f"threads is {threads}; it must be at most {_MAX_THREADS}")
    if scheduler is not None and jobs > 1:
        raise TrainingSettingsError(f"jobs is {jobs}; with a scheduler, its workers say how many")
    if threads is None and jobs > 1:
        threads = max(1, torch.get_num_threads() // jobs)
    say = say or (lambda line: None)
    trainings = [
        dataclasses.replace(settings, model=model, seed=settings.seed + run)
        for model in dict.fromkeys(models)
        for run in range(runs)
    ]
    wanted: dict[tuple[object, ...], _Run] = {}
    for data, store in _sources(stores, specs, folds, tags, say):
        for training in trainings:
            name = identity(_identity_fields(data, training))
            run = _Run(
                store=store,
                spec=data.spec.name,
                encoding=data.encoding,
                fold=data.fold,
                tags=data.tags,
                settings=training,
                threads=threads,
            )
            if wanted.setdefault(name, run).store is not store:
                raise TrainingError(
                    f"{run.spec} as {data.encoding} is in {wanted[name].store.path} and in "
                    f"{store.path}; leave one of them out, or choose --specs"
                )
    with ResultsFile(results) as file:
        if file.note:
            say(file.note)
        done = {identity(row) for row in file.rows} & wanted.keys()
        if done:
            say(f"{len(done)} of {len(wanted)} runs were done before")
        left = [run for name, run in wanted.items() if name not in done]
        failed: list[str] = []
        with closing(_outcomes(left, jobs, scheduler, say, progress)) as outcomes:
            for number, (run, outcome) in enumerate(outcomes, start=len(done) + 1):
                where = f"{number}/{len(wanted)} {run}"
                where += f" {run.encoding}" if len(stores) > 1 else ""
                if isinstance(outcome, MelgridError):
                    failed.append(f"{run}: {outcome}")
                    say(f"{where} failed: {outcome}")
                    continue
                if identity(outcome) not in wanted:
                    raise RunError(
                        f"{run.store.path} was changed while its specs were trained on; "
                        "run the study again"
                    )
                file.append(outcome)
                say(
                    f"{where}: ROC AUC {outcome['roc_auc']:.3f}, "
                    f"PR {outcome['pr_auc']:.3f}, {outcome['train_seconds']:.0f} s"
                )
        if failed:
            raise RunError(
                f"{len(failed)} of {len(wanted)} runs failed, "
                + (
                    f"the rows of the others are in {os.fspath(results)}; "
                    if len(failed) < len(wanted)
                    else "and so there are no rows of them; "
                )
                + failed[0]
            )
        return [row for row in file.rows if identity(row) in wanted]


def _sources(
    stores: Sequence["FeatureStore"],
    specs: Sequence[FeatureSpec | str] | None,
    folds: Sequence[int] | None,
    tags: Sequence[str] | None,
    say: Callable[[str], None],
) -> Iterator[tuple[TrainingData, "FeatureStore"]]:
    """Each spec of each store that has it, fold by fold; no values are read yet."""
    digests: dict[str, list[str]] = {}
    for store in stores:
        choices = folds_of(store) if folds is None else list(dict.fromkeys(folds))
        for spec, fold in product(_specs_of(store, stores, specs), choices):
            data = training_data(store, spec, tags=tags, fold=fold)
            digests.setdefault(data.digest, []).append(f"{data.spec.name} of {store.path}")
            yield data, store
    if len(digests) > 1:
        firsts = ", ".join(f"{names[0]} ({digest})" for digest, names in digests.items())
        say(
            "these are not the same ready clips, splits and tags, and their scores cannot be "
            f"compared: {firsts}"
        )


def _specs_of(
    store: "FeatureStore",
    stores: Sequence["FeatureStore"],
    specs: Sequence[FeatureSpec | str] | None,
) -> list[Spec]:
    if specs is None:
        return list(store.specs)
    # Where no store has it, asking this one says so.
    mine = [spec for spec in specs if spec in store or not any(spec in other for other in stores)]
    return list(dict.fromkeys(store[spec].spec for spec in mine))


def _outcomes(
    runs: Sequence[_Run],
    jobs: int,
    scheduler: str | None,
    say: Callable[[str], None],
    progress: bool,
) -> Generator[tuple[_Run, Row | MelgridError], None, None]:
    if scheduler is not None and runs:
        yield from workers.on_dask(_train_on_worker, runs, scheduler=scheduler, say=say)
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

    def __call__(self, run: _Run) -> Row:
        if self._held is None or self._held[0] != run.source:
            self._held = None  # frees the memory before the next is read
            data = training_data(run.store, run.spec, tags=run.tags, fold=run.fold)
            self._held = run.source, data
        data = self._held[1]
        threads = torch.get_num_threads()
        if run.threads is not None:
            torch.set_num_threads(run.threads)
        try:
            trained = train(data, run.settings, progress=self._progress)
            return _identity_fields(data, run.settings) | _outcome(data, trained)
        finally:
            torch.set_num_threads(threads)


_TURN = threading.Lock()
"""A worker of several threads trains once at a time: random numbers are a process's."""


def _train_on_worker(run: _Run) -> Row:
    from distributed import get_worker

    with _TURN:
        threads = run.threads or get_worker().state.nthreads
        return _Trainer()(dataclasses.replace(run, threads=threads))


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
    test, validation = trained.test, trained.validation
    # A row has fields for this task alone.
    assert isinstance(test, TaggingScores)
    assert isinstance(validation, TaggingScores)
    cost = clip_cost(
        trained.settings.architecture,
        data.spec,
        n_frames=data.n_frames,
        n_outputs=len(data.tags),
        width=trained.settings.width,
    )
    roc, pr = bootstrap(trained.targets, trained.predictions, seed=_bootstrap_seed(data))
    return {
        "catalog": data.catalog,
        "roc_auc": test.roc_auc,
        "pr_auc": test.pr_auc,
        "gmac": cost.gmac,
        "parameters": cost.parameters,
        "bytes_per_clip": data.bytes_per_clip,
        "n_frames": data.n_frames,
        "n_segments": cost.n_windows,
        "n_tags_scored": test.n_tags_scored,
        "tags_left_out": list(test.tags_left_out),
        "roc_auc_per_tag": test.roc_auc_per_tag,
        "pr_auc_per_tag": test.pr_auc_per_tag,
        "validation_roc_auc": validation.roc_auc,
        "validation_pr_auc": validation.pr_auc,
        "best_epoch": trained.best_epoch,
        "n_train": len(data.train),
        "n_validation": len(data.validation),
        "n_test": len(data.test),
        "bootstrap_roc_auc": roc.round(5).tolist(),
        "bootstrap_pr_auc": pr.round(5).tolist(),
        "train_seconds": round(trained.seconds, 3),
        "inference_seconds_per_clip": float(f"{trained.inference_seconds_per_clip:.3g}"),
        "threads": torch.get_num_threads(),
        "device": trained.settings.torch_device().type,
        "bf16": trained.settings.autocast(),
        "versions": {package: version(package) for package in _PACKAGES},
    }


def _bootstrap_seed(data: TrainingData) -> int:
    """Of the test clips and nothing else, so that all runs on them draw the same ones."""
    return int(hashlib.sha256(f"{data.digest} {data.fold}".encode()).hexdigest()[:8], 16)
