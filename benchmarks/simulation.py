"""A collection of any size, run by the real driver and scheduler; only the audio is imagined."""

import dataclasses
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

import numpy as np

import pipeline.run.compute
import pipeline.run.run
from benchmarks.crew import scratch
from benchmarks.featurize import SPEC
from featurestore.format.commits import CHECKSUM_NBYTES, ClipRecord, Commit, write_commit
from featurestore.format.division import Division
from featurestore.storage import open_files
from pipeline.catalogs import Catalog
from pipeline.run.cluster import connect
from pipeline.run.compute import compute
from pipeline.run.layouts import layouts
from pipeline.run.run import run
from pipeline.run.settings import RunSettings
from pipeline.run.task import Job, ShardResult, ShardTask

_TAGS = 50
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulation:
    """What a run of imagined tracks took.

    Parameters
    ----------
    n_tracks, n_tasks : int
    memory : list of (float, float, str)
        Seconds since the start, the driver's resident memory [bytes] and what it was doing.
    results : list of (int, float)
        Results so far and the driver's resident memory [bytes], as each came.
    """

    n_tracks: int
    n_tasks: int
    memory: list[tuple[float, float, str]]
    results: list[tuple[int, float]]

    def peak(self, phase: str) -> float:
        """Most memory in a phase [bytes]."""
        return max(nbytes for _, nbytes, what in self.memory if what == phase)

    def seconds(self, phase: str) -> float:
        """How long a phase lasted [s]."""
        times = [time for time, _, what in self.memory if what == phase]
        return max(times) - min(times)

    @property
    def growth(self) -> float:
        """Memory gained a thousand tasks while computing, a line through the results [bytes]."""
        count, nbytes = zip(*self.results[len(self.results) // 10 :], strict=True)
        return float(np.polyfit(count, nbytes, 1)[0]) * 1000


def imagine(job: Job, task: ShardTask) -> ShardResult:
    """Commit a shard as if all its clips had been computed."""
    record = ClipRecord(
        status="ready", sr=16000, start=3200, n_valid=465600, size=118000, mtime_ns=1
    )
    clips = (dataclasses.replace(record, digest=secrets.token_hex(16)) for _ in task.paths)
    commit = Commit(
        clips=tuple(clips),
        specs={
            layout.spec.name: secrets.token_bytes(CHECKSUM_NBYTES * len(task.paths))
            for layout in job.layouts
        },
        software=job.software,
    )
    write_commit(open_files(job.store, job.run_id), job.division, task.shard, commit)
    return ShardResult(shard=task.shard, n_computed=len(task.paths), failures={}, commit=commit)


def pass_by(job: Job, task: ShardTask) -> ShardResult:
    """Do nothing for a shard."""
    return ShardResult(shard=task.shard, n_computed=len(task.paths), failures={}, commit=Commit())


def imagined_catalog(n_tracks: int) -> Catalog:
    """Tracks that are not there, called like MagnaTagATune's, with 50 tags."""
    paths = [f"{n % 16:x}/an_artist-an_album-{n:07}-a_title-117-146.mp3" for n in range(n_tracks)]
    return Catalog(
        name="imagined",
        root="/nowhere",
        track_id=[str(n) for n in range(n_tracks)],
        path=paths,
        split=["train"] * n_tracks,
        tags=tuple(f"tag {n}" for n in range(_TAGS)),
        labels=np.zeros((n_tracks, _TAGS), np.uint8),
    )


def simulate(n_tracks: int) -> Simulation:
    """Run imagined tracks into a store, and watch this process's memory; call in a fresh one."""
    began, phase, ended = time.perf_counter(), "start", threading.Event()
    memory: list[tuple[float, float, str]] = []
    results: list[tuple[int, float]] = []

    def watch() -> None:
        while not ended.wait(0.05):
            memory.append((time.perf_counter() - began, resident(), phase))

    def observed(*arguments: Any) -> Iterator[ShardResult]:
        nonlocal phase
        phase = "compute"
        for count, result in enumerate(compute(*arguments), 1):
            results.append((count, resident()))
            yield result
        phase = "publish"

    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(0.2)
    phase = "list"
    catalog = imagined_catalog(n_tracks)
    phase = "prepare"
    with (
        mock.patch.object(pipeline.run.compute, "compute_shard", imagine),
        mock.patch.object(pipeline.run.run, "compute", observed),
        scratch("imagined.zarr") as store,
    ):
        summary = run(catalog, str(store), [SPEC], RunSettings(workers=2))
    assert summary.n_ready == n_tracks
    ended.set()
    watcher.join()
    return Simulation(n_tracks=n_tracks, n_tasks=len(results), memory=memory, results=results)


def overhead(n_tasks: int) -> tuple[float, float]:
    """What a task of 256 clips that does nothing costs: by the clock, and CPU here [s]."""
    job = Job(
        store="",
        run_id="",
        division=Division.of(256),
        layouts=layouts([SPEC], RunSettings(), Division.of(256)),
        window=RunSettings().window,
        backend="native",
        seed=0,
        timeout=300.0,
        software={},
    )
    paths = tuple(imagined_catalog(job.clips_per_shard).path)

    def tasks(n: int) -> Iterable[ShardTask]:
        tiles = (0,) * len(paths)
        return (
            ShardTask(
                shard=k,
                clip_ids=paths,
                paths=paths,
                tiles=tiles,
                may_train=(True,) * len(paths),
                before=Commit(),
            )
            for k in range(n)
        )

    notify: Callable[[str], None] = print
    with (
        mock.patch.object(pipeline.run.compute, "compute_shard", pass_by),
        connect(2, None) as client,
    ):
        client.wait_for_workers(2)
        list(compute(client, job, tasks(20), notify))
        cpu, wall = time.process_time(), time.perf_counter()
        list(compute(client, job, tasks(n_tasks), notify))
        return (
            (time.perf_counter() - wall) / n_tasks,
            (time.process_time() - cpu) / n_tasks,
        )


def resident() -> float:
    """This process's memory [bytes]."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return float(file.read().split()[1]) * _PAGE
