import numpy as np
import pytest

from featurestore.errors import SpecError
from pipeline.perturb import bundle
from pipeline.perturb.audio import Audio

SR = 16000


def test_at_the_same_tempo_it_is_ffmpegs_filter_and_two_echoes(piece, ffmpeg):
    audio = Audio(samples=piece, sr=SR)
    ours = bundle.perturb(audio, (600, 1), np.random.default_rng(0))
    theirs = ffmpeg(audio, "lowpass=frequency=600:poles=1,aecho=0.8:0.9:200|400:0.3|0.3")
    np.testing.assert_allclose(ours, theirs[: len(ours)], atol=3e-6)


def test_the_string_that_it_comes_from_makes_one_echo_in_ffmpeg(ffmpeg):
    impulse = np.zeros(SR, np.float32)
    impulse[0] = 1
    odd = "aecho=in_gain=0.8:out_gain=0.9:delays=200:decays=0.3|delays=400:decays=0.3"
    assert np.flatnonzero(ffmpeg(Audio(samples=impulse, sr=SR), odd)).tolist() == [0, 3200]


def test_echoes_come_200_and_400_ms_later_at_any_tempo():
    impulse = np.zeros(SR, np.float32)
    impulse[0] = 1
    result = bundle.perturb(Audio(samples=impulse, sr=SR), (600, 0.8), np.random.default_rng(0))
    assert len(result) == 20_000
    np.testing.assert_allclose(result[[3200, 6400]] / result[0], 0.3 / 0.8, rtol=1e-4)


def test_a_cut_off_that_the_rate_cannot_hold_is_refused():
    bundle.require(8000, (600, 0.8))
    with pytest.raises(SpecError, match=r"'bundle4000_0.8': .* 4000 Hz; at 8000 Hz .* below 4000"):
        bundle.require(8000, (4000, 0.8))
