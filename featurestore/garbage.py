"""What a store keeps and nobody needs: found, and taken away if asked to."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from featurestore.clips import COLUMNS, TABLE
from featurestore.commits import array_key, read_commit, without, write_commit
from featurestore.errors import CorruptDataError, SpecError, StoreFormatError
from featurestore.files import RUN_FOLDER, Files
from featurestore.layout import ROOT_KEY, Layout, read_attributes
from featurestore.outcomes import PUBLISHED
from featurestore.shard import index_nbytes, is_absent, read_index, unpack
from featurestore.spec import FeatureSpec
from featurestore.statistics import Statistics, unpack_statistics
from featurestore.writer import StoreWriter, write_shard

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

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
    """

    kind: Kind
    key: str
    nbytes: int
    rows: tuple[int, ...] = ()

    def json(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)


def find_garbage(store: "FeatureStore") -> tuple[Garbage, ...]:
    """List what `collect` would take away, and what is foreign; nothing is touched.

    Raises
    ------
    StoreFormatError, CorruptDataError
        If the store is damaged: verify says how.
    """
    return (*_left_by_runs(store), *_unreferenced(store), *_unneeded_rows(store))


def collect(store: "FeatureStore") -> tuple[Garbage, ...]:
    """Take away what `find_garbage` lists, but what is foreign; rows that are needed stay.

    A killed run's change of metadata is finished, and its partial files go.

    Raises
    ------
    StoreLockedError
        If a run is writing to the store.
    StoreFormatError, CorruptDataError
        If it is damaged.
    """
    left = _left_by_runs(store)  # gone, once the store is opened for writing
    with StoreWriter(store.path, store.window) as writer:
        now, files = writer.store(), writer.files
        folders, rows = list(_unreferenced(now)), list(_unneeded_rows(now))
        _forget(files, now, rows)
        keys = {found.key for found in rows}
        for layout in now.layouts.values():
            for shard in range(-(-now.n_clips // layout.clips_per_shard)):
                if layout.shard_key(shard) in keys:
                    _rewrite(files, layout, shard)
        for found in folders:
            if found.kind != "foreign":
                files.remove(found.key)
        writer.publish()
    return (*left, *folders, *rows)


def _left_by_runs(store: "FeatureStore") -> list[Garbage]:
    nbytes = sum(store.files.sizes(RUN_FOLDER))
    return [Garbage(kind="unfinished", key=RUN_FOLDER, nbytes=nbytes)] if nbytes else []


_PARTS = {"values", "statistics", "statistic", "mel", "time"}
"""Arrays of a spec's group."""


def _unreferenced(store: "FeatureStore") -> Iterator[Garbage]:
    files = store.files
    specs = {spec.name for spec in store.specs}
    lengths = {str(layout.clips_per_shard) for layout in store.layouts.values()}

    def found(kind: Kind, key: str) -> Garbage:
        return Garbage(kind=kind, key=key, nbytes=sum(files.sizes(key)))

    for name in files.names(""):
        if name not in {ROOT_KEY, RUN_FOLDER, TABLE, "commits", *specs}:
            yield found("unreferenced" if _is_spec_group(files, name) else "foreign", name)
    for name in files.names("commits"):
        if name not in {"zarr.json", *lengths}:
            kind: Kind = "unreferenced" if name.isdecimal() else "foreign"
            yield found(kind, array_key(int(name)) if name.isdecimal() else f"commits/{name}")
    for folder, known in (
        (TABLE, {*COLUMNS, *PUBLISHED, *store.table.meta}),
        *((name, _PARTS) for name in specs),
    ):
        for name in files.names(folder):
            if name not in {"zarr.json", *known}:
                yield found("foreign", f"{folder}/{name}")
    for layout in store.layouts.values():
        n_shards = -(-store.n_clips // layout.clips_per_shard)
        for part in ("values", "statistics"):
            for name in files.names(f"{layout.spec.name}/{part}/c"):
                if name.isdecimal() and int(name) >= n_shards:
                    yield found("unreferenced", f"{layout.spec.name}/{part}/c/{name}")


def _is_spec_group(files: Files, name: str) -> bool:
    """Whether melgrid made the folder, for a spec."""
    try:
        FeatureSpec.parse(name)
        (fields,) = read_attributes(files, [name])
    except SpecError:
        return False
    except StoreFormatError:
        return True
    # Without metadata, a run died while it made the group; or it is somebody's own.
    return fields is not None or _PARTS >= set(files.names(name)) != set()


def _unneeded_rows(store: "FeatureStore") -> Iterator[Garbage]:
    """Rows in shards that are not vouched for, or pruned."""
    active = store.table.active
    for layout in store.layouts.values():
        length, name = layout.clips_per_shard, layout.spec.name
        for shard in range(-(-store.n_clips // length)):
            key = layout.shard_key(shard)
            sizes = _sizes(store.files, layout, shard)
            commit = read_commit(store.files, length, shard) if sizes else None
            left: dict[Kind, list[int]] = {"pruned": [], "unfinished": []}
            for position in sizes:
                row = shard * length + position
                if row >= store.n_clips or not active[row]:
                    left["pruned"].append(position)
                elif commit is not None and not commit.is_ready(name, position):
                    left["unfinished"].append(position)
            for kind, positions in left.items():
                if positions:
                    nbytes = sum(sizes[position] for position in positions)
                    rows = tuple(shard * length + position for position in positions)
                    yield Garbage(kind=kind, key=key, nbytes=nbytes, rows=rows)


def _sizes(files: Files, layout: Layout, shard: int) -> dict[int, int]:
    """Size of each chunk that a shard holds, by position."""
    key, tail = layout.shard_key(shard), index_nbytes(layout.clips_per_shard)
    size = files.size(key)
    if size is None:
        return {}
    data = files.read_range(key, max(0, size - tail), size)
    index = read_index(data, layout.clips_per_shard, key)
    return {p: int(index[p, 1]) for p in range(len(index)) if not is_absent(index[p])}


def _forget(files: Files, store: "FeatureStore", garbage: Sequence[Garbage]) -> None:
    """Let no record vouch for rows that are about to go, nor for specs that the store lacks."""
    specs = {layout.spec.name: layout for layout in store.layouts.values()}
    rows: dict[str, npt.NDArray[np.bool_]] = {n: np.zeros(store.n_clips, np.bool_) for n in specs}
    for found in garbage:
        for row in found.rows:
            if row < store.n_clips:
                rows[found.key.split("/")[0]][row] = True
    for length in sorted({layout.clips_per_shard for layout in specs.values()}):
        for shard in range(-(-store.n_clips // length)):
            before = read_commit(files, length, shard)
            first = shard * length
            kept = {
                name: without(checksums, np.flatnonzero(rows[name][first : first + length]))
                for name, checksums in before.specs.items()
                if name in specs
            }
            if kept != before.specs:
                write_commit(files, length, shard, dataclasses.replace(before, specs=kept))


def _rewrite(files: Files, layout: Layout, shard: int) -> None:
    """Leave only rows in a shard that its record vouches for."""
    key, statistics_key = layout.shard_key(shard), layout.statistics_key(shard)
    commit = read_commit(files, layout.clips_per_shard, shard)
    name = layout.spec.name
    ready = [p for p in range(len(commit.clips)) if commit.is_ready(name, p)]
    if not ready:
        files.remove(key)
        files.remove(statistics_key)
        return
    shard_bytes, packed = files.read_several([key, statistics_key])
    if shard_bytes is None or packed is None:
        raise CorruptDataError(f"{files.root}: {statistics_key} is missing")
    chunks = unpack(shard_bytes, layout.clips_per_shard, key)
    statistics = unpack_statistics(packed, layout, statistics_key)
    rows: list[tuple[bytes, Statistics] | None] = [None] * layout.clips_per_shard
    for position in ready:
        chunk = chunks[position]
        if chunk is None:
            raise CorruptDataError(f"{key}, clip {position}: committed, but not in the shard")
        rows[position] = chunk, statistics[position]
    write_shard(files, layout, shard, rows)
