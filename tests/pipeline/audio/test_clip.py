from collections import defaultdict

import numpy as np
import pytest
import soxr

from featurestore.errors import AudioError
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import grid
from pipeline.audio.clip import Cropper
from pipeline.features.plan import arrange

FLOAT32 = defaultdict(lambda: Encoding(name="float32"))


def computed(plan, clip):
    return {spec: values for spec, values, _ in plan.compute(clip, "native", FLOAT32)}


def counting(n_samples):
    return np.arange(1, n_samples + 1, dtype=np.float32)


def cut(samples, sr, window, tile=0):
    return Cropper(samples, sr, window).clip(tile)


def samples_of(clip, sr):
    """The clip without its overhang."""
    return clip.padded(sr, n_fft=64)[32:-32]


def test_the_centre_is_counted_in_decoded_samples():
    clip = cut(counting(1000), 1000, Excerpt(duration=0.4))
    assert (clip.start, clip.n_valid) == (300, 400)
    np.testing.assert_array_equal(samples_of(clip, 1000), counting(1000)[300:700])


def test_a_clip_knows_its_peak_and_what_is_at_full_scale():
    samples = np.array([0.5, -1, 0.25, 1, 1.2, -0.75, 0.9999], np.float32)
    clip = cut(samples, 1000, Excerpt(duration=0.05))
    assert clip.peak == np.float32(1.2)
    assert clip.n_clipped == 3
    quiet = cut(samples[:1], 1000, Excerpt(duration=0.05))
    assert (quiet.peak, quiet.n_clipped) == (0.5, 0)


def test_a_clip_knows_how_much_of_its_track_follows():
    assert cut(counting(1000), 1000, Excerpt(duration=0.4)).n_following == 300
    assert cut(counting(300), 1000, Excerpt(duration=0.4)).n_following == 0


def test_audio_beyond_the_clip_is_the_tracks_and_the_clips_own_stays_the_same():
    window = Excerpt(duration=0.4, take="first")
    short, long = (Cropper(counting(n), 1000, window, n_samples=900).clip() for n in (400, 900))
    np.testing.assert_array_equal(long.audio(1000, 700), counting(700))
    np.testing.assert_array_equal(short.audio(1000, 700), counting(400))
    np.testing.assert_array_equal(samples_of(short, 500), samples_of(long, 500))
    more = Cropper(counting(2000), 1000, window, n_samples=2000).clip()
    np.testing.assert_array_equal(long.audio(500, 350), more.audio(500, 350))


def test_an_odd_surplus_leaves_the_odd_sample_at_the_end():
    assert cut(counting(403), 1000, Excerpt(duration=0.4)).start == 1


def test_first_takes_the_beginning():
    clip = cut(counting(1000), 1000, Excerpt(duration=0.4, take="first"))
    assert clip.start == 0
    np.testing.assert_array_equal(samples_of(clip, 1000), counting(400))


def test_beyond_a_clip_is_silence_even_where_the_track_goes_on():
    padded = cut(counting(1000), 1000, Excerpt(duration=0.4)).padded(1000, n_fft=64)
    assert len(padded) == 400 + 64
    assert not padded[:32].any()
    assert not padded[-32:].any()


def test_a_short_track_is_padded_at_its_end():
    clip = cut(counting(150), 1000, Excerpt(duration=0.4))
    assert (clip.start, clip.n_valid) == (0, 150)
    np.testing.assert_array_equal(samples_of(clip, 1000)[:150], counting(150))
    np.testing.assert_array_equal(samples_of(clip, 1000)[150:], np.zeros(250))


def test_a_short_track_is_refused_when_asked_for():
    with pytest.raises(AudioError, match=r"TooShort: 0\.15 s of 0\.4 s"):
        cut(counting(150), 1000, Excerpt(duration=0.4, short="skip"))


@pytest.mark.parametrize("source", [8000, 11025, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("sr", [12000, 16000])
def test_a_clip_has_the_exact_length_at_any_rate(source, sr):
    samples = np.random.default_rng(0).uniform(-1, 1, 3 * source).astype(np.float32)
    window = Excerpt(duration=2.91)
    resampled = samples_of(cut(samples, source, window), sr)
    assert resampled.dtype == np.float32
    assert len(resampled) == window.n_samples(sr) == round(2.91 * sr)
    assert np.abs(resampled[-10:]).max() > 0  # nothing of a full clip is padding


def test_resampling_keeps_a_tone():
    t = np.arange(44100) / 44100
    clip = cut(np.sin(2 * np.pi * 1000 * t).astype(np.float32), 44100, Excerpt(duration=1))
    expected = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    middle = slice(1000, -1000)  # the filter's edges apart
    # soxr HQ: 20 bits
    np.testing.assert_allclose(samples_of(clip, 16000)[middle], expected[middle], atol=2e-5)


@pytest.mark.parametrize("source", [16000, 44100])
def test_tiles_side_by_side_are_the_spectrogram_of_the_whole_track(source):
    specs = grid(sr=[16000, 12000], n_mels=[48, 16], hop=[1, 2, 5], log=["db", "log"])
    window = Excerpt(duration=2.9, take="all").fitted(specs)
    samples = np.random.default_rng(0).uniform(-1, 1, round(9.3 * source)).astype(np.float32)
    cropper = Cropper(samples, source, window)
    n_tiles = window.n_tiles(len(samples), source)
    assert n_tiles == 4  # of 2.56 s
    plan = arrange(specs)
    tiles = [computed(plan, cropper.clip(tile)) for tile in range(n_tiles)]
    for sr in (16000, 12000):
        resampled = samples if sr == source else soxr.resample(samples, source, sr, quality="HQ")
        whole = Cropper(resampled, sr, Excerpt(duration=len(resampled) / sr)).clip()
        mine = [spec for spec in specs if spec.sr == sr]
        for spec, expected in computed(arrange(mine), whole).items():
            joined = np.concatenate([tile[spec] for tile in tiles], axis=1)
            assert joined.shape[1] >= expected.shape[1]
            n_frames = expected.shape[1]
            np.testing.assert_array_equal(joined[:, :n_frames], expected)


def test_tiles_are_a_whole_number_of_hops_at_every_spec():
    specs = grid(sr=[12000, 16000], n_mels=[48], hop=[1, 2, 3, 4, 5, 10], log=["db"])
    window = Excerpt(take="all").fitted(specs)
    assert window.duration == 26.88
    for spec in specs:
        assert window.stride(spec.sr) % spec.hop_length == 0
        frames = window.stride(spec.sr) // spec.hop_length
        assert spec.n_frames(window.n_samples(spec.sr)) == frames


def test_a_last_tile_is_padded_and_says_so():
    window = Excerpt(duration=0.4, take="all")
    assert window.n_tiles(1000, 1000) == 3
    last = cut(counting(1000), 1000, window, tile=2)
    assert (last.start, last.n_valid) == (800, 200)
    np.testing.assert_array_equal(samples_of(last, 1000)[200:], np.zeros(199))
    with pytest.raises(AudioError, match="TooShort"):
        cut(counting(1000), 1000, window, tile=3)


def test_a_last_tile_that_is_short_is_left_out_when_asked_for():
    window = Excerpt(duration=0.4, take="all", short="skip")
    assert window.n_tiles(1000, 1000) == 2
    assert window.n_tiles(100, 1000) == 1  # a row that says why there is none
