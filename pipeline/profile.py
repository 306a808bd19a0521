"""Where featurizing's time and memory go: the stages of a task, measured on the real code."""

import contextlib
import dataclasses
import functools
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import soxr

import pipeline.run.task
import pipeline.run.tracks
from featurestore.errors import RunError, SettingsError
from featurestore.format import layout
from featurestore.process.profile import Profile, StageCost
from featurestore.process.stages import (
    Clock,
    Memory,
    Stages,
    instrumented,
    process_memory,
    trim_at_once,
)
from featurestore.specs.encoding import Codec
from featurestore.specs.spec import Spec
from featurestore.writer import StoreWriter
from pipeline.audio import decode
from pipeline.audio.clip import Clip, Cropper
from pipeline.features import plan, signal, spectra
from pipeline.features.backends import BackendName, load_backend
from pipeline.run.cluster import connect
from pipeline.run.compute import WorkerDiedError, each
from pipeline.run.layouts import division_for, layouts
from pipeline.run.missing import incomplete, task
from pipeline.run.rows import audio_of, clip_table
from pipeline.run.run import jobs_of, run
from pipeline.run.settings import RunSettings
from pipeline.run.task import Job, ShardTask, compute_shard, probe_clip

if TYPE_CHECKING:
    from pipeline.catalogs import Catalog

T = TypeVar("T")


def stages_of(backend: BackendName) -> Stages:
    """The stages of a task and their functions, in the order in which a clip goes through them."""
    module = load_backend(backend)
    return {
        "read": ((pipeline.run.tracks, "read_track"),),
        "digest": ((decode, "_digest"),),
        "decode": ((decode, "_any_decoder"),),
        "crop": ((pipeline.run.tracks, "Cropper"), (Cropper, "clip"), (Clip, "padded")),
        "resample": ((soxr, "resample"),),
        "perturb": ((signal, "apply"),),
        "spectra": ((module, "power"),),
        "amplitude": ((spectra, "compress"),),
        "statistics": ((spectra, "summarise"),),
        "encode": ((spectra, "encoded"),),
        "cut": ((plan.Plan, "compute"),),
        "compress": ((Codec, "compress"),),
        "checksum": ((layout, "append_crc32c"),),
        "write": ((pipeline.run.task, "write_specs"),),
        "commit": ((pipeline.run.task, "write_commit"),),
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskTimes:
    """Times of the stages of some tasks.

    Parameters
    ----------
    wall, cpu : mapping of str to float
        By the clock, and of the CPU [s], all clips together.
    n_clips, n_failed : int
        Clips that were computed, and those of them that failed.
    clips_per_task : int
    peak_nbytes : int
        The most memory that the process ever used [bytes].
    """

    wall: Mapping[str, float]
    cpu: Mapping[str, float]
    n_clips: int
    n_failed: int
    clips_per_task: int
    peak_nbytes: int


def profile(
    catalog: "Catalog",
    specs: Sequence[Spec],
    settings: RunSettings,
    *,
    n_clips: int = 64,
    report: str | None = None,
) -> Profile:
    """Do a run's first tasks in one worker process, and say what their stages take.

    Whole tasks, until `n_clips` clips are done, as `run` would do them into a new store; twice,
    for the time and for the memory. The store is in the working directory, and removed. With
    ``take='all'``, only the first tile of each track is made.

    Parameters
    ----------
    catalog : Catalog
    specs : sequence of Spec
    settings : RunSettings
    n_clips : int
    report : str
        File for Dask's performance report on a whole run of as many clips; None for no report.

    Raises
    ------
    SettingsError
        If `n_clips` is below 1.
    RunError
        If no clip could be made, or as `run` says.
    """
    if n_clips < 1:
        raise SettingsError(f"clips is {n_clips}; it must be at least 1")
    settings = dataclasses.replace(settings, window=settings.window.fitted(specs))
    with tempfile.TemporaryDirectory(prefix="melgrid-profile-", dir=".") as folder:
        stores = [str(Path(folder, name).absolute()) for name in ("times.zarr", "memory.zarr")]
        times = in_worker(time_tasks, catalog, stores[0], specs, settings, n_clips)
        most = in_worker(memory_of_tasks, catalog, stores[1], specs, settings, 1)
        if times.n_failed == times.n_clips:
            raise RunError(f"all of the first {times.n_clips} clips failed; featurize says why")
        if report is not None:
            first = _first(catalog, times.n_clips)
            run(first, str(Path(folder, "run.zarr")), specs, settings, report=report)
    failed = {"failed": times.n_failed} if times.n_failed else {}
    return Profile(
        work=f"featurize, {specs[0].name if len(specs) == 1 else f'{len(specs)} specs'}",
        settings={
            "encoding": settings.encoding_of(specs[0]).name,
            "codec": settings.codec.name,
            "backend": settings.backend,
            "clips_a_task": times.clips_per_task,
            **failed,
        },
        round="clip",
        n_rounds=times.n_clips,
        n_clips=times.n_clips,
        audio_seconds=times.n_clips * settings.window.duration,
        stages=tuple(
            StageCost(stage=stage, seconds=seconds, nbytes=most.get(stage))
            for stage, seconds in times.wall.items()
        ),
        peak_nbytes=times.peak_nbytes,
    )


def in_worker(
    measure: "Callable[[Catalog, str, Sequence[Spec], RunSettings, int], T]",
    catalog: "Catalog",
    path: str,
    specs: Sequence[Spec],
    settings: RunSettings,
    n_clips: int,
) -> T:
    """What `measure` gives in a worker process of its own: threads, heap and all as in a run.

    Raises
    ------
    RunError
        If the worker died.
    """
    call = functools.partial(measure, catalog, path, specs, settings)
    with connect(1, None) as client:
        [(_, result)] = each(client, call, [n_clips], lambda line: None)
    if isinstance(result, WorkerDiedError):
        raise RunError(
            "the worker process died: is memory short, or a clip to blame? "
            "featurize finds out which"
        )
    return result


def time_tasks(
    catalog: "Catalog",
    path: str,
    specs: Sequence[Spec],
    settings: RunSettings,
    n_clips: int,
) -> TaskTimes:
    """Do a run's first tasks into a new store at `path`, at least `n_clips` clips, timed."""
    stages = stages_of(settings.backend)
    with _first_tasks(catalog, path, specs, settings, n_clips) as (job, tasks):
        clock = Clock(stages)
        with instrumented(stages, clock):
            results = [compute_shard(job, one) for one in tasks]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return TaskTimes(
        wall=clock.wall,
        cpu=clock.cpu,
        n_clips=sum(result.n_computed for result in results),
        n_failed=sum(len(result.failures) for result in results),
        clips_per_task=job.clips_per_shard,
        peak_nbytes=peak if sys.platform == "darwin" else 1024 * peak,
    )


def memory_of_tasks(
    catalog: "Catalog",
    path: str,
    specs: Sequence[Spec],
    settings: RunSettings,
    n_clips: int,
) -> Mapping[str, int]:
    """Measure peak memory by stage [bytes], as `time_tasks`; empty where it is unknown."""
    stages, probe = stages_of(settings.backend), process_memory()
    if probe is None:
        return {}
    with trim_at_once(), _first_tasks(catalog, path, specs, settings, n_clips) as (job, tasks):
        memory = Memory(stages, probe)
        with instrumented(stages, memory):
            for one in tasks:
                compute_shard(job, one)
    return memory.most


@contextlib.contextmanager
def _first_tasks(
    catalog: "Catalog",
    path: str,
    specs: Sequence[Spec],
    settings: RunSettings,
    n_clips: int,
) -> Iterator[tuple[Job, list[ShardTask]]]:
    """The first tasks of a run into a new store, as `pipeline.run.run.run` makes them.

    One clip is computed before, for nothing: constants are made, and libraries loaded.
    """
    with StoreWriter(path, settings.window) as writer:
        table = clip_table(catalog)
        planned = layouts(specs, settings, division_for(len(table), specs, settings))
        store = writer.prepare(table, planned, catalog.name)
        rows = audio_of(store, catalog, table)
        job = next(jobs_of(store, writer.run_id, specs, settings))
        tasks: list[ShardTask] = []
        for shard in incomplete(store, job, rows):
            tasks.append(task(store, shard, rows))
            if sum(len(one.paths) for one in tasks) >= n_clips:
                break
        probe_clip(job, str(tasks[0].paths[0]))
        yield job, tasks


def _first(catalog: "Catalog", n: int) -> "Catalog":
    return dataclasses.replace(
        catalog,
        track_id=catalog.track_id[:n],
        path=catalog.path[:n],
        split=catalog.split[:n],
        labels=catalog.labels[:n],
        fold=None if catalog.fold is None else catalog.fold[:n],
        artist=None if catalog.artist is None else catalog.artist[:n],
        album=None if catalog.album is None else catalog.album[:n],
        meta={name: column[:n] for name, column in catalog.meta.items()},
    )
