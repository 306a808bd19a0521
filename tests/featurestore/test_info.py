import json

import pytest

from featurestore.info import describe, describe_spec


def test_a_description_counts_clips_splits_and_tags(shared_store):
    told = describe(shared_store)
    assert {key: told[key] for key in ("clips", "ready", "failed", "pending")} == {
        "clips": 20,
        "ready": 18,
        "failed": 1,
        "pending": 1,
    }
    assert told["splits"] == {"train": 10, "validation": 5, "test": 5}
    assert told["folds"] == 5
    assert told["tags"] == {tag: int(shared_store.clips[tag].sum()) for tag in ("drums", "loud")}
    assert (told["store"], told["catalog"], told["duration"]) == (shared_store.path, "noise", 0.5)
    assert [spec["spec"] for spec in told["specs"]] == [spec.name for spec in shared_store.specs]


def test_a_description_is_json(shared_store):
    assert json.loads(json.dumps(describe(shared_store))) == describe(shared_store)


def test_a_spec_is_described_with_its_bytes_and_origin(shared_store):
    spec = shared_store.specs[0]
    told = describe_spec(shared_store, spec)
    assert told["shape"] == [20, 16, 16]
    assert told["ready"] == 18
    assert told["bytes"] == shared_store[spec].nbytes_stored
    assert told["bytes_per_clip"] == pytest.approx(told["bytes"] / 18)
    assert (told["encoding"], told["codec"], told["view_of"]) == ("float16", "zstd", None)
    assert told["settings"] == {"backend": "noise"}
    assert told["software"] == [{"melgrid": "test"}]


def test_a_view_is_described_with_what_it_is_cut_from(shared_store):
    told = describe_spec(shared_store, "sr8000-mel16-x4-db")
    assert told["view_of"] == "sr8000-mel16-x1-db"
    assert told["shape"] == [20, 16, 4]


def test_a_store_without_rows_or_tags_is_described(make_store):
    told = describe(make_store(ids=[], tags=[], failed=(), pending=()))
    assert (told["clips"], told["ready"], told["folds"], told["tags"]) == (0, 0, 0, {})
    assert told["specs"][0]["bytes_per_clip"] is None
