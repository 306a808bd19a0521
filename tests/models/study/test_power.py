import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from featurestore.errors import TrainingSettingsError
from models.study.power import (
    TYPICAL,
    Deviations,
    clips_needed,
    detectable_loss,
    deviations_of,
    runs_and_clips_needed,
    runs_needed,
)

DEVIATIONS = st.builds(
    Deviations,
    over_runs=st.floats(1e-4, 0.1),
    per_clip=st.floats(1e-3, 1.0),
    test_per_train=st.sampled_from([0.0, 1 / 3, 1.0]),
)
SIZES = st.integers(2, 300)


@given(deviations=DEVIATIONS, n_runs=SIZES, n_clips=SIZES)
def test_more_runs_and_more_clips_tell_smaller_losses(deviations, n_runs, n_clips):
    loss = detectable_loss(deviations, n_runs=n_runs, n_clips=n_clips)
    assert 0 < detectable_loss(deviations, n_runs=n_runs + 1, n_clips=n_clips) < loss
    assert 0 < detectable_loss(deviations, n_runs=n_runs, n_clips=10 * n_clips) <= loss


@given(deviations=DEVIATIONS, n_runs=SIZES, n_clips=SIZES, loss=st.floats(1e-4, 0.5))
def test_the_numbers_needed_are_the_fewest_that_tell_the_loss(deviations, n_runs, n_clips, loss):
    runs = runs_needed(deviations, loss, n_clips=n_clips)
    if runs is None:
        assert detectable_loss(deviations, n_runs=10**7, n_clips=n_clips) > loss
    else:
        assert detectable_loss(deviations, n_runs=runs, n_clips=n_clips) <= loss
        assert runs == 2 or detectable_loss(deviations, n_runs=runs - 1, n_clips=n_clips) > loss
    clips = clips_needed(deviations, loss, n_runs=n_runs)
    if clips is None:
        assert detectable_loss(deviations, n_runs=n_runs, n_clips=10**9) > loss
    else:
        assert detectable_loss(deviations, n_runs=n_runs, n_clips=clips) <= loss
        assert clips == 1 or detectable_loss(deviations, n_runs=n_runs, n_clips=clips - 1) > loss


@given(deviations=DEVIATIONS, n_runs=SIZES, n_clips=SIZES)
def test_the_runs_needed_for_what_so_many_detect_are_no_more(deviations, n_runs, n_clips):
    loss = detectable_loss(deviations, n_runs=n_runs, n_clips=n_clips)
    assert runs_needed(deviations, loss, n_clips=n_clips) == n_runs
    assert clips_needed(deviations, loss, n_runs=n_runs) <= n_clips


def test_more_clips_are_never_planned_to_tell_less_even_with_two_runs():
    deviations = Deviations(over_runs=0.06, per_clip=0.12)
    few, many = (detectable_loss(deviations, n_runs=2, n_clips=n) for n in (2, 10**9))
    assert few >= many
    assert clips_needed(deviations, many, n_runs=2) <= 10**9


def test_where_test_clips_leave_too_much_to_chance_no_number_of_runs_tells():
    few_clips = Deviations(over_runs=0.001, per_clip=0.2)
    assert runs_needed(few_clips, 0.01, n_clips=200) is None
    assert clips_needed(few_clips, 0.01, n_runs=3) > 2000


def test_where_runs_leave_too_much_to_chance_no_number_of_clips_tells():
    few_runs = Deviations(over_runs=0.02, per_clip=0.01)
    assert clips_needed(few_runs, 0.01, n_runs=3) is None
    assert runs_needed(few_runs, 0.01, n_clips=200) > 20


BOTH = Deviations(over_runs=0.02, per_clip=0.2)


def test_runs_and_clips_together_leave_half_of_the_chance_to_either():
    """By hand, for the normal distribution: ``(z_0.95 + z_0.8)² = 6.183``, so that a loss of 1 %
    allows a variance of 1.617e-5, half of it for 0.02² / J and half for 0.2² / n.

    Student's distribution takes a few per cent more of both together.
    """
    n_runs, n_clips = runs_and_clips_needed(BOTH, 0.01, most_runs=100)
    by_hand = (2 * 0.02**2 / 1.617e-5, 2 * 0.2**2 / 1.617e-5)  # 49.5 and 4947
    assert (n_runs, n_clips) == (51, 4862)
    assert n_runs == pytest.approx(by_hand[0], rel=0.05)
    assert math.prod(by_hand) < n_runs * n_clips < 1.03 * math.prod(by_hand)


@pytest.mark.parametrize("loss", [0.01, 0.03, 0.05])
@pytest.mark.parametrize(
    "deviations", [BOTH, dataclasses.replace(BOTH, over_runs=0.01, test_per_train=0.1)]
)
def test_runs_and_clips_needed_are_the_fewest_trainings_times_clips(deviations, loss):
    most_runs = 60
    found = runs_and_clips_needed(deviations, loss, most_runs=most_runs)
    products = [
        (n_runs * n_clips, n_runs, n_clips)
        for n_runs in range(2, most_runs + 1)
        if (n_clips := clips_needed(deviations, loss, n_runs=n_runs)) is not None
    ]
    assert found == min(products)[1:]


@given(deviations=DEVIATIONS, loss=st.floats(1e-3, 0.5))
@settings(max_examples=20)
def test_of_runs_and_clips_needed_one_less_does_not_tell(deviations, loss):
    found = runs_and_clips_needed(deviations, loss, most_runs=100)
    if found is None:
        assert detectable_loss(deviations, n_runs=100, n_clips=10**12) > loss
        return
    n_runs, n_clips = found
    assert detectable_loss(deviations, n_runs=n_runs, n_clips=n_clips) <= loss
    if n_runs > 2:
        assert detectable_loss(deviations, n_runs=n_runs - 1, n_clips=n_clips) > loss
    if n_clips > 1:
        assert detectable_loss(deviations, n_runs=n_runs, n_clips=n_clips - 1) > loss


def test_a_smaller_loss_takes_more_of_runs_and_clips_together():
    costs = [
        math.prod(runs_and_clips_needed(BOTH, loss, most_runs=100))
        for loss in (0.05, 0.03, 0.02, 0.01)
    ]
    assert costs == sorted(set(costs))


def test_a_loss_that_two_runs_on_one_clip_tell_needs_no_more():
    tiny = Deviations(over_runs=1e-4, per_clip=1e-3)
    assert runs_and_clips_needed(tiny, 0.5, most_runs=100) == (2, 1)


def test_where_neither_endless_clips_nor_all_runs_tell_nothing_is_needed():
    assert runs_and_clips_needed(BOTH, 0.01, most_runs=20) is None  # 20 runs leave 0.02² / 20
    shared = dataclasses.replace(BOTH, test_per_train=1 / 3)  # and all runs leave 0.02² / 3
    assert runs_and_clips_needed(shared, 0.01, most_runs=10**4) is None


def test_a_single_run_tells_no_loss():
    assert detectable_loss(TYPICAL, n_runs=1, n_clips=10**6) is None
    assert clips_needed(TYPICAL, 0.5, n_runs=1) is None


def test_redrawn_training_clips_are_corrected_as_nadeau_and_bengio_do():
    shared = Deviations(over_runs=0.01, per_clip=0.0, test_per_train=1 / 3)
    error = shared.standard_error(n_runs=5, n_clips=100)
    assert error == pytest.approx(0.01 * math.sqrt(1 / 5 + 1 / 3))
    # More runs of the same collection tell no more than what its own chance leaves.
    normal = stats.norm.ppf(0.95) + stats.norm.ppf(0.8)
    limit = 0.01 * math.sqrt(1 / 3) * normal
    assert runs_needed(shared, limit, n_clips=100) is None
    assert runs_needed(shared, 1.05 * limit, n_clips=100) > 5


def test_without_chance_any_loss_is_told():
    certain = Deviations(over_runs=0.0, per_clip=0.0)
    assert detectable_loss(certain, n_runs=2, n_clips=1) == 0
    assert runs_needed(certain, 0.001, n_clips=1) == 2


@pytest.mark.parametrize("n_runs", [2, 3, 10])
def test_the_detectable_loss_is_found_in_four_of_five_simulated_studies(n_runs):
    """Over runs alone, where the test is exactly Student's: within 3 standard errors of 80 %."""
    deviations = Deviations(over_runs=0.01, per_clip=0.0)
    loss = detectable_loss(deviations, n_runs=n_runs, n_clips=1)
    studies = np.random.default_rng(0).normal(loss, 0.01, (20000, n_runs))
    found = stats.ttest_1samp(studies, 0, axis=1, alternative="greater").pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / 20000))


@pytest.mark.parametrize("per_clip", [0.05, 0.14, 0.4])
@pytest.mark.parametrize("n_runs", [3, 6])
def test_with_test_clips_too_the_power_is_near_four_of_five(n_runs, per_clip):
    """Welch and Satterthwaite's degrees of freedom are an approximation: within 4 points."""
    truth = Deviations(over_runs=0.011, per_clip=per_clip)
    n_clips = 200
    loss = detectable_loss(truth, n_runs=n_runs, n_clips=n_clips)
    rng = np.random.default_rng(1)
    runs = rng.normal(loss, truth.over_runs, (20000, n_runs))
    clips = rng.normal(0, per_clip / math.sqrt(n_clips), 20000)
    over_runs = runs.var(axis=1, ddof=1)
    found = []
    for mean, variance in zip(runs.mean(axis=1) + clips, over_runs, strict=True):
        pilot = Deviations(over_runs=math.sqrt(variance), per_clip=per_clip)
        error = pilot.standard_error(n_runs=n_runs, n_clips=n_clips)
        freedom = pilot.freedom(n_runs=n_runs, n_clips=n_clips)
        found.append((mean / error, freedom))
    t, freedom = np.transpose(found)
    power = np.mean(stats.t.sf(t, freedom) < 0.05)
    assert power == pytest.approx(0.8, abs=0.04)


def test_a_pilots_deviations_are_those_of_its_paired_differences():
    rng = np.random.default_rng(2)
    found = deviations_of(
        rng.normal(0.02, 0.01, 4000), rng.normal(0.02, 0.005, 4000), n_clips=400, test_per_train=0.5
    )
    assert found.over_runs == pytest.approx(0.01, rel=0.05)
    assert found.per_clip == pytest.approx(0.1, rel=0.05)  # 0.005 times the root of 400
    assert found.test_per_train == 0.5


@pytest.mark.parametrize(("differences", "replicates"), [([0.1], [0.1, 0.2]), ([0.1, 0.2], [])])
def test_a_pilot_of_one_run_or_without_replicates_tells_no_deviations(differences, replicates):
    assert deviations_of(differences, replicates, n_clips=10) is None


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Deviations)])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_deviations_that_cannot_be_are_refused(field, value):
    with pytest.raises(TrainingSettingsError, match=f"invalid {field} {value}: must be a finite"):
        dataclasses.replace(TYPICAL, **{field: value})


@pytest.mark.parametrize("field", ["n_runs", "n_clips"])
def test_a_study_without_runs_or_clips_is_refused(field):
    with pytest.raises(TrainingSettingsError, match=f"invalid {field} 0: must be at least 1"):
        detectable_loss(TYPICAL, **{"n_runs": 3, "n_clips": 200} | {field: 0})
