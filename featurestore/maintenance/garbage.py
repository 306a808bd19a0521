"""What a store keeps and nobody needs: found, and taken away if asked to."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from featurestore import result
from featurestore.errors import CorruptDataError, SpecError, StoreFormatError
from featurestore.format.clips import COLUMNS, TABLE
from featurestore.format.commits import read_commit, without, write_commit
from featurestore.format.layout import ROOT_KEY, Layout, is_length, read_attributes
from featurestore.format.shard import index_nbytes, is_absent, read_index, unpack
from featurestore.format.statistics import Statistics, row_checksum, unpack_statistics
from featurestore.format.status import PUBLISHED
from featurestore.specs.mel import FeatureSpec
from featurestore.storage.files import RUN_FOLDER, Files
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
        """As plain values."""
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
        _forget(files, now, going)
        keys = {found.key for found in going}
        for layout in now.layouts.values():
            for shard in range(-(-now.n_clips // layout.clips_per_shard)):
                if layout.shard_key(shard) in keys:
                    _rewrite(files, layout, shard)
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


def _left_by_runs(store: "FeatureStore") -> list[Garbage]:
    nbytes, refused = sum(store.files.sizes(RUN_FOLDER)), _refused(store.files, RUN_FOLDER)
    found = Garbage(kind="unfinished", key=RUN_FOLDER, nbytes=nbytes, refused=refused)
    return [found] if nbytes or refused else []


_PARTS = {"values", "statistics", "statistic", "mel", "time"}
"""Arrays of a spec's group."""


def _unreferenced(store: "FeatureStore") -> Iterator[Garbage]:
    files = store.files
    specs = {spec.name for spec in store.specs}
    lengths = {str(layout.clips_per_shard) for layout in store.layouts.values()}

    def found(kind: Kind, key: str) -> Garbage:
        refused = _refused(files, key) if kind != "foreign" else ""
        nbytes = 0 if files.link_to(key) else sum(files.sizes(key))
        return Garbage(kind=kind, key=key, nbytes=nbytes, refused=refused)

    for name in files.names(""):
        if name not in {ROOT_KEY, RUN_FOLDER, TABLE, "commits", *specs}:
            yield found("unreferenced" if _is_spec_group(files, name) else "foreign", name)
    for name in files.names("commits"):
        if name not in {"zarr.json", *lengths}:
            yield found("unreferenced" if is_length(name) else "foreign", f"commits/{name}")
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
                if name.isascii() and name.isdecimal() and int(name) >= n_shards:
                    yield found("unreferenced", f"{layout.spec.name}/{part}/c/{name}")


def _refused(files: Files, *keys: str) -> str:
    """Why nothing may be taken away there, or put in its place; empty if it may."""
    link = next((link for key in keys if (link := files.link_to(key))), None)
    return "" if link is None else f"{link} is a link"


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
    files, active = store.files, store.table.active
    for layout in store.layouts.values():
        length, name = layout.clips_per_shard, layout.spec.name
        for shard in range(-(-store.n_clips // length)):
            key = layout.shard_key(shard)
            sizes = _sizes(files, layout, shard)
            commit = read_commit(files, length, shard) if sizes else None
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
                    refused = _refused(files, key, layout.statistics_key(shard))
                    yield Garbage(kind=kind, key=key, nbytes=nbytes, rows=rows, refused=refused)


def _sizes(files: Files, layout: Layout, shard: int) -> dict[int, int]:
    """Size of each chunk that a shard holds, by position."""
    key, tail = layout.shard_key(shard), index_nbytes(layout.clips_per_shard)
    size = files.size(key)
    if size is None:
        return {}
    data = files.read_range(key, max(0, size - tail), size)
    index = read_index(data, layout.clips_per_shard, size, key)
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
        if row_checksum(chunk, statistics[position]) != commit.checksum(name, position):
            raise CorruptDataError(
                f"{key}, clip {position}: other values than the commit record vouches for"
            )
        rows[position] = chunk, statistics[position]
    write_shard(files, layout, shard, rows)
