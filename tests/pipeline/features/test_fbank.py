"""Parity with `torchaudio.compliance.kaldi.fbank`, itself where it is installed.

Tolerances of log mel: 2e-3 at most and 1e-4 on average. torchaudio's filters are in single
precision, which makes a difference of 2e-4. With its transforms in single precision too, bands
beside a full-scale sine are off by up to 8e-3: what is not music it gets as float64.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from featurestore.errors import SpecError
from featurestore.specs.fbank import FbankSpec
from pipeline.features.fbank import fbank, filters

GOLDEN = Path(__file__).with_name("fbank-torchaudio-2.11.npz")
"""16-bit samples as `samples`, and what torchaudio makes of them as float64, by spec's name."""

SPEC = FbankSpec(sr=16000)
SPECS = (
    SPEC,
    FbankSpec(sr=8000, n_mels=23, hop_length=80, win_length=200, fmin=100, fmax=3800),
    FbankSpec(sr=22050, n_mels=40, hop_length=220, win_length=551),
    FbankSpec(sr=44100, n_mels=80, hop_length=441, win_length=1102, fmin=0),
    FbankSpec(sr=48000, n_mels=64, hop_length=480, win_length=1200, fmax=20000),
)


@pytest.fixture(scope="module")
def kaldi():
    """torchaudio's function, of samples and a spec."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torchaudio.compliance.kaldi import fbank
    except (ImportError, OSError) as error:  # OSError: built for another PyTorch
        pytest.skip(f"torchaudio is not installed: {error}")

    def values(samples, spec):
        return fbank(
            torch.from_numpy(samples)[None],
            sample_frequency=spec.sr,
            window_type="hanning",
            num_mel_bins=spec.n_mels,
            frame_length=1000 * (spec.win_length + 0.5) / spec.sr,  # it rounds down
            frame_shift=1000 * (spec.hop_length + 0.5) / spec.sr,
            low_freq=spec.fmin,
            high_freq=spec.fmax or 0,
        ).numpy().T  # fmt: skip

    return values


def golden(spec):
    with np.load(GOLDEN) as arrays:
        return (arrays["samples"] / 32768).astype(np.float32), arrays[spec.name]


def music_like(sr, seconds=1):
    """A plucked chord over a noise floor, off zero by a constant, then silence."""
    rng = np.random.default_rng(0)
    t = np.arange(seconds * sr) / sr
    chord = sum(np.sin(2 * np.pi * f * t) * np.exp(-4 * t) for f in (110, 277.2, 659.3, 1760))
    samples = 0.2 * chord + 1e-3 * rng.standard_normal(len(t)) + 0.05
    samples[t > 0.75 * seconds] = 0
    return samples.astype(np.float32)


def agree(values, expected):
    difference = np.abs(values - expected)
    return difference.max() <= 2e-3 and difference.mean() < 1e-4


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_values_are_those_that_torchaudio_gave(spec):
    samples, expected = golden(spec)
    values = fbank(samples, spec)
    assert values.dtype == np.float32
    assert values.shape == expected.shape == spec.shape(len(samples))
    assert agree(values, expected)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_what_torchaudio_gave_is_what_it_gives(kaldi, spec):
    samples, expected = golden(spec)
    # float32, as which it is stored, and another machine's FFT
    np.testing.assert_allclose(kaldi(samples.astype(np.float64), spec), expected, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_values_of_music_are_torchaudios_in_single_precision_too(kaldi, spec):
    samples = music_like(spec.sr)
    assert agree(fbank(samples, spec), kaldi(samples, spec))


SIGNALS = {
    "silence": lambda t: np.zeros(len(t)),
    "constant": np.ones_like,
    "click": lambda t: np.eye(1, len(t), len(t) // 2)[0],
    "full-scale sine": lambda t: np.sin(2 * np.pi * 997 * t),
    "low sine": lambda t: np.sin(2 * np.pi * 50 * t),
    "high sine": lambda t: np.sin(2 * np.pi * 0.47 * np.arange(len(t))),
    "noise": lambda t: np.random.default_rng(1).uniform(-1, 1, len(t)),
    "faint noise": lambda t: np.random.default_rng(2).uniform(-1e-4, 1e-4, len(t)),
    "square": lambda t: np.sign(np.sin(2 * np.pi * 440 * t)),
    "high square": lambda t: np.sign(np.sin(2 * np.pi * 0.46 * np.arange(len(t)))),
    "random signs": lambda t: np.random.default_rng(3).choice([-1.0, 1.0], len(t)),
    "a frame": lambda t: np.random.default_rng(4).uniform(-1, 1, len(t))[:1200],
}


def signal(name, sr):
    return SIGNALS[name](np.arange(sr) / sr).astype(np.float32)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("name", SIGNALS)
def test_values_of_awkward_signals_are_torchaudios(kaldi, name, spec):
    samples = signal(name, spec.sr)
    values = fbank(samples, spec)
    assert np.isfinite(values).all()
    assert agree(values, kaldi(samples.astype(np.float64), spec))


def from_the_table(
    samples, spec, *, keep_mean=False, preemphasis=0.97, window=np.hanning, floor=2**-23, n_fft=512
):
    """The definition in float64, frame by frame, with ingredients to leave out."""
    frames = []
    for i in range(spec.n_frames(len(samples))):
        frame = samples[i * spec.hop_length :][: spec.win_length].astype(np.float64)
        frame -= 0 if keep_mean else frame.mean()
        frame = frame - preemphasis * np.concatenate([frame[:1], frame[:-1]])
        frames.append(frame * window(spec.win_length))
    power = np.abs(np.fft.rfft(frames, n=n_fft)) ** 2
    mel = 1127 * np.log(1 + np.fft.rfftfreq(n_fft, 1 / spec.sr) / 700)
    low, high = (1127 * np.log(1 + f / 700) for f in (spec.fmin, spec.sr / 2))
    step = (high - low) / (spec.n_mels + 1)
    peaks = low + step * np.arange(1, spec.n_mels + 1)
    weights = np.maximum(0, 1 - np.abs(mel - peaks[:, None]) / step)
    return np.log(np.maximum(weights @ power.T, floor))


def periodic(length):
    return np.hanning(length + 1)[:-1]


def test_the_definition_has_all_ingredients_of_torchaudio():
    samples, expected = golden(SPEC)
    assert agree(from_the_table(samples, SPEC), expected)


@pytest.mark.parametrize(
    "left_out",
    [
        {"preemphasis": 0.0},
        {"preemphasis": 0.95},
        {"keep_mean": True},
        {"window": periodic},
        {"window": np.hamming},
        {"floor": 1e-10},
        {"n_fft": 400},
        {"n_fft": 1024},
    ],
    ids=str,
)
def test_no_ingredient_can_be_left_out(left_out):
    samples, expected = golden(SPEC)
    without = from_the_table(samples, SPEC, **left_out)
    assert not agree(without, expected)
    assert not agree(fbank(samples, SPEC), without)


def test_filters_are_triangles_in_mel_and_one_of_the_transformers_is_empty():
    weights = filters(SPEC)
    assert weights.shape == (128, 257)
    assert np.flatnonzero(weights.sum(axis=1) == 0).tolist() == [3]
    assert weights.max() <= 1
    # Neither 0 Hz nor half the sample rate counts, and between the outer peaks the sum is 1.
    assert weights[:, [0, -1]].max() <= 1e-12
    inside = (np.arange(257) * 31.25 > SPEC.mel_frequencies[0]) & (
        np.arange(257) * 31.25 < SPEC.mel_frequencies[-1]
    )
    np.testing.assert_allclose(weights.sum(axis=0)[inside], 1, rtol=1e-9)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_silence_and_a_constant_are_at_the_floor(spec):
    for name in ("silence", "constant"):
        np.testing.assert_allclose(fbank(signal(name, spec.sr), spec), -15.942385, rtol=1e-6)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_full_scale_sounds_are_within_the_range_which_is_no_wider_than_needed(spec):
    low, high = spec.value_range
    loudest = {name: fbank(signal(name, spec.sr), spec).max() for name in SIGNALS}
    assert max(loudest.values()) <= high
    assert min(fbank(signal(name, spec.sr), spec).min() for name in SIGNALS) >= low - 1e-6
    if spec.fmax is None:  # the loudest lie at half the sample rate
        assert high - loudest["high square"] < 1.5


@pytest.mark.parametrize("hop_length", [320, 480, 1600])
def test_a_hop_multiple_is_every_kth_frame_bit_for_bit(hop_length):
    samples = music_like(16000, seconds=4)  # more frames than are transformed at a time
    alone = fbank(samples, FbankSpec(sr=16000, hop_length=hop_length))
    np.testing.assert_array_equal(alone, fbank(samples, SPEC)[:, :: hop_length // 160])


def test_samples_stay_as_they_are():
    samples = music_like(16000)
    fbank(samples, FbankSpec(sr=16000, hop_length=400))
    np.testing.assert_array_equal(samples, music_like(16000))


def test_a_clip_of_one_frame_has_one_and_a_shorter_one_is_refused():
    noise = signal("noise", 16000)
    np.testing.assert_array_equal(fbank(noise[:400], SPEC), fbank(noise, SPEC)[:, :1])
    with pytest.raises(SpecError, match="a clip of 399 samples is shorter than a frame"):
        fbank(noise[:399], SPEC)


def test_power_that_overflows_is_infinite():
    values = fbank(np.float32(1e30) * signal("noise", 16000), SPEC)
    assert np.isposinf(np.delete(values, 3, axis=0)).all()
