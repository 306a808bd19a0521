"""What a study would take, and what it could tell, before it is begun."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from featurestore.specs.spec import Spec
from models.data import Perturber
from models.study.comparison import MARGIN
from models.study.power import (
    ALPHA,
    POWER,
    TYPICAL,
    TYPICAL_SOURCE,
    Deviations,
    detectable_loss,
    deviations_of,
)
from models.study.recommendation import percent, what_tells
from models.study.results import IDENTITY, Identity, Row, identity, is_as_trained, read_results
from models.study.runs import Run, Vary, list_runs, rows_done, rows_wanted
from models.training.settings import TrainSettings

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

_OF_A_RUN = ("seed", "fold")
_OF_A_POINT = (*(field for field in IDENTITY if field not in _OF_A_RUN), "draws")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A study that is not begun.

    Attributes
    ----------
    n_trainings, n_done, n_left : int
        One whose network was not tested under all conditions is left: weights are not kept.
    n_tests, n_tests_done : int
        Rows: each network is tested as it was trained, and under each of the conditions.
    n_again : int
        Trainings that are left although they were done, as they lack tests.
    seconds_left : float or None
        Of training, by the mean of each point's rows, `jobs` at a time [s]. None where a point that
        is left has no row yet.
    jobs, n_runs : int
    n_test_clips : int
        Of a run, all of its folds together.
    deviations : Deviations
        From which `detectable` follows.
    source : {'pilot', 'typical'}
        Where they are from: rows of the results file, or `models.study.power.TYPICAL`.
    detectable : float or None
        Smallest loss of ROC AUC told with 80 % power; None where a single run tells none.
    """

    n_trainings: int
    n_done: int
    n_left: int
    n_tests: int
    n_tests_done: int
    n_again: int
    seconds_left: float | None
    jobs: int
    n_runs: int
    n_test_clips: int
    deviations: Deviations
    source: Literal["pilot", "typical"]
    detectable: float | None

    def json(self) -> dict[str, Any]:
        """As one JSON object."""
        return dataclasses.asdict(self) | {"power": POWER, "alpha": ALPHA}

    def lines(self) -> list[str]:
        """In words."""
        said = [f"{self.n_trainings} trainings: {self.n_done} done, {self.n_left} left"]
        if self.n_tests > self.n_trainings:
            said.append(
                f"{self.n_tests} evaluations, under all conditions together: "
                f"{self.n_tests_done} done, {self.n_tests - self.n_tests_done} left"
            )
        if self.n_again:
            said.append(
                f"{self.n_again} of the trainings left were done, but not tested under all "
                "conditions: they are done again, as weights are not kept"
            )
        if self.seconds_left is None:
            said.append("how long they take is not known until each spec and network was trained")
        elif self.n_left:
            at_a_time = f", {self.jobs} at a time" if self.jobs > 1 else ""
            said.append(
                f"about {_duration(self.seconds_left)} of training left{at_a_time}, "
                "by the rows of the results file"
            )
        source = "the results file's rows" if self.source == "pilot" else TYPICAL_SOURCE
        if self.detectable is None:
            said.append(
                "one run cannot tell a loss from the chance of a run: take --runs 2 or more"
            )
        else:
            said.append(
                f"{self.n_runs} runs and {self.n_test_clips} test clips tell a loss of "
                f"{100 * self.detectable:.2g} % of ROC AUC or more, in {POWER:.0%} of such "
                f"studies; from {source}"
            )
            if self.detectable > MARGIN:
                said.append(
                    what_tells(
                        self.deviations,
                        MARGIN,
                        f"a loss of {percent(MARGIN)}, the margin unless told otherwise",
                        n_runs=self.n_runs,
                        n_clips=self.n_test_clips,
                    )
                )
        return said


def plan_study(
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
    say: Callable[[str], None] = lambda line: None,
) -> StudyPlan:
    """Say what `models.study.study.study` would do with these arguments; nothing is written.

    Raises
    ------
    TrainingError
        If one of the runs could not be, or the results file holds what is no row.
    UnknownSpecError
        If no store has one of the specs.
    """
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
        say=say,
    )
    rows, note = read_results(results) if Path(results).is_file() else ([], None)
    if note:
        say(note)
    names, done = rows_wanted(wanted), rows_done(wanted, rows)
    left = list(dict.fromkeys(of for name, of in names.items() if name not in done))
    points = {_point(name) for name in wanted}
    rows = [row for row in rows if is_as_trained(row) and _point(identity(row)) in points]
    n_clips, test_per_train = _clips_of_a_run(wanted)
    pilot = _pilot(rows)
    deviations = dataclasses.replace(pilot or TYPICAL, test_per_train=test_per_train)
    return StudyPlan(
        n_trainings=len(wanted),
        n_done=len(wanted) - len(left),
        n_left=len(left),
        n_tests=len(names),
        n_tests_done=len(done),
        n_again=sum(name in done for name in left),
        seconds_left=_seconds(left, rows, jobs),
        jobs=jobs,
        n_runs=runs,
        n_test_clips=n_clips,
        deviations=deviations,
        source="typical" if pilot is None else "pilot",
        detectable=detectable_loss(deviations, n_runs=runs, n_clips=n_clips),
    )


def _point(name: tuple[Any, ...]) -> tuple[Any, ...]:
    known = dict(zip((*IDENTITY, "draws"), name, strict=False))
    return tuple(known[field] for field in _OF_A_POINT)


def _clips_of_a_run(wanted: Mapping[Identity, Run]) -> tuple[int, float]:
    """Test clips of one run, and how many there are per training clip where these differ by run."""
    of_points: dict[tuple[Any, ...], list[Run]] = {}
    for name, run in wanted.items():
        of_points.setdefault((*_point(name), run.settings.seed), []).append(run)
    folds = min(of_points.values(), key=lambda runs: sum(run.n_test for run in runs))
    n_test, n_train = sum(run.n_test for run in folds), sum(run.n_train for run in folds)
    redrawn = len({run.partition for run in wanted.values()}) > 1
    return n_test, n_test / n_train if redrawn else 0.0


def _seconds(left: Sequence[tuple[Any, ...]], rows: Sequence[Row], jobs: int) -> float | None:
    measured: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        measured.setdefault(_point(identity(row)), []).append(row["train_seconds"])
    if any(_point(name) not in measured for name in left):
        return None
    return sum(float(np.mean(measured[_point(name)])) for name in left) / jobs


def _pilot(rows: Sequence[Row]) -> Deviations | None:
    """Of the differences to the most expensive point, quadratic means over the others.

    Runs of one seed are paired, over the folds that both points were tested on in all of them.
    """
    points: dict[tuple[Any, ...], dict[tuple[Any, ...], dict[int | None, Row]]] = {}
    for row in rows:
        runs = points.setdefault(_point(identity(row)), {})
        runs.setdefault((row["seed"], row.get("partition")), {})[row["fold"]] = row
    if len(points) < 2:
        return None
    by_cost = sorted(points.values(), key=_cost)
    found = [d for point in by_cost[:-1] if (d := _differences(by_cost[-1], point))]
    if not found:
        return None
    over_runs, per_clip = (
        math.sqrt(float(np.mean([getattr(d, field) ** 2 for d in found])))
        for field in ("over_runs", "per_clip")
    )
    return Deviations(over_runs=over_runs, per_clip=per_clip)


def _cost(runs: dict[tuple[Any, ...], dict[int | None, Row]]) -> tuple[float, float]:
    row = next(row for folds in runs.values() for row in folds.values())
    return row["gmac"], row["bytes_per_clip"]


def _differences(
    reference: dict[tuple[Any, ...], dict[int | None, Row]],
    other: dict[tuple[Any, ...], dict[int | None, Row]],
) -> Deviations | None:
    most = max(map(len, reference.values()))  # a run without all folds is not done
    common = [
        run
        for run in reference
        if len(reference[run]) == most and reference[run].keys() == other.get(run, {}).keys()
    ]
    if len(common) < 2:
        return None
    pairs = [
        [(reference[run][fold], other[run][fold]) for fold in reference[run]] for run in common
    ]
    differences = [np.mean([a["roc_auc"] - b["roc_auc"] for a, b in folds]) for folds in pairs]
    n = min(len(row["bootstrap_roc_auc"]) for folds in pairs for pair in folds for row in pair)
    replicates = [
        np.subtract(a["bootstrap_roc_auc"][:n], b["bootstrap_roc_auc"][:n])
        for folds in pairs
        for a, b in folds
    ]
    n_tests = [sum(a.get("n_test", 0) for a, _ in folds) for folds in pairs]
    if not all(n_tests):
        return None
    return deviations_of(
        differences, np.mean(replicates, axis=0), n_clips=round(float(np.mean(n_tests)))
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
