"""Unix sockets whose paths are short, whatever ``TMPDIR`` says."""

import os
import subprocess
import sys
from pathlib import Path

LISTEN = """
import multiprocessing, tempfile
from multiprocessing.connection import Listener
from featurestore.process.sockets import keep_sockets_short

def listen():
    with Listener(family="AF_UNIX") as listener:
        print(listener.address, flush=True)

if __name__ == "__main__":
    keep_sockets_short()
    listen()
    child = multiprocessing.get_context("spawn").Process(target=listen)
    child.start()
    child.join()
    print(tempfile.gettempdir())
"""


def listen(script, folder):
    house = str(Path(__file__).parents[3])
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": house, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_where_the_folder_for_temporary_files_is_too_long_sockets_go_elsewhere(tmp_path):
    script = tmp_path / "listen.py"
    script.write_text(LISTEN)
    ours, childs, temporary = listen(script, long := tmp_path / ("x" * 120))
    assert Path(ours).parent == Path(childs).parent
    assert Path(ours).parents[1] == Path("/tmp")
    assert not Path(ours).parent.exists()  # it is left behind by nobody
    assert temporary == str(long)


def test_a_folder_that_is_short_enough_is_kept(tmp_path):
    script = tmp_path / "listen.py"
    script.write_text(LISTEN)
    short = Path("/tmp") / f"m{os.getpid()}"
    try:
        ours, _, _ = listen(script, short)
        assert Path(ours).parents[1] == short
    finally:
        short.rmdir()
