"""Clips of one spec with their labels, as PyTorch takes them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from featurestore.errors import TrainingError
from featurestore.specs.mel import FeatureSpec, require_mel
from models.data.sampler import Pick

if TYPE_CHECKING:
    from featurestore.array import FeatureArray


CACHE_LIMIT = 2**30
"""A split of at most this many bytes of float32 is read once and cached in memory."""


class Clip(NamedTuple):
    """A clip or a window of one, or, from a loader, a batch of them.

    Attributes
    ----------
    values : torch.Tensor [shape=(n_mels, n_frames), dtype=float32]
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
    mean, std : torch.Tensor [shape=(n_mels,), dtype=float32]
        Mean and standard deviation.
    """

    mean: torch.Tensor
    std: torch.Tensor


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

    Notes
    -----
    An item is asked for by its number, and a window's place is then drawn from torch's generator;
    or by an `sampler.Pick`, which says the place, so that whoever draws it can draw it again.

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
    ) -> None:
        n_frames = array.shape[2]
        if length is not None and not 1 <= length <= n_frames:
            raise TrainingError(
                f"length is {length} frames; clips of {array.spec.name} have {n_frames}: "
                f"choose 1 to {n_frames}"
            )
        self.labels = labels
        self.n_valid = np.full(len(rows), n_frames) if n_valid is None else n_valid
        self._array = array
        self._rows = rows
        self._length = length
        self._cached: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | Pick) -> Clip:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int | Pick]) -> list[Clip]:
        """Items of a batch, in one read; PyTorch's loader calls this where it exists."""
        picks = [i if isinstance(i, tuple) else (i, float(torch.rand(()))) for i in indices]
        numbers = [number for number, _ in picks]
        n_valid = self.n_valid[numbers].tolist()
        length = self._length or self._array.shape[2]
        start = [
            0 if self._length is None else int(place * (max(0, n - length) + 1))
            for (_, place), n in zip(picks, n_valid, strict=True)
        ]
        values: Iterable[torch.Tensor]
        if self._cached is None:
            rows = self._rows[numbers]
            values = torch.from_numpy(self._array.read(rows, start=start, length=length))
        else:
            cached = self._cached
            values = (cached[i, :, s : s + length] for i, s in zip(numbers, start, strict=True))
        return [
            Clip(v, torch.from_numpy(self.labels[i]), min(n - s, length))
            for v, i, n, s in zip(values, numbers, n_valid, start, strict=True)
        ]

    def windows(self, length: int | None) -> Self:
        """Make a data set of the same clips that gives windows of `length` frames.

        What is cached is shared.
        """
        other = type(self)(
            self._array, self._rows, self.labels, n_valid=self.n_valid, length=length
        )
        other._cached = self._cached
        return other

    def of(self, array: "FeatureArray") -> Self:
        """Make a data set of the same clips in another array of their store, which are ready."""
        n_valid = array.n_valid_frames[self._rows]
        return type(self)(array, self._rows, self.labels, n_valid=n_valid)

    def band_statistics(self) -> BandStatistics:
        """Mean and standard deviation of each band over the clips' valid frames.

        The store keeps them by clip; of a view, all values are read.
        """
        statistics = self._array.statistics(self._rows)
        mean, std = torch.from_numpy(statistics.mean), torch.from_numpy(statistics.std)
        return BandStatistics(mean.float(), std.float())

    @property
    def spec(self) -> FeatureSpec:
        """Spec of the values."""
        return require_mel(self._array.spec, "networks take")

    @property
    def n_frames(self) -> int:
        """Frames of a whole clip."""
        return self._array.shape[2]

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
        """Size of all whole clips as float32 [bytes]."""
        return 4 * len(self) * self._array.shape[1] * self._array.shape[2]

    @property
    def cached(self) -> bool:
        """Return whether the values are in memory."""
        return self._cached is not None

    def preload(self) -> None:
        """Read all values once and keep them in memory; does nothing the second time."""
        if self._cached is None:
            self._cached = torch.from_numpy(self._array.read(self._rows))
