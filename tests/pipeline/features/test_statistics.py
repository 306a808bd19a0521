import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pipeline.features.statistics import summarise

NO_LIMITS = -1e30, 1e30
SHAPES = npst.array_shapes(min_dims=2, max_dims=2, max_side=30)
VALUES = npst.arrays(np.float32, SHAPES, elements=st.floats(-100, 40, width=32))


@given(values=VALUES, steps=st.sets(st.integers(1, 12), min_size=1))
def test_mean_and_spread_are_of_every_kth_frame(values, steps):
    for step, (mean, std, saturated) in summarise(values, steps, NO_LIMITS).items():
        cut = values[:, ::step].astype(np.float64)
        # Rounded to single precision: 4e-6 of 100.
        np.testing.assert_allclose(mean, cut.mean(axis=1), rtol=0, atol=1e-5)
        np.testing.assert_allclose(std, cut.std(axis=1), rtol=0, atol=1e-5)
        assert not saturated.any()


@given(value=st.floats(-100, 40, width=32), n_frames=st.integers(1, 40))
def test_a_constant_band_has_no_spread(value, n_frames):
    values = np.full((3, n_frames), value, np.float32)
    ((mean, std, _),) = summarise(values, [1], NO_LIMITS).values()
    assert (mean == np.float32(value)).all()
    assert not std.any()


def test_a_small_spread_beside_a_large_mean_is_kept():
    values = (np.float32(-90) + np.random.default_rng(0).normal(0, 1e-3, (9, 1819))).astype("f4")
    ((_, std, _),) = summarise(values, [1], NO_LIMITS).values()
    np.testing.assert_allclose(std, values.astype("f8").std(axis=1), rtol=1e-5)


@pytest.mark.parametrize(("limits", "expected"), [((0, 3), 0.6), ((-1, 3), 0.4), ((-9, 9), 0)])
def test_values_beyond_the_limits_are_counted(limits, expected):
    values = np.array([[-1, 0, 3, 4, 5]], np.float32)
    assert summarise(values, [1], limits)[1][2] == np.float32(expected)
