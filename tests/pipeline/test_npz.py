import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from featurestore import FeatureStore
from featurestore.errors import (
    AudioError,
    CatalogError,
    RunError,
    SettingsError,
    StoreFormatError,
    StoreMismatchError,
)
from featurestore.export import export
from featurestore.export.selection import Selection
from featurestore.format.division import Division
from featurestore.inspect.data_quality import check
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.mel import FeatureSpec
from pipeline.catalogs import open_catalog
from pipeline.npz import import_npz
from pipeline.npz_folder import NpzFolder
from pipeline.run.layouts import layouts as planned_layouts
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

LIKE = FeatureSpec(sr=16000, n_mels=8, window="hann-symmetric")
X1 = FeatureSpec(sr=16000, n_mels=16, window="hann-symmetric")
LOG = FeatureSpec(sr=16000, n_mels=8, log="log", window="hann-symmetric")
DURATION = 1.0  # 63 frames, and Essentia's 64
FLOAT32 = RunSettings(encoding=Encoding(name="float32"))


def study_arrays(seed, n_frames=64):
    """What the study's script would put into a file: decibels doubled, a frame more."""
    rng = np.random.default_rng(seed)
    return {
        "mel16": rng.uniform(-200, 60, (n_frames, 16)).astype(np.float32).T,
        "mel8_log": rng.uniform(0, 5, (n_frames, 8)).astype(np.float32).T,
        "classes": np.array([1, 0]),
    }


@pytest.fixture
def study(tmp_path):
    """Twelve files in two folders, as the study's script leaves them."""
    folder = tmp_path / "tmp_data_mels_16"
    for number in range(12):
        file = folder / f"{number % 2:x}" / f"{number:02}.mp3.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **study_arrays(number))
    return folder


def do_import(folder, store, *, labels=None, name=None, settings=FLOAT32, **options):
    source = NpzFolder.open(str(folder), LIKE, **{"duration": DURATION, **options})
    return import_npz(source, source.catalog(labels and str(labels), name), str(store), settings)


def failures(summary):
    return {failure.clip_id: failure.reason for failure in summary.failures}


def test_the_studys_files_become_rows(study, tmp_path):
    summary = do_import(study, tmp_path / "store.zarr")
    assert (summary.n_ready, summary.n_computed, summary.failures) == (12, 12, ())
    store = FeatureStore.open(tmp_path / "store.zarr")
    assert store.specs == [X1, LOG]
    assert store.table.clip_id[:2] == ["0/00.mp3", "0/02.mp3"]
    array = store[X1]
    assert array.shape == (12, 16, 63)  # Essentia's last frame is cut off
    theirs = study_arrays(2)
    np.testing.assert_array_equal(array[1], theirs["mel16"][:, :63] / 2)  # 20 log10
    np.testing.assert_array_equal(store[LOG][1], theirs["mel8_log"][:, :63])
    assert (store.clips["n_valid"] == 16000).all()
    assert (store.clips["peak"] == -1).all()
    assert check(summary.store).n_silent == 0  # for it is not known
    assert array.layout.settings == {"imported": "npz", "decibels": "20 log10"}


@pytest.mark.parametrize("encoding", ["float16", "uint8"])
def test_values_are_within_the_encodings_stated_error(study, tmp_path, encoding):
    do_import(study, tmp_path / "s", settings=RunSettings(encoding=Encoding(name=encoding)))
    array = FeatureStore.open(tmp_path / "s")[X1]
    error = np.abs(array[1] - study_arrays(2)["mel16"][:, :63] / 2).max()
    assert 0 < error <= array.max_error


def test_decibels_may_be_ten_log10(study, tmp_path):
    do_import(study, tmp_path / "s", decibels=10)
    array = FeatureStore.open(tmp_path / "s")[X1]
    np.testing.assert_array_equal(array[1], study_arrays(2)["mel16"][:, :63])


def test_statistics_are_of_the_values(study, tmp_path):
    do_import(study, tmp_path / "s")
    array = FeatureStore.open(tmp_path / "s")[X1]
    values = array.read(range(12)).transpose(1, 0, 2).reshape(16, -1)
    statistics = array.statistics()
    assert statistics.n_frames == 12 * 63
    np.testing.assert_allclose(statistics.mean, values.mean(axis=1), atol=1e-3)
    np.testing.assert_allclose(statistics.std, values.std(axis=1), atol=1e-2)


def rewrite(study, number, **changes):
    file = study / f"{number % 2:x}" / f"{number:02}.mp3.npz"
    arrays = {**study_arrays(number), **changes}
    np.savez(file, **{key: value for key, value in arrays.items() if value is not None})
    return file


def test_minus_infinity_is_the_floor_of_decibels_and_other_infinities_fail(study, tmp_path):
    silent = study_arrays(2)["mel16"]
    silent[:, 10:20] = -np.inf
    rewrite(study, 2, mel16=silent)
    for number, value in ((3, np.inf), (4, np.nan)):
        bad = study_arrays(number)["mel16"]
        bad[3, 5] = value
        rewrite(study, number, mel16=bad)
    rewrite(study, 5, mel8_log=np.full((8, 64), -np.inf, np.float32))
    summary = do_import(study, tmp_path / "s")
    assert failures(summary) == dict.fromkeys(["0/04.mp3", "1/03.mp3", "1/05.mp3"], "NonFinite")
    assert (FeatureStore.open(tmp_path / "s")[X1][1][:, 10:20] == -100).all()


def test_what_is_not_whole_or_something_else_is_a_failed_row_with_a_reason(study, tmp_path):
    truncated = study / "0" / "02.mp3.npz"
    truncated.write_bytes(truncated.read_bytes()[:-100])
    (study / "0" / "04.mp3.npz").write_bytes(b"")
    rewrite(study, 6, mel16=None)
    rewrite(study, 8, mel16=np.zeros((15, 64), np.float32))
    rewrite(study, 10, mel16=np.zeros((16, 62), np.float32))
    rewrite(study, 1, mel16=np.zeros((16, 65), np.float32))
    rewrite(study, 3, mel16=np.array([[{}]], object))
    rewrite(study, 5, n_valid=np.array(0))
    rewrite(study, 7, sr=np.array("CD quality"))
    damaged = bytearray((study / "1" / "09.mp3.npz").read_bytes())
    damaged[300] ^= 1
    (study / "1" / "09.mp3.npz").write_bytes(damaged)
    summary = do_import(study, tmp_path / "s", specs=[X1.name])
    assert failures(summary) == {
        "0/02.mp3": "DecodeError",
        "0/04.mp3": "EmptyFile",
        "0/06.mp3": "DecodeError",
        "0/08.mp3": "DecodeError",
        "0/10.mp3": "TooShort",
        "1/01.mp3": "DecodeError",
        "1/03.mp3": "DecodeError",
        "1/05.mp3": "DecodeError",
        "1/07.mp3": "DecodeError",
        "1/09.mp3": "DecodeError",
    }
    assert summary.n_ready == 2
    details = {failure.clip_id: failure.detail for failure in summary.failures}
    assert details["0/02.mp3"] == "not a whole npz file: File is not a zip file"
    assert details["0/06.mp3"] == "the file holds no mel16"
    assert details["0/10.mp3"] == "mel16 has 62 frames, not 63"
    assert details["1/01.mp3"].endswith("65 frames, not 63: see --duration")
    assert "allow_pickle=False" in details["1/03.mp3"]


def test_damage_of_any_kind_is_a_failed_row(study, tmp_path):
    rng = np.random.default_rng(3)
    arrays = study_arrays(0)
    np.savez_compressed(tmp_path / "packed.npz", **arrays)
    source = NpzFolder.open(str(study), LIKE, duration=DURATION)
    layouts = planned_layouts(
        source.specs, dataclasses.replace(FLOAT32, window=source.window), Division.of(8)
    )
    n_failed = 0
    for whole in (
        (study / "0" / "00.mp3.npz").read_bytes(),
        (tmp_path / "packed.npz").read_bytes(),
    ):
        for _ in range(150):
            data = bytearray(whole)
            end = len(data) - 1 - rng.integers(300)  # the directory: kinds of packing, sizes
            for place in (rng.integers(len(data)), end, rng.integers(300)):
                data[place] = rng.integers(256)
            (tmp_path / "damaged.npz").write_bytes(data)
            try:
                source.compute("damaged", str(tmp_path / "damaged.npz"), 0, layouts)
            except AudioError as error:
                n_failed += error.reason == "DecodeError"
    assert n_failed > 250


@pytest.mark.parametrize(
    "fact",
    [
        {"n_valid": np.uint64(2**64 - 1)},
        {"start": np.uint64(2**64 - 1)},
        {"start": np.array(-1)},
        {"sr": np.array(2**40)},
        {"peak": np.array(np.nan)},
    ],
    ids=str,
)
def test_facts_that_no_clip_has_fail_it_and_the_store_can_be_read(study, tmp_path, fact):
    rewrite(study, 4, **fact)
    summary = do_import(study, tmp_path / "s")
    assert failures(summary) == {"0/04.mp3": "DecodeError"}
    assert (FeatureStore.open(tmp_path / "s").clips["status"] == "ready").sum() == 11


def test_running_it_again_imports_just_what_is_missing(study, tmp_path):
    store = tmp_path / "store.zarr"
    file = study / "0" / "02.mp3.npz"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    last = study / "1" / "11.mp3.npz"
    later = last.read_bytes()
    last.unlink()
    assert do_import(study, store).n_computed == 11
    assert do_import(study, store).n_computed == 0  # a known failure is not tried again

    file.write_bytes(whole)
    last.write_bytes(later)
    summary = do_import(study, store)
    assert (summary.n_ready, summary.n_computed) == (12, 2)

    rewrite(study, 4, mel16=study_arrays(99)["mel16"])
    assert do_import(study, store).n_computed == 1
    row = FeatureStore.open(store).table.clip_id.index("0/04.mp3")
    values = FeatureStore.open(store)[X1][row]
    np.testing.assert_array_equal(values, study_arrays(99)["mel16"][:, :63] / 2)


def test_an_import_after_a_kill_gives_the_same_store(study, tmp_path):
    do_import(study, tmp_path / "whole")
    source = NpzFolder.open(str(study), LIKE, duration=DURATION)
    calls = []

    class Killed(BaseException):
        pass

    def compute(clip_id, path, tile, layouts):
        calls.append(path)
        if len(calls) == 10:
            raise Killed
        return NpzFolder.compute(source, clip_id, path, tile, layouts)

    object.__setattr__(source, "compute", compute)
    with pytest.raises(Killed):
        import_npz(source, source.catalog(), str(tmp_path / "killed"), FLOAT32)
    assert do_import(study, tmp_path / "killed").n_computed == 4  # the second shard of eight
    whole, killed = (FeatureStore.open(tmp_path / name) for name in ("whole", "killed"))
    for spec in (X1, LOG):
        np.testing.assert_array_equal(whole[spec].read(range(12)), killed[spec].read(range(12)))
    for key in ("commits/c/0/0", "commits/c/0/1", f"{X1.name}/values/c/1/0/0"):
        assert whole.files.read(key) == killed.files.read(key)


def test_labels_come_from_a_table(study, tmp_path):
    lines = ["path,clip_id,split,drums", "0/00.mp3,a,train,1", "1/01.mp3,b,test,0", "2/x.mp3,c,,1"]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    summary = do_import(study, tmp_path / "s", labels=tmp_path / "labels.csv")
    assert (summary.n_clips, summary.n_ready) == (3, 2)
    clips = FeatureStore.open(tmp_path / "s").clips
    assert clips["clip_id"].tolist() == ["a", "b", "c"]
    assert clips["status"].tolist() == ["ready", "ready", "pending"]
    assert clips["drums"].tolist() == [1, 0, 1]


def test_labels_that_fit_no_file_are_refused(study, tmp_path):
    (tmp_path / "labels.csv").write_text("path,drums\n00.mp3,1\n")
    with pytest.raises(CatalogError, match=r"a file of none; the first would be 00\.mp3\.npz"):
        do_import(study, tmp_path / "s", labels=tmp_path / "labels.csv")
    with pytest.raises(CatalogError, match="catalog mtat needs --labels"):
        do_import(study, tmp_path / "s", name="mtat")


@pytest.mark.parametrize("encoding", ["float32", "float16", "uint8"])
def test_a_store_exported_and_imported_again_is_the_same(make_store, tmp_path, encoding):
    before = make_store(encoding=Encoding(name=encoding))
    export(Selection.of(before), f"{tmp_path}/npz", "npz")
    do_import(tmp_path / "npz", tmp_path / "back.zarr")  # the folder says what it is
    after = FeatureStore.open(tmp_path / "back.zarr")
    assert (after.specs, after.tags, after.window) == (before.specs, before.tags, before.window)
    for spec in before.specs:
        a, b = before[spec], after[spec]
        np.testing.assert_array_equal(a.ready, b.ready)
        rows = np.flatnonzero(a.ready)
        assert a.read(rows).tobytes() == b.read(rows).tobytes()
        assert b.layout.settings == {"backend": "noise", "imported": "npz"}
        if encoding != "uint8":  # where what was clipped counts among the values
            np.testing.assert_allclose(a.statistics().mean, b.statistics().mean, atol=0.05)
    kept = ["clip_id", "path", "split", "fold", "artist", "album", "drums", "loud"]
    ready = before.clips["status"] == "ready"
    for column in kept:
        assert before.clips[column].tolist() == after.clips[column].tolist()
    for column in ("sr", "start", "n_valid", "peak"):
        assert before.clips.loc[ready, column].tolist() == after.clips.loc[ready, column].tolist()
    assert set(after.clips.loc[~ready, "status"]) == {"pending"}


def test_featurizing_into_an_imported_store_is_refused(study, tmp_path, audio):
    do_import(study, tmp_path / "s")
    before = FeatureStore.open(tmp_path / "s").clips
    settings = RunSettings(window=FeatureStore.open(tmp_path / "s").window)
    for spec in (X1, FeatureSpec(sr=8000, n_mels=8)):
        with pytest.raises(StoreMismatchError, match="was imported"):
            run(open_catalog(str(audio)), str(tmp_path / "s"), [spec], settings)
    assert FeatureStore.open(tmp_path / "s").clips.equals(before)


def test_importing_into_a_store_of_something_else_is_refused(study, make_store, tmp_path):
    store = make_store()
    with pytest.raises(StoreMismatchError, match="was not imported but computed from audio"):
        do_import(study, store.path, duration=0.5)
    do_import(study, tmp_path / "s")
    for file in study.rglob("*.npz"):
        np.savez(file, mel48=np.zeros((48, 64), np.float32))
    with pytest.raises(StoreMismatchError, match=f"holds {X1.name}, {LOG.name}, which"):
        do_import(study, tmp_path / "s")
    with pytest.raises(StoreMismatchError, match=r"duration is 1\.0 there, not 2"):
        do_import(study, tmp_path / "s", duration=2.0)


def test_some_specs_can_be_imported_first_and_others_later(study, tmp_path):
    do_import(study, tmp_path / "s", specs=[LOG.name])
    summary = do_import(study, tmp_path / "s", specs=[X1.name])
    assert summary.n_computed == 12
    assert FeatureStore.open(tmp_path / "s")[LOG].ready.all()


def test_what_cannot_be_imported_is_refused_in_a_line(study, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogError, match="holds no npz file"):
        do_import(tmp_path / "empty", tmp_path / "s")
    with pytest.raises(CatalogError, match="is not a folder"):
        do_import(tmp_path / "nowhere", tmp_path / "s")
    with pytest.raises(SettingsError, match=f"holds no sr16000-mel24-x1-db; it holds {X1.name}"):
        do_import(study, tmp_path / "s", specs=["sr16000-mel24-x1-db"])
    with pytest.raises(RunError, match=r"not one clip .* 0/00.mp3: TooShort"):
        do_import(study, tmp_path / "s", duration=29.1)
    for file in study.rglob("*.npz"):
        np.savez(file, melspec=np.zeros(3))
    with pytest.raises(SettingsError, match="no array called like mel96"):
        do_import(study, tmp_path / "s")
    for file in study.rglob("*.npz"):
        file.write_bytes(b"PK\3\4")
    with pytest.raises(CatalogError, match=r"no npz file of .*; make them again"):
        do_import(study, tmp_path / "s")


def test_a_damaged_mark_is_said_so(study, tmp_path):
    (study / "melgrid.json").write_text('{"melgrid_export": "npz", "specs": 3}')
    with pytest.raises(StoreFormatError, match=r"melgrid\.json is damaged"):
        do_import(study, tmp_path / "s")


def test_only_regular_files_are_read(study, tmp_path):
    file = study / "0" / "00.mp3.npz"
    file.unlink()
    os.mkfifo(file)
    summary = do_import(study, tmp_path / "s")
    assert failures(summary) == {"0/00.mp3": "Unreadable"}


def test_a_whole_tracks_consecutive_clips_come_back(audio, tmp_path, scheduler):
    spec = FeatureSpec(sr=8000, n_mels=8)
    settings = RunSettings(window=Excerpt(duration=0.5, take="all"), scheduler=scheduler)
    run(open_catalog(str(audio)), str(tmp_path / "tiles"), [spec], settings)
    before = FeatureStore.open(tmp_path / "tiles")
    export(Selection.of(before), f"{tmp_path}/npz", "npz")
    assert Path(tmp_path, "npz", "16000-1.wav#001.npz").exists()
    do_import(tmp_path / "npz", tmp_path / "back")
    after = FeatureStore.open(tmp_path / "back")
    assert after.table.clip_id == before.table.clip_id
    rows = np.flatnonzero(before[spec].ready)
    np.testing.assert_array_equal(after[spec].read(rows), before[spec].read(rows))
