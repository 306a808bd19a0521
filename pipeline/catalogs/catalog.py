"""A collection of tracks, listed: what is to be computed, from where, and what is known of it."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from featurestore.errors import CatalogError

SPLITS = ("train", "validation", "test")

RESERVED = frozenset(
    "clip_id path split fold artist album status reason start n_valid sr digest".split()
)
"""Columns of the clip table that a tag may not be called."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalog:
    """Tracks with their splits and tags. Data only: nothing is opened or decoded here.

    Parameters
    ----------
    name : str
        What the collection is called, such as ``mtat``.
    root : str
        Folder that the paths are relative to (a path or an fsspec URL).
    track_id : sequence of str, n_tracks
        Unique.
    path : sequence of str, n_tracks
        Relative to `root`, with ``/``; never leading out of it.
    split : sequence of str, n_tracks
        ``train``, ``validation``, ``test``, or empty where there is none.
    tags : tuple of str, n_tags
        Names of the columns of `labels`.
    labels : np.ndarray [shape=(n_tracks, n_tags), dtype=uint8]
        1 where the track has the tag, else 0.
    fold : np.ndarray [shape=(n_tracks,), dtype=int16] or None
        Fold for cross-validation, from 0; None where the collection has none.
    artist, album : sequence of str or None
        Where the collection knows them, to find leakage between splits.

    Raises
    ------
    CatalogError
        If the columns' lengths differ, an id occurs twice, a path leads out of `root`, a split
        or a label is not one of the allowed values, or there is no track.
    """

    name: str
    root: str
    track_id: Sequence[str]
    path: Sequence[str]
    split: Sequence[str]
    tags: tuple[str, ...] = ()
    labels: npt.NDArray[np.uint8]
    fold: npt.NDArray[np.int16] | None = None
    artist: Sequence[str] | None = None
    album: Sequence[str] | None = None
