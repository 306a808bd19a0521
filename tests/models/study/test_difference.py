import numpy as np
import pytest

from featurestore import FeatureSpec
from models.study.difference import difference, ratio_of_clips, typical_variance
from models.study.label import Label, words_of
from models.study.run_table import run_table

RNG = np.random.default_rng(2)
SHARED = 0.01 * RNG.standard_normal(4000)
ALONE = 0.01 * RNG.standard_normal((2, 3, 4000))


def table(n_mels, scores, draws, *, partitions=None, fold=None, **changes):
    label = Label(spec=words_of(FeatureSpec(sr=16000, n_mels=n_mels)))
    return run_table(
        label,
        [
            {
                "seed": seed, "fold": fold, "data": "0", "roc_auc": float(score), "pr_auc": 0.5,
                "partition": partitions[seed] if partitions else None,
                "bootstrap_roc_auc": (score + draws[seed]).tolist(), "n_test": 100, "n_train": 400,
            } | changes
            for seed, score in enumerate(scores)
        ],
    )  # fmt: skip


def pair(**changes):
    """What all runs of `fine` share with none of `coarse`, and what each has alone."""
    fine = table(96, [0.90, 0.92, 0.91], SHARED + ALONE[0], **changes)
    coarse = table(48, [0.88, 0.91, 0.87], ALONE[1], **changes)
    return fine, coarse


def variances(found):
    return [v.value for v in found.estimate.variances]


def test_over_runs_it_is_the_paired_differences_and_over_clips_what_all_runs_share():
    found = difference(*pair())
    over_runs, over_clips = variances(found)
    assert over_runs == pytest.approx(np.var([0.02, 0.01, 0.04], ddof=1) / 3)
    # Not what a run's clips do to it alone: that is in the runs' variance.
    assert over_clips == pytest.approx(0.01**2 * (1 + 100 / 400) * 100 / 99, rel=0.1)
    assert found.estimate.variances[0].freedom == 2


def test_redrawn_folds_are_corrected_after_nadeau_and_bengio_and_a_resampled_split_by_one():
    fixed, folds, split = (
        variances(difference(*pair(partitions=p, fold=f)))
        for p, f in ((None, None), ([0, 1, 2], 0), ([0, 1, 2], None))
    )
    assert folds[0] == pytest.approx(fixed[0] * (1 + 3 * 100 / 400))
    assert split[0] == pytest.approx(fixed[0] * (1 + 3))
    assert split[1] == pytest.approx(fixed[1] / (1 + 100 / 400))
    assert folds[1] == pytest.approx(split[1] * (100 / 99) ** 2)  # of the clips in a fold


def test_points_of_other_runs_are_compared_as_welch_does():
    fine, _ = pair()
    found = difference(fine, table(48, [0.88, 0.91], ALONE[1]))
    assert variances(found)[:2] == pytest.approx(
        [np.var([0.90, 0.92, 0.91], ddof=1) / 3, np.var([0.88, 0.91], ddof=1) / 2]
    )
    assert variances(found)[2] == pytest.approx(0.01**2 * 1.25 * 100 / 99, rel=0.1)


def test_few_runs_that_agree_by_chance_are_taken_to_differ_as_those_of_all_points_do():
    fine, coarse = pair()
    other = table(32, [0.84, 0.86, 0.85], SHARED + ALONE[1])  # differs from `fine` by 0.06
    typical = typical_variance([fine, coarse, other])
    assert typical.freedom == 4
    assert variances(difference(fine, other))[0] == pytest.approx(0, abs=1e-9)
    floored = difference(fine, other, typical)
    assert variances(floored)[0] == pytest.approx(typical.value / 3)
    assert floored.estimate.variances[0].freedom == 4
    assert typical_variance([fine, coarse]) is None


def test_the_ratio_of_clips_is_a_trainings_and_a_third_where_rows_do_not_say():
    assert ratio_of_clips([{"n_test": 20, "n_train": 60}]) == pytest.approx(1 / 3)
    assert ratio_of_clips([{"n_test": 20, "n_train": 80}, {}]) == pytest.approx(1 / 4)
    assert ratio_of_clips([{}]) == pytest.approx(1 / 3)
