"""Clips of one spec with their labels, as PyTorch takes them."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from featurestore.errors import TrainingError
from featurestore.specs.spec import Spec
from models.data.sampler import Pick, seed_of

if TYPE_CHECKING:
    from featurestore.array import FeatureArray


CACHE_LIMIT = 2**30
"""A split of at most this many bytes of float32 is read once and cached in memory."""


class Clip(NamedTuple):
    """A clip or a window of one, or, from a loader, a batch of them.

    Attributes
    ----------
    values : torch.Tensor [shape=(n_bands, n_frames), dtype=float32]
        Of a waveform, one band, and a sample a frame.
    labels : torch.Tensor [shape=(n_tags,), dtype=float32]
        0 or 1.
    n_valid : int
        How many of the frames, from the first, are of the track; those that follow are padding,
        where the track was too short for a clip. ``torch.arange(n_frames) < n_valid[:, None]`` is
        a batch's mask.
    """

    values: torch.Tensor
    labels: torch.Tensor
    n_valid: int


class BandStatistics(NamedTuple):
    """Mean and standard deviation of each band, over the valid frames of some clips.

    Attributes
    ----------
    mean, std : torch.Tensor [shape=(n_bands,), dtype=float32]
        Mean and standard deviation.
    """

    mean: torch.Tensor
    std: torch.Tensor


class Perturber(Protocol):
    """What perturbs stretches of waveforms while a network trains on them."""

    @property
    def name(self) -> str:
        """What it draws from, as text: the same text, the same draws."""

    def require(self, sr: int) -> None:
        """Refuse a sample rate [Hz] that it cannot perturb at, with a `SpecError`."""

    def n_needed(self, n_samples: int) -> int:
        """Samples to give for `n_samples`, where there are as many."""

    def perturb(
        self, samples: npt.NDArray[np.float32], n_samples: int, *, sr: int, seed: int
    ) -> npt.NDArray[np.float32]:
        """`n_samples` of the perturbed samples; the seed says what is drawn."""


class ClipDataset(Dataset[Clip]):
    """Clips of one spec with their labels, fetched in batches. Its items are `Clip`.

    Parameters
    ----------
    array : FeatureArray
        Where the values are.
    rows : array of int, shape (n,)
        The array's rows that are this data set's clips, in order.
    labels : array of float32, shape (n, n_tags)
        0 or 1.
    n_valid : array of int, shape (n,), optional
        Frames of each clip that are no padding; None is all.
    length : int, optional
        Frames of a window, drawn uniformly at each access from those that lie within the valid
        frames; a clip with fewer valid frames gives its first ones and padding. None is the whole
        clip.
    draws : sequence of FeatureArray
        Random draws of the clips, of the array's shape and rows. A clip is then read from one of
        those that it has, drawn uniformly at each access; from `array` where it has none.
    perturber : Perturber, optional
        Perturbs each stretch of a waveform anew at each access, its valid part alone.
    clip_ids : sequence of str, optional
        Of the clips, to name them; None is their rows' numbers.

    Notes
    -----
    An item is asked for by its number, and a window's place, and a draw, are then drawn from
    torch's generator; or by a `sampler.Pick`, which says them, so that whoever draws them can draw
    them again.

    Raises
    ------
    TrainingError
        If a window is longer than the clips.
    """

    def __init__(
        self,
        array: "FeatureArray",
        rows: npt.NDArray[np.int64],
        labels: npt.NDArray[np.float32],
        *,
        n_valid: npt.NDArray[np.int64] | None = None,
        length: int | None = None,
        draws: "Sequence[FeatureArray]" = (),
        perturber: Perturber | None = None,
        clip_ids: Sequence[str] | None = None,
    ) -> None:
        n_frames = array.shape[2]
        if length is not None and not 1 <= length <= n_frames:
            raise TrainingError(
                f"length is {length} frames; clips of {array.spec.name} have {n_frames}: "
                f"choose 1 to {n_frames}"
            )
        self.labels = labels
        self.n_valid = np.full(len(rows), n_frames) if n_valid is None else n_valid
        self.clip_ids = [f"row {row}" for row in rows] if clip_ids is None else clip_ids
        self._array = array
        self._rows = rows
        self._length = length
        self._perturber = perturber
        self._sources = (array, *draws)
        drawn = np.array([draw.ready[rows] for draw in draws], np.bool_).reshape(-1, len(rows))
        # By source and clip, whether the clip is read from there: at least from one.
        self._has = np.concatenate([~drawn.any(axis=0, keepdims=True), drawn])
        self._n_choices = self._has.sum(axis=0)
        self._choices = np.argsort(~self._has, axis=0, kind="stable").astype(np.int16)
        self._cached: list[torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | Pick) -> Clip:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int | Pick]) -> list[Clip]:
        """Items of a batch, in one read; PyTorch's loader calls this where it exists."""
        picks = [i if isinstance(i, Pick) else self._pick(i) for i in indices]
        numbers = [pick.clip for pick in picks]
        n_valid = self.n_valid[numbers].tolist()
        length = self._length or self._array.shape[2]
        start = [
            0 if self._length is None else int(pick.place * (max(0, n - length) + 1))
            for pick, n in zip(picks, n_valid, strict=True)
        ]
        if self._perturber is not None:
            return [
                self._perturbed(self._perturber, pick, first, length)
                for pick, first in zip(picks, start, strict=True)
            ]
        sources: dict[int, list[int]] = {}
        for position, pick in enumerate(picks):
            choice = int(pick.draw * self._n_choices[pick.clip])
            sources.setdefault(int(self._choices[choice, pick.clip]), []).append(position)
        values: dict[int, torch.Tensor] = {}
        for source, positions in sources.items():
            read = self._read(
                source, [numbers[p] for p in positions], [start[p] for p in positions], length
            )
            values |= zip(positions, read, strict=True)
        return [
            Clip(values[position], torch.from_numpy(self.labels[i]), min(n - s, length))
            for position, (i, n, s) in enumerate(zip(numbers, n_valid, start, strict=True))
        ]

    def _pick(self, number: int) -> Pick:
        place = float(torch.rand(()))
        is_drawn = len(self._sources) > 1 or self._perturber is not None
        return Pick(number, place, float(torch.rand(())) if is_drawn else 0.0)

    def _perturbed(self, perturber: Perturber, pick: Pick, start: int, length: int) -> Clip:
        """A window of a perturbed waveform; faster ones are given the audio that follows it."""
        n_valid = int(self.n_valid[pick.clip])
        there = max(1, min(n_valid - start, perturber.n_needed(length)))
        (read,) = self._read(0, [pick.clip], [start], there)
        samples = np.asarray(read, np.float32)[0]
        # Both numbers are multiples of 2**-24.
        seed = seed_of(pick.clip, int(pick.place * 2**24), int(pick.draw * 2**24))
        perturbed = perturber.perturb(samples, length, sr=self.spec.sr, seed=seed)
        n_left = min(n_valid - start, length)
        perturbed[n_left:] = 0
        return Clip(
            torch.from_numpy(perturbed)[None], torch.from_numpy(self.labels[pick.clip]), n_left
        )

    def _read(
        self, source: int, numbers: list[int], start: list[int], length: int
    ) -> "torch.Tensor | list[torch.Tensor]":
        """Windows of some clips, all from one source."""
        if self._cached is None:
            rows = self._rows[numbers]
            read = self._sources[source].read(rows, start=start, length=length)
            return torch.from_numpy(read)
        cached, places = self._cached[source], self._places[source]
        return [cached[places[i], :, s : s + length] for i, s in zip(numbers, start, strict=True)]

    @cached_property
    def _places(self) -> npt.NDArray[np.int64]:
        """By source and clip, which of the cached clips of the source it is."""
        return np.cumsum(self._has, axis=1) - 1

    def windows(self, length: int | None) -> Self:
        """Make a data set of the same clips that gives windows of `length` frames.

        What is cached is shared.
        """
        other = type(self)(
            self._array,
            self._rows,
            self.labels,
            n_valid=self.n_valid,
            length=length,
            draws=self._sources[1:],
            perturber=self._perturber,
            clip_ids=self.clip_ids,
        )
        other._cached = self._cached
        return other

    def of(self, array: "FeatureArray") -> Self:
        """Make a data set of the same clips in another array of their store, which are ready."""
        n_valid = array.n_valid_frames[self._rows]
        return type(self)(array, self._rows, self.labels, n_valid=n_valid, clip_ids=self.clip_ids)

    def band_statistics(self) -> BandStatistics:
        """Mean and standard deviation of each band over the clips' valid frames, without draws.

        The store keeps them by clip; of a view, all values are read.
        """
        statistics = self._array.statistics(self._rows)
        mean, std = torch.from_numpy(statistics.mean), torch.from_numpy(statistics.std)
        return BandStatistics(mean.float(), std.float())

    @property
    def spec(self) -> Spec:
        """Spec of the values."""
        return self._array.spec

    @property
    def n_frames(self) -> int:
        """Frames of a whole clip."""
        return self._array.shape[2]

    @property
    def n_draws(self) -> int:
        """How many random draws there are."""
        return len(self._sources) - 1

    @property
    def n_undrawn(self) -> int:
        """Clips that none of the draws has: these are read from the clean spec."""
        return int(self._has[0].sum()) if self.n_draws else 0

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The array's rows, in order."""
        return self._rows

    @property
    def bytes_per_clip(self) -> float:
        """Bytes on disk, shared among the array's ready rows."""
        return self._array.nbytes_stored / int(np.sum(self._array.ready))

    @property
    def nbytes(self) -> int:
        """Size of all whole clips as float32, with all of their draws [bytes]."""
        return 4 * int(self._has.sum()) * self._array.shape[1] * self._array.shape[2]

    @property
    def cached(self) -> bool:
        """Return whether the values are in memory."""
        return self._cached is not None

    def preload(self) -> None:
        """Read all values once and keep them in memory; does nothing the second time."""
        if self._cached is None:
            self._cached = [
                torch.from_numpy(source.read(self._rows[has]))
                for source, has in zip(self._sources, self._has, strict=True)
            ]
