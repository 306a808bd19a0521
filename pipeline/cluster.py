"""Tasks over Dask workers: a bounded window of futures, and workers that may die."""

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from featurestore.errors import RunError
from pipeline.shard import Job, ShardResult, ShardTask, compute_shard, probe_clip

if TYPE_CHECKING:
    from distributed import Client, Future

_TRIES = 3
"""How often a shard is tried whose worker died though none of its clips is to blame."""


@contextlib.contextmanager
def connect(workers: int | None, scheduler: str | None) -> "Iterator[Client]":
    """A Dask client: of a scheduler that is running, or of a cluster on this machine.

    Parameters
    ----------
    workers : int
        Processes of the local cluster, one thread each; None for one a core.
    scheduler : str
        Address of a running scheduler; None for a local cluster.

    Raises
    ------
    RunError
        If no scheduler answers at that address.
    """
    import dask
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="20s")
        except (OSError, TimeoutError, ValueError) as error:
            raise RunError(
                f"no Dask scheduler answers at {scheduler}: {error}; look at the address, "
                "or leave --scheduler out to use this machine"
            ) from None
        with client:
            yield client
        return
    # A dead worker is looked into at once (`_blame`), so Dask need not try a shard again; and
    # a worker gets a task only when it is free, so that its death concerns one task alone.
    with dask.config.set(
        {
            "distributed.scheduler.allowed-failures": 0,
            "distributed.scheduler.worker-saturation": 1.0,
        }
    ):
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
        with cluster, Client(cluster) as client:
            yield client


def compute(client: "Client", job: Job, tasks: Iterable[ShardTask]) -> "Iterator[ShardResult]":
    """Results of tasks as they end; at any time no more are submitted than keep workers busy.

    Raises
    ------
    RunError
        If the store cannot be written to, or if workers keep dying for no clip's fault.
    """
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    waiting = iter(tasks)
    running: dict[Future[ShardResult], ShardTask] = {}
    tries: dict[int, int] = {}
    completed = as_completed()

    def submit(task: ShardTask) -> None:
        # Not pure: the same task again shall run again.
        future = client.submit(compute_shard, job, task, pure=False)
        running[future] = task
        completed.add(future)

    def refill() -> None:
        while len(running) < 2 * len(client.nthreads()) + 2 and (task := next(waiting, None)):
            submit(task)

    refill()
    for future in completed:
        task = running.pop(future)
        error = future.exception()
        if error is None:
            yield future.result()
        elif isinstance(error, KilledWorker):
            tries[task.shard] = tries.get(task.shard, 0) + 1
            blamed = _blame(client, job, task)
            if not blamed and tries[task.shard] >= _TRIES:
                raise RunError(
                    f"workers died {_TRIES} times on the clips of shard {task.shard}, and none "
                    "of these alone is to blame: is memory short? What is done is kept; "
                    "run again with fewer --workers to continue"
                )
            submit(task.without(blamed))
        elif isinstance(error, OSError):
            raise RunError(
                f"cannot write to the store: {error}; what is done is kept: "
                "make room or give permission, and run again to continue"
            ) from None
        else:
            raise error
        refill()


def _blame(client: "Client", job: Job, task: ShardTask) -> dict[int, str]:
    """Positions of the clips that end their worker when computed alone, and why."""
    from distributed.scheduler import KilledWorker

    blamed = {}
    for position, path in enumerate(task.paths):
        if path is None or position in task.unreadable:
            continue
        error = client.submit(probe_clip, job, path, pure=False).exception()
        if isinstance(error, KilledWorker):
            blamed[position] = (
                f"its worker died: the decoder crashed, or took more than {job.timeout:g} s"
            )
        elif error is not None:
            raise error
    return blamed
