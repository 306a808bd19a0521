import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.evaluation.metrics
from featurestore.errors import TrainingError
from models.evaluation.metrics import bootstrap, evaluate, pr_auc, roc_auc, scorable

TRUTH = np.array([[1, 0], [0, 0], [1, 1], [0, 1]])
SCORES = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.4]])
# First tag, best first: 1 0 1 0. Of the 4 pairs of a clip with and one without, 3 are in order.
# Precision at the two hits: 1/1 and 2/3. The second tag is in perfect order.
ROC = (3 / 4, 1.0)
PR = ((1 + 2 / 3) / 2, 1.0)


def test_roc_auc_is_the_mean_over_tags_of_the_share_of_pairs_in_order():
    assert roc_auc(TRUTH, SCORES) == pytest.approx(np.mean(ROC), abs=1e-12)


def test_pr_auc_is_the_mean_over_tags_of_the_average_precision():
    assert pr_auc(TRUTH, SCORES) == pytest.approx(np.mean(PR), abs=1e-12)


@pytest.mark.parametrize(("metric", "worst"), [(roc_auc, 0.0), (pr_auc, 5 / 12)])
def test_a_perfect_order_scores_one_and_its_reverse_the_least(metric, worst):
    truth = np.array([[0], [0], [1], [1]])
    scores = np.arange(4.0)[:, None]
    assert metric(truth, scores) == 1
    assert metric(truth, -scores) == pytest.approx(worst)  # (1/3 + 2/4) / 2 for precision


@pytest.mark.parametrize(("metric", "expected"), [(roc_auc, 0.5), (pr_auc, 0.25)])
def test_equal_scores_are_worth_a_coin(metric, expected):
    assert metric(np.array([[1], [0], [0], [0]]), np.zeros((4, 1))) == expected


def test_only_the_order_matters():
    logits = np.log(SCORES / (1 - SCORES))
    assert roc_auc(TRUTH, logits) == roc_auc(TRUTH, SCORES)
    assert pr_auc(TRUTH, logits) == pr_auc(TRUTH, SCORES)


def test_tags_without_both_classes_are_left_out_and_counted():
    truth = np.column_stack([TRUTH, np.zeros(4), np.ones(4)])
    scores = np.column_stack([SCORES, SCORES])
    result = evaluate(truth, scores, ["a", "b", "never", "always"])

    assert scorable(truth).tolist() == [True, True, False, False]
    assert result.n_tags_scored == 2
    assert result.tags_left_out == ("never", "always")
    assert result.roc_auc == pytest.approx(np.mean(ROC))
    assert result.roc_auc_per_tag == pytest.approx({"a": ROC[0], "b": ROC[1]})
    assert result.pr_auc_per_tag == pytest.approx({"a": PR[0], "b": PR[1]})


@pytest.mark.parametrize(
    ("truth", "scores", "message"),
    [
        (np.zeros((4, 2)), SCORES, "none of the 2 tags has clips both with and without"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "among these 0 clips"),
        (TRUTH, SCORES[:3], r"truth is \(4, 2\) and scores \(3, 2\)"),
        (TRUTH[:, 0], SCORES[:, 0], r"must be \(n_clips, n_tags\)"),
        (SCORES, TRUTH, "did you swap truth and scores"),
        (TRUTH, np.where(SCORES == 0.3, np.nan, SCORES), "nan at clip 2, tag 1"),
    ],
)
@pytest.mark.parametrize("metric", [roc_auc, pr_auc])
def test_what_cannot_be_scored_is_refused(metric, truth, scores, message):
    with pytest.raises(TrainingError, match=message):
        metric(truth, scores)


def test_tags_must_name_every_column():
    with pytest.raises(TrainingError, match="1 tags are named for the 2 in truth"):
        evaluate(TRUTH, SCORES, ["a"])


def resamples(truth, seed, n):
    """The draws of `bootstrap`, as it promises them: of those that can be scored, in order."""
    rng = np.random.default_rng(seed)
    while n:
        drawn = rng.integers(len(truth), size=len(truth))
        if scorable(truth[drawn]).any():
            n -= 1
            yield drawn


@settings(max_examples=40)
@given(
    n_clips=st.integers(2, 40),
    n_tags=st.integers(1, 3),
    levels=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_replicates_are_scikit_learns_scores_of_the_clips_drawn(n_clips, n_tags, levels, seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=(n_clips, n_tags))
    truth[:2, 0] = 0, 1  # one tag at least can be scored
    scores = rng.integers(levels, size=truth.shape) / levels  # few levels, many ties
    roc, pr = bootstrap(truth, scores, replicates=20, seed=seed)
    draws = list(resamples(truth, seed, 20))
    assert roc == pytest.approx([roc_auc(truth[d], scores[d]) for d in draws], abs=1e-12)
    assert pr == pytest.approx([pr_auc(truth[d], scores[d]) for d in draws], abs=1e-12)


def test_replicates_of_many_clips_come_in_blocks_and_are_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=(30, 2))
    scores = rng.random(truth.shape)
    whole = bootstrap(truth, scores, replicates=50)
    monkeypatch.setattr(models.evaluation.metrics, "_BLOCK", 7 * 30)
    np.testing.assert_array_equal(bootstrap(truth, scores, replicates=50), whole)
    few = bootstrap(truth, scores, replicates=9)
    np.testing.assert_array_equal(few, np.array(whole)[:, :9])


def test_replicates_of_one_seed_are_paired_and_those_of_another_are_not():
    rng = np.random.default_rng(1)
    truth = rng.integers(2, size=(100, 2))
    scores = truth + rng.normal(0, 2, truth.shape)
    roc, _ = bootstrap(truth, scores)
    alike, _ = bootstrap(truth, scores + rng.normal(0, 0.1, truth.shape))
    other, _ = bootstrap(truth, scores, seed=1)
    assert np.std(roc - alike) < np.std(roc) / 5
    assert np.std(roc - other) > np.std(roc)
    assert len(roc) == 1000


def test_the_bootstraps_spread_is_that_of_other_clips():
    """The standard error from one set of clips is near that over many sets of clips."""
    rng = np.random.default_rng(2)

    def clips():
        truth = rng.integers(2, size=(200, 3))
        return truth, truth + rng.normal(0, 1.5, truth.shape)

    sets = [roc_auc(*clips()) for _ in range(200)]
    roc, _ = bootstrap(*clips())
    assert np.std(roc) == pytest.approx(np.std(sets), rel=0.2)


def test_what_cannot_be_scored_is_not_resampled():
    with pytest.raises(TrainingError, match="none of the 2 tags has clips both with and without"):
        bootstrap(np.zeros((4, 2)), SCORES)
