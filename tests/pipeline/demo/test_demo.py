import itertools
import os

import numpy as np
import pandas as pd
import pytest
import soundfile

from featurestore.errors import SettingsError
from pipeline.demo import demo
from pipeline.demo.demo import SECONDS, SR, TAGS, compose, make_demo

# Pieces of chords and a shaker, where a claim can be measured; the corpus holds richer ones.
SEEDS = range(4)


def piece(*tags, seed=0):
    return compose(frozenset(tags), np.random.default_rng(seed))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A small corpus made in one go by one process; not to be changed."""
    return make_demo(tmp_path_factory.mktemp("corpus"), n_clips=12, workers=1).parent


@pytest.fixture
def silent(monkeypatch):
    """Let the clips be empty files, made here, where their sound does not matter."""
    monkeypatch.setattr(demo, "_make_clip", lambda folder, clip: (folder / clip.path).touch())
    monkeypatch.setattr("os.cpu_count", lambda: 1)


def test_the_labels_are_a_table_of_path_split_and_tags_of_0_and_1(corpus):
    labels = pd.read_csv(corpus / "labels.csv")
    assert list(labels.columns) == ["path", "split", *TAGS]
    assert labels[list(TAGS)].isin([0, 1]).all(axis=None)
    assert set(labels["path"]) | {"labels.csv"} == set(contents(corpus))


def test_a_clip_is_a_16_khz_mono_mp3_of_29_5_seconds_at_32_kilobits_a_second(corpus):
    for path in corpus.glob("*.mp3"):
        with soundfile.SoundFile(path) as file:
            assert (file.format, file.samplerate, file.channels) == ("MP3", SR, 1)
            seconds = len(file.read()) / SR
        assert SECONDS <= seconds <= SECONDS + 0.1
        assert path.stat().st_size * 8 / seconds == pytest.approx(32_000, rel=0.002)


def test_a_clip_is_heard_and_does_not_clip(corpus):
    for path in corpus.glob("*.mp3"):
        audio, _ = soundfile.read(path)
        assert 0.02 < np.abs(audio).max() < 1


def test_the_same_seed_gives_the_same_bytes_in_any_number_of_processes(corpus, tmp_path):
    make_demo(tmp_path, n_clips=12, workers=2)
    assert contents(tmp_path) == contents(corpus)


def test_another_seed_gives_other_labels_and_other_sounds(corpus, tmp_path, silent):
    other = make_demo(tmp_path, n_clips=12, seed=1)
    assert other.read_bytes() != (corpus / "labels.csv").read_bytes()
    first = [compose(frozenset(), np.random.default_rng((seed, 0))) for seed in (0, 1)]
    assert not np.array_equal(*first)


def test_every_tag_holds_for_half_the_clips_of_every_split(tmp_path, silent):
    labels = pd.read_csv(make_demo(tmp_path))
    assert labels["split"].value_counts().to_dict() == {"train": 160, "validation": 40, "test": 40}
    assert (labels.groupby("split")[list(TAGS)].mean() == 0.5).all(axis=None)


def test_tags_are_nearly_independent_of_each_other(tmp_path, silent):
    labels = pd.read_csv(make_demo(tmp_path))[list(TAGS)]
    correlation = labels.corr().to_numpy()[np.triu_indices(len(TAGS), 1)]
    # Of 66 correlations between independent columns of 240, the largest is about 0.17.
    assert np.abs(correlation).max() < 0.25


def test_a_complete_corpus_is_left_as_it_is(corpus):
    before = {path: path.stat().st_mtime_ns for path in corpus.iterdir()}
    calls = []
    labels = make_demo(corpus, n_clips=12, progress=lambda *call: calls.append(call))
    assert labels == corpus / "labels.csv"
    assert calls == [(12, 12)]
    assert {path: path.stat().st_mtime_ns for path in corpus.iterdir()} == before


def test_an_interrupted_run_leaves_no_labels_and_is_completed_by_the_next(tmp_path, silent):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path, n_clips=12, progress=interrupt)
    assert len(list(tmp_path.glob("*.mp3"))) == 3
    assert not (tmp_path / "labels.csv").exists()

    calls = []
    make_demo(tmp_path, n_clips=12, progress=lambda *call: calls.append(call))
    assert calls == [(done, 12) for done in range(3, 13)]
    assert len(contents(tmp_path)) == 13
    assert (tmp_path / "labels.csv").exists()


def test_clips_that_went_missing_are_made_again_as_they_were(corpus, tmp_path):
    for name, data in contents(corpus).items():
        (tmp_path / name).write_bytes(data)
    for name in ("demo-0000.mp3", "demo-0011.mp3"):
        (tmp_path / name).unlink()
    make_demo(tmp_path, n_clips=12, workers=1)
    assert contents(tmp_path) == contents(corpus)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="No space left"):
        make_demo(tmp_path, n_clips=12, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(SettingsError, match="holds no demo corpus; give an empty folder"):
        make_demo(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="file exists and holds no demo corpus"):
        make_demo(tmp_path / "file")


@pytest.mark.parametrize("other", [{"n_clips": 13}, {"n_clips": 12, "seed": 1}])
def test_a_corpus_made_with_other_numbers_is_refused(corpus, other):
    with pytest.raises(SettingsError, match=r"labels\.csv is not that of the demo corpus"):
        make_demo(corpus, **other)


def test_an_unfinished_corpus_made_with_other_numbers_is_refused(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path, n_clips=12, progress=stop)
    with pytest.raises(SettingsError, match="made with another n_clips or seed"):
        make_demo(tmp_path, n_clips=12, seed=1)


@pytest.mark.parametrize(("name", "value"), [("n_clips", 11), ("seed", -1), ("workers", 0)])
def test_a_number_out_of_range_is_refused_by_name(tmp_path, name, value):
    with pytest.raises(SettingsError, match=f"{name} is {value}; it must be at least"):
        make_demo(tmp_path, **{name: value})


def test_a_piece_lasts_as_long_as_stated_and_stays_below_its_peak():
    for tags in ((), ("loud",), tuple(TAGS)):
        audio = piece(*tags)
        assert audio.shape == (472_000,)
        assert audio.dtype == np.float32
        assert 0 < np.abs(audio).max() < 0.6


@pytest.mark.parametrize("tag", TAGS)
def test_every_tag_changes_what_is_heard(tag):
    assert not np.allclose(piece(tag), piece())


def first_triad(audio):
    """The three strongest tones of the first second, low to high [semitones]."""
    n = 1 << 19
    spectrum = np.abs(np.fft.rfft(audio[:SR] * np.hanning(SR), n))
    semitones = 69 + 12 * np.log2(np.arange(1, len(spectrum)) * SR / n / 440)
    spectrum = np.where((semitones > 71.4) & (semitones < 91.4), spectrum[1:], 0)
    tones = []
    for _ in range(3):
        tones.append(semitones[spectrum.argmax()])
        spectrum[np.abs(semitones - tones[-1]) < 1.5] = 0
    return np.sort(tones)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_minor_chord_has_its_third_a_semitone_lower_than_a_major_one(seed):
    major, minor = first_triad(piece(seed=seed)), first_triad(piece("minor", seed=seed))
    np.testing.assert_allclose(np.diff(major), [4, 3], atol=0.15)
    np.testing.assert_allclose(np.diff(minor), [3, 4], atol=0.15)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_detuned_fifth_is_about_half_a_semitone_off(seed):
    root, _, fifth = first_triad(piece("detuned", seed=seed))
    assert 0.3 < abs(fifth - root - 7) < 0.65


def swing_rate(audio, low, high):
    """How often a second the level between two frequencies [Hz] swings, for the most part."""
    spectrum = np.fft.rfft(audio)
    hz = np.fft.rfftfreq(len(audio), 1 / SR)
    power = np.fft.irfft(np.where((hz > low) & (hz < high), spectrum, 0)) ** 2
    envelope = power.reshape(-1, 160).mean(axis=1)  # 100 a second
    swing = np.abs(np.fft.rfft(envelope - envelope.mean()))
    return swing.argmax() / SECONDS


@pytest.mark.parametrize("seed", SEEDS)
def test_trembling_chords_swing_more_than_six_times_a_second_and_others_slowly(seed):
    assert 6 <= swing_rate(piece("tremolo", seed=seed), 300, 1500) <= 8.6
    assert swing_rate(piece(seed=seed), 300, 1500) < 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rolling_shaker_makes_more_than_eight_strokes_a_second_and_another_under_four(seed):
    assert 7.9 <= swing_rate(piece("roll", seed=seed), 6500, 8000) <= 11.1
    assert 1.9 <= swing_rate(piece(seed=seed), 6500, 8000) <= 3.3


def test_loud_pieces_are_louder_on_the_whole_though_not_each():
    loud, soft = ([np.std(piece(*t, seed=s)) for s in range(8)] for t in (("loud",), ()))
    assert 20 * np.log10(np.median(loud) / np.median(soft)) > 4
    assert any(a < b for a, b in itertools.product(loud, soft))
