import pytest

from featurestore.whole import whole


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    (tmp_path / "page.html.partial").write_text("left by a killed process")
    with pytest.raises(TypeError, match="must be str"), whole(path) as partial:
        partial.write_text(b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "old"
    with whole(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]
