"""What columns mean, tried on CSVs; other files give the same columns, see the other tests."""

import json

import numpy as np
import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs import TableSettings
from pipeline.catalogs.catalog import RESERVED
from pipeline.catalogs.table import list_table
from pipeline.catalogs.table.interpret import relative


@pytest.fixture
def read(tmp_path):
    """List a CSV of that text."""

    def read(text, **settings):
        (tmp_path / "t.csv").write_text(text)
        return list_table(str(tmp_path / "t.csv"), TableSettings(**settings))

    return read


def tags_of(catalog):
    """Each track's tags."""
    return [{catalog.tags[i] for i in np.flatnonzero(row)} for row in catalog.labels]


def test_each_value_of_a_label_column_is_a_tag_and_nothing_is_none(read):
    catalog = read("path,genre\na,rock\nb,jazz\nc,\nd, rock \n", label="genre")
    assert catalog.tags == ("jazz", "rock")
    assert catalog.labels.tolist() == [[0, 1], [1, 0], [0, 0], [0, 1]]


def test_labels_are_taken_whole_whatever_signs_are_in_them(read):
    catalog = read('path;genre\na;"R&B/Soul"\nb;rock|pop\nc;a, b\nd;[x]\n', label="genre")
    assert tags_of(catalog) == [{"R&B/Soul"}, {"rock|pop"}, {"a, b"}, {"[x]"}]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["rock|pop", "jazz", ""], [{"rock", "pop"}, {"jazz"}, set()]),
        (["rock; pop ;", "jazz;jazz"], [{"rock", "pop"}, {"jazz"}]),
        (["rock,pop", "jazz"], [{"rock", "pop"}, {"jazz"}]),
        (["rock, hard|pop; soft", "a,b"], [{"rock, hard", "pop; soft"}, {"a,b"}]),
        (["AC/DC", "new age"], [{"AC/DC"}, {"new age"}]),
        (['["rock", "a|b", " rock ", "", null]', "[]"], [{"rock", "a|b"}, set()]),
        (["['rock', 'pop']", "x|y"], [{"rock", "pop"}, {"x", "y"}]),
        (["[21, 76.0, true]"], [{"21", "76", "True"}]),
        (["||", " "], [set(), set()]),
    ],
)
def test_lists_are_divided_by_the_first_separator_that_their_column_has(read, cells, expected):
    lines = [f'{row},"{cell.replace(chr(34), chr(34) * 2)}"\n' for row, cell in enumerate(cells)]
    assert tags_of(read("path,tags\n" + "".join(lines), tags="tags")) == expected


@pytest.mark.parametrize(
    "cell",
    ["[rock]", '["rock"', '{"rock": 1}', "[[1], [2]]", '[{"a": 1}]', "[" * 100_000, "[1]*9**9"],
)
def test_what_begins_like_a_list_and_is_none_is_refused_by_its_line(read, cell):
    with pytest.raises(CatalogError, match=r"t\.csv:3: 'tags' is .* must list tags, as \[\"rock\""):
        read(f'path;tags\na;x\nb;"{cell.replace(chr(34), chr(34) * 2)}"\n', tags="tags")


def test_labels_lists_and_columns_of_0_and_1_stand_beside_each_other_and_join(read):
    catalog = read(
        "path,loud,genre,tags,rock\na,1,rock,live|loud,0\nb,0,jazz,,1\n",
        label="genre",
        tags="tags",
    )
    assert catalog.tags == ("loud", "rock", "jazz", "live")
    assert tags_of(catalog) == [{"loud", "rock", "live"}, {"rock", "jazz"}]


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_label_called_like_a_column_of_the_clip_table_is_refused_by_its_line(read, name):
    with pytest.raises(CatalogError, match=rf"t\.csv:3: a tag is called '{name}', .*'{name}_tag'"):
        read(f"path,genre\na,rock\nb,{name}\n", label="genre")


def test_free_text_as_labels_is_refused_before_it_fills_the_memory(read):
    rows = "".join(f"{row},title {row}\n" for row in range(10_001))
    with pytest.raises(CatalogError, match="title would give 10,001 tags, and 10,000 are the most"):
        read("path,title\n" + rows, label="title")


def test_a_column_that_is_named_and_not_there_is_refused_with_those_that_are(read):
    for option in ("label", "tags", "meta"):
        with pytest.raises(CatalogError, match=rf"no column 'x' \(--{option}\); .* 'path', 'a'"):
            read("path,a\nb,1\n", **{option: "x"})


def test_many_columns_that_are_nothing_are_told_in_a_short_line(read):
    names = [f"x{number}" for number in range(500)]
    with pytest.raises(CatalogError, match=r"--meta x0,x1,.*,x19,…, name it with --label") as told:
        read("path," + ",".join(names) + "\na" + ",5" * 500 + "\n")
    assert len(str(told.value)) < 600


def test_metadata_are_whole_numbers_numbers_or_text(read):
    catalog = read(
        "path,year,tempo,rank,title,code,comma\n"
        "a,1999,120.5,,Blue,007,\"1,5\"\n"
        "b,2004,,3,,12,2\n"
        "c,-1,1e2, 4 ,12,1,3\n",
        meta=("year", "tempo", "rank", "title", "code", "comma"),
    )  # fmt: skip
    meta = catalog.meta
    assert catalog.tags == ()
    assert (meta["year"].dtype, meta["year"].tolist()) == (np.int64, [1999, 2004, -1])
    assert meta["tempo"].dtype == meta["rank"].dtype == np.float64
    np.testing.assert_array_equal(meta["tempo"], [120.5, np.nan, 100])
    np.testing.assert_array_equal(meta["rank"], [np.nan, 3, 4])
    assert meta["title"].tolist() == ["Blue", "", "12"]
    assert meta["code"].tolist() == ["007", "12", "1"]
    assert meta["comma"].tolist() == ["1,5", "2", "3"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["9007199254740992", "1"], [2**53, 1]),
        (["9007199254740993", "1"], ["9007199254740993", "1"]),
        (["9" * 400, "1.5"], ["9" * 400, "1.5"]),
        (["1_000", "2"], ["1_000", "2"]),
        (["٣", "2"], ["٣", "2"]),
        (["Infinity", "2"], ["Infinity", "2"]),
        (["1e999", "2"], ["1e999", "2"]),
        (["\x1d1", "2"], [1, 2]),
        (["", " "], ["", " "]),
        (["True", "False"], ["True", "False"]),
        (["1.", ".5"], [1.0, 0.5]),
    ],
)
def test_only_what_comes_back_as_it_was_is_a_number(read, cells, expected):
    lines = "".join(f"{row},{cell}\n" for row, cell in enumerate(cells))
    assert read("path,x\n" + lines, meta="x").meta["x"].tolist() == expected


def test_a_label_may_be_kept_as_metadata_too(read):
    catalog = read("path,genre\na,rock\n", label="genre", meta="genre")
    assert catalog.tags == ("rock",)
    assert catalog.meta["genre"].tolist() == ["rock"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("status", "'status', and so is one that the clip table has.*rename it, or leave it out"),
        ("artist", "called 'artist', and so is one"),
        ("labels", "called 'labels', and so is one"),
        ("Artist", "called 'Artist', and so is one that the clip table has, but for upper and"),
        ("Genre", "called 'genre', and so is 'Genre', but for"),
        ("rock", "'rock' is both a column of metadata and a tag; rename one"),
        (
            "a/b",
            r"called 'a/b'; it must begin with a letter or digit, go on with those, spaces",
        ),
        ("..", "called '..'; it must begin"),
        ("zarr.json", "called 'zarr.json'; it must"),
        ("__x", "called '__x'; it must"),
        ("a:b", "called 'a:b'; it must"),
        ("é" * 101, "it must begin"),
    ],
)
def test_metadata_called_like_something_else_or_like_no_folder_are_refused(read, name, message):
    with pytest.raises(CatalogError, match=message):
        read(f"path,genre,{name}\na,rock,x\n", label="genre", meta=(name, "genre"))


@pytest.mark.parametrize("name", ["BPM (beats)", "année", "日本", "a.b-c+d_e", "2nd", "c"])
def test_metadata_may_be_called_as_people_call_them(read, name):
    assert read(f"path,{name}\na,x\n", meta=name).meta[name].tolist() == ["x"]


def test_paths_and_ids_are_without_dots_and_doubled_slashes(read):
    catalog = read("path\n./a.mp3\nx//y/./b.mp3\nx/.hidden.mp3\n")
    assert catalog.path == catalog.track_id == ("a.mp3", "x/y/b.mp3", "x/.hidden.mp3")
    with pytest.raises(CatalogError, match=r"t\.csv:3: the id 'a\.mp3' is also that of .*t\.csv:2"):
        read("path\na.mp3\n./a.mp3\n")


def test_absolute_paths_below_the_root_are_relative_to_it(read, tmp_path):
    catalog = read(f"path\n{tmp_path}/x/a.mp3\nb.mp3\n{tmp_path}//x/./c.mp3\n")
    assert (catalog.root, catalog.path) == (str(tmp_path), ("x/a.mp3", "b.mp3", "x/c.mp3"))
    catalog = read("file\n/data/music/a.mp3\nb.mp3\n", path_column="file", root="/data/music")
    assert (catalog.root, catalog.path) == ("/data/music", ("a.mp3", "b.mp3"))


@pytest.mark.parametrize(
    "path",
    [
        "/data/musical/a.mp3", "/data/music", "/data/music/../x.mp3", "/data/music/x/../../y.mp3",
        "../a.mp3", "/a.mp3", ".", "./", "s3://data/music/a.mp3", "//", "C:\\a.mp3",
    ],
)  # fmt: skip
def test_paths_that_lead_out_of_the_root_are_refused_with_the_remedy(read, path):
    with pytest.raises(CatalogError, match=r"t\.csv:2: path is .* to /data/music .*--root"):
        read(f"path\n{path}\n", root="/data/music")


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("s3://b/x", "s3://b/x/a.mp3", "a.mp3"),
        ("s3://b/x", "s3://b//x/./a.mp3", "a.mp3"),
        ("s3://b/x", "s3://b/xx/a.mp3", "s3://b/xx/a.mp3"),
        ("/", "/a.mp3", "a.mp3"),
        ("/m", "a/b/", "a/b"),
    ],
)
def test_a_path_is_relative_where_it_is_below(root, path, expected):
    assert relative(root, path) == expected


def test_another_column_may_have_the_paths(read):
    assert read("file,loud\na.mp3,1\n", path_column="file").path == ("a.mp3",)
    with pytest.raises(CatalogError, match=r"no column 'path' .*: 'file', 'loud'\); say .*--path"):
        read("file,loud\na.mp3,1\n")


def test_a_list_from_pandas_own_csv_is_read(read, tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"path": ["a"], "tags": [["it's", 'say "x"', "a,b"]]})
    assert tags_of(read(frame.to_csv(index=False), tags="tags")) == [{"it's", 'say "x"', "a,b"}]
    frame["tags"] = frame["tags"].map(json.dumps)
    assert tags_of(read(frame.to_csv(index=False), tags="tags")) == [{"it's", 'say "x"', "a,b"}]


def test_a_row_of_the_split_unlabelled_keeps_what_it_says_and_is_in_no_fold(read):
    text = "path,split,fold,rock\na,train,0,1\nb,unlabelled,,\nc,unlabeled, ,1\nd,test,2,0\n"
    catalog = read(text)
    assert catalog.split == ("train", "unlabelled", "unlabelled", "test")
    assert catalog.fold.tolist() == [0, -1, -1, 2]
    assert catalog.labels[:, 0].tolist() == [1, 0, 1, 0]


def test_a_fold_is_missing_where_there_are_no_labels_and_nowhere_else(read):
    with pytest.raises(CatalogError, match=r"t\.csv:3: 'fold' is ''; it must be a whole number"):
        read("path,split,fold\na,train,0\nb,train,\n")
    with pytest.raises(CatalogError, match=r"t\.csv:3: 'fold' is 'x'; it must be a whole number"):
        read("path,split,fold\na,train,0\nb,unlabelled,x\n")
    with pytest.raises(CatalogError, match=r"'unlabelled' and the fold 4; leave the fold of what"):
        read("path,split,fold\na,train,0\nb,unlabelled,4\n")
