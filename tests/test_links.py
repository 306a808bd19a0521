"""Links inside a store: nothing is written, replaced or deleted through one, whatever is done."""

import contextlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from cli import melgrid
from featurestore import FeatureStore
from featurestore.errors import StoreFormatError
from featurestore.maintenance.garbage import collect, find_garbage
from featurestore.maintenance.repair import repair
from featurestore.specs.excerpt import Excerpt
from featurestore.storage.local import LocalFiles
from featurestore.storage.lock import RunLock
from featurestore.writer import StoreWriter, write_shard

WINDOW = Excerpt(duration=0.5)
SPEC = "sr8000-mel8-x2-db"
LINKED = (
    *(".run", ".run/partial", ".run/lock", "clips", "clips/path", "commits", "commits/8"),
    *("commits/8/c", SPEC, f"{SPEC}/values", f"{SPEC}/values/c", f"{SPEC}/values/c/0"),
    *(f"{SPEC}/statistics/c", f"{SPEC}/statistics/c/0/0", f"{SPEC}/mel"),
)


@pytest.fixture
def outside(tmp_path):
    """A folder that is none of melgrid's business."""
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def link(store, key, outside):
    """Move what lies at a key out of the store, and put a link to it in its place."""
    place, target = Path(store.path, key), outside / "victim"
    if not place.exists():
        place.parent.mkdir(exist_ok=True)
        (target.mkdir if key != ".run/lock" else target.touch)()
    else:
        shutil.move(place, target)
    if target.is_dir():
        for name in ("0", "9", "partial", "ended", "notes"):
            if not (target / name).is_file():
                (target / name).mkdir(exist_ok=True)
                (target / name / "thesis.tex").write_text("years of work")
    else:
        target.write_bytes(target.read_bytes() or b"years of work")
    place.symlink_to(target, target_is_directory=target.is_dir())


@pytest.mark.parametrize("key", LINKED)
@pytest.mark.parametrize("command", ["gc", "repair", "featurize"])
def test_nothing_outside_changes_whatever_is_linked(make_store, outside, command, key):
    store = make_store(failed=(), pending=(3,))
    layout = store.layouts[store.specs[1]]
    ids = store.table.clip_id
    write_shard(store.files, layout, 0, [make_store.row(ids[row], layout) for row in range(8)])
    hurt = Path(store.path, store.layouts[store.specs[0]].shard_key(1))
    hurt.write_bytes(b"\0" + hurt.read_bytes()[1:])
    link(store, key, outside)
    before = contents(outside)
    do = {
        "gc": lambda: collect(FeatureStore.open(store.path)),
        "repair": lambda: repair(FeatureStore.open(store.path)),
        "featurize": lambda: make_store(
            ids=[f"clip {row:02}" for row in range(30)], failed=(), pending=()
        ),
    }[command]
    with contextlib.suppress(StoreFormatError):  # what is linked may not be in its way
        do()
    assert contents(outside) == before


def test_gc_tells_what_went_and_what_it_refused_and_why(make_store, outside):
    store = make_store(failed=(), pending=())
    store.files.write("sr8000-mel4-x1-db/values/c/0/0/0", bytes(100))
    store.files.write("sr8000-mel5-x1-db/values/c/0/0/0", bytes(50))
    link(store, "sr8000-mel5-x1-db/values", outside)
    Path(store.path, "sr8000-mel6-x1-db").symlink_to(outside / "victim")
    Path(store.path, "99").symlink_to(outside)
    before = contents(outside)
    listed = CliRunner().invoke(melgrid, ["gc", store.path]).output
    told = CliRunner().invoke(melgrid, ["gc", store.path, "--yes"]).output
    assert "unreferenced sr8000-mel4-x1-db: 100 B\n" in told
    assert "foreign 99: 0 B\n" in told
    assert "100 B to delete: add --yes" in listed
    assert contents(outside) == before
    assert not Path(store.path, "sr8000-mel4-x1-db").exists()
    assert Path(store.path, "99").is_symlink()


def test_rows_behind_a_link_are_refused_and_the_others_go(make_store, outside):
    store = make_store(failed=(), pending=(3, 11))
    layout = store.layouts[store.specs[0]]
    ids = store.table.clip_id
    for shard in (0, 1):
        rows = [make_store.row(ids[row], layout) for row in range(8 * shard, 8 * shard + 8)]
        write_shard(store.files, layout, shard, rows)
    shutil.move(f"{store.path}/{layout.spec.name}/values/c/0", outside / "shard")
    Path(store.path, f"{layout.spec.name}/values/c/0").symlink_to(outside / "shard")
    before = contents(outside)
    listed = find_garbage(FeatureStore.open(store.path))
    found = collect(FeatureStore.open(store.path))
    refused = [(garbage.rows, garbage.refused) for garbage in found if garbage.rows]
    assert refused == [((3,), f"{layout.spec.name}/values/c/0 is a link"), ((11,), "")]
    assert [garbage for garbage in listed if garbage.rows] == [g for g in found if g.rows]
    assert contents(outside) == before
    after = find_garbage(FeatureStore.open(store.path))
    assert [garbage.rows for garbage in after] == [(3,)]
    for row in (0, 8, 12):
        np.testing.assert_array_equal(
            FeatureStore.open(store.path)[layout.spec][row],
            make_store.expected(ids[row], layout),
        )


def test_a_folder_that_cannot_be_deleted_is_not_told_as_gone(make_store, monkeypatch):
    store = make_store(failed=(), pending=())
    store.files.write("sr8000-mel4-x1-db/values/c/0/0/0", bytes(100))
    unlink = os.unlink

    def refuse(name, *arguments, **folder):  # as a file system does that is read-only in part
        if name == "0":
            raise PermissionError(1, "Operation not permitted", name)
        unlink(name, *arguments, **folder)

    monkeypatch.setattr(os, "unlink", refuse)
    [found] = collect(FeatureStore.open(store.path))
    assert (found.nbytes, found.refused) == (100, "not all of it can be deleted")


def test_a_store_that_is_itself_a_link_is_written_as_any_other(make_store, tmp_path):
    whole = make_store(failed=(), pending=())
    (tmp_path / "by link.zarr").symlink_to(whole.path)
    with StoreWriter(tmp_path / "by link.zarr", WINDOW) as writer:
        writer.prepare(make_store.table(["more"]), [])
    assert FeatureStore.open(whole.path).n_clips == 21
    assert collect(FeatureStore.open(tmp_path / "by link.zarr")) == ()


def test_values_behind_a_link_are_read(make_store, outside):
    store = make_store()
    expected = store[SPEC].read([0, 9])
    link(store, f"{SPEC}/values", outside)
    np.testing.assert_array_equal(FeatureStore.open(store.path)[SPEC].read([0, 9]), expected)


def test_a_link_in_the_place_of_a_file_is_replaced_and_what_it_led_to_stays(tmp_path, outside):
    (outside / "target").write_bytes(b"old")
    files = LocalFiles(tmp_path / "store")
    files.write("folder/other", b"")
    Path(files.path("folder/file")).symlink_to(outside / "target")
    files.write("folder/file", b"new")
    assert files.read("folder/file") == b"new"
    assert (outside / "target").read_bytes() == b"old"


def test_a_link_put_in_the_way_while_a_file_is_written_is_not_followed(
    tmp_path, outside, monkeypatch
):
    """Folders are held, not looked up again by name: whoever swaps one is too late."""
    files = LocalFiles(tmp_path / "store")
    files.write("a/b/file", b"old")
    replace = os.replace

    def swap(*names, **folders):
        os.rename(files.path("a"), files.path("moved"))
        os.symlink(outside, files.path("a"))
        replace(*names, **folders)

    monkeypatch.setattr(os, "replace", swap)
    files.write("a/b/file", b"new")
    assert list(outside.iterdir()) == []
    assert files.read("moved/b/file") == b"new"


def test_a_lock_that_is_another_file_too_is_refused(tmp_path, outside):
    (outside / "diary").write_text("private")
    (tmp_path / "store/.run").mkdir(parents=True)
    os.link(outside / "diary", tmp_path / "store/.run/lock")
    with (
        pytest.raises(StoreFormatError, match="lock is no file of its own"),
        RunLock(LocalFiles(tmp_path / "store")),
    ):
        pass
    assert (outside / "diary").read_text() == "private"


@pytest.mark.parametrize("key", ["zarr.json", "clips/path/c/0", f"{SPEC}/values/c/0/0/0"])
def test_a_pipe_in_a_store_is_refused_and_not_waited_for(make_store, key):
    store = make_store()
    Path(store.path, key).unlink()
    os.mkfifo(Path(store.path, key))
    with pytest.raises(StoreFormatError, match=f"{key} is not a file"):
        FeatureStore.open(store.path)[SPEC].read([0])


def test_featurize_tells_of_the_link_in_one_line(tmp_path, outside):
    rng = np.random.default_rng(0)
    (tmp_path / "music").mkdir()
    for number in range(3):
        path = tmp_path / f"music/{number}.wav"
        soundfile.write(path, rng.uniform(-0.5, 0.5, 8000), 8000)
    (tmp_path / "store.zarr").mkdir()
    (tmp_path / "store.zarr/.run").symlink_to(outside)
    words = ["featurize", tmp_path / "music", "-o", tmp_path / "store.zarr", "--sr", "8000"]
    result = CliRunner().invoke(melgrid, [*map(str, words), "--mels", "16", "--duration", "1"])
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {tmp_path}/store.zarr/.run is a link, and within")
    assert result.output.count("\n") == 1
    assert list(outside.iterdir()) == []
