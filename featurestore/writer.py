"""A store, opened for writing by the one run that may."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from featurestore.clips import ClipTable, digest_of, outcome_files
from featurestore.commits import Commit, array_key, write_commit
from featurestore.errors import StoreFormatError, StoreMismatchError
from featurestore.files import RUN_FOLDER, Files
from featurestore.layout import Layout, Root, zarr_files
from featurestore.lock import RunLock
from featurestore.store import FeatureStore
from featurestore.window import ClipWindow

if TYPE_CHECKING:
    import zarr


class StoreWriter:
    """Makes a store, or adds clips and specs to one; the values themselves come from tasks.

    A context manager: on entering, the store is locked and its root is made if there is none.

    Parameters
    ----------
    path : str or Path
        A local folder that is a store, is empty, or is not there.
    window : ClipWindow

    Raises
    ------
    StoreFormatError
        If there is something else at `path`.
    StoreMismatchError
        If the store's rows are of another window.
    StoreLockedError
        If another run is writing to it.
    """

    def __init__(self, path: str | Path, window: ClipWindow) -> None:
        self.files = Files(path)
        self._window = window
        self._lock = RunLock(self.files)

    def __enter__(self) -> Self:
        found = set(self.files.names("")) - {RUN_FOLDER}
        if (found or self.files.is_file()) and Root.read(self.files) is None:
            raise StoreFormatError(
                f"{self.files.root} is not a melgrid store and not empty: "
                "nothing was touched; choose another place with -o"
            )
        self._lock.__enter__()
        try:
            root = Root.read(self.files)  # again: the one that held the lock may have made it
            if root is None:
                Root(window=dataclasses.asdict(self._window)).write(self.files)
            elif (there := ClipWindow.from_json(dict(root.window))) != self._window:
                raise StoreMismatchError(
                    f"{self.files.root} holds other clips: {_differences(there, self._window)}; "
                    "give the same settings, or another place with -o"
                )
            self.files.remove(f"{RUN_FOLDER}/partial")  # what a killed run left
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
    def abandoned_by(self) -> str | None:
        """Who wrote to the store before and died at it."""
        return self._lock.abandoned_by

    def store(self) -> FeatureStore:
        """The store as it is now."""
        return FeatureStore.open(self.files.root)

    def prepare(
        self, table: ClipTable, layouts: Iterable[Layout], catalog: str = ""
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
        everything = wanted | known
        grown = len(merged) != store.n_clips
        for spec, layout in everything.items():
            if grown or spec not in known:
                self._write(layout.files(len(merged)))
        for length in {layout.clips_per_shard for layout in everything.values()}:
            self._write_commit_array(length, len(merged))
        table_files = merged.files()
        digest = digest_of(table_files)
        root = dataclasses.replace(
            store._root,
            catalog=catalog or store.catalog,
            n_clips=len(merged),
            clips_digest=digest,
            specs=tuple(spec.name for spec in dict.fromkeys([*known, *wanted])),
        )
        if root.clips_digest != store._root.clips_digest:
            self._write(table_files)
        if root != store._root:
            root.write(self.files)
        return self.store()

    def invalidate(self, length: int, shard: int, commit: Commit) -> None:
        """Replace a commit record by one that says less, before its values are replaced."""
        write_commit(self.files, length, shard, commit)

    def publish(self) -> FeatureStore:
        """Repeat what became of the clips as columns of the clip table; the end of a run."""
        store = self.store()
        records = store.records()
        columns: dict[str, np.ndarray] = {
            name: np.array([getattr(record, name) for record in records], kind)
            for name, kind in (
                ("status", object),
                ("reason", object),
                ("digest", object),
                ("sr", np.int32),
                ("start", np.int64),
                ("n_valid", np.int64),
            )
        }
        self._write(outcome_files(columns))
        return store

    def _write(self, files: Mapping[str, bytes]) -> None:
        for key, data in files.items():
            self.files.write(key, data)

    def _write_commit_array(self, length: int, n_clips: int) -> None:
        from zarr.codecs import Crc32cCodec

        def build(group: "zarr.Group") -> None:
            group.create_array(
                str(length),
                shape=(-(-n_clips // length),),
                chunks=(1,),
                dtype="string",
                compressors=[Crc32cCodec()],
                fill_value="",
            )

        made = zarr_files("commits", {}, build)
        for key in ("commits/zarr.json", f"{array_key(length)}/zarr.json"):
            if self.files.read(key) != made[key]:
                self.files.write(key, made[key])


def _differences(there: ClipWindow, wanted: ClipWindow) -> str:
    pairs = zip(dataclasses.asdict(there).items(), dataclasses.asdict(wanted).values(), strict=True)
    return "; ".join(f"{key} is {a} there, not {b}" for (key, a), b in pairs if a != b)
