"""What a store keeps and nobody needs: found, and taken away if asked to."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from featurestore import result
from featurestore.errors import CorruptDataError, SpecError
from featurestore.format.clips import COLUMNS
from featurestore.format.columns import TABLE
from featurestore.format.commits import (
    COMMITS,
    Commit,
    invalidated,
    read_commits,
    write_commit,
)
from featurestore.format.layout import Layout
from featurestore.format.metadata import ROOT_KEY
from featurestore.format.parts import PARTS
from featurestore.format.shard import Clip, read_index, tail_nbytes, unpack
from featurestore.format.statistics import Statistics, row_checksum, unpack_statistics
from featurestore.format.status import MIRRORED_COLUMNS
from featurestore.specs.kinds import parse_spec
from featurestore.specs.spec import Spec
from featurestore.storage.documents import parse
from featurestore.storage.files import RUN_FOLDER, Files
from featurestore.store import FeatureStore
from featurestore.writer import StoreWriter, write_shard

Kind = Literal["unfinished", "pruned", "unreferenced", "foreign"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Garbage:
    """Something that nobody needs.

    Parameters
    ----------
    kind : {'unfinished', 'pruned', 'unreferenced', 'foreign'}
        What a run left that was killed; values of clips that were pruned; what belongs to no
        spec of the store; or what melgrid did not make, which is never touched.
    key : str
        Of the file or folder.
    nbytes : int
        What it takes.
    rows : tuple of int
        Where only some rows of a shard are meant: which.
    refused : str
        Why it stays all the same; empty if it goes, or would.
    """

    kind: Kind
    key: str
    nbytes: int
    rows: tuple[int, ...] = ()
    refused: str = ""

    def __str__(self) -> str:
        rows = f", {len(self.rows):,} of its clips" if self.rows else ""
        refused = f"; refused: {self.refused}" if self.refused else ""
        return f"{self.kind} {self.key}: {result.size(self.nbytes)}{rows}{refused}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GarbageReport:
    """All that was found.

    Parameters
    ----------
    garbage : tuple of Garbage
        As `find_garbage` or `collect` gives it.
    is_deleted : bool
        Whether it was deleted, as far as it may be; else it would be.
    """

    garbage: tuple[Garbage, ...]
    is_deleted: bool

    def json(self) -> list[dict[str, Any]]:
        """Return the fields as plain values."""
        return [dataclasses.asdict(found) for found in self.garbage]

    def lines(self) -> list[str]:
        """A line for each, and the bytes of what may be deleted."""
        may_go = (g for g in self.garbage if g.kind != "foreign" and not g.refused)
        nbytes = sum(found.nbytes for found in may_go)
        if not nbytes:
            end = "nothing to delete"
        else:
            end = result.size(nbytes)
            end += " deleted" if self.is_deleted else " to delete: add --yes"
        return [*result.listed(map(str, self.garbage)), end]


def find_garbage(store: FeatureStore) -> tuple[Garbage, ...]:
    """List what `collect` would take away, and what is foreign; nothing is touched.

    Raises
    ------
    StoreFormatError, CorruptDataError
        If the store is damaged: verify says how.
    """
    return (*_left_by_runs(store), *_unreferenced(store), *_unneeded_rows(store))


def collect(store: FeatureStore) -> tuple[Garbage, ...]:
    """Take away what `find_garbage` lists, but what is foreign; rows that are needed stay.

    A killed run's change of metadata is finished, and its partial files go. Nothing is taken away
    through a link: what is behind one is refused, and stays.

    Returns
    -------
    garbage : tuple of Garbage
        What was found; what has not gone says why.

    Raises
    ------
    StoreLockedError
        If a run is writing to the store.
    StoreFormatError, CorruptDataError
        If it is damaged, or a link is where a run would write.
    """
    left = _left_by_runs(store)
    with StoreWriter(store.path, store.window) as writer:
        now, files = writer.store(), writer.files
        folders, rows = list(_unreferenced(now)), list(_unneeded_rows(now))
        going = [found for found in rows if not found.refused]
        commits = dict(_committed(files, now, going))
        keys = {found.key for found in going}
        for layout in now.layouts.values():
            for shard in range(now.metadata.division.n_shards(now.n_clips)):
                if layout.shard_key(shard) in keys:
                    _rewrite(files, layout, shard, commits.get(shard, Commit()))
        for place, found in enumerate(folders):
            if found.kind != "foreign" and not found.refused and not files.remove(found.key):
                still = sum(files.sizes(found.key))
                folders[place] = dataclasses.replace(
                    found, nbytes=still, refused="not all of it can be deleted"
                )
        writer.publish()
    # What a run left goes as the store is opened for writing, but what it did not make.
    stays = sum(store.files.sizes(RUN_FOLDER))
    gone = [dataclasses.replace(found, nbytes=found.nbytes - stays) for found in left]
    return (*(found for found in gone if found.nbytes > 0), *folders, *rows)


def _left_by_runs(store: FeatureStore) -> list[Garbage]:
    nbytes, refused = sum(store.files.sizes(RUN_FOLDER)), _refused(store.files, RUN_FOLDER)
    found = Garbage(kind="unfinished", key=RUN_FOLDER, nbytes=nbytes, refused=refused)
    return [found] if nbytes or refused else []


def _arrays(spec: Spec) -> set[str]:
    """Arrays of a spec's group."""
    return {"values", "statistics", "statistic", *spec.axes}


def _unreferenced(store: FeatureStore) -> Iterator[Garbage]:
    files = store.files
    specs = {spec.name for spec in store.specs}
    n_shards = store.metadata.division.n_shards(store.n_clips)

    def found(kind: Kind, key: str) -> Garbage:
        refused = _refused(files, key) if kind != "foreign" else ""
        nbytes = 0 if files.link_to(key) else sum(files.sizes(key))
        return Garbage(kind=kind, key=key, nbytes=nbytes, refused=refused)

    for name in files.names(""):
        if name not in {ROOT_KEY, RUN_FOLDER, TABLE, COMMITS, PARTS, *specs}:
            yield found("unreferenced" if _is_spec_group(files, name) else "foreign", name)
    for folder, known in (
        (TABLE, {*COLUMNS, *MIRRORED_COLUMNS, *store.table.meta}),
        (COMMITS, {"c"}),
        (PARTS, {"c"}),
        *((spec.name, _arrays(spec)) for spec in store.specs),
    ):
        for name in files.names(folder):
            if name not in {"zarr.json", *known}:
                yield found("foreign", f"{folder}/{name}")
    for layout in store.layouts.values():
        for part in ("values", "statistics"):
            for name in files.names(f"{layout.spec.name}/{part}/c"):
                if name.isascii() and name.isdecimal() and int(name) >= n_shards:
                    yield found("unreferenced", f"{layout.spec.name}/{part}/c/{name}")


def _refused(files: Files, *keys: str) -> str:
    """Why nothing may be taken away there, or put in its place; empty if it may."""
    link = next((link for key in keys if (link := files.link_to(key))), None)
    return "" if link is None else f"{link} is a link"


def _is_spec_group(files: Files, name: str) -> bool:
    """Whether melgrid made the folder, for a spec."""
    try:
        spec = parse_spec(name)
    except SpecError:
        return False
    try:
        group = parse(files.read(f"{name}/zarr.json") or b"{}")
        is_ours = "melgrid" in group.get("attributes", {})
    except (ValueError, AttributeError, TypeError):
        return True
    # Without metadata, a run died while it made the group; or it is somebody's own.
    return is_ours or _arrays(spec) >= set(files.names(name)) != set()


def _unneeded_rows(store: FeatureStore) -> Iterator[Garbage]:
    """Rows in shards that are not committed, or pruned."""
    files, active, records = store.files, store.table.active, store.status.records
    length = store.metadata.division.clips_per_shard
    for layout in store.layouts.values():
        name = layout.spec.name
        for shard in range(store.metadata.division.n_shards(store.n_clips)):
            key = layout.shard_key(shard)
            sizes = _sizes(files, layout, shard)
            left: dict[Kind, list[int]] = {"pruned": [], "unfinished": []}
            for position in sizes:
                row = shard * length + position
                if row >= store.n_clips or not active[row]:
                    left["pruned"].append(position)
                elif not records.ready[name][row]:
                    left["unfinished"].append(position)
            for kind, positions in left.items():
                if positions:
                    nbytes = sum(sizes[position] for position in positions)
                    rows = tuple(shard * length + position for position in positions)
                    refused = _refused(files, key, layout.statistics_key(shard))
                    yield Garbage(kind=kind, key=key, nbytes=nbytes, rows=rows, refused=refused)


def _sizes(files: Files, layout: Layout, shard: int) -> dict[int, int]:
    """Size of each clip that a shard holds, or holds chunks of, by position."""
    key, tail = layout.shard_key(shard), tail_nbytes(*layout.rows_and_chunks)
    size = files.size(key)
    if size is None:
        return {}
    data = files.read_range(key, max(0, size - tail), size)
    index = read_index(data, *layout.rows_and_chunks, size, key)
    sizes = {p: index.clip_nbytes(p) for p in range(layout.clips_per_shard)}
    return {position: nbytes for position, nbytes in sizes.items() if nbytes}


def _committed(
    files: Files, store: FeatureStore, garbage: Sequence[Garbage]
) -> Iterator[tuple[int, Commit]]:
    """Records, after rows that are about to go and specs that the store lacks are invalidated."""
    division, n_clips = store.metadata.division, store.n_clips
    rows: dict[str, npt.NDArray[np.bool_]] = {
        name: np.zeros(n_clips, np.bool_) for name in store.metadata.names
    }
    for found in garbage:
        for row in found.rows:
            if row < n_clips:
                rows[found.key.split("/")[0]][row] = True
    length = division.clips_per_shard
    for shard, before in read_commits(files, division, n_clips):
        first = shard * length
        kept = {
            name: invalidated(checksums, np.flatnonzero(rows[name][first : first + length]))
            for name, checksums in before.specs.items()
            if name in rows
        }
        commit = dataclasses.replace(before, specs=kept)
        if commit != before:
            write_commit(files, division, shard, commit)
        yield shard, commit


def _rewrite(files: Files, layout: Layout, shard: int, commit: Commit) -> None:
    """Leave only rows in a shard that are committed."""
    key, statistics_key = layout.shard_key(shard), layout.statistics_key(shard)
    name = layout.spec.name
    ready = [p for p in range(len(commit.clips)) if commit.is_ready(name, p)]
    if not ready:
        files.remove(key)
        files.remove(statistics_key)
        return
    shard_bytes, packed = files.read_several([key, statistics_key])
    if shard_bytes is None or packed is None:
        missing = key if shard_bytes is None else statistics_key
        raise CorruptDataError(f"missing from {files.root}", key=missing)
    clips = unpack(shard_bytes, *layout.rows_and_chunks, key)
    statistics = unpack_statistics(packed, layout, statistics_key)
    rows: list[tuple[Clip, Statistics] | None] = [None] * layout.clips_per_shard
    for position in ready:
        clip = clips[position]
        if clip is None:
            raise CorruptDataError("committed, but not in the shard", key=key, position=position)
        if row_checksum(clip, statistics[position]) != commit.checksum(name, position):
            raise CorruptDataError("other values than those committed", key=key, position=position)
        rows[position] = clip, statistics[position]
    write_shard(files, layout, shard, rows)
