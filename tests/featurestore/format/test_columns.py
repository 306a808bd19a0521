import json

import numpy as np
import pytest

from featurestore.format.columns import (
    add_column,
    by_part,
    chunk_keys,
    column,
    make_column,
    metadata_keys,
    part_of,
    read_there,
)
from featurestore.format.division import Division
from featurestore.format.layout import zarr_files
from featurestore.storage.local import LocalFiles

DIVISION = Division(clips_per_shard=4, shards_per_part=2)  # eight rows a part


def made(name, data, rows_per_chunk=8, **options):
    data = np.array(data, object) if isinstance(data, list) else data
    return zarr_files("clips", {}, lambda g: add_column(g, name, data, rows_per_chunk, **options))


@pytest.mark.parametrize("n_rows", [0, 1, 7, 8, 9, 16, 20])
@pytest.mark.parametrize("kind", ["string", "int64", "float64", "int16", "bool"])
def test_a_column_has_a_chunk_a_part_and_is_read_back(n_rows, kind):
    values = [f"text {row}" for row in range(n_rows)]
    data = np.array(values, object) if kind == "string" else np.arange(n_rows).astype(kind)
    files = made("x", data)
    common, parts = by_part(files)
    assert sorted(parts) == list(range(DIVISION.n_parts(n_rows)))
    for number, chunks in parts.items():
        assert list(chunks) == chunk_keys(["x"], number)
    assert {"clips/zarr.json", *metadata_keys(["x"])} == set(common)
    found = column(files, "x", kind, DIVISION, n_rows)
    assert list(found) == list(data)


def test_a_part_that_is_full_keeps_its_bytes_as_the_table_grows():
    values = [f"text {row}" for row in range(20)]
    chunks = [by_part(made("x", values[:n]))[1] for n in (8, 9, 20)]
    assert chunks[0][0] == chunks[1][0] == chunks[2][0]
    assert chunks[1][1] != chunks[2][1]


def test_labels_are_read_back_by_tag(rng):
    labels = rng.integers(0, 2, (20, 3)).astype(np.uint8)
    files = made("labels", labels, dimensions=("clip", "tag"))
    assert list(by_part(files)[1][2]) == chunk_keys(["labels"], 2) == ["clips/labels/c/2/0"]
    found = column(files, "labels", "uint8", DIVISION, 20, 3)
    np.testing.assert_array_equal(found, labels)


def test_labels_without_tags_have_no_chunks():
    files = made("labels", np.zeros((20, 0), np.uint8), dimensions=("clip", "tag"))
    assert by_part(files)[1] == {}
    assert column(files, "labels", "uint8", DIVISION, 20, 0).shape == (20, 0)


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("clips/path/c/0", 0),
        ("clips/path/c/12", 12),
        ("clips/labels/c/3/0", 3),
        ("clips/path/zarr.json", None),
        ("clips/zarr.json", None),
        ("clips/tag/c/0", None),
    ],
)
def test_a_key_says_which_part_it_is_of(key, part):
    assert part_of(key) == part


def test_the_tags_lie_with_what_is_of_no_part():
    assert metadata_keys(["tag", "path"]) == [
        "clips/tag/zarr.json", "clips/tag/c/0", "clips/path/zarr.json"
    ]  # fmt: skip
    assert chunk_keys(["tag", "path", "labels"], 3) == ["clips/path/c/3", "clips/labels/c/3/0"]


def test_an_array_made_without_values_has_the_metadata_of_one_with_them():
    data = np.arange(20)
    empty = zarr_files("clips", {}, lambda g: make_column(g, "x", "int64", (20,), 8))
    assert empty == by_part(made("x", data))[0]


def test_only_files_that_are_there_are_read(tmp_path):
    files = LocalFiles(tmp_path)
    files.write("a", b"1")
    assert read_there(files, ["a", "b"]) == {"a": b"1"}


def injured(change):
    """A column of 20 texts whose metadata were changed."""
    files = made("x", [f"{row}" for row in range(20)])
    metadata = json.loads(files["clips/x/zarr.json"])
    change(metadata)
    return files | {"clips/x/zarr.json": json.dumps(metadata).encode()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(shape=[21]), "x: it is not of 20 values of type string"),
        (lambda m: m.update(shape=[2**40]), "x: it is not of 20 values of type string"),
        (lambda m: m["chunk_grid"]["configuration"].update(chunk_shape=[9]), "x: it is not of 20"),
        (lambda m: m["chunk_grid"].update(name="other"), "x: it is packed in another way"),
        (lambda m: m.update(data_type="int64"), "x: it is packed in another way"),
        (lambda m: m["codecs"].pop(), "x: it is packed in another way"),
        (lambda m: m.update(codecs=[]), "x: not enough values"),
        (lambda m: m["chunk_key_encoding"].update(name="v2"), "x: it is packed in another way"),
        (lambda m: m.update(storage_transformers=[{"name": "x"}]), "x: it is packed in another"),
        (lambda m: m.pop("shape"), "x: no 'shape'"),
    ],
)
def test_metadata_that_are_of_another_array_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        column(injured(change), "x", "string", DIVISION, 20)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_chunk_that_is_missing_or_another_columns_is_refused(number):
    files = made("x", np.arange(20))
    key = f"clips/x/c/{number}"
    with pytest.raises(ValueError, match=f"x: no '{key}'"):
        column({k: v for k, v in files.items() if k != key}, "x", "int64", DIVISION, 20)
    files[key] = made("x", np.arange(20, dtype=np.int16))[key]
    with pytest.raises(ValueError, match=f"x: {key} does not hold 8 values"):
        column(files, "x", "int64", DIVISION, 20)
