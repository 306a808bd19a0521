"""A catalog's tracks to a store's rows."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from featurestore.format.clips import ClipTable
from featurestore.store import FeatureStore
from pipeline.catalogs import Catalog


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioPaths:
    """Paths of the audio of a store's rows.

    Parameters
    ----------
    clip_ids : sequence of str, n_clips
    paths : sequence of str or None, n_clips
        None for a row whose track the catalog does not have.
    tiles : sequence of int, n_clips
        Which of its track's consecutive clips a row is.
    """

    clip_ids: Sequence[str]
    paths: Sequence[str | None]
    tiles: Sequence[int]


def clip_table(catalog: Catalog, n_tiles: Mapping[str, int] | None = None) -> ClipTable:
    """The rows that a catalog's tracks become.

    Parameters
    ----------
    catalog : Catalog
    n_tiles : mapping of str to int
        By track id, how many rows a track becomes, called ``<track id>#000`` and so on; None
        where each track is one row, called like the track.
    """
    n_tracks = len(catalog)
    if n_tiles is None:
        track, tile = np.arange(n_tracks), np.zeros(n_tracks, np.int32)
        clip_id: Sequence[str] = catalog.track_id
    else:
        counts = [n_tiles[track_id] for track_id in catalog.track_id]
        track = np.repeat(np.arange(n_tracks), counts)
        tile = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
        clip_id = [
            tile_id(catalog.track_id[a], b)
            for a, b in zip(track.tolist(), tile.tolist(), strict=True)
        ]

    def texts(column: Sequence[str] | None) -> list[str]:
        return [""] * len(track) if column is None else [column[row] for row in track.tolist()]

    fold = np.full(n_tracks, -1, np.int16) if catalog.fold is None else catalog.fold
    return ClipTable(
        clip_id=clip_id,
        path=texts(catalog.path),
        split=texts(catalog.split),
        artist=texts(catalog.artist),
        album=texts(catalog.album),
        fold=fold[track],
        tile=tile,
        active=np.ones(len(track), np.bool_),
        tags=catalog.tags,
        labels=catalog.labels[track],
        meta={name: column[track] for name, column in catalog.meta.items()},
        drawn=catalog.drawn,
    )


def tile_id(track_id: str, tile: int) -> str:
    """Clip id of one of a track's consecutive clips."""
    return f"{track_id}#{tile:03}"


def audio_of(store: FeatureStore, catalog: Catalog, table: ClipTable) -> AudioPaths:
    """Paths of the audio of the store's rows, of those that `table` has."""
    return rows_of(store, table, (f"{catalog.root}/{path}" for path in table.path))


def rows_of(store: FeatureStore, table: ClipTable, files: Iterable[str | None]) -> AudioPaths:
    """Paths of given files by row, one for each clip of `table`; None for one without."""
    row_of = {clip_id: row for row, clip_id in enumerate(store.table.clip_id)}
    paths: list[str | None] = [None] * store.n_clips
    for clip_id, file in zip(table.clip_id, files, strict=True):
        paths[row_of[clip_id]] = file
    return AudioPaths(clip_ids=store.table.clip_id, paths=paths, tiles=store.table.tile.tolist())
