"""What a store lacks of what a run is asked for: decided before anything is done."""

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from featurestore.errors import AudioError
from featurestore.format.commits import (
    PENDING,
    ClipRecord,
    Commit,
    read_commit,
    without,
    write_commit,
)
from featurestore.store import FeatureStore
from pipeline.audio.decode import DECODERS, digest_file
from pipeline.audio.file import Signature, signature_of
from pipeline.run.rows import Rows
from pipeline.run.task import Job, ShardTask

_REQUESTS = 16
"""How many remote files are looked at at the same time."""


def take_back_changed(store: FeatureStore, rows: Rows) -> None:
    """Let the records no longer vouch for clips whose audio is not what it was, at any spec.

    Before anything is computed: a shard's new values must never stand under an old record.
    """
    for length in sorted({layout.clips_per_shard for layout in store.layouts.values()}):
        for shard in range(-(-store.n_clips // length)):
            before = read_commit(store.files, length, shard)
            commit = _without_changed(before, rows.paths[shard * length : (shard + 1) * length])
            if commit != before:
                write_commit(store.files, length, shard, commit)


def incomplete(store: FeatureStore, job: Job, rows: Rows) -> Iterator[tuple[int, int]]:
    """Shards that lack rows, and how many."""
    names = [layout.spec.name for layout in job.layouts]
    length = job.clips_per_shard
    for shard in range(-(-store.n_clips // length)):
        commit = read_commit(store.files, length, shard)
        there = rows.paths[shard * length : (shard + 1) * length]
        n_clips = sum(
            path is not None and not all(commit.is_settled(name, position) for name in names)
            for position, path in enumerate(there)
        )
        if n_clips:
            yield shard, n_clips


def _without_changed(commit: Commit, paths: Sequence[str | None]) -> Commit:
    """A record that no longer vouches for clips whose audio is not what it was."""
    clips = list(commit.clips)
    known = [
        (position, clips[position], path)
        for position, path in enumerate(paths[: len(clips)])
        if path is not None and clips[position].status != "pending"
    ]
    changed = set()
    which = are_changed([record for _, record, _ in known], [path for _, _, path in known])
    for (position, record, _), is_changed in zip(known, which, strict=True):
        if is_changed and record.status == "ready":
            changed.add(position)
        elif is_changed:
            clips[position] = PENDING
    return dataclasses.replace(
        commit,
        clips=tuple(clips),
        specs={name: without(checksums, changed) for name, checksums in commit.specs.items()},
    )


def are_changed(records: Sequence[ClipRecord], paths: Sequence[str]) -> list[bool]:
    """Whether files are others than when the records were made: by their bytes if need be."""
    if not any("://" in path for path in paths):
        return list(map(_is_changed, records, paths))
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(_is_changed, records, paths))


def _is_changed(record: ClipRecord, path: str) -> bool:
    if record.status == "failed" and record.decoder != DECODERS:
        return True  # another decoder may read it
    if signature_of(path) == Signature(size=record.size, mtime_ns=record.mtime_ns):
        return False
    if record.status == "failed":
        return True
    try:
        return digest_file(path) != record.digest
    except AudioError:
        return False  # it cannot be read now: what was made from it stays good


def task(store: FeatureStore, job: Job, shard: int, rows: Rows) -> ShardTask:
    """What is to be done for a shard."""
    first = shard * job.clips_per_shard
    return ShardTask(
        shard=shard,
        paths=tuple(rows.paths[first : first + job.clips_per_shard]),
        tiles=tuple(rows.tiles[first : first + job.clips_per_shard]),
        before=read_commit(store.files, job.clips_per_shard, shard),
    )
