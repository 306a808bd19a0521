"""Angles are NumPy's, to the bit."""

import numpy as np
import pytest

from pipeline.kernels import angles


def numbers():
    rng = np.random.default_rng(1)
    real, imaginary = rng.standard_normal((2, 100_000)).astype(np.float32)
    imaginary[::2] *= np.exp2(rng.integers(-120, 100, 50_000)).astype(np.float32)
    real[::7] = rng.integers(-2, 3, len(real[::7])) / 2
    imaginary[::5] = rng.integers(-2, 3, len(imaginary[::5])) / 2
    real[::11] *= -0.0
    imaginary[::13] *= -0.0
    return imaginary, real


@pytest.mark.parametrize("by_loop", [True, False])
def test_angles_are_numpys(by_loop, monkeypatch):
    if by_loop and not angles._is_numpys():
        pytest.skip("NumPy has another arc tangent here")
    monkeypatch.setattr(angles, "_is_numpys", lambda: by_loop)
    imaginary, real = numbers()
    got = np.empty_like(real)
    angles.angles(imaginary, real, got)
    expected = np.arctan2(imaginary, real)
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))


def test_the_loop_is_an_arc_tangent_wherever_it_is_not_numpys_own():
    imaginary, real = numbers()
    got = np.empty_like(real)
    angles._angles(imaginary, real, got)
    exact = np.arctan2(imaginary.astype(float), real.astype(float))
    np.testing.assert_allclose(got, exact, rtol=0, atol=4e-7)


def test_another_arc_tangent_is_told(monkeypatch):
    """One that is off by a unit in the last place, as another library's may be."""
    other = lambda y, x, out=None: np.nextafter(np.arctan(y / x), np.float32(4), out=out)  # noqa: E731
    angles._is_numpys.cache_clear()
    monkeypatch.setattr(np, "arctan2", other)
    assert not angles._is_numpys()
    monkeypatch.undo()
    angles._is_numpys.cache_clear()
