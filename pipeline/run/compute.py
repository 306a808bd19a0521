"""Compute tasks on Dask workers: a bounded number at a time, on workers that may die."""

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from featurestore.errors import RunError, StorageError, StoreLockedError, StoreNotFoundError
from pipeline.run.task import Job, ShardResult, ShardTask, compute_shard, probe_clip
from pipeline.run.tracks import why_died

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
R = TypeVar("R")

_TRIES = 3
"""How often a shard is tried whose worker died though none of its clips is to blame."""

_PATIENCE = 10.0
"""How long nothing may end before it is looked whether there are workers [s]."""


class WorkerDiedError(Exception):
    """A task's worker died while it was at it; Dask has given the task up."""


def compute(
    client: "Client", job: Job, tasks: Iterable[ShardTask], notify: Callable[[str], None]
) -> Iterator[ShardResult]:
    """Results of tasks as they end; at any time no more are submitted than keep workers busy.

    Tasks whose worker died come last, one at a time, when nothing else is there that could end
    a worker: then it is found which clips do, and the task is done without them.

    Parameters
    ----------
    client : distributed.Client
    job : Job
    tasks : iterable of ShardTask
    notify : callable
        Called with each message for the user.

    Raises
    ------
    RunError
        If the store cannot be written to, if the scheduler is gone, or if workers keep dying for
        no clip's fault.
    StorageError, StoreLockedError, StoreNotFoundError
        If object storage fails, or another run has taken the store over.
    """
    suspects = []
    for task, result in each(client, functools.partial(compute_shard, job), tasks, notify):
        if isinstance(result, WorkerDiedError):
            suspects.append(task)
        else:
            yield result
    for task in suspects:
        yield _compute_suspect(client, job, task, notify)


def each(
    client: "Client", call: Callable[[T], R], arguments: Iterable[T], notify: Callable[[str], None]
) -> Iterator[tuple[T, R | WorkerDiedError]]:
    """Results of `call` for each argument, as they end; a `WorkerDiedError` for a dead worker.

    Raises
    ------
    RunError, StorageError, StoreLockedError, StoreNotFoundError
        As `compute` says.
    """
    from distributed import as_completed

    waiting = iter(arguments)
    running: dict[Future[Any], T] = {}
    missed = False
    while True:
        n_threads = sum(client.nthreads().values())
        if not n_threads and not missed:
            notify("no Dask worker is there: waiting for one (Ctrl-C to stop)")
        missed = not n_threads
        completed = as_completed(running, timeout=_PATIENCE)
        while True:
            room = max(0, 2 * n_threads + 2 - len(running))
            for argument in itertools.islice(waiting, room):
                # Not pure: the same task again shall run again.
                future = client.submit(call, argument, pure=False)
                running[future] = argument
                completed.add(future)
            if not running:
                return
            try:
                future = next(completed)
            except TimeoutError:
                break
            yield running.pop(future), _result(future)


def _result(future: "Future[Any]") -> Any:
    """A future's result, or a `WorkerDiedError`."""
    from distributed.scheduler import KilledWorker

    if future.cancelled():
        raise RunError(
            "the connection to the Dask scheduler is lost; what is done is kept: "
            "run again to continue"
        )
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, KilledWorker):
        return WorkerDiedError()
    if isinstance(error, StorageError | StoreLockedError | StoreNotFoundError):
        raise error
    if isinstance(error, OSError):
        raise RunError(
            f"cannot write to the store: {error}; what is done is kept: "
            "make room or give permission, and run again to continue"
        ) from None
    if isinstance(error, RuntimeError) and "deserialization" in str(error):
        raise RunError(
            "the Dask scheduler cannot read tasks; install the same melgrid there"
        ) from None
    if isinstance(error, ImportError):
        raise RunError(
            f"the Dask workers cannot run tasks: {error}; install the same melgrid there"
        ) from None
    raise error


def _compute_suspect(
    client: "Client", job: Job, task: ShardTask, notify: Callable[[str], None]
) -> ShardResult:
    """The result of a task whose worker died, without the clips that are to blame."""
    for _ in range(_TRIES):
        task = task.without(_blame(client, job, task, notify))
        [(_, result)] = each(client, functools.partial(compute_shard, job), [task], notify)
        if not isinstance(result, WorkerDiedError):
            return result
    raise RunError(
        f"workers died {_TRIES} times on the clips of shard {task.shard}, and none of these "
        "alone is to blame: is memory short? What is done is kept; "
        "run again with fewer --workers to continue"
    )


def _blame(
    client: "Client", job: Job, task: ShardTask, notify: Callable[[str], None]
) -> dict[int, str]:
    """Positions of the clips that end their worker when computed alone, and why."""
    positions: dict[str, list[int]] = {}
    for position in task.todo(job):
        positions.setdefault(str(task.paths[position]), []).append(position)
    probe = functools.partial(probe_clip, job)
    suspects = [
        path
        for path, result in each(client, probe, positions, notify)
        if isinstance(result, WorkerDiedError)
    ]
    blamed: dict[int, str] = {}
    for path in suspects:  # again, alone: its worker may have died of something else
        began = time.monotonic()
        [(_, result)] = each(client, probe, [path], notify)
        if isinstance(result, WorkerDiedError):
            reason = why_died(time.monotonic() - began, job.timeout)
            blamed |= dict.fromkeys(positions[path], reason)
    return blamed
