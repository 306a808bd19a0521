import os
import shutil

import numpy as np
import pytest
import soundfile

from featurestore.errors import AudioError, SettingsError
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.fbank import FbankSpec
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.stft import StftSpec
from featurestore.specs.waveform import WaveformSpec
from pipeline.catalogs import open_catalog
from pipeline.run.run import run
from pipeline.run.settings import RunSettings
from pipeline.run.values import RandomWindows, Values, compute_values

SR = 16000
MEL = FeatureSpec(sr=SR, n_mels=48, hop=2)
SPECS = (
    MEL,
    FeatureSpec(sr=SR, n_mels=16, hop=1, log="log"),
    StftSpec(sr=SR, hop=2),
    FbankSpec(sr=SR, n_mels=32),
    WaveformSpec(sr=SR),
)
WINDOW = Excerpt(duration=1.5)  # of some files in `audio`; others are padded


@pytest.fixture(scope="module")
def store(audio, tmp_path_factory, scheduler):
    """What a run makes of the files in `audio`, in float32."""
    path = str(tmp_path_factory.mktemp("values") / "store.zarr")
    settings = RunSettings(window=WINDOW, encoding=Encoding(name="float32"), scheduler=scheduler)
    return run(open_catalog(str(audio)), path, SPECS, settings).store


def paths_of(store, audio):
    return [str(audio / path) for path in store.table.path]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_values_are_the_bits_that_a_run_stores(spec, store, audio):
    array = store[spec]
    assert len(array) == 6
    found = list(compute_values(paths_of(store, audio), spec, WINDOW, workers=0))
    for row, values in enumerate(found):
        assert values.values.dtype == np.float32
        np.testing.assert_array_equal(values.values[0], array[row])
    n_valid = [values.n_valid.tolist() for values in found]
    assert n_valid == [[n] for n in array.n_valid_frames]
    assert len({n for [n] in n_valid}) > 1  # some are padded


def test_processes_give_the_same_in_the_same_order(store, audio):
    paths = paths_of(store, audio) * 5
    here = list(compute_values(paths, MEL, WINDOW, workers=0))
    there = list(compute_values(paths, MEL, WINDOW, workers=2))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.n_valid, other.n_valid)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_used_is_an_error_in_its_place(audio, tmp_path, workers):
    good = tmp_path / "good.wav"
    shutil.copy(audio / "44100-2.wav", good)
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("no music, just words\n" * 100)
    (tmp_path / "cut.flac").write_bytes((audio / "44100-2.flac").read_bytes()[:50_000])
    (tmp_path / "folder.wav").mkdir()
    names = ["good.wav", "empty.mp3", "text.mp3", "cut.flac", "folder.wav", "missing.wav"]
    paths = [str(tmp_path / name) for name in [*names, "good.wav"]]
    found = list(compute_values(paths, MEL, WINDOW, workers=workers))
    assert isinstance(found[0], Values)
    assert isinstance(found[-1], Values)
    reasons = [error.reason for error in found[1:-1] if isinstance(error, AudioError)]
    assert reasons == ["EmptyFile", "DecodeError", "TruncatedAudio", "Unreadable", "Unreadable"]
    assert "not a regular file" in str(found[4])
    assert "No such file" in str(found[5])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(audio, tmp_path):
    shutil.copy(audio / "16000-1.wav", tmp_path / "mine.wav")
    (tmp_path / "mine.wav").chmod(0)
    [error] = compute_values([str(tmp_path / "mine.wav")], MEL, WINDOW, workers=0)
    assert "Permission denied" in str(error)


RAMP = WaveformSpec(sr=SR)
"""Samples of a ramp say where they are."""


@pytest.fixture
def ramp(tmp_path):
    """A file whose sample n is n / 2**19, of 25 s."""
    path = tmp_path / "ramp.wav"
    samples = np.arange(25 * SR, dtype=np.float32) / 2**19
    soundfile.write(path, samples, SR, subtype="FLOAT")
    return str(path)


def drawn(path, windows, spec=RAMP):
    [values] = compute_values([path], spec, Excerpt(), windows=windows, workers=0)
    return values


def test_windows_are_drawn_from_the_whole_of_a_track(ramp):
    windows = RandomWindows(n_windows=400, n_frames=3 * SR, seed=1)
    found = drawn(ramp, windows)
    assert found.values.shape == (400, 1, 3 * SR)
    assert found.n_valid.tolist() == [3 * SR] * 400
    numbers = found.values[:, 0] * 2**19
    np.testing.assert_array_equal(numbers[:, -1] - numbers[:, 0], 3 * SR - 1)
    np.testing.assert_array_equal(np.diff(numbers, axis=1), 1)  # across tiles, too
    starts = numbers[:, 0]
    assert starts.min() < SR // 2
    assert starts.max() > 21.5 * SR
    # uniform: the standard deviation of their mean is 22 s / sqrt(12 * 400) = 0.32 s
    assert abs(starts.mean() / SR - 11) < 1.3


def test_windows_are_the_same_for_the_same_bytes_and_seed_and_others_else(ramp, tmp_path):
    windows = RandomWindows(n_windows=8, n_frames=SR, seed=1)
    first = drawn(ramp, windows).values[:, 0, 0]
    shutil.copy(ramp, tmp_path / "copy.wav")
    np.testing.assert_array_equal(drawn(str(tmp_path / "copy.wav"), windows).values[:, 0, 0], first)
    another_seed = RandomWindows(n_windows=8, n_frames=SR, seed=2)
    assert (drawn(ramp, another_seed).values[:, 0, 0] != first).any()
    soundfile.write(tmp_path / "other.wav", np.zeros(25 * SR), SR)
    assert windows.starts(24 * SR, "a") != windows.starts(24 * SR, "b")


@pytest.mark.parametrize("spec", SPECS[:-1], ids=lambda spec: spec.name)  # of samples: above
def test_windows_of_each_kind_are_what_the_clips_are_that_begin_there(spec, ramp):
    """A ramp's neighbourhood differs everywhere, so that a frame off would be found."""
    n_frames = int(2 / spec.frame_step)
    found = drawn(ramp, RandomWindows(n_windows=3, n_frames=n_frames), spec)
    whole = Excerpt(duration=25.0, take="first")
    [values] = compute_values([ramp], spec, whole, workers=0)
    for window in found.values:
        errors = [
            np.abs(values.values[0, :, start : start + n_frames] - window).max()
            for start in range(values.values.shape[2] - n_frames + 1)
        ]
        assert min(errors) <= 1e-6


def test_a_track_no_longer_than_a_window_gives_one_that_is_padded(tmp_path):
    soundfile.write(tmp_path / "short.wav", np.full(SR, 0.5), SR)
    found = drawn(str(tmp_path / "short.wav"), RandomWindows(n_windows=5, n_frames=3 * SR))
    assert found.values.shape == (1, 1, 3 * SR)
    assert found.n_valid.tolist() == [SR]
    assert np.count_nonzero(found.values) == SR


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": -1}, "invalid workers -1: must be at least 0"),
        ({"timeout": 0.0}, "timeout is 0 s"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings, message):
    with pytest.raises(SettingsError, match=message):
        compute_values([], MEL, WINDOW, **settings)


@pytest.mark.parametrize("field", ["n_windows", "n_frames", "seed"])
def test_windows_that_cannot_be_are_refused(field):
    settings = {"n_windows": 1, "n_frames": 1} | {field: -1}
    with pytest.raises(SettingsError, match=f"invalid {field} -1: must be at least"):
        RandomWindows(**settings)
