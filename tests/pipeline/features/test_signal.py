import numpy as np
import pytest

from featurestore.specs.augmentation import MTAT, Augmentation
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import CLEAN, Condition
from pipeline.audio.clip import Cropper
from pipeline.features.signal import Signals, n_needed, reach

SR = 16000
WINDOW = Excerpt(duration=1.0, take="first")
MUSIC = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * SR).astype(np.float32)


def clip_of(samples, window=WINDOW, **how):
    return Cropper(samples, SR, window, **how).clip()


def perturbed(clip, name, sr=SR, seed=0):
    return Signals(clip, seed).at(sr, Condition.parse(name))


def test_a_clean_signal_is_the_clip():
    clip = clip_of(MUSIC)
    np.testing.assert_array_equal(Signals(clip, 0).at(SR, CLEAN).padded(512), clip.padded(SR, 512))


def test_perturbations_follow_each_other():
    clip = clip_of(MUSIC)
    np.testing.assert_allclose(
        perturbed(clip, "gain-6~gain6").padded(0), clip.padded(SR, 0), atol=1e-6
    )
    half = perturbed(clip, "gain-6").padded(64)
    np.testing.assert_allclose(half[32:-32], clip.padded(SR, 0) * 10 ** (-6 / 20), atol=1e-6)
    assert not half[:32].any()
    assert not half[-32:].any()


def test_the_padding_of_a_short_clip_stays_silent():
    signal = perturbed(clip_of(MUSIC[: SR // 2]), "noise0.5")
    samples = signal.padded(0)
    assert samples[: SR // 2].all()
    assert not samples[SR // 2 :].any()
    assert signal.n_valid == SR // 2


@pytest.mark.parametrize("rate", [1.25, 2.0])
def test_what_is_faster_takes_what_follows_the_clip(rate):
    name = f"stretch{rate:g}"
    there = perturbed(clip_of(MUSIC), name)
    assert np.abs(there.padded(0)[-SR // 8 :]).max() > 0.1
    assert there.n_valid >= SR
    # where the track ends with the clip, what is missing is silence
    ends = perturbed(clip_of(MUSIC[:SR]), name)
    assert not ends.padded(0)[int(SR / rate) + 2048 :].any()
    assert ends.n_valid == int(SR / rate)


def test_what_is_slower_leaves_no_padding_and_fills_what_a_short_clip_has():
    assert perturbed(clip_of(MUSIC), "stretch0.5").n_valid >= SR
    assert perturbed(clip_of(MUSIC[: SR // 4]), "stretch0.5").n_valid == SR // 2


def test_the_same_bits_however_much_of_the_track_was_read():
    needed = n_needed(SR, 1.5)
    whole = perturbed(clip_of(MUSIC), "stretch1.5").padded(0)
    some = perturbed(clip_of(MUSIC[: needed + 2], n_samples=len(MUSIC)), "stretch1.5").padded(0)
    np.testing.assert_array_equal(some, whole)
    # and whatever else is made of the clip
    signals = Signals(clip_of(MUSIC), 0)
    for other in ("stretch0.5", "pitch1", "stretch2", "noise0.1"):
        signals.at(SR, Condition.parse(other))
    np.testing.assert_array_equal(signals.at(SR, Condition.parse("stretch1.5")).padded(0), whole)


def test_a_clip_and_a_condition_have_noise_of_their_own():
    clip = clip_of(MUSIC)
    first, again, other = (perturbed(clip, "noise0.5", seed=s).padded(0) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.corrcoef(first - clip.padded(SR, 0) / 2, other - clip.padded(SR, 0) / 2)[0, 1] < 0.1


def test_as_much_of_a_track_is_read_as_the_fastest_condition_needs():
    spec = FeatureSpec(sr=SR, n_mels=8)
    assert reach([spec, spec.under(Condition.parse("pitch12"))], WINDOW) == 1
    most = reach([spec.under(Condition.parse(f"stretch{rate}")) for rate in ("2", "0.5")], WINDOW)
    assert 2.2 < most < 2.6


def test_a_clip_of_less_than_a_sample_is_silence():
    clip = Cropper(np.ones(1, np.float32), 48000, WINDOW).clip()
    for name in ("gain-6", "stretch1.5", "pitch1"):
        assert np.isfinite(perturbed(clip, name, sr=8000).padded(0)).all()


def drawn(samples, text, seed=0, probability=1.0, sr=SR, **how):
    augmentation = Augmentation.parse(text, probability)
    return Signals(clip_of(samples, **how), seed, augmentation).at(sr, Condition(draw=0))


def test_a_draw_is_what_the_augmentation_draws_for_the_clip():
    generator = Condition(draw=0).generator(7)
    condition = Augmentation.parse("pitch-5:5", 1).draw(generator)
    expected = perturbed(clip_of(MUSIC), condition.name).padded(512)
    np.testing.assert_array_equal(drawn(MUSIC, "pitch-5:5", seed=7).padded(512), expected)
    # the same at any rate: pitch draws nothing from its generator
    other = perturbed(clip_of(MUSIC), condition.name, sr=8000).padded(0)
    np.testing.assert_array_equal(drawn(MUSIC, "pitch-5:5", seed=7, sr=8000).padded(0), other)


def test_the_same_draw_whatever_else_is_made_and_another_for_another_clip_and_number():
    augmentation = Augmentation.parse(MTAT, 1)
    alone = drawn(MUSIC, MTAT).padded(0)
    signals = Signals(clip_of(MUSIC), 0, augmentation)
    for name in ("draw3", "stretch2", "noise0.1", "draw1"):
        signals.at(SR, Condition.parse(name))
    np.testing.assert_array_equal(signals.at(SR, Condition(draw=0)).padded(0), alone)
    for other in (drawn(MUSIC, MTAT, seed=1), signals.at(SR, Condition(draw=1))):
        assert np.abs(other.padded(0) - alone).max() > 0.01


def test_a_draw_of_nothing_is_the_clean_clip():
    probability = 1e-6
    clean = clip_of(MUSIC).padded(SR, 512)
    np.testing.assert_array_equal(drawn(MUSIC, MTAT, probability=probability).padded(512), clean)


@pytest.mark.parametrize("step", ["stretch0.5", "stretch1.7", "tempo0.5", "gauss0.1", "pitch3"])
@pytest.mark.parametrize("n_samples", [SR // 2, SR, 5 * SR])
def test_a_draw_is_as_long_as_its_clip(step, n_samples):
    signal = drawn(MUSIC[:n_samples], step)
    samples = signal.padded(0)
    n_valid = min(n_samples, SR)
    assert signal.n_valid == n_valid
    assert len(samples) == SR
    assert not samples[n_valid:].any()
    follows = n_samples > SR or step != "stretch1.7"
    # the vocoder's last frame reaches half a frame beyond the end
    heard = n_valid if follows else int(n_valid / 1.7)
    assert np.abs(samples[heard - SR // 8 : heard]).max() > 0.05
    assert not samples[heard + 1024 :].any()


def test_draws_reach_as_far_as_the_fastest():
    spec = FeatureSpec(sr=SR, n_mels=8)
    draw = spec.under(Condition(draw=0))
    augmentation = Augmentation.parse("stretch0.8:1.2,pitch-5:5")
    fastest = reach([spec.under(Condition.parse("stretch1.2"))], WINDOW)
    assert reach([spec, draw], WINDOW, augmentation) == fastest
    n_read = round(fastest * SR) + 2
    some = drawn(MUSIC[:n_read], "stretch1.2", n_samples=len(MUSIC))
    np.testing.assert_array_equal(some.padded(0), drawn(MUSIC, "stretch1.2").padded(0))


def test_a_tile_under_a_condition_is_audio_to_its_last_sample():
    window = Excerpt(duration=1.0, take="all")
    clip = Cropper(MUSIC, SR, window).clip(1)
    tile = perturbed(clip, "gain-6").samples(0, SR)
    np.testing.assert_allclose(tile, MUSIC[SR : 2 * SR] * 10 ** (-6 / 20), rtol=1e-6)
