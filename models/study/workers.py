"""Independent pieces of work, here, in processes of this machine, or on Dask.

Each function yields ``(task, outcome)`` as tasks end, in any order. An outcome is what the work
gave, or the `MelgridError` that it raised: one task that cannot be done does not end the others.
An error of another kind is raised here.
"""

import contextlib
import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from featurestore.errors import MelgridError, RunError
from featurestore.process.spawn import sigint_blocked, start_resource_tracker

T = TypeVar("T")
R = TypeVar("R")


def here(work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | MelgridError]]:
    """Do one after the other in this process."""
    for task in tasks:
        try:
            outcome: R | MelgridError = work(task)
        except MelgridError as error:
            outcome = error
        yield task, outcome


def in_processes(
    make: Callable[[int], Callable[[T], R]], tasks: Sequence[T], *, jobs: int
) -> Iterator[tuple[T, R | MelgridError]]:
    """Do `jobs` at a time, in processes that are started afresh and end with this one.

    They end even if this process is killed, and at once if the iterator is closed. A process that
    dies takes its task with it, and another one takes its place.

    Parameters
    ----------
    make : callable
        Makes what does the work in a process, given the process's number from 0; may keep what
        the next task can use. Picklable, as tasks and results are.
    tasks : sequence
    jobs : int
    """
    waiting = iter(tasks)
    busy: dict[Connection, tuple[SpawnProcess, int, T]] = {}

    def begin(number: int) -> None:
        for task in waiting:
            process, connection = _start(make, number)
            busy[connection] = (process, number, task)
            _send(connection, task)
            return

    try:
        for number in range(jobs):
            begin(number)
        while busy:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                process, number, task = busy[ready]
                try:
                    outcome = ready.recv()
                except (EOFError, OSError):
                    del busy[ready]
                    ready.close()
                    process.join()
                    begin(number)
                    yield (
                        task,
                        RunError(
                            f"its process died ({_end(process)}): is memory short? Run again, "
                            "perhaps with fewer --jobs"
                        ),
                    )
                    continue
                if isinstance(outcome, _BugError):
                    raise outcome
                for following in waiting:
                    busy[ready] = (process, number, following)
                    _send(ready, following)
                    break
                else:
                    del busy[ready]
                    ready.close()  # it ends when it finds nobody there
                yield task, outcome
    finally:
        for process, _, _ in busy.values():
            process.kill()
            process.join()


class _BugError(RuntimeError):
    """An error that only we can cause, as a traceback: not every exception can be sent."""


def _send(connection: Connection, task: object) -> None:
    with contextlib.suppress(OSError):  # it has died: to be seen where its answer is awaited
        connection.send(task)


def _start(make: Callable[[int], Callable[[T], R]], number: int) -> tuple[SpawnProcess, Connection]:
    start_resource_tracker()
    context = multiprocessing.get_context("spawn")  # the one start that CUDA and threads survive
    ours, theirs = context.Pipe()
    # Not a daemon: PyTorch's loader has processes of its own.
    process = context.Process(target=_serve, args=(make, number, theirs), daemon=False)
    with sigint_blocked():
        process.start()
    theirs.close()  # so that the end of the process is the end of the connection
    return process, ours


def _serve(
    make: Callable[[int], Callable[[Any], Any]], number: int, connection: Connection
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = make(number)
    with contextlib.suppress(EOFError, OSError):  # nobody is there any more
        while True:
            task = connection.recv()
            try:
                outcome = work(task)
            except MelgridError as error:
                outcome = error
            except Exception:
                outcome = _BugError(traceback.format_exc())
            connection.send(outcome)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _end(process: SpawnProcess) -> str:
    code = process.exitcode or 0
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def on_dask(
    work: Callable[[T], R],
    tasks: Sequence[T],
    *,
    scheduler: str,
    notify: Callable[[str], None],
    timeout: float = 10.0,
) -> Iterator[tuple[T, R | MelgridError]]:
    """Do them on the workers of a Dask scheduler.

    A task whose worker dies is tried again by Dask, some times.

    Parameters
    ----------
    work : callable
        Picklable by name: the workers must have the same melgrid.
    tasks : sequence
    scheduler : str
        Address, such as ``tcp://host:8786``. For ``tls://`` the certificate is the one of Dask's
        configuration, ``distributed.comm.tls``.
    notify : callable
        Called with a message when there are no workers.
    timeout : float
        How long the scheduler may take to answer [s].

    Raises
    ------
    RunError
        If no scheduler answers, its workers cannot run the work, or the connection is lost.
    """
    from distributed import Client, as_completed

    try:
        client = Client(scheduler, timeout=timeout)
    # The last two are what Dask has for TLS without a certificate, and where it is required.
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            f"no Dask scheduler answers at {scheduler}: {error}; look at the address, at "
            "distributed.comm.tls in Dask's configuration if it is a tls:// one, "
            "or leave --scheduler out to use this machine"
        ) from None
    with client:
        if not client.nthreads():
            notify("no Dask worker is there: waiting for one (Ctrl-C to stop)")
        # Not pure: the same task again shall run again.
        futures = {client.submit(work, task, pure=False): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], _outcome_of(future)


def _outcome_of(future: Any) -> Any:
    from distributed.scheduler import KilledWorker

    if future.cancelled():
        raise RunError(
            "the connection to the Dask scheduler is lost; what is done is kept: run again to "
            "continue"
        )
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, MelgridError):
        return error
    if isinstance(error, KilledWorker):
        return RunError("its Dask workers died, time after time: is memory short?")
    if isinstance(error, ImportError) or "deserialization" in str(error):
        raise RunError(
            f"the Dask workers cannot run a training: {error}; install the same melgrid there"
        ) from None
    raise error
