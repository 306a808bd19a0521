import dataclasses
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import AUDIO_REASONS, CorruptDataError, StoreFormatError
from featurestore.format.commits import (
    PENDING,
    ClipRecord,
    Commit,
    commit_key,
    commits_metadata,
    invalidated,
    read_commit,
    read_commits,
    shard_of,
    write_commit,
)
from featurestore.format.division import Division
from featurestore.storage import open_files
from featurestore.storage.checksum import append_crc32c
from featurestore.storage.local import LocalFiles

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SR = st.integers(0, 2**31 - 1)
SAMPLES = st.integers(0, 2**40)
COUNTS = st.integers(0, 2**62)
READY = st.builds(
    ClipRecord,
    status=st.just("ready"),
    sr=SR,
    start=SAMPLES,
    n_valid=SAMPLES,
    digest=st.text("0123456789abcdef", max_size=32),
    size=COUNTS,
    mtime_ns=COUNTS,
)
FAILED = st.builds(
    ClipRecord, status=st.just("failed"), reason=st.sampled_from(AUDIO_REASONS), detail=TEXT
)
COMMITS = st.builds(
    Commit,
    clips=st.lists(READY | FAILED | st.just(PENDING), max_size=5).map(tuple),
    specs=st.dictionaries(TEXT, st.binary(min_size=40, max_size=40), max_size=3),
    software=st.dictionaries(TEXT, TEXT, max_size=3),
).map(lambda commit: with_checksums_of_its_length(commit))
READY_CLIP = ClipRecord(status="ready", sr=16000, digest="a")
FAILED_CLIP = ClipRecord(status="failed", reason="EmptyFile", detail="0 bytes")
COMMIT = Commit(
    clips=(READY_CLIP, FAILED_CLIP, PENDING, READY_CLIP),
    specs={"a": struct.pack("<4Q", 7, 0, 0, 2**64 - 1), "b": struct.pack("<4Q", 7, 0, 0, 0)},
)


def with_checksums_of_its_length(commit):
    specs = {name: checksums[: 8 * len(commit.clips)] for name, checksums in commit.specs.items()}
    return dataclasses.replace(commit, specs=specs)


@given(COMMITS)
def test_a_record_is_read_back_from_its_json(commit):
    assert Commit.from_json(commit.to_json(3).encode(), 8, 3) == commit


@given(commit=COMMITS)
def test_a_record_is_read_back_from_a_store(tmp_path, commit):
    files = LocalFiles(tmp_path)
    write_commit(files, Division.of(8), 3, commit)
    assert read_commit(files, Division.of(8), 3) == commit


def test_zarr_python_reads_records_as_strings(tmp_path):
    import zarr

    files, division = LocalFiles(tmp_path), Division(clips_per_shard=8, shards_per_part=2)
    files.write_several(commits_metadata(division, 30))
    write_commit(files, division, 2, COMMIT)
    texts = zarr.open_array(tmp_path / "commits", mode="r")[...]
    assert texts.tolist() == [["", ""], [COMMIT.to_json(2), ""]]


def test_what_was_never_written_is_an_empty_record(tmp_path):
    assert read_commit(LocalFiles(tmp_path), Division.of(8), 0) == Commit()
    assert not Commit().is_ready("a", 0)
    assert not Commit().is_done("a", 0)


@pytest.mark.parametrize(
    ("spec", "ready", "done"),
    [
        ("a", [True, False, False, True], [True, True, False, True]),
        ("b", [True, False, False, False], [True, True, False, False]),
        ("c", [False] * 4, [False] * 4),
    ],
)
def test_a_record_says_what_is_ready_and_what_needs_no_computing(spec, ready, done):
    beyond = [False]
    assert [COMMIT.is_ready(spec, position) for position in range(5)] == ready + beyond
    assert [COMMIT.is_done(spec, position) for position in range(5)] == done + beyond


def test_clips_are_of_the_same_audio_only_if_both_are_ready_with_one_digest():
    other = dataclasses.replace(READY_CLIP, digest="b")
    assert READY_CLIP.same_audio(dataclasses.replace(READY_CLIP, start=9))
    assert not READY_CLIP.same_audio(other)
    assert not PENDING.same_audio(PENDING)
    assert not READY_CLIP.same_audio(FAILED_CLIP)


def test_a_record_keeps_the_checksum_of_each_row():
    assert [COMMIT.checksum("a", position) for position in range(4)] == [7, 0, 0, 2**64 - 1]


def test_rows_that_are_invalidated_are_no_longer_ready():
    after = dataclasses.replace(COMMIT, specs={"a": invalidated(COMMIT.specs["a"], [3, 1])})
    assert [after.is_ready("a", position) for position in range(4)] == [True, *[False] * 3]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"status": "done"}, "'done' is not a clip's status"),
        ({"status": "failed"}, "a failed clip has the reason ''"),
        ({"status": "failed", "reason": "Boredom"}, "a failed clip has the reason 'Boredom'"),
        ({"status": "ready", "reason": "EmptyFile"}, "a ready clip has the reason 'EmptyFile'"),
    ],
)
def test_a_clip_record_that_cannot_be_is_refused(fields, message):
    with pytest.raises(StoreFormatError, match=message):
        ClipRecord(**fields)


def changed_json(**changes):
    return json.dumps({**json.loads(COMMIT.to_json(1)), **changes})


def changed_clips(**changes):
    return changed_json(clips={**json.loads(COMMIT.to_json(1))["clips"], **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        changed_json(extra=1),
        changed_json(clips=[]),
        changed_json(clips={}),
        changed_json(specs=[]),
        changed_json(specs={"a": 3}),
        changed_json(specs={"a": [1.5]}),
        changed_json(specs={"a": "?" * 16}),
        changed_json(specs={"a": "AAAA"}),
        changed_clips(unknown=[0] * 4),
        changed_clips(status=["ready"]),
        changed_clips(status=["ready", "failed", "pending", "done"]),
        changed_clips(reason=["EmptyFile"] * 4),
        changed_clips(sr=["16000"] * 4),
        changed_clips(sr=[True] * 4),
        changed_clips(start=[0.5] * 4),
        changed_clips(digest=[None] * 4),
        changed_clips(digest=["é"] * 4),
        changed_clips(n_valid=[2**41] * 4),
        changed_clips(n_valid=[-1] * 4),
        changed_clips(sr=[2**31] * 4),
        changed_clips(size=[2**63] * 4),
        changed_json(software=[]),
        changed_json(software={"numpy": 2}),
        changed_json(software={"numpy": {}}),
        changed_json(shard=2),
        changed_json(shard="1"),
        "[" * 900 + "]" * 900,
        "[" * 10**6,
    ],
)
def test_json_that_is_no_record_is_refused(text):
    with pytest.raises(StoreFormatError, match="not a commit record"):
        Commit.from_json(text.encode(), 8, 1)


def test_a_damaged_record_is_found_out_wherever_a_bit_flips(tmp_path):
    files = LocalFiles(tmp_path)
    write_commit(files, Division.of(8), 0, COMMIT)
    path = tmp_path / "commits/c/0/0"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(CorruptDataError, match="commits/c/0/0: the checksum does not match"):
            read_commit(files, Division.of(8), 0)
    for length in (0, 5, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptDataError, match="the checksum does not match"):
            read_commit(files, Division.of(8), 0)


@pytest.mark.parametrize(
    "body", [b"", b"\1\0\0\0", bytes([2, *[0] * 7]), bytes([1, 0, 0, 0, 9, 0, 0, 0, 97])]
)
def test_a_chunk_that_is_not_one_string_is_corrupt(tmp_path, body):
    LocalFiles(tmp_path).write("commits/c/0/0", append_crc32c(body))
    with pytest.raises(CorruptDataError, match="not one string"):
        read_commit(LocalFiles(tmp_path), Division.of(8), 0)


@pytest.mark.parametrize("where", ["{}", "memory://test_commits"])
def test_the_records_that_are_there_are_read_with_their_numbers(tmp_path, where):
    files = open_files(where.format(tmp_path))
    for shard in (10, 2, 7):
        write_commit(
            files, Division.of(8), shard, dataclasses.replace(COMMIT, software={"n": str(shard)})
        )
    files.write("commits/c/0/.DS_Store", b"left by a file manager")
    found = dict(read_commits(files, Division.of(8), 70))
    assert list(found) == [2, 7]
    assert [commit.software["n"] for commit in found.values()] == ["2", "7"]


def test_records_of_several_parts_are_read_in_order(tmp_path):
    files, division = LocalFiles(tmp_path), Division(clips_per_shard=8, shards_per_part=3)
    for shard in (9, 2, 3, 4):
        write_commit(files, division, shard, COMMIT)
    assert (tmp_path / "commits/c/3/0").is_file()
    assert [shard for shard, _ in read_commits(files, division, 80)] == [2, 3, 4, 9]
    assert [shard for shard, _ in read_commits(files, division, 40)] == [2, 3, 4]


@given(
    st.builds(Division, clips_per_shard=st.integers(1, 300), shards_per_part=st.integers(1, 50)),
    st.integers(0, 10**7),
)
def test_the_key_of_a_record_says_which_shard_it_is_of(division, shard):
    assert shard_of(division, commit_key(division, shard)) == shard


@pytest.mark.parametrize(
    "key",
    ["commits/c/0/8", "commits/c/0/01", "commits/c/0/x", "commits/c/0", "commits/c/0/1/0", ""],
)
def test_other_keys_are_no_records(key):
    assert shard_of(Division(clips_per_shard=8, shards_per_part=8), key) is None
