import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from featurestore import export as export_module
from featurestore.errors import RunError, SettingsError, UnknownSpecError
from featurestore.export import export
from featurestore.export.manifest import read_manifest
from featurestore.export.selection import Selection

FORMATS = ["hdf5", "npz", "memmap"]


@pytest.fixture(params=FORMATS)
def form(request):
    return request.param


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_answer_says_what_was_written(shared_store, tmp_path, form):
    written = export(Selection.of(shared_store), f"{tmp_path}/new/out", form).json()
    assert (written["format"], written["clips"]) == (form, 20)
    assert written["out"] == f"{tmp_path}/new/out"
    assert written["bytes"] > 1000
    assert written["specs"][1] == {
        "spec": "sr8000-mel8-x2-db",
        "shape": [20, 8, 8],
        "ready": 18,
        "dtype": "float32",
    }
    assert listing(tmp_path / "new") == ["out"]


def test_what_is_there_is_replaced_only_by_force_and_only_if_an_export_made_it(
    shared_store, tmp_path, form
):
    selection = Selection.of(shared_store)
    out = tmp_path / "out"
    export(selection, str(out), form)
    with pytest.raises(SettingsError, match="out exists; give --force"):
        export(selection, str(out), form)
    again = export(Selection.of(shared_store, splits=["test"]), str(out), form, force=True)
    assert again.clips == 5
    assert listing(tmp_path) == ["out"]
    for foreign in (tmp_path, shared_store.path):
        with pytest.raises(SettingsError, match="was not made by melgrid export"):
            export(selection, str(foreign), form, force=True)
    assert listing(tmp_path) == ["out"]


def test_an_export_may_be_replaced_by_one_in_another_format(shared_store, tmp_path):
    selection = Selection.of(shared_store)
    for form in [*FORMATS, "hdf5"]:
        export(selection, f"{tmp_path}/out", form, force=True)
    assert listing(tmp_path) == ["out"]


def test_somebody_elses_hdf5_file_is_kept(shared_store, tmp_path):
    import h5py

    with h5py.File(tmp_path / "out.h5", "w") as file:
        file["thesis"] = np.arange(3)
    with pytest.raises(SettingsError, match="was not made by melgrid export"):
        export(Selection.of(shared_store), f"{tmp_path}/out.h5", "hdf5", force=True)
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(file) == ["thesis"]


def test_an_error_on_the_way_leaves_nothing(make_store, tmp_path, form):
    store = make_store()
    shard = tmp_path / "store.zarr" / "sr8000-mel8-x2-log" / "values" / "c" / "2" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-1])
    (tmp_path / "here").mkdir()
    with pytest.raises(OSError, match="checksum"):
        export(Selection.of(store), f"{tmp_path}/here/out", form)
    assert listing(tmp_path / "here") == []


_KILLED = """
import os, signal, sys
import featurestore.export as module
from featurestore import FeatureStore
from featurestore.export.selection import Selection

def put(partial, target):
    assert partial.exists()
    os.kill(os.getpid(), signal.SIGKILL)

module._put = put
module.export(Selection.of(FeatureStore.open(sys.argv[1])), sys.argv[2], sys.argv[3])
"""


def test_a_killed_export_leaves_no_output_and_the_next_one_succeeds(shared_store, tmp_path, form):
    arguments = [shared_store.path, str(tmp_path / "out"), form]
    root = Path(export_module.__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", _KILLED, *arguments], cwd=root, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert [name.endswith(".partial") for name in listing(tmp_path)] == [True]
    export(Selection.of(shared_store), arguments[1], form)


def test_too_little_space_is_said_before_anything_is_written(shared_store, tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(RunError, match=r"would take 3\.07e-05 GB, and 1e-06 GB are free"):
        export(Selection.of(shared_store), f"{tmp_path}/out", "memmap")
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "form", "message"),
    [("s3://bucket/out.h5", "hdf5", "is a URL"), ("out", "tfrecord", "format is 'tfrecord'")],
)
def test_what_cannot_be_is_refused(shared_store, path, form, message):
    with pytest.raises(SettingsError, match=message):
        export(Selection.of(shared_store), path, form)


def test_a_store_without_specs_has_nothing_to_export(make_store, tmp_path):
    store = make_store(specs=())
    with pytest.raises(SettingsError, match="holds no spec to export"):
        export(Selection.of(store), f"{tmp_path}/out", "hdf5")
    with pytest.raises(UnknownSpecError):
        Selection.of(store, ["sr8000-mel8-x1-db"])


def test_only_a_mark_of_an_export_is_one(tmp_path):
    assert read_manifest(tmp_path) is None
    for text in ("{", "[]", json.dumps({"name": "a package"})):
        (tmp_path / "melgrid.json").write_text(text)
        assert read_manifest(tmp_path) is None
