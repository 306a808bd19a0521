import numpy as np
import pytest

from featurestore.errors import SpecError
from pipeline.perturb import mp3
from pipeline.perturb.audio import Audio

EACH = [(sr, bit_rate) for sr, bit_rates in mp3.BIT_RATES.items() for bit_rate in bit_rates]


def recoded(samples, sr, bit_rate):
    return mp3.perturb(Audio(samples=samples, sr=sr), (bit_rate,), np.random.default_rng(0))


@pytest.mark.slow
@pytest.mark.parametrize(("sr", "bit_rate"), EACH)
def test_the_file_has_the_bit_rate_that_was_asked_for(piece, sr, bit_rate):
    short, long = (len(mp3.encode(Audio(samples=piece[: n * sr], sr=sr), bit_rate)) for n in (0, 2))
    seconds = len(piece[: 2 * sr]) / sr
    # What is there besides two seconds, a frame or two, is at most 8 % of them.
    assert (long - short) * 8 / 1000 / seconds == pytest.approx(bit_rate, rel=0.12)


@pytest.mark.slow
@pytest.mark.parametrize(("sr", "bit_rate"), EACH)
def test_samples_are_where_they_were(piece, sr, bit_rate):
    given = piece[: 2 * sr]
    result = recoded(given, sr, bit_rate)
    assert result.shape == given.shape
    correlation = np.fft.irfft(
        np.fft.rfft(result, 2**18) * np.conj(np.fft.rfft(given, 2**18)), 2**18
    )
    assert np.argmax(correlation) == 0


@pytest.mark.parametrize("sr", [16000, 22050, 44100])
def test_a_higher_bit_rate_loses_less(piece, sr):
    low, *_, high = mp3.BIT_RATES[sr]
    errors = [np.square(recoded(piece, sr, rate) - piece).mean() for rate in (low, 64, high)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > 0


@pytest.mark.parametrize("n_samples", [0, 1, 575, 1105, 1152])
@pytest.mark.parametrize("bit_rate", [8, 64])
def test_the_shortest_are_encoded_too(piece, n_samples, bit_rate):
    assert recoded(piece[:n_samples], 16000, bit_rate).shape == (n_samples,)


@pytest.mark.parametrize(
    ("sr", "bit_rate", "match"),
    [
        (16000, 100, r"'mp3-100': .* 16000 Hz .* 100 kbit/s; it has 8, 16, .* 160$"),
        (8000, 128, r"'mp3-128': .* 8000 Hz .* 128 kbit/s; it has 8, 16, .* 64$"),
        (44100, 24, r"'mp3-24': .* 44100 Hz .* 24 kbit/s; it has 32, 40, .* 320$"),
        (16000, 64.5, r"'mp3-64.5': .* 64.5 kbit/s"),
        (96000, 128, r"'mp3-128': .* 96000 Hz; it has 8000, 11025, .* 48000$"),
    ],
)
def test_rates_that_mp3_does_not_have_are_refused(sr, bit_rate, match):
    with pytest.raises(SpecError, match=match):
        mp3.require(sr, (bit_rate,))
