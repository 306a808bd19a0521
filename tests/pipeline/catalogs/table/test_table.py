"""Whatever a table's bytes are, it is a catalog or an error in a line."""

from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import CatalogError
from pipeline.catalogs import Catalog, TableSettings
from pipeline.catalogs.table import list_table

SETTINGS = TableSettings(label="genre", tags="tags", meta=("year", "title"))

CSV = (
    b'path;genre;tags;year;title;loud;fold;split\na.mp3;rock;x|y;1999;"B;l""ue";1;0;train\n'
    b'./b.mp3;;["a", "b"];;"q\nr";no;1;\nc.mp3;x;[\'u\'];12.5;007;;2;val\n'
)
LINES = (
    b'{"path":"a.mp3","genre":"rock","tags":["x",null,3],"year":1999,"title":"b","loud":true}\n'
    b'{"path":"b.mp3","genre":1.0,"tags":"x|y","year":1e3,"title":null,"loud":0}\n'
)
PIECES = st.one_of(
    st.binary(max_size=3),
    st.sampled_from(
        [b";", b",", b"\t", b'"', b"\n", b"\r", b"[", b"]", b"{", b"\0", b"\xff\xfe", b"..", b"//",
         b"://", b"nan", b"1e999", b"null", b"\\ud800", b"9" * 30, b"\x1d", b"\xe9"]
    ),
)  # fmt: skip


@given(
    kind=st.sampled_from([("t.csv", CSV), ("t.jsonl", LINES)]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), PIECES), max_size=3),
)
def test_a_table_of_any_bytes_is_a_catalog_or_an_error_in_a_line(tmp_path, kind, changes):
    name, data = kind
    for place, length, piece in changes:
        at = int(place * len(data))
        data = data[:at] + piece + data[at + length :]
    (tmp_path / name).write_bytes(data)
    try:
        listed: Catalog | str = list_table(str(tmp_path / name), SETTINGS)
    except CatalogError as error:
        listed = str(error)
    if isinstance(listed, str):
        assert name in listed or "catalog 't'" in listed
        assert len(listed) < 1500
    else:
        assert len(listed.meta["year"]) == len(listed) >= 1
