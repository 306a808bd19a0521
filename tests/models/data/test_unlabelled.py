import dataclasses
import itertools

import numpy as np
import pytest
import torch

from featurestore.errors import TrainingError, UnknownSpecError
from models.data import SoftLabelled, training_data, unlabelled_clips
from models.data.loader import loader
from tests.models.conftest import COARSE, DRAWS, FINE


@pytest.fixture
def half_store(toy_store, write_store):
    """The toy store with 12 more clips that have no labels, whatever their columns say.

    Values of these, rows 36 to 47, are their row; the last is not ready.
    """
    clips = toy_store.clips
    values = {}
    for spec in (COARSE, FINE):
        values[spec] = np.zeros((48, spec.n_mels, 24), np.float32)
        values[spec][:35] = toy_store[spec].read(range(35))
        values[spec][36:] = np.arange(36, 48)[:, None, None]
    return write_store(
        values,
        tags={tag: [*clips[tag], *[1, 0] * 6] for tag in toy_store.tags},
        split=[*clips["split"], *["unlabelled"] * 12],
        fold=[*clips["fold"], *[-1] * 12],
        failed=[35, 47],
    )


def rows_of(data):
    return {split: getattr(data, split).rows.tolist() for split in ("train", "validation", "test")}


@pytest.mark.parametrize("fold", [None, 2])
@pytest.mark.parametrize("partition", [None, 3])
def test_clips_without_labels_change_nothing_of_what_is_learnt_and_judged(
    toy_store, half_store, fold, partition
):
    before, data = (
        training_data(store, COARSE, fold=fold, partition=partition)
        for store in (toy_store, half_store)
    )
    assert rows_of(data) == rows_of(before)
    assert data.digest == before.digest
    assert [s.seed for s in data.strata] == [s.seed for s in before.strata]
    assert all(np.array_equal(*pair) for pair in zip(
        [s.truth for s in data.strata], [s.truth for s in before.strata], strict=True))  # fmt: skip
    assert data.unlabelled.tolist() == list(range(36, 47))
    assert before.unlabelled.tolist() == []
    assert data.note == (
        "11 clips of sr16000-mel8-x10-db are unlabelled; a student learns from them "
        "(train --teacher)"
    )
    assert before.note is None


def test_folds_that_are_drawn_have_no_clip_without_labels(half_store, write_store):
    clips = half_store.clips
    store = write_store(
        {COARSE: np.zeros((48, 8, 24), np.float32)},
        tags={tag: clips[tag] for tag in half_store.tags},
        split=[*[""] * 36, *["unlabelled"] * 12],
    )
    data = training_data(store, COARSE, fold=1, partition=5)
    assert max(itertools.chain(*rows_of(data).values())) < 36
    assert sum(len(stratum.truth) for stratum in data.strata) == 36


def test_a_share_of_the_training_clips_keeps_its_labels_and_the_others_have_none(half_store):
    whole = training_data(half_store, COARSE)
    data = training_data(half_store, COARSE, labelled_share=0.5, labelled_seed=2)
    assert len(data.train) == 9
    assert set(data.train.rows) < set(whole.train.rows)
    hidden = set(whole.train.rows) - set(data.train.rows)
    assert data.unlabelled.tolist() == sorted(hidden | set(range(36, 47)))
    assert rows_of(data) | {"train": None} == rows_of(whole) | {"train": None}
    assert data.digest == whole.digest  # their scores can be compared
    assert data.labelled == "0.5 of the training clips keep theirs, by seed 2"
    assert "the labels of some hidden: 0.5 of the training clips keep theirs" in data.note
    assert whole.labelled is None
    other = training_data(half_store, COARSE, labelled_share=0.5, labelled_seed=3)
    assert other.train.rows.tolist() != data.train.rows.tolist()
    with pytest.raises(TrainingError, match="labelled_share is 0; it must be above 0"):
        training_data(half_store, COARSE, labelled_share=0)


def test_a_clip_that_is_drawn_several_times_keeps_its_labels_each_time(half_store):
    whole = training_data(half_store, COARSE, partition=1)
    data = training_data(half_store, COARSE, partition=1, labelled_share=0.5)
    kept = set(data.train.rows)
    assert len(kept) == round(len(set(whole.train.rows)) / 2)
    assert data.train.rows.tolist() == [row for row in whole.train.rows if row in kept]
    assert not kept & set(data.unlabelled)


def test_the_teacher_hears_clips_in_its_spec_and_the_student_in_its_own(half_store):
    data = training_data(half_store, COARSE, labelled_share=0.5)
    clips = unlabelled_clips(data, FINE, half_store)
    assert len(clips) == len(data.unlabelled) == 20
    assert list(clips.clip_id) == half_store.clips["clip_id"][data.unlabelled].tolist()
    assert (clips.store, clips.draws) == (half_store.path, None)
    heard = clips.heard(slice(15, 18))
    assert heard.spec == FINE
    assert heard.rows.tolist() == data.unlabelled[15:18].tolist()
    np.testing.assert_array_equal(heard[0].values, half_store[FINE][data.unlabelled[15]])
    labels = np.random.default_rng(0).random((20, 3), np.float32)
    given = clips.taught(labels)
    assert given.spec == COARSE
    np.testing.assert_array_equal(given[19].values, half_store[COARSE][46])
    assert np.array_equal(given[19].labels, labels[19])


def test_of_another_store_clips_without_labels_are_those_of_the_split_or_of_none(
    toy_store, half_store, write_store
):
    data = training_data(toy_store, COARSE)
    elsewhere = unlabelled_clips(data, COARSE, half_store, elsewhere=True)
    assert len(elsewhere) == 11
    folder = write_store({COARSE: np.zeros((4, 8, 24), np.float32)}, tags={}, failed=[2])
    assert unlabelled_clips(data, COARSE, folder, elsewhere=True).clip_id == (
        "clip 0", "clip 1", "clip 3",
    )  # fmt: skip


def test_where_there_is_nothing_to_learn_from_it_is_said(toy_store, half_store, write_store):
    data = training_data(toy_store, COARSE)
    for elsewhere in (False, True):  # all of its clips are in splits
        with pytest.raises(TrainingError, match="no unlabelled clip that is ready; give rows the"):
            unlabelled_clips(data, COARSE, toy_store, elsewhere=elsewhere)
    short = write_store({COARSE: np.zeros((4, 8, 20), np.float32)}, tags={})
    with pytest.raises(TrainingError, match=r"have 20 frames, and .* 24; featurize both with one"):
        unlabelled_clips(data, COARSE, short, elsewhere=True)
    other = write_store({COARSE: np.zeros((4, 8, 24), np.float32)}, tags={})
    with pytest.raises(UnknownSpecError):  # the teacher's is not there
        unlabelled_clips(data, FINE, other, elsewhere=True)


def test_the_student_is_given_the_draws_that_there_are_and_the_teacher_none(write_store):
    values = {
        spec: np.full((8, 8, 24), more, np.float32) for more, spec in enumerate((COARSE, *DRAWS))
    }
    store = write_store(
        values,
        tags={"coin": [0, 1] * 4},
        split=["train"] * 2 + ["validation"] * 2 + ["test"] * 2 + ["unlabelled"] * 2,
    )
    data = training_data(store, COARSE)
    clips = unlabelled_clips(data, COARSE, store)
    assert clips.draws == "3 draws of pitch-5:5 p0.5"
    assert clips.heard(slice(0, 2))[1].values.unique().tolist() == [0]
    given = clips.taught(np.zeros((2, 1), np.float32))
    torch.manual_seed(0)
    assert {float(given[1].values[0, 0]) for _ in range(50)} == {1, 2, 3}


@pytest.fixture
def soft(half_store):
    data = training_data(half_store, COARSE)
    clips = unlabelled_clips(data, COARSE, half_store)
    labels = np.random.default_rng(1).random((11, 3), np.float32)
    return SoftLabelled(dataset=clips.taught(labels), mixing=1.0, provenance={"labels": "0a"})


def taken(soft, first, n, **changes):
    how = {"batch_size": 4, "length": 5, "seed": 3} | changes
    return [
        batch.values[:, 0, 0].tolist() for batch in itertools.islice(soft.batches(first, **how), n)
    ]


def test_each_clip_comes_once_then_again_in_another_order(soft):
    rounds = [sorted(itertools.chain(*taken(soft, first, 3))) for first in (0, 3, 6)]
    assert rounds == [list(range(36, 47))] * 3
    assert taken(soft, 0, 3) != taken(soft, 3, 3)
    assert [len(batch) for batch in taken(soft, 0, 3)] == [4, 4, 3]
    assert taken(soft, 0, 3, seed=4) != taken(soft, 0, 3)
    (batch,) = itertools.islice(soft.batches(0, batch_size=4, length=5, seed=3), 1)
    assert batch.values.shape == (4, 8, 5)
    of_row = dict(zip(range(36, 47), soft.dataset.labels.tolist(), strict=True))
    assert batch.labels.tolist() == [of_row[int(row)] for row in batch.values[:, 0, 0]]


@pytest.mark.parametrize("first", [1, 3, 5, 14])
def test_batches_are_taken_up_again_at_any_number(soft, first):
    assert taken(soft, first, 4) == taken(soft, 0, first + 4)[first:]


def test_the_order_is_not_that_of_clips_with_labels(soft):
    own = loader(soft.dataset.windows(5), batch_size=4, shuffle=True, seed=3)
    assert taken(soft, 0, 3) != [batch.values[:, 0, 0].tolist() for batch in own]


def test_processes_share_a_batch_and_none_is_left_without(soft):
    shares = [taken(soft, 0, 3, rank=rank, world_size=2) for rank in (0, 1)]
    assert [a + b for a, b in zip(*shares, strict=True)] == taken(soft, 0, 3)
    with pytest.raises(TrainingError, match=r"11 unlabelled clips .* none for some of 4 processes"):
        taken(soft, 0, 1, world_size=4)


def test_who_goes_on_asks_for_the_same_labels_of_the_same_weight(soft):
    other = dataclasses.replace(soft, provenance={"labels": "0b"})
    assert len({soft.identity, other.identity, dataclasses.replace(soft, mixing=0.5).identity}) == 3
    assert soft.identity.endswith(" of 11 clips, mixing 1")


@pytest.mark.parametrize("mixing", [-1, float("nan"), float("inf"), True])
def test_a_weight_that_is_none_is_refused(soft, mixing):
    with pytest.raises(TrainingError, match=r"mixing is .*; it must be a number from 0"):
        dataclasses.replace(soft, mixing=mixing)
