"""How the rows of a store are divided: clips into shards, shards into parts."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Self

from featurestore.errors import SettingsError

ROWS_PER_PART = 2**16
"""Rows of a part, unless a store says otherwise: as many as shards of its length fit in."""

MAX_CLIPS_PER_SHARD = 2**16

MAX_CLIPS = 10**9
"""Most rows of a store."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Division:
    """Lengths of shards and parts, fixed when a store is made.

    A shard is a block of rows that is one task, one file a spec and one commit. A part is a block
    of shards: the block of rows whose table columns are one chunk each, and whose commit records
    lie in one folder, so that it can be read, written and resumed by itself.

    Parameters
    ----------
    clips_per_shard : int
        1 to 65536.
    shards_per_part : int

    Raises
    ------
    SettingsError
        If a length is invalid.
    """

    clips_per_shard: int
    shards_per_part: int

    def __post_init__(self) -> None:
        for field, most in (
            ("clips_per_shard", MAX_CLIPS_PER_SHARD),
            ("shards_per_part", ROWS_PER_PART),
        ):
            value = getattr(self, field)
            if type(value) is not int or not 1 <= value <= most:
                raise SettingsError(
                    f"{field} is {value!r}; it must be a whole number from 1 to {most}"
                )

    @classmethod
    def of(cls, clips_per_shard: int) -> Self:
        """The division of a new store whose shards are that long."""
        n_shards = ROWS_PER_PART // clips_per_shard if type(clips_per_shard) is int else 1
        return cls(clips_per_shard=clips_per_shard, shards_per_part=max(1, n_shards))

    @property
    def rows_per_part(self) -> int:
        """Rows of every part but the last, which may be shorter."""
        return self.clips_per_shard * self.shards_per_part

    def n_shards(self, n_clips: int) -> int:
        """Shards of so many rows."""
        return -(-n_clips // self.clips_per_shard)

    def n_parts(self, n_clips: int) -> int:
        """Parts of so many rows."""
        return -(-n_clips // self.rows_per_part)

    def shards_of(self, part: int, n_clips: int) -> range:
        """Numbers of a part's shards, counted over the whole store."""
        first = part * self.shards_per_part
        return range(first, min(first + self.shards_per_part, self.n_shards(n_clips)))

    def rows_of(self, part: int, n_clips: int) -> slice:
        """A part's rows."""
        first = part * self.rows_per_part
        return slice(first, min(first + self.rows_per_part, n_clips))


Spans = Sequence[Sequence[int]]
"""Whole numbers, as pairs: the first of some that follow each other, and the one after the last."""


def spans_of(numbers: Iterable[int]) -> list[list[int]]:
    """Ascending numbers as spans."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number:
            spans[-1][1] += 1
        else:
            spans.append([number, number + 1])
    return spans


def numbers_in(spans: Spans) -> set[int]:
    """The numbers that spans stand for."""
    return {number for first, beyond in spans for number in range(first, beyond)}
