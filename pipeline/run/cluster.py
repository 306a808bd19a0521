"""Connect to a Dask cluster: one on this machine, for this run, or one that is there.

Who can connect to a Dask scheduler, worker or nanny can have it run code, and loopback is open to
every user of the machine. So all that a cluster of `connect` listens on asks for a certificate
which only its own processes have: it is made for this run, is never in a file that others can
read, in an environment or on a command line, and goes to the workers through pipes.

Measured with two workers on two cores, three starts each: a start takes 1.7 to 1.9 s by plain TCP
and 1.8 to 2.0 s with Dask's own RSA key, of which the key is 0.05 to 0.09 s; with a key on an
elliptic curve, made here, 1.7 to 1.8 s, the key 0.02 s. That is not worth thirty lines about
certificates. A task there and back takes 10.6 to 10.8, 10.8 to 11.3 and 10.7 to 11.1 ms, one of a
thousand 2.8 ms in all three. Dask has no Unix sockets, and in one process a file that crashes would
end the run.
"""

import contextlib
import errno
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from featurestore.errors import RunError
from featurestore.process.spawn import sigint_blocked
from featurestore.storage.atomic import output_errors
from pipeline.kernels import COMPILED
from pipeline.run.processes import begin

if TYPE_CHECKING:
    from distributed import Client


_PRELOADED = ["distributed", "pipeline.run.task", *COMPILED]
"""What workers are forked with."""

_ENVIRONMENT = {
    # Dask has glibc give memory back at once: a clip then costs 5,000 page faults, and twice the
    # time. Left to itself glibc gives some back: 400. Told to keep it: none.
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    # As Dask has it: processes share the cores, not threads of each.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Of the process that workers are forked from, which is started before Dask could set them."""


def preload() -> None:
    """Begin to import what workers of this machine need, while this process goes on."""
    begin(*_PRELOADED, environment=_ENVIRONMENT)


@contextlib.contextmanager
def connect(
    workers: int | None,
    scheduler: str | None,
    *,
    dashboard: bool = False,
    report: str | None = None,
    timeout: float = 10.0,
) -> "Iterator[Client]":
    """A Dask client: of a scheduler that is running, or of a cluster on this machine.

    Workers on this machine end with this process, even if it is killed, and take orders from
    nobody else.

    Parameters
    ----------
    workers : int
        Processes of the local cluster, one thread each; None for one a core.
    scheduler : str
        Address of a running scheduler; None for a local cluster. For ``tls://`` the certificate is
        the one of Dask's configuration, ``distributed.comm.tls``.
    dashboard : bool
        Whether the local cluster serves Dask's dashboard, on this machine only;
        ``client.dashboard_link`` says where. Other users of the machine can look at it too.
    report : str
        File for Dask's performance report, in HTML; None for no report.
    timeout : float
        How long a scheduler may take to answer [s].

    Raises
    ------
    RunError
        If no scheduler answers at that address, or the local cluster cannot be started.
    OutputError
        If the report cannot be written.
    """
    if scheduler is None:
        preload()
    import dask
    from distributed.utils import silence_logging_cmgr

    if report is not None:
        with output_errors(report, what="the report"):  # now, and not after hours of work
            open(report, "ab").close()
    with contextlib.ExitStack() as stack:
        # Dask logs its last messages whole, each with its task's graph: 54 kB a task, not 1.
        stack.enter_context(dask.config.set({"distributed.admin.low-level-log-length": 0}))
        # What matters of this, `pipeline.run.compute` reports.
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL))
        if scheduler is None:
            client = _start(stack, workers, dashboard=dashboard, profile=report is not None)
        else:
            client = stack.enter_context(_client_of(scheduler, timeout))
        if report is not None:
            stack.enter_context(_reported(report))
        yield client


def _start(
    stack: contextlib.ExitStack, workers: int | None, *, dashboard: bool, profile: bool
) -> "Client":
    """A client of a new cluster on this machine; both end with `stack`."""
    import dask
    from distributed import Client, LocalCluster, Security

    no_pages: list[str] = []
    stack.enter_context(
        dask.config.set(
            {
                # Forked from a process that has the imports done, a worker starts at once, as
                # one that takes a dead one's place must.
                "distributed.worker.multiprocessing-method": "forkserver",
                # Dask looks at each worker's stack a hundred times a second, for the report.
                "distributed.worker.profile.enabled": profile,
                # A dead worker is looked into (`compute`): Dask need not try again.
                "distributed.scheduler.allowed-failures": 0,
                # A worker gets a task when it is free, so that its death concerns few tasks.
                "distributed.scheduler.worker-saturation": 1.0,
                "temporary-directory": stack.enter_context(_private_folder()),
                # Their web servers know no certificates: they listen, and have nothing to show.
                "distributed.worker.http.routes": no_pages,
            }
            | ({} if dashboard else {"distributed.scheduler.http.routes": no_pages})
        )
    )
    with sigint_blocked():
        try:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                security=Security.temporary(),
                # Never the default, which is open to the network.
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": dashboard},
                silence_logs=logging.CRITICAL,
            )
        except RuntimeError as error:
            raise _not_started(error) from None
        stack.enter_context(cluster)
        client: Client = stack.enter_context(Client(cluster))
    return client


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    """A folder that no other user can enter, for what Dask keeps on the disk.

    Dask's own choice, ``/tmp/dask-scratch-space``, may have been made by another user before, and
    is put first where modules are looked for: what lies in it would run. The folder is the same
    for each run of a user, so that Dask takes away what killed runs have left there.
    """
    import dask

    place = dask.config.get("temporary-directory", None) or tempfile.gettempdir()
    os.makedirs(place, exist_ok=True)
    folder = os.path.join(place, f"melgrid-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    status = os.lstat(folder)
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    with contextlib.ExitStack() as stack:
        if not ours or status.st_mode & 0o077:
            made = tempfile.TemporaryDirectory(
                prefix="melgrid-", dir=place, ignore_cleanup_errors=True
            )
            folder = stack.enter_context(made)
        try:
            yield folder
        finally:  # whose name may be free for others now
            sys.path[:] = [path for path in sys.path if not path.startswith(f"{folder}{os.sep}")]


def _not_started(error: BaseException) -> RunError:
    """Why a cluster could not be started: what the system refused, at the end of Dask's errors."""
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and cause.args):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return RunError(
            "a Dask worker died while it was started: is memory short? Run again, "
            "or with fewer --workers"
        )
    assert isinstance(cause, OSError)
    if str(cause) == "AF_UNIX path too long":
        remedy = f"set TMPDIR to a shorter path than {tempfile.gettempdir()}"
    elif cause.errno in (errno.ENOSPC, errno.ENOENT, errno.EACCES) and not cause.filename:
        # What processes share has no name in the message.
        remedy = "look at /dev/shm, where processes need some room (docker run --shm-size 64m)"
    elif cause.errno == errno.EMFILE:
        remedy = "allow more open files (ulimit -n), or take fewer --workers"
    else:
        remedy = "correct that, or take fewer --workers"
    return RunError(f"Dask's workers cannot be started: {cause}; {remedy}")


@contextlib.contextmanager
def _reported(path: str) -> Iterator[None]:
    """Have Dask report on what is done within, to a file.

    It is not told of `path`, which it takes for a chain of URLs if there is ``::`` in it.
    """
    from distributed import performance_report

    with tempfile.TemporaryDirectory(prefix="melgrid-") as folder:
        made = os.path.join(folder, "report.html")
        try:
            with performance_report(filename=made):
                yield
        finally:
            if os.path.exists(made):
                with output_errors(path, what="the report"):
                    shutil.copyfile(made, path)


def _client_of(scheduler: str, timeout: float) -> "Client":
    from distributed import Client

    try:
        return Client(scheduler, timeout=timeout)
    # The last two are what Dask has for TLS without a certificate, and where it is required.
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            f"no Dask scheduler answers at {scheduler}: {error}; look at the address, at "
            "distributed.comm.tls in Dask's configuration if it is a tls:// one, "
            "or leave --scheduler out to use this machine"
        ) from None
