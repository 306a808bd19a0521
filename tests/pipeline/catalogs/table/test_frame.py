import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs import TableSettings, open_catalog

MUSIC = TableSettings(root="/music")


def test_a_frame_is_a_table(tmp_path):
    frame = pd.DataFrame(
        {
            "path": ["a.mp3", "/music/b.mp3", "./c.mp3"],
            "clip_id": [1, 2, 3],
            "split": pd.Categorical(["train", None, "val"]),
            "fold": [0.0, 1.0, 2.0],
            "loud": [True, False, True],
            "quiet": [1.0, np.nan, 0],
            "fast": pd.array([1, None, 0], dtype="Int64"),
            "genre": pd.Categorical(["rock", None, "jazz"]),
            "tags": [["live", "live", " "], None, np.array(["x"])],
            "year": [1999, 2000, 2001],
            "tempo": [120.5, np.nan, 90],
            "title": ["Blue", None, "12"],
            "day": pd.to_datetime(["2020-01-02", None, "2021-03-04"]),
        },
        index=["x", "x", "y"],
    )
    settings = TableSettings(
        root="/music", label="genre", tags="tags", meta=("year", "tempo", "title", "day")
    )
    catalog = open_catalog(frame, table=settings)
    assert (catalog.root, catalog.path) == ("/music", ("a.mp3", "b.mp3", "c.mp3"))
    assert catalog.track_id == ("1", "2", "3")
    assert catalog.split == ("train", "", "validation")
    assert catalog.fold.tolist() == [0, 1, 2]
    assert catalog.tags == ("loud", "quiet", "fast", "jazz", "live", "rock", "x")
    assert catalog.labels.tolist() == [
        [1, 1, 1, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 1, 0, 0, 1],
    ]
    assert catalog.meta["year"].dtype == np.int64
    np.testing.assert_array_equal(catalog.meta["tempo"], [120.5, np.nan, 90])
    assert catalog.meta["title"].tolist() == ["Blue", "", "12"]
    assert catalog.meta["day"].tolist() == ["2020-01-02 00:00:00", "", "2021-03-04 00:00:00"]


def test_a_frame_and_its_csv_are_the_same_catalog(tmp_path):
    frame = pd.DataFrame(
        {"path": ["a", "b"], "loud": [True, False], "genre": ["x", None], "year": [1999, np.nan]}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    settings = TableSettings(root=str(tmp_path), label="genre", meta="year")
    one, other = (open_catalog(audio, table=settings) for audio in (frame, str(tmp_path / "t.csv")))
    for field in ("root", "track_id", "path", "split", "tags"):
        assert getattr(one, field) == getattr(other, field)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.meta["year"], other.meta["year"])
    assert one.meta["year"].dtype == other.meta["year"].dtype == np.float64


def test_a_relative_root_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"path": ["a.mp3"]})
    for root in ("x", Path("x")):
        assert open_catalog(frame, table=TableSettings(root=root)).root == str(tmp_path / "x")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"file": ["a"]}), r"DataFrame: there is no column 'path'"),
        (pd.DataFrame({"path": []}), "lists no track"),
        (pd.DataFrame({"path": ["a", None]}), "DataFrame, row 1: path is ''"),
        (pd.DataFrame({"path": ["a", "a"]}), "row 1: the id 'a' is also that of DataFrame, row 0"),
        (pd.DataFrame({"path": ["a"], 3: [1]}), "a column is called 3; give it a name of text"),
        (pd.DataFrame([["a", 1, 0]], columns=["path", "x", "x"]), "column 'x' occurs twice"),
        (pd.DataFrame({"path": ["a"], "x": [2]}), "DataFrame, row 0: 'x' is 2; .*--meta x"),
        (["a.mp3"], "audio is a list; give a path, a URL or a pandas DataFrame"),
    ],
)
def test_what_is_wrong_is_named_with_the_row(frame, message):
    with pytest.raises(CatalogError, match=message):
        open_catalog(frame, table=MUSIC)


def test_a_frame_needs_a_root():
    with pytest.raises(CatalogError, match=r"in no folder: say which .* TableSettings\(root=…\)"):
        open_catalog(pd.DataFrame({"path": ["a"]}))


def test_a_path_object_is_a_path(tmp_path):
    (tmp_path / "t.csv").write_text("path\na.mp3\n")
    assert open_catalog(tmp_path / "t.csv").root == os.fspath(tmp_path)


def test_a_csv_is_read_without_pandas_and_pyarrow(tmp_path):
    (tmp_path / "t.csv").write_text("path\na.mp3\n")
    code = (
        "import sys; from pipeline.catalogs import open_catalog; open_catalog(sys.argv[1]);"
        "print(sorted({'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "t.csv")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
