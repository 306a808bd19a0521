import csv
import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import SettingsError
from featurestore.export import export
from featurestore.export.npz import key_of, specs_of
from featurestore.export.selection import Selection
from featurestore.format.commits import invalidated, read_commit, write_commit
from featurestore.specs.mel import FeatureSpec
from featurestore.store import FeatureStore

SPEC = FeatureSpec(sr=16000, n_mels=96, window="hann-symmetric")


@pytest.fixture(scope="module")
def folder(shared_store, tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "out"
    export(Selection.of(shared_store), str(path), "npz")
    return path


def study_loader(folder, filelist, melbands):
    """What the study's loaders do with their files, in a few lines."""
    spectrograms, classes = [], []
    for filename in filelist:
        file = folder / f"{filename}.npz"
        if file.exists():
            with np.load(file) as npz:
                classes.append(npz["classes"])
                spectrograms.append(npz[melbands])
    data = np.array(spectrograms, dtype="float32")
    data[np.isinf(data)] = 0
    return data.reshape(*data.shape, 1), np.array(classes, dtype=int)


def test_the_studys_loader_reads_them_in_its_units(folder, shared_store):
    filelist = shared_store.table.path
    ready = [row for row in range(20) if row not in (5, 13)]
    data, classes = study_loader(folder, filelist, "mel16")
    assert data.shape == (18, 16, 16, 1)
    array = shared_store["sr8000-mel16-x1-db"]
    np.testing.assert_array_equal(data[..., 0], 2 * array.read(ready))  # 20 log10
    np.testing.assert_array_equal(classes, shared_store.table.labels[ready])
    log, _ = study_loader(folder, filelist, "mel8_x2_log")
    np.testing.assert_array_equal(log[..., 0], shared_store["sr8000-mel8-x2-log"].read(ready))


def test_a_clip_without_values_has_no_file(folder):
    names = sorted(path.name for path in folder.glob("*.npz"))
    assert names == [f"clip {row:02}.wav.npz" for row in range(20) if row not in (5, 13)]


def test_arrays_are_bands_by_frames_in_float32_beside_what_is_known_of_the_clip(folder):
    with np.load(folder / "clip 00.wav.npz", allow_pickle=False) as npz:
        assert npz["mel16"].dtype == np.float32
        assert npz["mel16"].flags.c_contiguous
        assert (npz["sr"], npz["start"], npz["n_valid"]) == (44100, 7, 22050)


def test_the_folder_says_what_its_keys_are_and_lists_its_tracks(folder):
    facts = json.loads((folder / "melgrid.json").read_text())
    assert {key: f["spec"] for key, f in facts["specs"].items()} == {
        "mel16": "sr8000-mel16-x1-db",
        "mel8_x2": "sr8000-mel8-x2-db",
        "mel8_x2_log": "sr8000-mel8-x2-log",
    }
    with open(folder / "labels.csv", newline="") as file:
        header, first, *_ = csv.reader(file)
    assert header == ["path", "clip_id", "split", "fold", "artist", "album", "drums", "loud"]
    assert first[:5] == ["clip 00.wav", "clip 00", "train", "0", "artist 0"]


def test_a_spec_that_is_not_ready_is_absent_where_others_are(make_store, tmp_path):
    make_store(specs=[FeatureSpec(sr=8000, n_mels=16)], failed=(), pending=())
    lacking = FeatureSpec(sr=8000, n_mels=8)
    store = make_store(specs=[lacking], failed=(), pending=())
    commit = read_commit(store.files, store.metadata.division, 1)
    specs = {**commit.specs, lacking.name: invalidated(commit.specs[lacking.name], [5, 6])}
    write_commit(store.files, store.metadata.division, 1, dataclasses.replace(commit, specs=specs))
    store = FeatureStore.open(store.path)
    export(Selection.of(store), f"{tmp_path}/out", "npz")
    with np.load(tmp_path / "out" / "clip 14.wav.npz") as npz:
        assert "mel16" in npz
        assert "mel8" not in npz


@given(
    n_mels=st.integers(8, 128),
    hop=st.integers(1, 10) | st.integers(1, 2560).map(lambda n: Fraction(n, 256)),
    log=st.sampled_from(["db", "log"]),
)
def test_a_key_says_which_spec_it_is(n_mels, hop, log):
    spec = FeatureSpec(sr=16000, n_mels=n_mels, hop=hop, log=log, n_fft=2048)
    like = FeatureSpec(sr=16000, n_mels=8, n_fft=2048)
    assert specs_of([key_of(spec)], like) == {key_of(spec): spec}


def test_keys_are_the_studys_and_others_are_passed_over():
    assert key_of(SPEC) == "mel96"
    found = specs_of(["mel96", "mel48_log", "classes", "melspec", "mel8_x", "rms"], SPEC)
    assert [spec.name for spec in found.values()] == [
        "sr16000-mel96-x1-db-symmetric",
        "sr16000-mel48-x1-log-symmetric",
    ]


def test_two_sample_rates_are_refused_with_how_to_choose(make_store, tmp_path):
    specs = [FeatureSpec(sr=8000, n_mels=8), FeatureSpec(sr=4000, n_mels=8)]
    store = make_store(specs=specs)
    with pytest.raises(SettingsError, match=r"--specs 'sr4000-\*' or 'sr8000-\*'"):
        export(Selection.of(store), f"{tmp_path}/out", "npz")
    export(Selection.of(store, ["sr4000-*"]), f"{tmp_path}/out", "npz")


def test_specs_that_one_key_would_stand_for_are_refused(make_store, tmp_path):
    specs = [FeatureSpec(sr=8000, n_mels=8), FeatureSpec(sr=8000, n_mels=8, fmin=30)]
    with pytest.raises(SettingsError, match="would both be called mel8 in npz"):
        export(Selection.of(make_store(specs=specs)), f"{tmp_path}/out", "npz")


def test_stored_values_are_refused_because_the_study_has_float32(shared_store, tmp_path):
    with pytest.raises(SettingsError, match="npz files hold float32"):
        export(Selection.of(shared_store, encoding="stored"), f"{tmp_path}/out", "npz")


@pytest.mark.parametrize("clip_id", ["../escape", "a/../../b", "a\\b", "a//b"])
def test_a_path_that_leads_out_of_the_folder_is_refused(make_store, tmp_path, clip_id):
    store = make_store(ids=[clip_id], failed=(), pending=())
    with pytest.raises(SettingsError, match="does not name a file below the folder"):
        export(Selection.of(store), f"{tmp_path}/out", "npz")


def test_two_clips_of_one_path_are_refused(make_store, tmp_path):
    store = make_store(ids=["a", "b"], failed=(), pending=())
    selection = Selection.of(store)
    selection.clips["path"] = "same.wav"
    with pytest.raises(SettingsError, match=r"two clips have the path 'same\.wav'"):
        export(selection, f"{tmp_path}/out", "npz")
