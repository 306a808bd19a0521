import dataclasses

import numpy as np

from featurestore import FeatureStore
from featurestore.format.commits import ClipRecord, Commit, invalidated, read_commit, write_commit
from featurestore.format.division import Division
from featurestore.format.status import OUTCOMES, Outcomes


def test_columns_are_what_the_records_say(tiny_store):
    outcomes = tiny_store.outcomes
    clips = tiny_store.clips
    for name in OUTCOMES:
        assert list(getattr(outcomes, name)) == list(clips[name])
    assert set(outcomes.status) == {"ready", "failed", "pending"}
    failed = list(outcomes.status).index("failed")
    assert outcomes.reason[failed] == "EmptyFile"


def test_a_clip_is_ready_only_if_it_is_so_for_every_spec(tiny_store):
    ready = np.logical_and.reduce(list(tiny_store.status.ready.values()))
    assert list(tiny_store.status["status"] == "ready") == list(ready)


def test_a_row_that_one_spec_lacks_is_pending(make_store):
    store = make_store()
    layouts = list(store.layouts.values())
    length, name = layouts[0].clips_per_shard, layouts[0].spec.name
    record = ClipRecord(status="ready", digest="d", sr=8000, n_valid=8000)
    n_clips = min(length, store.n_clips)
    specs = {layout.spec.name: b"\1" * 8 * n_clips for layout in layouts}
    commit = Commit(clips=(record,) * n_clips, specs=specs | {name: invalidated(specs[name], [1])})
    write_commit(store.files, Division.of(length), 0, commit)
    outcomes = Outcomes(store.files, layouts, np.ones(store.n_clips, np.bool_))
    assert (outcomes.status[0], outcomes.status[1]) == ("ready", "pending")
    assert not outcomes.ready[name][1]
    assert outcomes.ready[layouts[1].spec.name][1]


def test_what_is_known_of_a_clip_comes_from_the_record_that_has_its_values(make_store):
    first, second = make_store.layouts()[:2]
    make_store(specs=[first.spec], clips_per_shard=8, failed=(), pending=())
    # Shards of 16 come after those of 8: of rows 1 to 3 they hold nothing, for one reason or other.
    store = make_store(specs=[second.spec], clips_per_shard=16, failed=[1], pending=[2])
    before = read_commit(store.files, Division.of(16), 0)
    clips = list(before.clips)
    clips[3] = dataclasses.replace(clips[3], n_valid=5, sr=7, digest="of other audio")
    specs = {second.spec.name: invalidated(before.specs[second.spec.name], [3])}
    write_commit(
        store.files,
        Division.of(16),
        0,
        dataclasses.replace(before, clips=tuple(clips), specs=specs),
    )
    store = FeatureStore.open(store.path)
    record = make_store.record("clip 01")
    assert list(store.clips["status"][:5]) == ["ready", "failed", "pending", "pending", "ready"]
    assert store[first.spec].ready.all()
    for name in ("sr", "start", "n_valid"):
        assert set(getattr(store.outcomes, name)) == {getattr(record, name)}
    assert store.status["digest"][3] == make_store.record("clip 03").digest.encode()
    assert store[first.spec].n_valid_frames.all()


def test_pruned_rows_are_pending_whatever_their_records_say(tiny_store):
    active = np.ones(tiny_store.n_clips, np.bool_)
    active[[0, list(tiny_store.status["status"]).index("failed")]] = False
    outcomes = Outcomes(tiny_store.files, tiny_store.layouts.values(), active)
    assert set(outcomes.status[~active]) == {"pending"}
    assert set(outcomes.reason[~active]) == {""}
    assert not any(ready[~active].any() for ready in outcomes.ready.values())
