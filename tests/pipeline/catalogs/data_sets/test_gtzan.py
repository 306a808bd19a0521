from collections import Counter

from pipeline.catalogs import open_catalog


def test_the_folder_is_the_genre_and_the_list_the_split(sample):
    catalog = open_catalog(sample("gtzan"), "gtzan")
    assert catalog.tags == ("blues", "jazz", "rock")
    assert catalog.labels.tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert catalog.split == ("train", "train", "validation", "test")


def test_all_of_it_is_what_is_there_once_and_without_splits(sample):
    catalog = open_catalog(sample("gtzan"), "gtzan-all")
    assert catalog.path == ("blues/blues.00000.wav", "blues/blues.00001.wav", "rock/rock.00001.au")
    assert catalog.tags == ("blues", "rock")
    assert set(catalog.split) == {""}


def test_the_real_lists_have_the_published_counts(shared):
    catalog = open_catalog(str(shared / "gtzan"), "gtzan")
    assert Counter(catalog.split) == {"train": 443, "validation": 197, "test": 290}
    assert len(catalog.tags) == 10
    assert (catalog.labels.sum(axis=1) == 1).all()
