from pathlib import Path

import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs import open_catalog


@pytest.mark.parametrize(
    ("edition", "ids", "tags"),
    [
        ("small", ("2", "140"), ("Folk", "Hip-Hop")),
        ("medium", ("2", "140", "1023"), ("Folk", "Hip-Hop", "Rock")),
        ("large", ("2", "140", "1023", "123456"), ("Folk", "Hip-Hop", "Rock")),
        ("full", ("2", "140", "99134", "1023", "123456"), ("Folk", "Hip-Hop", "Rock")),
    ],
)
def test_an_edition_holds_the_smaller_ones_and_only_excerpts_can_be_known_bad(
    sample, edition, ids, tags
):
    catalog = open_catalog(sample("fma"), f"fma-{edition}")
    assert catalog.track_id == ids
    assert catalog.tags == tags


def test_paths_splits_genres_artists_and_albums_are_the_tables(sample):
    catalog = open_catalog(sample("fma"), "fma-large")
    assert catalog.path == (
        "fma_large/000/000002.mp3",
        "fma_large/000/000140.mp3",
        "fma_large/001/001023.mp3",
        "fma_large/123/123456.mp3",
    )
    assert catalog.split == ("train", "validation", "test", "test")
    assert catalog.labels.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert catalog.artist == ("10", "20", "40", "50")
    assert catalog.album == ("1", "2", "4", "5")


def test_a_missing_column_is_named(sample):
    folder = sample("fma")
    file = Path(folder) / "fma_metadata" / "tracks.csv"
    file.write_text(file.read_text().replace("genre_top", "genre"))
    with pytest.raises(CatalogError, match=r"has no column track\.genre_top"):
        open_catalog(folder, "fma-small")
