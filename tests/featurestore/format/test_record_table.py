import struct

import numpy as np
import pytest

from featurestore.errors import CorruptDataError
from featurestore.format.commits import PENDING, ClipRecord, Commit, write_commit
from featurestore.format.division import Division
from featurestore.format.record_table import RecordTable
from featurestore.storage.local import LocalFiles

DIVISION = Division(clips_per_shard=4, shards_per_part=2)
READY = ClipRecord(
    status="ready", sr=44100, start=7, n_valid=9, peak=0.5, n_clipped=3, digest="d", size=5,
    mtime_ns=-1, decoder="x 1",
)  # fmt: skip
FAILED = ClipRecord(status="failed", reason="EmptyFile", detail="0 bytes", decoder="x 1")


def commit(*clips, software="1", **checksums):
    """A record of some clips, and by spec the checksums of their rows."""
    specs = {name: struct.pack(f"<{len(values)}Q", *values) for name, values in checksums.items()}
    return Commit(clips=clips, specs=specs, software={"melgrid": software})


@pytest.fixture
def table():
    """Ten clips in three shards and two parts, at the specs a and b; nothing is recorded."""
    return RecordTable(DIVISION, 10, ["a", "b"])


def test_all_is_pending_at_first(table):
    assert set(table.status) == {"pending"}
    assert table.recorded.tolist() == [False] * 3
    assert not table.ready["a"].any()
    assert not table.done("a").any()
    assert table.record(9) == PENDING


def test_a_record_is_given_back_as_it_was(table):
    table.put(1, commit(READY, FAILED, PENDING, READY, a=(2**40 + 5, 0, 0, 6), b=(7, 0, 0, 0)))
    assert [table.record(row) for row in (4, 5, 6, 7, 8)] == [
        READY,
        FAILED,
        PENDING,
        READY,
        PENDING,
    ]
    assert np.flatnonzero(table.ready["a"]).tolist() == [4, 7]
    assert np.flatnonzero(table.ready["b"]).tolist() == [4]
    assert table.checksums["a"].tolist() == [0] * 4 + [5, 0, 0, 6] + [0] * 2
    assert table.recorded.tolist() == [False, True, False]


def test_a_row_is_done_for_a_spec_if_it_is_ready_or_known_to_fail_for_it(table):
    table.put(0, commit(READY, FAILED, PENDING, READY, a=(1, 0, 0, 0)))
    assert np.flatnonzero(table.done("a")).tolist() == [0, 1]
    assert not table.done("b").any()  # nobody has tried
    table.put(0, commit(READY, FAILED, PENDING, READY, a=(1, 0, 0, 0), b=(0, 0, 0, 9)))
    assert np.flatnonzero(table.done("b")).tolist() == [1, 3]


def test_a_pending_clip_is_not_ready_whatever_its_checksum(table):
    table.put(0, commit(PENDING, FAILED, a=(1, 2)))
    assert not table.ready["a"].any()


def test_a_later_record_takes_the_place_of_a_shards_earlier_one(table):
    table.put(0, commit(READY, READY, READY, FAILED, a=(1, 2, 3, 0), b=(4, 5, 6, 0)))
    table.put(0, commit(FAILED, READY, PENDING, READY, software="2", a=(0, 8, 0, 9)))
    expected = RecordTable(DIVISION, 10, ["a", "b"])
    expected.put(0, commit(FAILED, READY, PENDING, READY, software="2", a=(0, 8, 0, 9)))
    assert [table.record(row) for row in range(10)] == [expected.record(row) for row in range(10)]
    for name in "ab":
        assert table.ready[name].tolist() == expected.ready[name].tolist()
        assert table.checksums[name].tolist() == expected.checksums[name].tolist()
        assert table.done(name).tolist() == expected.done(name).tolist()


def test_a_shorter_record_leaves_nothing_of_an_earlier_one(table):
    table.put(0, commit(READY, READY, READY, READY, a=(1, 2, 3, 4)))
    table.put(0, commit(READY, a=(5,)))
    assert table.ready["a"].tolist() == [True] + [False] * 9
    assert table.checksums["a"].tolist() == [5] + [0] * 9
    assert table.record(1) == PENDING


def test_rows_beyond_the_stores_are_passed_over(table):
    """As a reader meets them that opened the store before it grew."""
    table.put(2, commit(READY, FAILED, READY, READY, a=(1, 0, 3, 4)))
    assert np.flatnonzero(table.ready["a"]).tolist() == [8]
    assert np.flatnonzero(table.done("a")).tolist() == [8, 9]


def test_growth_keeps_what_is_recorded_and_the_rest_is_pending(table):
    table.put(2, commit(READY, FAILED, a=(5, 0)))
    grown = table.resized(DIVISION, 21, ["b", "a", "c"])
    assert (grown.n_clips, len(grown.recorded)) == (21, 6)
    assert [grown.record(row) for row in (7, 8, 9, 10, 20)] == [
        PENDING, READY, FAILED, PENDING, PENDING
    ]  # fmt: skip
    assert np.flatnonzero(grown.done("a")).tolist() == [8, 9]
    assert not grown.done("b").any()
    assert not grown.done("c").any()
    assert grown.recorded.tolist() == [False, False, True, False, False, False]
    assert grown.software == {(("melgrid", "1"),)}
    grown.put(5, commit(READY, c=(1,)))
    assert not table.recorded[:2].any()  # the old one is another
    assert table.n_clips == 10


def test_records_of_all_parts_are_read_and_one_that_is_expected_is_missed(tmp_path):
    files = LocalFiles(tmp_path)
    for shard in (0, 2):
        write_commit(files, DIVISION, shard, commit(READY, FAILED, a=(shard + 1, 0)))
    table = RecordTable.read(files, DIVISION, 10, ["a"], {0, 2})
    assert np.flatnonzero(table.ready["a"]).tolist() == [0, 8]
    assert table.recorded.tolist() == [True, False, True]
    with pytest.raises(CorruptDataError, match="commits/c/0/1: missing"):
        RecordTable.read(files, DIVISION, 10, ["a"], {1})


def test_a_record_of_another_part_is_refused(tmp_path):
    files = LocalFiles(tmp_path)
    write_commit(files, DIVISION, 0, commit(READY, a=(1,)))
    files.write("commits/c/1/0", files.read("commits/c/0/0"))
    with pytest.raises(CorruptDataError, match=r"commits/c/1/0: .* it is that of shard 0"):
        RecordTable.read(files, DIVISION, 10, ["a"])
