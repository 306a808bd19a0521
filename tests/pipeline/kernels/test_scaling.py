"""Logarithms are exact but for the rounding to single precision."""

import numpy as np

from pipeline.kernels.scaling import decibels, logarithms

POWER = np.concatenate([
    [0, 1e-45, 1e-38, 9.999e-11, 1e-10, 1, np.nextafter(np.float32(1), 0), 3.4e38],
    np.geomspace(1e-12, 3.4e38, 100_001),
    np.linspace(0.49, 2.01, 100_001),
]).astype(np.float32)  # fmt: skip


def test_decibels_are_off_by_two_units_in_the_last_place_at_most():
    exact = 10 * np.log10(np.maximum(POWER, np.float32(1e-10)).astype(float))
    error = np.abs(decibels(POWER) - exact)
    # Units of values of 1 and more; below, those of 1.
    assert (error / np.spacing(np.maximum(np.abs(exact), 1).astype("f4"))).max() < 3
    assert error[np.abs(exact) <= 128].max() < 6e-6


def test_the_floor_is_minus_100_decibels_and_1_is_none():
    assert decibels(np.float32([0, 1e-30, 1e-10, 1])).tolist() == [-100, -100, -100, 0]


def test_logarithms_of_one_more_than_ten_thousand_times_power():
    power = POWER[POWER < 3e34]
    exact = np.log10(1 + 1e4 * power.astype(float))
    np.testing.assert_allclose(logarithms(power), exact, rtol=3e-7, atol=6e-8)
    assert logarithms(np.float32([0])).tolist() == [0]
    np.testing.assert_allclose(logarithms(np.float32([1e35, 3.4e38])), 38.5318394, rtol=1e-7)


def test_arrays_of_any_shape_and_layout_are_taken():
    power = np.arange(1, 25, dtype=np.float32).reshape(4, 6)
    for given in (power, power.T, power[::2, 1:5], power[:0]):
        got = decibels(given)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, 10 * np.log10(given), rtol=1e-6, atol=1e-6)


def test_logarithms_never_fall_as_power_grows():
    power = np.sort(POWER)
    for scaling in (decibels, logarithms):
        fall = -np.diff(scaling(power))
        assert fall.max() <= 4e-6
