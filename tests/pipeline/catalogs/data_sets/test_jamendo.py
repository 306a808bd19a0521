from collections import Counter
from pathlib import Path

import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs import open_catalog


def test_the_last_column_repeats_and_tags_are_sorted(sample):
    catalog = open_catalog(sample("jamendo"), "jamendo")
    assert catalog.tags == ("genre---jazz", "genre---rock", "mood/theme---sad")
    assert catalog.labels.tolist() == [[0, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert catalog.track_id == ("track_0000002", "track_0000003", "track_0000104")
    assert catalog.split == ("train", "validation", "test")
    assert catalog.artist == ("artist_01", "artist_02", "artist_03")


def test_the_low_edition_is_found_by_its_file_names(sample):
    folder = sample("jamendo")
    (Path(folder) / "02").mkdir()
    (Path(folder) / "02" / "2.low.mp3").touch()
    assert open_catalog(folder, "jamendo").path == (
        "02/2.low.mp3",
        "03/3.low.mp3",
        "04/104.low.mp3",
    )


def test_an_id_that_is_in_two_splits_is_named_with_both_places(sample):
    folder = sample("jamendo")
    file = Path(folder) / "autotagging_top50tags-test.tsv"
    file.write_bytes(file.read_bytes().replace(b"track_0000104", b"track_0000002"))
    with pytest.raises(
        CatalogError, match=r"test\.tsv:2: the id 'track_0000002' is also that of .*train\.tsv:2"
    ):
        open_catalog(folder, "jamendo")


def test_other_columns_are_refused(sample):
    folder = sample("jamendo")
    (Path(folder) / "autotagging_top50tags-test.tsv").write_text("TRACK_ID\tPATH\na\tb.mp3\n")
    with pytest.raises(CatalogError, match="does not have the columns TRACK_ID, ARTIST_ID"):
        open_catalog(folder, "jamendo")


def test_the_real_files_have_the_published_counts_tags_and_separate_artists(shared):
    catalog = open_catalog(str(shared / "jamendo"), "jamendo")
    assert Counter(catalog.split) == {"train": 32136, "validation": 10888, "test": 11356}
    assert list(catalog.tags) == (shared / "jamendo" / "top50.txt").read_text().split()
    assert catalog.labels.any(axis=1).all()
    assert catalog.artist is not None
    splits_of = set(zip(catalog.artist, catalog.split, strict=True))
    assert len(splits_of) == len(set(catalog.artist))
