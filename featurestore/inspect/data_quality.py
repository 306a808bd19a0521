"""What may be wrong with a collection, though every clip of it could be made.

Audio or artists that lie in more than one split make scores better than they are: a network that
has heard the artist before recognises the artist (Flexer and Schnitzer 2010, *Effects of album and
artist filters in audio similarity computed for very large music databases*).
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featurestore.format.clips import UNLABELLED

if TYPE_CHECKING:
    import pandas as pd

    from featurestore.store import FeatureStore

SILENT = 2.0**-10
"""A clip whose samples stay below this is silent: -60 dB of full scale."""

CLIPPED = 1e-3
"""A clip of whose samples more than this share is at full scale is clipped."""

_EXAMPLES = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leak:
    """Something that lies on both sides of a division.

    Attributes
    ----------
    what : {'audio', 'artist', 'album'}
        What is the same: the bytes of the files, or what the catalog calls it.
    across : {'split', 'fold'}
        What it is not to cross.
    n_groups, n_clips : int
        How many such there are, and how many clips in all they concern.
    examples : tuple of str
        The first few: clip ids for audio, else names.
    """

    what: str
    across: str
    n_groups: int
    n_clips: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        named = ", ".join(self.examples) + (", …" if self.n_groups > len(self.examples) else "")
        noun = {"audio": "recording", "artist": "artist", "album": "album"}[self.what]
        lie = f"{noun}s ({self.n_clips:,} clips) lie"
        if self.n_groups == 1:
            lie = f"{noun} ({self.n_clips:,} clips) lies"
        return f"{self.n_groups:,} {lie} in more than one {self.across}: {named}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checks:
    """Leakage and defects found among the clips that are ready.

    Attributes
    ----------
    leaks : tuple of Leak
    n_duplicates : int
        Tracks whose bytes are those of another one.
    n_silent, n_clipped : int
        Clips, see `SILENT` and `CLIPPED`.
    """

    leaks: tuple[Leak, ...]
    n_duplicates: int
    n_silent: int
    n_clipped: int

    def json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        leaks = [{**dataclasses.asdict(k), "examples": list(k.examples)} for k in self.leaks]
        return {**dataclasses.asdict(self), "leaks": leaks}

    def lines(self) -> list[str]:
        """One for each thing found; none if there is nothing to say."""
        clipped = f"clipped (over {CLIPPED:.1%} of samples at full scale)"
        counts = (
            (self.n_duplicates, "track is a copy of another", "tracks are copies of others"),
            (self.n_silent, "clip is silent", "clips are silent"),
            (self.n_clipped, f"clip is {clipped}", f"clips are {clipped}"),
        )
        found = [f"{n:,} {one if n == 1 else many}" for n, one, many in counts if n]
        return [*map(str, self.leaks), *found]


def check(store: "FeatureStore") -> Checks:
    """Look for leakage, copies, silence and clipping among the clips that are ready.

    A division is the column ``split`` where there are splits, and ``fold`` where there are folds.
    Clips of the split ``unlabelled`` count as training clips: a student learns from both.
    """
    ready = store.clips[store.clips["status"] == "ready"]
    if ready.empty:
        return Checks(leaks=(), n_duplicates=0, n_silent=0, n_clipped=0)
    tracks = ready.drop_duplicates("path")  # tiles of one track are not copies of each other
    divisions: list[tuple[str, pd.Series]] = []
    if (ready["split"] != "").any():
        split = ready["split"].replace(UNLABELLED, "train")
        divisions.append(("split", split.where(split != "")))
    if (ready["fold"] >= 0).any():
        divisions.append(("fold", ready["fold"].where(ready["fold"] >= 0)))
    album = (ready["artist"] + ", " + ready["album"]).where(ready["album"] != "")
    kinds = (
        ("audio", ready["digest"], ready["clip_id"]),
        ("artist", ready["artist"].where(ready["artist"] != ""), ready["artist"]),
        ("album", album, album),
    )
    leaks = [
        _leak(what, across, key, name, division)
        for across, division in divisions
        for what, key, name in kinds
    ]
    with np.errstate(invalid="ignore"):
        clipped = ready["n_clipped"] > CLIPPED * ready["n_valid"]
    return Checks(
        leaks=tuple(leak for leak in leaks if leak is not None),
        n_duplicates=int(tracks["digest"].duplicated().sum()),
        n_silent=int(ready["peak"].between(0, SILENT, inclusive="left").sum()),
        n_clipped=int(clipped.sum()),
    )


def _leak(
    what: str, across: str, key: "pd.Series", name: "pd.Series", division: "pd.Series"
) -> Leak | None:
    divided = division.notna() & key.notna()
    n_parts = division[divided].groupby(key[divided]).transform("nunique")
    crossing = n_parts.index[n_parts > 1]
    if crossing.empty:
        return None
    groups = key[crossing]
    first = name[crossing][~groups.duplicated()]
    return Leak(
        what=what,
        across=across,
        n_groups=len(first),
        n_clips=len(crossing),
        examples=tuple(first.head(_EXAMPLES)),
    )


def constant_bands(std: Sequence[Sequence[float]] | np.ndarray) -> tuple[int, int]:
    """Bands that never change, in any clip; and clips with a band that does not change within.

    Parameters
    ----------
    std : array [shape=(n_clips, n_mels)]
        Standard deviation of each band of each clip.
    """
    constant = np.asarray(std) == 0
    return int(constant.all(axis=0).sum()) if len(constant) else 0, int(constant.any(axis=1).sum())
