import os
import threading

import pytest

from featurestore.storage.atomic import whole


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(TypeError, match="must be str"), whole(path) as partial:
        partial.write_text(b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "old"
    with whole(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]


def test_of_two_that_write_at_the_same_time_the_later_wins_whole(tmp_path):
    path = tmp_path / "page.html"
    with whole(path) as first, whole(path) as second:
        first.write_text("first, and longer")
        second.write_text("second")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["first, and longer"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/page.html")
    with whole(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert [p.read_text() for p in (tmp_path / "real").iterdir()] == ["new"]


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    with whole(tmp_path / "pipe") as place:
        place.write_text("new")
    reader.join()
    assert read == ["new"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_name_may_be_as_long_as_names_may_be(tmp_path):
    for name in ("a" * 255, "音" * 85):
        with whole(tmp_path / name) as partial:
            partial.write_text("new")
        assert (tmp_path / name).read_text() == "new"


@pytest.mark.parametrize("given", [".", "", "..", "/", "missing/page.html"])
def test_errors_name_the_path_that_was_given(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="directory") as caught, whole(type(tmp_path)(given)) as place:
        place.write_text("new")
    assert caught.value.filename == (given or ".")
    assert list(tmp_path.iterdir()) == []
