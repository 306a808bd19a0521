import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import CatalogError, SettingsError
from pipeline.catalogs.catalog import SPLITS, Catalog, multi_hot
from pipeline.catalogs.split import Split, draw_as_before, draw_splits, drawn_lines

EIGHT = Split(ratios=(8, 1, 1))


def tracks(n, *, genres=10, artist=None, order=None):
    rows = np.arange(n) if order is None else order
    tags, labels = multi_hot([[f"genre {row % genres}"] for row in rows])
    return Catalog(
        name="tracks", root="/music", track_id=[f"{row:04}" for row in rows],
        path=[f"{row:04}.wav" for row in rows], split=[""] * n, tags=tags, labels=labels,
        artist=None if artist is None else [artist[row] for row in rows],
    )  # fmt: skip


def by_id(catalog):
    return dict(zip(catalog.track_id, catalog.split, strict=True))


@pytest.mark.parametrize(
    ("ratios", "sizes"),
    [
        ((8, 1, 1), (799, 100, 100)),
        ((6, 2, 2), (599, 200, 200)),
        ((4, 1, 5), (400, 100, 499)),
        ((5, 2, 3), (499, 200, 300)),
    ],
)
def test_splits_are_as_large_as_their_ratios_and_each_genre_is(ratios, sizes):
    drawn = draw_splits(tracks(999), Split(ratios=ratios))
    counts = Counter(drawn.split)
    assert tuple(counts[split] for split in SPLITS) == pytest.approx(sizes, abs=1)
    of_part = np.array([SPLITS.index(split) for split in drawn.split])
    for part, ratio in enumerate(ratios):
        of_genre = drawn.labels[of_part == part].sum(axis=0)
        assert np.abs(of_genre - drawn.labels.sum(axis=0) * ratio / 10).max() <= 1


def test_the_same_tracks_are_drawn_by_the_same_seed_in_whatever_order_they_are():
    drawn = draw_splits(tracks(100), EIGHT)
    order = np.random.default_rng(0).permutation(100)
    assert by_id(draw_splits(tracks(100, order=order), EIGHT)) == by_id(drawn)
    other = draw_splits(tracks(100), dataclasses.replace(EIGHT, seed=1))
    assert by_id(other) != by_id(drawn)
    assert (drawn.drawn, other.drawn) == ("8:1:1 seed 0", "8:1:1 seed 1")


def test_no_artist_is_in_two_splits_and_tracks_without_one_are_drawn_alone():
    artist = [f"artist {row // 7 % 20}" if row < 280 else "" for row in range(300)]
    drawn = draw_splits(tracks(300, artist=artist), Split(ratios=(6, 2, 2)))
    splits_of = {}
    for name, split in zip(artist, drawn.split, strict=True):
        splits_of.setdefault(name, set()).add(split)
    assert len(splits_of.pop("")) > 1
    assert {len(splits) for splits in splits_of.values()} == {1}
    assert Counter(drawn.split)["train"] == pytest.approx(180, abs=14)
    assert drawn_lines(drawn)[0].endswith("by artist, 20 tracks without one by track")


def test_it_is_told_that_artists_are_not_known():
    first, second = drawn_lines(draw_splits(tracks(999), EIGHT))
    assert first.startswith("splits drawn, 8:1:1 seed 0: 799 train, 100 validation, 100 test")
    assert "artists are not known" in second
    assert drawn_lines(tracks(10)) == []


def test_a_catalog_with_splits_keeps_them_and_refuses_others():
    own = dataclasses.replace(tracks(3), split=["train", "validation", "test"], name="gtzan")
    with pytest.raises(CatalogError, match=r"has splits of its own, .*8:1:1.*--catalog gtzan-all"):
        draw_splits(own, EIGHT)
    assert draw_as_before(own, "8:1:1 seed 0") is own


def test_too_few_artists_for_three_splits_are_refused():
    with pytest.raises(CatalogError, match="tracks has 2 artists, too few for splits of 8:1:1"):
        draw_splits(tracks(30, artist=["a", "b"] * 15), EIGHT)


@given(st.tuples(*[st.integers(1, 10**6)] * 3), st.integers(0, 2**63 - 1))
def test_what_a_store_keeps_reads_back(ratios, seed):
    split = Split(ratios=ratios, seed=seed)
    assert Split.stored(str(split)) == split
    assert Split.stored(f"{split} by hand") is None


@pytest.mark.parametrize("text", ["8", "8:1", "8:1:1:1", "8:1:0", "8:1:-1", "a:b:c", "", "8:1:1.5"])
def test_ratios_that_are_none_are_refused(text):
    with pytest.raises(SettingsError, match=r"split is '.*'; it must be .* such as 8:1:1"):
        Split.parse(text)


def test_a_seed_below_0_is_refused():
    with pytest.raises(SettingsError, match="split_seed is -1; it must be from 0"):
        Split.parse("8:1:1", -1)
