import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.errors import StoreFormatError, UnknownClipError
from featurestore.format.clips import ClipTable, is_meta_name
from featurestore.format.columns import by_part
from featurestore.format.division import Division
from featurestore.format.layout import digest_of
from featurestore.format.parts import Part, table_digest
from featurestore.storage.local import LocalFiles

IDS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    max_size=6,
    unique=True,
)
TAGS = st.lists(st.sampled_from("abcd"), max_size=4, unique=True)


def assert_equal(one, other):
    for field in dataclasses.fields(ClipTable):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        elif field.name == "meta":
            assert list(a) == list(b)
            for name in a:
                assert a[name].dtype == b[name].dtype
                np.testing.assert_array_equal(a[name], b[name])
        else:
            assert list(a) == list(b)


DIVISION = Division.of(8)


def digests(made, n_clips, division=DIVISION):
    """Of the files of a table: its own, and manifests of its parts."""
    common, chunks = by_part(made)
    rows = [division.rows_of(number, n_clips) for number in range(division.n_parts(n_clips))]
    parts = [
        Part(number=number, n_rows=part.stop - part.start, table=digest_of(chunks[number]))
        for number, part in enumerate(rows)
    ]
    return table_digest(common, parts), parts


def stored(table, root, division=DIVISION):
    files = LocalFiles(root)
    files.remove("clips")
    made = table.files(division)
    for key, data in made.items():
        files.write(key, data)
    return files, division, len(table), *digests(made, len(table), division)


@settings(max_examples=15)  # each writes many files to the disk
@given(ids=IDS, tags=TAGS)
def test_a_table_is_read_back_as_it_was(tmp_path, make_store, ids, tags):
    table = make_store.table(ids, tags)
    assert_equal(ClipTable.read(*stored(table, tmp_path)), table)


def test_an_empty_table_is_read_back(tmp_path):
    assert len(ClipTable.empty()) == 0
    assert_equal(ClipTable.read(*stored(ClipTable.empty(), tmp_path)), ClipTable.empty())


def test_long_and_odd_ids_are_kept(tmp_path, make_store):
    ids = ["x" * 100_000, "naïve/日本語/🎵", " ", "a\nb", "a\0b", "‮rtl", "cafe\u0301", "caf\u00e9"]
    assert ClipTable.read(*stored(make_store.table(ids), tmp_path)).clip_id == ids


def test_a_table_of_several_parts_is_read_back(tmp_path, make_store):
    division = Division(clips_per_shard=7, shards_per_part=1)
    table = make_store.table([str(row) for row in range(30)])
    files, *rest = stored(table, tmp_path, division)
    assert len(files.names("clips/clip_id/c")) == 5
    assert_equal(ClipTable.read(files, *rest), table)


def with_meta(table, **columns):
    meta = {
        name: np.array(values, object if isinstance(values[0], str) else None)
        for name, values in columns.items()
    }
    return dataclasses.replace(table, meta=meta)


def test_metadata_are_read_back_in_their_order_and_are_plain_arrays_to_zarr(tmp_path, make_store):
    import zarr

    table = with_meta(
        make_store.table(["a", "b"]), year=[1999, -1], title=["Blue", ""], tempo=[120.5, np.nan]
    )
    assert_equal(ClipTable.read(*stored(table, tmp_path)), table)
    group = zarr.open_group(f"{tmp_path}/clips", mode="r")
    assert group.attrs["melgrid"] == {"meta": ["year", "title", "tempo"]}
    assert (group["year"].dtype, group["year"][...].tolist()) == (np.int64, [1999, -1])
    assert list(group["title"][...]) == ["Blue", ""]
    np.testing.assert_array_equal(group["tempo"][...], [120.5, np.nan])
    assert group["tempo"].metadata.dimension_names == ("clip",)


def test_a_table_without_metadata_has_the_bytes_that_it_had_before_there_were_any(make_store):
    group = json.loads(make_store.table(["a"]).files(DIVISION)["clips/zarr.json"])
    assert group["attributes"] == {}


@pytest.mark.parametrize("name", ["year/c/0", "year/zarr.json"])
@pytest.mark.parametrize("injury", ["changed", "missing"])
def test_metadata_that_are_damaged_are_found_out(tmp_path, make_store, name, injury):
    table = with_meta(make_store.table(["a", "b"]), year=[1999, 2000])
    files, *rest = stored(table, tmp_path)
    if injury == "missing":
        (tmp_path / "clips" / name).unlink()
    else:
        files.write(f"clips/{name}", table.files(DIVISION)[f"clips/{name}"] + b" ")
    with pytest.raises(StoreFormatError, match="or is damaged"):
        ClipTable.read(files, *rest)


@pytest.fixture
def read_with_names(tmp_path, make_store):
    """Read a table whose group names these columns of metadata, digest and all."""

    def read(names):
        made = make_store.table(["a"]).files(DIVISION)
        group = json.loads(made["clips/zarr.json"])
        group["attributes"] = {"melgrid": {"meta": names}}
        made["clips/zarr.json"] = json.dumps(group).encode()
        files = LocalFiles(tmp_path / "store")
        for key, data in made.items():
            files.write(key, data)
        return ClipTable.read(files, DIVISION, 1, *digests(made, 1))

    return read


@pytest.mark.parametrize(
    "names",
    ["x", 3, None, [3], {"a": 1}, ["../../secret"], ["/etc"], ["labels"], ["a/b"], [["x"]]],
    ids=repr,
)
def test_names_of_metadata_that_a_hostile_store_gives_lead_nowhere(
    tmp_path, make_store, read_with_names, names
):
    secret = with_meta(make_store.table(["a"]), x=[1]).files(DIVISION)
    for part in ("zarr.json", "c/0"):
        path = tmp_path / "secret" / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(secret[f"clips/x/{part}"])
    assert_equal(read_with_names(names), make_store.table(["a"]))


def test_metadata_that_are_named_and_not_there_are_damage(read_with_names):
    with pytest.raises(StoreFormatError, match="or is damaged"):
        read_with_names(["x"])


def test_zarr_python_reads_the_table(tmp_path, make_store):
    import zarr

    table = make_store.table(["b", "a", "ü"])
    stored(table, tmp_path)
    group = zarr.open_group(f"{tmp_path}/clips", mode="r")
    assert list(group["clip_id"][...]) == ["b", "a", "ü"]
    assert list(group["tag"][...]) == ["drums", "loud"]
    np.testing.assert_array_equal(group["labels"][...], table.labels)
    assert group["labels"].metadata.dimension_names == ("clip", "tag")


def test_the_same_table_makes_the_same_bytes(make_store):
    one, other = (make_store.table(["a", "b"]).files(DIVISION) for _ in range(2))
    assert one == other
    assert digest_of(one) == digest_of(dict(reversed(other.items())))


def test_the_digest_tells_apart_keys_and_bytes():
    digests = {
        digest_of(files)
        for files in ({}, {"a": b"bc"}, {"ab": b"c"}, {"a": b"b", "c": b""}, {"a": b"b"})
    }
    assert len(digests) == 5


@pytest.mark.parametrize("name", ["clip_id/c/0", "labels/c/0/0", "fold/zarr.json", "zarr.json"])
def test_a_table_that_is_half_written_is_found_out(tmp_path, make_store, name):
    table = make_store.table(["a", "b"])
    newer = make_store.table(["a", "b", "c"], tags=["other"], album="newer")
    files, *rest = stored(table, tmp_path)
    files.write(f"clips/{name}", newer.files(DIVISION)[f"clips/{name}"] + b" ")
    with pytest.raises(StoreFormatError, match=r"clip table is being changed .* run featurize"):
        ClipTable.read(files, *rest)
    files.write(f"clips/{name}", table.files(DIVISION)[f"clips/{name}"])
    assert_equal(ClipTable.read(files, *rest), table)


@pytest.mark.parametrize("name", ["clip_id/c/0", "labels/c/0/0", "fold/zarr.json", "zarr.json"])
def test_a_table_that_lacks_a_file_is_found_out(tmp_path, make_store, name):
    files, *rest = stored(make_store.table(["a", "b"]), tmp_path)
    (tmp_path / "clips" / name).unlink()
    with pytest.raises(StoreFormatError, match="or was left half-written"):
        ClipTable.read(files, *rest)


@given(before=IDS, after=IDS)
def test_rows_keep_their_places_for_ever(make_store, before, after):
    updated = make_store.table(before).updated(make_store.table(after))
    assert updated.clip_id[: len(before)] == before
    assert updated.clip_id[len(before) :] == [i for i in after if i not in before]


def test_known_rows_are_replaced_new_ones_appended_and_others_kept(make_store):
    before = make_store.table(["a", "b", "c"], album="before")
    after = make_store.table(["d", "b"], album="after")
    updated = before.updated(after)
    assert updated.clip_id == ["a", "b", "c", "d"]
    assert updated.album == ["before", "after", "before", "after"]
    assert updated.split == [before.split[0], after.split[1], before.split[2], after.split[0]]
    assert list(updated.fold) == [0, 1, 2, 0]
    np.testing.assert_array_equal(updated.labels[[0, 2]], before.labels[[0, 2]])
    np.testing.assert_array_equal(updated.labels[[3, 1]], after.labels)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, [7, 8], [np.nan, 7, 8]),
        ([1, 2], [7, 8], [1, 7, 8]),
        ([1, 2], [7.5, 8], [1, 7.5, 8]),
        ([1.5, 2], [7, 8], [1.5, 7, 8]),
        ([np.nan, 2], [7, 8], [np.nan, 7, 8]),
        ([1.0, np.nan], [7, 8], [1, 7, 8]),
        ([np.inf, 2], [7, 8], [np.inf, 7, 8]),
        (["x", "y"], [7, 8], [np.nan, 7, 8]),
        ([1, 2], ["x", "y"], ["", "x", "y"]),
        (["a", "b"], ["x", "y"], ["a", "x", "y"]),
        ([1, 2], None, None),
    ],
)
def test_rows_not_in_the_newer_table_keep_their_metadata_of_its_columns_and_kind(
    make_store, before, after, expected
):
    older, newer = make_store.table(["kept", "both"]), make_store.table(["both", "new"])
    older = older if before is None else with_meta(older, x=before)
    newer = newer if after is None else with_meta(newer, x=after)
    updated = older.updated(newer)
    if expected is None:
        assert updated.meta == {}
        return
    wanted = np.array(expected, object if isinstance(after[0], str) else None)
    assert updated.meta["x"].dtype == wanted.dtype
    np.testing.assert_array_equal(updated.meta["x"], wanted)


def test_metadata_of_rows_that_all_come_back_are_as_they_would_be_anew(make_store):
    first = with_meta(make_store.table(["a", "b"]), year=[1999, 2000])
    gone = first.updated(make_store.table(["b"]))
    back = gone.updated(with_meta(make_store.table(["b"]), year=[2000]))
    assert back.meta["year"].dtype == np.float64
    assert_equal(back.updated(first), first)
    assert_equal(back.pruned({"a", "b"}).updated(first), first)


@pytest.mark.parametrize("name", ["year", "BPM (beats)", "日本", "a.b", "x" * 200])
def test_a_column_may_be_called_like_a_folder(name):
    assert is_meta_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", " x", ".", "..", ".x", "a/b", "a\\b", "a\n", "a:b", "__x", "zarr.json", "labels", 3,
        "x" * 201, "\ud800",
    ],
)  # fmt: skip
def test_a_column_may_not_be_called_like_anything_else(name):
    assert not is_meta_name(name)


def test_a_table_updated_with_itself_is_the_same(make_store):
    table = make_store.table(["a", "b", "c"])
    assert_equal(table.updated(table), table)
    assert_equal(ClipTable.empty().updated(table), table)


@given(before=TAGS, after=TAGS)
def test_rows_not_in_the_newer_table_keep_their_labels_of_its_tags(make_store, before, after):
    older = make_store.table(["kept", "both"], before)
    updated = older.updated(make_store.table(["both", "new"], after))
    assert updated.tags == tuple(after)
    assert updated.labels.shape == (3, len(after))
    for column, tag in enumerate(after):
        expected = older.labels[0, before.index(tag)] if tag in before else 0
        assert updated.labels[0, column] == expected


def test_pruned_rows_keep_their_places_and_can_come_back(make_store):
    table = make_store.table(["a", "b", "c"])
    pruned = table.pruned({"a", "c"})
    assert pruned.clip_id == table.clip_id
    assert list(pruned.active) == [True, False, True]
    assert list(pruned.updated(make_store.table(["b"])).active) == [True, True, True]
    assert list(pruned.updated(make_store.table(["a"])).active) == [True, False, True]


def test_a_clip_is_found_by_its_id_or_else_by_its_row(make_store):
    table = make_store.table(["b.mp3", "a/1.mp3", "0"])
    assert [table.row_of(clip) for clip in ("a/1.mp3", "0", "1")] == [1, 2, 1]


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ("3", "there is no row 3; there are 3, from 0"),
        ("-1", "no clip is called '-1'"),
        ("blues", r"did you mean a/Blues-1.mp3, a/Blues-2.mp3\?"),
        ("a/Bluse-1.mp3", r"did you mean a/Blues-1.mp3"),
        ("²", "no clip is called '²'; the group clips lists the ids"),
    ],
)
def test_a_clip_that_is_not_there_is_refused_with_those_that_are_like_it(make_store, clip, message):
    table = make_store.table(["a/Blues-1.mp3", "a/Blues-2.mp3", "x"])
    with pytest.raises(UnknownClipError, match=message):
        table.row_of(clip)


def test_random_draws_are_made_of_what_trains_and_of_what_has_no_labels(make_store):
    table = dataclasses.replace(
        make_store.table(["a", "b", "c", "d", "e", "f"]),
        split=["train", "validation", "test", "unlabelled", "", "test"],
        fold=np.array([-1, -1, -1, -1, -1, 0], np.int16),
    )
    assert table.may_train.tolist() == [True, False, False, True, True, True]
