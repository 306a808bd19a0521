"""Tune settings of a training: trials, each a training, until there are as many as asked for."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from featurestore.errors import TrainingError, TrainingSettingsError
from models.data import TrainingData
from models.data.sampler import seed_of
from models.training.log import Epoch
from models.training.loop import train
from models.training.settings import TrainSettings
from models.tuning.journal import Journal, require_optuna
from models.tuning.outcome import Tuning, outcome
from models.tuning.space import Space, require_possible, settings_with

if TYPE_CHECKING:
    from optuna.trial import Trial

    from models.transfer.initial import Initial

SMALLER_IS_BETTER = ("loss",)
"""Metrics of which less is better."""

_N_RANDOM = 10
"""Trials of values drawn at random, before others are drawn by what these came to."""

_N_BEFORE_PRUNING = 5
"""Trials that come to their end before one is given up."""


def tune(
    data: TrainingData,
    path: str | os.PathLike[str],
    *,
    spaces: Sequence[Space],
    given: Mapping[str, Any],
    initial: "Initial | None" = None,
    trials: int = 20,
    metric: str | None = None,
    prune: bool = True,
    say: Callable[[str], None] | None = None,
    progress: bool = True,
) -> Tuning:
    """Search settings that score best on the validation split; running it again is the resume.

    Each trial is a training. Its values are drawn by Optuna's TPE, the first ten at random; of a
    sole process, they follow from the settings' seed and the trials before, so that a tuning that
    was killed goes on as it would have. Trials that are below the median of the others at an epoch
    are given up, if there are five others. Several processes may work on one file at a time: each
    trial is done by one of them, and there are as many in all as `trials`, those that were given up
    among them. What a process that was killed was at is tried again by whoever comes next.

    Test clips are not looked at to choose. A trial that cannot be trained (it diverges, or memory
    is too short) counts as given up, and says why.

    Parameters
    ----------
    data : TrainingData
    path : path
        Of the file that the trials are kept in; made where there is none. Its lock lies beside it,
        ``<path>.lock``.
    spaces : sequence of Space
    given : mapping of str to object
        Fields of `models.training.settings.TrainSettings` that all trials share.
    initial : models.transfer.initial.Initial or None
        A checkpoint that each trial starts from.
    trials : int
    metric : str, optional
        Of the validation split; None is what the task monitors.
    prune : bool
    say : callable, optional
        Is told, a line a trial, what it came to.
    progress : bool
        Show a bar on stderr while a network trains.

    Raises
    ------
    TrainingSettingsError
        If there is nothing to search for, or a setting cannot be; before anything is trained.
    TrainingError
        If the file is of another tuning; if Optuna is not installed; if no trial came to its end.
    OutputError
        If the file cannot be written.
    """
    require_optuna()
    say = say or (lambda line: None)
    if trials < 1:
        raise TrainingSettingsError(f"trials is {trials}; it must be at least 1")
    require_possible(spaces, given)
    settings = TrainSettings(**given)
    settings.require_learnable(data)
    monitored = settings.new_task(data.tags).scores.monitored
    metric = metric or monitored
    about = {
        "spec": data.spec.name,
        "encoding": data.encoding,
        "data": data.digest,
        "fold": data.fold,
        "metric": metric,
        "prune": prune,
        "spaces": ", ".join(map(str, spaces)),
        **_shared(settings.json(), spaces),
        "draws": data.draws,
        **({} if initial is None else {"initial": initial.sha256}),
    }
    maximise = metric not in SMALLER_IS_BETTER
    with Journal(Path(path), maximise=maximise, about=about) as journal:
        while (trial := _asked(journal, trials, spaces, settings.seed, prune)) is not None:
            say(f"trial {trial.number}: {_values(trial)}")
            done = _tried(
                journal, trial, data, given, metric, initial=initial, prune=prune, progress=progress
            )
            say(f"trial {trial.number}: {done}")
        return outcome(journal.study, spaces, metric=metric, total=trials, path=os.fspath(path))


def _asked(
    journal: Journal, total: int, spaces: Sequence[Space], seed: int, prune: bool
) -> "Trial | None":
    import optuna

    # Of each trial its own, so that processes draw other values, and one that goes on the same.
    def sampler(n_before: int) -> optuna.samplers.BaseSampler:
        of_trial = seed_of(seed, n_before) % 2**32
        return optuna.samplers.TPESampler(seed=of_trial, n_startup_trials=_N_RANDOM)

    journal.study.pruner = (
        optuna.pruners.MedianPruner(n_startup_trials=_N_BEFORE_PRUNING)
        if prune
        else optuna.pruners.NopPruner()
    )
    return journal.ask(total, spaces, sampler)


def _tried(
    journal: Journal,
    trial: "Trial",
    data: TrainingData,
    given: Mapping[str, Any],
    metric: str,
    *,
    initial: "Initial | None",
    prune: bool,
    progress: bool,
) -> str:
    """Do a trial, and say what it came to."""
    try:
        settings = settings_with(given, trial.params)
    except TrainingSettingsError as error:  # values that are possible each, and not together
        return _given_up(journal, trial, f"cannot be: {error}")

    def after_epoch(epoch: Epoch) -> None:
        name = f"validation_{metric}"
        if name not in epoch:
            known = [key.removeprefix("validation_") for key in epoch if key.startswith("valid")]
            raise _UnknownMetricError(
                f"metric is {metric!r}; the validation split is scored by {', '.join(known)}"
            )
        trial.report(epoch[name], epoch["epoch"])
        if prune and epoch["epoch"] < settings.epochs and trial.should_prune():
            raise _Pruned(epoch["epoch"], epoch[name])

    try:
        trained = train(data, settings, initial=initial, progress=progress, after_epoch=after_epoch)
    except _Pruned as pruned:
        return _given_up(journal, trial, str(pruned))
    except _UnknownMetricError:
        raise
    except (TrainingError, torch.OutOfMemoryError) as error:
        reason = f"cannot be trained: {str(error).splitlines()[0]}"
        return _given_up(journal, trial, reason)
    training = trained.training
    value = training.validation.metrics[metric]
    trial.set_user_attr("epoch", training.best_epoch)
    trial.set_user_attr("seconds", round(training.seconds, 3))
    trial.set_user_attr("test", training.test.metrics)
    journal.complete(trial, value)
    return f"{metric} {value:.4f} at epoch {training.best_epoch}"


def _given_up(journal: Journal, trial: "Trial", reason: str) -> str:
    trial.set_user_attr("reason", reason)
    journal.prune(trial)
    return reason


class _UnknownMetricError(TrainingSettingsError):
    """Ends the tuning."""


class _Pruned(Exception):  # noqa: N818, it is no error
    """A trial is given up."""

    def __init__(self, epoch: int, value: float) -> None:
        super().__init__(f"given up after epoch {epoch}, at {value:.4f}")


def _shared(settings: Mapping[str, Any], spaces: Sequence[Space]) -> dict[str, Any]:
    """Settings that all trials have; of one that is searched in part, the other parts."""
    searched = {space.name for space in spaces} | {"device"}
    shared = {field: value for field, value in settings.items() if field not in searched}
    for name in searched:
        outer, _, inner = name.partition(".")
        if isinstance(shared.get(outer), dict):
            shared[outer] = {f: v for f, v in shared[outer].items() if f != inner}
    return shared


def _values(trial: "Trial") -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
