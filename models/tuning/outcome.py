"""What a tuning came to: its trials, the best of them, and which settings mattered."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from featurestore.errors import TrainingError
from featurestore.result import WIDTH, count, table, wrapped
from models.tuning.space import Space, Value

if TYPE_CHECKING:
    from optuna.study import Study

TrialState = Literal["complete", "pruned", "running", "waiting"]

_MOST_SHOWN = 20
"""Trials that are listed as text; JSON and the page list all."""

_SEED = 0
"""Of the forest by which importance is estimated."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """A trial.

    Attributes
    ----------
    number : int
        From 0, as the file has it; numbers of trials that a killed process was at are missing.
    state : {'complete', 'pruned', 'running', 'waiting'}
        ``running`` is in another process.
    value : float
        On the validation split, of the best epoch; of a pruned one, of its last; nan if none.
    settings : mapping of str to value
        The values of what is searched.
    epochs : tuple of float
        The metric after each epoch.
    reason : str
        Why it was given up.
    seconds : float
        Its training took [s]; nan where it did not come to its end.
    test : mapping of str to float
        Scores on the test split, which chose nothing; empty where it did not come to its end.
    """

    number: int
    state: TrialState
    value: float
    settings: Mapping[str, Value]
    epochs: tuple[float, ...]
    reason: str
    seconds: float
    test: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
    """The trials of a tuning.

    Attributes
    ----------
    path : str
        File that they are kept in.
    metric : str
    maximise : bool
        Whether more of it is better.
    total : int
        How many there were to be.
    spaces : tuple of Space
    trials : tuple of TrialOutcome
        In order.
    importance : mapping of str to float
        Share of the variance between trials that each setting explains, fANOVA's estimate [1]_, the
        largest first; empty where there are too few trials.
    page : str or None
        Where a page of it was written.

    References
    ----------
    .. [1] Hutter, Hoos and Leyton-Brown: An efficient approach for assessing hyperparameter
       importance. ICML 2014.
    """

    path: str
    metric: str
    maximise: bool
    total: int
    spaces: tuple[Space, ...]
    trials: tuple[TrialOutcome, ...]
    importance: Mapping[str, float]
    page: str | None = None

    @property
    def complete(self) -> tuple[TrialOutcome, ...]:
        """Trials that came to their end."""
        return tuple(trial for trial in self.trials if trial.state == "complete")

    @property
    def best(self) -> TrialOutcome:
        """The best of them, the first of equals."""
        sign = 1 if self.maximise else -1
        return max(self.complete, key=lambda trial: sign * trial.value)

    def json(self) -> dict[str, Any]:
        """All of it; spaces as their texts."""
        return dataclasses.asdict(self) | {
            "spaces": [str(space) for space in self.spaces],
            "best": dataclasses.asdict(self.best),
        }

    def lines(self) -> list[str]:
        """The best trial, what mattered, and the trials, best first."""
        best = self.best
        tied = sum(trial.value == best.value for trial in self.complete) - 1
        more = f", and {count(tied, 'trial')} as good" if tied else ""
        lines = wrapped(
            f"best: {self.metric} {best.value:.4f} on the validation split, trial {best.number}"
            f"{more}"
        )
        lines += wrapped(f"    {options_of(best.settings)}")
        if best.test:
            scores = ", ".join(f"{name} {v:.4f}" for name, v in list(best.test.items())[:3])
            lines += wrapped(f"    its test split, which chose nothing: {scores}")
        if self.importance:
            shares = ", ".join(f"{name} {share:.2f}" for name, share in self.importance.items())
            lines += wrapped(f"importance: {shares}")
        lines += ["", *self._table()]
        if len(self.trials) > _MOST_SHOWN:
            lines.append(f"… and {len(self.trials) - _MOST_SHOWN:,} more; --json lists all")
        states = Counter(trial.state for trial in self.trials)
        counts = ", ".join(f"{states[name]:,} {name}" for name in states)
        lines.append(f"{count(len(self.trials), 'trial')} in {self.path}: {counts}")
        if self.page is not None:
            lines.append(f"page in {self.page}")
        return lines

    def _ranked(self) -> list[TrialOutcome]:
        sign = -1 if self.maximise else 1
        order = ("complete", "pruned", "running", "waiting")

        def key(trial: TrialOutcome) -> tuple[int, float, int]:
            value = math.inf if math.isnan(trial.value) else sign * trial.value
            return order.index(trial.state), value, trial.number

        return sorted(self.trials, key=key)

    def _table(self) -> list[str]:
        """The best trials, with as many settings, those that matter first, as there is room for."""
        shown = self._ranked()[:_MOST_SHOWN]
        names = self.names
        while True:
            lines = table([self._row(trial, names) for trial in shown])
            if not names or max(map(len, lines)) <= WIDTH:
                return lines
            names = names[:-1]

    def _row(self, trial: TrialOutcome, names: Sequence[str]) -> dict[str, object]:
        settings = {name: short(trial.settings.get(name, "")) for name in names}
        value = "-" if math.isnan(trial.value) else f"{trial.value:.4f}"
        return {
            "trial": str(trial.number),
            "state": trial.state,
            self.metric: value,
            "ran": str(len(trial.epochs)),
            **settings,
        }

    @property
    def names(self) -> list[str]:
        """What is searched, those that matter first."""
        names = [space.name for space in self.spaces]
        return sorted(names, key=lambda name: (-self.importance.get(name, 0.0), names.index(name)))


def outcome(
    study: "Study", spaces: Sequence[Space], *, metric: str, total: int, path: str
) -> Tuning:
    """Read what a study of Optuna's came to.

    Raises
    ------
    TrainingError
        If no trial came to its end.
    """
    import optuna
    from optuna.trial import TrialState as State

    states: dict[State, TrialState] = {
        State.COMPLETE: "complete",
        State.PRUNED: "pruned",
        State.RUNNING: "running",
        State.WAITING: "waiting",
    }
    trials = tuple(
        TrialOutcome(
            number=trial.number,
            state=states[trial.state],
            value=math.nan if trial.values is None else trial.values[0],
            settings=trial.params or trial.system_attrs.get("fixed_params", {}),
            epochs=tuple(trial.intermediate_values[n] for n in sorted(trial.intermediate_values)),
            reason=trial.user_attrs.get("reason", ""),
            seconds=trial.user_attrs.get("seconds", math.nan),
            test=trial.user_attrs.get("test", {}),
        )
        for trial in study.get_trials(deepcopy=False)
        if trial.state in states
    )
    if not any(trial.state == "complete" for trial in trials):
        why = next((f": {trial.reason}" for trial in trials if trial.reason), "")
        raise TrainingError(
            f"none of {count(len(trials), 'trial')} in {path} came to its end{why}; search other "
            "values, or wait for those that run elsewhere"
        )
    importance: dict[str, float] = {}
    values = {trial.value for trial in trials if trial.state == "complete"}
    if len(values) > 1:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=_SEED)
        importance = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return Tuning(
        path=path,
        metric=metric,
        maximise=study.direction == optuna.study.StudyDirection.MAXIMIZE,
        total=total,
        spaces=tuple(spaces),
        trials=trials,
        importance=importance,
    )


_OPTIONS = {"adapter.layers": "adapt-layers", "adapter.modules": "adapt-modules"}
"""Of settings whose options are called otherwise."""


def options_of(settings: Mapping[str, Value]) -> str:
    """As a command takes them: ``--learning-rate 0.00132 --batch-size 4``."""
    options = []
    for name, value in settings.items():
        option = "--" + _OPTIONS.get(name, name.rpartition(".")[2].replace("_", "-"))
        if isinstance(value, bool):
            options += [option] if value else []
        else:
            options.append(f"{option} {value}")
    return " ".join(options)


def short(value: Value) -> str:
    """Four digits that mean something."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
