"""The program is told to stop, or finds another at work: what it says, and what it leaves."""

import contextlib
import functools
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from featurestore import FeatureSpec, FeatureStore
from models.training.checkpoint import Checkpoint, new_network, save_checkpoint
from models.training.settings import TrainSettings

pytestmark = pytest.mark.slow

FEATURIZE = Path(sys.executable).with_name("featurize")
MELGRID = FEATURIZE.with_name("melgrid")
INTERRUPTED = "interrupted; what is done is kept: run again to continue"


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """A folder of 64 files of noise: enough work that a run can be met in its midst."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(0)
    for number in range(64):
        samples = rng.uniform(-0.5, 0.5, 30 * 22050).astype(np.float32)
        soundfile.write(folder / f"{number:02}.wav", samples, 22050)
    return folder


@pytest.fixture
def featurize(music, tmp_path):
    """Start the program in a session of its own, as a terminal does; what is left of it ends."""
    started = []

    def featurize(**options):
        command = [
            FEATURIZE, music, "-o", tmp_path / "store.zarr", "--workers", "2",
            "--sr", "16000", "--mels", "96,48", "--hop", "x1,x2", "--dashboard",
        ]  # fmt: skip
        # What a shell starts in its background, such as these tests, ignores Ctrl-C otherwise.
        in_foreground = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
        options = {"preexec_fn": in_foreground} | pipes | options
        process = subprocess.Popen(command, start_new_session=True, text=True, **options)
        started.append(process)
        return process

    yield featurize
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(condition, process):
    """Wait for something that a run does; it must not have ended before."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def commits(store):
    return list(store.glob("commits/c/*/*"))


def finish_and_check(featurize, store):
    """Run again to the end."""
    _, said = (again := featurize()).communicate(timeout=240)
    assert again.returncode == 0, said
    assert set(FeatureStore.open(store).clips["status"]) == {"ready"}
    return said


@pytest.mark.parametrize("moment", ["while starting", "while computing"])
def test_ctrl_c_ends_the_run_and_its_workers_with_one_line(featurize, tmp_path, moment):
    store = tmp_path / "store.zarr"
    process = featurize()
    family = psutil.Process(process.pid)
    if moment == "while starting":
        wait_until(lambda: len(family.children(recursive=True)) >= 2, process)
    else:
        wait_until(lambda: commits(store), process)
    children = family.children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # all in the terminal's foreground get it
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == ""
    assert said.rstrip().splitlines()[-1] == INTERRUPTED
    assert "Traceback" not in said
    assert "distributed" not in said
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert not (store / ".run").exists()
    if moment == "while computing":
        assert 0 < len(commits(store)) < 8
    assert "had died" not in finish_and_check(featurize, store)


def test_ctrl_c_leaves_the_terminal_in_order(featurize, tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = featurize(stderr=theirs)
    os.close(theirs)
    wait_until(lambda: commits(tmp_path / "store.zarr"), process)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=60)
    said = b""
    with contextlib.suppress(OSError):  # a terminal whose other side is closed
        while part := os.read(ours, 4096):
            said += part
    os.close(ours)
    # One line with the dashboard, one which the bar drew over and over, and what became of it.
    lines = [line.strip("\r") for line in said.decode().split("\n") if line.strip()]
    assert len(lines) == 3
    assert "Dask's dashboard: http://127.0.0.1:" in lines[0]
    assert "clips/s" in lines[1]
    assert lines[2] == INTERRUPTED


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_leaves_no_process_and_goes_on_when_run_again(
    featurize, tmp_path, signal_
):
    store = tmp_path / "store.zarr"
    before = signal.signal(signal_, signal.SIG_DFL)  # nohup, which these tests may run under,
    process = featurize()  # lets its children ignore SIGHUP
    signal.signal(signal_, before)
    wait_until(lambda: commits(store), process)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal_)
    process.communicate(timeout=60)
    assert process.returncode == -signal_
    assert psutil.wait_procs(children, timeout=60)[1] == []
    said = finish_and_check(featurize, store)
    assert f"going on after process {process.pid} on {socket.gethostname()}, which had died" in said


def test_a_second_run_on_a_store_is_refused_at_once_and_the_first_goes_on(featurize, tmp_path):
    store = tmp_path / "store.zarr"
    first = featurize()
    wait_until(lambda: commits(store), first)
    first.send_signal(signal.SIGSTOP)  # else it may have ended before the second one begins
    second = featurize()
    printed, said = second.communicate(timeout=60)
    first.send_signal(signal.SIGCONT)
    assert (second.returncode, printed) == (1, "")
    assert said == (
        f"Error: another run is writing to {store} (process {first.pid} on "
        f"{socket.gethostname()}); wait until it has ended, or stop it\n"
    )
    _, said = first.communicate(timeout=240)
    assert first.returncode == 0, said
    assert set(FeatureStore.open(store).clips["status"]) == {"ready"}


def test_ctrl_c_ends_tagging_and_its_processes_with_one_line_and_no_table(music, tmp_path):
    spec = FeatureSpec(sr=16000, n_mels=96)
    settings = TrainSettings(width=1)  # it takes a while
    checkpoint = Checkpoint(
        network=new_network(settings, spec, n_frames=1819, n_outputs=2),
        spec=spec,
        n_frames=1819,
        tags=("a", "b"),
        settings=settings,
        training=None,
    )
    save_checkpoint(tmp_path / "model.pt", checkpoint)
    (tmp_path / "tags.csv").write_text("the old one")
    process = subprocess.Popen(
        [MELGRID, "tag", "model.pt", music, "-o", "tags.csv", "--workers", "2"],
        cwd=tmp_path, start_new_session=True, text=True, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    said = ""
    while "of 64 files" not in said:  # its first line
        said += (line := process.stderr.readline())
        assert line, said
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.killpg(process.pid, signal.SIGINT)
    printed, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == ""
    assert rest.rstrip().splitlines()[-1] == "interrupted; nothing is written"
    assert "Traceback" not in said + rest
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "tags.csv"]
    assert (tmp_path / "tags.csv").read_text() == "the old one"
