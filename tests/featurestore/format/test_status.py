import numpy as np

from featurestore import FeatureStore
from featurestore.format.commits import ClipRecord, Commit, invalidated, write_commit
from featurestore.format.status import STATUS_COLUMNS, ClipStatus


def test_columns_are_what_the_records_say(tiny_store):
    status, clips = tiny_store.status, tiny_store.clips
    for name in STATUS_COLUMNS:
        assert list(status[name]) == list(clips[name])
    assert set(status["status"]) == {"ready", "failed", "pending"}
    failed = list(status["status"]).index("failed")
    assert status["reason"][failed] == "EmptyFile"


def test_a_clip_is_ready_only_if_it_is_so_for_every_spec(tiny_store):
    ready = np.logical_and.reduce(list(tiny_store.status.ready.values()))
    assert list(tiny_store.status["status"] == "ready") == list(ready)


def test_a_row_that_one_spec_lacks_is_pending(make_store):
    store = make_store()
    layouts = list(store.layouts.values())
    division, name = store.metadata.division, layouts[0].spec.name
    record = ClipRecord(status="ready", digest="d", sr=8000, n_valid=8000)
    n_clips = min(division.clips_per_shard, store.n_clips)
    specs = {layout.spec.name: b"\1" * 8 * n_clips for layout in layouts}
    commit = Commit(clips=(record,) * n_clips, specs=specs | {name: invalidated(specs[name], [1])})
    write_commit(store.files, division, 0, commit)
    status = FeatureStore.open(store.path).status
    assert list(status["status"][:2]) == ["ready", "pending"]
    assert not status.ready[name][1]
    assert status.ready[layouts[1].spec.name][1]


def test_pruned_rows_are_pending_whatever_their_records_say(make_store):
    store = make_store()
    clips = store.clips
    kept = clips.loc[clips["status"] != "failed", "clip_id"].tolist()
    store = make_store(ids=kept[1:], prune=True)
    active = store.table.active
    assert not active.all()
    assert set(store.status["status"][~active]) == {"pending"}
    assert set(store.status["reason"][~active]) == {""}
    assert not any(ready[~active].any() for ready in store.status.ready.values())


def test_a_status_that_is_known_is_not_read_again(tiny_store):
    known = ClipStatus(tiny_store.files, tiny_store.metadata, tiny_store.status.records)
    assert known.records is tiny_store.status.records
