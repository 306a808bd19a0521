import json

import numpy as np
import pandas as pd
import pytest

from featurestore.export import export
from featurestore.export.selection import Selection
from featurestore.specs.encoding import Encoding


@pytest.fixture(scope="module")
def folder(shared_store, tmp_path_factory):
    path = tmp_path_factory.mktemp("memmap") / "out"
    export(Selection.of(shared_store), str(path), "memmap")
    return path


def test_values_are_those_of_the_store_and_nan_where_there_are_none(folder, shared_store):
    for spec in shared_store.specs:
        array = shared_store[spec]
        values = np.load(folder / spec.name / "values.npy", mmap_mode="r")
        ready = np.load(folder / spec.name / "ready.npy")
        assert isinstance(values, np.memmap)
        np.testing.assert_array_equal(ready, array.ready)
        assert values[ready].tobytes() == array.read(np.flatnonzero(ready)).tobytes()
        assert np.isnan(values[~ready]).all()
        n_valid_frames = np.load(folder / spec.name / "n_valid_frames.npy")
        np.testing.assert_array_equal(n_valid_frames, array.n_valid_frames)


def test_the_table_and_the_spec_lie_beside_the_values(folder, shared_store):
    clips = pd.read_csv(folder / "clips.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(clips.drop(columns="row"), shared_store.clips, check_dtype=False)
    facts = json.loads((folder / "sr8000-mel8-x2-log" / "spec.json").read_text())
    assert (facts["spec"], facts["units"], facts["n_frames"]) == ("sr8000-mel8-x2-log", "1", 8)
    assert facts["hop_seconds"] == 512 / 8000
    assert len(facts["mel_frequencies"]) == 8


def test_stored_float16_takes_half_the_bytes(make_store, tmp_path):
    store = make_store(encoding=Encoding(name="float16"))
    export(Selection.of(store, encoding="stored"), f"{tmp_path}/out", "memmap")
    for spec in store.specs:
        values = np.load(tmp_path / "out" / spec.name / "values.npy", mmap_mode="r")
        assert values.dtype == np.float16
        np.testing.assert_array_equal(values[3].astype(np.float32), store[spec][3])
