import os

import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs.paths import list_paths
from pipeline.catalogs.table.settings import TableSettings


@pytest.fixture
def music(tmp_path, monkeypatch):
    """Names alone: nothing is read."""
    for name in ("a.mp3", "deep/er/b.flac", "notes.txt", "c.wav"):
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "table.csv").write_text("path,rock\nmusic/c.wav,1\nmusic/a.mp3,0\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_are_all_audio_below_them_as_they_were_written(music):
    assert list_paths(["music/"]) == ["music/a.mp3", "music/c.wav", "music/deep/er/b.flac"]
    assert list_paths([str(music / "music/deep")]) == [str(music / "music/deep/er/b.flac")]


def test_tables_are_their_paths_in_order_and_labels_do_not_matter(music):
    assert list_paths(["table.csv"]) == ["music/c.wav", "music/a.mp3"]


def test_each_file_is_listed_once_where_it_is_named_first(music):
    places = ["music/c.wav", "table.csv", os.path.abspath("music/a.mp3"), "music"]
    assert list_paths(places) == ["music/c.wav", "music/a.mp3", "music/deep/er/b.flac"]


def test_a_file_that_is_not_there_is_listed_to_fail_by_its_name(music):
    assert list_paths(["gone.mp3", "music/a.mp3"]) == ["gone.mp3", "music/a.mp3"]


def test_a_table_s_settings_without_a_table_are_refused(music):
    with pytest.raises(CatalogError, match=r"--root: that is for a table of tracks"):
        list_paths(["music"], TableSettings(root="elsewhere"))
    assert list_paths(["table.csv"], TableSettings(root="else")) == [
        "else/music/c.wav",
        "else/music/a.mp3",
    ]
