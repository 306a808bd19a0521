"""Levels and gains are those of plain Python and NumPy."""

import numpy as np

from pipeline.kernels.loudness import follow, gains


def test_compiled_the_level_follows_as_the_python_that_it_is_compiled_from():
    samples = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    samples[2000:4000] *= 0.01
    compiled, interpreted = np.empty_like(samples), np.empty_like(samples)
    follow(samples, 6e-4, 2e-4, compiled)
    follow.py_func(samples, 6e-4, 2e-4, interpreted)
    np.testing.assert_array_equal(compiled, interpreted)
    assert (np.diff(compiled) > 0).any()
    assert (np.diff(compiled) < 0).any()


def test_gains_are_straight_lines_between_the_knots():
    inputs, outputs = np.float64([-15, -11, -9, -3, 0]), np.float64([-15, -9, -7.5, -3, -2])
    octaves = np.concatenate([np.linspace(-20, 0, 10_001), inputs])
    levels = np.exp2(octaves).astype(np.float32)
    levels[:3] = 0, 1e-45, 1e-38
    gains(levels, inputs, outputs)
    expected = np.interp(np.maximum(octaves, -15), inputs, outputs - inputs)
    np.testing.assert_allclose(np.log2(levels), expected, atol=2e-6)
    assert (levels[:3] == 1).all()
