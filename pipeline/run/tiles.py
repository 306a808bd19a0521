"""How many consecutive clips each track becomes."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from featurestore.errors import AudioError
from featurestore.specs.excerpt import Excerpt
from featurestore.store import FeatureStore
from pipeline.audio.decode import read_length
from pipeline.catalogs import Catalog
from pipeline.run.compute import WorkerDiedError, each
from pipeline.run.missing import are_changed
from pipeline.run.settings import RunSettings
from pipeline.run.tracks import time_limit

if TYPE_CHECKING:
    from distributed import Client

_TRACKS_PER_TASK = 32


def tiles_of(
    catalog: Catalog,
    store: FeatureStore,
    settings: RunSettings,
    client: Callable[[], "Client"],
    notify: Callable[[str], None],
) -> dict[str, int] | None:
    """Count the rows that each track becomes, by its id; None where each is one.

    What the store knows is not counted again, unless the track's file has changed.

    Parameters
    ----------
    catalog : Catalog
    store : FeatureStore
    settings : RunSettings
    client : callable
        Gives a Dask client; called only if there is something to count.
    notify : callable
        Called with each message for the user.
    """
    if settings.window.take != "all":
        return None
    first_row = {}
    counts: dict[str, int] = {}
    for row, (clip_id, tile) in enumerate(
        zip(store.table.clip_id, store.table.tile.tolist(), strict=True)
    ):
        track_id = clip_id.rpartition("#")[0]
        counts[track_id] = counts.get(track_id, 0) + 1
        if tile == 0:
            first_row[track_id] = row
    unknown = {
        track_id: f"{catalog.root}/{relative}"
        for track_id, relative in zip(catalog.track_id, catalog.path, strict=True)
    }
    known = [track_id for track_id in unknown if track_id in counts]
    changed = are_changed(
        store.status.records, [first_row[i] for i in known], [unknown[i] for i in known]
    )
    for track_id, is_changed in zip(known, changed, strict=True):
        if not is_changed:
            del unknown[track_id]
    if unknown:
        counted = _count_all(client(), settings, list(unknown.values()), notify)
        for track_id, path in unknown.items():
            # Rows stay: those beyond the end of a track that got shorter fail as too short.
            counts[track_id] = max(counted[path], counts.get(track_id, 0))
    return counts


def _count_all(
    client: "Client", settings: RunSettings, paths: Sequence[str], notify: Callable[[str], None]
) -> dict[str, int]:
    """How many consecutive clips each track becomes: found by decoding it, for headers lie.

    A track that cannot be decoded, or that ends its worker, is one clip, which will say why.
    """
    count = functools.partial(_count, settings.window, settings.timeout)
    batches = [
        tuple(paths[first : first + _TRACKS_PER_TASK])
        for first in range(0, len(paths), _TRACKS_PER_TASK)
    ]
    counts: dict[str, int] = {}
    suspects: list[str] = []
    for batch, result in each(client, count, batches, notify):
        if isinstance(result, WorkerDiedError):
            suspects += batch
        else:
            counts |= zip(batch, result, strict=True)
    for path in suspects:  # alone: its worker may have died of another one
        [(_, result)] = each(client, count, [(path,)], notify)
        counts[path] = 1 if isinstance(result, WorkerDiedError) else result[0]
    return counts


def _count(window: Excerpt, timeout: float, paths: Sequence[str]) -> list[int]:
    counts = []
    for path in paths:
        try:
            with time_limit(timeout):
                n_samples, sr = read_length(path)
        except AudioError:
            counts.append(1)
        else:
            counts.append(window.n_tiles(n_samples, sr))
    return counts
