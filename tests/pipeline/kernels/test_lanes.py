"""Four numbers side by side are what each would be alone."""

import re

import numba
import numpy as np

from pipeline.kernels.compiler import _OPTIONS, compiled
from pipeline.kernels.lanes import load, splat, store, transposed


@compiled("void(float64[::1], float64[::1], float64[::1])")
def _computed(x, y, out):
    a, b = load(x, 1), load(y, 0)
    store(out, 0, a + b)
    store(out, 4, a - b)
    store(out, 8, a * b)
    store(out, 12, splat(x[0]))


def test_sums_differences_and_products_are_numpys_to_the_bit():
    rng = np.random.default_rng(0)
    x, y, out = rng.standard_normal(5), rng.standard_normal(4), np.empty(16)
    y[3] = np.nan
    _computed(x, y, out)
    expected = [x[1:] + y, x[1:] - y, x[1:] * y, np.full(4, x[0])]
    np.testing.assert_array_equal(out, np.concatenate(expected))


def test_they_are_computed_at_once_and_never_fused():
    # Anew: what comes out of numba's cache has no assembly to look at.
    anew = numba.njit("void(float64[::1], float64[::1], float64[::1])", **_OPTIONS)
    (assembly,) = anew(_computed.py_func).inspect_asm().values()
    if "vaddpd" in assembly:  # of a processor with AVX
        assert re.search(r"vmulpd\s.*%ymm", assembly)
    assert "fmadd" not in assembly


@compiled("void(float32[::1], float32[::1], float64[::1])")
def _widened(x, rounded, wide):
    store(rounded, 1, load(wide, 0))
    store(wide, 4, load(x, 0))


def test_single_precision_is_widened_exactly_and_rounded_to_the_nearest():
    x = np.float32([1e-45, -0.0, 3e38, 0.1])
    wide = np.concatenate([[0.1, 1 + 2**-24, 1e39, -1e-50], np.zeros(4)])
    rounded = np.zeros(5, np.float32)
    _widened(x, rounded, wide)
    assert rounded.tolist() == [0, np.float32(0.1), 1, np.inf, 0]
    np.testing.assert_array_equal(wide[4:], x.astype(float))


@compiled("void(float64[:, ::1], float64[::1])")
def _turned(x, out):
    rows = transposed(load(x[0], 0), load(x[1], 0), load(x[2], 0), load(x[3], 0))
    store(out, 0, rows[0])
    store(out, 4, rows[1])
    store(out, 8, rows[2])
    store(out, 12, rows[3])


def test_rows_become_columns():
    x, out = np.arange(16.0).reshape(4, 4), np.empty(16)
    _turned(x, out)
    np.testing.assert_array_equal(out.reshape(4, 4), x.T)
