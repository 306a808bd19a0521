import numpy as np
import pytest

from featurestore.specs.mel import FeatureSpec
from pipeline.features.backends.stft import SharedStft
from pipeline.sonify.bands import spread


@pytest.mark.parametrize("n_mels", [8, 96])
def test_spreading_bands_is_undone_by_the_filters(n_mels, rng):
    spec = FeatureSpec(sr=16000, n_mels=n_mels, hop=1, log="db")
    filters = SharedStft.of(spec).filters()
    mel = filters @ rng.lognormal(0, 2, (257, 50))
    bins = spread(mel, filters)
    assert bins.shape == (257, 50)
    assert bins.min() >= 0
    again = filters @ bins
    loud = mel > mel.max() * 1e-5
    assert np.sqrt(np.mean((10 * np.log10(again[loud] / mel[loud])) ** 2)) < 0.5


def test_an_even_spectrum_is_spread_evenly():
    spec = FeatureSpec(sr=16000, n_mels=48, hop=1, log="db", fmin=500.0, fmax=6000.0)
    filters = SharedStft.of(spec).filters()
    bins = spread(filters.sum(axis=1, keepdims=True), filters)[:, 0]
    hertz = np.fft.rfftfreq(512, 1 / 16000)
    inside = (hertz > spec.mel_frequencies[0]) & (hertz < spec.mel_frequencies[-1])
    np.testing.assert_allclose(bins[inside], 1, atol=1e-3)
    assert not bins[(hertz < 500) | (hertz > 6000)].any()


def test_a_filter_without_bins_says_nothing_of_any(rng):
    filters = np.array([[1, 0.5, 0, 0], [0, 0, 0, 0], [0, 0.5, 1, 0.5]])
    power = rng.uniform(0.1, 1, (3, 2))
    np.testing.assert_array_equal(spread(power, filters), spread(power[[0, 2]], filters[[0, 2]]))
