"""The real program, again and again, without its imports: forked from a process that has them.

To start Python and import torch and Dask takes seconds, hundreds of times what a run of some short
files takes. Here one process does it once, and each run is a fork of it, in a session of its own:
the same code, with the same scheduler, workers and files. A run's fork server, which starts its
workers, is forked from the run before it has threads, for the same reason.
"""

import atexit
import contextlib
import importlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

FEATURIZE = Path(sys.executable).with_name("featurize")

_NUMBER = struct.Struct("<q")


class Launcher:
    """Starts ``featurize``; a context manager. One run at a time."""

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.forked"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.__exit__(None, None, None)  # closes its pipes, at which it ends

    def start(self, arguments: Sequence[object], stderr: Path) -> "Run":
        """Start the program; what it says goes into a file."""
        request = json.dumps([str(stderr), *map(str, arguments)]) + "\n"
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(request.encode())
        return Run(self._server.stdout, stderr)


class Run:
    """A run of the program.

    Attributes
    ----------
    pid : int
        Of its driver, which leads its session and process group.
    returncode : int or None
        Minus the signal's number if it was killed; None while it runs.
    """

    def __init__(self, answers: Any, stderr: Path) -> None:
        self._answers = answers
        self._stderr = stderr
        self.pid = self._number()
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        if self.returncode is None and select.select([self._answers], [], [], 0)[0]:
            self.returncode = self._number()
        return self.returncode

    def finish(self) -> str:
        """Wait for its end; what it said."""
        if self.returncode is None:
            self.returncode = self._number()
        return self._stderr.read_text()

    def kill(self) -> None:
        """Kill the driver alone."""
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(self.pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """Kill it with all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _number(self) -> int:
        return int(_NUMBER.unpack(self._answers.read(_NUMBER.size))[0])


def serve() -> None:
    """Fork a run for each line that comes, say its process and how it ended."""
    _import_all()
    while request := sys.stdin.readline():
        stderr, *arguments = json.loads(request)
        pid = os.fork()
        if not pid:
            _become(arguments, stderr)  # does not return
        os.write(1, _NUMBER.pack(pid))
        _, status = os.waitpid(pid, 0)
        os.write(1, _NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _import_all() -> None:
    """Import what a run imports; none of it may start a thread, which a fork would not have."""
    import threading

    for name in (
        "cli", "distributed.deploy.local", "distributed.nanny", "featurestore.writer", "pandas",
        "pipeline.catalogs", "pipeline.run.cluster", "pipeline.run.run", "zarr",
    ):  # fmt: skip
        importlib.import_module(name)
    assert threading.active_count() == 1


def _become(arguments: Sequence[str], stderr: str) -> None:
    """Be the program, as its console script is."""
    import threading
    from multiprocessing import forkserver, resource_tracker

    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    said = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor, place in ((nothing, 0), (nothing, 1), (said, 2)):
        os.dup2(descriptor, place)
    os.close(nothing)
    os.close(said)
    main = sys.modules["__main__"]  # which workers import
    main.__spec__, main.__file__ = None, str(FEATURIZE)
    sys.argv = [str(FEATURIZE), *arguments]
    # As the cluster does, which finds the tracker started: killed runs leak semaphores.
    sys.warnoptions.append("ignore::UserWarning:multiprocessing.resource_tracker")
    resource_tracker.ensure_running()
    sys.warnoptions.pop()
    forkserver.set_forkserver_preload(["distributed", "pipeline.run.task"])
    spawn = forkserver.util.spawnv_passfds
    forkserver.util.spawnv_passfds = _fork_server
    forkserver.ensure_running()
    forkserver.util.spawnv_passfds = spawn

    from cli import featurize

    try:
        featurize()
    except SystemExit as ended:
        # Python's own end, but for taking a thousand modules apart, which takes half a second.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else 0)


def _fork_server(path: bytes, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
    """Do in a fork what Python would do in a new interpreter."""
    import threading
    from multiprocessing import forkserver

    if "forkserver" not in arguments[-1]:  # the resource tracker
        return int(_SPAWN(path, arguments, descriptors))
    if pid := os.fork():
        return pid
    kept = {0, 1, 2, *descriptors}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):  # that of the listing is closed
                os.close(int(name))
    forkserver._forkserver._lock = threading.Lock()  # held by the one who forked
    try:
        exec(arguments[-1], {})
    except SystemExit:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


if __name__ == "__main__":
    from multiprocessing import util

    _SPAWN = util.spawnv_passfds
    serve()
