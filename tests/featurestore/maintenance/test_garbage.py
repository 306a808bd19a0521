from pathlib import Path

import numpy as np
import pytest

from featurestore import FeatureStore
from featurestore.errors import RowNotReadyError, StoreLockedError
from featurestore.maintenance.garbage import collect, find_garbage
from featurestore.specs.excerpt import Excerpt
from featurestore.writer import StoreWriter, write_shard

WINDOW = Excerpt(duration=0.5)
WHOLE = {"failed": (), "pending": ()}


def contents(store):
    root = Path(store.path)
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_a_whole_store_has_no_garbage(make_store):
    store = make_store()
    before = contents(store)
    assert find_garbage(store) == ()
    assert collect(store) == ()
    assert contents(store) == before


def test_nothing_is_touched_while_garbage_is_looked_for(make_store):
    store = make_store(**WHOLE)
    Path(store.path, "sr8000-mel4-x1-db").mkdir()
    Path(store.path, "sr8000-mel4-x1-db", "values").write_bytes(bytes(100))
    before = contents(store)
    [found] = find_garbage(store)
    assert (found.kind, found.key, found.nbytes) == ("unreferenced", "sr8000-mel4-x1-db", 100)
    assert contents(store) == before


def test_what_belongs_to_no_spec_goes_and_what_is_foreign_stays(make_store):
    store = make_store(**WHOLE)
    whole = contents(store)
    name = store.specs[0].name
    for key in ("sr8000-mel4-x1-db/values/c/0/0/0", "commits/16/c/0", f"{name}/values/c/9/0/0"):
        store.files.write(key, b"garbage")
    foreign = (
        "notes.txt", "my-group/zarr.json", f"{name}/mine", "clips/mine/c/0", "commits/own",
        "sr8000-mel5-x1-db/thesis.tex",
    )  # fmt: skip
    for key in foreign:
        store.files.write(key, b"{}")
    found = collect(FeatureStore.open(store.path))
    assert {g.key for g in found if g.kind == "unreferenced"} == {
        "sr8000-mel4-x1-db", "commits/16", f"{name}/values/c/9"
    }  # fmt: skip
    assert {g.key for g in found if g.kind == "foreign"} == {
        "notes.txt", "my-group", f"{name}/mine", "clips/mine", "commits/own", "sr8000-mel5-x1-db"
    }  # fmt: skip
    assert contents(store) == {**whole, **dict.fromkeys(foreign, b"{}")}


def test_pruned_clips_give_their_bytes_back_and_the_others_stay(make_store, tmp_path):
    whole = make_store(**WHOLE)
    kept = ["clip 03", "clip 04", "clip 12"]
    with StoreWriter(tmp_path / "store.zarr", WINDOW) as writer:
        writer.prepare(make_store.table(kept), [], prune=True)
        store = writer.publish()
    found = find_garbage(store)
    assert {garbage.kind for garbage in found} == {"pruned"}
    assert sum(len(garbage.rows) for garbage in found) == 3 * 17
    before = sum(store[spec].nbytes_stored for spec in store.specs)
    assert collect(store) == found
    after = FeatureStore.open(store.path)
    gone = sum(garbage.nbytes for garbage in found)
    assert gone <= before - sum(after[spec].nbytes_stored for spec in after.specs) < gone + 2000
    for spec in after.specs:
        for row in (3, 4, 12):
            np.testing.assert_array_equal(after[spec][row], whole[spec][row])
        with pytest.raises(RowNotReadyError, match="pruned"):
            after[spec][5]
    assert (after.verify().damage, after.verify().unfinished) == ((), ())
    assert find_garbage(after) == ()
    again = make_store(**WHOLE)  # the clips come back
    assert again.verify().unfinished == ()
    np.testing.assert_array_equal(again[again.specs[0]][5], whole[whole.specs[0]][5])


def test_what_a_killed_run_left_goes(make_store):
    store = make_store(pending=(13,), failed=())
    layout = next(iter(store.layouts.values()))
    ids = store.table.clip_id
    whole = contents(store)
    write_shard(store.files, layout, 1, [make_store.row(ids[row], layout) for row in range(8, 16)])
    store.files.write(".run/partial/1234", bytes(500))
    found = find_garbage(store)
    assert [(g.kind, g.key, g.rows) for g in found] == [
        ("unfinished", ".run", ()), ("unfinished", layout.shard_key(1), (13,))
    ]  # fmt: skip
    assert found[0].nbytes == 500
    collect(store)
    assert contents(store) == whole


def test_a_store_that_a_run_writes_to_is_left_alone(make_store):
    store = make_store(**WHOLE)
    with StoreWriter(store.path, WINDOW), pytest.raises(StoreLockedError):
        collect(store)
