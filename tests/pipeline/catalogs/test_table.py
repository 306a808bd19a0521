import gzip
from pathlib import Path

import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs import Catalog
from pipeline.catalogs.catalog import RESERVED
from pipeline.catalogs.table import is_table, list_table
from pipeline.catalogs.table.interpret import KNOWN


def table(folder: Path, text: str | bytes, name: str = "t.csv") -> Catalog:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return list_table(str(folder / name))


def test_every_column_is_read(tmp_path):
    catalog = table(
        tmp_path,
        "loud,album,path,clip_id,fold,split,artist,quiet\n"
        "1,X,a/1.mp3,one,0,train,A,0\n"
        "0,,2.mp3,two,4,,Ä,1\n",
    )
    assert (catalog.name, catalog.root) == ("t", str(tmp_path))
    assert catalog.track_id == ("one", "two")
    assert catalog.path == ("a/1.mp3", "2.mp3")
    assert catalog.split == ("train", "")
    assert catalog.tags == ("loud", "quiet")
    assert catalog.labels.tolist() == [[1, 0], [0, 1]]
    assert catalog.fold is not None
    assert catalog.fold.tolist() == [0, 4]
    assert catalog.artist == ("A", "Ä")
    assert catalog.album == ("X", "")


def test_a_path_is_enough_and_is_the_id_and_its_file_may_be_missing(tmp_path):
    catalog = table(tmp_path, "path\nno such file.mp3\n")
    assert catalog.track_id == catalog.path == ("no such file.mp3",)
    assert catalog.split == ("",)
    assert catalog.labels.shape == (1, 0)
    assert catalog.fold is None
    assert catalog.artist is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "path,loud\r\na.mp3,1\r\n"),
        ("t.csv", "\ufeffpath,loud\na.mp3,1\n"),
        ("t.csv", '"path", "loud"\n"a.mp3","1"\n'.replace(", ", ",")),
        ("t.csv", " path , loud\na.mp3, 1\n"),
        ("t.csv", "path,loud\n\na.mp3,1\n\n"),
        ("t.csv", "path,loud\na.mp3,1"),
        ("t.csv", "path,loud\na.mp3,1.0\n"),
        ("t.csv", "path,loud\na.mp3,True\n"),
        ("t.csv", "path,loud\na.mp3,YES\n"),
        ("t.csv", "path,loud\na.mp3,y\n"),
        ("t.csv", "path,loud\na.mp3,t\n"),
        ("t.csv", "path;loud\na.mp3;1\n"),
        ("t.csv", "path\tloud\na.mp3\t1\n"),
        ("t.tsv", "path,loud\na.mp3,1\n"),
        ("t.CSV", "path,loud\na.mp3,1\n"),
        ("t.csv", "\n\npath,loud\n,\na.mp3,1\n"),
        ("t.csv", "path,loud,,\na.mp3,1,,\n"),
        ("t.csv", "path,loud\na.mp3,1,,\n"),
        ("t.csv", "path,loud\ra.mp3,1\r"),
        ("t.csv", "path,loud\na.mp3,1\n".encode("utf-16")),
        ("t.csv", "\ufeffpath,loud\na.mp3,1\n".encode("utf-16-be")),
        ("t.csv", "\ufeffpath,loud\na.mp3,1\n".encode("utf-32-le")),
        ("t.csv", "path,loud\n./a.mp3,1\n"),
        ("t.csv", ",path,loud\n0,a.mp3,1\n"),
        ("t.tsv", "path\tloud\na.mp3\t1\n"),
        ("t.csv.gz", gzip.compress(b"path,loud\na.mp3,1\n")),
    ],
    ids=[
        "CRLF",
        "BOM",
        "quotes",
        "spaces",
        "blank_lines",
        "no_end",
        "1.0",
        "True",
        "YES",
        "y",
        "t",
        "semicolons",
        "tabs",
        "commas_in_a_tsv",
        "upper_case",
        "blank_lines_before",
        "separators_at_the_end",
        "separators_at_the_end_of_rows",
        "CR",
        "UTF-16",
        "UTF-16_BE",
        "UTF-32",
        "dot",
        "pandas_index",
        "tsv",
        "gz",
    ],
)
def test_what_programs_write_is_read(name, content, tmp_path):
    catalog = table(tmp_path, content, name)
    assert (catalog.name, catalog.path, catalog.tags) == ("t", ("a.mp3",), ("loud",))
    assert catalog.labels.tolist() == [[1]]


def test_usual_synonyms_of_the_splits_are_understood(tmp_path):
    rows = "".join(
        f"{i}.mp3,{split}\n" for i, split in enumerate(["training", "valid", "val", "dev", "test"])
    )
    assert table(tmp_path, "path,split\n" + rows).split == (
        "train",
        "validation",
        "validation",
        "validation",
        "test",
    )


def test_quoted_fields_may_hold_separators_and_line_ends_and_lines_are_still_counted(tmp_path):
    text = 'path,artist\n"a, b.mp3","A\nand B"\n"12"" mix.mp3",C\n'
    catalog = table(tmp_path, text)
    assert catalog.path == ("a, b.mp3", '12" mix.mp3')
    assert catalog.artist == ("A\nand B", "C")
    with pytest.raises(CatalogError, match=r"t\.csv:5: path is '/x'"):
        table(tmp_path, text + "/x,D\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.csv:1: there is no column 'path' \(columns, separated by ',': none\); say"),
        ("file,loud\na.mp3,1\n", r"there is no column 'path' \(.*: 'file', 'loud'\)"),
        ("pfad;laut\na.mp3;1\n", r"no column 'path' \(columns, separated by ';': 'pfad', 'laut'\)"),
        ('"path"x,loud\na.mp3,1\n', r"t\.csv:1: .* expected after .*; write a CSV"),
        ("path,loud\n", r"t\.csv has a header and no track"),
        ("path,loud,loud\na.mp3,1,1\n", r"t\.csv:1: the column 'loud' occurs twice; drop or re"),
        (",path\n5,a.mp3\n", r"t\.csv:1: the column '' has no name; name or drop it"),
        ("path,loud\na.mp3,1\nb,c.mp3,1\n", r"t\.csv:3: the row has 3 fields and the header 2"),
        ('path\n"a.mp3\n', r"t\.csv:2: unexpected end of data; write a CSV"),
        (
            "path,loud\na.mp3,1\nb.mp3,2\n",
            r"t\.csv:3: 'loud' is '2'; .* must be 0 or 1 .* in every",
        ),
        (
            "path,year,loud,title\na.mp3,,1,\nb.mp3,1999,0,Blue\n",
            r"t\.csv:3: 'year' is '1999'; a column that is not named must be 0 or 1 .*: keep it "
            "with --meta year,title, name it with --label if each value is a tag or with --tags if",
        ),
        ("path,loud\na.mp3,nan\n", r"t\.csv:2: 'loud' is 'nan'"),
        ("path,fold\na.mp3,-1\n", r"t\.csv:2: 'fold' is '-1'; .* whole number from 0 to 999"),
        ("path,fold\na.mp3,\n", r"t\.csv:2: 'fold' is ''"),
        ("path,split\na.mp3,Train\n", r"t\.csv:2: split is 'Train'; it must be one of train"),
        ("path\na.mp3\nb.mp3\na.mp3\n", r"t\.csv:4: the id 'a\.mp3' is also .*t\.csv:2; ids must"),
        ("path,clip_id\na.mp3,1\nb.mp3,1\n", r"t\.csv:3: the id '1' is also that of .*t\.csv:2"),
        ("path,clip_id\na.mp3,\n", r"t\.csv:2: the id is empty"),
        ("path\n/a.mp3\n", r"t\.csv:2: path is '/a\.mp3'; it must be relative to"),
        ("path\nx/../../a.mp3\n", r"t\.csv:2: path is .*: no absolute path, no URL, no '\.\.'"),
        ("path,loud\n,1\n", r"t\.csv:2: path is ''"),
        ("path,status\na.mp3,1\n", "a tag is called 'status'.*rename it"),
        (b"path\ncaf\xe9.mp3\n", r"t\.csv cannot be read: line 2 is not UTF-8 \(byte 0xe9\); save"),
        (b"\x1f\x8b\x08 no text", r"t\.csv cannot be read: it is compressed; call it \.gz"),
        (b"PK\x03\x04 x", r"t\.csv cannot be read: it is a spreadsheet or a ZIP archive; save"),
        (b"PAR1 x", r"t\.csv cannot be read: it is Parquet; call it \.parquet"),
        ("path,a\n".encode("utf-16-le"), "cannot be read: it is UTF-16 without a byte-order mark"),
        ("path\n/a.mp3\n", "name it with --root"),
    ],
)
def test_what_is_wrong_is_named_with_the_file_the_line_and_the_remedy(text, message, tmp_path):
    with pytest.raises(CatalogError, match=message):
        table(tmp_path, text)


def test_a_damaged_gzip_file_is_an_error_that_names_it(tmp_path):
    whole = gzip.compress(b"path\n" + b"".join(b"%d.mp3\n" % i for i in range(1000)))
    with pytest.raises(CatalogError, match=r"t\.csv\.gz cannot be read: .*ended"):
        table(tmp_path, whole[: len(whole) // 2], "t.csv.gz")


def test_columns_that_are_not_tags_are_reserved_in_the_clip_table_too():
    assert {"path", *KNOWN} <= RESERVED


def test_empty_cells_and_words_for_no_are_0(tmp_path):
    rows = "".join(
        f"{row}.mp3,{word}\n" for row, word in enumerate(("", " ", "no", "F", "n", "0.0"))
    )
    assert table(tmp_path, "path,loud\n" + rows).labels.tolist() == [[0]] * 6


def test_quotes_in_the_header_are_respected_when_the_separator_is_looked_for(tmp_path):
    catalog = table(tmp_path, 'path,"slow; or, quiet","a\nb"\na.mp3,1,0\n')
    assert catalog.tags == ("slow; or, quiet", "a\nb")
    catalog = table(tmp_path, '"a,b";"path";"c\td"\n1;x.mp3;0\n')
    assert (catalog.path, catalog.tags) == (("x.mp3",), ("a,b", "c\td"))


def test_a_separator_that_cannot_be_told_is_refused(tmp_path):
    with pytest.raises(CatalogError, match=r"t\.csv:1: .*commas or semic"):
        table(tmp_path, "a;path;b,path,c\n1;a.mp3;1,1,1\n")


def test_a_single_column_has_no_separator_to_tell(tmp_path):
    assert table(tmp_path, "path\na;b.mp3\n").path == ("a;b.mp3",)
    with pytest.raises(CatalogError, match=r"t\.csv:2: the row has 2 fields and the header 1; put"):
        table(tmp_path, "path\na, b.mp3\n")


def test_a_field_longer_than_any_path_is_refused_by_its_line(tmp_path):
    with pytest.raises(CatalogError, match=r"t\.csv:2: field larger than field limit"):
        table(tmp_path, "path\n" + "x" * 200_000 + "\n")


def test_a_name_that_is_no_tables_is_refused_with_the_endings(tmp_path):
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(CatalogError, match=r"end in \.csv, \.tsv, \.jsonl, \.ndjson or \.parquet"):
        list_table(str(tmp_path / "t.xlsx"))
    assert not is_table("t.parquet.gz")
    assert is_table("s3://bucket/T.CSV.GZ")
