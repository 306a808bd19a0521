import json
import os
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest

from featurestore import FeatureStore
from featurestore.errors import MelgridError, StoreFormatError
from featurestore.format.commits import read_commit, write_commit
from featurestore.format.division import Division
from featurestore.format.metadata import StoreMetadata
from featurestore.format.shard import index_nbytes
from featurestore.integrity.verify import Report
from featurestore.specs.encoding import Codec, Encoding
from featurestore.specs.excerpt import Excerpt
from featurestore.storage.checksum import append_crc32c
from featurestore.storage.journal import JOURNAL
from featurestore.writer import StoreWriter, write_shard

WINDOW = Excerpt(duration=0.5)
WHOLE = {"failed": (), "pending": ()}


class Injured:
    """A store that is injured and healed again, over and over."""

    def __init__(self, path: str) -> None:
        self.root = Path(path)
        paths = (path for path in sorted(self.root.rglob("*")) if path.is_file())
        self.files = {str(path.relative_to(self.root)): path.read_bytes() for path in paths}

    def __setitem__(self, key: str, data: bytes | None) -> None:
        if data is None:
            (self.root / key).unlink()
        else:
            (self.root / key).write_bytes(data)

    def swap(self, one: str, other: str) -> None:
        self[one], self[other] = self.files[other], self.files[one]

    def heal(self) -> None:
        for key, data in self.files.items():
            if not (self.root / key).exists() or (self.root / key).read_bytes() != data:
                (self.root / key).write_bytes(data)

    def found(self, *, quick: bool = False) -> bool:
        """Whether the injury is told of, as damage or by refusing the store."""
        try:
            return not FeatureStore.open(self.root).verify(quick=quick).is_healthy
        except MelgridError:
            return True
        finally:
            self.heal()


@pytest.fixture(scope="module")
def injured(tmp_path_factory, shared_store):
    """A copy of `shared_store`: 20 clips at three specs in shards of 8."""
    copy = tmp_path_factory.mktemp("injured") / "store.zarr"
    return Injured(shutil.copytree(shared_store.path, copy))


def is_chunk(key):
    """Whether the file holds values, of which a quick look reads the index alone."""
    return "/values/c/" in key


def test_a_store_of_any_encoding_and_codec_is_healthy(make_store):
    for encoding in ("float32", "float16", "uint8"):
        for codec in ("zstd", "lz4", "none"):
            store = make_store(
                f"{encoding}-{codec}", encoding=Encoding(name=encoding), codec=Codec(name=codec)
            )
            for quick in (True, False):
                report = store.verify(quick=quick)
                assert report.damage == ()
                assert report.unfinished == ("3 of 60 rows are pending",)
                assert report.n_rows == 54


def test_a_whole_store_has_nothing_to_tell(make_store):
    report = make_store(**WHOLE).verify()
    assert (report.damage, report.unfinished, report.is_healthy) == ((), (), True)
    assert json.loads(json.dumps(report.json()))["healthy"] is True


def test_a_store_that_has_grown_lost_clips_and_got_specs_is_healthy(make_store, tmp_path):
    specs = make_store(ids=["a", "b"], **WHOLE).specs
    make_store(ids=[f"clip {i:02}" for i in range(30)], **WHOLE)
    make_store(specs=[*specs, specs[0].parse("sr8000-mel8-x4-db")], clips_per_shard=4, **WHOLE)
    with StoreWriter(tmp_path / "store.zarr", WINDOW) as writer:
        writer.prepare(make_store.table(["clip 03", "clip 04"]), [], prune=True)
        store = writer.publish()
    report = store.verify()
    assert (report.damage, report.unfinished) == ((), ())
    assert report.n_rows > 4 * 2  # what was pruned is still committed


def test_an_empty_store_is_healthy(make_store):
    assert make_store(ids=[], **WHOLE).verify().is_healthy


def test_every_flipped_bit_is_found(injured, thorough):
    """One in every file, at random places, and in shards four; thrice as many if thorough."""
    rng = np.random.default_rng(0)
    times = 3 if thorough else 1
    injuries = missed = missed_quickly = 0
    for key, data in injured.files.items():
        for _ in range(times * (4 if is_chunk(key) else 1)):
            place = int(rng.integers(8 * len(data)))
            hurt = bytearray(data)
            hurt[place // 8] ^= 1 << place % 8
            injured[key] = hurt
            missed += not injured.found()
            injuries += 1
        if not is_chunk(key) or place // 8 >= len(data) - index_nbytes(8):
            injured[key] = hurt
            missed_quickly += not injured.found(quick=True)
    assert injuries > 100 * times
    assert (missed, missed_quickly) == (0, 0)


@pytest.mark.slow
def test_every_truncated_emptied_lengthened_or_missing_file_is_found(injured):
    rng = np.random.default_rng(1)
    missed = []
    for key, data in injured.files.items():
        cut = data[: int(rng.integers(len(data)))]
        late = data[int(rng.integers(1, len(data))) :]
        others = ("cut", cut), ("emptied", b""), ("longer", data + b"\0"), ("late", late)
        for number, (what, hurt) in enumerate((("gone", None), others[rng.integers(4)])):
            injured[key] = hurt
            if not injured.found(quick=bool(number)):
                missed.append((key, what))
    assert missed == []


def swappable(injured, part):
    """Pairs of files that are alike in kind: of one spec, of specs of one shape, of records."""
    keys = [key for key in injured.files if part in key]
    return [(a, b) for a in keys for b in keys if a < b and injured.files[a] != injured.files[b]]


@pytest.mark.parametrize("part", ["/values/c/", "/statistics/c/", "commits/c/0/", "/zarr.json"])
def test_every_pair_of_swapped_files_is_found(injured, part):
    missed = []
    pairs = swappable(injured, part)
    for one, other in pairs[:: max(1, len(pairs) // 30)]:
        injured.swap(one, other)
        if not injured.found():
            missed.append((one, other))
    assert missed == []
    assert pairs


def test_a_shard_of_another_store_is_found(make_store, injured):
    other = make_store("other.zarr", ids=[f"other {i}" for i in range(20)], **WHOLE)
    for key in injured.files:
        if is_chunk(key) or "/statistics/c/" in key:
            injured[key] = (Path(other.path) / key).read_bytes()
            assert injured.found()


def test_a_shard_and_its_statistics_swapped_together_are_found(injured):
    for kind in ("values", "statistics"):
        a, b = (f"sr8000-mel8-x2-db/{kind}/c/{shard}/0/0" for shard in (0, 1))
        injured[a], injured[b] = injured.files[b], injured.files[a]
    assert injured.found()


def test_damage_is_told_with_file_reason_and_rows(injured):
    key = "sr8000-mel16-x1-db/values/c/1/0/0"
    hurt = bytearray(injured.files[key])
    hurt[10] ^= 1
    injured[key] = hurt
    [damage] = FeatureStore.open(injured.root).verify().damage
    injured.heal()
    assert (damage.key, damage.kind, damage.spec, damage.rows) == (
        key, "corrupt", "sr8000-mel16-x1-db", (8,)
    )  # fmt: skip
    assert str(damage) == f"corrupt {key}: the checksum does not match (row 8)"


def test_missing_values_are_told_with_all_their_rows(injured):
    key = "sr8000-mel8-x2-db/values/c/0/0/0"
    injured[key] = None
    [damage] = FeatureStore.open(injured.root).verify(quick=True).damage
    injured.heal()
    assert str(damage) == f"missing {key}: there is no such file (rows 0-4, 6-7)"


def test_the_clip_table_cannot_be_repaired_and_the_remedy_is_told(injured):
    injured["clips/clip_id/c/0"] = b""
    [damage] = FeatureStore.open(injured.root).verify().damage
    injured.heal()
    assert not damage.can_repair
    assert "put the folder back from a copy" in damage.detail


def test_a_damaged_root_is_refused_with_the_remedy(injured):
    injured["zarr.json"] = injured.files["zarr.json"].replace(b'"n_clips": 20', b'"n_clips": 21')
    with pytest.raises(StoreFormatError, match=r"does not match; put it back from a copy"):
        FeatureStore.open(injured.root)
    injured.heal()


def test_damage_while_a_run_changes_the_store_is_not_told_as_damage(make_store):
    store = make_store(**WHOLE)
    make_store(ids=[f"clip {i:02}" for i in range(30)], **WHOLE)
    with pytest.raises(StoreFormatError, match="was changed by a run"):
        store.verify()


def test_rows_written_and_not_committed_are_no_damage(make_store):
    """A run killed between its shards and the record leaves more rows than are committed."""
    store = make_store(pending=(9, 13), failed=())
    layout = next(iter(store.layouts.values()))
    rows = [make_store.row(store.table.clip_id[row], layout) for row in range(8, 16)]
    write_shard(store.files, layout, 1, rows)
    report = FeatureStore.open(store.path).verify()
    assert report.damage == ()
    assert report.unfinished == (
        "a run is at work here, or was killed",  # it leaves a folder for what is not yet whole
        "6 of 60 rows are pending",
    )


def test_a_shard_without_record_is_no_damage_before_its_run_has_ended(make_store, tmp_path):
    store = make_store(ids=["a"], **WHOLE)
    with StoreWriter(store.path, WINDOW) as writer:
        grown = writer.prepare(make_store.table([f"{i}" for i in range(20)]), [])
        layout = next(iter(grown.layouts.values()))
        write_shard(writer.files, layout, 1, [make_store.row("x", layout)])
    report = grown.verify()
    assert report.damage == ()
    assert report.unfinished == (
        "60 of 63 rows are pending",
        "no run has ended since clips or specs were added",
    )


def test_a_journal_that_is_left_over_is_unfinished_and_a_damaged_one_is_damage(make_store):
    store = make_store(**WHOLE)
    head = json.dumps({"removed": ["clips"], "sizes": []}).encode()
    store.files.write(JOURNAL, append_crc32c(head + b"\n"))
    shutil.rmtree(Path(store.path, "clips"))  # as far as the run had come
    report = FeatureStore.open(store.path).verify()
    assert report.damage == ()
    assert report.unfinished == ("a run died while it changed metadata",)
    store.files.write(JOURNAL, b"12345")
    keys = {damage.key for damage in FeatureStore.open(store.path).verify().damage}
    assert {JOURNAL, "clips"} <= keys
    assert all(key == JOURNAL or key.startswith("clips") for key in keys)


def test_records_that_a_run_has_changed_since_make_columns_of_an_earlier_run(make_store):
    store = make_store(**WHOLE)
    commit = read_commit(store.files, Division.of(8), 0)
    clips = (type(commit.clips[0])(), *commit.clips[1:])
    write_commit(store.files, Division.of(8), 0, type(commit)(clips=clips, specs=commit.specs))
    os.rmdir(Path(store.path, ".run/partial"))
    os.rmdir(Path(store.path, ".run"))
    report = FeatureStore.open(store.path).verify()
    assert report.damage == ()
    assert report.unfinished == (
        "3 of 60 rows are pending",
        "the clip table's status columns are of an earlier run",
    )


def test_a_store_in_object_storage_is_verified_alike(injured):
    filesystem = fsspec.filesystem("memory")
    for key, data in injured.files.items():
        filesystem.pipe_file(f"/test_verify/{key}", data)
    store = FeatureStore.open("memory://test_verify")
    local = FeatureStore.open(injured.root).verify()
    assert store.verify() == Report(**{**vars(local), "store": "memory://test_verify"})
    key = "sr8000-mel8-x2-db/values/c/0/0/0"
    for hurt in (injured.files[key][:-1], b"\0" + injured.files[key][1:]):
        filesystem.pipe_file(f"/test_verify/{key}", hurt)
        assert [damage.key for damage in store.verify().damage] == [key]
    filesystem.rm("/test_verify", recursive=True)


def test_a_root_that_is_another_stores_is_found(make_store, injured):
    other = make_store("other.zarr", ids=["a"], **WHOLE)
    injured["zarr.json"] = StoreMetadata.read(other.files).to_bytes()
    assert injured.found()
