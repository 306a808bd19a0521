import dataclasses

import numpy as np
import pytest
import torch

from featurestore import FeatureSpec
from featurestore.errors import TrainingSettingsError
from models.data import ClipDataset, training_data
from models.networks import ARCHITECTURES
from models.training.loop import train
from models.training.predict import predict, predict_chunks
from models.training.settings import TrainSettings

SETTINGS = TrainSettings(width=0.03, epochs=2, batch_size=6, seed=1, device="cpu", amp="off")


def test_probabilities_are_in_the_clips_order(toy_store):
    data = training_data(toy_store, toy_store.specs[0])
    trained = train(data, SETTINGS, progress=False)
    whole = predict(trained.checkpoint.network, data.test, trained.checkpoint.task, SETTINGS)
    assert whole.shape == (8, 3)
    assert whole.min() >= 0
    assert whole.max() <= 1
    values = data.test[5].values
    with torch.inference_mode():
        alone = trained.checkpoint.network(values[None]).sigmoid()
    np.testing.assert_allclose(whole[5], alone[0], atol=1e-6)  # float32, other batch size


@pytest.fixture
def long_store(write_store):
    """12 clips of 150 frames, 3 of these short; the tag is told by the loudness of what is valid.

    Padding is loud in clips without the tag: who learns from it, errs.
    """
    spec = FeatureSpec(sr=16000, n_mels=16, hop=4)
    rng = np.random.default_rng(3)
    tag = np.arange(36) % 2
    n_valid = np.where(np.arange(36) % 4 < 2, 60, 150)
    values = -60 + 30 * tag[:, None, None] + rng.normal(0, 2, (36, 16, 150))
    for row, n in enumerate(n_valid):
        values[row, :, n:] = -60 + 30 * (1 - tag[row])
    return write_store(
        {spec: values.astype(np.float32)},
        tags={"loud": tag},
        split=["train"] * 20 + ["validation"] * 8 + ["test"] * 8,
        n_valid=((n_valid - 0.5) * spec.hop_length).astype(int).tolist(),
    )


def test_networks_of_windows_are_trained_and_predict_from_what_is_valid(long_store):
    data = training_data(long_store, long_store.specs[0])
    assert sorted(set(data.train.n_valid)) == [60, 150]
    settings = dataclasses.replace(SETTINGS, model="musicnn", epochs=6, learning_rate=5e-3)
    trained = train(data, settings, progress=False)
    assert trained.training.test.roc_auc == 1

    # By hand: 46 frames are 3 s; one window of a clip of 60 frames, three of one of 150.
    assert ARCHITECTURES["musicnn"].window_frames(data.spec, data.n_frames) == 46
    for row, n_windows in ((0, 1), (2, 3)):
        values = data.test[row].values
        starts = [46 * i for i in range(n_windows)]
        windows = torch.stack([values[:, start : start + 46] for start in starts])
        with torch.inference_mode():
            expected = trained.checkpoint.network(windows).sigmoid().mean(0)
        np.testing.assert_allclose(trained.predictions[row], expected, atol=1e-6)


def test_a_clip_shorter_than_a_window_is_predicted_from_what_there_is_and_padding(long_store):
    data = training_data(long_store, long_store.specs[0])
    settings = dataclasses.replace(SETTINGS, model="musicnn", epochs=1)
    data.test.n_valid[0] = 20
    trained = train(data, settings, progress=False)
    with torch.inference_mode():
        expected = trained.checkpoint.network(data.test[0].values[None, :, :46]).sigmoid()[0]
    np.testing.assert_allclose(trained.predictions[0], expected, atol=1e-6)


def test_a_network_without_a_window_takes_clips_with_their_padding(long_store):
    data = training_data(long_store, long_store.specs[0])
    trained = train(data, SETTINGS, progress=False)
    assert data.test.n_valid[0] == 60
    with torch.inference_mode():
        expected = trained.checkpoint.network(data.test[0].values[None]).sigmoid()[0]
    np.testing.assert_allclose(trained.predictions[0], expected, atol=1e-6)


def test_windows_are_drawn_by_seed_and_clip_whatever_other_clips_there_are(long_store):
    data = training_data(long_store, long_store.specs[0])
    settings = dataclasses.replace(SETTINGS, model="musicnn", epochs=1)
    trained = train(data, settings, progress=False)
    network, task = trained.checkpoint.network, trained.checkpoint.task

    def drawn(dataset, **how):
        return predict_chunks(network, dataset, task, settings, **{"chunks": 20, **how})[0]

    clips = drawn(data.test)
    assert {of_clip.shape for of_clip in clips} == {(20, 1)}
    rows = data.test.rows
    alone = ClipDataset(
        long_store[data.spec],
        rows[4:5],
        data.test.labels[4:5],
        n_valid=data.test.n_valid[4:5],
        clip_ids=data.test.clip_ids[4:5],
    )
    np.testing.assert_allclose(drawn(alone)[0], clips[4], atol=1e-6)  # other batch size
    assert (drawn(data.test, seed=1)[4] != clips[4]).any()
    # Windows of a short clip lie within its valid frames: padding would be told.
    valid = data.test[0].values[:, :60]
    with torch.inference_mode():
        every = network(valid.unfold(1, 46, 1).transpose(0, 1).contiguous()).sigmoid()
    for value in clips[0]:
        assert (every - torch.from_numpy(value)).abs().min() < 1e-6


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"chunks": 0}, "chunks is 0; it must be at least 1"),
        ({"chunks": 2, "seed": -1}, "seed is -1; it must be at least 0"),
        ({"chunks": 2}, "vgg takes whole clips, of 24 frames, .* leave --chunks out"),
    ],
)
def test_windows_that_cannot_be_drawn_are_refused(how, message, toy_store):
    data = training_data(toy_store, toy_store.specs[0])
    trained = train(data, dataclasses.replace(SETTINGS, epochs=1), progress=False).checkpoint
    with pytest.raises(TrainingSettingsError, match=message):
        predict_chunks(trained.network, data.test, trained.task, SETTINGS, **how)


def test_a_recipe_may_judge_by_windows_that_are_evenly_spaced(long_store):
    data = training_data(long_store, long_store.specs[0])
    settings = dataclasses.replace(SETTINGS, model="musicnn", epochs=2, recipe="won2020")
    trained = train(data, settings, progress=False)
    for row, n_valid in ((0, 60), (2, 150)):
        values = data.test[row].values
        starts = [i * (n_valid - 46) // 16 for i in range(16)]
        windows = torch.stack([values[:, start : start + 46] for start in starts])
        with torch.inference_mode():
            expected = trained.checkpoint.network(windows).sigmoid().mean(0)
        np.testing.assert_allclose(trained.predictions[row], expected, atol=1e-6)


def test_under_bfloat16_the_mean_over_windows_is_of_float32(long_store):
    data = training_data(long_store, long_store.specs[0])
    settings = dataclasses.replace(
        SETTINGS, model="musicnn", epochs=1, recipe="won2020", amp="bf16"
    )
    trained = train(data, settings, progress=False)
    rounded = torch.from_numpy(trained.predictions).bfloat16().float().numpy()
    assert not np.array_equal(trained.predictions, rounded)
