import numpy as np
import pytest

from pipeline.perturb import echo
from pipeline.perturb.audio import Audio


def echoed(samples, *amounts, sr=16000):
    return echo.perturb(Audio(samples=samples, sr=sr), amounts, np.random.default_rng(0))


def test_an_impulse_comes_back_once():
    impulse = np.zeros(3000, np.float32)
    impulse[10] = 1
    expected = np.zeros(3000)
    expected[[10, 970]] = 0.8 * 0.5, 0.4 * 0.5
    np.testing.assert_allclose(echoed(impulse, 0.8, 0.5, 60, 0.4), expected, atol=1e-7)


def test_an_echo_that_comes_after_the_end_is_not_heard(piece):
    np.testing.assert_allclose(echoed(piece[:16000], 0.5, 0.5, 1000, 1), piece[:16000] / 4)


def test_what_goes_beyond_full_scale_is_clipped():
    np.testing.assert_array_equal(echoed(np.float32([1, -1] * 50), 1, 1, 1, 1)[16:], [1, -1] * 42)


@pytest.mark.parametrize("amounts", ["0.8_0.88_60_0.4", "1_1_50_0.3", "0.73_0.61_333.3_0.25"])
@pytest.mark.parametrize("sr", [16000, 22050])
def test_it_is_ffmpegs_aecho(piece, amounts, sr, ffmpeg):
    audio = Audio(samples=piece, sr=sr)
    theirs = ffmpeg(audio, "aecho=" + amounts.replace("_", ":"))
    ours = echoed(piece, *map(float, amounts.split("_")), sr=sr)
    # FFmpeg goes on until the last echo has sounded; it rounds once, ours three times.
    np.testing.assert_allclose(ours, theirs[: len(ours)], atol=3e-7)
    assert (np.abs(theirs).max() == 1) == amounts.startswith("1_1")
