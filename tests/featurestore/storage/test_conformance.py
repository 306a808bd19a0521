"""What `Files` promises, on everything that keeps it: a folder, fsspec's memory, S3."""

import pickle
import uuid
from collections.abc import Iterator

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from featurestore.errors import StoreFormatError, StoreLockedError
from featurestore.storage import open_files
from featurestore.storage.files import RUN_FOLDER, Files
from featurestore.storage.journal import JOURNAL, finish, write_together
from featurestore.storage.local import LocalFiles
from featurestore.storage.lock import lock_of
from featurestore.storage.remote import RemoteFiles

OVER = "No such file or directory|another run has taken .* over"
"""What a worker is told whose run has ended, by the folder that is gone or by melgrid."""


class FilesConformance:
    """A subclass has `kind`, and a fixture `root`: where files of that kind lie, none yet.

    Their names hold what chains URLs, ``::``, which is not to be taken for that.
    """

    kind: type[Files]

    @pytest.fixture
    def files(self, root: str) -> Files:
        return open_files(root)

    def test_the_root_says_what_they_are(self, files, root):
        assert type(files) is self.kind
        assert files.root == root
        assert open_files(f"{root}/").root == root

    def test_what_was_written_is_read(self, files):
        files.write("a/b/c", b"one")
        files.write("a/b/c", b"two")
        files.write("a/d", [b"th", b"ree"])
        assert files.read("a/b/c") == b"two"
        assert files.read("a/d") == b"three"

    def test_what_another_writes_is_seen_at_once(self, files, root):
        assert (files.read("a/b"), files.names("a"), files.size("a/b")) == (None, [], None)
        open_files(root).write("a/b", b"one")
        assert (files.read("a/b"), files.names("a"), files.size("a/b")) == (b"one", ["b"], 3)
        open_files(root).write("a/b", b"three")
        assert (files.read("a/b"), files.size("a/b")) == (b"three", 5)
        open_files(root).remove("a")
        assert (files.read("a/b"), files.names("a"), files.size("a/b")) == (None, [], None)

    def test_several_files_are_written_and_read_at_once(self, files):
        files.write_several({"a/b": b"1", "a/c": b"2", "d": b"3"})
        files.write_several({})
        assert files.read_several(["d", "e", "a/b", "a/b/c"]) == [b"3", None, b"1", None]

    def test_what_is_not_there_reads_as_none(self, files):
        assert files.read("a") is None
        files.write("a", b"")
        assert files.read("a") == b""
        assert files.read("a/b") is None

    def test_a_file_longer_than_it_may_be_is_refused(self, files):
        files.write("a/b", bytes(1001))
        assert files.read("a/b", most=1001) == bytes(1001)
        for read in (lambda: files.read("a/b", most=1000), lambda: files.read_several(["a/b"], 9)):
            with pytest.raises(StoreFormatError, match=r"a/b is damaged: 1,001 bytes"):
                read()

    def test_names_are_those_directly_in_a_folder(self, files):
        for key in ("b/2", "b/1/x", "b/1/y", "c"):
            files.write(key, b"")
        assert files.names("b") == ["1", "2"]
        assert files.names("d") == []
        assert files.names("c") == []
        assert set(files.names("")) >= {"b", "c"}

    def test_sizes_are_those_of_all_files_below(self, files):
        for key, size in (("b/2", 20), ("b/1/x", 3), ("c", 100)):
            files.write(key, bytes(size))
        assert sorted(files.sizes("b")) == [3, 20]
        assert list(files.sizes("c")) == [100]
        assert list(files.sizes("d")) == []

    def test_a_file_has_a_size_and_is_read_in_parts(self, files):
        files.write("a/b", b"0123456789")
        assert (files.size("a/b"), files.size("a/c"), files.size("a/b/c")) == (10, None, None)
        assert files.read_range("a/b", 3, 7) == b"3456"
        assert files.read_range("a/b", 8, 20) == b"89"
        with pytest.raises(FileNotFoundError):
            files.read_range("a/c", 0, 1)

    @pytest.mark.parametrize("key", ["b", "b/1", "b/2"])
    def test_removing_leaves_the_neighbours(self, files, key):
        keys = {"b/1/x", "b/2", "bc", "b2/1/x"}
        for written in keys:
            files.write(written, b"1")
        assert files.remove(key)
        assert files.remove(key)  # again, and there is nothing to be done
        left = {k for k in keys if not f"{k}/".startswith(f"{key}/")}
        assert {k for k in keys if files.read(k) is not None} == left

    def test_the_root_is_not_removed(self, files):
        files.write("a", b"1")
        with pytest.raises(StoreFormatError, match="is not deleted as a whole"):
            files.remove("")
        assert files.read("a") == b"1"

    def test_a_root_exists_once_anything_is_there(self, files):
        assert not files.exists()
        files.write("a", b"")
        assert files.exists()
        assert not files.is_file()

    def test_a_root_that_is_a_file_is_told_apart(self, files, root):
        files.write("a", b"1")
        below = open_files(f"{root}/a")
        assert below.exists()
        assert below.is_file()
        assert below.names("") == []
        assert below.read("zarr.json") is None

    @pytest.mark.parametrize("key", ["../a", "a/../../b", "/etc/passwd", "a//b", "a/", "./a", ".."])
    def test_no_key_leads_out_of_the_root(self, files, key):
        acts = (
            files.path, files.read, files.size, files.names, files.remove,
            lambda key: list(files.sizes(key)),
            lambda key: files.read_several(["a", key]),
            lambda key: files.read_range(key, 0, 1),
            lambda key: files.write(key, b""),
            lambda key: files.write_several({"a": b"", key: b""}),
        )  # fmt: skip
        for act in acts:
            with pytest.raises(StoreFormatError, match="is not a key below"):
                act(key)

    def test_there_are_no_links_where_none_was_made(self, files):
        files.write("a/b", b"")
        assert files.link_to("a/b") is None
        files.refuse_links("a/b", "c")

    def test_they_are_picklable_also_after_use_and_stay_those_of_their_run(self, files, root):
        files.write("a", b"1")
        again = pickle.loads(pickle.dumps(files))
        assert (again.root, again.read("a")) == (files.root, b"1")
        ended = pickle.loads(pickle.dumps(open_files(root, "0123")))
        with pytest.raises(OSError, match=OVER):
            ended.write("a", b"2")
        assert files.read("a") == b"1"

    def test_a_runs_worker_writes_only_as_long_as_the_run_lasts(self, files, root):
        with lock_of(files) as run:
            worker = open_files(root, run.run_id)
            worker.write("a", b"1")
            worker.write_several({"b": b"1", "c": b"1"})
        with pytest.raises(OSError, match=OVER):
            worker.write("a", b"2")
        with pytest.raises(OSError, match=OVER):
            worker.write_several({"b": b"2", "c": b"2"})
        with lock_of(files) as following, pytest.raises(OSError, match=OVER):
            worker.write("a", b"2")
        assert following.run_id != run.run_id
        assert files.read_several(["a", "b", "c"]) == [b"1"] * 3

    def test_a_second_run_is_refused_and_an_ended_one_leaves_nothing(self, files):
        files.write("a", b"1")
        with lock_of(files), pytest.raises(StoreLockedError, match=r"\(process \d+ on"):
            lock_of(files).__enter__()
        assert files.names(RUN_FOLDER) == []
        with lock_of(files) as run:
            assert run.abandoned_by is None

    def test_a_journal_is_finished_by_the_next_run(self, files, monkeypatch):
        files.write("old/1", b"1")
        with monkeypatch.context() as killed:
            killed.setattr("featurestore.storage.journal.finish", lambda files: None)
            write_together(files, {"a": b"2", "b/c": b"3"}, ["old"])
        assert files.read_several(["a", "old/1"]) == [None, b"1"]
        finish(files)
        assert files.read_several(["a", "b/c", "old/1", JOURNAL]) == [b"2", b"3", None, None]
        finish(files)  # there is nothing to be done
        assert files.read("a") == b"2"


class TestLocalFiles(FilesConformance):
    kind = LocalFiles

    @pytest.fixture
    def root(self, tmp_path):
        return str(tmp_path / "ro::ot")


class TestMemoryFiles(FilesConformance):
    kind = RemoteFiles

    @pytest.fixture
    def root(self):
        return f"memory://{uuid.uuid4().hex}/ro::ot"


@pytest.fixture(scope="module")
def s3() -> Iterator[fsspec.AbstractFileSystem]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    account = {"key": "tester", "secret": "a-secret-key", "endpoint_url": f"http://{host}:{port}"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(fsspec.config.conf, "s3", account)
        yield fsspec.filesystem("s3", use_listings_cache=False)
    server.stop()


class TestS3Files(FilesConformance):
    kind = RemoteFiles

    @pytest.fixture
    def root(self, s3):
        bucket = uuid.uuid4().hex
        s3.mkdir(bucket)
        return f"s3://{bucket}/ro::ot"
