import os
import sys
from pathlib import Path

import fsspec
import pytest

from featurestore.errors import CatalogError
from pipeline.catalogs.folder import EXTENSIONS, MAX_FOLDER_TAGS, list_folder


def fill(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return str(folder)


def test_audio_is_listed_by_relative_path_in_order_whatever_the_case_of_its_ending(tmp_path):
    folder = fill(tmp_path, "b.mp3", "a/Ω ü.FLAC", "a/a.Wav", "a.m4a", "cover.jpg", "mp3")
    catalog = list_folder(folder)
    assert catalog.track_id == catalog.path == ("a/a.Wav", "a/Ω ü.FLAC", "b.mp3")
    assert catalog.split == ("", "", "")
    assert (catalog.name, catalog.root) == (tmp_path.name, folder)


def test_every_ending_stands_for_a_format_that_libsndfile_reads():
    soundfile = pytest.importorskip("soundfile")
    known = {"AIF": "AIFF", "OGA": "OGG", "OPUS": "OGG"}
    for extension in EXTENSIONS:
        name = extension[1:].upper()
        assert known.get(name, name) in soundfile.available_formats()


def test_hidden_files_and_folders_are_skipped(tmp_path):
    folder = fill(tmp_path, "a.mp3", "._a.mp3", ".mp3", ".Trash/b.mp3", "x/.y/c.mp3")
    assert list_folder(folder).path == ("a.mp3",)


def test_sub_folders_are_tags_if_every_track_is_in_one(tmp_path):
    catalog = list_folder(fill(tmp_path, "rock/x/a.mp3", "jazz/b.mp3", "rock/c.mp3"))
    assert catalog.tags == ("jazz", "rock")
    assert catalog.path == ("jazz/b.mp3", "rock/c.mp3", "rock/x/a.mp3")
    assert catalog.labels.tolist() == [[1, 0], [0, 1], [0, 1]]


@pytest.mark.parametrize(
    "names",
    [
        ["rock/a.mp3", "jazz/b.mp3", "c.mp3"],
        ["audio/a.mp3", "audio/b.mp3"],
        ["rock/a.mp3", "artist/b.mp3"],
        [f"{number}/a.mp3" for number in range(MAX_FOLDER_TAGS + 1)],
    ],
    ids=["a track outside", "one folder", "a reserved name", "too many"],
)
def test_sub_folders_are_no_tags_where_they_cannot_be_meant_so(names, tmp_path):
    catalog = list_folder(fill(tmp_path, *names))
    assert catalog.tags == ()
    assert catalog.labels.shape == (len(names), 0)


def test_tags_are_taken_or_left_as_asked(tmp_path):
    folder = fill(tmp_path, "rock/a.mp3", "b.mp3")
    assert list_folder(folder, tags=True).labels.tolist() == [[0], [1]]
    fill(tmp_path, "jazz/c.mp3")
    (tmp_path / "b.mp3").unlink()
    assert list_folder(folder).tags == ("jazz", "rock")
    assert list_folder(folder, tags=False).tags == ()


def test_a_folder_called_like_a_track_is_listed_if_no_track_is_in_it(tmp_path):
    fill(tmp_path, "b.mp3/c.mp3", "d/e.mp3/notes.txt", "a.mp3")
    (tmp_path / "x.mp3").mkdir()
    assert list_folder(str(tmp_path)).path == ("a.mp3", "b.mp3/c.mp3", "d/e.mp3", "x.mp3")


def test_a_folder_without_audio_is_refused_and_the_endings_told(tmp_path):
    fill(tmp_path, "notes.txt", "a.m4a")
    with pytest.raises(CatalogError, match=r"holds no audio: no file ends in \.aif, .*\.wav"):
        list_folder(str(tmp_path))


def test_linked_files_are_listed_and_linked_folders_not_entered(tmp_path):
    fill(tmp_path, "outside/a.mp3", "inside/b.mp3")
    (tmp_path / "inside" / "a.mp3").symlink_to(tmp_path / "outside" / "a.mp3")
    (tmp_path / "inside" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "inside" / "round").symlink_to(tmp_path / "inside")
    assert list_folder(str(tmp_path / "inside")).path == ("a.mp3", "b.mp3")


def test_a_sub_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    fill(tmp_path, "a.mp3", "locked/b.mp3")
    scandir = os.scandir

    def refuse(path):  # chmod would not stop a test that runs as root
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CatalogError, match=r"locked cannot be read: Permission denied; allow it"):
        list_folder(str(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_not_utf8_is_listed_with_its_bytes_escaped(tmp_path):
    inside = os.path.join(os.fsencode(tmp_path), b"\xff")
    os.mkdir(inside)
    with open(os.path.join(inside, b"caf\xe9.mp3"), "wb"):
        pass
    assert list_folder(str(tmp_path)).path == ("\\xff/caf\\xe9.mp3",)


def test_a_folder_at_a_url_is_listed_like_a_local_one():
    fs = fsspec.filesystem("memory")
    for name in ("rock/a.mp3", "jazz/b.MP3", ".x/c.mp3", "rock/.d.mp3", "notes.txt"):
        fs.pipe_file(f"/test_folder/{name}", b"")
    try:
        catalog = list_folder("memory://test_folder")
    finally:
        fs.rm("/test_folder", recursive=True)
    assert catalog.path == ("jazz/b.MP3", "rock/a.mp3")
    assert catalog.tags == ("jazz", "rock")
    assert (catalog.name, catalog.root) == ("test_folder", "memory://test_folder")
