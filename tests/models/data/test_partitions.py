import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import TrainingError
from models.data import training_data
from models.data.partitions import draw_folds, keep_share, resample


@given(n_groups=st.integers(5, 60), seed=st.integers(0, 99))
def test_groups_stay_together_and_every_fold_has_some(n_groups, seed):
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(n_groups), rng.integers(n_groups, size=100)])
    labels = rng.integers(2, size=(len(groups), 3)).astype(np.float32)
    folds = draw_folds(labels, groups, n_folds=5, seed=seed)
    assert all(len(set(folds[groups == group])) == 1 for group in range(n_groups))
    assert set(folds) == set(range(5))


def test_folds_have_their_share_of_clips_and_of_each_tag():
    rng = np.random.default_rng(0)
    labels = (rng.random((500, 4)) < [0.5, 0.2, 0.1, 0.02]).astype(np.float32)
    folds = draw_folds(labels, np.arange(500), n_folds=5, seed=3)
    assert set(np.bincount(folds)) <= {99, 100, 101}
    for tag in labels.T:
        per_fold = np.bincount(folds, weights=tag, minlength=5)
        assert np.ptp(per_fold) <= 3


def test_a_seed_gives_the_same_folds_and_another_one_others():
    groups = np.repeat(np.arange(20), np.arange(1, 21))  # artists of many sizes
    labels = np.ones((len(groups), 1), np.float32)
    first, again, other = (draw_folds(labels, groups, n_folds=5, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    together = [np.equal.outer(folds, folds) for folds in (first, other)]
    assert (together[0] != together[1]).any()  # other company, not other numbers of folds


def test_a_resample_takes_all_clips_of_an_artist_as_often_and_as_many_artists():
    groups = np.array([7, 7, 3, 9, 9, 9])
    for seed in range(20):
        times = np.bincount(resample(groups, seed=seed), minlength=6)
        of_group = [set(times[groups == group]) for group in (7, 3, 9)]
        assert [len(group) for group in of_group] == [1, 1, 1]
        assert sum(group.pop() for group in of_group) == 3
    assert len(resample(np.arange(50), seed=0)) == 50


def test_folds_of_too_few_artists_are_refused_with_the_remedy(toy_store, write_store):
    spec, clips = toy_store.specs[0], toy_store.clips
    store = write_store(
        {spec: toy_store[spec].read(range(35))},
        tags={"loud": clips["loud"][:35]},
        artist=[f"artist {i % 3}" for i in range(35)],
    )
    with pytest.raises(TrainingError, match=r"of 3 artists, too few for 5 folds .*--vary weights"):
        training_data(store, spec, fold=0, partition=0)


def test_a_test_clip_is_drawn_as_often_whatever_the_partition_that_it_is_tested_in(toy_store):
    """Over all folds of a partition, each clip has the weights of its stratum's draws."""
    spec = toy_store.specs[0]
    weights = []
    for partition in (None, 0, 1):
        drawn = np.zeros((36, 5))
        for fold in range(4):
            data = training_data(toy_store, spec, fold=fold, partition=partition)
            for stratum in data.strata:
                tested = stratum.place >= 0
                rows = data.test._rows[stratum.place[tested]]
                for replicate, counts in zip(range(5), stratum.draws(), strict=False):
                    drawn[rows, replicate] = counts[tested]
        weights.append(drawn)
    assert weights[0].sum() == 35 * 5
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[0], weights[2])


@pytest.mark.parametrize("seed", [0, 7])
def test_what_a_smaller_share_of_labels_keeps_a_larger_one_keeps_too(seed):
    rows = np.array([3, 9, 9, 11, 20, 21, 22, 40, 41, 42, 43])
    kept = [keep_share(50, rows, share, seed=seed) for share in (0.001, 0.2, 0.5, 0.99, 1)]
    assert [len(clips) for clips in kept] == [1, 2, 5, 10, 10]
    for fewer, more in itertools.pairwise(kept):
        assert set(fewer) <= set(more) <= set(rows)
    assert kept[-1].tolist() == sorted(set(rows))


def test_shares_of_labels_are_drawn_evenly_and_by_the_seed():
    rows = np.arange(10)
    drawn = [keep_share(10, rows, 0.3, seed=seed).tolist() for seed in range(300)]
    assert drawn[4] == keep_share(10, rows, 0.3, seed=4).tolist()
    counts = np.bincount(np.ravel(drawn), minlength=10)
    assert counts.min() > 60  # 90 expected, with a standard deviation of 8
    assert counts.max() < 120


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(TrainingError, match=r"labelled_share is .*must be above 0 and at most 1"):
        keep_share(3, np.arange(3), share, seed=0)
