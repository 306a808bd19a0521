import os
import pickle
import signal
import subprocess
import sys

import pytest

from featurestore.errors import StoreFormatError
from featurestore.storage.files import PARTIAL, Files


@pytest.fixture(params=["local", "remote"])
def files(request, tmp_path):
    """Files in a folder, or at a URL of fsspec's file system in memory.

    With what chains URLs in their names, which is not to be taken for that.
    """
    if request.param == "local":
        return Files(tmp_path / "ro::ot")
    return Files(f"memory://{tmp_path.name}/ro::ot")


def test_what_was_written_is_read(files):
    files.write("a/b/c", b"one")
    files.write("a/b/c", b"two")
    files.write("a/d", [b"th", b"ree"])
    assert files.read("a/b/c") == b"two"
    assert files.read("a/d") == b"three"


def test_several_files_are_written_and_read_at_once(files):
    files.write_several({"a/b": b"1", "a/c": b"2", "d": b"3"})
    files.write_several({})
    assert files.read_several(["d", "e", "a/b", "a/b/c"]) == [b"3", None, b"1", None]


def test_what_is_not_there_reads_as_none(files):
    assert files.read("a") is None
    files.write("a", b"")
    assert files.read("a") == b""
    assert files.read("a/b") is None


def test_names_are_those_directly_in_a_folder(files):
    for key in ("b/2", "b/1/x", "b/1/y", "c"):
        files.write(key, b"")
    assert files.names("b") == ["1", "2"]
    assert files.names("d") == []
    assert set(files.names("")) >= {"b", "c"}


def test_sizes_are_those_of_all_files_below(files):
    for key, size in (("b/2", 20), ("b/1/x", 3), ("c", 100)):
        files.write(key, bytes(size))
    assert sorted(files.sizes("b")) == [3, 20]
    assert list(files.sizes("d")) == []


def test_removing_a_folder_leaves_its_neighbours(files):
    for key in ("b/1/x", "b/2", "bc"):
        files.write(key, b"")
    files.remove("b")
    files.remove("b")
    assert files.names("b") == []
    assert files.read("bc") == b""


def test_removing_a_file_leaves_its_neighbours(files):
    for key in ("b/1", "b/2"):
        files.write(key, b"")
    files.remove("b/1")
    assert files.names("b") == ["2"]


def test_a_file_has_a_size_and_is_read_in_parts(files):
    files.write("a/b", b"0123456789")
    assert (files.size("a/b"), files.size("a/c"), files.size("a/b/c")) == (10, None, None)
    assert files.read_range("a/b", 3, 7) == b"3456"
    assert files.read_range("a/b", 8, 20) == b"89"
    with pytest.raises(FileNotFoundError):
        files.read_range("a/c", 0, 1)


def test_a_file_is_read_at_any_position(tmp_path):
    files = Files(tmp_path)
    files.write("a", b"0123456789")
    with files.open("a") as file:
        assert file.size == 10
        assert file.read_at(3, 4) == b"3456"
        assert file.read_at(8, 4) == b"89"


def test_opening_what_is_not_there_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        Files(tmp_path).open("a")


def test_another_file_in_the_same_place_has_another_identity(tmp_path):
    files = Files(tmp_path)
    files.write("a", b"one")
    with files.open("a") as before:
        files.write("a", b"two!")
        with files.open("a") as after:
            assert before.identity != after.identity
        with files.open("a") as again:
            assert again.identity == after.identity


def test_a_reader_goes_on_with_the_file_it_has_opened(tmp_path):
    files = Files(tmp_path)
    files.write("a", b"old bytes")
    with files.open("a") as file:
        files.write("a", b"new")
        assert file.read_at(0, 100) == b"old bytes"


def test_a_root_exists_once_anything_is_there(files, tmp_path):
    assert not files.exists()
    files.write("a", b"")
    assert files.exists()
    assert not files.is_file()


def test_a_root_that_is_a_file_is_told_apart(tmp_path):
    (tmp_path / "a").write_text("text")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("a", "dangling"):
        assert Files(tmp_path / name).exists()
        assert Files(tmp_path / name).is_file()
        assert Files(tmp_path / name).names("") == []
        assert Files(tmp_path / name).read("zarr.json") is None


@pytest.mark.parametrize("key", ["../a", "a/../../b", "/etc/passwd", "a//b", "a/", "./a", ".."])
def test_no_key_leads_out_of_the_root(files, key):
    for act in (files.path, files.read, files.open, files.names, files.remove):
        with pytest.raises(StoreFormatError, match="is not a key below"):
            act(key)
    with pytest.raises(StoreFormatError, match="is not a key below"):
        files.write(key, b"")


def test_files_are_picklable_also_after_use(files):
    files.write("a", b"1")
    again = pickle.loads(pickle.dumps(files))
    assert again.root == files.root
    assert again.read("a") == b"1"


def test_a_relative_root_is_fixed_when_it_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = Files("store")
    monkeypatch.chdir("/")
    files.write("a", b"")
    assert (tmp_path / "store/a").exists()


@pytest.mark.parametrize("step", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, step, error
):
    files = Files(tmp_path)
    files.write("a/b", b"old")

    def fail(*arguments, **options):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(type(error)):
            files.write("a/b", b"new")
        with pytest.raises(type(error)):
            files.write("a/c", b"new")
    assert files.read("a/b") == b"old"
    assert files.names("a") == ["b"]
    assert files.names(PARTIAL) == []


WRITE_FOR_EVER = """
import itertools, sys
from featurestore.storage.files import Files
files = Files(sys.argv[1])
print("writing", flush=True)
for number in itertools.count():
    files.write("a/b", bytes([number % 251]) * 2**21)
    files.write(f"a/c{number % 7}", bytes([number % 251]) * 2**21)
    if number == int(sys.argv[2]):
        print("killed in the middle of the next one, likely", flush=True)
"""


def test_a_killed_writer_leaves_only_whole_files(tmp_path):
    files = Files(tmp_path)
    for kill in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path), str(kill)],
            stdout=subprocess.PIPE,
        ) as writer:
            writer.stdout.readline()
            writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
        names = files.names("a")
        assert "b" in names
        for name in names:
            data = files.read(f"a/{name}")
            assert len(data) == 2**21
            assert data == data[:1] * 2**21


def test_a_write_that_a_new_run_overtakes_half_way_puts_nothing_in_place(tmp_path, monkeypatch):
    """A worker of a dead run has its partial file open while the next run moves the folder away."""
    files = Files(tmp_path / "store")
    files.write("a", b"new")
    run = tmp_path / "store" / PARTIAL / "run"
    run.mkdir()

    def move_away(descriptor):
        run.parent.rename(run.parent.with_name("ended"))  # and it is not yet deleted

    monkeypatch.setattr("os.fsync", move_away)
    with pytest.raises(FileNotFoundError):
        Files(tmp_path / "store", "run").write("a", b"stale")
    assert files.read("a") == b"new"
