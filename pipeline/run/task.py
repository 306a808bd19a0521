"""One task: a shard, computed whole by one worker, written once, committed last."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from featurestore.errors import AudioError, CorruptDataError
from featurestore.format.commits import (
    CHECKSUM_NBYTES,
    PENDING,
    Checksums,
    ClipRecord,
    Commit,
    invalidated,
    write_commit,
)
from featurestore.format.division import Division
from featurestore.format.layout import Layout
from featurestore.format.shard import Clip, unpack
from featurestore.format.statistics import Statistics, row_checksum, unpack_statistics
from featurestore.specs.augmentation import Augmentation
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.spec import Spec
from featurestore.storage import open_files
from featurestore.storage.checksum import verify_crc32c
from featurestore.storage.files import Files
from featurestore.writer import write_shard
from pipeline import kernels
from pipeline.audio.decode import DECODERS
from pipeline.audio.file import signature_of
from pipeline.features.backends import BackendName
from pipeline.run.tracks import Tracks, memory_errors_told, time_limit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """Settings that all tasks of a run share.

    Parameters
    ----------
    store : str
        Where the store is.
    run_id : str
        Names the run, so that its workers write to the store only as long as it lasts.
    division : Division
        The store's.
    layouts : tuple of Layout
        Of the specs to compute.
    window : Excerpt
    backend : str
    seed : int
        What perturbations draw from, with the clips' ids.
    augmentation : Augmentation, optional
        What draws are made by.
    timeout : float
        How long one clip may take before its worker is ended [s].
    software : mapping of str to str
        Versions, for the commit records.
    """

    store: str
    run_id: str
    division: Division
    layouts: tuple[Layout, ...]
    window: Excerpt
    backend: BackendName
    seed: int
    timeout: float
    software: Mapping[str, str]
    augmentation: Augmentation | None = None

    @property
    def clips_per_shard(self) -> int:
        """Length of a shard."""
        return self.division.clips_per_shard


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard's work.

    Parameters
    ----------
    shard : int
    clip_ids : tuple of str
    paths : tuple of (str or None)
        Where each clip's audio is; None leaves the clip as it is.
    tiles : tuple of int
        Which of its track's consecutive clips each is.
    may_train : tuple of bool
        Whether each may be trained on: random draws are of those alone.
    before : Commit
        The record that is there, or an empty one.
    unreadable : mapping of int to str
        Positions whose audio must not be touched, and why: they ended a worker before.
    """

    shard: int
    clip_ids: tuple[str, ...]
    paths: tuple[str | None, ...]
    tiles: tuple[int, ...]
    may_train: tuple[bool, ...]
    before: Commit
    unreadable: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def without(self, unreadable: Mapping[int, str]) -> "ShardTask":
        """Return the task with more positions whose audio must not be touched."""
        return dataclasses.replace(self, unreadable={**self.unreadable, **unreadable})

    def todo(self, job: Job) -> list[int]:
        """Positions whose audio the task would decode, as far as the record tells."""
        return [
            position
            for position, path in enumerate(self.paths)
            if path is not None
            and position not in self.unreadable
            and not all(
                self.before.is_done(layout.spec.name, position)
                for layout in self.wanted(job, position)
            )
        ]

    def wanted(self, job: Job, position: int) -> list[Layout]:
        """Those of the job's that are to hold a position: all, but draws of what may not train."""
        return [k for k in job.layouts if self.may_train[position] or not k.spec.condition.is_draw]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardResult:
    """Result of a task.

    Parameters
    ----------
    shard : int
    n_computed : int
        Clips that were decoded, failed ones among them.
    failures : mapping of int to AudioError
        By position, of those decoded now.
    commit : Commit
        The record that was written.
    """

    shard: int
    n_computed: int
    failures: Mapping[int, AudioError]
    commit: Commit


_WRITES = 8
"""Specs written at the same time: most of it is waiting, for the disk or for object storage."""

EncodedClip = tuple[Clip, Statistics]
"""One clip at one spec: its chunks with their checksums, and its statistics ``(3, n_bands)``."""

Source = Callable[[str, str, int, Iterable[Layout]], tuple[ClipRecord, dict[Spec, EncodedClip]]]
"""Makes one clip: from its id, a path, a tile and what is wanted, to its record and rows.

It raises `AudioError` for what is the clip's fault.
"""


def compute_shard(job: Job, task: ShardTask, source: Source | None = None) -> ShardResult:
    """Compute what a shard lacks, write the shards of all specs, then commit.

    Rows that are there already are taken over as they are, byte for byte. Done twice, even at
    the same time, it writes the same bytes.

    Parameters
    ----------
    job : Job
    task : ShardTask
    source : Source
        What makes the clips; None for decoding audio and computing.

    Raises
    ------
    OSError
        If the store cannot be written to, or no longer by this run. Bad audio raises nothing: it
        becomes a failed row.
    """
    files = open_files(job.store, job.run_id)
    n_clips = len(task.paths)
    clips = [*task.before.clips, *[PENDING] * (n_clips - len(task.before.clips))]
    rows = {layout.spec: _kept(files, layout, task) for layout in job.layouts}
    remade: set[int] = set()
    failures: dict[int, AudioError] = {}
    n_computed = 0
    compute = source or _Rows(job).compute

    for position, path in enumerate(task.paths):
        wanted = tuple(
            layout
            for layout in task.wanted(job, position)
            if rows[layout.spec][position] is None
            and not _is_known_failure(task.before, layout, position)
        )
        if path is None or not wanted:
            continue
        n_computed += 1
        before = clips[position]
        try:
            if position in task.unreadable:
                raise AudioError("Unreadable", task.unreadable[position])
            clip_id, tile = task.clip_ids[position], task.tiles[position]
            record, made = compute(clip_id, path, tile, wanted)
        except AudioError as error:
            failures[position] = error
            good_elsewhere = any(task.before.is_ready(n, position) for n in task.before.specs)
            if not good_elsewhere:  # else that stays, and this clip is tried again
                signature = signature_of(path)
                clips[position] = ClipRecord(
                    status="failed",
                    reason=error.reason,
                    detail=error.detail,
                    size=signature.size,
                    mtime_ns=signature.mtime_ns,
                    decoder=DECODERS,
                )
            continue
        clips[position] = record
        if not record.same_audio(before):  # then other specs' values are of other audio
            for spec_rows in rows.values():
                spec_rows[position] = None
            remade.add(position)
        for spec, row in made.items():
            rows[spec][position] = row

    grown = bytes(CHECKSUM_NBYTES * (n_clips - len(task.before.clips)))
    checksums = {
        name: invalidated(before + grown, remade) for name, before in task.before.specs.items()
    }
    checksums |= write_specs(files, job.layouts, task.shard, rows)
    commit = Commit(clips=tuple(clips), specs=checksums, software=job.software)
    write_commit(files, job.division, task.shard, commit)
    return ShardResult(shard=task.shard, n_computed=n_computed, failures=failures, commit=commit)


def write_specs(
    files: Files,
    layouts: Sequence[Layout],
    shard: int,
    rows: Mapping[Spec, Sequence[EncodedClip | None]],
) -> dict[str, Checksums]:
    """Write one shard of several specs at the same time; the checksums of their rows, by name."""
    with ThreadPoolExecutor(_WRITES) as pool:
        written = pool.map(lambda k: write_shard(files, k, shard, rows[k.spec]), layouts)
        return dict(zip((layout.spec.name for layout in layouts), written, strict=True))


def probe_clip(job: Job, path: str) -> None:
    """Compute one clip for nothing: to see whether it ends its worker."""
    with contextlib.suppress(AudioError):
        _Rows(job).compute("", path, 0, job.layouts)


def _kept(files: Files, layout: Layout, task: ShardTask) -> list[EncodedClip | None]:
    """A spec's rows that stay: ready according to the record, and undamaged."""
    kept: list[EncodedClip | None] = [None] * len(task.paths)
    ready = [p for p in range(len(kept)) if task.before.is_ready(layout.spec.name, p)]
    key, statistics_key = layout.shard_key(task.shard), layout.statistics_key(task.shard)
    stored, packed = files.read_several([key, statistics_key]) if ready else (None, None)
    if stored is None or packed is None:
        return kept
    with contextlib.suppress(CorruptDataError):  # without its index, a shard keeps nothing
        there = unpack(stored, *layout.rows_and_chunks, key)
        statistics = unpack_statistics(packed, layout, statistics_key)
        for position in ready:
            with contextlib.suppress(CorruptDataError):
                clip = there[position]
                if clip is None:
                    continue
                for chunk in clip:
                    verify_crc32c(chunk, key)
                # Else it is an undamaged row, but another one.
                committed = task.before.checksum(layout.spec.name, position)
                if row_checksum(clip, statistics[position]) == committed:
                    kept[position] = clip, statistics[position]
    return kept


def _is_known_failure(before: Commit, layout: Layout, position: int) -> bool:
    name = layout.spec.name
    return before.is_done(name, position) and not before.is_ready(name, position)


class _Rows:
    """Rows of tracks' clips, as they are stored."""

    def __init__(self, job: Job) -> None:
        self._job = job
        specs = [layout.spec for layout in job.layouts]
        self._tracks = Tracks(specs, job.window, job.backend, job.augmentation)
        # Now, and not within the first clip's time limit.
        kernels.load(*kernels.OF_AUDIO, *kernels.OF_FEATURES)
        if any(spec.condition for spec in specs):
            kernels.load(*kernels.OF_PERTURBATIONS)

    def compute(
        self, clip_id: str, path: str, tile: int, layouts: Iterable[Layout]
    ) -> tuple[ClipRecord, dict[Spec, EncodedClip]]:
        """What became of one clip, and its row of every spec.

        Raises
        ------
        AudioError
            If the clip cannot be made.
        """
        by_spec = {layout.spec: layout for layout in layouts}
        encodings = {spec: layout.encoding for spec, layout in by_spec.items()}
        seed = seed_of(self._job.seed, clip_id)
        with time_limit(self._job.timeout), memory_errors_told():
            track, clip, made = self._tracks.compute(path, tile, encodings, seed)
            rows = {
                spec: (by_spec[spec].chunks_of(values), statistics)
                for spec, values, statistics in made
            }
        record = ClipRecord(
            status="ready",
            sr=track.sr,
            start=clip.start,
            n_valid=clip.n_valid,
            n_track=clip.n_track,
            peak=clip.peak,
            n_clipped=clip.n_clipped,
            digest=track.digest,
            size=track.signature.size,
            mtime_ns=track.signature.mtime_ns,
            decoder=track.decoder,
        )
        return record, rows


def seed_of(seed: int, clip_id: str) -> int:
    """What perturbations of a clip draw from."""
    digest = hashlib.blake2b(f"{seed}#{clip_id}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")
