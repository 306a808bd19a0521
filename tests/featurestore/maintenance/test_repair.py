"""That a repaired store equals one never damaged is tested in tests/test_repair.py."""

import dataclasses
from pathlib import Path

import pytest

from featurestore import FeatureStore
from featurestore.errors import StoreLockedError
from featurestore.format.commits import read_commit, write_commit
from featurestore.format.division import Division
from featurestore.maintenance.repair import repair
from featurestore.specs.encoding import Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.storage.journal import JOURNAL
from featurestore.writer import StoreWriter, write_shard

WHOLE = {"failed": (), "pending": ()}


def contents(store):
    root = Path(store.path)
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def hurt(store, key, place=-1):
    path = Path(store.path, key)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_healthy_store_is_left_as_it_is(make_store):
    store = make_store()
    before = contents(store)
    assert repair(store).repaired == ()
    assert contents(store) == before


def test_just_the_damaged_rows_are_pending_afterwards(make_store):
    store = make_store(**WHOLE)
    first, second, third = store.specs
    hurt(store, f"{first.name}/values/c/0/0/0", 5)
    hurt(store, f"{second.name}/statistics/c/1/0/0")
    report = repair(store)
    assert report.repaired == (
        f"{first.name}: 1 row now pending", f"{second.name}: 8 rows now pending"
    )  # fmt: skip
    assert report.is_repaired
    repaired = FeatureStore.open(store.path)
    assert list((~repaired[first].ready).nonzero()[0]) == [0]
    assert list((~repaired[second].ready).nonzero()[0]) == list(range(8, 16))
    assert repaired[third].ready.all()
    again = repaired.verify()
    assert (again.damage, again.unfinished) == ((), ("9 of 60 rows are pending",))


def test_a_row_of_another_encoding_is_damage_though_its_checksums_match(make_store):
    store = make_store(**WHOLE)
    layout = store.layouts[store.specs[0]]
    wide = dataclasses.replace(layout, encoding=Encoding(name="float32"))
    rows = [make_store.row(f"clip {i:02}", wide if i == 2 else layout) for i in range(8)]
    with StoreWriter(store.path, store.window) as writer:
        before = read_commit(writer.files, Division.of(8), 0)
        checksums = write_shard(writer.files, layout, 0, rows)
        specs = {**before.specs, layout.spec.name: checksums}
        write_commit(writer.files, Division.of(8), 0, dataclasses.replace(before, specs=specs))
    (damage,) = FeatureStore.open(store.path).verify().damage
    assert (damage.rows, damage.detail) == ((2,), "values of another shape or encoding")
    assert repair(store).is_repaired
    assert not FeatureStore.open(store.path)[layout.spec].ready[2]


def test_a_damaged_record_is_removed_and_its_clips_are_pending(make_store):
    store = make_store(**WHOLE)
    hurt(store, "commits/c/0/1")
    assert repair(store).repaired == ("commits/c/0/1: gone, its clips are pending",)
    repaired = FeatureStore.open(store.path)
    assert repaired.verify().is_healthy
    assert list(repaired.clips["status"]) == ["ready"] * 8 + ["pending"] * 8 + ["ready"] * 4


@pytest.mark.parametrize(
    "key",
    [
        "sr8000-mel16-x1-db/zarr.json",
        "sr8000-mel16-x1-db/values/zarr.json",
        "sr8000-mel16-x1-db/mel/c/0",
        "sr8000-mel8-x2-db/statistic/c/0",
        "commits/zarr.json",
        "parts/zarr.json",
        "clips/status/zarr.json",
        "clips/digest/c/0",
    ],
)
@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_metadata_that_follow_from_others_are_put_back_bit_for_bit(make_store, key, how):
    store = make_store(**WHOLE)
    before = contents(store)
    hurt(store, key, 30) if how == "damaged" else Path(store.path, key).unlink()
    assert not store.verify(quick=True).is_healthy
    assert repair(store, quick=True).is_repaired
    assert contents(store) == before


def test_a_root_with_other_bytes_of_the_same_meaning_is_put_back(make_store):
    store = make_store(**WHOLE)
    before = contents(store)
    path = Path(store.path, "zarr.json")
    path.write_bytes(before["zarr.json"].replace(b'"zarr_format": 3', b'"zarr_format": 2'))
    assert repair(FeatureStore.open(store.path)).repaired == ("zarr.json: put back",)
    assert contents(store) == before


def test_a_group_whose_metadata_are_lost_is_put_back_from_the_roots(make_store):
    store = make_store(**WHOLE)
    before = contents(store)
    name = store.specs[0].name
    for key in (*store.layouts[store.specs[0]].metadata_keys,):
        Path(store.path, key).write_bytes(b"")
    report = repair(FeatureStore.open(store.path))
    assert report.repaired == (f"{name}: metadata put back",)
    assert contents(store) == before


def test_a_layouts_settings_are_read_from_what_is_left_of_its_metadata(make_store):
    store = make_store(specs=[*make_store().specs[:1]], name="one.zarr", **WHOLE)
    before = contents(store)
    path = Path(store.path, store.specs[0].name, "zarr.json")
    path.write_bytes(path.read_bytes().replace(b'"encoding"', b'"uncoding"')[:-40])
    assert repair(FeatureStore.open(store.path)).is_repaired
    assert contents(store) == before


def test_what_cannot_be_repaired_is_left_and_the_rest_is_repaired(make_store):
    store = make_store(**WHOLE)
    hurt(store, "clips/path/c/0")
    hurt(store, f"{store.specs[0].name}/values/c/0/0/0", 5)
    report = repair(FeatureStore.open(store.path))
    assert report.repaired == (f"{store.specs[0].name}: 1 row now pending",)
    assert not report.is_repaired
    [left] = FeatureStore.open(store.path).verify().damage
    assert left.key == "clips"


def test_a_journal_that_is_damaged_is_discarded(make_store):
    store = make_store(**WHOLE)
    before = contents(store)
    store.files.write(JOURNAL, b"nonsense")
    assert repair(store).repaired == ("discarded a journal that was damaged",)
    assert contents(store) == before


def test_a_store_that_a_run_writes_to_is_not_repaired(make_store):
    store = make_store(**WHOLE)
    with StoreWriter(store.path, Excerpt(duration=0.5)), pytest.raises(StoreLockedError):
        repair(store)
