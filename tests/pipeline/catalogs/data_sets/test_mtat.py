import gzip
from collections import Counter
from pathlib import Path

import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs import open_catalog
from pipeline.catalogs.data_sets.mtat import CLEAN_LACKS, KNOWN_BAD, TOP50


def test_splits_go_by_the_first_folder(sample):
    catalog = open_catalog(sample("mtat"), "mtat")
    assert dict(zip(catalog.track_id, catalog.split, strict=True)) == {
        "2": "test",
        "6": "train",
        "7": "validation",
        "9": "train",
    }


def test_the_top_50_come_in_the_canonical_order_whatever_the_files(sample):
    catalog = open_catalog(sample("mtat"), "mtat")
    assert catalog.tags == TOP50
    assert [catalog.tags[row.argmax()] for row in catalog.labels[:2]] == ["guitar", "choral"]
    assert not catalog.labels[2].any()


def test_all_tags_come_in_the_files_order(sample):
    catalog = open_catalog(sample("mtat"), "mtat-all")
    assert catalog.tags == (*reversed(TOP50), "lol")


def test_the_clean_split_drops_untagged_clips_and_those_that_the_published_lists_lack(sample):
    assert open_catalog(sample("mtat"), "mtat-clean").track_id == ("2", "6")


def test_artists_and_albums_are_matched_by_clip_and_taken_literally(sample):
    catalog = open_catalog(sample("mtat"), "mtat")
    assert catalog.artist == ("B", "A", "NA", "D")
    assert catalog.album == ("B's", 'The "A" album', "null", "")


def test_artists_are_unknown_without_clip_info(sample):
    folder = sample("mtat")
    (Path(folder) / "clip_info_final.csv.gz").unlink()
    assert open_catalog(folder, "mtat").artist is None


def test_a_clip_in_an_unknown_folder_is_an_error(sample):
    folder = sample("mtat")
    file = Path(folder) / "annotations_final.csv"
    file.write_bytes(file.read_bytes().replace(b"f/b-1", b"x/b-1"))
    with pytest.raises(CatalogError, match="row 0: split is 'x'; it must be one of train"):
        open_catalog(folder, "mtat")


def test_a_missing_tag_column_is_named(sample):
    folder = sample("mtat")
    file = Path(folder) / "annotations_final.csv"
    file.write_bytes(file.read_bytes().replace(b'"harp"', b'"lyre"'))
    with pytest.raises(CatalogError, match="has no column 'harp'"):
        open_catalog(folder, "mtat")


def test_the_real_file_has_the_published_counts(shared):
    folder = str(shared / "mtat")
    by_folder = open_catalog(folder, "mtat")
    counts = {"train": 18706, "validation": 1825, "test": 5329}
    assert Counter(by_folder.split) == counts
    assert Counter(open_catalog(folder, "mtat-all").split) == counts
    assert len(open_catalog(folder, "mtat-all").tags) == 188
    # 21,111 in the file, less the three empty clips, which are tagged.
    assert by_folder.labels.any(axis=1).sum() == 21111 - len(KNOWN_BAD)
    assert by_folder.artist is not None
    assert by_folder.artist[0] == "American Bach Soloists"


def test_the_real_files_clean_split_is_the_published_one(shared):
    catalog = open_catalog(str(shared / "mtat"), "mtat-clean")
    for split, stem, count in (
        ("train", "train", 15244),
        ("validation", "valid", 1529),
        ("test", "test", 4332),
    ):
        with gzip.open(shared / "mtat" / f"split-clean-{stem}.txt.gz", "rt") as file:
            published = set(file.read().split())
        listed = {p for p, s in zip(catalog.path, catalog.split, strict=True) if s == split}
        assert listed == published
        assert len(listed) == count


def test_the_clips_that_the_published_lists_lack_are_the_first_three_tagged_ones(shared):
    catalog = open_catalog(str(shared / "mtat"), "mtat")
    tagged = [p for p, row in zip(catalog.path, catalog.labels, strict=True) if row.any()]
    assert tuple(sorted(tagged)[:3]) == CLEAN_LACKS


def test_the_canonical_order_is_that_of_frequency_and_of_the_published_list(shared):
    catalog = open_catalog(str(shared / "mtat"), "mtat-all")
    counts = dict(zip(catalog.tags, catalog.labels.sum(axis=0, dtype=int), strict=True))
    published = (shared / "mtat" / "top50_tags.txt").read_text().split()
    # The list writes "no vocals" as noVocals.
    assert [tag.lower() for tag in published] == [tag.replace(" ", "") for tag in TOP50]
    assert min(counts[tag] for tag in TOP50) >= max(
        count for tag, count in counts.items() if tag not in TOP50
    )
