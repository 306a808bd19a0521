import dataclasses

import pytest

from featurestore.format.commits import PENDING, invalidated, read_commit, write_commit
from featurestore.format.division import Division
from featurestore.format.shard import pack, unpack
from featurestore.integrity.examine import Damage, examine
from featurestore.storage.local import LocalFiles


@pytest.fixture
def store(make_store):
    return make_store(failed=(), pending=())


def look(store, shard=0, quick=False, files=None):
    layouts = list(store.layouts.values())
    division = store.metadata.division
    return examine(files or store.files, division, layouts, shard, store.n_clips, quick=quick)


def test_a_sound_run_of_clips_tells_its_rows_and_the_bytes_read(store):
    run = look(store, 2)
    assert (run.first, run.damage, run.n_rows) == (16, (), 3 * 4)
    assert {name: list(done) for name, done in run.done.items()} == {
        spec.name: [True] * 4 for spec in store.specs
    }
    sizes = [
        store.files.size(key)
        for layout in store.layouts.values()
        for key in (layout.shard_key(2), layout.statistics_key(2))
    ]
    assert run.nbytes == sum(sizes)
    assert look(store, 2, quick=True).nbytes < run.nbytes


def test_failed_rows_are_done_and_pending_ones_are_not(shared_store):
    spec = shared_store.specs[0].name
    assert look(shared_store, 0).done[spec].all()
    assert list(look(shared_store, 1).done[spec]) == [True] * 5 + [False] + [True] * 2


def test_blocks_of_chunks_are_read_one_after_the_other(store, monkeypatch):
    whole = look(store)
    monkeypatch.setattr("featurestore.integrity.examine._BLOCK", 1000)
    pieces = look(store)
    assert (pieces.damage, pieces.n_rows, pieces.nbytes) == ((), whole.n_rows, whole.nbytes)


def test_a_record_of_more_clips_than_there_are_is_damaged(store):
    commit = read_commit(store.files, Division.of(8), 2)
    more = dataclasses.replace(commit, clips=(*commit.clips, PENDING), specs={})
    write_commit(store.files, Division.of(8), 2, more)
    run = look(store, 2)
    assert run.record_damaged
    assert [damage.key for damage in run.damage] == ["commits/c/0/2"]


def test_bytes_that_no_record_vouches_for_are_nobodys(store):
    layout = next(iter(store.layouts.values()))
    key = layout.shard_key(0)
    clips = unpack(store.files.read(key), *layout.rows_and_chunks, key)
    *others, last = clips[3]
    clips[3] = *others, last[:-1] + b"?"
    store.files.write(key, pack(clips, *layout.rows_and_chunks))
    assert [damage.rows for damage in look(store).damage] == [(3,)]
    commit = read_commit(store.files, Division.of(8), 0)
    specs = {**commit.specs, layout.spec.name: invalidated(commit.specs[layout.spec.name], [3])}
    write_commit(store.files, Division.of(8), 0, dataclasses.replace(commit, specs=specs))
    assert look(store).damage == ()


class Racing(LocalFiles):
    """Files that a run changes after a record was read."""

    changed = False

    def size(self, key):
        if not self.changed:
            self.changed = True
            commit = read_commit(self, Division.of(8), 0)
            name = key.split("/")[0]
            specs = {**commit.specs, name: invalidated(commit.specs[name], [3])}
            write_commit(self, Division.of(8), 0, dataclasses.replace(commit, specs=specs))
            shard = self.read(key)
            self.write(key, pack([*unpack(shard, 8, 1, key)[:3], None], 8, 1))
        return super().size(key)


def test_a_shard_newer_than_its_record_is_looked_at_again(store):
    """Rows 4 to 7 are lost, which is damage; row 3, which the new record gives up, is none."""
    run = look(store, files=Racing(store.path))
    assert [damage.rows for damage in run.damage] == [(4, 5, 6, 7)]


def test_damage_is_told_in_a_line_with_runs_of_rows():
    damage = Damage(key="a/b", kind="missing", detail="gone", rows=(1, 2, 3, 7, 9, 10))
    assert str(damage) == "missing a/b: gone (rows 1-3, 7, 9-10)"
    assert str(dataclasses.replace(damage, rows=(4,))) == "missing a/b: gone (row 4)"
    assert str(dataclasses.replace(damage, rows=())) == "missing a/b: gone"
