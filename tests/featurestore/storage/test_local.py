import os
import signal
import subprocess
import sys

import pytest

from featurestore.storage.files import PARTIAL
from featurestore.storage.local import LocalFiles


def test_a_file_is_read_at_any_position(tmp_path):
    files = LocalFiles(tmp_path)
    files.write("a", b"0123456789")
    with files.open("a") as file:
        assert file.size == 10
        assert file.read_at(3, 4) == b"3456"
        assert file.read_at(8, 4) == b"89"


def test_opening_what_is_not_there_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        LocalFiles(tmp_path).open("a")


def test_another_file_in_the_same_place_has_another_identity(tmp_path):
    files = LocalFiles(tmp_path)
    files.write("a", b"one")
    with files.open("a") as before:
        files.write("a", b"two!")
        with files.open("a") as after:
            assert before.identity != after.identity
        with files.open("a") as again:
            assert again.identity == after.identity


def test_a_reader_goes_on_with_the_file_it_has_opened(tmp_path):
    files = LocalFiles(tmp_path)
    files.write("a", b"old bytes")
    with files.open("a") as file:
        files.write("a", b"new")
        assert file.read_at(0, 100) == b"old bytes"


def test_a_root_that_is_a_file_is_told_apart(tmp_path):
    (tmp_path / "a").write_text("text")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("a", "dangling"):
        assert LocalFiles(tmp_path / name).exists()
        assert LocalFiles(tmp_path / name).is_file()
        assert LocalFiles(tmp_path / name).names("") == []
        assert LocalFiles(tmp_path / name).read("zarr.json") is None


def test_a_relative_root_is_fixed_when_it_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = LocalFiles("store")
    monkeypatch.chdir("/")
    files.write("a", b"")
    assert (tmp_path / "store/a").exists()


@pytest.mark.parametrize("step", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, step, error
):
    files = LocalFiles(tmp_path)
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
from featurestore.storage.local import LocalFiles
files = LocalFiles(sys.argv[1])
print("writing", flush=True)
for number in itertools.count():
    files.write("a/b", bytes([number % 251]) * 2**21)
    files.write(f"a/c{number % 7}", bytes([number % 251]) * 2**21)
    if number == int(sys.argv[2]):
        print("killed in the middle of the next one, likely", flush=True)
"""


def test_a_killed_writer_leaves_only_whole_files(tmp_path):
    files = LocalFiles(tmp_path)
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
    files = LocalFiles(tmp_path / "store")
    files.write("a", b"new")
    run = tmp_path / "store" / PARTIAL / "run"
    run.mkdir()

    def move_away(descriptor):
        run.parent.rename(run.parent.with_name("ended"))  # and it is not yet deleted

    monkeypatch.setattr("os.fsync", move_away)
    with pytest.raises(FileNotFoundError):
        LocalFiles(tmp_path / "store", "run").write("a", b"stale")
    assert files.read("a") == b"new"
