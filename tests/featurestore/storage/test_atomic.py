import os
import threading
from pathlib import Path

import pytest

from featurestore.errors import OutputError, StorageError
from featurestore.storage.atomic import atomic_write, output_errors

FULL = Path("/dev/full")  # a device that has no space, on Linux


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    with (
        pytest.raises(TypeError, match="must be str"),
        atomic_write(path, what="the page") as partial,
    ):
        partial.write_text(b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "old"
    with atomic_write(path, what="the page") as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]


def test_of_two_that_write_at_the_same_time_the_later_wins_whole(tmp_path):
    path = tmp_path / "page.html"
    with (
        atomic_write(path, what="the page") as first,
        atomic_write(path, what="the page") as second,
    ):
        first.write_text("first, and longer")
        second.write_text("second")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["first, and longer"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/page.html")
    with atomic_write(tmp_path / "link", what="the page") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert [p.read_text() for p in (tmp_path / "real").iterdir()] == ["new"]


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    with atomic_write(tmp_path / "pipe", what="the page") as place:
        place.write_text("new")
    reader.join()
    assert read == ["new"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_name_may_be_as_long_as_names_may_be(tmp_path):
    for name in ("a" * 255, "音" * 85):
        with atomic_write(tmp_path / name, what="the page") as partial:
            partial.write_text("new")
        assert (tmp_path / name).read_text() == "new"


@pytest.mark.parametrize("given", [".", "", "..", "/", "missing/page.html"])
def test_errors_name_the_path_that_was_given(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    named = rf"^the page {given or '.'} cannot be written: .* directory; name another place$"
    with (
        pytest.raises(OutputError, match=named),
        atomic_write(Path(given), what="the page") as place,
    ):
        place.write_text("new")
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_the_store_is_not_taken_for_a_failure_to_write(tmp_path):
    with pytest.raises(StorageError, match="s3 is down"), output_errors(tmp_path, what="the page"):
        raise StorageError("s3 is down")


def test_a_full_disk_is_named_with_the_file_and_the_remedy():
    named = "^the log /dev/full cannot be written: No space left on device; name another place$"
    with pytest.raises(OutputError, match=named), atomic_write(FULL, what="the log") as place:
        place.write_text("new")
