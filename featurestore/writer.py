"""A store, opened for writing by the one run that may."""

import contextlib
import dataclasses
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from featurestore.errors import StoreFormatError, StoreMismatchError
from featurestore.format.clips import COLUMNS, ClipTable
from featurestore.format.columns import TABLE, by_part, chunk_keys
from featurestore.format.commits import COMMITS, Checksums, commits_metadata
from featurestore.format.division import Division
from featurestore.format.layout import Layout, digest_of
from featurestore.format.metadata import ROOT_KEY, StoreMetadata
from featurestore.format.parts import PARTS, Part, parts_metadata, table_digest
from featurestore.format.shard import Clip, pack
from featurestore.format.statistics import Statistics, pack_statistics, row_checksum
from featurestore.format.status import (
    MIRRORED_COLUMNS,
    STATUS_DIGEST,
    ClipStatus,
    mirrored_metadata,
)
from featurestore.specs.excerpt import Excerpt
from featurestore.specs.spec import Spec
from featurestore.storage import open_files
from featurestore.storage.files import RUN_FOLDER, Files
from featurestore.storage.journal import finish, write_together
from featurestore.storage.lock import lock_of
from featurestore.store import FeatureStore

_CLIPS_PER_SHARD = 8
"""Of a store that holds no spec yet: the first ones bring their own."""


class StoreWriter:
    """Makes a store, or adds clips and specs to one; the values themselves come from tasks.

    A context manager: on entering, the store is locked and its root is made if there is none.

    Parameters
    ----------
    path : str or Path
        A local folder or an fsspec URL: of a store, of an empty folder, or of nothing.
    window : Excerpt
    division : Division, optional
        Of a store that is made; None leaves it to the layouts of its first specs.

    Raises
    ------
    SettingsError, StorageError, StoreNotFoundError
        If `path` is a URL that cannot be used, see `file_system` and `RemoteFiles.write`.
    StoreFormatError
        If there is something else at `path`.
    StoreMismatchError
        If the store's rows are of another window.
    StoreLockedError
        If another run is writing to it.
    """

    def __init__(self, path: str | Path, window: Excerpt, division: Division | None = None) -> None:
        self.files = open_files(path)
        self._window = window
        self._division = division
        self._lock = lock_of(self.files)

    def __enter__(self) -> Self:
        found = set(self.files.names("")) - {RUN_FOLDER}
        if (found or self.files.is_file()) and StoreMetadata.read(self.files) is None:
            raise StoreFormatError(
                f"{self.files.root} is not a melgrid store and not empty: "
                "nothing was touched; choose another place with -o"
            )
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._lock)
            # Which only this run's writes pass.
            self.files = open_files(self.files.root, self._lock.run_id)
            finish(self.files)  # what a killed run left half done
            # Again: the one that held the lock may have made it.
            metadata = StoreMetadata.read(self.files)
            if metadata is None:
                division = self._division or Division.of(_CLIPS_PER_SHARD)
                metadata = StoreMetadata(window=self._window, division=division)
                self.files.write(ROOT_KEY, metadata.to_bytes())
            elif metadata.window != self._window:
                raise StoreMismatchError(
                    f"{self.files.root} holds other clips: "
                    f"{_differences(metadata.window, self._window)}; "
                    "give the same settings, or another place with -o"
                )
            self._locked = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._locked.close()

    @property
    def run_id(self) -> str:
        """Names this run, for its workers: see `Files`."""
        return self._lock.run_id

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
        store: FeatureStore | None = None,
    ) -> FeatureStore:
        """Make room for clips and specs, so that tasks can write their shards.

        Nothing that is ready changes. Rows and specs appear to readers at once, at the end. Only
        parts that change are written.

        Parameters
        ----------
        table : ClipTable
            Clips that the store shall hold; those it holds already keep their rows.
        layouts : iterable of Layout
            Of the specs that the store shall hold. The first ones fix how long its shards are.
        catalog : str
            Name of the collection.
        views : iterable of Spec
            Specs that are asked for and served from those, to be listed as such.
        prune : bool
            Whether rows that `table` lacks are no longer to be read.
        store : FeatureStore, optional
            As it is now; None opens it.

        Returns
        -------
        store : FeatureStore
            What is known of its status is taken over: no record is read again.

        Raises
        ------
        StoreMismatchError
            If a spec is there already with another encoding or other settings.
        """
        store = store or self.store()
        old = store.metadata
        known = store.layouts
        division = old.division
        layouts = list(layouts)
        is_free = not known and self._division is None and not store.status.records.recorded.any()
        if is_free and layouts:
            division = Division.of(layouts[0].clips_per_shard)
        wanted = {
            layout.spec: dataclasses.replace(layout, clips_per_shard=division.clips_per_shard)
            for layout in layouts
        }
        for spec, layout in wanted.items():
            if spec in known and (differences := known[spec].differences(layout)):
                raise StoreMismatchError(
                    f"{self.files.root} holds {spec.name} made otherwise: "
                    f"{'; '.join(differences)}; give the same settings, or another place with -o"
                )
        merged = store.table.updated(table)
        if prune:
            merged = merged.pruned(set(table.clip_id))
        everything = known | {s: layout for s, layout in wanted.items() if s not in known}
        new = dataclasses.replace(
            old,
            division=division,
            catalog=catalog or store.catalog,
            n_clips=len(merged),
            layouts=tuple(everything.values()),
            views=tuple(
                spec.name
                for spec in dict.fromkeys([*store.views, *views])
                if spec not in everything
            ),
        )
        changes, removed, digests = _changes(store, new, merged)
        new = dataclasses.replace(new, digests=digests)
        if new != old:
            changes[ROOT_KEY] = new.to_bytes()
        write_together(self.files, changes, removed)
        records = store.status.records.resized(division, new.n_clips, new.names)
        return FeatureStore(self.files, new, ClipStatus(self.files, new, records, merged))

    def publish(self, store: FeatureStore | None = None) -> FeatureStore:
        """Repeat the status of clips as columns of the clip table; the end of a run.

        Parameters
        ----------
        store : FeatureStore, optional
            With what the run has learnt of the status; None reads all commit records.
        """
        store = store or self.store()
        metadata = store.metadata
        status = ClipStatus(store.files, metadata, store.status.records, store.table)
        common, chunks = by_part(status.mirrored_files())
        changes: dict[str, bytes] = {}
        for part in status.parts:
            there = chunks.get(part.number, {})
            spans = status.recorded_spans(part.number)
            new = dataclasses.replace(part, status=digest_of(there), records=spans)
            if new.to_bytes() != part.to_bytes():
                changes |= there | {new.key: new.to_bytes()}
        digests = {**metadata.digests, STATUS_DIGEST: digest_of(common)}
        if digests != metadata.digests:
            metadata = dataclasses.replace(metadata, digests=digests)
            changes |= common | {ROOT_KEY: metadata.to_bytes()}
        write_together(self.files, changes)
        files = open_files(self.files.root)  # which outlive this run
        return FeatureStore(
            files, metadata, ClipStatus(files, metadata, status.records, status.table)
        )


def _changes(
    store: FeatureStore, new: StoreMetadata, table: ClipTable
) -> tuple[dict[str, bytes], list[str], dict[str, str]]:
    """What is to be written and to be removed for a store to become `new`; and its digests."""
    old, division, before = store.metadata, new.division, store.table
    is_divided_anew = division != old.division  # what there is stays nowhere
    digests = {} if is_divided_anew else dict(old.digests)
    changes: dict[str, bytes] = {}

    def write(name: str, files: dict[str, bytes], digest: str) -> None:
        if digest != digests.get(name):
            digests[name] = digest
            changes.update(files)

    has_grown = is_divided_anew or new.n_clips != old.n_clips
    for layout in new.layouts:
        if has_grown or layout not in old.layouts:
            files = layout.files(new.n_clips)
            write(layout.spec.name, files, digest_of(files))
    for name, files in (
        (COMMITS, commits_metadata(division, new.n_clips)),
        (PARTS, parts_metadata(division, new.n_clips)),
    ):
        write(name, files, digest_of(files))

    removed = [f"{TABLE}/{name}" for name in before.meta if name not in table.meta]
    if table.tags != before.tags:
        removed += [f"{TABLE}/tag", f"{TABLE}/labels"]  # none may be left over
    if is_divided_anew and old.n_clips:
        columns = dict.fromkeys((*COLUMNS, *MIRRORED_COLUMNS, *before.meta))
        removed = [*(f"{TABLE}/{name}" for name in columns), f"{PARTS}/c"]
    common, chunks = by_part(table.files(division))
    parts = []
    for number in range(division.n_parts(new.n_clips)):
        known = None
        if not is_divided_anew and number < len(store.status.parts):
            known = store.status.parts[number]
        there = chunks.get(number, {})
        part = _part_of(number, there, store, new, table, known)
        parts.append(part)
        if removed or known is None or part.table != known.table:
            changes |= there
        if part != known:
            changes[part.key] = part.to_bytes()
        if known and known.n_rows != part.n_rows:  # `publish` makes them anew, of another length
            removed += chunk_keys(MIRRORED_COLUMNS, number)
    write(TABLE, common, table_digest(common, parts))
    if has_grown and STATUS_DIGEST in digests:
        files = mirrored_metadata(division, new.n_clips)
        write(STATUS_DIGEST, files, digest_of(files))
    return changes, removed, digests


def _part_of(
    number: int,
    chunks: dict[str, bytes],
    store: FeatureStore,
    new: StoreMetadata,
    table: ClipTable,
    known: Part | None,
) -> Part:
    """The manifest of a part with other chunks of the clip table.

    What it says of the status of clips stays true unless rows or specs came, or rows were pruned.
    """
    rows = new.division.rows_of(number, new.n_clips)
    part = Part(number=number, n_rows=rows.stop - rows.start, table=digest_of(chunks))
    if known is None:
        return part
    keeps_status = (
        known.n_rows == part.n_rows
        and new.names == store.metadata.names
        and np.array_equal(table.active[rows], store.table.active[rows])
    )
    return dataclasses.replace(
        part, records=known.records, status=known.status if keeps_status else ""
    )


def write_shard(
    files: Files,
    layout: Layout,
    shard: int,
    rows: Sequence[tuple[Clip, Statistics] | None],
) -> Checksums:
    """Write what one task made of one spec, and return what its commit record must hold.

    Parameters
    ----------
    files : Files
    layout : Layout
    shard : int
    rows : sequence of ((tuple of bytes, Statistics) or None)
        Each clip's chunks with their checksums, as `Layout.chunks_of` makes them, and its
        statistics; None where there are none.

    Raises
    ------
    OSError
        If the store cannot be written to, or no longer by this run.
    """
    clips = [None if row is None else row[0] for row in rows]
    statistics = [None if row is None else row[1] for row in rows]
    files.write(layout.shard_key(shard), pack(clips, *layout.rows_and_chunks))
    files.write(layout.statistics_key(shard), pack_statistics(statistics, layout))
    checksums = [0 if row is None else row_checksum(*row) for row in rows]
    return struct.pack(f"<{len(rows)}Q", *checksums)


def _differences(there: Excerpt, wanted: Excerpt) -> str:
    pairs = zip(dataclasses.asdict(there).items(), dataclasses.asdict(wanted).values(), strict=True)
    return "; ".join(f"{key} is {a} there, not {b}" for (key, a), b in pairs if a != b)
