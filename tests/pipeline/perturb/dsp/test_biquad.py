import numpy as np
import pytest
import scipy.signal

from pipeline.perturb.audio import Audio
from pipeline.perturb.dsp.biquad import Biquad


def gain(biquad, *frequencies, sr=16000):
    return np.abs(scipy.signal.freqz(biquad.b, biquad.a, worN=frequencies, fs=sr)[1])


@pytest.mark.parametrize("design", [Biquad.lowpass, Biquad.highpass])
@pytest.mark.parametrize(("sr", "cutoff"), [(8000, 10), (16000, 1000), (48000, 23_999)])
def test_the_gain_at_the_cut_off_is_the_quality(design, sr, cutoff):
    assert gain(design(sr, cutoff), cutoff, sr=sr)[0] == pytest.approx(0.707)


def test_two_poles_pass_what_is_below_and_stop_what_is_above_or_the_other_way_round():
    low, high = Biquad.lowpass(16000, 1000), Biquad.highpass(16000, 1000)
    np.testing.assert_allclose(gain(low, 0, 8000), [1, 0], atol=1e-12)
    np.testing.assert_allclose(gain(high, 0, 8000), [0, 1], atol=1e-12)
    # Far below 8000 Hz an octave makes 12 dB.
    assert gain(high, 40)[0] / gain(high, 20)[0] == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize("kind", ["lowpass", "highpass"])
def test_two_poles_are_butterworths_to_the_digits_of_the_quality(kind):
    b, a = scipy.signal.butter(2, 1000, kind, fs=16000)
    own = getattr(Biquad, kind)(16000, 1000)
    # 0.707 for the square root of a half: 1.5e-4 less.
    np.testing.assert_allclose(np.divide(own.b, own.a[0]), b, rtol=2e-4)
    np.testing.assert_allclose(np.divide(own.a, own.a[0]), a, rtol=2e-4)


def test_one_pole_falls_to_one_e_th_in_the_time_constant_of_the_cut_off():
    impulse = np.zeros(100, np.float32)
    impulse[0] = 1
    response = Biquad.one_pole_lowpass(16000, 16000 / (2 * np.pi * 20)).filter(impulse)
    assert response[20] / response[0] == pytest.approx(np.exp(-1), rel=1e-6)
    assert response.sum() == pytest.approx(1, abs=0.01)


def test_one_pole_is_that_of_ffmpeg(piece, ffmpeg):
    theirs = ffmpeg(Audio(samples=piece, sr=16000), "lowpass=frequency=600:poles=1")
    # FFmpeg computes in float32.
    np.testing.assert_allclose(Biquad.one_pole_lowpass(16000, 600).filter(piece), theirs, atol=2e-6)
