"""What every kind of representation says of itself: all that format, store and pipeline ask."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import ClassVar, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from featurestore.specs.encoding import EncodingName, Range
from featurestore.specs.perturbation import Condition

T = TypeVar("T", int, npt.NDArray[np.int64])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Coordinate:
    """Positions of an array's bands or frames along an axis.

    Parameters
    ----------
    name : str
        Of the axis.
    unit : str
        As CF writes it, such as ``Hz``.
    long_name : str
    values : np.ndarray [shape=(n,), dtype=float64]
    """

    name: str
    unit: str
    long_name: str
    values: npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derivation:
    """Derivation of one spec's values from those of another.

    Parameters
    ----------
    step : int
        Every step-th frame is taken.
    convert : callable (np.ndarray [dtype=float32]) -> None, optional
        What turns values into those wanted, in place: a function of a module, so that it can be
        pickled. None where they are the same.
    gain : float
        Largest derivative of `convert`: what an error of the stored values is multiplied by.
    rounding : float
        What `convert` adds to the error by rounding to float32.
    """

    step: int = 1
    convert: Callable[[npt.NDArray[np.float32]], None] | None = None
    gain: float = 1.0
    rounding: float = 0.0

    def max_error(self, stored: float) -> float:
        """Largest error of a derived value whose stored one is off by `stored` at most."""
        return self.gain * stored + self.rounding


class Spec(Protocol):
    """One representation of a clip: an array of bands over frames, ``(n_bands, n_frames)``.

    A kind is a frozen dataclass with these names in a file of its own, and a line in
    `featurestore.specs.kinds`. Equal specs have equal names, and different ones different names.

    Attributes
    ----------
    kind : str
        What names have after the sample rate, before its number: ``mel`` in ``sr16000-mel48-…``.
    axes : (str, str)
        Names of the two dimensions. The second is called ``time``.
    encodings : tuple of str
        Ways to store the values, the usual one first.
    """

    kind: ClassVar[str]
    axes: ClassVar[tuple[str, str]]
    encodings: ClassVar[tuple[EncodingName, ...]]

    @property
    def name(self) -> str:
        """Name that `parse` reads back."""

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a spec from its `name`.

        Raises
        ------
        SpecError
            If `name` is not the name that some spec of this kind has.
        """

    @property
    def condition(self) -> Condition:
        """What is done to the audio before."""

    def under(self, condition: Condition) -> Self:
        """The same of audio under another condition."""

    @property
    def sr(self) -> int:
        """Sample rate of the audio that the spec is computed from [Hz]."""

    @property
    def unit(self) -> str:
        """Unit of the values, as CF writes it."""

    @property
    def long_name(self) -> str:
        """Meaning of the values, for people: the ``long_name`` of CF."""

    @property
    def value_range(self) -> Range:
        """Smallest and largest value that integer encodings keep, in the values' unit."""

    @property
    def n_bands(self) -> int:
        """Length of the first axis. Statistics are kept for each band."""

    @property
    def frame_step(self) -> Fraction:
        """Step from frame to frame, exactly [s]."""

    def n_frames(self, n_samples: int) -> int:
        """Length of the second axis for a clip of `n_samples` samples at `sr`."""

    def chunk_frames(self, n_frames: int) -> int:
        """Frames of a chunk of a clip of `n_frames`: of the smallest stretch that is read alone.

        All of them where a clip is one chunk. Part of the format: what a kind says stays.
        """

    def n_valid_frames(self, n_valid: T, sr: T) -> T:
        """Frames that are audio and not padding, where the first `n_valid` samples at `sr` are.

        Samples after `condition`, which may have made them fewer or more. For at least one sample.
        """

    def shape(self, n_samples: int) -> tuple[int, int]:
        """Shape of a clip of `n_samples` samples at `sr`: (n_bands, n_frames)."""

    def coordinates(self, n_frames: int) -> tuple[Coordinate, Coordinate]:
        """Coordinates of bands and frames, in the order of `axes`; frames in seconds."""

    def fields(self) -> dict[str, str | int | float]:
        """Say what `name` says as plain values, for readers that do not know melgrid's names.

        Without `condition`, which is said of all kinds.
        """

    def derivation(self, stored: "Spec") -> Derivation | None:
        """Derivation of this spec's values from those of `stored`; None if there is none."""
