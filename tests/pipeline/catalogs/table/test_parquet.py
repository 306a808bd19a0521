import sys

import numpy as np
import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs import TableSettings
from pipeline.catalogs.table import list_table

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def read(tmp_path):
    """List a Parquet file of these columns."""

    def read(columns, name="t.parquet", **settings):
        pq.write_table(pa.table(columns), tmp_path / name)
        return list_table(str(tmp_path / name), TableSettings(**settings))

    return read


@pytest.mark.parametrize("name", ["t.parquet", "T.PARQUET"])
def test_columns_are_of_their_own_types(read, name):
    catalog = read(
        {
            "path": ["a.mp3", "b.mp3"],
            "clip_id": [5, 6],
            "loud": [True, None],
            "quiet": pa.array([0, 1], pa.int8()),
            "genre": pa.array(["rock", None]).dictionary_encode(),
            "tags": [["live", "live", None], None],
            "year": [1999, None],
            "plays": pa.array([1, 2], pa.uint32()),
            "tempo": pa.array([0.5, 2], pa.float32()),
            "code": ["1", "2"],
        },
        name,
        label="genre",
        tags="tags",
        meta=("year", "plays", "tempo", "code"),
    )
    assert (catalog.name.lower(), catalog.track_id) == ("t", ("5", "6"))
    assert catalog.tags == ("loud", "quiet", "live", "rock")
    assert catalog.labels.tolist() == [[1, 0, 1, 1], [0, 1, 0, 0]]
    np.testing.assert_array_equal(catalog.meta["year"], [1999, np.nan])
    assert (catalog.meta["plays"].dtype, catalog.meta["plays"].tolist()) == (np.int64, [1, 2])
    assert (catalog.meta["tempo"].dtype, catalog.meta["tempo"].tolist()) == (np.float64, [0.5, 2])
    assert catalog.meta["code"].tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"file": ["a"]}, r"t\.parquet: there is no column 'path'"),
        ({"path": ["a"], "audio": [b"RIFF"]}, "the column 'audio' is binary; drop it"),
        ({"path": ["a"], "audio": [{"bytes": b"x"}]}, "the column 'audio' is struct<.*drop it"),
        ({"path": ["a", "b"], "x": [1, 2]}, r"t\.parquet, row 1: 'x' is 2; .* --meta x"),
        ({"path": ["a"], "x": [["b"]]}, r"t\.parquet, row 0: 'x' is \['b'\]; .*--tags"),
        ({"path": pa.array([], pa.string())}, "lists no track"),
    ],
)
def test_what_is_wrong_is_named_with_the_row_or_the_column(read, columns, message):
    with pytest.raises(CatalogError, match=message):
        read(columns)


def test_the_index_that_pandas_keeps_does_not_count(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"path": ["a", "b"]}, index=[5, 7])
    frame.to_parquet(tmp_path / "t.parquet")
    assert list_table(str(tmp_path / "t.parquet")).tags == ()


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(CatalogError, match=r"t\.parquet cannot be read: .*; write it again"):
        list_table(str(tmp_path / "t.parquet"))


def test_without_pyarrow_the_remedy_is_told(read, tmp_path, monkeypatch):
    read({"path": ["a"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CatalogError, match=r"pip install 'melgrid\[parquet\]', or write .* as CSV"):
        list_table(str(tmp_path / "t.parquet"))
