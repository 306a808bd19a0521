import json
import resource
import subprocess
import sys

import h5py
import numpy as np
import pytest

from featurestore.export import export
from featurestore.export.selection import Selection
from featurestore.specs.encoding import Encoding


@pytest.fixture(scope="module")
def file(shared_store, tmp_path_factory):
    path = tmp_path_factory.mktemp("hdf5") / "out.h5"
    export(Selection.of(shared_store), str(path), "hdf5")
    with h5py.File(path) as file:
        yield file


def test_values_are_those_of_the_store_and_nan_where_there_are_none(file, shared_store):
    for spec in shared_store.specs:
        array = shared_store[spec]
        group = file[spec.name]
        ready = group["ready"][:]
        np.testing.assert_array_equal(ready, array.ready)
        rows = np.flatnonzero(ready)
        assert group["values"][rows].tobytes() == array.read(rows).tobytes()
        assert np.isnan(group["values"][[5, 13]]).all()
        np.testing.assert_array_equal(group["n_valid_frames"], array.n_valid_frames)


def test_a_chunk_is_a_clip_compressed_and_checksummed(file):
    values = file["sr8000-mel16-x1-db/values"]
    assert values.chunks == (1, 16, 16)
    assert (values.compression, values.shuffle, values.fletcher32) == ("gzip", True, True)
    assert values.id.get_num_chunks() == 18


def test_attributes_say_what_the_numbers_are(file, shared_store):
    group = file["sr8000-mel8-x2-db"]
    attrs = dict(group.attrs)
    assert (attrs["sr"], attrs["n_mels"], attrs["hop_length"]) == (8000, 8, 512)
    assert (attrs["log"], attrs["window"], attrs["fmax"]) == ("db", "hann", 4000)
    assert attrs["max_error"] == shared_store["sr8000-mel8-x2-db"].max_error
    assert json.loads(attrs["settings"]) == {"backend": "noise"}
    assert json.loads(attrs["software"]) == [{"melgrid": "test"}]
    values = group["values"]
    assert values.attrs["units"] == "dB"
    assert [dimension.label for dimension in values.dims] == ["clip", "mel", "time"]
    spec = shared_store["sr8000-mel8-x2-db"].spec
    np.testing.assert_allclose(values.dims[1][0][:], spec.mel_frequencies)
    np.testing.assert_allclose(values.dims[2][0][:], np.arange(8) * 512 / 8000)
    assert file.attrs["duration"] == 0.5
    assert list(file.attrs["specs"]) == [spec.name for spec in shared_store.specs]


def test_clips_tags_and_labels_are_there(file, shared_store):
    clips = shared_store.clips
    assert file["tags"].asstr()[:].tolist() == ["drums", "loud"]
    np.testing.assert_array_equal(file["labels"], clips[["drums", "loud"]])
    for name in ("clip_id", "path", "split", "artist", "status", "reason", "digest"):
        assert file[f"clips/{name}"].asstr()[:].tolist() == clips[name].tolist()
    for name in ("fold", "sr", "start", "n_valid", "peak", "active"):
        np.testing.assert_array_equal(file[f"clips/{name}"], clips[name])
    assert file["clips/row"][:].tolist() == list(range(20))


def test_stored_uint8_decodes_by_its_attributes(make_store, tmp_path):
    store = make_store(encoding=Encoding(name="uint8"))
    export(Selection.of(store, encoding="stored"), f"{tmp_path}/out.h5", "hdf5")
    with h5py.File(tmp_path / "out.h5") as file:
        values = file["sr8000-mel16-x1-db/values"]
        codes = values[:]
        scale_factor, add_offset = values.attrs["scale_factor"], values.attrs["add_offset"]
        assert (codes[[5, 13]] == values.attrs["_FillValue"]).all()
    decoded = codes[0] * np.float32(scale_factor) + np.float32(add_offset)
    np.testing.assert_array_equal(decoded, store["sr8000-mel16-x1-db"][0])


@pytest.mark.parametrize("kilobytes", [1, 20, 40])
def test_a_full_disk_is_an_error_and_leaves_nothing(shared_store, tmp_path, kilobytes):
    def limit_files():  # stands for a full disk: writes fail with EFBIG
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000 * kilobytes,) * 2)

    code = """
import sys
from featurestore import FeatureStore
from featurestore.export import export
from featurestore.export.selection import Selection
try:
    export(Selection.of(FeatureStore.open(sys.argv[1])), sys.argv[2], "hdf5")
except OSError as error:
    print(error.strerror)
"""
    command = [sys.executable, "-c", code, shared_store.path, str(tmp_path / "out" / "x.h5")]
    run = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit_files)
    assert (run.returncode, run.stdout, run.stderr) == (0, "File too large\n", "")
    assert list((tmp_path / "out").iterdir()) == []
