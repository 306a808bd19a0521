import os
import sys
from pathlib import Path

import fsspec
import pytest
import soundfile

from featurestore.errors import CatalogError
from pipeline.catalogs.folder import EXTENSIONS, MAX_FOLDER_TAGS, list_folder


def fill(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return str(folder)


def test_audio_is_listed_by_relative_path_in_order_whatever_the_case_of_its_ending(tmp_path):
    folder = fill(tmp_path, "b.mp3", "a/Ω ü.FLAC", "a/a.Wav", "a.MKV", "cover.jpg", "mp3")
    catalog = list_folder(folder)
    assert catalog.track_id == catalog.path == ("a/a.Wav", "a/Ω ü.FLAC", "b.mp3")
    assert catalog.split == ("", "", "")
    assert (catalog.name, catalog.root) == (tmp_path.name, folder)


# By libsndfile's formats: the endings of what it reads alone.
OF_LIBSNDFILE = {".mp1": "MP3", ".rf64": "RF64", ".snd": "AU"}


def test_every_ending_stands_for_a_format_that_libsndfile_or_ffmpeg_reads():
    av = pytest.importorskip("av")
    of_ffmpeg: set[str] = set()
    for name in av.formats_available:
        endings = av.format.ContainerFormat(name).extensions
        of_ffmpeg.update("." + ending for ending in endings)
    assert set(EXTENSIONS) - of_ffmpeg <= set(OF_LIBSNDFILE)
    assert set(OF_LIBSNDFILE.values()) <= soundfile.available_formats().keys()
    assert list(EXTENSIONS) == sorted(set(EXTENSIONS))


@pytest.mark.parametrize("ending", [".m4a", ".wma", ".opus", ".webm", ".Wav", ".mp3"])
def test_what_either_decoder_reads_is_listed(tmp_path, ending):
    assert list_folder(fill(tmp_path, "a" + ending)).path == ("a" + ending,)


def test_what_is_passed_over_is_counted_by_ending(tmp_path):
    folder = fill(
        tmp_path, "a.mp3", "b.txt", "x/C.TXT", "x/cover.jpg", "x/old.tar.gz", "more.zip", "README",
        "Live. at the club", ".hidden.txt", ".git/config.txt", "x/d.wav",
    )  # fmt: skip
    (tmp_path / "link").symlink_to(tmp_path / "x")
    catalog = list_folder(folder)
    assert catalog.path == ("a.mp3", "x/d.wav")
    assert catalog.passed_over == {
        ".txt": 2, ".jpg": 1, ".tar.gz": 1, ".zip": 1, "without an ending": 2, "linked folder": 1,
    }  # fmt: skip
    assert catalog.lines() == [
        "passed over: 2 .txt, 2 without an ending, 1 .jpg, 1 .tar.gz, 1 .zip, 1 linked folder "
        "(what is in archives is not listed: unpack them)"
    ]


def test_nothing_is_said_where_nothing_is_passed_over(tmp_path):
    catalog = list_folder(fill(tmp_path, "a.mp3", ".DS_Store"))
    assert (dict(catalog.passed_over), catalog.lines()) == ({}, [])


def test_many_kinds_that_are_passed_over_are_told_in_one_line(tmp_path):
    names = [f"{number}.x{number // 2}" for number in range(30)]
    [line] = list_folder(fill(tmp_path, "a.mp3", *names)).lines()
    assert line == (
        "passed over: 2 .x0, 2 .x1, 2 .x10, 2 .x11, 2 .x12, 2 .x13, 2 .x14, 2 .x2, "
        "14 of 7 other kinds"
    )


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
    fill(tmp_path, "notes.txt", "a.mkv", "b.mkv")
    message = r"no audio: no file ends in \.3gp, .*\.wv .*; found: 2 \.mkv, 1 \.txt\); give the"
    with pytest.raises(CatalogError, match=message):
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
    assert catalog.passed_over == {".txt": 1}
    assert (catalog.name, catalog.root) == ("test_folder", "memory://test_folder")
