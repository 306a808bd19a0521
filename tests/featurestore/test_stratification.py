import numpy as np

from featurestore.stratification import stratify


def test_groups_stay_together_and_parts_have_their_shares_of_each_tag():
    rng = np.random.default_rng(1)
    groups = rng.integers(150, size=1000)
    _, groups = np.unique(groups, return_inverse=True)
    positive = (rng.random((1000, 6)) < [0.5, 0.3, 0.2, 0.1, 0.1, 0.05]).astype(np.uint8)
    part = stratify(positive, groups, (5, 2, 3), seed=0)
    assert all(len(set(part[groups == group])) == 1 for group in range(groups.max() + 1))
    for number, share in enumerate((0.5, 0.2, 0.3)):
        assert abs((part == number).mean() - share) < 0.03  # groups are of 7 clips
        lacks = positive[part == number].sum(axis=0) - share * positive.sum(axis=0)
        assert np.abs(lacks).max() < 10


def test_without_tags_clips_are_dealt_by_lot():
    none = np.zeros((100, 0), np.uint8)
    first, other = (stratify(none, np.arange(100), (1, 1), seed=seed) for seed in (0, 1))
    assert np.bincount(first).tolist() == [50, 50]
    assert (first != other).any()
