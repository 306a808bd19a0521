"""Shifting the pitch is librosa's, to float32 rounding."""

import warnings

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.perturb import pitch, stretch
from pipeline.perturb.audio import Audio

TOLERANCE = 1e-4
"""The issue's. What differs is the rounding of sums in float32, a few 1e-7."""

SEMITONES = (-12, -5, -1, -0.5, 0, 0.25, 1, 3.75, 12)


def shifted(samples, semitones, sr=16000):
    return pitch.perturb(Audio(samples=samples, sr=sr), (semitones,), np.random.default_rng(0))


def assert_librosas(samples, semitones, sr):
    before = samples.copy()
    got = shifted(samples, semitones, sr)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_fft=2048 is too large for input signal")
        expected = librosa.effects.pitch_shift(samples, sr=sr, n_steps=semitones)
    assert got.dtype == np.float32
    assert got.shape == samples.shape
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(samples, before)


@pytest.mark.parametrize("sr", [8000, 16000, 22050, 44100, 48000])
def test_any_sound_is_shifted_as_by_librosa(signal, sr):
    samples = signal(sr)
    for semitones in SEMITONES:
        assert_librosas(samples, semitones, sr)


@pytest.mark.parametrize("semitones", [-1, 0, 1])
@pytest.mark.parametrize("sound", ["music", "noise"])
def test_a_whole_clip_is_shifted_as_by_librosa(sound, semitones, request):
    assert_librosas(request.getfixturevalue(sound), semitones, 16000)


@given(n_samples=st.integers(4, 6000), semitones=st.floats(-24, 24))
def test_any_length_is_shifted_as_by_librosa_by_anything(n_samples, semitones):
    noise = np.random.default_rng(n_samples).uniform(-1, 1, n_samples).astype(np.float32)
    assert_librosas(noise, semitones, 22050)


@pytest.mark.parametrize("semitones", [-24, -12, 12, 24])
def test_of_next_to_nothing_as_many_samples_are_made(semitones):
    for n_samples in (0, 1, 2):
        got = shifted(np.ones(n_samples, np.float32), semitones)
        assert got.shape == (n_samples,)
        assert np.isfinite(got).all()


@pytest.mark.parametrize("semitones", [-7, 5])
def test_a_tone_is_as_many_semitones_higher(semitones):
    sr = 16000
    tone = np.sin(2 * np.pi * 440 * np.arange(sr) / sr).astype(np.float32)
    power = np.abs(np.fft.rfft(shifted(tone, semitones)[sr // 4 : -sr // 4]))
    assert 2 * np.argmax(power) == pytest.approx(440 * 2 ** (semitones / 12), abs=2)  # bins of 2 Hz


def test_bits_do_not_depend_on_what_else_was_made_of_the_audio(noise):
    generator = np.random.default_rng(0)
    shared = Audio(samples=noise[:100_000], sr=16000)
    stretch.perturb(shared, (0.8,), generator)
    pitch.perturb(shared, (3,), generator)
    np.testing.assert_array_equal(
        pitch.perturb(shared, (-1,), generator), shifted(noise[:100_000], -1)
    )
