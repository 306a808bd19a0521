"""Repair: what follows from other data is put back, and what is damaged is invalidated."""

import dataclasses
from collections.abc import Sequence

from featurestore.format.columns import TABLE
from featurestore.format.commits import commit_key, invalidated, read_commit, shard_of, write_commit
from featurestore.format.layout import digest_of
from featurestore.format.metadata import ROOT_KEY, StoreMetadata
from featurestore.format.parts import without_records
from featurestore.integrity.examine import Damage
from featurestore.integrity.verify import Report, derived_metadata, inspect
from featurestore.storage.files import Files
from featurestore.storage.journal import discard_damaged
from featurestore.store import FeatureStore
from featurestore.writer import StoreWriter


def repair(store: FeatureStore, *, quick: bool = False, progress: bool = False) -> Report:
    """Mark what is damaged as pending, so that the next run computes that and nothing else.

    Metadata that follow from the store's own are put back.

    Parameters
    ----------
    store : FeatureStore
    quick, progress : bool
        As in `featurestore.integrity.verify.verify`.

    Returns
    -------
    report : Report
        What was found before, and what was done.

    Raises
    ------
    StoreLockedError
        If a run is writing to the store.
    OSError
        If it cannot be written to.
    """
    discarded = discard_damaged(store.files)
    with StoreWriter(store.path, store.window) as writer:
        now = writer.store()
        report = inspect(now.files, now.metadata, quick=quick, progress=progress, lock_held=True)
        done = ["discarded a journal that was damaged"] if discarded else []
        repairable = [damage for damage in report.damage if damage.can_repair]
        if repairable:
            done += _invalidate(writer.files, now.metadata, repairable)
            done += _restore(writer.files, now.metadata, repairable)
        if repairable and len(repairable) == len(report.damage):
            _forget_records(writer.files, now, repairable)
            writer.publish()
    return dataclasses.replace(report, repaired=tuple(done))


def _invalidate(files: Files, metadata: StoreMetadata, damage: Sequence[Damage]) -> list[str]:
    """Invalidate damaged rows in their commit records; remove records that are damaged."""
    division = metadata.division
    keys = {found.key for found in damage}
    damaged: dict[int, dict[str, set[int]]] = {}
    for found in damage:
        for row in found.rows:
            shard, position = divmod(row, division.clips_per_shard)
            damaged.setdefault(shard, {}).setdefault(found.spec, set()).add(position)
    done = []
    lost = {number for key in keys if (number := shard_of(division, key)) is not None}
    for shard in sorted({*lost, *damaged}):
        if shard in lost:
            key = commit_key(division, shard)
            files.remove(key)
            done.append(f"{key}: gone, its clips are pending")
        else:
            before = read_commit(files, division, shard)
            specs = {
                name: invalidated(checksums, damaged[shard].get(name, ()))
                for name, checksums in before.specs.items()
            }
            commit = dataclasses.replace(before, specs=specs)
            write_commit(files, division, shard, commit)
    for name in metadata.names:
        n_rows = sum(len(positions.get(name, ())) for positions in damaged.values())
        if n_rows:
            done.append(f"{name}: {n_rows:,} row{'s' if n_rows > 1 else ''} now pending")
    return done


def _restore(files: Files, metadata: StoreMetadata, damage: Sequence[Damage]) -> list[str]:
    """Put metadata back that are damaged."""
    keys = {found.key for found in damage}
    digests = dict(metadata.digests)
    done = []
    for name, _, group in derived_metadata(metadata):
        if keys & group.keys():
            files.write_several(group)
            digests[name] = digest_of(group)
            done.append(f"{name}: metadata put back")
    if ROOT_KEY in keys or digests != metadata.digests:
        files.write(ROOT_KEY, dataclasses.replace(metadata, digests=digests).to_bytes())
    if ROOT_KEY in keys:
        done.append(f"{ROOT_KEY}: put back")
    if TABLE in keys:
        done.append(f"{TABLE}: status columns written anew")
    return done


def _forget_records(files: Files, store: FeatureStore, damage: Sequence[Damage]) -> None:
    """Have the manifests of parts expect no record that is gone, and the status written anew."""
    shards = {shard_of(store.metadata.division, found.key) for found in damage} - {None}
    for part in store.status.parts:
        new = dataclasses.replace(without_records(part, shards), status="")
        if new != part:
            files.write(new.key, new.to_bytes())
