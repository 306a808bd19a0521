"""A run: from a catalog and some specs to a store that holds them."""

import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from featurestore.clips import ClipTable
from featurestore.commits import PENDING, ClipRecord, Commit, read_commit, write_commit
from featurestore.encoding import Codec, Encoding
from featurestore.errors import AudioError, SettingsError
from featurestore.layout import Layout
from featurestore.spec import FeatureSpec
from featurestore.store import FeatureStore
from featurestore.window import ClipWindow
from featurestore.writer import StoreWriter
from pipeline.clip import RESAMPLER
from pipeline.cluster import compute, connect
from pipeline.decode import DECODER, digest_file
from pipeline.shard import Job, ShardTask, signature

if TYPE_CHECKING:
    from pipeline.backends import BackendName
    from pipeline.catalogs import Catalog

_TASK_NBYTES = 640 * 2**20
"""Values of a run of clips, at most [bytes]; a worker holds two thirds of it, packed."""

_CLIPS_PER_SHARD = 8, 256
"""Fewest and most. Few enough that progress shows and that a killed run loses little."""

_SHARDS = 16
"""How many a small collection is divided into, so that all workers have work to the end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How to featurize, apart from what the specs say.

    Parameters
    ----------
    window : ClipWindow
    encoding : Encoding
    codec : Codec
    backend : {'native', 'librosa', 'essentia'}
    workers : int
        Worker processes of the local cluster, one thread each; None for one a core.
    scheduler : str
        Address of a running Dask scheduler to use instead; None for a local cluster.
    timeout : float
        How long one clip may take [s].

    Raises
    ------
    SettingsError
        If a value is out of range.
    """

    window: ClipWindow = ClipWindow()
    encoding: Encoding = Encoding()
    codec: Codec = Codec()
    backend: "BackendName" = "native"
    workers: int | None = None
    scheduler: str | None = None
    timeout: float = 300.0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise SettingsError(f"workers is {self.workers}; it must be at least 1")
        if not self.timeout > 0:
            raise SettingsError(f"timeout is {self.timeout:g} s; it must be more than 0 s")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FailureLimit:
    """How many clips may fail before a run counts as failed.

    Parameters
    ----------
    share : float
        Of the catalog's clips, from 0 to 1.
    count : int
        Used instead of the share, if given.
    """

    share: float = 0.05
    count: int | None = None

    @classmethod
    def parse(cls, text: str) -> "FailureLimit":
        """Read ``5%`` or ``100``.

        Raises
        ------
        SettingsError
            If it is neither.
        """
        try:
            limit = (
                cls(share=float(text.removesuffix("%")) / 100)
                if text.endswith("%")
                else cls(count=int(text))
            )
        except ValueError:
            limit = cls(share=-1)
        if not 0 <= limit.share <= 1 or (limit.count or 0) < 0:
            raise SettingsError(
                f"max-failures is {text!r}; it must be a share or a number: 5%, 100"
            )
        return limit

    def allows(self, summary: "RunSummary") -> bool:
        """Whether a run with these failures counts as done."""
        limit = self.share * summary.n_clips if self.count is None else self.count
        return len(summary.failures) <= limit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """A clip that could not be made."""

    clip_id: str
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run did, and how the store stands.

    Parameters
    ----------
    store : FeatureStore
        As it is now.
    n_clips : int
        Clips of the catalog.
    n_ready : int
        Of these, those that are ready for all specs asked for.
    n_computed : int
        Clips decoded in this run, failed ones among them.
    failures : tuple of Failure
        Clips of the catalog that failed, now or before.
    seconds : float
        What computing took, the workers' start included [s].
    """

    store: FeatureStore
    n_clips: int
    n_ready: int
    n_computed: int
    failures: tuple[Failure, ...]
    seconds: float


def run(
    catalog: "Catalog",
    path: str,
    specs: Sequence[FeatureSpec],
    settings: RunSettings,
    *,
    quiet: bool = True,
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

    Raises
    ------
    StoreFormatError, StoreMismatchError, StoreLockedError
        As `StoreWriter` says.
    RunError
        If the store cannot be written to, or workers keep dying for no clip's fault.
    """
    with StoreWriter(path, settings.window) as writer:
        if writer.abandoned_by and not quiet:
            tqdm.write(f"going on after {writer.abandoned_by}, which had died", sys.stderr)
        store = writer.prepare(
            _clip_table(catalog), layouts(catalog, specs, settings), catalog.name
        )
        paths = _audio_paths(store, catalog)
        todo = [
            (job, list(_incomplete(store, job, paths))) for job in _jobs(store, specs, settings)
        ]
        n_todo = sum(n_clips for _, shards in todo for _, n_clips in shards)
        failures: dict[int, AudioError] = {}
        n_computed = 0
        began = time.monotonic()
        if n_todo:
            bar = tqdm(total=n_todo, unit=" clips", disable=quiet, dynamic_ncols=True)
            with bar, connect(settings.workers, settings.scheduler) as client:
                for job, shards in todo:
                    tasks = (_task(store, job, shard, paths) for shard, _ in shards)
                    for result in compute(client, job, tasks):
                        first = result.shard * job.clips_per_shard
                        failures |= {first + p: e for p, e in result.failures.items()}
                        n_computed += result.n_computed
                        bar.set_postfix(failed=len(failures), refresh=False)
                        bar.update(result.n_computed)
        seconds = time.monotonic() - began
        store = writer.publish()
    return _summary(store, catalog, specs, failures, n_computed, seconds)


def preview(
    catalog: "Catalog", specs: Sequence[FeatureSpec], settings: RunSettings
) -> dict[str, Any]:
    """What a run into a new store would make: shapes, bytes and tasks; nothing is touched."""
    planned = layouts(catalog, specs, settings)
    return {
        "clips": len(catalog),
        "tasks": -(-len(catalog) // planned[0].clips_per_shard),
        "clips_per_task": planned[0].clips_per_shard,
        "bytes_per_clip": sum(layout.chunk_nbytes for layout in planned),
        "specs": [
            {
                "spec": layout.spec.name,
                "shape": [len(catalog), *layout.chunk_shape],
                "encoding": layout.encoding.name,
                "bytes_per_clip": layout.chunk_nbytes,
            }
            for layout in planned
        ],
    }


def layouts(
    catalog: "Catalog", specs: Sequence[FeatureSpec], settings: RunSettings
) -> tuple[Layout, ...]:
    """How the specs would be laid out in a new store.

    The length of a shard follows from the bytes that a clip takes at all specs together.
    """
    frames = {spec: spec.n_frames(settings.window.n_samples(spec.sr)) for spec in specs}
    item = settings.encoding.dtype.itemsize
    clip_nbytes = sum(spec.n_mels * n_frames * item for spec, n_frames in frames.items())
    fewest, most = _CLIPS_PER_SHARD
    limit = min(_TASK_NBYTES // clip_nbytes, len(catalog) // _SHARDS, most)
    clips_per_shard = 2 ** (max(limit, fewest).bit_length() - 1)
    return tuple(
        Layout(
            spec=spec,
            encoding=settings.encoding,
            codec=settings.codec,
            clips_per_shard=clips_per_shard,
            n_frames=n_frames,
            settings={
                "backend": settings.backend,
                "decoder": DECODER.split()[0],
                "resampler": "soxr HQ",
            },
        )
        for spec, n_frames in frames.items()
    )


def _clip_table(catalog: "Catalog") -> ClipTable:
    n_clips = len(catalog)
    nothing = [""] * n_clips
    return ClipTable(
        clip_id=catalog.track_id,
        path=catalog.path,
        split=catalog.split,
        artist=nothing if catalog.artist is None else catalog.artist,
        album=nothing if catalog.album is None else catalog.album,
        fold=np.full(n_clips, -1, np.int16) if catalog.fold is None else catalog.fold,
        tags=catalog.tags,
        labels=catalog.labels,
    )


def _audio_paths(store: FeatureStore, catalog: "Catalog") -> list[str | None]:
    """Where each row's audio is; None for a row whose track the catalog no longer has."""
    row_of = {clip_id: row for row, clip_id in enumerate(store.table.clip_id)}
    paths: list[str | None] = [None] * store.n_clips
    for track_id, path in zip(catalog.track_id, catalog.path, strict=True):
        paths[row_of[track_id]] = f"{catalog.root}/{path}"
    return paths


def _jobs(
    store: FeatureStore, specs: Sequence[FeatureSpec], settings: RunSettings
) -> Iterator[Job]:
    """The specs by the length of their shards: those that are computed together."""
    wanted = [store.layouts[spec] for spec in specs]
    software = {
        "melgrid": version("melgrid"),
        "decoder": DECODER,
        "resampler": RESAMPLER,
        "numpy": np.__version__,
        "torch": version("torch"),
    }
    for length in sorted({layout.clips_per_shard for layout in wanted}):
        yield Job(
            store=store.path,
            layouts=tuple(layout for layout in wanted if layout.clips_per_shard == length),
            window=settings.window,
            backend=settings.backend,
            timeout=settings.timeout,
            software=software,
        )


def _incomplete(
    store: FeatureStore, job: Job, paths: Sequence[str | None]
) -> Iterator[tuple[int, int]]:
    """Shards that lack rows, and how many; rows whose audio has changed are marked on the way."""
    names = [layout.spec.name for layout in job.layouts]
    length = job.clips_per_shard
    for shard in range(-(-store.n_clips // length)):
        before = read_commit(store.files, length, shard)
        there = paths[shard * length : (shard + 1) * length]
        commit = _without_changed(before, there)
        if commit != before:
            write_commit(store.files, length, shard, commit)
        n_clips = sum(
            path is not None and not all(commit.is_settled(name, position) for name in names)
            for position, path in enumerate(there)
        )
        if n_clips:
            yield shard, n_clips


def _without_changed(commit: Commit, paths: Sequence[str | None]) -> Commit:
    """A record that no longer vouches for clips whose audio is not what it was."""
    clips = list(commit.clips)
    changed = set()
    for position, (record, path) in enumerate(zip(clips, paths, strict=False)):
        if path is None or record.status == "pending" or not _has_changed(record, path):
            continue
        if record.status == "ready":
            changed.add(position)
        else:
            clips[position] = PENDING
    return dataclasses.replace(
        commit,
        clips=tuple(clips),
        specs={
            name: tuple(sorted(changed.union(positions)))
            for name, positions in commit.specs.items()
        },
    )


def _has_changed(record: ClipRecord, path: str) -> bool:
    """Whether a file is another one than when the record was made: by its bytes if need be."""
    if signature(path) == (record.size, record.mtime_ns):
        return False
    if record.status == "failed":
        return True
    try:
        return digest_file(path) != record.digest
    except AudioError:
        return False  # it cannot be read now: what was made from it stays good


def _task(store: FeatureStore, job: Job, shard: int, paths: Sequence[str | None]) -> ShardTask:
    first = shard * job.clips_per_shard
    return ShardTask(
        shard=shard,
        paths=tuple(paths[first : first + job.clips_per_shard]),
        before=read_commit(store.files, job.clips_per_shard, shard),
    )


def _summary(
    store: FeatureStore,
    catalog: "Catalog",
    specs: Sequence[FeatureSpec],
    failures: dict[int, AudioError],
    n_computed: int,
    seconds: float,
) -> RunSummary:
    mine = set(catalog.track_id)
    rows = [row for row, clip_id in enumerate(store.table.clip_id) if clip_id in mine]
    ready = np.logical_and.reduce([store[spec].ready for spec in specs])
    failed: list[Failure] = []
    records = store.records()
    for row in rows:
        clip_id, record = store.table.clip_id[row], records[row]
        if record.status == "failed":
            failed.append(Failure(clip_id=clip_id, reason=record.reason, detail=record.detail))
        elif row in failures:  # good for other specs, made when the audio could be read
            error = failures[row]
            failed.append(Failure(clip_id=clip_id, reason=error.reason, detail=error.detail))
    return RunSummary(
        store=store,
        n_clips=len(catalog),
        n_ready=int(np.count_nonzero(ready[rows])),
        n_computed=n_computed,
        failures=tuple(failed),
        seconds=seconds,
    )
