import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs import Catalog
from pipeline.catalogs.catalog import RESERVED, multi_hot


def make(**changes: Any) -> Catalog:
    fields: dict[str, Any] = {
        "name": "three",
        "root": "/music",
        "track_id": ["a", "b", "c"],
        "path": ["a.mp3", "x/b.mp3", "x/c.mp3"],
        "split": ["train", "", "test"],
        "tags": ("loud", "quiet"),
        "labels": np.array([[0, 1], [1, 0], [0, 0]], np.uint8),
    }
    return Catalog(**fields | changes)


def test_columns_are_kept_as_they_were_given():
    catalog = make(fold=[0, 1, 2], artist=["A", "", "Ä"])
    assert len(catalog) == 3
    assert catalog.path == ("a.mp3", "x/b.mp3", "x/c.mp3")
    assert catalog.split == ("train", "", "test")
    assert catalog.artist == ("A", "", "Ä")
    assert catalog.album is None
    assert catalog.fold is not None
    assert catalog.fold.dtype == np.int16
    assert catalog.labels.dtype == np.uint8


def test_a_catalog_cannot_be_changed_nor_through_what_it_was_made_from():
    labels = np.zeros((3, 2), np.uint8)
    ids = ["a", "b", "c"]
    catalog = make(labels=labels, track_id=ids)
    labels[0, 0] = 1
    ids[0] = "z"
    assert catalog.labels[0, 0] == 0
    assert catalog.track_id[0] == "a"
    with pytest.raises(ValueError, match="read-only"):
        catalog.labels[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        catalog.name = "other"  # type: ignore[misc]


def test_a_catalog_survives_pickling_even_if_its_places_do_not():
    catalog = pickle.loads(pickle.dumps(make(where=lambda row: f"line {row}")))
    assert catalog.track_id == ("a", "b", "c")
    np.testing.assert_array_equal(catalog.labels, [[0, 1], [1, 0], [0, 0]])


def test_the_repr_is_short_however_many_tracks_there_are():
    assert repr(make()) == "Catalog(name='three', root='/music', tags=('loud', 'quiet'))"


def test_labels_of_any_number_type_are_taken_if_they_are_0_or_1():
    catalog = make(labels=np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))
    assert catalog.labels.dtype == np.uint8
    assert make(labels=np.eye(3, 2, dtype=bool)).labels.tolist() == [[1, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": ["a.mp3"]}, "has 3 track_id and 1 path; give one a track"),
        ({"artist": ["A"]}, "has 3 track_id and 1 artist"),
        ({"track_id": ["a", 2, "c"]}, "catalog 'three', row 1: track_id is 2; it must be a str"),
        ({"split": ["train", float("nan"), ""]}, "row 1: split is nan; it must be a str"),
        ({"track_id": ["a", "", "c"]}, "row 1: the id is empty"),
        (
            {"track_id": ["a", "b", "a"]},
            r"three', row 2: the id 'a' is also that of .*, row 0; ids must be unique: drop one",
        ),
        ({"path": ["a\0.mp3", "b", "c"]}, r"row 0: path is .*NUL or is not valid UTF-8; rename it"),
        ({"path": ["a", "caf\udce9.mp3", "c"]}, r"row 1: path is 'caf\\udce9\.mp3'.*rename it"),
        ({"split": ["train", "tset", ""]}, "row 1: split is 'tset'; it must be one of train, val"),
        ({"tags": ("loud", "split")}, "called 'split'.*rename it, to 'split_tag' for instance"),
        ({"tags": ("loud", "loud")}, "tag 'loud' occurs twice; drop or rename one"),
        ({"tags": ("loud", " ")}, "tag 1 is ' '; give it a name"),
        ({"tags": ("loud", "\udce9")}, "tag 1 is .*; give it a name in UTF-8"),
        ({"labels": np.zeros((3, 1))}, r"have shape \(3, 1\); they must be \(3, 2\)"),
        (
            {"labels": np.array([[0, 0], [0, 2], [0, 0]])},
            "row 1: 'quiet' is 2; a label must be 0 or 1",
        ),
        ({"labels": np.full((3, 2), np.nan)}, "row 0: 'loud' is nan; a label must be 0 or 1"),
        ({"labels": np.full((3, 2), 255, np.uint8)}, "row 0: 'loud' is 255"),
        ({"fold": [0, 1]}, r"fold is int64 of shape \(2,\); it must be \(3,\) whole numbers"),
        ({"fold": [0.0, 1.0, 2.0]}, "fold is float64"),
        ({"fold": [0, -1, 2]}, "row 1: fold is -1; it must be from 0 to 32767"),
        ({"fold": [0, 1, 2**16]}, "row 2: fold is 65536"),
    ],
)
def test_what_cannot_be_is_refused_with_the_row_and_the_remedy(changes, message):
    with pytest.raises(CatalogError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "..", "../a", "x/../../a", "x/..", "x\\..\\a", "C:\\a", "s3://b/a"],
)
def test_a_path_that_leads_out_of_the_root_is_refused(path):
    with pytest.raises(CatalogError, match=r"row 1: path is .* relative to /music and stay inside"):
        make(path=["a.mp3", path, "c.mp3"])


@pytest.mark.parametrize("path", ["..a", "a..", "x/...mp3", "a: b/c.mp3", "A :: B.mp3", "~/a", "Ω"])
def test_a_path_that_only_looks_odd_is_taken(path):
    assert make(path=["a.mp3", path, "c.mp3"]).path[1] == path


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (
            {"year": np.zeros(2)},
            r"year is float64 of shape \(2,\); it must be \(3,\) int64",
        ),
        ({"year": np.zeros(3, np.int8)}, "year is int8"),
        ({"title": np.array(["a", 1, "c"], object)}, "row 1: title is 1; it must be text"),
        ({"title": np.array(["a", "b\0", "c"], object)}, r"row 1: title is 'b\\x00'"),
        ({"title": np.array(["a", "b", "\udce9"], object)}, "row 2: title is .* storable as UTF-8"),
        ({"loud": np.zeros(3)}, "'loud' is both a column of metadata and a tag"),
        ({"tag": np.zeros(3)}, "called 'tag', and so is one that the clip table has"),
        ({3: np.zeros(3)}, "called 3; it must begin"),
    ],
)
def test_metadata_that_cannot_be_stored_are_refused(meta, message):
    with pytest.raises(CatalogError, match=message):
        make(meta=meta)


def test_metadata_are_kept_and_cannot_be_changed_through_what_they_were_made_from():
    year = np.array([1, 2, 3])
    catalog = make(meta={"year": year})
    year[0] = 9
    assert pickle.loads(pickle.dumps(catalog)).meta["year"].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        catalog.meta["year"][0] = 1


def test_no_track_is_refused():
    with pytest.raises(CatalogError, match="lists no track"):
        make(track_id=[], path=[], split=[], labels=np.zeros((0, 2)))


def test_every_column_of_the_clip_table_is_reserved():
    for name in RESERVED:
        with pytest.raises(CatalogError, match=f"called '{name}'"):
            make(tags=("loud", name))


def test_messages_name_the_place_that_the_caller_gives():
    with pytest.raises(CatalogError, match=r"^f\.csv:4: the id 'a' is also that of f\.csv:2;"):
        make(track_id=["a", "b", "a"], where=lambda row: f"f.csv:{row + 2}")


def test_multi_hot_sorts_the_tags_and_marks_each_tracks():
    tags, labels = multi_hot([["b", "a"], [], ["b", "b"]])
    assert tags == ("a", "b")
    assert labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert labels.dtype == np.uint8
