import numpy as np
import pytest

from pipeline.perturb.drc_music import COMPANDER
from pipeline.perturb.dsp.compand import Compander

SR = 16000
FLAT = Compander(attack=0.1, decay=0.3, transfer=((-90, -90), (0, 0)), delay=0.1)


def constant(decibels, seconds=3.0):
    return np.full(round(seconds * SR), 10 ** (decibels / 20), np.float32)


def decibels(samples):
    return 20 * np.log10(np.abs(samples))


@pytest.mark.parametrize(
    ("level", "output"),
    [(-100, -100), (-90, -90), (-80, -74), (-62.5, -50.5), (-43, -37), (-31, -31), (-25, -25)],
)
def test_a_steady_level_comes_out_as_the_transfer_function_says(level, output):
    # After 10 time constants the level is right to 5e-5; the lowest ones, reached from full scale,
    # take longer.
    result = COMPANDER.compress(constant(level, 8), SR)
    assert decibels(result[-1]) == pytest.approx(output, abs=0.01)


def test_full_scale_is_turned_down_from_the_first_sample():
    np.testing.assert_allclose(decibels(COMPANDER.compress(constant(0), SR)), -20, atol=1e-5)


def test_the_gain_is_there_a_delay_before_what_it_is_for():
    quiet, loud = constant(-43), constant(0, 1)
    result = COMPANDER.compress(np.concatenate([quiet, loud]), SR)
    gain = decibels(result) - decibels(np.concatenate([quiet, loud]))
    change = np.flatnonzero(np.abs(np.diff(gain[SR * 2 :])) > 1e-3)[0] + SR * 2
    # The delay is 1600 samples: the loud sample that lifts the level is heard 1600 later.
    assert change == len(quiet) - 1600 - 1


def test_samples_within_the_delay_of_the_end_get_the_last_gain():
    result = COMPANDER.compress(constant(-43, 2), SR)
    np.testing.assert_array_equal(result[-1600:], result[-1])
    assert result[-1602] < result[-1]  # the level is still falling, and the gain rising


@pytest.mark.parametrize("n_samples", [0, 1, 1599, 1600, 1601])
def test_clips_about_as_short_as_the_delay_are_compressed_too(n_samples):
    given = constant(-43)[:n_samples]
    result = FLAT.compress(given, SR)
    np.testing.assert_allclose(result, given, rtol=1e-6)


def test_a_lone_peak_that_the_gain_lifts_beyond_full_scale_is_clipped():
    lone = constant(-62.5, 8)
    lone[-2:] = 0.9, -0.9
    assert COMPANDER.compress(lone, SR)[-2:].tolist() == [1, -1]


def test_samples_beyond_full_scale_count_as_full_scale():
    loud, full = constant(6), constant(0)
    np.testing.assert_array_equal(COMPANDER.compress(loud, SR), COMPANDER.compress(full, SR))


def test_a_rate_at_which_a_time_is_shorter_than_a_sample_follows_at_once():
    instant = Compander(attack=1e-9, decay=1e-9, transfer=((-90, -90), (0, -20)), delay=0)
    result = instant.compress(np.float32([1, 0.1, 1]), SR)
    gains = [-20, -20 * 70 / 90, -20]
    np.testing.assert_allclose(decibels(result), np.add(gains, [0, -20, 0]), atol=1e-5)
