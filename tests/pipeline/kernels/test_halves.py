"""Rounding to half precision gives NumPy's bits, with the processor's instruction and without."""

import numpy as np
import pytest

from pipeline.kernels import halves

# Every exponent and sign, with fractions around each tie and many others.
NUMBERS = np.concatenate([
    np.arange(0, 2**32, 2**12, dtype=np.uint64),
    np.arange(0, 2**32, 2**12, dtype=np.uint64) + 1,
    np.arange(2**12, 2**32, 2**12, dtype=np.uint64) - 1,
    np.random.default_rng(0).integers(0, 2**32, 100_003, dtype=np.uint64),
]).astype(np.uint32).view(np.float32)  # fmt: skip


@pytest.mark.parametrize("has_instruction", [True, False])
def test_all_numbers_are_rounded_as_numpy_rounds_them(has_instruction, monkeypatch):
    if has_instruction and not halves._HAS_INSTRUCTION:
        pytest.skip("this processor has none")
    monkeypatch.setattr(halves, "_HAS_INSTRUCTION", has_instruction)
    got = halves.halves(NUMBERS)
    with np.errstate(over="ignore", under="ignore"):
        expected = NUMBERS.astype(np.float16)
    a_number = ~np.isnan(NUMBERS)
    assert np.isnan(got[~a_number]).all()
    np.testing.assert_array_equal(got.view(np.uint16)[a_number], expected.view(np.uint16)[a_number])


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 17])
def test_arrays_of_any_length_are_rounded(n):
    given = np.linspace(-100, 40, n, dtype=np.float32)
    np.testing.assert_array_equal(halves.halves(given), given.astype(np.float16))
    turned = np.outer(given, given)[:, ::-1]
    np.testing.assert_array_equal(halves.halves(turned), turned.astype(np.float16))
