"""Power spectra of all bins, for networks that learn their filters."""

import dataclasses
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import ClassVar, Self, get_args

import numpy as np
import numpy.typing as npt

from featurestore.errors import SpecError
from featurestore.specs.encoding import EncodingName, Range
from featurestore.specs.fields import (
    HOP_UNIT,
    SAMPLE_RATES,
    hop_of,
    parse_hop,
    read_name,
    whole_number,
)
from featurestore.specs.mel import Window, n_valid_frames
from featurestore.specs.perturbation import CLEAN, Condition
from featurestore.specs.spec import Coordinate, Derivation, Spec, T

_NAME = re.compile(
    r"sr(?P<sr>\d+)-stft(?P<n_fft>\d+)-(?:x(?P<hop>\d+)|hop(?P<hop_length>\d+))-db"
    r"(?:-(?P<symmetric>symmetric))?",
    re.ASCII,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StftSpec:
    """A power spectrogram's parameters, under librosa's names.

    The array is ``(1 + n_fft // 2, n_frames)``: power P of all bins, of the same frames as a
    `FeatureSpec` has, centred and padded with zeros, as ``10 log10(max(P, 1e-10))``.

    Parameters
    ----------
    sr : int
        Sample rate of the audio analysed [Hz].
    n_fft : int
        Frame length [samples].
    hop : int or Fraction
        Step from frame to frame in multiples of 256 samples; ``Fraction(160, 256)`` for a step of
        160 samples.
    window : {'hann', 'hann-symmetric'}
        The periodic Hann window, or the symmetric one.
    condition : Condition
        What is done to the audio before.

    Raises
    ------
    SpecError
        If a value is out of range.

    Examples
    --------
    >>> spec = StftSpec(sr=16000)
    >>> spec.name, spec.shape(80000)
    ('sr16000-stft512-x1-db', (257, 313))
    """

    kind: ClassVar[str] = "stft"
    axes: ClassVar[tuple[str, str]] = ("frequency", "time")
    encodings: ClassVar[tuple[EncodingName, ...]] = ("float16", "float32", "uint8")

    sr: int
    n_fft: int = 512
    hop: int | Fraction = 1
    window: Window = "hann"
    condition: Condition = CLEAN

    def __post_init__(self) -> None:
        object.__setattr__(self, "sr", whole_number("sr", self.sr, *SAMPLE_RATES, " Hz"))
        object.__setattr__(self, "n_fft", whole_number("n_fft", self.n_fft, 16, 65536, " samples"))
        object.__setattr__(self, "hop", parse_hop(self.hop))
        if self.window not in get_args(Window):
            raise SpecError(
                f"window is {self.window!r}; it must be one of {', '.join(get_args(Window))}"
            )

    @property
    def frequencies(self) -> npt.NDArray[np.float64]:
        """Frequency of each bin [Hz], ``(1 + n_fft // 2,)``."""
        return np.arange(self.n_bands) * self.sr / self.n_fft

    @property
    def hop_length(self) -> int:
        """Step from frame to frame [samples]."""
        return int(self.hop * HOP_UNIT)

    @property
    def unit(self) -> str:
        """Unit of the values, as CF writes it: dB."""
        return "dB"

    @property
    def long_name(self) -> str:
        """Meaning of the values and their scaling, for people."""
        return "power, db scaling"

    @property
    def value_range(self) -> Range:
        """The scaling's floor, and what no sound within full scale exceeds: (n_fft / 2)^2.

        That is the power of a constant, the sum of the window squared; a full-scale sine has a
        quarter of it, 6 dB less, in one bin. With the default `n_fft`, the range is -100 to
        48.2 dB.
        """
        return -100.0, 20 * math.log10(self.n_fft / 2)

    @property
    def n_bands(self) -> int:
        """Bins, from 0 Hz to ``sr / 2``."""
        return 1 + self.n_fft // 2

    @property
    def frame_step(self) -> Fraction:
        """Step from frame to frame, exactly [s]."""
        return Fraction(self.hop_length, self.sr)

    def n_frames(self, n_samples: int) -> int:
        """Frames in `n_samples` samples at `sr`: ``1 + n_samples // hop_length``, exactly."""
        return 1 + n_samples // self.hop_length

    def chunk_frames(self, n_frames: int) -> int:
        """All: a clip is one chunk."""
        return n_frames

    def n_valid_frames(self, n_valid: T, sr: T) -> T:
        """Frames whose centre is within the first `n_valid` samples at `sr`; at least one is."""
        return n_valid_frames(n_valid, sr, self.sr, self.hop_length)

    def shape(self, n_samples: int) -> tuple[int, int]:
        """Shape of a clip of `n_samples` samples at `sr`: (1 + n_fft // 2, n_frames)."""
        return self.n_bands, self.n_frames(n_samples)

    def coordinates(self, n_frames: int) -> tuple[Coordinate, Coordinate]:
        """Frequencies of the bins [Hz], and centres of so many frames [s]."""
        frequency = Coordinate(
            name="frequency",
            unit="Hz",
            long_name="frequency of the bin",
            values=self.frequencies,
        )
        time = Coordinate(
            name="time",
            unit="s",
            long_name="centre of the frame",
            values=np.arange(n_frames) * self.hop_length / self.sr,
        )
        return frequency, time

    def fields(self) -> dict[str, str | int | float]:
        """Parameters as plain values under librosa's names, defaults and all."""
        return {
            "sr": self.sr,
            "n_fft": self.n_fft,
            "hop_length": self.hop_length,
            "window": self.window,
            "log": "db",
        }

    def derivation(self, stored: Spec) -> Derivation | None:
        """Derivation from a hop that divides this one: every k-th frame, exactly.

        None where `stored` differs in anything else.
        """
        if not isinstance(stored, StftSpec):
            return None
        step, rest = divmod(self.hop_length, stored.hop_length)
        if rest or dataclasses.replace(self, hop=stored.hop) != stored:
            return None
        return Derivation(step=step)

    def under(self, condition: Condition) -> Self:
        """The same of audio under another condition."""
        return dataclasses.replace(self, condition=condition)

    @property
    def name(self) -> str:
        """Name that `parse` reads back; it shows fields that are off their default."""
        hop = f"x{self.hop}" if isinstance(self.hop, int) else f"hop{self.hop_length}"
        parts = [f"sr{self.sr}", f"stft{self.n_fft}", hop, "db"]
        if self.window == "hann-symmetric":
            parts.append("symmetric")
        return "-".join(parts) + self.condition.suffix

    def __str__(self) -> str:
        return self.name

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a spec from its `name`.

        Raises
        ------
        SpecError
            If `name` is not the name that some spec has.
        """
        return read_name(name, _NAME, "sr16000-stft512-x1-db", cls._of_groups)

    @classmethod
    def _of_groups(cls, groups: Mapping[str, str | None], condition: Condition) -> Self:
        return cls(
            sr=int(groups["sr"] or 0),
            n_fft=int(groups["n_fft"] or 0),
            hop=hop_of(groups),
            window="hann-symmetric" if groups["symmetric"] else "hann",
            condition=condition,
        )
