"""Parity of the backends: over rates, band counts and laws, on music-like and awkward signals.

The reference is the definition itself in float64. Tolerances are issue A's: of mel power relative
where it exceeds 1e-6 of its frame's maximum (below, a float32 FFT's own rounding rules), in dB and
in log10(1 + 1e4 P) anywhere. Essentia computes in float32 throughout, hence its wider tolerance.
"""

import dataclasses

import librosa
import numpy as np
import pytest
import soxr

from featurestore.specs.grid import ferraro2020
from featurestore.specs.stft import StftSpec
from pipeline.features.backends import load_backend
from pipeline.features.backends.stft import FilterBank, SharedStft
from pipeline.features.scaling import compress

OVERHANG = 256

N_MELS = (128, 96, 48, 32, 24, 16, 8)
SECONDS = 2


def music_like(sr):
    """Plucked tones over a noise floor: decaying harmonics, a new note each quarter second."""
    rng = np.random.default_rng(0)
    t = np.arange(SECONDS * sr) / sr
    since_onset = t % 0.25
    pitch = 110 * 2 ** (rng.integers(0, 36, 4 * SECONDS) / 12)[(t * 4).astype(int)]
    tones = sum(
        np.sin(2 * np.pi * k * pitch * since_onset) * np.exp(-k * 4 * since_onset) / k
        for k in range(1, 10)
    )
    return 0.2 * tones + 1e-3 * rng.standard_normal(len(t))


SIGNALS = {
    "music": music_like,
    "silence": lambda sr: np.zeros(SECONDS * sr),
    "click": lambda sr: np.eye(1, SECONDS * sr, sr + 77)[0],
    "full-scale sine": lambda sr: np.sin(2 * np.pi * 997 * np.arange(SECONDS * sr) / sr),
    "low sine": lambda sr: np.sin(2 * np.pi * 50 * np.arange(SECONDS * sr) / sr),
    "noise": lambda sr: np.random.default_rng(1).uniform(-1, 1, SECONDS * sr),
    "faint noise": lambda sr: np.random.default_rng(2).uniform(-1e-4, 1e-4, SECONDS * sr),
    "DC": lambda sr: np.ones(SECONDS * sr),
    "square": lambda sr: np.sign(np.sin(2 * np.pi * 440 * np.arange(SECONDS * sr) / sr)),
    "shorter than a frame": lambda sr: np.random.default_rng(3).uniform(-1, 1, 100),
}


def stft_of(sr, window="hann", hop_length=256, n_mels=N_MELS):
    banks = tuple(FilterBank(n_mels=n, fmin=0.0, fmax=sr / 2) for n in n_mels)
    return SharedStft(sr=sr, n_fft=512, hop_length=hop_length, window=window, banks=banks)


def mel_power(backend, samples, stft):
    """Of a whole sound: nothing lies beyond its ends."""
    _, bands = load_backend(backend).power(np.pad(samples, stft.n_fft // 2), stft)
    return bands


def all_bins(backend, samples, stft):
    stft = dataclasses.replace(stft, banks=(), bins=True)
    power, nothing = load_backend(backend).power(np.pad(samples, stft.n_fft // 2), stft)
    assert nothing.shape == (0, power.shape[1])
    return power


def reference(samples, stft):
    """The definition, in float64: librosa's filters, and `reference_power`."""
    filters = [
        librosa.filters.mel(sr=stft.sr, n_fft=512, n_mels=bank.n_mels, dtype=np.float64)
        for bank in stft.banks
    ]
    return np.concatenate(filters) @ reference_power(samples, stft)


def reference_power(samples, stft):
    """NumPy's FFT of frames cut one by one, in float64."""
    n = np.arange(stft.n_fft)
    period = stft.n_fft - (stft.window == "hann-symmetric")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / period)
    padded = np.pad(samples.astype(np.float64), stft.n_fft // 2)
    frames = [
        padded[i * stft.hop_length :][: stft.n_fft] * window
        for i in range(1 + len(samples) // stft.hop_length)
    ]
    return np.abs(np.fft.rfft(frames)).T ** 2


def log(power):
    return np.log10(1 + 1e4 * power)


def decibel(power):
    return 10 * np.log10(np.maximum(power, 1e-10))


@pytest.mark.parametrize("window", ["hann", "hann-symmetric"])
@pytest.mark.parametrize("sr", [12000, 16000])
@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize(
    ("backend", "relative", "in_db", "in_log"),
    [("native", 1e-4, 0.15, 2e-5), ("librosa", 1e-5, 0.015, 2e-6)],
)
def test_a_backend_agrees_with_the_definition(backend, relative, in_db, in_log, signal, sr, window):
    samples, stft = SIGNALS[signal](sr).astype(np.float32), stft_of(sr, window)
    power = mel_power(backend, samples, stft)
    expected = reference(samples, stft)
    assert power.dtype == np.float32
    assert power.shape == expected.shape == (sum(N_MELS), 1 + len(samples) // 256)
    for bank in stft.banks:
        got, wanted = power[stft.rows(bank)], expected[stft.rows(bank)]
        audible = wanted > 1e-6 * wanted.max(axis=0, keepdims=True)
        assert np.abs(got / np.where(audible, wanted, 1) - 1)[audible].max(initial=0) <= relative
    assert np.abs(decibel(power.astype("f8")) - decibel(expected)).max() <= in_db
    assert np.abs(log(power.astype("f8")) - log(expected)).max() <= in_log


@pytest.mark.parametrize("window", ["hann", "hann-symmetric"])
@pytest.mark.parametrize("sr", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize(
    ("backend", "relative", "in_db"),
    [("native", 1e-4, 0.15), ("librosa", 1e-5, 0.015)],
)
def test_power_of_all_bins_agrees_with_the_definition(backend, relative, in_db, signal, sr, window):
    samples, stft = SIGNALS[signal](sr).astype(np.float32), stft_of(sr, window, n_mels=())
    power = all_bins(backend, samples, stft)
    expected = reference_power(samples, stft)
    spec = StftSpec(sr=sr, window=window)
    assert power.dtype == np.float32
    assert power.shape == expected.shape == spec.shape(len(samples))
    audible = expected > 1e-6 * expected.max(axis=0, keepdims=True)
    assert np.abs(power / np.where(audible, expected, 1) - 1)[audible].max(initial=0) <= relative
    values = compress(power, "db")
    assert np.abs(values - decibel(expected)).max() <= in_db
    # Nothing within full scale is beyond the range; a constant reaches its end with this window.
    low, high = spec.value_range
    assert low - 1e-4 <= values.min()
    assert values.max() <= high + 1e-4
    if signal == "silence":
        np.testing.assert_allclose(values, low, rtol=1e-6)
    if (signal, window) == ("DC", "hann"):
        assert values.max() == pytest.approx(high, abs=1e-4)


def test_power_of_all_bins_is_librosas_own():
    samples = music_like(22050).astype(np.float32)
    stft = SharedStft(sr=22050, n_fft=1024, hop_length=160, window="hann", banks=())
    expected = np.abs(
        librosa.stft(samples.astype("f8"), n_fft=1024, hop_length=160, pad_mode="constant")
    )
    expected = librosa.power_to_db(expected**2, top_db=None)
    for backend in ("native", "librosa"):
        values = compress(all_bins(backend, samples, stft), "db")
        np.testing.assert_allclose(values, expected, atol=0.015)


@pytest.mark.parametrize("backend", ["native", "librosa", "essentia"])
def test_bins_and_bands_are_the_same_together_as_apart(backend):
    if backend == "essentia":
        pytest.importorskip("essentia", reason="melgrid[essentia] is not installed")
    samples, stft = music_like(16000).astype(np.float32), stft_of(16000)
    both = dataclasses.replace(stft, bins=True)
    bins, bands = load_backend(backend).power(np.pad(samples, OVERHANG), both)
    np.testing.assert_array_equal(bands, mel_power(backend, samples, stft))
    np.testing.assert_array_equal(bins, all_bins(backend, samples, stft))
    in_db = 0.05 if backend == "essentia" else 1e-5  # its sums are in single precision
    np.testing.assert_allclose(decibel(bands), decibel(stft.filters() @ bins), atol=in_db)


@pytest.mark.parametrize("window", ["hann", "hann-symmetric"])
@pytest.mark.parametrize("sr", [12000, 16000])
@pytest.mark.parametrize("signal", SIGNALS)
def test_native_agrees_with_essentia(signal, sr, window):
    pytest.importorskip("essentia", reason="melgrid[essentia] is not installed")
    samples, stft = SIGNALS[signal](sr).astype(np.float32), stft_of(sr, window)
    for of in (mel_power, all_bins):
        native, essentia = (of(name, samples, stft) for name in ("native", "essentia"))
        assert native.shape == essentia.shape
        assert np.abs(log(native.astype("f8")) - log(essentia.astype("f8"))).max() <= 2e-3


@pytest.mark.parametrize(("sr", "n_frames"), [(12000, 1365), (16000, 1819)])
def test_the_studys_own_clip_has_the_frames_that_essentia_gives(sr, n_frames):
    es = pytest.importorskip("essentia.standard", reason="melgrid[essentia] is not installed")
    n_samples = round(29.1 * sr)
    repeats = -(-n_samples // (SECONDS * sr))
    samples = np.tile(music_like(sr), repeats)[:n_samples].astype(np.float32)
    windowing = es.Windowing(type="hann", size=512, normalized=False, zeroPhase=False)
    spectrum = es.Spectrum(size=512)
    bands = es.MelBands(
        inputSize=257, numberBands=96, sampleRate=sr, highFrequencyBound=sr / 2,
        warpingFormula="slaneyMel", weighting="linear", normalize="unit_tri",
    )  # fmt: skip
    frames = es.FrameGenerator(samples, frameSize=512, hopSize=256, startFromZero=False)
    study = np.array([bands(spectrum(windowing(frame))) for frame in frames]).T
    ours = mel_power("native", samples, stft_of(sr, "hann-symmetric", n_mels=(96,)))
    assert study.shape == (96, n_frames + 1)  # Essentia gives one more
    assert ours.shape == (96, n_frames)
    assert np.abs(log(ours.astype("f8")) - log(study[:, :n_frames].astype("f8"))).max() <= 2e-3


def test_the_periodic_and_the_symmetric_window_differ_as_much_as_the_study_saw():
    samples = music_like(16000).astype(np.float32)
    periodic, symmetric = (
        mel_power("native", samples, stft_of(16000, window))
        for window in ("hann", "hann-symmetric")
    )
    assert 1e-3 < np.abs(log(periodic) - log(symmetric)).max() < 0.1


@pytest.mark.parametrize("hop", [2, 3, 4, 5, 10])
def test_a_hop_multiple_is_every_kth_frame(hop):
    samples = soxr.resample(music_like(16000), 16000, 12000).astype(np.float32)
    # The native backend computes each frame by itself; librosa's product is BLAS's.
    for backend, relative in (("native", 0), ("librosa", 2e-6)):
        every = mel_power(backend, samples, stft_of(12000))
        alone = mel_power(backend, samples, stft_of(12000, hop_length=256 * hop))
        np.testing.assert_allclose(alone, every[:, ::hop], rtol=relative, atol=1e-6 * relative)


def test_a_bank_is_the_same_among_others_as_alone():
    samples, stft = music_like(16000).astype(np.float32), stft_of(16000)
    together = mel_power("native", samples, stft)
    for bank in stft.banks:
        alone = mel_power("native", samples, stft_of(16000, n_mels=(bank.n_mels,)))
        np.testing.assert_array_equal(alone, together[stft.rows(bank)])


@pytest.mark.parametrize("n_fft", [16, 30, 32, 64, 128, 400, 1000, 1024, 2048, 4096, 16384])
@pytest.mark.parametrize("hop_length", [100, 256])
def test_frames_of_any_length_are_transformed(n_fft, hop_length):
    """Powers of two from 32 on by the kernel, with a pass of two or without; others by PyTorch."""
    samples = music_like(16000).astype(np.float32)
    bank = FilterBank(n_mels=4, fmin=0.0, fmax=8000.0)
    stft = SharedStft(sr=16000, n_fft=n_fft, hop_length=hop_length, window="hann", banks=(bank,))
    expected = reference_power(samples, stft)
    power, bands = all_bins("native", samples, stft), mel_power("native", samples, stft)
    assert power.shape == expected.shape
    np.testing.assert_allclose(power, expected, rtol=1e-6, atol=1e-12 * expected.max())
    np.testing.assert_allclose(bands, stft.filters() @ expected, rtol=2e-6, atol=1e-15)


@pytest.mark.parametrize("n_samples", [0, 1, 700, 16 * 256 - 1, 16 * 256, 33 * 256])
def test_few_frames_are_as_many_frames(n_samples):
    """The kernel does 16 frames at a time: what it has fewer of, and more, is the same."""
    samples = np.random.default_rng(0).uniform(-1, 1, 40 * 256).astype(np.float32)
    samples[n_samples:] = 0
    every = mel_power("native", samples, stft_of(16000))
    n_frames = 1 + n_samples // 256
    few = mel_power("native", samples[:n_samples], stft_of(16000))
    assert few.shape == (sum(N_MELS), n_frames)
    np.testing.assert_array_equal(few, every[:, :n_frames])


def test_a_quiet_band_beside_a_full_scale_sine_is_right_at_any_frequency_of_the_sine():
    """What single precision gets wrong, by up to 0.8 dB."""
    stft = stft_of(16000)
    n = np.arange(4000)
    for hertz in np.geomspace(20, 7900, 60):
        sine = np.sin(2 * np.pi * hertz * n / 16000).astype(np.float32)
        power = mel_power("native", sine, stft).astype("f8")
        np.testing.assert_allclose(decibel(power), decibel(reference(sine, stft)), atol=0.001)


def test_a_frame_beside_others_is_the_same_whatever_they_hold():
    """Four frames are computed side by side, and none hears the others."""
    samples, stft = np.zeros(60 * 256, np.float32), stft_of(16000)
    samples[40 * 256 : 41 * 256] = 1e-30  # squared, below the least of single precision
    quiet = mel_power("native", samples, stft)
    assert not quiet.any()
    samples[20 * 256 : 21 * 256] = 3e38
    loud = mel_power("native", samples, stft)
    assert np.isinf(loud[:, 20]).any()
    np.testing.assert_array_equal(np.delete(loud, [19, 20, 21, 22], axis=1), 0)
    samples[20 * 256] = np.nan
    assert np.isnan(mel_power("native", samples, stft)).all(axis=0).nonzero()[0].tolist() == [
        20,
        21,
    ]


def test_filters_are_librosas():
    for spec in ferraro2020():
        stft = stft_of(spec.sr, n_mels=(spec.n_mels,))
        expected = librosa.filters.mel(sr=spec.sr, n_fft=512, n_mels=spec.n_mels, dtype=np.float64)
        np.testing.assert_allclose(stft.filters(), expected, atol=1e-15)


def test_filters_between_two_edges_are_librosas():
    bank = FilterBank(n_mels=40, fmin=30.0, fmax=6000.0)
    stft = SharedStft(sr=16000, n_fft=1024, hop_length=256, window="hann", banks=(bank,))
    expected = librosa.filters.mel(
        sr=16000, n_fft=1024, n_mels=40, fmin=30.0, fmax=6000.0, dtype=np.float64
    )
    np.testing.assert_allclose(stft.filters(), expected, atol=1e-15)


def test_the_amplitude_laws_are_those_of_the_design():
    power = np.array([[0, 1e-12, 1e-4, 1, 1e4]], np.float32)
    np.testing.assert_allclose(compress(power, "db"), [[-100, -100, -40, 0, 40]], rtol=1e-6)
    np.testing.assert_allclose(
        compress(power, "log"), [[0, 4.3429e-9, 0.30103, 4.0000434, 8]], rtol=1e-4, atol=1e-8
    )
