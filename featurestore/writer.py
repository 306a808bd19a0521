"""A store, opened for writing by the one run that may."""

import dataclasses
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from featurestore.errors import StoreFormatError, StoreMismatchError
from featurestore.format.clips import OUTCOME_COLUMNS, TABLE, ClipTable, outcome_files
from featurestore.format.commits import Checksums, array_files, array_key
from featurestore.format.layout import ROOT_KEY, Layout, Root, digest_of
from featurestore.format.shard import pack
from featurestore.format.statistics import Statistics, pack_statistics, row_checksum
from featurestore.format.status import PUBLISHED
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.spec import Spec
from featurestore.storage.files import RUN_FOLDER, Files
from featurestore.storage.journal import finish, write_together
from featurestore.storage.lock import lock_of
from featurestore.store import FeatureStore


class StoreWriter:
    """Makes a store, or adds clips and specs to one; the values themselves come from tasks.

    A context manager: on entering, the store is locked and its root is made if there is none.

    Parameters
    ----------
    path : str or Path
        A local folder or an fsspec URL: of a store, of an empty folder, or of nothing.
    window : Excerpt

    Raises
    ------
    SettingsError, StorageError, StoreNotFoundError
        If `path` is a URL that cannot be used, see `file_system` and `Files.write`.
    StoreFormatError
        If there is something else at `path`.
    StoreMismatchError
        If the store's rows are of another window.
    StoreLockedError
        If another run is writing to it.
    """

    def __init__(self, path: str | Path, window: Excerpt) -> None:
        self.files = Files(path)
        self._window = window
        self._lock = lock_of(self.files)

    def __enter__(self) -> Self:
        found = set(self.files.names("")) - {RUN_FOLDER}
        if (found or self.files.is_file()) and Root.read(self.files) is None:
            raise StoreFormatError(
                f"{self.files.root} is not a melgrid store and not empty: "
                "nothing was touched; choose another place with -o"
            )
        self._lock.__enter__()
        self.files = Files(self.files.root, self._lock.run)  # which only this run's writes pass
        try:
            finish(self.files)  # what a killed run left half done
            root = Root.read(self.files)  # again: the one that held the lock may have made it
            if root is None:
                root = Root(window=dataclasses.asdict(self._window))
                self.files.write(ROOT_KEY, root.to_bytes())
            elif (there := Excerpt.from_json(dict(root.window))) != self._window:
                raise StoreMismatchError(
                    f"{self.files.root} holds other clips: {_differences(there, self._window)}; "
                    "give the same settings, or another place with -o"
                )
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.__exit__(kind, error, trace)

    @property
    def run(self) -> str:
        """Names this run, for its workers: see `Files`."""
        return self._lock.run

    @property
    def abandoned_by(self) -> str | None:
        """Who wrote to the store before and died at it."""
        return self._lock.abandoned_by

    def store(self) -> FeatureStore:
        """The store as it is now."""
        return FeatureStore.open(self.files.root)

    def prepare(
        self,
        table: ClipTable,
        layouts: Iterable[Layout],
        catalog: str = "",
        *,
        views: Iterable[Spec] = (),
        prune: bool = False,
    ) -> FeatureStore:
        """Make room for clips and specs, so that tasks can write their shards.

        Nothing that is ready changes. Rows and specs appear to readers at once, at the end.

        Parameters
        ----------
        table : ClipTable
            Clips that the store shall hold; those it holds already keep their rows.
        layouts : iterable of Layout
            Of the specs that the store shall hold. One that is there keeps its own shard length.
        catalog : str
            Name of the collection.
        views : iterable of Spec
            Specs that are asked for and served from those, to be listed as such.
        prune : bool
            Whether rows that `table` lacks are no longer to be read.

        Returns
        -------
        store : FeatureStore

        Raises
        ------
        StoreMismatchError
            If a spec is there already with another encoding or other settings.
        """
        store = self.store()
        known = store.layouts
        wanted = {layout.spec: layout for layout in layouts}
        for spec, layout in wanted.items():
            if spec in known and (differences := known[spec].differences(layout)):
                raise StoreMismatchError(
                    f"{self.files.root} holds {spec.name} made otherwise: "
                    f"{'; '.join(differences)}; give the same settings, or another place with -o"
                )
        merged = store.table.updated(table)
        if prune:
            merged = merged.pruned(set(table.clip_id))
        everything = known | {spec: layout for spec, layout in wanted.items() if spec not in known}
        grown = len(merged) != store.n_clips
        changes: dict[str, bytes] = {}
        digests = dict(store._root.digests)
        for spec, layout in everything.items():
            if grown or spec not in known:
                group = layout.files(len(merged))
                digests[spec.name] = digest_of(group)
                changes |= group
        for length in sorted({layout.clips_per_shard for layout in everything.values()}):
            array = array_files(length, len(merged))
            digests[array_key(length)] = digest_of(array)
            changes |= {key: data for key, data in array.items() if self.files.read(key) != data}
        table_files = merged.files()
        digests[TABLE] = digest_of(table_files)
        specs = tuple(spec.name for spec in everything)
        if digests[TABLE] != store._root.digests.get(TABLE) or specs != store._root.specs:
            digests.pop(OUTCOME_COLUMNS, None)  # they are of other rows, or other specs
        root = dataclasses.replace(
            store._root,
            catalog=catalog or store.catalog,
            n_clips=len(merged),
            digests=dict(sorted(digests.items())),
            specs=specs,
            views=tuple(
                s.name for s in dict.fromkeys([*store.views, *views]) if s not in everything
            ),
        )
        replaced = []
        if digests[TABLE] != store._root.digests.get(TABLE):
            # The folder goes, with chunks that the new table does not have and the outcomes of
            # the last run, which `publish` brings up to date.
            replaced = [TABLE]
            changes |= table_files
        if root != store._root:
            changes[ROOT_KEY] = root.to_bytes()
        write_together(self.files, changes, replaced)
        return self.store()

    def publish(self) -> FeatureStore:
        """Repeat what became of the clips as columns of the clip table; the end of a run."""
        store = self.store()
        columns = outcome_files({name: store.outcomes.column(name) for name in PUBLISHED})
        digests = {**store._root.digests, OUTCOME_COLUMNS: digest_of(columns)}
        root = dataclasses.replace(
            store._root,
            digests=dict(sorted(digests.items())),
            records=dict(sorted(store.outcomes.records.items())),
        )
        if root != store._root:
            write_together(self.files, {**columns, ROOT_KEY: root.to_bytes()})
            store._root = root
        return store


def write_shard(
    files: Files,
    layout: Layout,
    shard: int,
    rows: Sequence[tuple[bytes, Statistics] | None],
) -> Checksums:
    """Write what one task made of one spec, and say what its commit record is to vouch for.

    Parameters
    ----------
    files : Files
    layout : Layout
    shard : int
    rows : sequence of ((bytes, Statistics) or None)
        Each clip's sealed chunk and statistics; None where there are none.

    Raises
    ------
    OSError
        If the store cannot be written to, or no longer by this run.
    """
    chunks = [None if row is None else row[0] for row in rows]
    statistics = [None if row is None else row[1] for row in rows]
    files.write(layout.shard_key(shard), pack(chunks, layout.clips_per_shard))
    files.write(layout.statistics_key(shard), pack_statistics(statistics, layout))
    checksums = [0 if row is None else row_checksum(*row) for row in rows]
    return struct.pack(f"<{len(rows)}Q", *checksums)


def _differences(there: Excerpt, wanted: Excerpt) -> str:
    pairs = zip(dataclasses.asdict(there).items(), dataclasses.asdict(wanted).values(), strict=True)
    return "; ".join(f"{key} is {a} there, not {b}" for (key, a), b in pairs if a != b)
