"""Repair: what can be derived is put back, and records vouch no longer for what is damaged."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from featurestore.format.clips import OUTCOME_COLUMNS, TABLE
from featurestore.format.commits import (
    array_files,
    array_key,
    commit_key,
    read_commit,
    recorded,
    shard_of,
    without,
    write_commit,
)
from featurestore.format.layout import (
    ROOT_KEY,
    Layout,
    Root,
    digest_of,
    is_length,
    spans_without,
)
from featurestore.maintenance.examine import Damage
from featurestore.maintenance.verify import Report, inspect, read_files
from featurestore.specs.kinds import parse_spec
from featurestore.specs.views import best_source
from featurestore.storage.files import Files
from featurestore.storage.journal import discard_damaged
from featurestore.writer import StoreWriter

if TYPE_CHECKING:
    from featurestore.store import FeatureStore


def repair(store: "FeatureStore", *, quick: bool = False, progress: bool = False) -> Report:
    """Mark what is damaged as pending, so that the next run computes that and nothing else.

    Metadata that follow from others are put back. A spec whose metadata are lost, and do not
    follow from what is left, is dropped with its values; a run makes it anew.

    Parameters
    ----------
    store : FeatureStore
    quick, progress : bool
        As in `featurestore.maintenance.verify.verify`.

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
        report, layouts = inspect(writer.store(), quick=quick, progress=progress, is_mine=True)
        done = ["discarded a journal that was damaged"] if discarded else []
        mendable = [damage for damage in report.damage if damage.can_repair]
        if mendable:
            done += _mend(writer.files, mendable, layouts)
        if mendable and len(mendable) == len(report.damage):
            writer.publish()
    return dataclasses.replace(report, repaired=tuple(done))


def _mend(files: Files, damage: Sequence[Damage], layouts: Mapping[str, Layout]) -> list[str]:
    root = Root.read(files)
    assert root is not None
    keys = {found.key for found in damage}
    dropped = {found.spec for found in damage if found.spec not in layouts} - {""}
    lengths = sorted(int(n) for n in {*root.records, *files.names("commits")} if is_length(n))
    done = []
    for length in lengths:
        done += _take_back(files, length, damage, layouts, dropped)
    for name, layout in layouts.items():
        group = layout.files(root.n_clips)
        if keys & group.keys() and digest_of(group) == root.digests[name]:
            files.write_several(group)
            done.append(f"{name}: metadata put back")
    digests = dict(root.digests)
    for length in sorted({layout.clips_per_shard for layout in layouts.values()}):
        array = array_files(length, root.n_clips)
        if read_files(files, array) != array:
            files.write_several(array)
            done.append(f"{array_key(length)}: metadata put back")
        digests[array_key(length)] = digest_of(array)
    digests.pop(OUTCOME_COLUMNS, None)  # without it, they are written anew
    for name in dropped:
        digests.pop(name, None)
    records = {
        length: spans_without(
            spans, [shard for key in keys if (shard := shard_of(key, int(length))) is not None]
        )
        for length, spans in root.records.items()
    }
    specs = tuple(name for name in root.specs if name not in dropped)
    stored = [parse_spec(name) for name in specs]
    views = tuple(name for name in root.views if best_source(parse_spec(name), stored))
    new = dataclasses.replace(root, digests=digests, specs=specs, views=views, records=records)
    files.write(ROOT_KEY, new.to_bytes())
    if ROOT_KEY in keys:
        done.append(f"{ROOT_KEY}: put back")
    if TABLE in keys:
        done.append(f"{TABLE}: outcome columns written anew")
    for name in sorted(dropped):  # last of all: nothing speaks of it any longer
        files.remove(name)
        done.append(f"{name}: dropped, since its metadata are lost")
    return done


def _take_back(
    files: Files,
    length: int,
    damage: Sequence[Damage],
    layouts: Mapping[str, Layout],
    dropped: Collection[str],
) -> list[str]:
    """Let the records of one length vouch no longer for what is damaged, nor for dropped specs."""
    keys = {found.key for found in damage}
    bad: dict[int, dict[str, set[int]]] = {}
    for found in damage:
        if found.rows and layouts[found.spec].clips_per_shard == length:
            for row in found.rows:
                shard, position = divmod(row, length)
                bad.setdefault(shard, {}).setdefault(found.spec, set()).add(position)
    done = []
    hurt = {lost for key in keys if (lost := shard_of(key, length)) is not None}
    there = recorded(files, length) if dropped else ()
    for shard in sorted({*hurt, *bad, *there}):
        key = commit_key(length, shard)
        if key in keys:
            files.remove(key)
            done.append(f"{key}: gone, its clips are pending")
        elif shard in bad or dropped:
            before = read_commit(files, length, shard)
            specs = {
                name: without(checksums, bad.get(shard, {}).get(name, ()))
                for name, checksums in before.specs.items()
                if name not in dropped
            }
            if specs != before.specs:
                commit = dataclasses.replace(before, specs=specs)
                write_commit(files, length, shard, commit)
    for name in layouts:
        n_rows = sum(len(positions.get(name, ())) for positions in bad.values())
        if n_rows:
            done.append(f"{name}: {n_rows:,} row{'s' if n_rows > 1 else ''} now pending")
    return done
