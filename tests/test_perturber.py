"""Waveforms that are perturbed anew each time that they are read for training."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch

from featurestore.errors import SpecError, TrainingError
from featurestore.specs.augmentation import MTAT, Augmentation
from featurestore.specs.perturbation import Condition
from featurestore.specs.waveform import WaveformSpec
from models.data import loader, training_data
from models.data.sampler import Pick
from models.training.loop import _Training, train
from models.training.settings import TrainSettings
from models.training.state import save_state
from pipeline.perturb import apply
from pipeline.perturb.audio import Audio
from pipeline.perturber import Perturber

SR = 16000


def perturber(steps, probability=1.0):
    return Perturber(augmentation=Augmentation.parse(steps, probability))


@pytest.fixture
def samples():
    return (0.3 * np.random.default_rng(0).standard_normal(3 * SR)).astype(np.float32)


def test_a_fixed_step_is_what_featurize_perturbs_with(samples):
    found = perturber("lowpass1000").perturb(samples, len(samples), sr=SR, seed=3)
    condition = Condition.parse("lowpass1000")
    expected = apply(Audio(samples=samples, sr=SR), condition, np.random.default_rng(3))
    np.testing.assert_array_equal(found, expected)


def test_a_seed_says_what_is_drawn(samples):
    made = perturber(MTAT)
    first, again, other = (made.perturb(samples, SR, sr=SR, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.dtype == np.float32
    assert pickle.loads(pickle.dumps(made)) == made


def test_as_many_samples_come_back_as_are_wanted_and_faster_ones_from_what_follows(samples):
    fast, slow = perturber("stretch1.2"), perturber("stretch0.8")
    given = samples[: fast.n_needed(SR)]
    assert len(given) > 1.2 * SR
    found = fast.perturb(given, SR, sr=SR, seed=0)
    assert found.shape == (SR,)
    assert np.abs(found[-SR // 10 :]).max() > 0.1  # no silence where there is audio
    at_the_end = fast.perturb(samples[:SR], SR, sr=SR, seed=0)
    np.testing.assert_array_equal(at_the_end[int(0.9 * SR) :], 0)
    assert slow.n_needed(SR) == SR
    assert slow.perturb(samples[:SR], SR, sr=SR, seed=0).shape == (SR,)


def test_nothing_may_be_drawn(samples):
    half = perturber("gain-6", 0.5)
    found = [half.perturb(samples, SR, sr=SR, seed=seed) for seed in range(200)]
    n_left = sum(np.array_equal(samples[:SR], one) for one in found)
    assert 70 < n_left < 130
    assert all(np.abs(one).max() <= np.abs(samples).max() for one in found)


WAVE = WaveformSpec(sr=44100)
STEPS = "gauss0.005,stretch0.8:1.2"


@pytest.fixture
def data(wave_store):
    return training_data(wave_store, WAVE, fold=0, draws=perturber(STEPS))


def test_training_clips_alone_are_perturbed_their_valid_part(wave_store, data):
    plain = training_data(wave_store, WAVE, fold=0)
    assert plain.draws is None
    assert data.draws == f"a draw each time of {STEPS} p1"
    assert torch.equal(data.validation[0].values, plain.validation[0].values)
    assert torch.equal(data.test[0].values, plain.test[0].values)

    data.train.n_valid[1] = 9000
    clean = plain.train[1].values
    got = data.train.windows(8000)[Pick(1, 0.5, 0.25)]
    again = data.train.windows(8000)[Pick(1, 0.5, 0.25)]
    other = data.train.windows(8000)[Pick(1, 0.5, 0.75)]
    assert got.values.shape == (1, 8000)
    assert got.n_valid == 8000
    assert torch.equal(got.values, again.values)
    assert not torch.equal(got.values, other.values)
    assert not torch.equal(got.values, clean[:, 500:8500])
    late = data.train[Pick(1, 0.0, 0.25)]
    assert late.n_valid == 9000
    assert late.values.shape == (1, 22050)
    assert torch.equal(late.values[:, 9000:], torch.zeros(1, 22050 - 9000))


def test_a_window_is_the_perturbed_audio_of_its_place(wave_store):
    data = training_data(wave_store, WAVE, fold=0, draws=perturber("gain-6"))
    plain = training_data(wave_store, WAVE, fold=0)
    got = data.train.windows(3000)[Pick(2, 0.5, 0.1)].values
    expected = 10 ** (-6 / 20) * plain.train.windows(3000)[Pick(2, 0.5, 0.1)].values
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("cached", [False, True])
def test_batches_are_the_same_whether_processes_read_ahead_or_not(data, cached):
    def epochs(order):
        return [batch.values for _ in range(2) for batch in order]

    def batches():
        return loader(data.train.windows(2000), batch_size=4, shuffle=True, seed=5)

    first = epochs(batches())
    if cached:
        data.train.preload()
    again = batches()
    assert all(map(torch.equal, first, epochs(again)))
    assert not torch.equal(first[0], first[len(first) // 2])  # another epoch, other draws


def test_what_cannot_be_perturbed_while_it_is_read_is_refused(wave_store, shared_store):
    mel = shared_store.specs[0]
    with pytest.raises(SpecError, match="waveforms alone can; featurize --draws stores draws"):
        training_data(shared_store, mel, fold=0, draws=perturber("gain-6"))
    with pytest.raises(SpecError, match="lowpass30000"):
        training_data(wave_store, WAVE, fold=0, draws=perturber("lowpass30000"))


SETTINGS = TrainSettings(
    model="sample", width=0.02, epochs=3, batch_size=4, draws=True, device="cpu", amp="off"
)


def test_a_network_trains_on_perturbed_waveforms_and_goes_on_to_the_very_same_weights(
    data, tmp_path
):
    whole = train(data, SETTINGS, progress=False)
    state = tmp_path / "state"
    ended = _Training(data, SETTINGS)
    for _ in range(2):
        ended.run_epoch(lambda: None)
    save_state(state, ended.identity, ended.state_dict())
    again = train(data, SETTINGS, state=state, progress=False)
    assert again.training.losses == whole.training.losses
    assert np.array_equal(again.predictions, whole.predictions)


def test_what_perturbs_is_part_of_what_was_trained(wave_store, data, tmp_path):
    state = tmp_path / "state"
    train(data, dataclasses.replace(SETTINGS, epochs=1), state=state, progress=False)
    other = training_data(wave_store, WAVE, fold=0, draws=perturber("gain-6"))
    with pytest.raises(TrainingError, match="draws"):
        train(other, dataclasses.replace(SETTINGS, epochs=1), state=state, progress=False)
    plain = training_data(wave_store, WAVE, fold=0)
    with pytest.raises(TrainingError, match="draws is True in the settings"):
        train(plain, SETTINGS, progress=False)
