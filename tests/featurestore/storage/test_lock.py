import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from featurestore.errors import StoreLockedError
from featurestore.storage.files import RUN_FOLDER
from featurestore.storage.local import LocalFiles
from featurestore.storage.lock import RunLock

HOLD = """
import sys
from featurestore.storage.local import LocalFiles
from featurestore.storage.lock import RunLock
with RunLock(LocalFiles(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holder(root):
    """A process that holds the lock until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.stdin.close()
        process.wait()


def test_a_lock_leaves_nothing_behind(tmp_path):
    root = tmp_path / "store"
    with RunLock(LocalFiles(root)) as lock:
        assert lock.abandoned_by is None
        assert json.loads((root / RUN_FOLDER / "lock").read_text()) == {
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
    assert list(root.iterdir()) == []


def test_a_second_run_is_refused_with_the_firsts_host_and_process(tmp_path):
    with holder(tmp_path) as first:
        message = (
            f"another run is writing to {tmp_path} "
            rf"\(process {first.pid} on {socket.gethostname()}\); wait until it has ended"
        )
        with pytest.raises(StoreLockedError, match=message), RunLock(LocalFiles(tmp_path)):
            pass
        with pytest.raises(BlockingIOError), RunLock(LocalFiles(tmp_path)):
            pass
    with RunLock(LocalFiles(tmp_path)) as lock:
        assert lock.abandoned_by is None


def test_a_second_run_of_the_same_process_is_refused_too(tmp_path):
    with (
        RunLock(LocalFiles(tmp_path)),
        pytest.raises(StoreLockedError, match=f"process {os.getpid()} on"),
        RunLock(LocalFiles(tmp_path)),
    ):
        pass


def test_a_killed_runs_lock_is_taken_over_with_its_name(tmp_path):
    with holder(tmp_path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (tmp_path / RUN_FOLDER / "lock").exists()
    with RunLock(LocalFiles(tmp_path)) as lock:
        assert lock.abandoned_by == f"process {first.pid} on {socket.gethostname()}"
    with RunLock(LocalFiles(tmp_path)) as lock:
        assert lock.abandoned_by is None


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b"\xff", b'{"pid": 1', b'"host"'])
def test_a_lock_file_that_says_nothing_is_taken_over(tmp_path, text):
    (tmp_path / RUN_FOLDER).mkdir()
    (tmp_path / RUN_FOLDER / "lock").write_bytes(text)
    with RunLock(LocalFiles(tmp_path)) as lock:
        assert lock.abandoned_by is None


def test_a_lock_is_let_go_when_the_run_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), RunLock(LocalFiles(tmp_path)):
        raise ZeroDivisionError
    with RunLock(LocalFiles(tmp_path)) as lock:
        assert lock.abandoned_by is None


def test_a_lock_leaves_what_the_next_run_shall_finish(tmp_path):
    files = LocalFiles(tmp_path)
    with RunLock(files):
        files.write(f"{RUN_FOLDER}/journal/changes", b"to do")
        files.write(f"{RUN_FOLDER}/partial/half", b"")
    assert files.names(RUN_FOLDER) == ["journal"]
    with RunLock(files):
        assert files.read(f"{RUN_FOLDER}/journal/changes") == b"to do"


def test_of_writers_that_race_one_at_a_time_holds_the_lock(tmp_path):
    """Threads take and leave the lock as fast as they can, its file coming and going."""
    inside, most, refused, errors = [], [], [], []
    guard = threading.Lock()

    def race():
        for _ in range(100):
            try:
                with RunLock(LocalFiles(tmp_path)):
                    with guard:
                        inside.append(1)
                        most.append(len(inside))
                    with guard:
                        inside.pop()
            except StoreLockedError:
                refused.append(1)
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert max(most) == 1
    assert len(most) + len(refused) == 400
    with RunLock(LocalFiles(tmp_path)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_named_as_the_reason(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(StoreLockedError, match=r"cannot be locked \(No locks available\)"),
        RunLock(LocalFiles(tmp_path)),
    ):
        pass


def test_what_a_worker_of_a_past_run_writes_is_refused(tmp_path):
    with RunLock(LocalFiles(tmp_path)) as first:
        zombie = LocalFiles(tmp_path, first.run_id)
        zombie.write("values/0", b"first")
    with pytest.raises(FileNotFoundError):
        zombie.write("values/0", b"zombie")
    with RunLock(LocalFiles(tmp_path)) as second:
        with pytest.raises(FileNotFoundError):
            zombie.write("values/0", b"zombie")
        assert LocalFiles(tmp_path).read("values/0") == b"first"
        LocalFiles(tmp_path, second.run_id).write("values/0", b"second")
    assert LocalFiles(tmp_path).read("values/0") == b"second"


def test_a_file_begun_in_a_run_that_was_killed_is_not_put_in_place(tmp_path, monkeypatch):
    with holder(tmp_path) as killed:
        [run] = (tmp_path / RUN_FOLDER / "partial").iterdir()
        killed.kill()
    zombie = LocalFiles(tmp_path, run.name)
    next_run = RunLock(LocalFiles(tmp_path))
    replace = os.replace

    def begin_and_replace(*paths, **folders):  # the last moment at which the next run may begin
        monkeypatch.undo()
        with next_run:
            replace(*paths, **folders)

    monkeypatch.setattr(os, "replace", begin_and_replace)
    with pytest.raises(FileNotFoundError):
        zombie.write("values", b"zombie")
    assert LocalFiles(tmp_path).read("values") is None


def test_a_lock_file_that_was_removed_before_it_was_locked_is_no_lock(tmp_path, monkeypatch):
    """One run ends and another begins between a third one's opening of the file and its flock."""
    ending, beginning = RunLock(LocalFiles(tmp_path)), RunLock(LocalFiles(tmp_path))
    ending.__enter__()
    flock = fcntl.flock

    def flock_late(descriptor, operation):
        monkeypatch.undo()
        ending.__exit__(None, None, None)
        beginning.__enter__()
        flock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", flock_late)
    with (
        pytest.raises(StoreLockedError, match="another run is writing to"),
        RunLock(LocalFiles(tmp_path)),
    ):
        pass
    beginning.__exit__(None, None, None)
