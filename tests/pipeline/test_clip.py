import numpy as np
import pytest

from featurestore.errors import AudioError
from featurestore.window import ClipWindow
from pipeline.clip import crop


def counting(n_samples):
    return np.arange(n_samples, dtype=np.float32)


def test_the_centre_is_counted_in_decoded_samples():
    clip = crop(counting(1000), 100, ClipWindow(duration=4))
    assert clip.start == 300
    np.testing.assert_array_equal(clip.samples, counting(1000)[300:700])


def test_an_odd_surplus_leaves_the_odd_sample_at_the_end():
    assert crop(counting(403), 100, ClipWindow(duration=4)).start == 1


def test_first_takes_the_beginning():
    clip = crop(counting(1000), 100, ClipWindow(duration=4, take="first"))
    assert clip.start == 0
    np.testing.assert_array_equal(clip.samples, counting(400))


def test_a_short_track_is_padded_at_its_end():
    clip = crop(counting(150), 100, ClipWindow(duration=4))
    assert (clip.start, len(clip.samples)) == (0, 150)
    padded = clip.at(100)
    np.testing.assert_array_equal(padded[:150], counting(150))
    np.testing.assert_array_equal(padded[150:], np.zeros(250))


def test_a_short_track_is_refused_when_asked_for():
    with pytest.raises(AudioError, match=r"TooShort: 1\.50 s of 4 s"):
        crop(counting(150), 100, ClipWindow(duration=4, short="skip"))


@pytest.mark.parametrize("source", [8000, 11025, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("sr", [12000, 16000])
def test_a_clip_has_the_exact_length_at_any_rate(source, sr):
    samples = np.random.default_rng(0).uniform(-1, 1, 3 * source).astype(np.float32)
    window = ClipWindow(duration=2.91)
    resampled = crop(samples, source, window).at(sr)
    assert resampled.dtype == np.float32
    assert len(resampled) == window.n_samples(sr) == round(2.91 * sr)
    assert np.abs(resampled[-10:]).max() > 0  # nothing of a full clip is padding


def test_resampling_keeps_a_tone():
    t = np.arange(44100) / 44100
    clip = crop(np.sin(2 * np.pi * 1000 * t).astype(np.float32), 44100, ClipWindow(duration=1))
    expected = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    middle = slice(1000, -1000)  # the filter's edges apart
    # soxr HQ: 20 bits
    np.testing.assert_allclose(clip.at(16000)[middle], expected[middle], atol=2e-5)
