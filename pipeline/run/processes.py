"""Processes of this machine that work side by side, and whose results come in order.

Dask is not used where nobody waits for hours: its start takes 1.8 s, and an array goes through its
scheduler's connections. Threads are not, as a file may crash its decoder, or hang it.
"""

import contextlib
import multiprocessing
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from featurestore.errors import MelgridError, RunError
from featurestore.process.sockets import keep_sockets_short
from featurestore.process.spawn import sigint_blocked, start_resource_tracker

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 8
"""Results for each process that may wait to be taken, so that none is idle while they are used."""


class ProcessDiedError(Exception):
    """The process that was at an argument died, and so did another one.

    Attributes
    ----------
    seconds : float
        How long the second one was at it [s].
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"a process died after {seconds:.1f} s")
        self.seconds = seconds


def begin(*modules: str, environment: Mapping[str, str] = MappingProxyType({})) -> None:
    """Begin to start processes: modules are imported for all of them, while this one goes on.

    Does nothing the second time.

    Parameters
    ----------
    *modules : str
    environment : mapping of str to str
        What all of them have in their environment, besides this process's own.
    """
    keep_sockets_short()
    forkserver.set_forkserver_preload(list(modules))
    start_resource_tracker()
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with sigint_blocked():
            forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def in_order(
    make: Callable[[], Callable[[T], R]], arguments: Iterable[T], *, n_processes: int
) -> Generator[tuple[T, R | MelgridError | ProcessDiedError], None, None]:
    """Work on arguments, `n_processes` at a time; give each and what came of it, in their order.

    No more arguments are taken than keep the processes busy. A process that dies takes its argument
    with it, and another one takes its place and tries the argument again: the first may have died
    of something else. All end when the iterator is closed, or this process ends.

    Parameters
    ----------
    make : callable
        Makes what does the work, in each process. Picklable, as arguments and results are.
    arguments : iterable
    n_processes : int

    Yields
    ------
    argument, outcome
        What the work gave, or the `MelgridError` that it raised, or a `ProcessDiedError`.

    Raises
    ------
    RunError
        If processes cannot be started.
    """
    workers = [_Worker[T, R](make) for _ in range(n_processes)]
    idle: SimpleQueue[_Worker[T, R]] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def work(argument: T) -> R | MelgridError | ProcessDiedError:
        worker = idle.get()
        try:
            return worker.do(argument)
        finally:
            idle.put(worker)

    waiting: deque[tuple[T, Future[R | MelgridError | ProcessDiedError]]] = deque()
    threads = ThreadPoolExecutor(n_processes, thread_name_prefix="melgrid-worker")
    try:
        for argument in arguments:
            waiting.append((argument, threads.submit(work, argument)))
            if len(waiting) >= _AHEAD * n_processes:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.end()
        threads.shutdown()


class _BugError(RuntimeError):
    """An error that only we can cause, as a traceback: not every exception can be sent."""


_READY = "ready"


class _Worker(Generic[T, R]):
    """A process, or the one that takes its place; started when there is something to do."""

    def __init__(self, make: Callable[[], Callable[[T], R]]) -> None:
        self._make = make
        self._running: tuple[ForkServerProcess, Connection] | None = None
        self._has_ended = False
        self._starting = threading.Lock()

    def do(self, argument: T) -> R | MelgridError | ProcessDiedError:
        """Work on one argument."""
        seconds = 0.0
        for _ in range(2):
            connection = self._start()
            began = time.monotonic()
            try:
                connection.send(argument)
                outcome: R | MelgridError | _BugError = connection.recv()
            except (EOFError, OSError):
                seconds = time.monotonic() - began
                self._stop()
                continue
            if isinstance(outcome, _BugError):
                raise outcome
            return outcome
        return ProcessDiedError(seconds)

    def end(self) -> None:
        """Kill the process; whoever waits for it waits no more."""
        self._has_ended = True
        with self._starting:
            if self._running is not None:
                self._running[0].kill()

    def _start(self) -> Connection:
        """The connection to a process that is ready."""
        with self._starting:
            if self._has_ended:
                raise RunError("the processes have ended")
            if self._running is not None:
                return self._running[1]
            # As Dask's are: forked from a process that has the imports done, and no threads.
            context = multiprocessing.get_context("forkserver")
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(self._make, theirs), daemon=True)
            with sigint_blocked():
                process.start()
            theirs.close()  # so that the end of the process is the end of the connection
            self._running = process, ours
        try:
            ours.recv()
        except (EOFError, OSError):
            self._stop()
            raise RunError(
                "worker processes end as they start: is memory short? A script that starts some "
                "must do so under if __name__ == '__main__', or do without: workers=0"
            ) from None
        return ours

    def _stop(self) -> None:
        with self._starting:
            if self._running is not None:
                process, connection = self._running
                self._running = None
                connection.close()
                process.join()


def _serve(make: Callable[[], Callable[[Any], Any]], connection: Connection) -> None:
    work = make()
    with contextlib.suppress(EOFError, OSError):  # nobody is there any more
        connection.send(_READY)
        while True:
            argument = connection.recv()
            try:
                outcome = work(argument)
            except MelgridError as error:
                outcome = error
            except Exception:
                outcome = _BugError(traceback.format_exc())
            connection.send(outcome)
