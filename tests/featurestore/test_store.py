import json
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featurestore import FeatureSpec, FeatureStore
from featurestore.errors import (
    CorruptDataError,
    MelgridError,
    SpecError,
    StoreFormatError,
    StoreNotFoundError,
    UnknownSpecError,
)
from featurestore.format.commits import ClipRecord, Commit, read_commit, without, write_commit
from featurestore.maintenance.repair import repair
from featurestore.specs.excerpt import Excerpt
from featurestore.writer import StoreWriter

WINDOW = Excerpt(duration=0.5)
READY = [row for row in range(20) if row not in (5, 13)]


def test_a_store_says_what_it_holds(shared_store):
    assert shared_store.n_clips == 20
    assert [spec.name for spec in shared_store.specs] == [
        "sr8000-mel16-x1-db",
        "sr8000-mel8-x2-db",
        "sr8000-mel8-x2-log",
    ]
    assert shared_store.catalog == "noise"
    assert shared_store.window.duration == 0.5
    assert shared_store.tags == ["drums", "loud"]
    assert "20 clips, 3 specs" in repr(shared_store)


def test_clips_are_a_table_of_what_is_known_and_what_became_of_them(shared_store, make_store):
    clips = shared_store.clips
    assert isinstance(clips, pd.DataFrame)
    assert set(clips.columns) >= {
        *("clip_id", "path", "split", "fold", "artist", "album"),
        *("start", "n_valid", "status", "reason", "drums", "loud"),
    }
    assert list(clips["clip_id"]) == [f"clip {row:02}" for row in range(20)]
    assert list(clips["path"]) == [f"clip {row:02}.wav" for row in range(20)]
    assert list(clips["split"][:4]) == ["train", "train", "validation", "test"]
    assert list(clips["fold"][:6]) == [0, 1, 2, 3, 4, 0]
    table = make_store.table(list(clips["clip_id"]))
    np.testing.assert_array_equal(clips[["drums", "loud"]].to_numpy(), table.labels)
    assert set(np.unique(table.labels)) == {0, 1}

    status = {5: "failed", 13: "pending"}
    assert list(clips["status"]) == [status.get(row, "ready") for row in range(20)]
    assert tuple(clips.loc[5, ["reason", "detail"]]) == ("EmptyFile", "0 bytes")
    assert tuple(clips.loc[0, ["sr", "start", "n_valid"]]) == (44100, 7, 22050)


def test_a_clip_is_ready_only_if_it_is_at_every_spec(make_store):
    make_store()
    lacking = FeatureSpec(sr=8000, n_mels=8, hop=4)
    store = make_store(specs=[lacking], clips_per_shard=4, pending=(2, 13))
    assert list(np.flatnonzero(~store[lacking].ready)) == [2, 5, 13]
    assert list(np.flatnonzero(~store[store.specs[0]].ready)) == [5, 13]
    assert list(np.flatnonzero(store.clips["status"] == "pending")) == [2, 13]


def test_positions_that_a_spec_lacks_are_pending_for_it_alone(tiny_store):
    first, second = tiny_store.specs[:2]
    before = read_commit(tiny_store.files, 8, 0)
    specs = {**before.specs, first.name: without(before.specs[first.name], [3])}
    commit = Commit(clips=before.clips, specs=specs, software=before.software)
    write_commit(tiny_store.files, 8, 0, commit)
    store = FeatureStore.open(tiny_store.path)
    assert not store[first].ready[3]
    assert store[second].ready[3]
    assert store.clips["status"][3] == "pending"


# xarray recommends zarr-python's consolidated metadata, which is no part of the Zarr format.
@pytest.mark.filterwarnings("ignore:Failed to open Zarr store with consolidated")
def test_xarray_opens_a_spec_as_a_labelled_array(shared_store):
    import xarray

    for spec in shared_store.specs:
        with xarray.open_zarr(shared_store.path, group=spec.name, chunks=None) as data:
            values = data["values"]
            assert values.dims == ("clip", "mel", "time")
            assert values.attrs["units"] == ("dB" if spec.log == "db" else "1")
            assert data["mel"].attrs["units"] == "Hz"
            assert data["time"].attrs["units"] == "s"
            assert data["time"].dtype == np.float64
            np.testing.assert_array_equal(data["mel"], spec.mel_frequencies)
            np.testing.assert_array_equal(
                data["time"], np.arange(values.sizes["time"]) * spec.hop_length / 8000
            )
            np.testing.assert_array_equal(values[READY], shared_store[spec].read(READY))
            assert np.isnan(values[[5, 13]]).all()


def test_xarray_selects_by_frequency_and_time(shared_store):
    import xarray

    spec = shared_store.specs[0]
    with xarray.open_zarr(
        shared_store.path, group=spec.name, consolidated=False, chunks=None
    ) as data:
        low = data["values"].isel(clip=3).sel(mel=slice(0, 1000), time=slice(0.1, 0.2))
        bands = spec.mel_frequencies <= 1000
        assert low.shape == (bands.sum(), 3)  # frames 4 to 6, 32 ms each
        np.testing.assert_array_equal(low, shared_store[spec][3][bands, 4:7])


def test_xarray_opens_the_clip_table(shared_store):
    import xarray

    with xarray.open_zarr(
        shared_store.path, group="clips", consolidated=False, chunks=None
    ) as data:
        assert list(data["status"].values) == list(shared_store.clips["status"])
        assert list(data["n_valid"].values) == list(shared_store.clips["n_valid"])
        assert data["labels"].dims == ("clip", "tag")


def test_zarr_python_alone_reads_all_values(shared_store):
    import zarr

    group = zarr.open_group(shared_store.path, mode="r")
    for spec in shared_store.specs:
        values = group[f"{spec.name}/values"][...]
        np.testing.assert_array_equal(values[READY], shared_store[spec].read(READY))
        assert np.isnan(values[[5, 13]]).all()


def test_zarr_python_lists_a_finished_store_without_a_warning(shared_store):
    import zarr

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        members = dict(zarr.open_group(shared_store.path, mode="r").members(max_depth=None))
    assert {name for name in members if "/" not in name} == {
        *(spec.name for spec in shared_store.specs),
        "clips",
        "commits",
    }
    texts = members["commits/8"][...]
    assert [json.loads(text)["software"] for text in texts] == [{"melgrid": "test"}] * 3


def test_nothing_but_zarr_lies_in_a_finished_store(shared_store):
    names = {path.name for path in Path(shared_store.path).rglob("*") if path.is_file()}
    assert all(name == "zarr.json" or name.isdecimal() for name in names)


def test_a_store_can_be_moved(shared_store, tmp_path):
    shutil.copytree(shared_store.path, tmp_path / "elsewhere.zarr")
    moved = FeatureStore.open(tmp_path / "elsewhere.zarr")
    spec = moved.specs[0]
    np.testing.assert_array_equal(moved[spec].read(READY), shared_store[spec].read(READY))


def test_a_store_is_read_at_a_url(shared_store):
    remote = FeatureStore.open(f"file://{shared_store.path}")
    pd.testing.assert_frame_equal(remote.clips, shared_store.clips)
    for spec in shared_store.specs:
        np.testing.assert_array_equal(remote[spec].read(READY), shared_store[spec].read(READY))
        assert remote[spec].nbytes_stored == shared_store[spec].nbytes_stored


def test_a_store_is_picklable(shared_store):
    again = pickle.loads(pickle.dumps(shared_store))
    assert again.path == shared_store.path
    pd.testing.assert_frame_equal(again.clips, shared_store.clips)


def test_an_array_is_found_by_spec_and_by_name(shared_store):
    spec = shared_store.specs[0]
    assert shared_store[spec].spec == shared_store[spec.name].spec == spec


@pytest.mark.parametrize(
    "name",
    [
        "sr8000-mel32-x1-db",
        "sr16000-mel16-x1-db",
        "sr8000-mel8-x1-db",
        "sr8000-mel8-x3-db",
        "sr8000-mel8-hop256-log-fft1024",
        "sr8000-mel16-x2-db-symmetric",
        "sr8000-mel16-x2-db-fmin30",
    ],
)
def test_a_spec_that_cannot_be_had_is_refused_with_what_can(shared_store, name):
    name = name.replace("hop256", "x1")
    message = (
        f"holds no {name}; it holds sr8000-mel16-x1-db, sr8000-mel8-x2-db, "
        "sr8000-mel8-x2-log, and serves multiples of their hops, and log where it holds db"
    )
    with pytest.raises(UnknownSpecError, match=message) as caught:
        shared_store[name]
    assert isinstance(caught.value, KeyError)


def test_a_text_that_is_no_specs_name_is_refused(shared_store):
    with pytest.raises(SpecError, match="'values' is not a spec's name"):
        shared_store["values"]


def test_what_does_not_exist_is_not_opened(tmp_path):
    with pytest.raises(StoreNotFoundError, match=r"none\.zarr does not exist; featurize makes one"):
        FeatureStore.open(tmp_path / "none.zarr")
    with pytest.raises(FileNotFoundError):
        FeatureStore.open(tmp_path / "none.zarr")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_store_is_not_opened(tmp_path):
    import zarr

    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    zarr.create_group(tmp_path / "group", attributes={"title": "foreign"})
    zarr.create_array(tmp_path / "array", shape=(3,), dtype="f4")
    zarr.create_group(tmp_path / "old", zarr_format=2)
    for name in ("empty", "file", "group", "array", "old"):
        with pytest.raises(StoreNotFoundError, match=f"{name} is not a melgrid store"):
            FeatureStore.open(tmp_path / name)


def test_a_store_of_a_newer_format_is_refused(tiny_store):
    path = Path(tiny_store.path, "zarr.json")
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(StoreFormatError, match="has format 99; this melgrid reads format 1"):
        FeatureStore.open(tiny_store.path)


def test_a_store_that_lacks_a_specs_group_says_which(tiny_store):
    shutil.rmtree(Path(tiny_store.path, "sr8000-mel8-x2-db"))
    store = FeatureStore.open(tiny_store.path)
    with pytest.raises(StoreFormatError, match="the group sr8000-mel8-x2-db is missing"):
        store["sr8000-mel16-x1-db"]


def test_foreign_groups_in_a_store_are_let_be(tiny_store):
    import zarr

    zarr.create_group(f"{tiny_store.path}/mine", attributes={"melgrid": {"spec": "x"}})
    store = FeatureStore.open(tiny_store.path)
    assert store.specs == tiny_store.specs
    assert store[store.specs[0]].ready.sum() == 18


@pytest.mark.parametrize("key", ["clips/clip_id/c/0", "clips/labels/c/0/0"])
def test_a_damaged_clip_table_is_found_out(tiny_store, key):
    path = Path(tiny_store.path, key)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(StoreFormatError, match="clip table"):
        _ = FeatureStore.open(tiny_store.path).clips


def test_a_damaged_record_is_found_out_and_named(tiny_store):
    path = Path(tiny_store.path, "commits/8/c/1")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(CorruptDataError, match="commits/8/c/1: the checksum does not match"):
        _ = FeatureStore.open(tiny_store.path).clips


def test_rows_whose_record_was_never_written_are_pending(make_store, tiny_store):
    with StoreWriter(tiny_store.path, WINDOW) as writer:
        writer.prepare(make_store.table([f"more {i}" for i in range(20)]), [])
    store = FeatureStore.open(tiny_store.path)
    array = store[store.specs[0]]
    assert list(np.flatnonzero(array.ready)) == [
        *(0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19)
    ]
    assert (store.clips["status"][20:] == "pending").all()
    with pytest.raises(LookupError, match="holds no values yet"):
        array[25]


def test_a_record_that_was_there_when_the_last_run_ended_and_has_gone_is_told(tiny_store):
    Path(tiny_store.path, "commits/8/c/1").unlink()
    for read in (lambda store: store.clips, lambda store: store[store.specs[0]].ready):
        with pytest.raises(CorruptDataError, match="commits/8/c/1 is missing: its clips were done"):
            read(FeatureStore.open(tiny_store.path))
    [damage] = FeatureStore.open(tiny_store.path).verify().damage
    assert str(damage) == "missing commits/8/c/1: its clips were done before"
    repair(FeatureStore.open(tiny_store.path))
    store = FeatureStore.open(tiny_store.path)
    assert (store.clips["status"][8:16] == "pending").all()
    assert store.verify().is_healthy


def test_a_record_in_the_place_of_another_is_told(tiny_store):
    one, other = (Path(tiny_store.path, f"commits/8/c/{shard}") for shard in (0, 1))
    whole = one.read_bytes(), other.read_bytes()
    one.write_bytes(whole[1])
    other.write_bytes(whole[0])
    with pytest.raises(CorruptDataError, match=r"c/0: .* it is that of shard 1 of 8 clips each"):
        _ = FeatureStore.open(tiny_store.path).clips
    keys = [damage.key for damage in FeatureStore.open(tiny_store.path).verify().damage]
    assert keys == ["commits/8/c/0", "commits/8/c/1"]


def test_values_without_a_record_do_not_count(make_store):
    """Presence or value of data never stands for done."""
    store = make_store(failed=(), pending=range(20))
    assert not store[store.specs[0]].ready.any()


def test_a_record_of_more_clips_than_there_are_is_cut(tiny_store):
    before = read_commit(tiny_store.files, 8, 2)
    more = ClipRecord(status="ready", digest="beyond")
    specs = {n: without(c, [3]) + b"\1" * 8 + bytes(8) for n, c in before.specs.items()}
    commit = Commit(clips=(*before.clips, more, more), specs=specs, software={})
    write_commit(tiny_store.files, 8, 2, commit)
    store = FeatureStore.open(tiny_store.path)
    assert len(store.clips) == len(store[store.specs[0]].ready) == 20
    assert list(np.flatnonzero(~store[store.specs[0]].ready)) == [5, 13, 19]


@pytest.mark.parametrize("kind", [StoreNotFoundError, StoreFormatError, UnknownSpecError])
def test_errors_share_one_root(kind):
    assert issubclass(kind, MelgridError)


def test_a_spec_is_in_a_store_if_it_can_be_had(shared_store):
    stored = shared_store.specs[0]
    assert stored in shared_store
    assert stored.name in shared_store
    assert "sr8000-mel16-x4-db" in shared_store  # a view
    assert "sr8000-mel32-x1-db" not in shared_store
    with pytest.raises(SpecError, match="is not a spec's name"):
        _ = "mel32" in shared_store
