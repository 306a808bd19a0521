"""Stretching is librosa's, to float32 rounding; also where little decides on a phase."""

import tracemalloc
import warnings

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.features.signal import n_needed
from pipeline.perturb import pitch, stretch
from pipeline.perturb.audio import Audio
from pipeline.perturb.dsp.vocoder import HOP, N_FFT

TOLERANCE = 1e-4
"""The issue's. What differs is the rounding of sums in float32, a few 1e-7."""

RATES = (0.5, 2**-0.5, 0.9, 1.0, 1.2, 2**0.5, 2.0)


def stretched(samples, rate, sr=16000):
    return stretch.perturb(Audio(samples=samples, sr=sr), (rate,), np.random.default_rng(0))


def librosa_stretched(samples, rate):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_fft=2048 is too large for input signal")
        return librosa.effects.time_stretch(samples, rate=rate)


def assert_librosas(samples, rate):
    before = samples.copy()
    got, expected = stretched(samples, rate), librosa_stretched(samples, rate)
    assert got.dtype == np.float32
    assert got.shape == expected.shape == (round(len(samples) / rate),)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(samples, before)


@pytest.mark.parametrize("sr", [8000, 16000, 22050, 44100, 48000])
def test_any_sound_is_stretched_as_by_librosa(signal, sr):
    samples = signal(sr)
    for rate in RATES:
        assert_librosas(samples, rate)


@pytest.mark.parametrize("rate", [2**-0.5, 1.0, 2**0.5])
@pytest.mark.parametrize("sound", ["music", "noise"])
def test_a_whole_clip_is_stretched_as_by_librosa(sound, rate, request):
    """Phases grow, and are rounded more coarsely, with every frame."""
    assert_librosas(request.getfixturevalue(sound), rate)


@given(n_samples=st.integers(1, 6000), rate=st.floats(0.25, 4))
def test_any_length_is_stretched_as_by_librosa_at_any_rate(n_samples, rate):
    noise = np.random.default_rng(n_samples).uniform(-1, 1, n_samples).astype(np.float32)
    assert_librosas(noise, rate)


@pytest.mark.parametrize("hertz", [50, 997, 7000])
def test_what_was_next_to_nothing_and_gets_loud_is_stretched_as_by_librosa(hertz, noise):
    """Beside a sine, magnitudes are what rounding leaves; but their phases are added up."""
    sine = np.sin(2 * np.pi * hertz / 16000 * np.arange(40_000)).astype(np.float32)
    assert_librosas(np.concatenate([sine, noise[:40_000]]), 2**0.5)
    assert_librosas(np.concatenate([1e-6 * noise[:20_000], noise[20_000:40_000]]), 2**-0.5)


def test_librosas_phases_in_double_precision_are_others(noise):
    """Why sums are rounded: in the limit of many digits librosa returns something else."""
    rounded = librosa_stretched(noise, 2**-0.5)
    exact = librosa_stretched(noise.astype(np.float64), 2**-0.5)
    assert np.std(rounded - exact) > 0.1 * np.std(exact)


def test_nothing_is_stretched_to_nothing():
    assert stretched(np.zeros(0, np.float32), 0.5).shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_or_overflows_stays_so_without_a_warning(noise, value):
    samples = noise[:9000].copy()
    samples[4000:4100] = value
    assert not np.isfinite(stretched(samples, 0.8)).all()


def test_bits_do_not_depend_on_what_else_was_made_of_the_audio(noise):
    generator = np.random.default_rng(0)
    shared = Audio(samples=noise[:100_000], sr=16000)
    for rate in (0.8, 1.7):
        stretch.perturb(shared, (rate,), generator)
    pitch.perturb(shared, (3,), generator)
    np.testing.assert_array_equal(
        stretch.perturb(shared, (1.1,), generator), stretched(noise[:100_000], 1.1)
    )
    assert "spectra" in vars(shared)


def test_memory_stays_within_three_times_the_stft(noise):
    stft = 1025 * (1 + len(noise) // 512) * np.dtype(np.complex64).itemsize
    audio, generator = Audio(samples=noise, sr=16000), np.random.default_rng(0)
    tracemalloc.start()
    for rate in (2**-0.5, 2**0.5):
        stretch.perturb(audio, (rate,), generator)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert stft < peak < 3 * stft


def samples_needed(n_samples, rate):
    """How many samples the first `n_samples` stretched ones are made from: the frames' reach."""
    last = (n_samples + N_FFT // 2 - 1) // HOP  # frame that reaches into those wanted
    return (int(last * rate) + 1) * HOP + N_FFT // 2


@pytest.mark.parametrize("rate", [0.25, 0.5, 2**-0.5, 1.0, 1.2, 2**0.5, 4.0])
@pytest.mark.parametrize("n_samples", [1, 511, 512, 513, 7000, 16384, 40_000])
def test_with_the_samples_needed_the_first_ones_are_complete(noise, n_samples, rate):
    needed = samples_needed(n_samples, rate)
    assert n_samples * rate <= needed <= (n_samples + 1024) * rate + 1536
    assert rate <= 1 or needed <= n_needed(n_samples, rate)  # what the plan gives it
    first = stretched(noise[:needed], rate)[:n_samples]
    assert first.shape == (n_samples,)
    for more in (1, 500, 5000, 50_000):
        np.testing.assert_array_equal(stretched(noise[: needed + more], rate)[:n_samples], first)


def test_with_fewer_samples_than_needed_the_last_ones_are_others(noise):
    needed = samples_needed(7168, 1.3)
    last = slice(7168 - 512, 7168)
    difference = stretched(noise[: needed - 512], 1.3)[last] - stretched(noise, 1.3)[last]
    assert np.abs(difference).max() > TOLERANCE
