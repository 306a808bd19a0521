"""Two warm worker processes, one thread each, as `featurize` starts them."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.corpus import Corpus
from featurestore.specs.mel import FeatureSpec
from featurestore.store import FeatureStore
from pipeline.run.cluster import connect
from pipeline.run.run import run
from pipeline.run.settings import RunSettings

T = TypeVar("T")

_BATCH = 32
"""Files a task."""


class Crew:
    """Worker processes that stay, so that their start is in no figure."""

    def __init__(self, client: Any) -> None:
        self._client = client  # distributed.Client, which is typed in part

    @property
    def address(self) -> str:
        """Of the scheduler, for a run's settings."""
        return str(self._client.scheduler.address)

    def cpu_time(self) -> float:
        """CPU time so far of the workers and of this process, where the scheduler is [s]."""
        workers: dict[str, float] = self._client.run(time.process_time)
        return time.process_time() + sum(workers.values())

    def share(
        self, call: Callable[[list[T]], object], work: Sequence[T], batch: int = _BATCH
    ) -> None:
        """Have `call` done for all of `work`, a batch a task."""
        batches = [list(work[first : first + batch]) for first in range(0, len(work), batch)]
        self._client.gather(self._client.map(call, batches, pure=False))

    def do(self, call: Callable[..., T], *arguments: object) -> T:
        """What `call` gives in a worker: with its heap, which gives nothing back to the system."""
        done: T = self._client.submit(call, *arguments, pure=False).result()
        return done

    def featurize(
        self, corpus: Corpus, specs: Sequence[FeatureSpec], n_clips: int
    ) -> Iterator[FeatureStore]:
        """Make a store, from the files to the published table, yield it and remove it.

        It is on the working directory's disk.
        """
        with scratch("store.zarr") as path:
            settings = RunSettings(scheduler=self.address)
            summary = run(corpus.catalog(n_clips), str(path), specs, settings)
            if summary.n_ready != n_clips:
                raise SystemExit(f"only {summary.n_ready} of {n_clips} clips are ready")
            yield summary.store


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A place for files that are removed in the end, below ``build/`` in the working directory."""
    folder = Path("build", f"bench-{os.getpid()}")
    folder.mkdir(parents=True)
    try:
        yield folder / name
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def crew(workers: int = 2) -> Iterator[Crew]:
    """Start workers; they end with this context."""
    import dask

    with connect(workers, None) as client:
        client.wait_for_workers(workers)
        own = client.security  # the certificate of this cluster, for the runs that go to it
        with dask.config.set(
            {
                "distributed.comm.tls.ca-file": own.tls_ca_file,
                "distributed.comm.tls.client.cert": own.tls_client_cert,
                "distributed.comm.tls.client.key": own.tls_client_key,
            }
        ):
            yield Crew(client)
