from pathlib import Path

import pytest

from featurestore.errors import CorruptDataError
from featurestore.storage.files import RUN_FOLDER
from featurestore.storage.journal import finish, write_together
from featurestore.storage.local import LocalFiles
from featurestore.storage.lock import lock_of

CHANGES = {"new/a": b"1", "old/b": b"22", "empty": b"", "zarr.json": b"\n{}\n"}


@pytest.fixture
def files(tmp_path):
    files = LocalFiles(tmp_path)
    files.write("old/b", b"before")
    files.write("old/c", b"before")
    files.write("kept", b"before")
    return files


def contents_of(files):
    root = Path(files.root)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and RUN_FOLDER not in path.parts
    }


def test_files_are_written_and_folders_removed_before(files):
    write_together(files, CHANGES, ["old"])
    assert contents_of(files) == {"kept": b"before", **CHANGES}


def test_nothing_to_change_writes_nothing(files):
    before = contents_of(files)
    write_together(files, {})
    finish(files)
    assert contents_of(files) == before
    assert files.names(RUN_FOLDER) in ([], ["partial"])


@pytest.mark.parametrize("n_done", range(6))
def test_a_run_that_dies_in_between_is_finished_by_the_next(files, monkeypatch, n_done):
    """Dies after the journal and `n_done` of the steps: a folder's removal, four files."""
    before = contents_of(files)
    steps = 0

    def dying(act):
        def step(*arguments):
            nonlocal steps
            if steps == n_done + 1:
                raise KeyboardInterrupt
            steps += 1
            return act(*arguments)

        return step

    with monkeypatch.context() as patched:
        patched.setattr(files, "write", dying(files.write))
        patched.setattr(files, "remove", dying(files.remove))
        with pytest.raises(KeyboardInterrupt):
            write_together(files, CHANGES, ["old"])
    if n_done == 0:
        assert contents_of(files) == before
    finish(files)
    assert contents_of(files) == {"kept": b"before", **CHANGES}
    files.write("zarr.json", b"later")
    finish(files)
    assert files.read("zarr.json") == b"later"


def test_a_run_that_dies_before_its_journal_is_whole_changes_nothing(files, monkeypatch):
    before = contents_of(files)

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", fail)
        with pytest.raises(OSError, match="No space left"):
            write_together(files, CHANGES, ["old"])
    finish(files)
    assert contents_of(files) == before


def test_a_damaged_journal_is_not_followed(files):
    before = contents_of(files)
    files.write(f"{RUN_FOLDER}/journal/changes", b'{"removed": ["old"], "sizes": []}\n1234')
    with pytest.raises(CorruptDataError, match="journal/changes: the checksum does not match"):
        finish(files)
    assert contents_of(files) == before


def test_a_folder_that_a_kill_has_left_without_its_journal_is_taken_away(tmp_path):
    files = LocalFiles(tmp_path / "store")
    (tmp_path / "store" / ".run" / "journal").mkdir(parents=True)
    with lock_of(files):
        finish(files)
    assert files.names("") == []
