import numpy as np
import pytest

from pipeline.perturb.dsp.wsola import HOP, stretch

SR = 16000


def test_a_rate_of_1_changes_nothing():
    noise = np.random.default_rng(0).standard_normal(20_001).astype(np.float32)
    np.testing.assert_array_equal(stretch(noise, SR, 1), noise)


@pytest.mark.parametrize("rate", [0.6, 0.9, 1.1, 1.9])
@pytest.mark.parametrize("frequency", [55, 440, 3000])
def test_a_sine_stays_the_same_sine(frequency, rate):
    sine = np.sin(2 * np.pi * frequency * np.arange(2 * SR) / SR).astype(np.float32)
    # The very end fades into what is after the clip: silence.
    result = stretch(sine, SR, rate)[: -2 * round(HOP * SR)]
    spectrum = np.abs(np.fft.rfft(result * np.hanning(len(result)), 2**17))
    assert np.argmax(spectrum) / 2**17 * SR == pytest.approx(frequency, abs=0.3)
    # Pieces fit to the sample, at 3000 Hz a fifth of a period: nowhere is a dip or a gap.
    level = np.sqrt(np.convolve(result**2, np.ones(800) / 800, "valid"))
    assert level.min() > 0.6
    assert level.max() < 0.8


@pytest.mark.parametrize("rate", [0.6, 1.9])
def test_clicks_100_times_a_second_stay_100_a_second(rate):
    clicks = np.zeros(2 * SR, np.float32)
    clicks[::160] = 1
    result = stretch(clicks, SR, rate)[: -2 * round(HOP * SR)]
    np.testing.assert_array_equal(np.diff(np.flatnonzero(result > 0.5)), 160)


@pytest.mark.parametrize("rate", [0.6, 0.8, 1.25, 1.9])
def test_what_happens_at_a_time_happens_at_that_time_over_the_rate(rate):
    bursts = np.zeros(8 * SR, np.float32)
    noise = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    for second in range(1, 8):
        bursts[second * SR : second * SR + 4000] = noise
    loud = np.convolve(stretch(bursts, SR, rate) ** 2, np.ones(800) / 800, "same") > 0.25
    begins, ends = (
        np.flatnonzero(np.diff(loud.astype(int)) > 0),
        np.flatnonzero(np.diff(loud.astype(int)) < 0),
    )
    middles = (begins + ends) / 2 / SR
    # Within a hop, of which a piece may be half too early or too late.
    np.testing.assert_allclose(middles, (np.arange(1, 8) + 0.125) / rate, atol=HOP)


@pytest.mark.parametrize("rate", [0.6, 1.5])
def test_a_piece_begins_where_the_one_before_is_all_that_is_heard(rate):
    noise = np.random.default_rng(0).standard_normal(SR).astype(np.float32)
    hop = round(HOP * SR)
    result = stretch(noise, SR, rate)
    given = np.lib.stride_tricks.sliding_window_view(noise, 4)
    for joint in range(hop, len(result) - 2 * hop, hop):
        # Four samples on end that are on end in the noise too: nothing else comes that close.
        distance = np.abs(given - result[joint - 2 : joint + 2]).max(axis=1)
        assert distance.min() < 1e-3


@pytest.mark.parametrize("rate", [0.8, 1.5])
def test_of_equal_pieces_the_one_is_taken_that_lies_where_the_speed_puts_it(rate):
    late = []
    for place in range(4000, 12_000, 400):
        click = np.zeros(SR, np.float32)
        click[place] = 1
        late.append(np.argmax(stretch(click, SR, rate)) - place / rate)
    # All silence fits. Were the first of equals taken, clicks would be 15 ms late on average.
    assert abs(np.mean(late)) < 0.006 * SR


@pytest.mark.parametrize(("n_samples", "rate", "n_result"), [(1, 4, 0), (0, 2, 0), (3, 0.25, 12)])
def test_the_shortest_have_the_length_that_is_nearest(n_samples, rate, n_result):
    assert stretch(np.ones(n_samples, np.float32), SR, rate).shape == (n_result,)
