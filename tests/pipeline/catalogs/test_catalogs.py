"""`open_catalog`: what the command line gives becomes a catalog, or an error with a remedy."""

import os
import subprocess
import sys

import fsspec
import pytest

from featurestore.errors import CatalogError
from pipeline.audio.file import opened
from pipeline.catalogs import CATALOGS, TableSettings, open_catalog


def test_a_folder_a_table_and_a_data_set_are_told_apart(tmp_path, sample):
    (tmp_path / "a.mp3").touch()
    (tmp_path / "t.csv").write_text("path\nb.mp3\n")
    folder = sample("mtat")
    assert open_catalog(str(tmp_path)).path == ("a.mp3",)
    assert open_catalog(str(tmp_path / "t.csv")).path == ("b.mp3",)
    assert open_catalog(folder, "mtat").name == "mtat"


def test_the_root_is_absolute_so_that_workers_find_it_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.mp3").touch()
    (tmp_path / "x" / "t.csv").write_text("path\na.mp3\n")
    monkeypatch.chdir(tmp_path)
    for audio in ("x", "x" + os.sep, "x/t.csv", "./x/../x/t.csv"):
        assert open_catalog(audio).root == str(tmp_path / "x")
    monkeypatch.chdir(tmp_path / "x")
    for audio in (".", "t.csv"):
        assert open_catalog(audio).root == str(tmp_path / "x")


def test_two_colons_in_a_path_are_no_chain_of_urls(tmp_path):
    """At a URL and in a folder; listed, and read."""
    memory = fsspec.filesystem("memory")
    folder = tmp_path / "s3::a"
    folder.mkdir()
    for path in ("s3::a/b::c.wav", "s3::a/::.wav", "s3::a/t::s.csv"):
        data = b"path\nb::c.wav\n" if path.endswith("csv") else path.encode()
        (tmp_path / path).write_bytes(data)
        memory.pipe_file(f"memory://{tmp_path.name}/{path}", data)
    for root in (str(folder), f"memory://{tmp_path.name}/s3::a"):
        assert open_catalog(root).path == ("::.wav", "b::c.wav")
        assert open_catalog(root).root == root
        assert open_catalog(f"{root}/t::s.csv").path == ("b::c.wav",)
        with opened(f"{root}/b::c.wav") as (file, _):
            assert file.read() == b"s3::a/b::c.wav"


def test_what_does_not_exist_is_refused(tmp_path):
    with pytest.raises(CatalogError, match="nothing here does not exist; give a folder of audio"):
        open_catalog(str(tmp_path / "nothing here"))


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "a.mp3").touch()
    with pytest.raises(CatalogError, match=r"a\.mp3 is a file; give a folder, or a table"):
        open_catalog(str(tmp_path / "a.mp3"))


def test_a_data_set_needs_its_folder(tmp_path):
    (tmp_path / "t.csv").write_text("path\na.mp3\n")
    with pytest.raises(CatalogError, match=r"t\.csv is a file; give the folder of mtat"):
        open_catalog(str(tmp_path / "t.csv"), "mtat")


def test_the_root_of_a_tables_paths_may_be_another_folder_or_a_url(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text(f"path\n{tmp_path}/music/a.mp3\n./b.mp3\n")
    monkeypatch.chdir(tmp_path)
    for root in ("music", "./music/", str(tmp_path / "x" / ".." / "music")):
        catalog = open_catalog("t.csv", table=TableSettings(root=root))
        assert (catalog.root, catalog.path) == (str(tmp_path / "music"), ("a.mp3", "b.mp3"))
    (tmp_path / "t.csv").write_text("path\ns3://bucket/x/a.mp3\nb.mp3\n")
    catalog = open_catalog("t.csv", table=TableSettings(root="s3://bucket/x/"))
    assert (catalog.root, catalog.path) == ("s3://bucket/x", ("a.mp3", "b.mp3"))


def test_settings_of_a_table_are_refused_for_what_is_none(tmp_path, sample):
    folder = sample("mtat")
    with pytest.raises(CatalogError, match=r"--label, --root: that is for a table .* is a folder;"):
        open_catalog(folder, table=TableSettings(label="x", root="/y"))
    with pytest.raises(CatalogError, match=r"--meta: that .* of the data set mtat; leave it out"):
        open_catalog(folder, "mtat", TableSettings(meta="x"))


def test_an_unknown_data_set_is_refused_and_the_known_ones_listed(tmp_path):
    with pytest.raises(CatalogError, match="no catalog is called 'mtta'; choose from fma-full"):
        open_catalog(str(tmp_path), "mtta")


def test_names_are_in_order_and_fit_a_command_line():
    assert list(CATALOGS) == sorted(CATALOGS)
    assert all(name.replace("-", "").isalnum() and name.islower() for name in CATALOGS)


def test_importing_the_catalogs_imports_nothing_heavy():
    heavy = "{'pandas', 'fsspec', 'dask', 'zarr', 'torch', 'soundfile', 'librosa'}"
    code = f"import sys, pipeline.catalogs; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_the_real_labels_csv_lists_200_clips_with_folds_and_13_tags(shared):
    catalog = open_catalog(str(shared / "realmusic" / "labels.csv"))
    assert len(catalog) == 200
    assert catalog.tags[:4] == ("classical", "electronic", "pop", "rock")
    assert len(catalog.tags) == 13
    assert catalog.labels[:, :4].sum(axis=0).tolist() == [50, 50, 50, 50]
    assert catalog.fold is not None
    assert set(catalog.fold.tolist()) == {0, 1, 2, 3, 4}
    assert all(os.path.isfile(os.path.join(catalog.root, path)) for path in catalog.path)
