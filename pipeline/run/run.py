"""A run: from a catalog and some specs to a store that holds them."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from featurestore.errors import AudioError, StoreMismatchError
from featurestore.export.npz import was_imported
from featurestore.format.clips import ClipTable
from featurestore.format.layout import Layout
from featurestore.specs.mel import FeatureSpec
from featurestore.specs.views import needed, source_of
from featurestore.store import FeatureStore
from featurestore.writer import StoreWriter
from pipeline.audio.clip import RESAMPLER
from pipeline.features.plan import arrange
from pipeline.run.cluster import compute, connect
from pipeline.run.missing import incomplete, take_back_changed, task
from pipeline.run.rows import Rows, audio_of, clip_table
from pipeline.run.settings import RunSettings
from pipeline.run.summary import Failure, PlannedSpec, Preview, RunSummary
from pipeline.run.task import Job, ShardResult, ShardTask
from pipeline.run.tiles import tiles_of

if TYPE_CHECKING:
    from distributed import Client

    from pipeline.catalogs import Catalog

_TASK_NBYTES = 640 * 2**20
"""Values of a run of clips, at most [bytes]; a worker holds two thirds of it, packed."""

_CLIPS_PER_SHARD = 8, 256
"""Fewest and most. Few enough that progress shows and that a killed run loses little."""

_PACKED = 0.8
"""Estimate of packed over raw bytes: 0.79 to 0.84 for all encodings and codecs on real music."""

_SHARDS = 16
"""How many a small collection is divided into, so that all workers have work to the end."""


def run(
    catalog: "Catalog",
    path: str,
    specs: Sequence[FeatureSpec],
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
    specs : sequence of FeatureSpec
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
    RunError
        If the store cannot be written to, or workers keep dying for no clip's fault.
    """
    settings = dataclasses.replace(settings, window=settings.window.fitted(specs))
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(StoreWriter(path, settings.window))

        def say(text: str) -> None:
            if not quiet:
                tqdm.write(text, sys.stderr)

        if writer.abandoned_by:
            say(f"going on after {writer.abandoned_by}, which had died")

        @cache
        def client() -> "Client":
            connection = connect(
                settings.workers, settings.scheduler, dashboard=dashboard, report=report
            )
            client = stack.enter_context(connection)
            if dashboard or settings.scheduler is not None:
                say(f"Dask's dashboard: {client.dashboard_link}")
            return client

        if was_imported(writer.store()):  # whose clips would be taken for others, and be retracted
            raise StoreMismatchError(
                f"{path} was imported, so its clips are not those of any audio known here; "
                "run melgrid import to go on with it, or give another place with -o"
            )
        began = time.monotonic()
        table = clip_table(catalog, tiles_of(catalog, writer.store(), settings, client, say))
        stored = _stored(specs, settings, writer.store())
        store = writer.prepare(
            table,
            layouts(len(table), stored, settings),
            catalog.name,
            views=[spec for spec in specs if spec not in stored],
            prune=settings.prune,
        )
        rows = audio_of(store, catalog, table)
        take_back_changed(store, rows)
        sources = {source_of(spec, store.specs) for spec in specs}
        jobs = jobs_of(store, writer.run, [s for s in store.specs if s in sources], settings)
        failures, n_computed = complete(
            store, jobs, rows, lambda job, tasks: compute(client(), job, tasks, say), quiet=quiet
        )
        seconds = time.monotonic() - began
        store = writer.publish()
    summary = summary_of(store, table, specs, failures, n_computed, seconds)
    return dataclasses.replace(summary, passed_over=catalog.passed_over)


def complete(
    store: FeatureStore,
    jobs: Iterable[Job],
    rows: Rows,
    do: Callable[[Job, Iterator[ShardTask]], Iterable[ShardResult]],
    *,
    quiet: bool,
) -> tuple[dict[int, AudioError], int]:
    """Have done what the jobs lack, with a bar on stderr.

    Parameters
    ----------
    store : FeatureStore
    jobs : iterable of Job
    rows : Rows
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
    todo = [(job, list(incomplete(store, job, rows))) for job in jobs]
    n_todo = sum(n_clips for _, shards in todo for _, n_clips in shards)
    failures: dict[int, AudioError] = {}
    n_computed = 0
    with tqdm(total=n_todo, unit=" clips", disable=quiet or not n_todo, dynamic_ncols=True) as bar:
        for job, shards in todo:
            tasks = (task(store, job, shard, rows) for shard, _ in shards)
            for result in do(job, tasks) if shards else ():
                first = result.shard * job.clips_per_shard
                failures |= {first + p: e for p, e in result.failures.items()}
                n_computed += result.n_computed
                bar.set_postfix(failed=len(failures), refresh=False)
                bar.update(result.n_computed)
    return failures, n_computed


def preview(catalog: "Catalog", specs: Sequence[FeatureSpec], settings: RunSettings) -> Preview:
    """What a run into a new store would make and how; nothing is touched.

    With ``take='all'``, clips are those of the first tile alone: tracks are not opened here.
    """
    settings = dataclasses.replace(settings, window=settings.window.fitted(specs))
    n_clips = len(catalog)
    stored = _stored(specs, settings)
    planned = layouts(n_clips, stored, settings)
    nbytes = sum(layout.chunk_nbytes for layout in planned)
    everything = sum(layout.chunk_nbytes for layout in layouts(n_clips, specs, settings))
    packed = 1 if settings.codec.name == "none" else _PACKED
    return Preview(
        clips=n_clips,
        tasks=-(-n_clips // planned[0].clips_per_shard),
        clips_per_task=planned[0].clips_per_shard,
        bytes_per_clip=nbytes,
        stored_bytes_per_clip=round(nbytes * packed),
        without_views_bytes_per_clip=round(everything * packed),
        views=[spec.name for spec in specs if spec not in stored],
        plan=arrange(stored).tree(),
        specs=tuple(
            PlannedSpec(
                spec=layout.spec.name,
                shape=[n_clips, *layout.chunk_shape],
                encoding=layout.encoding.name,
                bytes_per_clip=layout.chunk_nbytes,
            )
            for layout in planned
        ),
        passed_over=catalog.passed_over,
    )


def layouts(
    n_clips: int, specs: Sequence[FeatureSpec], settings: RunSettings
) -> tuple[Layout, ...]:
    """How the specs would be laid out in a new store.

    The length of a shard follows from the bytes that a clip takes at all specs together.
    """
    frames = {spec: spec.n_frames(settings.window.n_samples(spec.sr)) for spec in specs}
    item = settings.encoding.dtype.itemsize
    clip_nbytes = sum(spec.n_mels * n_frames * item for spec, n_frames in frames.items())
    fewest, most = _CLIPS_PER_SHARD
    limit = min(_TASK_NBYTES // max(1, clip_nbytes), n_clips // _SHARDS, most)
    clips_per_shard = 2 ** (max(limit, fewest).bit_length() - 1)
    return tuple(
        Layout(
            spec=spec,
            encoding=settings.encoding,
            codec=settings.codec,
            clips_per_shard=clips_per_shard,
            n_frames=n_frames,
            settings=_origin(settings),
        )
        for spec, n_frames in frames.items()
    )


def _origin(settings: RunSettings) -> dict[str, str]:
    """What a layout says of where its values come from."""
    return {
        "backend": settings.backend,
        "resampler": "soxr HQ",
    }


def _stored(
    specs: Sequence[FeatureSpec], settings: RunSettings, store: FeatureStore | None = None
) -> Sequence[FeatureSpec]:
    """Those of the specs that are to be stored.

    None is served from what was made otherwise (in another encoding, by another backend), into
    which this run's clips would not fit.
    """
    if not settings.views:
        return specs
    there = {} if store is None else store.layouts
    alike = [
        spec
        for spec, layout in there.items()
        if layout.encoding == settings.encoding and layout.settings == _origin(settings)
    ]
    stored = needed(specs, alike)
    sources = {spec: source_of(spec, [*stored, *there]) for spec in specs}
    return [spec for spec in specs if spec in stored or sources[spec] not in {*stored, *alike}]


def jobs_of(
    store: FeatureStore, run: str, specs: Sequence[FeatureSpec], settings: RunSettings
) -> Iterator[Job]:
    """The specs by the length of their shards: those that are computed together."""
    wanted = [store.layouts[spec] for spec in specs]
    software = {
        "melgrid": version("melgrid"),
        "resampler": RESAMPLER,
        "numpy": np.__version__,
        "torch": version("torch"),
    }
    for length in sorted({layout.clips_per_shard for layout in wanted}):
        yield Job(
            store=store.path,
            run=run,
            layouts=tuple(layout for layout in wanted if layout.clips_per_shard == length),
            window=settings.window,
            backend=settings.backend,
            timeout=settings.timeout,
            software=software,
        )


def summary_of(
    store: FeatureStore,
    table: ClipTable,
    specs: Sequence[FeatureSpec],
    failures: dict[int, AudioError],
    n_computed: int,
    seconds: float,
) -> RunSummary:
    """How a store stands after a run that computed `n_computed` clips of `table`.

    `failures` are those of this run, by row.
    """
    mine = set(table.clip_id)
    rows = [row for row, clip_id in enumerate(store.table.clip_id) if clip_id in mine]
    ready = np.logical_and.reduce([store[spec].ready for spec in specs])
    failed: list[Failure] = []
    outcomes = store.outcomes
    for row in rows:
        clip_id = store.table.clip_id[row]
        if outcomes.status[row] == "failed":
            reason, detail = outcomes.reason[row], outcomes.detail[row]
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
