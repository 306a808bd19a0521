import dataclasses
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from featurestore import FeatureSpec, FeatureStore
from featurestore.errors import (
    StoreFormatError,
    StoreLockedError,
    StoreMismatchError,
)
from featurestore.format.clips import ClipTable
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.storage.files import RUN_FOLDER
from featurestore.storage.local import LocalFiles
from featurestore.writer import StoreWriter

WINDOW = Excerpt(duration=0.5)
IDS = [f"clip {row:02}" for row in range(30)]
MORE = FeatureSpec(sr=8000, n_mels=8, hop=4)


def contents(folder):
    """All that lies in a folder, by name; None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in Path(folder).rglob("*")
    }


def assert_rows(store, make_store, rows, specs=None):
    for spec in specs or store.specs:
        array = store[spec]
        assert array.ready[rows].all()
        for row, values in zip(rows, array.read(rows), strict=True):
            expected = make_store.expected(store.table.clip_id[row], array.layout)
            np.testing.assert_array_equal(values, expected)


def test_a_writer_makes_an_empty_store(tmp_path):
    with StoreWriter(tmp_path / "new" / "store.zarr", WINDOW) as writer:
        assert writer.abandoned_by is None
    store = FeatureStore.open(tmp_path / "new" / "store.zarr")
    assert (store.n_clips, store.specs, store.tags, store.window) == (0, [], [], WINDOW)
    assert len(store.clips) == 0


def test_room_is_made_without_rows_being_ready(tmp_path, make_store):
    with StoreWriter(tmp_path / "store.zarr", WINDOW) as writer:
        store = writer.prepare(make_store.table(IDS), make_store.layouts(), "noise")
    assert store.n_clips == 30
    assert set(store.clips["status"]) == {"pending"}
    assert not any(store[spec].ready.any() for spec in store.specs)


@pytest.mark.parametrize("n_before", [0, 1, 7, 8, 9, 16])
def test_a_store_grows_by_clips_with_old_rows_intact(make_store, n_before):
    """Also where the last shard was not full."""
    make_store(ids=IDS[:n_before], failed=(), pending=())
    store = make_store(ids=IDS, failed=(), pending=())
    assert store.n_clips == 30
    assert_rows(store, make_store, list(range(30)))


def test_new_clips_of_a_shard_are_pending_until_it_is_committed(make_store, tmp_path):
    before = make_store(ids=IDS[:12], failed=(), pending=())
    with StoreWriter(tmp_path / "store.zarr", WINDOW) as writer:
        store = writer.prepare(make_store.table(IDS), make_store.layouts())
    assert list(np.flatnonzero(store[store.specs[0]].ready)) == list(range(12))
    assert_rows(store, make_store, list(range(12)))
    assert_rows(before, make_store, list(range(12)))  # opened before; sees what it saw


def test_a_store_grows_by_specs_with_old_ones_intact(make_store):
    make_store(failed=(), pending=())
    for length in (8, 16):
        spec = dataclasses.replace(MORE, hop=length)
        store = make_store(specs=[spec], clips_per_shard=length, failed=(), pending=())
    assert len(store.specs) == 5
    assert_rows(store, make_store, list(range(20)))


def test_a_spec_that_is_there_keeps_its_shards_length(make_store):
    make_store(clips_per_shard=8, failed=(), pending=())
    store = make_store(ids=IDS, clips_per_shard=32, failed=(), pending=())
    assert {layout.clips_per_shard for layout in store.layouts.values()} == {8}
    assert_rows(store, make_store, list(range(30)))


def test_clips_that_are_not_named_again_stay(make_store, tmp_path):
    make_store(failed=(), pending=())
    with StoreWriter(tmp_path / "store.zarr", WINDOW) as writer:
        store = writer.prepare(make_store.table(["other", "clip 03"]), [])
    assert store.table.clip_id == [*IDS[:20], "other"]
    assert_rows(store, make_store, list(range(20)))


@pytest.mark.parametrize(
    ("before", "after"),
    [(["a", "b"], []), ([], ["a", "b"]), (["a", "b"], ["b"]), (["a"], ["b", "a", "c"])],
)
def test_tags_may_change(make_store, before, after):
    make_store(tags=before)
    store = make_store(tags=after)
    assert store.tags == after
    expected = make_store.table(IDS[:20], after).labels
    np.testing.assert_array_equal(store.clips[after].to_numpy().reshape(20, len(after)), expected)


def test_a_store_may_have_no_clips_or_no_specs(make_store):
    store = make_store("no clips", ids=[], failed=(), pending=())
    assert store[store.specs[0]].shape == (0, 16, 16)
    assert store[store.specs[0]].ready.shape == (0,)
    store = make_store("no specs", specs=[])
    assert set(store.clips["status"]) == {"pending"}
    assert len(make_store("no clips", failed=(), pending=()).clips) == 20


def test_doing_it_again_changes_no_byte(make_store, tmp_path):
    store = make_store()
    before = contents(store.path)
    make_store()
    assert contents(store.path) == before


def test_the_same_runs_make_the_same_bytes(make_store):
    assert contents(make_store("one").path) == contents(make_store("other").path)


def test_a_finished_run_leaves_no_run_folder(make_store):
    assert RUN_FOLDER not in {name.split("/")[0] for name in contents(make_store().path)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoding": Encoding(name="float32")}, "encoding is float16 there, not float32"),
        ({"codec": Codec(name="lz4")}, "codec is zstd there, not lz4"),
        ({"settings": {"backend": "librosa"}}, "backend is noise there, not librosa"),
    ],
)
def test_other_settings_for_a_spec_that_is_there_are_refused(make_store, changes, message):
    store = make_store()
    before = contents(store.path)
    with pytest.raises(
        StoreMismatchError,
        match=f"holds sr8000-mel16-x1-db made otherwise: {message}; give the same settings, or",
    ):
        make_store(**changes)
    assert contents(store.path) == before
    make_store(specs=[MORE], **changes)  # another spec may have them


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"duration": 3.0}, "duration is 0.5 there, not 3.0"),
        ({"take": "first", "short": "skip"}, "take is center .* first; short is pad .* skip"),
    ],
)
def test_another_window_is_refused_naming_what_differs(make_store, window, message):
    store = make_store()
    before = contents(store.path)
    with (
        pytest.raises(StoreMismatchError, match=f"holds other clips: {message}"),
        StoreWriter(store.path, dataclasses.replace(WINDOW, **window)),
    ):
        pass
    assert contents(store.path) == before


@pytest.mark.parametrize("kind", ["folder", "file", "zarr", "symlink"])
def test_what_is_no_store_is_not_touched(tmp_path, kind):
    import zarr

    place = tmp_path / "place"
    if kind == "folder":
        place.mkdir()
        (place / "thesis.txt").write_text("text")
    elif kind == "file":
        place.write_text("text")
    elif kind == "zarr":
        zarr.create_group(place)
    else:
        place.symlink_to(tmp_path / "nowhere")
    before = contents(tmp_path)
    with (
        pytest.raises(StoreFormatError, match="is not a melgrid store and not empty: nothing was"),
        StoreWriter(place, WINDOW),
    ):
        pass
    assert contents(tmp_path) == before


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "store").mkdir()
    with StoreWriter(tmp_path / "store", WINDOW):
        pass
    assert FeatureStore.open(tmp_path / "store").n_clips == 0


def test_a_newer_store_is_not_touched(tiny_store):
    path = Path(tiny_store.path, "zarr.json")
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    before = contents(tiny_store.path)
    with (
        pytest.raises(StoreFormatError, match="has format 99"),
        StoreWriter(tiny_store.path, WINDOW),
    ):
        pass
    assert contents(tiny_store.path) == before


def test_a_second_writer_is_refused(tiny_store):
    with (
        StoreWriter(tiny_store.path, WINDOW),
        pytest.raises(StoreLockedError, match="another run is writing to"),
        StoreWriter(tiny_store.path, WINDOW),
    ):
        pass
    with StoreWriter(tiny_store.path, WINDOW):
        pass


def test_reading_goes_on_while_a_run_writes(tiny_store):
    with StoreWriter(tiny_store.path, WINDOW):
        store = FeatureStore.open(tiny_store.path)
        assert store[store.specs[0]].read([0]).shape == (1, 16, 16)


def test_a_refused_writer_lets_go_of_the_lock(tiny_store):
    with (
        pytest.raises(StoreMismatchError),
        StoreWriter(tiny_store.path, Excerpt(duration=1)),
    ):
        pass
    with StoreWriter(tiny_store.path, WINDOW) as writer:
        assert writer.abandoned_by is None


def test_what_a_killed_run_left_of_its_files_is_cleared(tiny_store):
    files = LocalFiles(tiny_store.path)
    files.write(f"{RUN_FOLDER}/partial/half", b"half a shard")
    with StoreWriter(tiny_store.path, WINDOW):
        assert "half" not in files.names(f"{RUN_FOLDER}/partial")


@pytest.mark.parametrize("shards_per_part", [None, 1])
def test_a_run_may_die_at_any_write_of_its_preparations(make_store, monkeypatch, shards_per_part):
    """Killed after each number of writes: a reader sees the old rows, the new, or is told."""
    whole = {"failed": (), "pending": (), "shards_per_part": shards_per_part}
    make_store("model", ids=IDS[:12], tags=["a", "b"], **whole)
    model = make_store("model", ids=IDS, tags=["c"], specs=[MORE], **whole)
    old = make_store(ids=IDS[:12], tags=["a", "b"], **whole)
    write = LocalFiles.write
    writes = 0

    def dying_at(last):
        def write_or_die(self, key, data):
            nonlocal writes
            if writes == last:
                raise KeyboardInterrupt
            writes += 1
            write(self, key, data)

        return write_or_die

    told = []
    for last in range(200):
        # the state a fresh kill would find: each round starts from where the last one died
        writes = 0
        with monkeypatch.context() as patched:
            patched.setattr(LocalFiles, "write", dying_at(last))
            try:
                with StoreWriter(old.path, WINDOW) as writer:
                    writer.prepare(make_store.table(IDS, ["c"]), make_store.layouts([MORE]))
            except KeyboardInterrupt:
                pass
            else:
                break
        store = FeatureStore.open(old.path)
        try:
            assert store.table.tags in (("a", "b"), ("c",))
            assert_rows(store, make_store, list(range(12)), old.specs)
        except StoreFormatError as error:
            told.append(str(error))
    assert writes > 0
    assert all("run featurize again" in text for text in told)
    make_store(ids=IDS, tags=["c"], specs=[MORE], **whole)
    assert contents(old.path) == contents(model.path)


DIE_PREPARING = """
import os, pickle, signal, sys
from featurestore.storage.local import LocalFiles
from featurestore.storage.files import Files
from featurestore.specs.excerpt import Excerpt
from featurestore.writer import StoreWriter

path, key = sys.argv[1:]
write = LocalFiles.write

def write_or_die(self, there, data):
    if there == key:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, there, data)

LocalFiles.write = write_or_die
with StoreWriter(path, Excerpt(duration=0.5)) as writer:
    writer.prepare(pickle.load(sys.stdin.buffer), [])
"""


def test_a_run_killed_in_its_preparations_is_taken_over(make_store, tmp_path):
    store = make_store(ids=IDS[:12], failed=(), pending=())
    died = subprocess.run(
        [sys.executable, "-c", DIE_PREPARING, store.path, "clips/split/c/0"],
        input=pickle.dumps(make_store.table(IDS)),
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    with pytest.raises(StoreFormatError, match="run featurize again to repair it"):
        _ = FeatureStore.open(store.path).clips
    with StoreWriter(store.path, WINDOW) as writer:
        assert "process" in writer.abandoned_by
        assert len(writer.store().clips) == 30
    repaired = FeatureStore.open(store.path)
    assert repaired.table.clip_id == IDS
    assert_rows(repaired, make_store, list(range(12)))


def test_published_columns_repeat_what_became_of_the_clips(tiny_store):
    import zarr

    group = zarr.open_group(f"{tiny_store.path}/clips", mode="r")
    for name in ("status", "reason", "digest", "sr", "start", "n_valid"):
        assert list(group[name][...]) == list(tiny_store.clips[name])


def test_an_empty_table_can_be_prepared(tmp_path, make_store):
    with StoreWriter(tmp_path / "store.zarr", WINDOW) as writer:
        writer.prepare(ClipTable.empty(), make_store.layouts())
        store = writer.publish()
    assert len(store.clips) == 0


def test_a_reader_of_the_store_as_it_was_is_told_to_open_it_again(make_store):
    """Unless it has read the clip table before."""
    make_store(ids=IDS[:12], failed=(), pending=())
    store, late = (FeatureStore.open(make_store.folder / "store.zarr") for _ in range(2))
    array = store[store.specs[0]]
    before = array.read([0, 11])
    make_store(ids=IDS, failed=(), pending=())
    with pytest.raises(StoreFormatError, match="was changed by a run since it was opened"):
        _ = late.clips
    # and so does a loader's worker that is started now
    for reader in (array, pickle.loads(pickle.dumps(array))):
        np.testing.assert_array_equal(reader.read([0, 11]), before)
        with pytest.raises(IndexError, match="there are 12"):
            reader.read([12])


def test_a_run_killed_before_it_had_made_the_store_is_taken_over(tmp_path):
    (tmp_path / RUN_FOLDER / "partial").mkdir(parents=True)
    (tmp_path / RUN_FOLDER / "lock").write_text('{"host": "there", "pid": 1}')
    with StoreWriter(tmp_path, WINDOW) as writer:
        assert writer.abandoned_by == "process 1 on there"
        assert writer.store().n_clips == 0


def test_readers_of_a_store_that_grows_see_it_whole_or_are_told(make_store):
    """A reader opens the store again and again while runs add clips, tags and a spec to it."""
    make_store(ids=IDS[:1], failed=(), pending=())
    done = threading.Event()

    def grow():
        try:
            for n_clips in range(2, 22, 2):
                specs = make_store.layouts()[0].spec, dataclasses.replace(MORE, hop=n_clips)
                tags = [f"tag {number}" for number in range(n_clips % 3)]
                make_store(ids=IDS[:n_clips], tags=tags, specs=specs, failed=(), pending=())
        finally:
            done.set()

    seen = set()
    with ThreadPoolExecutor(1) as pool:
        grown = pool.submit(grow)
        while not done.is_set():
            store = FeatureStore.open(make_store.folder / "store.zarr")
            try:
                for spec in store.specs:
                    ready = np.flatnonzero(store[spec].ready)
                    assert_rows(store, make_store, list(ready), [spec])
                assert len(store.clips) == store.n_clips
            except StoreFormatError as error:
                assert "by a run" in str(error)  # noqa: PT017
            seen.add(store.n_clips)
        grown.result()
    assert len(seen) > 1
    store = FeatureStore.open(make_store.folder / "store.zarr")
    assert_rows(store, make_store, list(range(20)), [make_store.layouts()[0].spec])
