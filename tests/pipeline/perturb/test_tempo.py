import numpy as np
import pytest

from pipeline.perturb import tempo
from pipeline.perturb.audio import Audio


@pytest.mark.parametrize("rate", [0.6, 1.6])
def test_the_spectrum_is_that_of_ffmpegs_atempo_though_the_samples_are_not(piece, rate, ffmpeg):
    audio = Audio(samples=piece, sr=16000)
    ours = tempo.perturb(audio, (rate,), np.random.default_rng(0))
    theirs = ffmpeg(audio, f"atempo={rate}")

    def bands(samples):
        power = np.abs(np.fft.rfft(samples)) ** 2 / len(samples) ** 2
        edges = np.geomspace(60, 7000, 11) / 8000 * (len(power) - 1)
        return 10 * np.log10([part.sum() for part in np.split(power, edges.astype(int))[1:-1]])

    assert abs(len(ours) - len(theirs)) < 2048
    np.testing.assert_allclose(bands(ours), bands(theirs), atol=1.5)
