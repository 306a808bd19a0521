import numpy as np

from pipeline.perturb import gauss
from pipeline.perturb.audio import Audio


def test_what_is_added_is_normal_noise_of_that_standard_deviation(piece):
    audio = Audio(samples=piece, sr=16000)
    added = gauss.perturb(audio, (0.005,), np.random.default_rng(0)) - piece
    # 128,000 draws: their standard deviation is known to 0.2 %, their mean to 1.4e-5.
    assert abs(added.std() / 0.005 - 1) < 0.01
    assert abs(added.mean()) < 6e-5
    assert 0.67 < (np.abs(added) < 0.005).mean() < 0.695


def test_no_noise_leaves_the_samples_as_they_are(piece):
    result = gauss.perturb(Audio(samples=piece, sr=16000), (0,), np.random.default_rng(0))
    np.testing.assert_array_equal(result, piece)
