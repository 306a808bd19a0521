import itertools
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from featurestore import FeatureSpec
from featurestore.errors import TrainingError, UnknownSpecError
from featurestore.specs.perturbation import Condition
from models.data import ClipDataset, folds_of, loader, split_rows, training_data
from models.data.sampler import Pick

SPEC = FeatureSpec(sr=16000, n_mels=8, hop=10)


@pytest.fixture
def array(write_store):
    """Row r of 40, frame f of 12: every value is 100 r + f; float16 keeps them exactly to 2048."""
    values = 40 * np.arange(40)[:, None, None] + np.arange(12) + np.zeros((40, 8, 12))
    return write_store({SPEC: values.astype(np.float32)}, tags={})[SPEC]


def dataset(array, n=40, length=None):
    rows = np.arange(n)[::-1].copy()
    return ClipDataset(array, rows, np.eye(n, dtype=np.float32), length=length)


def frames(clip, row):
    """The frame numbers that a clip of that row shows."""
    return (clip[0] - 40 * row).int().tolist()


@pytest.mark.parametrize("cached", [False, True])
def test_item_i_is_row_i_of_the_rows_given_with_its_labels(array, cached):
    clips = dataset(array)
    if cached:
        clips.preload()
    values, labels, n_valid = clips[3]
    assert values.shape == (8, 12)
    assert values.dtype == labels.dtype == torch.float32
    assert torch.equal(values, torch.from_numpy(array[36]))
    assert labels.argmax() == 3
    assert n_valid == 12


@pytest.mark.parametrize("cached", [False, True])
def test_a_batch_is_the_items_one_by_one(array, cached):
    clips = dataset(array)
    if cached:
        clips.preload()
    for (values, labels, _), index in zip(clips.__getitems__([5, 0, 5]), [5, 0, 5], strict=True):
        assert torch.equal(values, clips[index][0])
        assert torch.equal(labels, clips[index][1])


@pytest.mark.parametrize("cached", [False, True])
def test_windows_start_anywhere_and_stay_within_the_clip(array, cached):
    clips = dataset(array, length=5)
    if cached:
        clips.preload()
    torch.manual_seed(0)
    starts = set()
    for _ in range(10):
        for i, (values, *_) in enumerate(clips.__getitems__(range(40))):
            shown = frames(values, 39 - i)
            assert shown == list(range(shown[0], shown[0] + 5))
            starts.add(shown[0])
    assert starts == set(range(8))  # 12 frames hold a window of 5 at 8 places


def test_windows_are_drawn_from_torchs_generator(array):
    clips = dataset(array, length=3)
    torch.manual_seed(7)
    first = torch.stack([values for values, *_ in clips.__getitems__(range(40))])
    torch.manual_seed(7)
    again = torch.stack([values for values, *_ in clips.__getitems__(range(40))])
    assert torch.equal(first, again)


@pytest.mark.parametrize("cached", [False, True])
def test_windows_keep_to_the_valid_frames_and_say_where_padding_begins(array, cached):
    rows, n_valid = np.arange(3), np.array([7, 5, 3])
    whole = ClipDataset(array, rows, np.eye(3, dtype=np.float32), n_valid=n_valid)
    if cached:
        whole.preload()
    assert [clip.n_valid for clip in whole.__getitems__([0, 1, 2])] == [7, 5, 3]
    clips = whole.windows(5)
    assert clips.cached == cached
    torch.manual_seed(0)
    shown = [clips.__getitems__([0, 1, 2]) for _ in range(40)]
    assert {frames(batch[0].values, 0)[0] for batch in shown} == {0, 1, 2}  # 0-4, 1-5, 2-6
    assert {frames(batch[1].values, 1)[0] for batch in shown} == {0}
    assert {frames(batch[2].values, 2)[0] for batch in shown} == {0}
    assert {tuple(clip.n_valid for clip in batch) for batch in shown} == {(5, 5, 3)}


def test_a_pick_says_where_a_window_is(array):
    clips = dataset(array, length=5)
    picks = [Pick(39, 0.0), Pick(39, 0.5), Pick(39, 0.99)]
    assert [frames(clip.values, 0)[0] for clip in clips.__getitems__(picks)] == [0, 4, 7]


def test_what_is_padding_is_told_for_each_clip(write_store):
    # A hop of 2560 at 16 kHz is 5120 at 32 kHz; a frame is audio if its centre is.
    n_valid = [1, 5000, 5300, 8000, 10**6, 1000]
    store = write_store(
        {SPEC: np.zeros((6, 8, 4), np.float32)},
        tags={"a": [0, 1] * 3},
        split=["train"] * 2 + ["validation"] * 2 + ["test"] * 2,
        n_valid=n_valid,
        sr=32000,
    )
    data = training_data(store, SPEC)
    parts = (data.train, data.validation, data.test)
    assert [n for part in parts for n in part.n_valid] == [1, 1, 2, 2, 4, 1]
    batch = next(iter(loader(data.validation, batch_size=2)))
    assert batch.n_valid.tolist() == [2, 2]
    mask = torch.arange(data.n_frames) < batch.n_valid[:, None]
    assert mask.tolist() == [[True, True, False, False]] * 2


@pytest.mark.parametrize("length", [0, 13])
def test_a_window_longer_than_the_clip_is_refused(array, length):
    with pytest.raises(TrainingError, match=f"length is {length} frames.*choose 1 to 12"):
        dataset(array, length=length)


@pytest.mark.parametrize("cached", [False, True])
def test_the_loader_gives_every_clip_once_in_order_or_shuffled(array, cached):
    clips = dataset(array)
    if cached:
        clips.preload()
    assert clips.cached == cached

    def order(batches):
        return [int(label) for batch in batches for label in batch.labels.argmax(1)]

    assert order(loader(clips, batch_size=16)) == list(range(40))
    shuffled = loader(clips, batch_size=16, shuffle=True, seed=3)
    first, second = order(shuffled), order(shuffled)
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second
    assert order(loader(clips, batch_size=16, shuffle=True, seed=3)) == first
    assert order(loader(clips, batch_size=16, shuffle=True, seed=4)) != first


def test_batches_are_even(array):
    clips = dataset(array, n=33)
    clips.preload()
    assert [len(values) for values, *_ in loader(clips, batch_size=32)] == [17, 16]
    assert [len(values) for values, *_ in loader(clips, batch_size=11)] == [11, 11, 11]
    assert len(loader(clips, batch_size=32)) == 2


RESUME = """
import sys, json, torch
from featurestore import FeatureStore
from models.data import ClipDataset, loader
import numpy as np

path, taken, states = sys.argv[1:]
array = FeatureStore.open(path)["sr16000-mel8-x10-db"]
answer = []
for cached, state in zip((True, False), json.loads(states)):
    clips = ClipDataset(array, np.arange(40), np.eye(40, dtype=np.float32), length=5)
    if cached:
        clips.preload()
    batches = loader(clips, batch_size=6, shuffle=True, seed=3)
    if state:
        batches.load_state_dict(state)
    epoch = iter(batches)
    for _ in range(int(taken)):
        next(epoch)
    left = batches.state_dict()
    rest = [b.values.mean((1, 2)).tolist() for part in (epoch, batches) for b in part]
    answer.append({"state": left, "rest": rest})
print(json.dumps(answer))
"""


def test_a_new_process_goes_on_in_mid_epoch_with_the_very_batches_that_were_left(array):
    """Held in memory, and read ahead by two workers."""

    def run(taken, states):
        done = subprocess.run(
            [sys.executable, "-c", RESUME, array._files.root, taken, json.dumps(states)],
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    whole = run("3", [None, None])
    again = run("0", [answer["state"] for answer in whole])
    for before, after in zip(whole, again, strict=True):
        assert (before["state"]["epoch"], before["state"]["batch"]) == (0, 3)
        assert len(before["rest"]) == 4 + 7
        assert after["rest"] == before["rest"]


def test_an_order_is_the_same_with_workers_and_without(array):
    read, kept = dataset(array, length=5), dataset(array, length=5)
    kept.preload()
    for ours, theirs in zip(
        loader(read, batch_size=7, shuffle=True, seed=1),
        loader(kept, batch_size=7, shuffle=True, seed=1),
        strict=True,
    ):
        assert torch.equal(ours.values, theirs.values)
        assert torch.equal(ours.labels, theirs.labels)


def test_a_daemon_reads_without_workers_as_it_may_not_start_any(array, monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # Dask's are
    assert [len(values) for values, *_ in loader(dataset(array), batch_size=20)] == [20, 20]


READ_AHEAD = """
import sys
import numpy as np
from featurestore import FeatureStore
from models.data import ClipDataset, loader

store = FeatureStore.open(sys.argv[1])
clips = ClipDataset(store[store.specs[0]], np.arange(40), np.zeros((40, 2), np.float32))
print(len(list(loader(clips, batch_size=20, shuffle=False))))
"""


def read_ahead(array, *wrapper, **environment):
    """Read a store's clips in processes, in a process of its own."""
    house = str(Path(__file__).parents[3])
    return subprocess.run(
        [*wrapper, sys.executable, "-c", READ_AHEAD, array._files.root],
        env={**os.environ, "PYTHONPATH": house, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_processes_read_ahead_whatever_the_path_for_temporary_files(array, tmp_path):
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    done = read_ahead(array, TMPDIR=str(folder))
    assert done.stdout == "2\n", done.stderr


@pytest.mark.parametrize("size", ["4k", "32k"])  # no room to start, or for the first batch
def test_no_room_for_batches_that_are_read_ahead_is_said_so(array, size):
    small = f"mount -t tmpfs -o size={size} tmpfs /dev/shm && echo > /dev/shm/file && exec "
    wrapper = ("unshare", "--mount", "sh", "-c", small + '"$@"', "sh")
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode:
        pytest.skip("mounting a file system takes root")
    done = read_ahead(array, *wrapper)
    assert done.returncode == 1
    assert (
        "featurestore.errors.RunError: /dev/shm has no room for the batches that processes read "
        "ahead; enlarge it (docker run --shm-size 1g)"
    ) in done.stderr


def test_after_an_epoch_left_early_the_next_is_whole(array):
    clips = dataset(array)
    clips.preload()
    batches = loader(clips, batch_size=16)
    next(iter(batches))
    assert len(list(batches)) == 3


def test_a_state_at_an_epochs_end_goes_on_with_the_next(array):
    clips = dataset(array)
    clips.preload()
    batches, others = (loader(clips, batch_size=16, shuffle=True, seed=2) for _ in range(2))
    for batch in batches:
        assert len(batch.values) in (13, 14)
    state = batches.state_dict()
    assert (state["epoch"], state["batch"]) == (1, 0)
    others.load_state_dict(state)
    for ours, theirs in zip(batches, others, strict=True):
        assert torch.equal(ours.values, theirs.values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "its batch_size was 16, and is 8 now"),
        ({"seed": 2}, "its seed was 1, and is 2 now"),
    ],
)
def test_the_state_of_another_order_is_refused(array, change, message):
    usual = {"batch_size": 16, "shuffle": True, "seed": 1}
    state = loader(dataset(array), **usual).state_dict()
    with pytest.raises(TrainingError, match=message):
        loader(dataset(array), **usual | change).load_state_dict(state)


def test_size_is_that_of_the_values_as_float32(array):
    clips = dataset(array, n=10)
    assert clips.nbytes == 10 * 8 * 12 * 4
    clips.preload()
    assert sum(values.nbytes for values in clips._cached) == clips.nbytes


def test_training_data_holds_each_split_without_rows_that_failed(toy_store):
    data = training_data(toy_store, "sr16000-mel8-x10-db")
    assert data.spec == SPEC
    assert data.n_frames == 24
    assert data.tags == ("loud", "tilted", "coin")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [18, 9, 8]
    assert data.encoding == "float16"
    assert data.bytes_per_clip == toy_store[SPEC].nbytes_stored / 35
    clips = toy_store.clips
    assert np.array_equal(data.test.labels[:, 0], clips["loud"][27:35])
    assert np.array_equal(data.validation[2][0], toy_store[SPEC][20])


def test_rows_that_failed_or_are_pending_are_left_out(tiny_store):
    # Of 20 rows, half are train, a quarter each the others; row 5 failed, 13 is pending: train.
    data = training_data(tiny_store, tiny_store.specs[1])
    assert [len(s) for s in (data.train, data.validation, data.test)] == [8, 5, 5]
    assert len(list(loader(data.train, batch_size=3))) == 3


def test_tags_are_chosen_in_the_order_given_and_once(toy_store):
    data = training_data(toy_store, SPEC, tags=["coin", "loud", "coin"])
    assert data.tags == ("coin", "loud")
    assert np.array_equal(data.train.labels, toy_store.clips[["coin", "loud"]][:18])


def test_folds_make_splits_next_fold_validates(toy_store):
    folds = toy_store.clips["fold"].to_numpy()
    rows = split_rows(toy_store.clips, 1)
    assert set(folds[rows["test"]]) == {1}
    assert set(folds[rows["validation"]]) == {2}
    assert set(folds[rows["train"]]) == {0, 3}
    assert sum(map(len, rows.values())) == 36
    assert set(folds[split_rows(toy_store.clips, 3)["validation"]]) == {0}


def test_folds_need_not_be_numbered_in_a_row_and_clips_without_one_are_left_out():
    clips = pd.DataFrame({"split": "", "fold": [7, 2, -1, 5, 2]})
    rows = split_rows(clips, 5)
    assert {name: list(r) for name, r in rows.items()} == {
        "train": [1, 4],
        "validation": [0],
        "test": [3],
    }


def test_the_stores_own_splits_come_before_its_folds(toy_store, write_store):
    assert folds_of(toy_store) == [None]


def test_all_folds_are_offered_where_there_are_no_splits(write_store):
    store = write_store({SPEC: np.zeros((6, 8, 4), np.float32)}, tags={}, fold=[2, 0, 1, 0, -1, 2])
    assert folds_of(store) == [0, 1, 2]


def test_a_store_with_neither_splits_nor_folds_says_what_to_add(write_store):
    store = write_store({SPEC: np.zeros((4, 8, 4), np.float32)}, tags={"a": [0, 1, 0, 1]})
    with pytest.raises(TrainingError, match="neither splits nor folds; give the CSV a column"):
        folds_of(store)
    with pytest.raises(TrainingError, match="no splits; give the CSV a column 'split'"):
        training_data(store, SPEC)


@pytest.mark.parametrize(
    ("store", "arguments", "message"),
    [
        ({"tags": {}}, {}, "there are no tags to learn; featurize a CSV with tag columns"),
        ({}, {"tags": ["a", "z"]}, "the store has no tag z; it has a"),
        ({"tags": {"a": [1] * 6}}, {}, r"in the train split no tag \(a\) has clips both with"),
        ({"tags": {"a": [0, 1, 1, 1, 0, 1]}}, {}, "in the validation split no tag"),
        ({"split": ["train"] * 4 + ["test"] * 2}, {}, "the validation split has no ready clips"),
        ({"failed": [4, 5]}, {}, "the test split has no ready clips"),
        ({"failed": range(6)}, {}, "no clip of sr16000-mel8-x10-db is ready; run featurize again"),
        (
            {"split": [""] * 6, "fold": range(6)},
            {},
            "it has folds: choose the one to test on, 0, 1",
        ),
        ({"fold": range(6)}, {"fold": 6}, "fold is 6; it must be one of 0, 1, 2, 3, 4, 5"),
        ({"fold": [0, 1] * 3}, {"fold": 0}, "2 folds; train, validation and test need at least 3"),
        ({}, {"fold": 0}, "has 0 folds; .* need at least 3; leave fold out to use its splits"),
    ],
)
def test_a_store_that_cannot_be_learnt_from_says_why(write_store, store, arguments, message):
    usual = {
        "tags": {"a": [0, 1, 0, 1, 0, 1]},
        "split": ["train", "train", "validation", "validation", "test", "test"],
    }
    made = write_store({SPEC: np.zeros((6, 8, 4), np.float32)}, **usual | store)
    with pytest.raises(TrainingError, match=message):
        training_data(made, SPEC, **arguments)


def test_a_spec_that_is_not_stored_is_the_stores_error(toy_store):
    with pytest.raises(UnknownSpecError, match="holds no sr16000-mel48-x2-db"):
        training_data(toy_store, "sr16000-mel48-x2-db")


def test_the_digest_tells_other_labels_splits_tags_and_rows_apart(write_store):
    names = ["train", "validation", "test"]

    def digest(split=names, **changes):
        usual = {"tags": {"a": [0, 1] * 6}, "split": np.repeat(split, 4).tolist()}
        store = write_store({SPEC: np.zeros((12, 8, 4), np.float32)}, **usual | changes)
        return training_data(store, SPEC).digest

    different = [
        digest(),
        digest(tags={"a": [0, 1] * 5 + [1, 0]}),
        digest(tags={"b": [0, 1] * 6}),
        digest(split=names[::-1]),
        digest(failed=[0]),
    ]
    assert len(set(different)) == len(different)
    assert digest() == different[0]


def test_band_statistics_are_those_of_a_split(write_store):
    rng = np.random.default_rng(8)
    values = rng.normal(-30, 10, (6, 8, 4)).astype(np.float32)
    store = write_store(
        {SPEC: values},
        tags={"a": [0, 1] * 3},
        split=["train", "train", "validation", "validation", "test", "test"],
    )
    mean, std = training_data(store, SPEC).train.band_statistics()
    valid = np.concatenate(values[:2], axis=1)
    np.testing.assert_allclose(mean, valid.mean(1), rtol=2e-3)  # float16
    np.testing.assert_allclose(std, valid.std(1), rtol=2e-3)
    assert mean.dtype == std.dtype == torch.float32


# Random draws.


def drawn_data(store, **options):
    return training_data(store, SPEC, draws=True, **options)


def read_of(batches):
    """Of the clips of batches: row, and 0 for the clean one, 1 + k for draw k."""
    return [divmod(int(clip[0, 0]), 4) for batch in batches for clip in batch.values]


@pytest.mark.parametrize("cached", [False, True])
def test_each_epoch_reads_each_training_clip_from_one_of_its_draws(drawn_store, cached):
    data = drawn_data(drawn_store)
    if cached:
        data.train.preload()
    batches = loader(data.train, batch_size=7, shuffle=True, seed=3)
    counts = np.zeros((18, 4), int)
    for _ in range(300 if cached else 3):
        epoch = read_of(batches)
        assert sorted(row for row, _ in epoch) == list(range(18))
        for row, source in epoch:
            counts[row, source] += 1
    assert not counts[:3, 0].any()
    assert not counts[3, [0, 2]].any()  # which draw 1 lacks
    assert not counts[4, 1:].any()  # which all lack
    if cached:
        # a third of 300, within five standard deviations; of clip 3, a half
        assert np.abs(np.delete(counts, [3, 4], 0)[:, 1:] - 100).max() < 41
        assert np.abs(counts[3, [1, 3]] - 150).max() < 44


def test_which_draw_follows_from_seed_epoch_and_clip_alone(drawn_store):
    kept, read = drawn_data(drawn_store), drawn_data(drawn_store)
    kept.train.preload()
    usual = {"batch_size": 6, "shuffle": True, "seed": 1}
    batches, ahead = loader(kept.train, **usual), loader(read.train, **usual)
    first, second = read_of(batches), read_of(batches)
    assert sorted(first) != sorted(second)
    assert [read_of(ahead), read_of(ahead)] == [first, second]  # two processes read
    shares = [read_of(loader(kept.train, **usual, rank=r, world_size=3)) for r in range(3)]
    assert sorted(itertools.chain(*shares)) == sorted(first)
    assert sorted(read_of(loader(kept.train, **usual | {"seed": 2}))) != sorted(first)
    # in mid-epoch too
    begun, again = (loader(kept.train, **usual) for _ in range(2))
    left = iter(begun)
    next(left)
    again.load_state_dict(begun.state_dict())
    assert read_of(left) == read_of(again)
    assert read_of(begun) == read_of(again) == second


def test_windows_of_draws_are_cut_as_of_clips(write_store):
    draw = SPEC.under(Condition(draw=0))
    frames_of = np.arange(12) + np.zeros((4, 8, 12), np.float32)
    store = write_store({SPEC: frames_of, draw: frames_of + 100}, tags={})
    clips = ClipDataset(
        store[SPEC], np.arange(4), np.eye(4, dtype=np.float32), draws=[store[draw]], length=5
    )
    picks = [Pick(0, 0.0, 0.9), Pick(3, 0.99, 0.0)]
    for _ in range(2):
        assert [int(c.values[0, 0]) for c in clips.__getitems__(picks)] == [100, 107]
        clips.preload()
    torch.manual_seed(0)
    assert int(clips[2].values[0, 0]) >= 100


def test_validation_test_and_statistics_are_of_clips_as_they_are(drawn_store):
    clean, drawn = training_data(drawn_store, SPEC), drawn_data(drawn_store)
    for split in (drawn.validation, drawn.test):
        assert {source for _, source in read_of(loader(split, batch_size=9))} == {0}
    for a, b in zip(clean.train.band_statistics(), drawn.train.band_statistics(), strict=True):
        assert torch.equal(a, b)
    assert (drawn.digest, clean.draws) == (clean.digest, None)
    assert drawn.draws == "3 draws of pitch-5:5 p0.5"


def test_the_size_counts_all_draws_of_all_clips(drawn_store):
    clips = drawn_data(drawn_store).train
    assert clips.nbytes == (16 * 3 + 2 + 1) * 8 * 24 * 4
    clips.preload()
    assert sum(values.nbytes for values in clips._cached) == clips.nbytes


def test_clips_without_any_draw_are_counted(drawn_store):
    data = drawn_data(drawn_store)
    assert (data.train.n_draws, data.train.n_undrawn) == (3, 1)
    assert "1 of 18 training clips of sr16000-mel8-x10-db have no draw" in data.note
    assert training_data(drawn_store, SPEC).note is None


def test_draws_that_are_not_there_are_refused(drawn_store, toy_store):
    with pytest.raises(TrainingError, match=r"no random draws of sr16000-mel8.* --draws 4 makes"):
        drawn_data(toy_store)
    with pytest.raises(TrainingError, match=r"~draw0 is of perturbed audio; draws are of clean"):
        training_data(drawn_store, SPEC.under(Condition(draw=0)), draws=True)
