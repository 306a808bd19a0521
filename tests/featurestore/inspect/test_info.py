import json

import numpy as np
import pytest

from featurestore.inspect.info import describe, describe_spec, describe_values
from featurestore.writer import StoreWriter


def test_a_description_counts_clips_splits_and_tags(shared_store):
    told = describe(shared_store).json()
    assert {key: told[key] for key in ("clips", "ready", "failed", "pending", "pruned")} == {
        "clips": 20,
        "ready": 18,
        "failed": 1,
        "pending": 1,
        "pruned": 0,
    }
    assert told["splits"] == {"train": 10, "validation": 5, "test": 5}
    assert told["folds"] == 5
    assert told["hours"] == pytest.approx(18 * 0.5 / 3600, abs=1e-3)
    assert told["failures"] == {"EmptyFile": 1}
    assert told["checks"]["n_silent"] == 18
    assert told["tags"] == {tag: int(shared_store.clips[tag].sum()) for tag in ("drums", "loud")}
    assert (told["store"], told["catalog"], told["duration"]) == (shared_store.path, "noise", 0.5)
    assert [spec["spec"] for spec in told["specs"]] == [spec.name for spec in shared_store.specs]


def test_pruned_clips_are_not_pending(make_store):
    store = make_store(failed=(), pending=(13,))
    with StoreWriter(store.path, store.window) as writer:
        writer.prepare(make_store.table([f"clip {i:02}" for i in range(5, 20)]), (), prune=True)
        told = describe(writer.publish()).json()
    assert (told["ready"], told["pending"], told["pruned"]) == (14, 1, 5)


def test_a_description_is_json(shared_store):
    assert json.loads(json.dumps(told := describe(shared_store).json())) == told


def test_a_spec_is_described_with_its_bytes_and_origin(shared_store):
    spec = shared_store.specs[0]
    told = describe_spec(shared_store, spec).json()
    assert told["shape"] == [20, 16, 16]
    assert told["ready"] == 18
    assert told["bytes"] == shared_store[spec].nbytes_stored
    assert told["bytes_per_clip"] == pytest.approx(told["bytes"] / 18)
    assert (told["encoding"], told["codec"], told["view_of"]) == ("float16", "zstd", None)
    assert told["settings"] == {"backend": "noise"}
    assert told["software"] == [{"melgrid": "test"}]


def test_a_view_is_described_with_what_it_is_cut_from(shared_store):
    told = describe_spec(shared_store, "sr8000-mel16-x4-db").json()
    assert told["view_of"] == "sr8000-mel16-x1-db"
    assert told["shape"] == [20, 16, 4]


def test_a_store_without_rows_or_tags_is_described(make_store):
    told = describe(make_store(ids=[], tags=[], failed=(), pending=())).json()
    assert (told["clips"], told["ready"], told["folds"], told["tags"]) == (0, 0, 0, {})
    assert told["specs"][0]["bytes_per_clip"] is None


def test_values_are_described_by_the_training_split(shared_store):
    spec = shared_store.specs[1]
    told = describe_values(shared_store, spec).json()
    train = np.flatnonzero((shared_store.clips["split"] == "train") & shared_store[spec].ready)
    assert (told["of"], told["clips"]) == ("train", len(train))
    assert told["mean"] == shared_store[spec].statistics(train).mean.tolist()
    assert told["constant_bands"] == told["clips_with_constant_bands"] == 0
    assert json.loads(json.dumps(told)) == told


def test_values_of_a_view_are_described_too(shared_store):
    told = describe_values(shared_store, "sr8000-mel16-x4-db").json()
    assert len(told["mean"]) == len(told["std"]) == 16
    assert np.isfinite(told["mean"]).all()


def test_values_without_a_training_split_are_described_by_all_clips(make_store):
    store = make_store(failed=(), pending=())
    store.clips["split"] = ""
    assert describe_values(store, store.specs[0]).of == "all"
    assert describe_values(store, store.specs[0]).clips == 20


def test_clips_without_labels_are_counted_as_such_and_not_by_tag(make_store):
    store = make_store(failed=(), pending=())
    before = describe(store).tags
    loud = int(store.clips["loud"].to_numpy().argmax())
    store.clips.loc[loud, "split"] = "unlabelled"
    told = describe(store)
    assert told.splits["unlabelled"] == 1
    assert told.tags["loud"] == before["loud"] - 1
