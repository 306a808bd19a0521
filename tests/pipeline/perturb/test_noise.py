import numpy as np
import pytest

from pipeline.perturb import noise
from pipeline.perturb.audio import Audio


def mixed(samples, share):
    return noise.perturb(Audio(samples=samples, sr=16000), (share,), np.random.default_rng(3))


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_noise_of_the_peak_of_the_clip_is_mixed_in(piece, share):
    quiet = piece * np.float32(-0.3)
    drawn = np.random.default_rng(3).standard_normal(len(quiet), np.float32).astype(float)
    drawn *= np.abs(quiet).max() / np.abs(drawn).max()
    # Rounded to float32 a few times where the largest value is 0.3: 1e-7 of it.
    np.testing.assert_allclose(mixed(quiet, share), (1 - share) * quiet + share * drawn, atol=1e-7)


def test_noise_alone_is_as_loud_as_the_clip_was(piece):
    alone = mixed(piece * np.float32(0.25), 1)
    assert np.abs(alone).max() == pytest.approx(0.25, rel=1e-6)


def test_no_noise_leaves_the_samples_as_they_are(piece):
    np.testing.assert_array_equal(mixed(piece, 0), piece)


def test_an_empty_clip_stays_empty():
    assert mixed(np.zeros(0, np.float32), 0.1).shape == (0,)
