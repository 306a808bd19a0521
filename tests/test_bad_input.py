"""Stores that cannot be read as they are: each reading command says so in one line."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli import melgrid
from featurestore import FeatureStore
from featurestore.errors import (
    StoreFormatError,
    StoreNotFoundError,
    UnknownSpecError,
)
from featurestore.format.metadata import _own_digest

READING = {
    "ls": ("ls", "{store}"),
    "info": ("info", "{store}"),
    "verify": ("verify", "{store}"),
    "failures": ("failures", "{store}"),
    "diff": ("diff", "{store}", "{store}"),
    "gc": ("gc", "{store}"),
    "show": ("show", "{store}", "clip 01", "-o", "{out}"),
}


@pytest.fixture
def store(shared_store, tmp_path):
    return shutil.copytree(shared_store.path, tmp_path / "store.zarr")


def invoke(name, store):
    out = Path(store).parent / "out.png"
    words = [word.format(store=store, out=out) for word in READING[name]]
    return CliRunner().invoke(melgrid, words)


def refused(name, store, code=1):
    """The one line that a user gets."""
    result = invoke(name, store)
    assert result.exit_code == code, result.output
    [line] = [line for line in result.output.splitlines() if "shards/s" not in line]
    assert line.startswith("Error: ")
    return line


def change(path, **fields):
    """Change attributes of the store, digest and all, as another version might write it."""
    document = json.loads((path / "zarr.json").read_text())
    attributes = document["attributes"]["melgrid"]
    attributes.update(fields)
    del attributes["digest"]
    attributes["digest"] = _own_digest(attributes)
    (path / "zarr.json").write_text(json.dumps(document))


@pytest.mark.parametrize("name", READING)
def test_a_store_of_a_newer_version_is_refused(store, name):
    change(store, format=2)
    assert "has format 2; this melgrid reads format 1" in refused(name, store)


@pytest.mark.parametrize("name", READING)
def test_a_path_that_is_no_store_is_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    assert "is not a melgrid store; featurize makes one" in refused(name, tmp_path / "folder")
    assert "is not a melgrid store; featurize makes one" in refused(name, tmp_path / "file")
    assert "does not exist; featurize makes one" in refused(name, tmp_path / "nothing")


@pytest.mark.parametrize("name", READING)
def test_a_truncated_root_is_refused_with_the_remedy(store, name):
    data = (store / "zarr.json").read_bytes()
    (store / "zarr.json").write_bytes(data[: len(data) // 2])
    line = refused(name, store)
    assert "zarr.json is damaged" in line
    assert "put it back from a copy, or featurize into another place" in line


@pytest.mark.parametrize("name", READING)
def test_metadata_of_a_group_that_are_truncated_hinder_nobody_and_verify_tells(store, name):
    (store / "sr8000-mel8-x2-db" / "zarr.json").write_text('{"zarr_format')
    result = invoke(name, store)
    assert result.exit_code == (name == "verify")
    if name == "verify":
        assert "sr8000-mel8-x2-db/zarr.json" in result.output
        assert "--repair" in result.output


def test_a_group_that_is_missing_is_told_with_the_remedy_when_it_is_read(store, tmp_path):
    shutil.rmtree(store / "sr8000-mel8-x2-db")
    result = invoke("verify", store)
    assert result.exit_code == 1
    assert "missing sr8000-mel8-x2-db/zarr.json" in result.output
    words = ["export", str(store), f"{tmp_path}/out.h5", "--format", "hdf5", "--quiet"]
    result = CliRunner().invoke(melgrid, words)
    assert result.exit_code == 1
    assert "sr8000-mel8-x2-db" in result.output
    assert "--repair" in result.output


@pytest.mark.parametrize("name", READING)
def test_foreign_groups_inside_are_passed_over(store, name):
    for folder in ("mine", "clips/mine", "sr8000-mel8-x2-db/mine"):
        (store / folder).mkdir()
        (store / folder / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    result = invoke(name, store)
    assert result.exit_code == 0, result.output
    assert ("foreign mine" in result.output) == (name == "gc")


@pytest.mark.parametrize("name", READING)
def test_reading_writes_nothing_so_that_a_store_may_be_read_only(store, name):
    def state():
        return {path: path.stat().st_mtime_ns for path in sorted(store.rglob("*"))}

    before = state()
    assert invoke(name, store).exit_code == 0
    assert state() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to anything")
@pytest.mark.parametrize("words", [("gc", "--yes"), ("verify", "--repair")])
def test_a_read_only_store_is_not_changed_and_says_why(store, words):
    folders = [store, *(path for path in store.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        result = CliRunner().invoke(melgrid, [words[0], str(store), *words[1:]])
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert result.exit_code == 1
    assert "Permission denied" in result.output
    assert "Traceback" not in result.output


def test_an_unknown_spec_is_refused_with_what_can_be_had(store):
    for words in (("info", store, "sr8000-mel99-x1-db"),
                  ("show", store, "clip 01", "--spec", "sr8000-mel99-x1-db")):  # fmt: skip
        result = CliRunner().invoke(melgrid, [str(word) for word in words])
        assert result.exit_code == 1, result.output
        for spec in FeatureStore.open(store).specs:
            assert spec.name in result.output
    with pytest.raises(UnknownSpecError, match="holds no sr8000-mel99-x1-db; it holds sr"):
        FeatureStore.open(store)["sr8000-mel99-x1-db"]


def test_rows_and_frames_that_do_not_exist_are_refused_by_number(shared_store):
    array = shared_store[shared_store.specs[0]]
    with pytest.raises(IndexError, match="row 20 of sr8000-mel16-x1-db; there are 20, from 0"):
        array.read([0, 20])
    with pytest.raises(IndexError, match="row -1"):
        array[-1]
    with pytest.raises(IndexError, match=r"frames 10 to 17 of .*; there are 16, from 0"):
        array.read([0], start=10, length=7)
    np.testing.assert_array_equal(array.read([0], start=10, length=6)[0], array[0][:, 10:])


def test_the_reading_api_raises_what_the_commands_print(store, tmp_path):
    with pytest.raises(StoreNotFoundError):
        FeatureStore.open(tmp_path / "nothing")
    change(store, format=7)
    with pytest.raises(StoreFormatError, match="format 7"):
        FeatureStore.open(store)
