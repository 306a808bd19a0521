import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs import Catalog, TableSettings
from pipeline.catalogs.table import list_table


def listed(
    folder: Path, text: str | bytes, name: str = "t.jsonl", settings: TableSettings | None = None
) -> Catalog:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return list_table(str(folder / name), settings)


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.jsonl.gz"])
def test_an_object_is_a_track_and_what_it_lacks_is_nothing(tmp_path, name):
    rows = [
        {"path": "a.mp3", "clip_id": 7, "fold": 1, "loud": True, "tags": ["rock", None, "x|y"]},
        {"path": "b.mp3", "clip_id": "8", "fold": 0.0, "year": 1999, "title": "Blue", "tags": None},
        {"path": "c.mp3", "clip_id": 9.0, "fold": "2", "loud": 0, "tags": "pop", "title": 12},
    ]
    text = "\n\n".join(json.dumps(row) for row in rows).encode()
    data = gzip.compress(text) if name.endswith(".gz") else text
    catalog = listed(tmp_path, data, name, TableSettings(tags="tags", meta=("year", "title")))
    assert (catalog.name, catalog.track_id) == ("t", ("7", "8", "9"))
    assert catalog.fold.tolist() == [1, 0, 2]
    assert catalog.tags == ("loud", "pop", "rock", "x|y")
    assert catalog.labels.tolist() == [[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
    np.testing.assert_array_equal(catalog.meta["year"], [np.nan, 1999, np.nan])
    assert catalog.meta["title"].tolist() == ["", "Blue", "12"]


def test_text_stays_text_where_the_file_tells_it_from_numbers(tmp_path):
    text = '{"path": "a", "x": "1", "y": true}\n{"path": "b", "x": "2", "y": false}\n'
    meta = listed(tmp_path, text, settings=TableSettings(meta=("x", "y"))).meta
    assert (meta["x"].tolist(), meta["y"].tolist()) == (["1", "2"], ["True", "False"])


def test_marks_of_order_and_line_separators_within_text_are_no_trouble(tmp_path):
    text = '\ufeff{"path": "a\u2028b.mp3"}\r\n{"path": "c.mp3"}\r\n'
    assert listed(tmp_path, text).path == ("a\u2028b.mp3", "c.mp3")
    assert listed(tmp_path, text.encode("utf-16-le")).path == ("a\u2028b.mp3", "c.mp3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"path": "a"}\n{"path": \n',
            r"t\.jsonl:2: Expecting value.*; write one JSON object a line",
        ),
        ('{"path": "a"}\n\n["b"]\n', r"t\.jsonl:3: it is a list; write one JSON object"),
        ('{"path": "a", "x": 1, "x": 0}\n', r"t\.jsonl:1: the name 'x' occurs twice"),
        ("[" * 100_000 + "\n", r"t\.jsonl:1: .*; write one JSON object"),
        ('{"file": "a"}\n', r"t\.jsonl: there is no column 'path' \(--path-column\); .* 'file'"),
        ("", r"t\.jsonl: there is no column 'path' .* none"),
        ('{"path": "a", "x": ["b"]}\n', r"t\.jsonl:1: 'x' is \['b'\]; .* not named .*--tags"),
        ('{"path": "a", "x": 0.5}\n', r"t\.jsonl:1: 'x' is 0\.5; .* must be 0 or 1"),
        ('{"path": ["a"]}\n', r"t\.jsonl:1: 'path' is \['a'\]; it must be text or a number"),
        ('{"path": null}\n', r"t\.jsonl:1: path is ''"),
        ('{"path": "a\\ud800"}\n', "not valid UTF-8"),
        (b'{"path": "caf\xe9"}\n', "line 1 is not UTF-8"),
    ],
)
def test_what_is_wrong_is_named_with_the_line_and_the_remedy(tmp_path, text, message):
    with pytest.raises(CatalogError, match=message):
        listed(tmp_path, text)


def test_lists_and_objects_are_no_labels_nor_metadata(tmp_path):
    text = '{"path": "a", "x": {"y": 1}}\n'
    for option in ("label", "meta"):
        with pytest.raises(CatalogError, match=r"t\.jsonl:1: 'x' is {'y': 1}; it must be text"):
            listed(tmp_path, text, settings=TableSettings(**{option: "x"}))
    with pytest.raises(CatalogError, match=r"t\.jsonl:1: 'x' is .*; it must list tags"):
        listed(tmp_path, text, settings=TableSettings(tags="x"))
