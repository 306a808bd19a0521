"""Import the study's npz files instead of computing from audio.

The rest is a run's own: the same tasks, commits and resume, in one process.
"""

import dataclasses
import time
from importlib.metadata import version

import numpy as np

from featurestore.errors import (
    RunError,
    StoreMismatchError,
)
from featurestore.store import FeatureStore
from featurestore.writer import StoreWriter
from pipeline.catalogs import Catalog
from pipeline.npz_folder import NpzFolder
from pipeline.run.layouts import division_for, layouts
from pipeline.run.missing import invalidate_changed
from pipeline.run.rows import clip_table, rows_of
from pipeline.run.run import complete, jobs_of, summary_of
from pipeline.run.settings import RunSettings
from pipeline.run.summary import RunSummary
from pipeline.run.task import compute_shard


def import_npz(
    source: NpzFolder, catalog: Catalog, path: str, settings: RunSettings, *, quiet: bool = True
) -> RunSummary:
    """Put npz files into a store; running it again imports what is missing.

    Clips of the catalog that have no file are rows that are pending.

    Parameters
    ----------
    source : NpzFolder
    catalog : Catalog
        See `NpzFolder.catalog`.
    path : str
        Where the store is, or will be.
    settings : RunSettings
        Of which encoding and codec count.
    quiet : bool
        Whether to print no progress on stderr.

    Raises
    ------
    StoreFormatError, StoreMismatchError, StoreLockedError, StoreNotFoundError, StorageError
        As `StoreWriter` says.
    StoreMismatchError
        If the store holds what was not imported from this folder.
    RunError
        If not one clip could be imported.
    """
    specs = source.specs
    settings = dataclasses.replace(settings, window=source.window)
    table = clip_table(catalog)
    began = time.monotonic()
    with StoreWriter(path, source.window) as writer:
        store = writer.store()
        _refuse_others(store, source)
        division = (
            store.metadata.division if store.specs else division_for(len(table), specs, settings)
        )
        planned = [
            dataclasses.replace(layout, settings=source.settings)
            for layout in layouts(specs, settings, division)
        ]
        store = writer.prepare(table, planned, catalog.name, store=store)
        rows = rows_of(store, table, map(source.file_of, table.path))
        invalidate_changed(store, rows)
        software = {"melgrid": version("melgrid"), "numpy": np.__version__}
        jobs = [
            dataclasses.replace(job, software=software)
            for job in jobs_of(store, writer.run_id, specs, settings)
        ]
        failures, n_computed = complete(
            store,
            jobs,
            rows,
            lambda job, tasks: (compute_shard(job, one, source.compute) for one in tasks),
            quiet=quiet,
        )
        seconds = time.monotonic() - began
        store = writer.publish(store)
    summary = summary_of(store, table, specs, failures, n_computed, seconds)
    if not summary.n_ready and summary.failures:
        failure = summary.failures[0]
        raise RunError(
            f"not one clip of {source.folder} could be imported; "
            f"{failure.clip_id}: {failure.reason}: {failure.detail}"
        )
    return summary


def _refuse_others(store: FeatureStore, source: NpzFolder) -> None:
    """Refuse a store with specs that these files lack: their rows would be invalidated."""
    if not all(layout.is_imported for layout in store.metadata.layouts):
        raise StoreMismatchError(
            f"{store.path} was not imported but computed from audio; give another place with -o"
        )
    others = [spec.name for spec in store.specs if spec not in source.keys]
    if others:
        raise StoreMismatchError(
            f"{store.path} holds {', '.join(others)}, which {source.folder} does not; "
            "give another place with -o"
        )
