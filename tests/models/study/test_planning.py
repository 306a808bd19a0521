import dataclasses

import pytest

from models.study.planning import plan_study
from models.study.power import TYPICAL, Deviations, detectable_loss
from models.study.study import study
from models.training.settings import TrainSettings

SETTINGS = TrainSettings(width=0.03, epochs=1, batch_size=9, device="cpu", amp="off")


def test_a_plan_without_rows_says_that_time_is_unknown_and_takes_typical_deviations(
    toy_store, tmp_path
):
    path = tmp_path / "results.jsonl"
    plan = plan_study([toy_store], path, settings=SETTINGS, runs=3, folds=[0, 1, 2, 3])
    assert not path.exists()
    assert (plan.n_trainings, plan.n_done, plan.n_left, plan.n_test_clips) == (24, 0, 24, 35)
    assert (plan.seconds_left, plan.source) == (None, "typical")
    deviations = dataclasses.replace(TYPICAL, test_per_train=35 / 70)
    assert plan.deviations == deviations
    assert plan.detectable == detectable_loss(deviations, n_runs=3, n_clips=35)
    first, second, third, fourth = plan.lines()
    assert first == "24 trainings: 0 done, 24 left"
    assert "not known until" in second
    assert "3 runs and 35 test clips tell a loss of" in third
    assert "benchmarks/RESULTS.md" in third
    # Half as many test clips as train, whichever: what the runs share is 0.011² / 2 for good.
    assert fourth == (
        "not even 100 runs on any number of test clips would tell a loss of 1 %, the margin unless "
        "told otherwise: the runs differ too much"
    )


def test_a_pilots_rows_give_the_time_and_the_deviations(toy_store, tmp_path):
    path = tmp_path / "results.jsonl"
    rows = study([toy_store], path, settings=SETTINGS, runs=2, progress=False)
    plan = plan_study([toy_store], path, settings=SETTINGS, runs=4, jobs=2)
    assert (plan.n_done, plan.n_left, plan.source) == (4, 4, "pilot")
    # Two more runs of either spec, each as long as its mean: as long as the four so far.
    assert plan.seconds_left == pytest.approx(sum(row["train_seconds"] for row in rows) / 2)
    (a, b), (c, d) = ([r["roc_auc"] for r in rows if r["seed"] == seed] for seed in (0, 1))
    assert plan.deviations.over_runs == pytest.approx(abs((b - a) - (d - c)) / 2**0.5)
    assert plan.deviations.test_per_train == 0
    assert "from the results file's rows" in plan.lines()[2]


def test_a_plan_says_what_would_tell_the_margin_and_nothing_where_the_study_does(
    toy_store, tmp_path
):
    plan = plan_study(
        [toy_store], tmp_path / "results.jsonl", settings=SETTINGS, runs=3, vary="weights"
    )
    deviations = Deviations(over_runs=0.02, per_clip=0.2)
    small = dataclasses.replace(plan, deviations=deviations, detectable=0.05)
    assert small.lines()[-1] == (
        "neither more runs nor more test clips alone would tell a loss of 1 %, the margin unless "
        "told otherwise; about 51 runs and 4,862 test clips together would"
    )
    enough = dataclasses.replace(small, detectable=0.009)
    assert enough.lines() == [*small.lines()[:-2], small.lines()[-2].replace("5 %", "0.9 %")]


def test_evaluations_under_conditions_are_counted(perturbed_store, tmp_path):
    path = tmp_path / "results.jsonl"
    usual = {"settings": SETTINGS, "specs": perturbed_store.specs[:1], "runs": 2}
    plan = plan_study([perturbed_store], path, conditions=["all"], **usual)
    assert (plan.n_trainings, plan.n_tests, plan.n_tests_done, plan.n_again) == (2, 6, 0, 0)
    assert "6 evaluations, under all conditions together: 0 done, 6 left" in plan.lines()
    study([perturbed_store], path, progress=False, **usual)
    plan = plan_study([perturbed_store], path, conditions=["noise0.1"], **usual)
    assert (plan.n_done, plan.n_left, plan.n_tests, plan.n_tests_done) == (0, 2, 4, 2)
    assert plan.lines()[2].startswith("2 of the trainings left were done, but not tested under all")
    assert plan.seconds_left > 0
    study([perturbed_store], path, progress=False, conditions=["noise0.1"], **usual)
    plan = plan_study([perturbed_store], path, conditions=["noise0.1"], **usual)
    assert (plan.n_done, plan.n_left, plan.n_tests_done) == (2, 0, 4)
    assert plan_study([perturbed_store], path, **usual).n_tests == 2


def test_a_single_run_is_said_to_tell_nothing(toy_store, tmp_path):
    plan = plan_study([toy_store], tmp_path / "results.jsonl", settings=SETTINGS, runs=1)
    assert plan.detectable is None
    assert "one run cannot tell a loss" in plan.lines()[-1]
    assert plan.json()["detectable"] is None
