"""A run: from a catalog and some specs to a store that holds them."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from featurestore.errors import AudioError, StoreMismatchError
from featurestore.format.clips import ClipTable
from featurestore.format.layout import Layout
from featurestore.process.progress import Progress, write_line
from featurestore.specs.spec import Spec
from featurestore.specs.views import best_source
from featurestore.store import FeatureStore
from featurestore.writer import StoreWriter
from pipeline.audio.clip import RESAMPLER
from pipeline.catalogs.split import draw_as_before
from pipeline.features.plan import arrange
from pipeline.run.cluster import connect, preload
from pipeline.run.compute import compute
from pipeline.run.layouts import batches, division_for, layouts, require_computable, stored_specs
from pipeline.run.missing import incomplete, invalidate_changed, task
from pipeline.run.rows import AudioPaths, audio_of, clip_table
from pipeline.run.settings import RunSettings
from pipeline.run.summary import Failure, PlannedSpec, Preview, RunSummary
from pipeline.run.task import Job, ShardResult, ShardTask
from pipeline.run.tiles import tiles_of

if TYPE_CHECKING:
    from distributed import Client

    from pipeline.catalogs import Catalog

_PACKED = 0.8
"""Estimate of packed over raw bytes: 0.79 to 0.84 for all encodings and codecs on real music."""


def run(
    catalog: "Catalog",
    path: str,
    specs: Sequence[Spec],
    settings: RunSettings,
    *,
    quiet: bool = True,
    dashboard: bool = False,
    report: str | None = None,
) -> RunSummary:
    """Compute what a store lacks of a catalog at some specs; running it again is the resume.

    Parameters
    ----------
    catalog : Catalog
    path : str
        Where the store is, or will be.
    specs : sequence of Spec
    settings : RunSettings
    quiet : bool
        Whether to print nothing on stderr.
    dashboard : bool
        Whether a local cluster serves Dask's dashboard, which other users of this machine can look
        at too.
    report : str
        File for Dask's performance report, in HTML; None for no report.

    Raises
    ------
    StoreFormatError, StoreMismatchError, StoreLockedError, StoreNotFoundError, StorageError
        As `StoreWriter` says.
    StoreMismatchError
        If the store was imported.
    SpecError, SettingsError
        As `require_computable` says; nothing was touched then.
    RunError
        If the store cannot be written to, or workers keep dying for no clip's fault.
    """
    require_computable(specs, settings)
    settings = dataclasses.replace(settings, window=settings.window.fitted(specs))
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(StoreWriter(path, settings.window))

        def notify(text: str) -> None:
            if not quiet:
                write_line(text)

        if writer.abandoned_by:
            notify(f"going on after {writer.abandoned_by}, which had died")

        @cache
        def client() -> "Client":
            connection = connect(
                settings.workers, settings.scheduler, dashboard=dashboard, report=report
            )
            client = stack.enter_context(connection)
            if dashboard or settings.scheduler is not None:
                notify(f"Dask's dashboard: {client.dashboard_link}")
            return client

        store = writer.store()
        if not store.specs and settings.scheduler is None:
            preload()  # there is something to do
        # Their clips would be taken for others, and be invalidated.
        if any(layout.is_imported for layout in store.metadata.layouts):
            raise StoreMismatchError(
                f"{path} was imported, so its clips are not those of any audio known here; "
                "run melgrid import to go on with it, or give another place with -o"
            )
        if not catalog.drawn:
            catalog = draw_as_before(catalog, store.table.drawn)
            if catalog.drawn:
                notify(f"splits are drawn as those of the store: {catalog.drawn}")
        began = time.monotonic()
        table = clip_table(catalog, tiles_of(catalog, store, settings, client, notify))
        stored = stored_specs(specs, settings, store)
        division = (
            store.metadata.division if store.specs else division_for(len(table), stored, settings)
        )
        store = writer.prepare(
            table,
            layouts(stored, settings, division),
            catalog.name,
            views=[spec for spec in specs if spec not in stored],
            prune=settings.prune,
            store=store,
        )
        rows = audio_of(store, catalog, table)
        invalidate_changed(store, rows)
        sources = {best_source(spec, store.layouts) for spec in specs}
        jobs = jobs_of(store, writer.run_id, [s for s in store.specs if s in sources], settings)
        failures, n_computed = complete(
            store, jobs, rows, lambda job, tasks: compute(client(), job, tasks, notify), quiet=quiet
        )
        seconds = time.monotonic() - began
        store = writer.publish(store)
    summary = summary_of(store, table, specs, failures, n_computed, seconds)
    return dataclasses.replace(summary, passed_over=dict(catalog.passed_over))


def complete(
    store: FeatureStore,
    jobs: Iterable[Job],
    rows: AudioPaths,
    do: Callable[[Job, Iterator[ShardTask]], Iterable[ShardResult]],
    *,
    quiet: bool,
) -> tuple[dict[int, AudioError], int]:
    """Have done what the jobs lack, with a bar on stderr; the store's status learns of it.

    Parameters
    ----------
    store : FeatureStore
    jobs : iterable of Job
    rows : AudioPaths
    do : callable
        Does tasks of a job; called if there are any.
    quiet : bool
        Whether to show nothing.

    Returns
    -------
    failures : dict of int to AudioError
        By row, of the clips that failed now.
    n_computed : int
        Clips that were made, failed ones among them.
    """
    todo = [(job, incomplete(store, job, rows)) for job in jobs]
    n_todo = sum(sum(shards.values()) for _, shards in todo)
    failures: dict[int, AudioError] = {}
    n_computed = 0
    with Progress(n_todo, unit="clips", quiet=quiet) as bar:
        for job, shards in todo:
            tasks = (task(store, shard, rows) for shard in shards)
            for result in do(job, tasks) if shards else ():
                store.status.records.put(result.shard, result.commit)
                first = result.shard * job.clips_per_shard
                failures |= {first + p: e for p, e in result.failures.items()}
                n_computed += result.n_computed
                bar.show({"failed": len(failures)})
                bar.update(result.n_computed)
    return failures, n_computed


def preview(catalog: "Catalog", specs: Sequence[Spec], settings: RunSettings) -> Preview:
    """Preview what a run into a new store would make; nothing is touched.

    With ``take='all'``, clips are those of the first tile alone: tracks are not opened here.
    """
    require_computable(specs, settings)
    settings = dataclasses.replace(settings, window=settings.window.fitted(specs))
    n_clips = len(catalog)
    stored = stored_specs(specs, settings)
    division = division_for(n_clips, stored, settings)
    planned = layouts(stored, settings, division)
    may_train = clip_table(catalog).may_train
    nbytes = _mean_nbytes(planned, may_train)
    everything = _mean_nbytes(layouts(specs, settings, division), may_train)
    packed = 1 if settings.codec.name == "none" else _PACKED
    return Preview(
        clips=n_clips,
        tasks=division.n_shards(n_clips),
        clips_per_task=division.clips_per_shard,
        bytes_per_clip=nbytes,
        stored_bytes_per_clip=round(nbytes * packed),
        without_views_bytes_per_clip=round(everything * packed),
        views=[spec.name for spec in specs if spec not in stored],
        plan=arrange(stored).tree(),
        specs=tuple(
            PlannedSpec(
                spec=layout.spec.name,
                shape=[n_clips, *layout.clip_shape],
                encoding=layout.encoding.name,
                bytes_per_clip=layout.clip_nbytes,
            )
            for layout in planned
        ),
        passed_over=dict(catalog.passed_over),
    )


def _mean_nbytes(layouts: Sequence[Layout], may_train: npt.NDArray[np.bool_]) -> int:
    """What a clip takes at all specs, not packed [bytes]: draws are of some clips alone."""
    draws = sum(layout.clip_nbytes for layout in layouts if layout.spec.condition.is_draw)
    others = sum(layout.clip_nbytes for layout in layouts) - draws
    return others + round(draws * may_train.mean()) if draws else others


def jobs_of(
    store: FeatureStore, run_id: str, specs: Sequence[Spec], settings: RunSettings
) -> Iterator[Job]:
    """The specs that are computed together: all of them, unless memory is too short for that."""
    software = {
        "melgrid": version("melgrid"),
        "resampler": RESAMPLER,
        "numpy": np.__version__,
        "scipy": version("scipy"),
    }
    for batch in batches([store.layouts[spec] for spec in specs]):
        yield Job(
            store=store.path,
            run_id=run_id,
            division=store.metadata.division,
            layouts=batch,
            window=settings.window,
            backend=settings.backend,
            seed=settings.seed,
            augmentation=settings.augmentation,
            timeout=settings.timeout,
            software=software,
        )


def summary_of(
    store: FeatureStore,
    table: ClipTable,
    specs: Sequence[Spec],
    failures: dict[int, AudioError],
    n_computed: int,
    seconds: float,
) -> RunSummary:
    """Summarise a run that computed `n_computed` clips of `table`.

    `failures` are those of this run, by row.
    """
    mine = set(table.clip_id)
    rows = [row for row, clip_id in enumerate(store.table.clip_id) if clip_id in mine]
    arrays = [store[spec] for spec in specs]
    ready = np.logical_and.reduce([array.ready | ~array.wanted for array in arrays])
    failed: list[Failure] = []
    status = store.status
    for row in rows:
        clip_id = store.table.clip_id[row]
        if status["status"][row] == "failed":
            reason, detail = status["reason"][row], status["detail"][row]
            failed.append(Failure(clip_id=clip_id, reason=reason, detail=detail))
        elif row in failures:  # good for other specs, made when the audio could be read
            error = failures[row]
            failed.append(Failure(clip_id=clip_id, reason=error.reason, detail=error.detail))
    return RunSummary(
        store=store,
        specs=tuple(specs),
        n_clips=len(table),
        n_left=int(np.count_nonzero(store.table.active)) - len(table),
        n_ready=int(np.count_nonzero(ready[rows])),
        n_computed=n_computed,
        failures=tuple(failed),
        seconds=seconds,
    )
