import json

import numpy as np
import pytest

from featurestore import FeatureStore
from featurestore.inspect.data_quality import Checks, Leak, check, constant_bands


@pytest.fixture
def found(shared_store):
    """Check the shared store's clips with some columns replaced."""

    def found(**columns):
        store = FeatureStore(shared_store.files, shared_store.metadata)
        store.clips = shared_store.clips.assign(**columns)
        return check(store)

    return found


ALONE = {"artist": "", "album": ""}


def test_clips_of_their_own_leak_nothing(found):
    checks = found(**ALONE, peak=0.5, n_clipped=0)
    assert checks.leaks == ()
    assert checks.lines() == []


def test_the_same_audio_in_two_splits_is_a_leak(found, shared_store):
    digest = shared_store.clips["digest"].to_list()
    digest[2] = digest[0]  # validation and train
    digest[4] = digest[1]  # train and train, and of folds 4 and 1
    checks = found(**ALONE, digest=digest, fold=-1)
    (leak,) = checks.leaks
    assert (leak.what, leak.across, leak.n_groups, leak.n_clips) == ("audio", "split", 1, 2)
    assert leak.examples == (shared_store.clips["clip_id"][0],)
    assert checks.n_duplicates == 2


def test_an_artist_or_album_in_two_folds_is_a_leak(found):
    checks = found(artist=["a", "b"] * 10, album=["x"] * 10 + [""] * 10, split="")
    assert [(leak.what, leak.across, leak.n_groups) for leak in checks.leaks] == [
        ("artist", "fold", 2),
        ("album", "fold", 2),
    ]
    assert str(checks.leaks[0]) == "2 artists (18 clips) lie in more than one fold: a, b"


def test_clips_without_a_split_and_those_that_failed_do_not_leak(found, shared_store):
    digest = shared_store.clips["digest"].to_list()
    digest[2] = digest[5] = digest[0]  # 5 failed
    split = shared_store.clips["split"].to_list()
    split[2] = ""
    assert found(**ALONE, digest=digest, split=split, fold=-1).leaks == ()


def test_what_has_no_labels_counts_as_what_trains(found, shared_store):
    digest = shared_store.clips["digest"].to_list()
    digest[4] = digest[0]  # train and train
    digest[7] = digest[6]  # test and validation
    split = shared_store.clips["split"].to_list()
    split[4] = split[6] = "unlabelled"
    (leak,) = found(**ALONE, digest=digest, split=split, fold=-1).leaks
    assert leak.examples == (shared_store.clips["clip_id"][6],)


def test_only_the_first_few_are_named(found):
    checks = found(artist=[f"artist {row % 7}" for row in range(20)], album="", fold=-1)
    assert checks.leaks[0].n_groups > len(checks.leaks[0].examples) == 5
    assert str(checks.leaks[0]).endswith(", …")


def test_tiles_of_one_track_are_not_copies(found):
    assert found(**ALONE, digest="same", path="one.mp3").n_duplicates == 0
    assert found(**ALONE, digest="same").n_duplicates == 17


def test_silent_and_clipped_clips_are_counted(found):
    peak, n_clipped = np.full(20, 0.5), np.zeros(20, int)
    peak[[0, 3]], n_clipped[[1, 2, 4]] = 0.0009, (23, 22, 500)
    checks = found(**ALONE, peak=peak, n_clipped=n_clipped)
    assert (checks.n_silent, checks.n_clipped) == (2, 2)
    assert checks.lines() == [
        "2 clips are silent",
        "2 clips are clipped (over 0.1% of samples at full scale)",
    ]


def test_one_of_a_kind_is_spoken_of_as_one():
    leak = Leak(what="artist", across="split", n_groups=1, n_clips=2, examples=("a",))
    assert Checks(leaks=(leak,), n_duplicates=1, n_silent=1, n_clipped=1).lines() == [
        "1 artist (2 clips) lies in more than one split: a",
        "1 track is a copy of another",
        "1 clip is silent",
        "1 clip is clipped (over 0.1% of samples at full scale)",
    ]


def test_bands_that_do_not_change_are_counted():
    assert constant_bands([[0, 1, 0], [0, 2, 3], [0, 1, 1]]) == (1, 3)
    assert constant_bands([[1, 0], [1, 2]]) == (0, 1)
    assert constant_bands(np.zeros((0, 3))) == (0, 0)


def test_checks_are_told_as_json(found):
    checks = found()
    told = checks.json()
    assert json.loads(json.dumps(told)) == told
    assert told["leaks"][0]["examples"] == list(checks.leaks[0].examples)


def test_a_store_of_nothing_has_nothing_wrong(make_store):
    assert check(make_store(ids=[], tags=[], failed=(), pending=())).lines() == []
