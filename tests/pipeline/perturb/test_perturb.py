"""What holds of every perturbation."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest

import pipeline.perturb
from featurestore.errors import SpecError
from featurestore.specs.perturbation import PERTURBATIONS, Condition, Perturbation
from pipeline.perturb import load_perturbation
from pipeline.perturb.audio import Audio

EXAMPLES = {
    "gauss": ["gauss0", "gauss0.005"],
    "noise": ["noise0", "noise0.1", "noise0.4", "noise1"],
    "stretch": ["stretch0.707107", "stretch1.414214"],
    "tempo": ["tempo0.25", "tempo0.6", "tempo1", "tempo1.9", "tempo4"],
    "pitch": ["pitch-1", "pitch1"],
    "drc-music": ["drc-music"],
    "drc-speech": ["drc-speech"],
    "lowpass": ["lowpass10", "lowpass1000", "lowpass3999"],
    "highpass": ["highpass10", "highpass1500", "highpass3999"],
    "echo": ["echo0.8_0.88_60_0.4", "echo1_1_1_1", "echo0.6_0.6_5000_0"],
    "bundle": ["bundle600_0.7", "bundle500_1.2"],
    "gain": ["gain-6", "gain40"],
    "mp3": ["mp3-32", "mp3-64"],
}
DRAWN = ("gauss", "noise")
RATES = (8000, 16000, 22050, 44100, 48000)
every = pytest.mark.parametrize("name", [name for names in EXAMPLES.values() for name in names])


def perturbed(name, samples, sr=16000, seed=0):
    perturbation = Perturbation.parse(name)
    module = load_perturbation(perturbation)
    module.require(sr, perturbation.amounts)
    generator = np.random.default_rng(seed)
    return module.perturb(Audio(samples=samples, sr=sr), perturbation.amounts, generator)


def n_perturbed(name, n_samples):
    return round(n_samples / Perturbation.parse(name).speed)


def test_every_perturbation_has_examples_here():
    assert set(EXAMPLES) == set(PERTURBATIONS)
    assert all(EXAMPLES.values())


@every
def test_its_name_reads_back(name):
    assert Perturbation.parse(name).name == name


@every
def test_music_keeps_its_length_but_for_the_speed_and_the_shortest_clips_too(name, piece):
    for sr, n_samples in product(RATES, (1, 2, 3, 100, 1601, 30_001)):
        result = perturbed(name, piece[20_000 : 20_000 + n_samples], sr)
        assert result.dtype == np.float32
        assert result.shape == (n_perturbed(name, n_samples),), (sr, n_samples)
        assert np.isfinite(result).all(), (sr, n_samples)


@every
def test_silence_stays_silent_unless_noise_is_added(name):
    for sr in RATES:
        result = perturbed(name, np.zeros(20_000, np.float32), sr)
        assert result.shape == (n_perturbed(name, 20_000),), sr
        assert result.any() == (name == "gauss0.005"), sr


@every
def test_full_scale_is_borne(name):
    square = np.where(np.arange(20_000) // 50 % 2, 1, -1).astype(np.float32)
    for sr in RATES:
        result = perturbed(name, square, sr)
        assert np.isfinite(result).all(), sr
        assert result.shape == (n_perturbed(name, 20_000),), sr
        assert result.any(), sr


@every
def test_the_same_seed_gives_the_same_bits_in_any_thread(name, piece):
    alone = perturbed(name, piece[:30_000])
    with ThreadPoolExecutor(4) as pool:
        others = list(pool.map(lambda _: perturbed(name, piece[:30_000]), range(8)))
    assert {other.tobytes() for other in others} == {alone.tobytes()}


@every
def test_chance_comes_from_the_generator_alone(name, piece):
    first, second = (perturbed(name, piece[:30_000], seed=seed) for seed in (1, 2))
    draws = name.startswith(DRAWN) and Perturbation.parse(name).amounts != (0,)
    assert (first.tobytes() != second.tobytes()) == draws


@every
def test_the_samples_given_are_not_changed(name, piece):
    given = piece[:30_000].copy()
    given.flags.writeable = False
    result = perturbed(name, given)
    assert not np.shares_memory(result, given)
    np.testing.assert_array_equal(given, piece[:30_000])


def test_perturbations_follow_one_another(piece):
    audio = Audio(samples=piece[:30_000], sr=16000)
    condition = Condition.parse("gain-6~lowpass1000~tempo1.5")
    result = pipeline.perturb.apply(audio, condition, np.random.default_rng(0))
    quiet = perturbed("lowpass1000", perturbed("gain-6", audio.samples))
    np.testing.assert_array_equal(result, perturbed("tempo1.5", quiet))


def test_a_condition_is_refused_if_one_of_its_perturbations_is():
    condition = Condition.parse("gain-6~lowpass4000")
    pipeline.perturb.require(condition, 16000)
    with pytest.raises(SpecError, match=r"'lowpass4000': .* 4000 Hz; at 8000 Hz .* below 4000"):
        pipeline.perturb.require(condition, 8000)


def test_the_clean_condition_is_never_refused():
    pipeline.perturb.require(Condition.parse("clean"), 1)
