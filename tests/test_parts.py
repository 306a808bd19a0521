"""Stores of several parts: what one part holds for, several hold for; and who touches which."""

import dataclasses
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featurestore import FeatureSpec, FeatureStore
from featurestore.errors import CorruptDataError, StoreFormatError
from featurestore.format.clips import ClipTable
from featurestore.format.columns import part_of
from featurestore.format.division import Division
from featurestore.inspect.diff import diff
from featurestore.integrity import verify as verifying
from featurestore.maintenance.garbage import collect, find_garbage
from featurestore.maintenance.repair import repair
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.grid import grid
from featurestore.storage.local import LocalFiles
from featurestore.writer import StoreWriter
from pipeline.catalogs import open_catalog
from pipeline.run.layouts import layouts
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

WINDOW = Excerpt(duration=0.5)
IDS = [f"clip {row:02}" for row in range(30)]
WHOLE = {"failed": (), "pending": ()}
MORE = FeatureSpec(sr=8000, n_mels=8, hop=4)
TWO = {"shards_per_part": 2}  # 16 rows a part


def state(store):
    """Every file of a store: bytes and when it was written."""
    root = Path(store.path)
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def contents(store):
    return {key: data for key, (data, _) in state(store).items()}


def written(before, after):
    """Keys of files that were written, the same bytes or not; none may have gone."""
    assert before.keys() <= after.keys()
    return {key for key in after if after[key] != before.get(key)}


def parts_touched(keys):
    """Parts of which anything but metadata is among the keys."""
    touched = set()
    for key in keys:
        if key.startswith("clips/"):
            touched.add(part_of(key))
        elif found := re.fullmatch(r"(?:parts|commits)/c/(\d+)(?:/\d+)?", key):
            touched.add(int(found[1]))
        elif found := re.fullmatch(r".*/(?:values|statistics)/c/(\d+)/0/0", key):
            touched.add(int(found[1]) // TWO["shards_per_part"])
    return touched - {None}


def test_the_division_changes_no_value_and_no_status(make_store):
    one = make_store("one.zarr", ids=IDS)
    for per_part in (1, 2, 3):
        other = make_store(f"{per_part}.zarr", ids=IDS, shards_per_part=per_part)
        assert len(other.status.parts) == -(-4 // per_part)
        assert diff(one, other).is_same
        assert one.clips.equals(other.clips)
        found = [dataclasses.replace(store.verify(), store="") for store in (one, other)]
        assert found[0] == found[1]
        assert find_garbage(other) == ()


@pytest.mark.parametrize("n_before", [0, 1, 8, 15, 16, 17, 24])
def test_a_store_that_grows_over_a_parts_border_equals_one_made_at_once(make_store, n_before):
    make_store(ids=IDS[:n_before], **WHOLE, **TWO)
    grown = make_store(ids=IDS, **WHOLE, **TWO)
    assert contents(grown) == contents(make_store("once.zarr", ids=IDS, **WHOLE, **TWO))


def prepared(store, table, specs=(), *, prune=False):
    """As a run begins and ends that finds no value to be computed."""
    with StoreWriter(store.path, WINDOW) as writer:
        grown = writer.prepare(table, specs, prune=prune)
        return writer.publish(grown)


@pytest.mark.parametrize(("n_before", "part"), [(30, 1), (32, 2), (33, 2)])
def test_a_clip_more_is_written_in_the_last_part_alone(make_store, n_before, part):
    ids = [f"clip {row:02}" for row in range(n_before + 1)]
    store = make_store(ids=ids[:-1], **WHOLE, **TWO)
    before = state(store)
    grown = prepared(store, make_store.table(ids), make_store.layouts())
    changed = written(before, state(grown))
    assert parts_touched(changed) == {part}
    chunks = {key for key in changed if part_of(key) == part and key.startswith("clips/")}
    assert {key.split("/")[1] for key in chunks} == {
        path.name for path in Path(store.path, "clips").iterdir() if path.is_dir()
    } - {"tag"}
    assert not any(re.search(r"/(values|statistics)/c/", key) for key in changed)


def test_a_spec_more_leaves_the_table_and_other_specs_alone(make_store):
    store = make_store(ids=IDS, **WHOLE, **TWO)
    before = state(store)
    changed = written(before, state(make_store(ids=IDS, specs=[MORE], **WHOLE, **TWO)))
    columns = {key.split("/")[1] for key in changed if key.startswith("clips/")}
    assert not columns & {"clip_id", "path", "split", "labels", "active", "tag", "zarr.json"}
    assert not any(key.startswith(spec.name) for key in changed for spec in store.specs)


def test_a_label_that_changes_in_one_part_is_written_there_alone(make_store):
    store = make_store(ids=IDS, **WHOLE, **TWO)
    before, table = state(store), make_store.table(IDS)
    labels = table.labels.copy()
    labels[20] = 1 - labels[20]
    changed = written(before, state(prepared(store, dataclasses.replace(table, labels=labels))))
    assert parts_touched(changed) == {1}
    assert {key for key in changed if part_of(key) == 1} == {"clips/labels/c/1/0"} | {
        key for key in changed if part_of(key) == 1 and "status" not in key
    }
    assert FeatureStore.open(store.path).verify().unfinished == ()


def test_what_comes_and_goes_again_leaves_no_byte(make_store):
    """Tags, columns of metadata of changing types, clips that are pruned, each over all parts."""
    table = make_store.table(IDS)
    store = prepared(make_store(ids=IDS, **WHOLE, **TWO), table)
    before = contents(store)

    def meta(**columns):
        return dataclasses.replace(table, meta={k: np.array(v) for k, v in columns.items()})

    texts = np.array(["x"] * 30, object)
    for other in (
        make_store.table(IDS, tags=()),
        make_store.table(IDS, tags=("loud", "new", "drums")),
        meta(year=[0] * 30),
        meta(year=[0.5] * 30, bpm=[1] * 30),
        dataclasses.replace(table, meta={"year": texts}),
        meta(year=[7] * 30),
    ):
        there = prepared(store, other)
        assert contents(there) != before
        assert there.table.tags == other.tags
        assert {k: list(v) for k, v in there.table.meta.items()} == {
            k: list(v) for k, v in other.meta.items()
        }
        assert there.verify().is_healthy
        assert there.verify().unfinished == ()
    pruned = prepared(store, make_store.table([*IDS[:5], *IDS[20:]]), prune=True)
    assert np.flatnonzero(~pruned.table.active).tolist() == [*range(5, 20)]
    assert pruned.verify().unfinished == ()
    assert contents(prepared(store, table)) == before


def test_a_killed_change_of_labels_is_seen_whole_or_told(make_store, monkeypatch):
    """Killed at each write: labels of one part that are new and of another that are old are none.

    Neither number of rows nor names change, so that only the root tells parts apart.
    """
    table = make_store.table(IDS)
    other = dataclasses.replace(table, labels=1 - table.labels)
    store = prepared(make_store(ids=IDS, **WHOLE, **TWO), table)
    write, told = LocalFiles.write, 0
    for last in range(100):
        n_writes = 0

        def dying(self, key, data, last=last):
            nonlocal n_writes
            if n_writes == last:
                raise KeyboardInterrupt
            n_writes += 1
            write(self, key, data)

        with monkeypatch.context() as patched:
            patched.setattr(LocalFiles, "write", dying)
            try:
                with StoreWriter(store.path, WINDOW) as writer:
                    writer.prepare(other, [])
                    break
            except KeyboardInterrupt:
                pass
        try:
            labels = FeatureStore.open(store.path).table.labels
        except StoreFormatError as error:
            assert "run featurize again" in str(error)  # noqa: PT017
            told += 1
        else:
            assert any((labels == one.labels).all() for one in (table, other))
    assert told
    np.testing.assert_array_equal(FeatureStore.open(store.path).table.labels, other.labels)


DIE = """
import os, pickle, signal, sys
from featurestore.storage.local import LocalFiles
from featurestore.specs.excerpt import Excerpt
from featurestore.writer import StoreWriter

path, last = sys.argv[1], int(sys.argv[2])
write, n_writes = LocalFiles.write, 0

def write_or_die(self, key, data):
    global n_writes
    if n_writes == last:
        os.kill(os.getpid(), signal.SIGKILL)
    n_writes += 1
    write(self, key, data)

LocalFiles.write = write_or_die
table, layouts = pickle.load(sys.stdin.buffer)
with StoreWriter(path, Excerpt(duration=0.5)) as writer:
    writer.publish(writer.prepare(table, layouts))
"""


@pytest.mark.slow
def test_a_run_killed_at_any_write_of_beginning_and_end_is_taken_over(make_store):
    import pickle

    ids, tags = IDS[:12], ("a", "b")
    given = pickle.dumps((make_store.table(IDS, ("c",)), make_store.layouts([MORE])))
    model = make_store("model.zarr", ids=ids, tags=tags, **WHOLE, **TWO)
    wanted = contents(prepared(model, *pickle.loads(given)))
    store = make_store(ids=ids, tags=tags, **WHOLE, **TWO)
    for last in range(0, 400, 3):
        died = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", DIE, store.path, str(last)],
            input=given,
            check=False,
        )
        seen = FeatureStore.open(store.path)
        try:
            assert (len(seen.clips), seen.table.tags) in ((12, tags), (30, ("c",)))
        except StoreFormatError as error:
            assert "run featurize again" in str(error)  # noqa: PT017
        if died.returncode == 0:
            break
        assert died.returncode == -signal.SIGKILL
    assert contents(seen) == wanted


def test_a_reader_that_knew_the_parts_before_labels_changed_is_told_to_open_it_again(make_store):
    store = make_store(ids=IDS, **WHOLE, **TWO)
    late = FeatureStore.open(store.path)
    assert late.status.records.ready  # the manifests are read, and the table is not
    table = make_store.table(IDS)
    prepared(store, dataclasses.replace(table, labels=1 - table.labels))
    with pytest.raises(StoreFormatError, match="was changed by a run since it was opened"):
        _ = late.clips


def test_a_manifest_of_before_is_found_out(make_store):
    store = make_store(ids=IDS, **WHOLE, **TWO)
    before = contents(store)
    table = make_store.table(IDS)
    prepared(store, dataclasses.replace(table, labels=1 - table.labels))
    for key in ("parts/c/1", "clips/labels/c/1/0"):
        store.files.write(key, before[key])
    [damage] = FeatureStore.open(store.path).verify().damage
    assert (damage.key, damage.can_repair) == ("clips", False)


def test_a_run_that_ends_while_a_store_is_verified_is_no_damage(make_store, monkeypatch):
    """It writes manifests and status columns, and not the root."""
    store = make_store(ids=IDS, **TWO)
    root = Path(store.path, "zarr.json").read_bytes()
    read = verifying.read_mirrored

    def late(*arguments):
        monkeypatch.undo()
        make_store(ids=IDS, **WHOLE, **TWO)  # what was pending is done
        return read(*arguments)

    monkeypatch.setattr(verifying, "read_mirrored", late)
    with pytest.raises(StoreFormatError, match="was changed by a run meanwhile"):
        store.verify()
    assert Path(store.path, "zarr.json").read_bytes() == root
    assert FeatureStore.open(store.path).verify().is_healthy


@pytest.mark.parametrize("key", ["commits/c/1/0", "commits/c/1/1", "clips/status/c/1"])
@pytest.mark.parametrize("how", ["gone", "hurt"])
def test_damage_of_one_part_is_repaired_and_leaves_other_parts_alone(make_store, key, how):
    store = make_store(ids=IDS, **WHOLE, **TWO)
    before = state(store)
    path = Path(store.path, key)
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[:-1])
    [damage] = FeatureStore.open(store.path).verify().damage
    assert damage.key == (key if key.startswith("commits") else "clips")
    assert repair(FeatureStore.open(store.path)).is_repaired
    mended = FeatureStore.open(store.path)
    assert mended.verify().is_healthy
    if key.startswith("commits"):
        first = 16 if key.endswith("0") else 24
        pending = np.flatnonzero(mended.clips["status"] == "pending")
        assert pending.tolist() == [*range(first, min(first + 8, 30))]
    make_store(ids=IDS, **WHOLE, **TWO)
    assert contents(mended) == {key: data for key, (data, _) in before.items()}


@pytest.mark.parametrize("how", ["gone", "hurt", "swapped"])
def test_a_lost_manifest_is_told_with_the_remedy(make_store, how):
    store = make_store(ids=IDS, **WHOLE, **TWO)
    path = Path(store.path, "parts/c/1")
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(
            path.with_name("0").read_bytes() if how == "swapped" else path.read_bytes()[:-1]
        )
    [damage] = FeatureStore.open(store.path).verify().damage
    assert (damage.key, damage.can_repair) == ("parts/c/1", False)
    assert "put it back from a copy" in damage.detail
    with pytest.raises(CorruptDataError, match="parts/c/1"):
        _ = FeatureStore.open(store.path).clips
    before = contents(store)
    assert not repair(FeatureStore.open(store.path)).is_repaired
    assert contents(store) == before


def test_pruned_clips_of_all_parts_are_collected(make_store):
    store = make_store(ids=IDS, **WHOLE, **TWO)
    kept = [*IDS[:3], *IDS[17:19]]
    pruned = prepared(store, make_store.table(kept), prune=True)
    assert sum(len(found.rows) for found in find_garbage(pruned)) == 3 * 25
    collect(pruned)
    after = FeatureStore.open(store.path)
    assert (after.verify().damage, after.verify().unfinished, find_garbage(after)) == ((), (), ())
    for spec in after.specs:
        assert np.flatnonzero(after[spec].ready).tolist() == [0, 1, 2, 17, 18]
    np.testing.assert_array_equal(
        make_store(ids=IDS, **WHOLE, **TWO)[MORE.parse("sr8000-mel8-x2-db")].read([29]),
        store[MORE.parse("sr8000-mel8-x2-db")].read([29]),
    )


def test_a_division_that_is_wished_otherwise_later_changes_nothing(make_store):
    store = make_store(ids=IDS, **WHOLE, **TWO)
    before = state(store)
    with StoreWriter(store.path, WINDOW, Division(clips_per_shard=4, shards_per_part=9)) as writer:
        writer.publish(writer.prepare(make_store.table(IDS), make_store.layouts()))
    assert state(store) == before


def test_the_first_spec_of_a_store_with_clips_divides_it_and_leaves_nothing_old(make_store):
    folder = make_store.folder
    table = make_store.table(IDS)
    layout = make_store.layouts([MORE], clips_per_shard=16)
    found = []
    for name, first in (("late", Division(clips_per_shard=2, shards_per_part=2)), ("once", None)):
        if first is not None:
            with StoreWriter(folder / name, WINDOW, first) as writer:
                writer.prepare(table, [])
                writer.publish()
        with StoreWriter(folder / name, WINDOW) as writer:
            writer.prepare(table, layout)
            found.append(contents(writer.publish()))
    assert found[0] == found[1]


def test_a_reader_of_a_store_that_grows_by_parts_sees_it_whole_or_is_told(make_store):
    make_store(ids=IDS[:1], shards_per_part=1, **WHOLE)
    done = threading.Event()

    def grow():
        try:
            for n_clips in range(4, 31, 4):
                make_store(ids=IDS[:n_clips], shards_per_part=1, **WHOLE)
        finally:
            done.set()

    thread = threading.Thread(target=grow)
    thread.start()
    seen = set()
    while not done.is_set():
        store = FeatureStore.open(make_store.folder / "store.zarr")
        try:
            ids = store.table.clip_id
            spec = store.specs[0]
            for row in np.flatnonzero(store[spec].ready):
                expected = make_store.expected(ids[row], store.layouts[spec])
                np.testing.assert_array_equal(store[spec][row], expected)
            assert ids == IDS[: store.n_clips]
            seen.add(store.n_clips)
        except StoreFormatError as error:
            assert "by a run" in str(error)  # noqa: PT017
    thread.join()
    assert FeatureStore.open(make_store.folder / "store.zarr").table.clip_id == IDS[:28]
    assert seen


@pytest.mark.parametrize("place", ["memory://test_parts", None])
def test_a_store_of_several_parts_is_the_same_in_object_storage(make_store, place):
    import fsspec

    path = place or str(make_store.folder / "local.zarr")
    for n_clips in (12, 30):
        with StoreWriter(path, WINDOW, Division(clips_per_shard=8, shards_per_part=2)) as writer:
            writer.prepare(make_store.table(IDS[:n_clips]), make_store.layouts())
            store = writer.publish()
    assert len(store.status.parts) == 2
    assert FeatureStore.open(path).table.clip_id == IDS
    assert store.verify().is_healthy
    repair(store)
    assert collect(FeatureStore.open(path)) == ()
    if place:
        fsspec.filesystem("memory").rm("/test_parts", recursive=True)


SPECS = grid(sr=[8000], n_mels=[16, 8], hop=[1], log=["db"])


def test_the_real_run_makes_resumes_grows_and_mends_a_store_of_several_parts(tmp_path, scheduler):
    rng = np.random.default_rng(0)
    music, path = tmp_path / "music", tmp_path / "store.zarr"
    music.mkdir()
    settings = RunSettings(window=WINDOW, scheduler=scheduler)
    division = Division(clips_per_shard=4, shards_per_part=2)
    with StoreWriter(path, WINDOW, division) as writer:  # of two parts and a half
        writer.prepare(ClipTable.empty(), layouts(SPECS[:1], settings, division))
    for number in range(20):
        samples = rng.uniform(-0.5, 0.5, 8000).astype(np.float32)
        soundfile.write(music / f"{number:02}.wav", samples, 8000)

    def featurize(specs=SPECS):
        return run(open_catalog(str(music)), str(path), specs, settings)

    first = featurize(SPECS[:1])
    assert (first.n_ready, first.n_computed, len(first.store.status.parts)) == (20, 20, 3)
    before = state(first.store)
    assert featurize(SPECS[:1]).n_computed == 0
    assert state(first.store) == before  # nothing was written
    assert featurize().n_computed == 20
    whole = featurize().store
    before = state(whole)
    soundfile.write(music / "20.wav", np.zeros(8000, np.float32), 8000)
    grown = featurize()
    assert (grown.n_ready, grown.n_computed) == (21, 1)
    assert parts_touched(written(before, state(grown.store))) == {2}
    before = contents(grown.store)
    for key in ("commits/c/1/0", f"{SPECS[0].name}/values/c/5/0/0", "clips/peak/c/2"):
        (path / key).unlink()
    assert repair(FeatureStore.open(path)).is_repaired
    assert featurize().n_computed == 5
    assert contents(grown.store) == before
    soundfile.write(music / "09.wav", np.zeros(8000, np.float32), 8000)
    assert featurize().n_computed == 1
    assert FeatureStore.open(path).verify().unfinished == ()
