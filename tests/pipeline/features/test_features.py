"""Mel power on both scales, with and without norm, of short windows: librosa's and torchaudio's.

Tolerance: 0.03 dB, the bound of the native backend's single precision after the transform, above
-90 dB below the clip's loudest cell; between a float64 reference and float32 sums.
"""

import dataclasses
import os
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from featurestore import FeatureSpec
from featurestore.errors import SettingsError
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from pipeline.audio.clip import Cropper
from pipeline.features.backends import load_backend
from pipeline.features.backends.stft import SharedStft
from pipeline.features.plan import arrange
from pipeline.features.scaling import compress
from pipeline.run.layouts import require_computable
from pipeline.run.settings import RunSettings

GOLDEN = Path(__file__).parent / "torchaudio.npz"
"""What torchaudio 2.11.0 gives, made by `golden` below."""

SMC = FeatureSpec(sr=16000, n_mels=96, htk=True, norm=None)


def signal(sr, seconds=0.5):
    """Two gliding tones over noise, the same numbers everywhere."""
    t = np.arange(round(sr * seconds)) / sr
    noise = np.random.Generator(np.random.PCG64(0)).random(len(t)) - 0.5
    tones = 0.5 * np.sin(2 * np.pi * (200 + 2000 * t) * t) + 0.2 * np.sin(2 * np.pi * 4321 * t)
    return (tones + 0.02 * noise).astype(np.float32)


def values(spec, samples, backend="native"):
    """In the spec's scaling, of a whole sound with zeros beyond its ends."""
    padded = np.pad(samples, spec.n_fft // 2)
    _, bands = load_backend(backend).power(padded, SharedStft.of(spec))
    return compress(bands, spec.log)


def by_librosa(spec, samples, pad_mode="constant"):
    power = librosa.feature.melspectrogram(
        y=samples.astype(np.float64),
        sr=spec.sr,
        n_fft=spec.n_fft,
        hop_length=spec.hop_length,
        win_length=spec.win_length,
        n_mels=spec.n_mels,
        fmin=spec.fmin,
        fmax=spec.fmax,
        htk=spec.htk,
        norm=spec.norm,
        pad_mode=pad_mode,
    )
    return 10 * np.log10(np.maximum(power, 1e-10))


CHOICES = [
    {"htk": htk, "norm": norm, "win_length": win_length}
    for htk in (False, True)
    for norm in ("slaney", None)
    for win_length in (None, 400, 401, 16)
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize(("backend", "in_db"), [("native", 0.03), ("librosa", 1e-4)])
def test_decibels_are_librosas(backend, in_db, choice):
    spec = FeatureSpec(sr=16000, n_mels=48, **choice)
    samples = signal(16000)
    got, wanted = values(spec, samples, backend), by_librosa(spec, samples)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= in_db


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_decibels_are_essentias(choice):
    pytest.importorskip("essentia", reason="melgrid[essentia] is not installed")
    spec = FeatureSpec(sr=16000, n_mels=48, **choice)
    samples = signal(16000)
    # Essentia computes in float32 throughout
    assert np.abs(values(spec, samples, "essentia") - values(spec, samples)).max() <= 0.03


def test_essentia_refuses_empty_filters_in_one_line():
    pytest.importorskip("essentia", reason="melgrid[essentia] is not installed")
    spec = FeatureSpec(sr=16000, n_mels=128, htk=True)
    with pytest.raises(SettingsError, match=r"1 of sr16000-mel128-.* are; use --backend native"):
        require_computable([spec], RunSettings(backend="essentia"))
    require_computable([spec], RunSettings(backend="native"))


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize("norm", ["slaney", None])
@pytest.mark.parametrize(("sr", "n_fft", "n_mels"), [(16000, 512, 96), (22050, 1024, 128)])
def test_filters_of_either_scale_are_librosas(sr, n_fft, n_mels, norm, htk):
    spec = FeatureSpec(sr=sr, n_fft=n_fft, n_mels=n_mels, htk=htk, norm=norm)
    expected = librosa.filters.mel(
        sr=sr, n_fft=n_fft, n_mels=n_mels, htk=htk, norm=norm, dtype=np.float64
    )
    np.testing.assert_allclose(SharedStft.of(spec).filters(), expected, atol=1e-12)


GOLDEN_SPECS = {
    "smc": SMC,
    "mtt": FeatureSpec(sr=22050, n_mels=128, n_fft=1024, hop=2, htk=True, norm=None),
    "win": FeatureSpec(sr=16000, n_mels=40, win_length=400),
}


def golden():
    """Make the golden file: a few rows of filters, a few frames of decibels."""
    import torchaudio

    made = {}
    for key, spec in GOLDEN_SPECS.items():
        transform = mel_spectrogram(torchaudio, spec)
        power = transform(torch.from_numpy(signal(spec.sr)))
        decibels = torchaudio.functional.amplitude_to_DB(power, 10.0, 1e-10, 0.0).numpy()
        made[f"{key}_filters"] = transform.mel_scale.fb.numpy().T[::16, ::4]
        made[f"{key}_db"] = decibels[::4, 3:-3:6]
    np.savez_compressed(GOLDEN, **made)


def mel_spectrogram(torchaudio, spec):
    return torchaudio.transforms.MelSpectrogram(
        sample_rate=spec.sr,
        n_fft=spec.n_fft,
        win_length=spec.win_length,
        hop_length=spec.hop_length,
        n_mels=spec.n_mels,
        f_min=spec.fmin,
        f_max=spec.fmax,
        norm=spec.norm,
        mel_scale="htk" if spec.htk else "slaney",
        pad_mode="constant",
    )


@pytest.mark.parametrize("key", GOLDEN_SPECS)
def test_stored_values_of_torchaudio_are_met(key):
    spec = GOLDEN_SPECS[key]
    with np.load(GOLDEN) as stored:
        filters, decibels = stored[f"{key}_filters"], stored[f"{key}_db"]
    got = SharedStft.of(spec).filters()[::16, ::4]
    # torchaudio's filters are made in float32 from edges in Hz
    np.testing.assert_allclose(got, filters, atol=2e-5)
    ours = values(spec, signal(spec.sr))[::4, 3:-3:6]
    assert ours.shape == decibels.shape
    assert np.abs(ours - decibels).max() <= 0.03


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_decibels_are_torchaudios(choice):
    torchaudio = pytest.importorskip("torchaudio", reason="torchaudio is not installed")
    spec = FeatureSpec(sr=16000, n_mels=48, **choice)
    power = mel_spectrogram(torchaudio, spec).double()(torch.from_numpy(signal(16000)).double())
    wanted = 10 * np.log10(np.maximum(power.numpy(), 1e-10))
    assert np.abs(values(spec, signal(16000)) - wanted).max() <= 0.03


def test_filters_are_those_that_published_weights_hold():
    # Fixtures of ours, not of the project: beside a checkout, where they are present.
    file = os.path.join(os.path.dirname(__file__), *[".."] * 4, "shared/data/zoo/fcn.pth")
    if not os.path.exists(file):
        pytest.skip("the published weights are not here")
    held = torch.load(file, weights_only=True, map_location="cpu")
    filters = held["spec.mel_scale.fb"].numpy().T
    np.testing.assert_allclose(SharedStft.of(SMC).filters(), filters, atol=1.1e-5)
    window = held["spec.spectrogram.window"].numpy()
    np.testing.assert_allclose(SharedStft.of(SMC).window_values(), window, atol=1e-6)


def test_the_published_front_end_differs_at_the_clips_ends_alone():
    """Published networks reflect the clip at its ends, where melgrid has zeros."""
    samples = signal(16000)
    zeros, reflected = (by_hand(samples, mode) for mode in ("constant", "reflect"))
    got = values(SMC, samples)
    assert got.shape == zeros.shape == (96, 1 + 8000 // 256)
    assert np.abs(got - zeros).max() <= 0.03
    # Frames 1 to 30 lie within the clip: their first sample is 256 * 1 - 256, or later.
    differs = np.abs(got - reflected).max(axis=0) > 0.03
    assert np.flatnonzero(differs).tolist() == [0, 31]


def by_hand(samples, pad_mode):
    """ZOO's front end in NumPy: 512 samples every 256, HTK triangles of height 1, decibels."""
    n = np.arange(512)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 512)
    padded = np.pad(samples.astype(np.float64), 256, mode=pad_mode)
    frames = np.stack([padded[i : i + 512] for i in range(0, len(samples) + 1, 256)])
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 98) / 2595) - 1)
    hertz = np.arange(257) * 16000 / 512
    filters = np.array(
        [
            np.interp(hertz, [low, centre, high], [0, 1, 0])
            for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False)
        ]
    )
    return 10 * np.log10(np.maximum(filters @ power.T, 1e-10))


@pytest.mark.parametrize("log", ["db", "log"])
@pytest.mark.parametrize("n_mels", [8, 96])
@pytest.mark.parametrize(("n_fft", "win_length"), [(512, None), (512, 400), (1024, None)])
def test_full_scale_audio_is_within_uint8s_range_without_area_norm(n_fft, win_length, n_mels, log):
    spec = FeatureSpec(
        sr=16000, n_mels=n_mels, n_fft=n_fft, win_length=win_length, htk=True, norm=None, log=log
    )
    t = np.arange(8000) / 16000
    loudest = -np.inf
    for hertz in (0, 31.25, 100, 440, 997, 5000, 7800):
        sine = np.sin(2 * np.pi * hertz * t + 1)
        for samples in (sine, np.sign(sine)):
            loudest = max(loudest, values(spec, samples.astype(np.float32)).max())
    high = spec.value_range[1]
    plain = FeatureSpec(sr=16000, n_mels=8, log=log).value_range[1]
    assert plain < loudest <= high  # it reaches beyond the range of filters with area norm


@pytest.mark.parametrize("changed", [{"win_length": 400}, {"htk": True, "norm": None}], ids=str)
def test_a_plan_computes_and_encodes_what_the_spec_says(changed):
    plain = FeatureSpec(sr=16000, n_mels=48)
    spec = dataclasses.replace(plain, **changed)
    samples = signal(16000)
    clip = Cropper(samples, 16000, Excerpt(duration=len(samples) / 16000)).clip()
    encoding = Encoding(name="uint8")
    made = {
        s: stored
        for s, stored, _ in arrange([plain, spec]).compute(
            clip, "native", {plain: encoding, spec: encoding}
        )
    }
    for each, stored in made.items():
        decoded = np.empty(stored.shape, np.float32)
        encoding.decode(stored, decoded, each.value_range)
        step = encoding.max_error(each.value_range)
        assert np.abs(decoded - values(each, samples)).max() <= step + 1e-3
