import io

import numpy as np
import pytest
import soundfile

from featurestore.errors import RowNotReadyError, SettingsError
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.perturbation import Condition
from pipeline.demo.synth import midi_to_hz, oscillator
from pipeline.features.backends import native
from pipeline.features.backends.stft import SharedStft
from pipeline.features.scaling import compress, decompress
from pipeline.sonify.sonify import sonify, write_sounds

SECONDS = 3


def music(sr):
    """Chords of saws whose loudness decays, over noise."""
    rng = np.random.default_rng(5)
    n = SECONDS * sr
    samples = 0.003 * rng.standard_normal(n)
    for beat in range(8):
        start, length = beat * n // 8, n // 8
        for note in rng.choice(np.arange(45, 75), 3, replace=False):
            tone = oscillator(np.full(length, midi_to_hz(note)), 1 / np.arange(1, 30), sr)
            samples[start : start + length] += 0.15 * tone * np.exp(-3 * np.linspace(0, 1, length))
    return samples.astype(np.float32)


def analysed(samples, spec):
    """Values of a spec, decoded from float16, as a store gives them."""
    padding = np.zeros(spec.n_fft // 2, np.float32)
    _, mel = native.power(np.concatenate([padding, samples, padding]), SharedStft.of(spec))
    return compress(mel, spec.log).astype(np.float16).astype(np.float32)


def decibel(values, spec):
    return 10 * np.log10(np.maximum(decompress(values, spec.log), 1e-10))


# Root mean square over cells within 50 dB of the loudest, and the median over bands of the error
# of a band's mean power [dB]: what is stated for real music, and a little more: chance evens out
# less over three seconds.
@pytest.mark.parametrize(
    ("n_mels", "hop", "log", "method", "cells", "bands"),
    [
        (96, 1, "db", "griffin-lim", 2.5, 0.3),
        (96, 10, "log", "griffin-lim", 2.0, 0.5),
        (8, 1, "log", "griffin-lim", 1.5, 0.2),
        (8, 10, "db", "griffin-lim", 1.0, 0.2),
        (96, 1, "db", "noise", 6.0, 1.0),
        (96, 10, "log", "noise", 6.0, 1.5),
        (8, 1, "log", "noise", 3.0, 0.5),
        (8, 10, "db", "noise", 2.5, 1.5),
    ],
)
def test_analysing_the_sound_gives_the_stored_values_back(n_mels, hop, log, method, cells, bands):
    spec = FeatureSpec(sr=16000, n_mels=n_mels, hop=hop, log=log)
    stored = analysed(music(spec.sr), spec)
    sound = sonify(stored, spec, SECONDS * spec.sr, method=method)
    again = analysed(sound.samples / np.float32(10 ** (sound.gain / 20)), spec)
    assert again.shape == stored.shape
    wanted, got = decibel(stored, spec), decibel(again, spec)
    loud = wanted > wanted.max() - 50
    assert loud.mean() > 0.5
    errors = (got - wanted)[loud]
    assert np.sqrt(np.mean(errors**2)) < cells
    means = [decompress(values, spec.log).mean(axis=1) for values in (again, stored)]
    assert np.median(abs(10 * np.log10(means[0] / means[1]))) < bands


@pytest.mark.parametrize(("n_mels", "win_length"), [(48, None), (128, 400)])
def test_bands_of_htk_without_norm_give_their_values_back(n_mels, win_length):
    """With 128 bands some filters are empty: they say nothing, and stay at the floor."""
    spec = FeatureSpec(sr=16000, n_mels=n_mels, htk=True, norm=None, win_length=win_length)
    assert (len(spec.empty_filters) > 0) == (n_mels == 128)
    stored = analysed(music(spec.sr), spec)
    sound = sonify(stored, spec, SECONDS * spec.sr)
    again = analysed(sound.samples / np.float32(10 ** (sound.gain / 20)), spec)
    loud = stored > stored.max() - 50
    assert loud.mean() > 0.5
    assert np.sqrt(np.mean((again - stored)[loud] ** 2)) < 3
    assert (again[spec.empty_filters] == -100).all()


def test_power_undoes_the_amplitude_laws():
    given = np.geomspace(1e-6, 1e4, 200, dtype=np.float32)
    for log in ("db", "log"):
        np.testing.assert_allclose(decompress(compress(given, log), log), given, rtol=1e-3)
    assert (decompress(np.float32([-0.001, 0]), "log") == 0).all()


def test_frames_are_held_around_their_times():
    """A click of loudness in one frame of x10 sounds half a hop to either side of it."""
    spec = FeatureSpec(sr=16000, n_mels=16, hop=10, log="db")
    values = np.full((16, spec.n_frames(48000)), -100, np.float32)
    values[:, 6] = 0
    samples = sonify(values, spec, 48000, method="noise").samples
    times = np.average(np.arange(48000), weights=samples.astype(np.float64) ** 2)
    heard = np.flatnonzero(abs(samples) > 0.1 * abs(samples).max())
    assert times == pytest.approx(6 * 2560, abs=200)
    assert heard[-1] - heard[0] == pytest.approx(2560, abs=600)


@pytest.mark.parametrize("method", ["griffin-lim", "noise"])
def test_the_same_seed_gives_the_same_sound(method):
    spec = FeatureSpec(sr=8000, n_mels=16, hop=2, log="db", window="hann-symmetric")
    values = analysed(music(8000)[:8000], spec)
    first, again, other = (
        sonify(values, spec, 8000, method=method, seed=seed).samples for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert abs(first - other).max() > 0.01


@pytest.mark.parametrize("method", ["griffin-lim", "noise"])
def test_what_is_too_loud_is_turned_down_and_said(method):
    spec = FeatureSpec(sr=8000, n_mels=16, hop=1, log="db")
    values = analysed(music(8000)[:8000], spec)
    quiet = sonify(values - 20, spec, 8000, method=method)
    loud = sonify(values + 40, spec, 8000, method=method)
    assert quiet.gain == 0
    assert abs(loud.samples).max() == pytest.approx(0.999, abs=1e-4)
    assert -60 < loud.gain < -10
    ratio = np.sqrt(np.mean(loud.samples**2) / np.mean(quiet.samples**2))
    assert 20 * np.log10(ratio) == pytest.approx(60 + loud.gain, abs=1)


@pytest.mark.parametrize("method", ["griffin-lim", "noise"])
@pytest.mark.parametrize("n_samples", [1, 400, 4096])
def test_silence_and_clips_shorter_than_a_frame_are_no_trouble(method, n_samples):
    spec = FeatureSpec(sr=8000, n_mels=8, hop=1, log="log")
    values = np.zeros((8, spec.n_frames(n_samples)), np.float32)
    sound = sonify(values, spec, n_samples, method=method)
    assert sound.samples.shape == (n_samples,)
    assert not sound.samples.any()


def test_files_are_named_after_clip_spec_and_method_and_share_a_gain(shared_store, tmp_path):
    files = write_sounds(
        shared_store, 3, tmp_path / "new", method="noise", file_format="flac"
    ).files
    assert [file.path.name for file in files] == [
        "clip-03.sr8000-mel16-x1-db.noise.flac",
        "clip-03.sr8000-mel8-x2-db.noise.flac",
        "clip-03.sr8000-mel8-x2-log.noise.flac",
    ]
    assert len({file.gain for file in files}) == 1
    for file in files:
        samples, sr = soundfile.read(file.path)
        assert (len(samples), sr) == (4000, 8000)
        assert file.seconds == 0.5
        assert abs(samples).max() <= 1


def test_only_the_audio_is_made_and_not_the_padding(make_store, tmp_path):
    store = make_store(ids=["a"], failed=(), pending=())
    store.status["n_valid"][0] = store.status["sr"][0] // 5
    files = write_sounds(store, 0, tmp_path, ["sr8000-mel8-x4-db"], method="noise").files
    assert soundfile.info(files[0].path).frames == 1600


@pytest.mark.parametrize("file_format", ["wav", "flac", "mp3"])
def test_a_sound_is_read_back_from_every_format(file_format):
    spec = FeatureSpec(sr=16000, n_mels=16, hop=1, log="db")
    sound = sonify(analysed(music(16000), spec), spec, SECONDS * 16000, method="noise")
    samples, sr = soundfile.read(io.BytesIO(sound.encoded(file_format)))
    assert sr == 16000
    assert len(samples) == pytest.approx(SECONDS * 16000, abs=2000)
    loudness = np.sqrt(np.mean(samples**2) / np.mean(sound.samples**2))
    assert loudness == pytest.approx(1, abs=0.05)


def test_what_cannot_be_made_is_refused(shared_store, tmp_path):
    with pytest.raises(RowNotReadyError, match="EmptyFile"):
        write_sounds(shared_store, 5, tmp_path / "none")
    with pytest.raises(SettingsError, match="method is 'magic'; it must be one of griffin-lim"):
        write_sounds(shared_store, 0, tmp_path / "none", method="magic")
    with pytest.raises(SettingsError, match="format is 'aac'"):
        write_sounds(shared_store, 0, tmp_path / "none", file_format="aac")
    assert not (tmp_path / "none").exists()
    spec = FeatureSpec(sr=7000, n_mels=8, hop=1, log="db")
    sound = sonify(np.zeros((8, 2), np.float32), spec, 300, method="noise")
    with pytest.raises(SettingsError, match="mp3, which cannot hold 7000 Hz; wav can"):
        sound.encoded("mp3")


def test_conditions_are_written_beside_each_other_at_one_gain(make_store, tmp_path):
    spec = FeatureSpec(sr=8000, n_mels=8, hop=2)
    conditions = [Condition.parse(name) for name in ("clean", "gain-6", "stretch2")]
    store = make_store(ids=["a"], specs=[spec.under(c) for c in conditions], failed=(), pending=())
    found = write_sounds(store, 0, tmp_path, method="noise")
    assert [file.path.name for file in found.files] == [
        "a.sr8000-mel8-x2-db.noise.wav",
        "a.sr8000-mel8-x2-db~gain-6.noise.wav",
        "a.sr8000-mel8-x2-db~stretch2.noise.wav",
    ]
    assert len({file.gain for file in found.files}) == 1
    assert [file.seconds for file in found.files] == [0.5, 0.5, 0.25]  # twice as fast
    assert found.lines()[-1].startswith("0.2 to 0.5 s, gain -")
    [one] = write_sounds(store, 0, tmp_path, [spec], ["gain-6"], method="noise").files
    assert one.spec.condition == conditions[1]


def test_a_waveform_is_written_bit_for_bit(wave_store, tmp_path):
    found = write_sounds(wave_store, 3, tmp_path)
    [file] = found.files
    assert file.path.name == "clip-03.sr44100-wave.wav"  # no method: nothing is made up
    assert file.gain == 0
    samples, sr = soundfile.read(file.path, dtype="int16")
    assert sr == 44100
    np.testing.assert_array_equal(samples, wave_store[file.spec][3][0] * 32768)
