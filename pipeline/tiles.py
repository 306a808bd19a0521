"""How many consecutive clips each track becomes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from featurestore.commits import PENDING, ClipRecord, read_commits
from featurestore.errors import AudioError
from featurestore.store import FeatureStore
from featurestore.window import ClipWindow
from pipeline.catalogs import Catalog
from pipeline.decode import read_track
from pipeline.missing import are_changed

if TYPE_CHECKING:
    from distributed import Client

_TRACKS_PER_TASK = 32


def tiles_of(
    catalog: Catalog, store: FeatureStore, window: ClipWindow, client: Callable[[], "Client"]
) -> dict[str, int] | None:
    """How many rows each track becomes, by its id; None where each is one.

    What the store knows is not counted again, unless the track's file has changed.

    Parameters
    ----------
    catalog : Catalog
    store : FeatureStore
    window : ClipWindow
    client : callable
        Gives a Dask client; called only if there is something to count.
    """
    if window.take != "all":
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
    records = _records(store, first_row)
    unknown = {
        track_id: f"{catalog.root}/{relative}"
        for track_id, relative in zip(catalog.track_id, catalog.path, strict=True)
    }
    known = [track_id for track_id in unknown if track_id in counts]
    changed = are_changed([records[i] for i in known], [unknown[i] for i in known])
    for track_id, is_changed in zip(known, changed, strict=True):
        if not is_changed:
            del unknown[track_id]
    if unknown:
        counted = _count_all(client(), window, list(unknown.values()))
        for track_id, count in zip(unknown, counted, strict=True):
            # Rows stay: those beyond the end of a track that got shorter fail as too short.
            counts[track_id] = max(count, counts.get(track_id, 0))
    return counts


def _records(store: FeatureStore, first_row: Mapping[str, int]) -> dict[str, ClipRecord]:
    """What is recorded of each track's first clip."""
    track_at = {row: track_id for track_id, row in first_row.items()}
    records = dict.fromkeys(first_row, PENDING)
    for length in {layout.clips_per_shard for layout in store.layouts.values()}:
        shards = range(-(-store.n_clips // length))
        for shard, commit in read_commits(store.files, length, shards):
            for row, record in enumerate(commit.clips, shard * length):
                if row in track_at and record.status != "pending":
                    records[track_at[row]] = record
    return records


def _count_all(client: "Client", window: ClipWindow, paths: Sequence[str]) -> Iterator[int]:
    """How many consecutive clips each track becomes: found by decoding it, for headers lie.

    A track that cannot be decoded, or that ends its worker, is one clip, which will say why.
    """
    from distributed.scheduler import KilledWorker

    batches = [
        paths[first : first + _TRACKS_PER_TASK] for first in range(0, len(paths), _TRACKS_PER_TASK)
    ]
    at_once = 4 * max(1, len(client.nthreads()))
    for first in range(0, len(batches), at_once):
        some = batches[first : first + at_once]
        futures = client.map(_count, some, window=window, pure=False)
        for batch, future in zip(some, futures, strict=True):
            if not isinstance(future.exception(), KilledWorker):
                yield from future.result()
                continue
            for path in batch:
                alone = client.submit(_count, [path], window=window, pure=False)
                yield 1 if isinstance(alone.exception(), KilledWorker) else alone.result()[0]


def _count(paths: Sequence[str], *, window: ClipWindow) -> list[int]:
    counts = []
    for path in paths:
        try:
            track = read_track(path)
        except AudioError:
            counts.append(1)
        else:
            counts.append(window.n_tiles(len(track.samples), track.sr))
    return counts
