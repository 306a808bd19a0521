"""Sums of bands are those of each band alone, in double precision."""

import numpy as np
import pytest

from pipeline.kernels.statistics import moments


def values(n_bands, n_frames):
    rng = np.random.default_rng(n_bands * n_frames)
    return rng.uniform(-100, 40, (n_bands, n_frames)).astype(np.float32)


@pytest.mark.parametrize("n_frames", [1, 2, 3, 4, 5, 7, 8, 60, 61])
@pytest.mark.parametrize("n_bands", [1, 2, 4, 7, 8, 9, 16, 23])
def test_means_are_numpys(n_bands, n_frames):
    given, steps = values(n_bands, n_frames), [1, 2, 3, 10]
    got = moments(given, steps)
    assert got.shape == (4, 2, n_bands)
    for step, (moved, squared) in zip(steps, got, strict=True):
        expected = given[:, ::step].astype(float) - given[:, :1]
        np.testing.assert_allclose(moved, expected.mean(axis=1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(squared, (expected**2).mean(axis=1), rtol=1e-12, atol=1e-12)


def test_a_band_and_a_step_are_the_same_bits_among_others_as_alone():
    """Alone, a band is summed by itself; among others, beside seven."""
    given, steps = values(24, 1819), [1, 2, 3, 4, 5, 10]
    together = moments(given, steps)
    for band in range(24):
        np.testing.assert_array_equal(
            moments(given[band : band + 1], steps)[..., 0], together[..., band]
        )
    for i, step in enumerate(steps):
        np.testing.assert_array_equal(moments(given[:, ::step], [1])[0], together[i])


def test_frames_that_are_left_out_change_nothing():
    given = values(9, 100)
    np.testing.assert_array_equal(
        moments(given[:, :60], [1, 7]), moments(given[:, :60].copy(), [1, 7])
    )
