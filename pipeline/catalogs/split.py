"""Splits that are drawn, for collections that have none of their own."""

import dataclasses
import re
from collections import Counter
from typing import Self

import numpy as np

from featurestore.errors import CatalogError, SettingsError
from featurestore.stratification import stratify
from pipeline.catalogs.catalog import SPLITS, Catalog

_STORED = re.compile(r"(\d+:\d+:\d+) seed (\d+)")

_MOST = 10**6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """How large train, validation and test are to be, and what they are drawn from.

    Parameters
    ----------
    ratios : tuple of int
        Of train, validation and test, in proportion; above 0.
    seed : int

    Raises
    ------
    SettingsError
        If they are not.
    """

    ratios: tuple[int, int, int]
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.ratios) != len(SPLITS) or not all(0 < n <= _MOST for n in self.ratios):
            text = ":".join(map(str, self.ratios))
            raise SettingsError(
                f"split is {text!r}; it must be what train, validation and test are to each other, "
                f"such as 8:1:1: three whole numbers from 1 to {_MOST:,}"
            )
        if not 0 <= self.seed < 2**63:
            raise SettingsError(f"split_seed is {self.seed}; it must be from 0 to 2**63 - 1")

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> Self:
        """Read ``8:1:1``.

        Raises
        ------
        SettingsError
            If it is no such text.
        """
        numbers = [int(part) if re.fullmatch(r"\d{1,9}", part) else 0 for part in text.split(":")]
        if 0 in numbers or len(numbers) != len(SPLITS):
            raise SettingsError(
                f"split is {text!r}; it must be what train, validation and test are to each other, "
                f"such as 8:1:1: three whole numbers from 1 to {_MOST:,}"
            )
        train, validation, test = numbers
        return cls(ratios=(train, validation, test), seed=seed)

    @classmethod
    def stored(cls, text: str) -> Self | None:
        """Read what `str` gave, and a store holds; None of any other text."""
        found = _STORED.fullmatch(text)
        return None if found is None else cls.parse(found[1], int(found[2]))

    def __str__(self) -> str:
        return f"{':'.join(map(str, self.ratios))} seed {self.seed}"


def draw_splits(catalog: Catalog, split: Split) -> Catalog:
    """Give a catalog without splits some: by artist where artists are known, else by track.

    Each split has about its share of the tracks of each tag. Which tracks are drawn follows from
    the seed, ids, tags and artists, and not from their order.

    Raises
    ------
    CatalogError
        If the catalog has splits of its own, or is too small.
    """
    if any(catalog.split):
        raise CatalogError(
            f"{catalog.name} has splits of its own, and --split {split} would draw others: leave "
            "it out, or list the tracks without splits"
            + (" (--catalog gtzan-all)" if catalog.name == "gtzan" else "")
        )
    order = np.argsort(np.array(catalog.track_id, object), kind="stable")
    ids = [catalog.track_id[row] for row in order.tolist()]
    names = ids
    if catalog.artist is not None:  # a track whose artist is not known is a group of its own
        artists = [catalog.artist[row] for row in order.tolist()]
        names = [f"artist {a}" if a else f"track {i}" for a, i in zip(artists, ids, strict=True)]
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    groups = np.array([number[name] for name in names], np.int64)
    parts = np.empty(len(catalog), np.int64)
    parts[order] = stratify(catalog.labels[order], groups, split.ratios, seed=split.seed)
    if len(set(parts.tolist())) < len(SPLITS):
        by = "artists" if _knows_artists(catalog) else "tracks"
        raise CatalogError(
            f"{catalog.name} has {len(number)} {by}, too few for splits of {split}; give it more, "
            "or ratios that are nearer to each other"
        )
    return dataclasses.replace(
        catalog, split=[SPLITS[part] for part in parts.tolist()], drawn=str(split)
    )


def draw_as_before(catalog: Catalog, drawn: str) -> Catalog:
    """Draw the splits that a store says were drawn; a catalog that has some stays as it is."""
    split = Split.stored(drawn)
    return catalog if split is None or any(catalog.split) else draw_splits(catalog, split)


def drawn_lines(catalog: Catalog) -> list[str]:
    """What the user should know of splits that were drawn; nothing of others."""
    if not catalog.drawn:
        return []
    counts = Counter(catalog.split)
    sizes = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS)
    if not _knows_artists(catalog):
        by = "by track: artists are not known, and one may be in several, which makes scores better"
        return [f"splits drawn, {catalog.drawn}: {sizes}", f"they are {by} than they are"]
    assert catalog.artist is not None
    unknown = catalog.artist.count("")
    alone = f", {unknown:,} tracks without one by track" if unknown else ""
    return [f"splits drawn, {catalog.drawn}: {sizes}, by artist{alone}"]


def _knows_artists(catalog: Catalog) -> bool:
    return catalog.artist is not None and any(catalog.artist)
