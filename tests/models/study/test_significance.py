import math

import numpy as np
import pytest
from scipy import stats

from models.study.significance import Estimate, Variance, benjamini_hochberg, holm


def estimate(value, *variances):
    return Estimate(
        value=value, variances=tuple(Variance(value=v, freedom=f) for v, f in variances)
    )


def test_two_estimates_of_variance_make_welchs_test():
    a, b = np.array([0.80, 0.81, 0.83]), np.array([0.77, 0.79])
    welch = estimate(a.mean() - b.mean(), (a.var(ddof=1) / 3, 2), (b.var(ddof=1) / 2, 1))
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert welch.p == pytest.approx(expected.pvalue)
    assert welch.freedom == pytest.approx(expected.df)
    assert welch.interval == pytest.approx(expected.confidence_interval())


def test_a_known_variance_makes_a_z_test():
    known = estimate(0.02, (1e-4, math.inf))
    assert known.p == pytest.approx(2 * stats.norm.sf(2))
    assert known.upper_bound == pytest.approx(0.02 + 0.01 * stats.norm.ppf(0.95))


@pytest.mark.parametrize("value", [0.3, -0.1])
def test_the_bound_is_below_a_limit_as_often_as_the_one_sided_test_says(value):
    found = estimate(value, (0.01, 3), (0.002, 50))
    for limit in (-0.2, found.upper_bound - 1e-6, found.upper_bound + 1e-6, 1.0):
        p = stats.t.sf((limit - value) / found.standard_error, found.freedom)
        assert (found.upper_bound < limit) == (p < 0.05)


def test_without_variances_nothing_is_known_and_without_chance_all_is():
    nothing = Estimate(value=0.1, variances=())
    assert math.isnan(nothing.p)
    assert math.isnan(nothing.upper_bound)
    assert (estimate(0.1, (0.0, 2)).p, estimate(0.0, (0.0, 2)).p) == (0.0, 1.0)


def test_holms_correction_is_that_of_his_paper_worked_by_hand():
    # From the smallest: 5 x 0.005, 4 x 0.01, 3 x 0.03, 2 x 0.04 (but not below the one before).
    p_values = [0.01, 0.04, math.nan, 0.03, 0.005, 0.5]
    expected = [0.04, 0.09, math.nan, 0.09, 0.025, 0.5]
    assert holm(p_values) == pytest.approx(expected, nan_ok=True)


def test_benjamini_and_hochbergs_correction_is_scipys():
    p_values = [0.01, 0.04, 0.03, 0.005, 0.5, 0.011]
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values))
    assert benjamini_hochberg([0.5, math.nan])[0] == 0.5
    assert math.isnan(benjamini_hochberg([0.5, math.nan])[1])
