import math

import pytest

from models.study.difference import Difference
from models.study.power import Deviations
from models.study.recommendation import remedy_of, smallest_loss, verdict_of
from models.study.significance import Estimate, Variance


def found(loss, *, over_runs=0.004, over_clips=0.002, n_runs=3, n_clips=400, unknown=""):
    variances = (
        Variance(value=over_runs**2 / n_runs, freedom=n_runs - 1),
        Variance(value=over_clips**2, freedom=n_clips - 1),
    )
    estimate = Estimate(value=loss, variances=() if unknown else variances)
    deviations = Deviations(over_runs=over_runs, per_clip=over_clips * math.sqrt(n_clips))
    return Difference(
        estimate=estimate, welch=estimate, unknown=unknown, n_runs=n_runs, n_clips=n_clips,
        deviations=None if unknown else deviations,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "p_holm", "verdict"),
    [
        (-0.03, 0.01, "better"),
        (-0.03, 0.2, "no worse"),
        (0.001, 0.9, "no worse"),
        (0.03, 0.01, "worse"),
        (0.03, 0.2, "not told"),
    ],
)
def test_a_verdict_is_what_is_shown(loss, p_holm, verdict):
    assert verdict_of(found(loss, over_runs=0.002), p_holm, 0.01) == verdict
    assert verdict_of(found(loss, unknown="a single run"), math.nan, 0.01) == "not told"


def test_with_a_margin_of_nothing_equal_is_not_told():
    assert verdict_of(found(0.0), 1.0, 0.0) == "not told"


def test_more_runs_would_tell_where_runs_differ_and_cannot_where_the_clips_are_few():
    by_runs = remedy_of(found(0.002, over_runs=0.02, over_clips=0.001), 0.01)
    assert by_runs.startswith("about ")
    assert "runs would tell that the loss is below 1 %" in by_runs
    by_clips = remedy_of(found(0.002, over_runs=0.001, over_clips=0.02), 0.01)
    assert by_clips.startswith("more runs cannot help, as the clips are too few: about ")


def test_where_neither_runs_nor_clips_alone_would_tell_both_together_are_said():
    """0.02 over runs and 0.2 per clip, 1 % below the margin: see test_power for the numbers."""
    neither = remedy_of(found(0.0, over_runs=0.02, over_clips=0.01, n_runs=3), 0.01)
    assert neither == (
        "neither more runs nor more test clips alone would tell that the loss is below 1 %; about "
        "51 runs and 4,862 test clips together would"
    )


def test_where_nothing_would_tell_that_is_said():
    nothing = remedy_of(found(0.002, over_runs=0.05, over_clips=0.05, n_runs=2), 0.01)
    assert nothing == (
        "not even 100 runs on any number of test clips would tell that the loss is below 1 %: the "
        "runs differ too much"
    )


def test_below_a_margin_of_nothing_it_is_to_be_told_that_nothing_is_lost():
    assert "would tell that nothing is lost" in remedy_of(found(-0.002), 0.0)
    assert remedy_of(found(0.0), 0.0) == ""  # no number would tell a loss of nothing


def test_a_loss_above_the_margin_is_to_be_shown_itself():
    assert "would tell a loss of 2 %" in remedy_of(found(0.02, over_runs=0.03), 0.01)


def test_the_smallest_loss_that_is_told_falls_with_more_runs():
    losses = [smallest_loss(found(0.0, n_runs=n)) for n in (2, 3, 10)]
    assert losses == sorted(losses, reverse=True)
    assert smallest_loss(found(0.0, unknown="a single run")) is None
