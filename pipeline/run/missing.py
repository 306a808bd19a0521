"""What a store lacks of what a run is asked for: decided before anything is done.

All of it is read off `RecordTable`, in which each commit record was read once.
"""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from featurestore.errors import AudioError
from featurestore.format.commits import PENDING, Commit, invalidated, read_commit, write_commit
from featurestore.format.record_table import RecordTable
from featurestore.store import FeatureStore
from pipeline.audio.decode import DECODERS, digest_file
from pipeline.audio.file import Signature, signature_of
from pipeline.run.rows import AudioPaths
from pipeline.run.task import Job, ShardTask

_REQUESTS = 16
"""How many remote files are looked at at the same time."""


def invalidate_changed(store: FeatureStore, rows: AudioPaths) -> None:
    """Invalidate clips whose audio is not what it was, at every spec.

    Before anything is computed: a shard's new values must never stand under an old record.
    """
    division, records = store.metadata.division, store.status.records
    known = {
        row: path
        for row, path in enumerate(rows.paths)
        if path is not None and records.status[row] != "pending"
    }
    which = are_changed(records, list(known), list(known.values()))
    shards: dict[int, list[int]] = {}
    for row, is_changed in zip(known, which, strict=True):
        if is_changed:
            shard, position = divmod(row, division.clips_per_shard)
            shards.setdefault(shard, []).append(position)
    for shard, positions in shards.items():
        before = read_commit(store.files, division, shard)
        clips = list(before.clips)
        ready = [p for p in positions if clips[p].status == "ready"]
        for position in set(positions).difference(ready):
            clips[position] = PENDING
        commit = dataclasses.replace(
            before,
            clips=tuple(clips),
            specs={name: invalidated(values, ready) for name, values in before.specs.items()},
        )
        if commit != before:
            write_commit(store.files, division, shard, commit)
            records.put(shard, commit)


def incomplete(store: FeatureStore, job: Job, rows: AudioPaths) -> dict[int, int]:
    """Shards that lack rows, and how many."""
    status = store.status
    names = [layout.spec.name for layout in job.layouts]
    todo = np.array([path is not None for path in rows.paths], np.bool_)
    todo &= np.logical_or.reduce(
        [status.wanted(name) & ~status.records.done(name) for name in names]
    )
    shards = np.flatnonzero(todo) // store.metadata.division.clips_per_shard
    numbers, counts = np.unique(shards, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def are_changed(records: RecordTable, rows: Sequence[int], paths: Sequence[str]) -> list[bool]:
    """Return whether files changed since their rows were made: by their bytes if need be."""
    if not any("://" in path for path in paths):
        return [_is_changed(records, row, path) for row, path in zip(rows, paths, strict=True)]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(_is_changed, [records] * len(rows), rows, paths))


def _is_changed(records: RecordTable, row: int, path: str) -> bool:
    failed = bool(records.status[row] == "failed")
    if failed and records.decoder[row] != DECODERS:
        return True  # another decoder may read it
    there = Signature(size=int(records.size[row]), mtime_ns=int(records.mtime_ns[row]))
    if signature_of(path) == there:
        return False
    if failed:
        return True
    try:
        digest: str = records.digest[row].decode()
        return digest_file(path) != digest
    except AudioError:
        return False  # it cannot be read now: what was made from it stays good


def task(store: FeatureStore, shard: int, rows: AudioPaths) -> ShardTask:
    """Make the task of a shard."""
    division = store.metadata.division
    first = shard * division.clips_per_shard
    there = slice(first, first + division.clips_per_shard)
    is_recorded = store.status.records.recorded[shard]
    return ShardTask(
        shard=shard,
        clip_ids=tuple(rows.clip_ids[there]),
        paths=tuple(rows.paths[there]),
        tiles=tuple(rows.tiles[there]),
        may_train=tuple(store.table.may_train[there].tolist()),
        before=read_commit(store.files, division, shard) if is_recorded else Commit(),
    )
