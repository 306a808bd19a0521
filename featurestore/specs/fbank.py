"""Kaldi's filter bank, which audio spectrogram transformers take."""

import dataclasses
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from featurestore.errors import SpecError
from featurestore.specs.encoding import EncodingName, Range
from featurestore.specs.fields import (
    MAX_HOP_LENGTH,
    SAMPLE_RATES,
    hertz,
    parse_edges,
    read_name,
    whole_number,
)
from featurestore.specs.perturbation import CLEAN, Condition
from featurestore.specs.spec import Coordinate, Derivation, Spec, T

FLOOR = 2.0**-23
"""Least power of a band: 1.1920929e-07, the spacing of float32 at 1, whose logarithm is -15.942."""

PREEMPHASIS = 0.97
"""Share of the sample before that is taken off each sample."""

_NAME = re.compile(
    r"sr(?P<sr>\d+)-fbank(?P<n_mels>\d+)-hop(?P<hop_length>\d+)"
    r"(?:-win(?P<win_length>\d+))?(?:-fmin(?P<fmin>[\d.]+))?(?:-fmax(?P<fmax>[\d.]+))?",
    re.ASCII,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FbankSpec:
    """Parameters of a filter bank as Kaldi computes it, under librosa's names.

    The array is ``(n_mels, n_frames)``. Frames begin at sample 0 and are not padded. Of each, the
    mean is subtracted, then 0.97 of the sample before (pre-emphasis); it is multiplied by the
    symmetric Hann window, and zeros are put after it up to `n_fft`. Its power spectrum is summed by
    triangles that are linear in mel, 1127 ln(1 + f / 700), with a peak of 1. Values are
    ``ln(max(P, 2**-23))``. A filter may hold no FFT bin: its band is at the floor, as in Kaldi.

    Parameters
    ----------
    sr : int
        Sample rate of the audio analysed [Hz].
    n_mels : int
        Bands.
    hop_length : int
        Step from frame to frame [samples].
    win_length : int
        Frame length [samples].
    fmin, fmax : float
        Lower and upper edge of the filter bank [Hz], to 0.001 Hz. An `fmax` of None is ``sr / 2``.
    condition : Condition
        What is done to the audio before.

    Raises
    ------
    SpecError
        If a value is out of range.

    Examples
    --------
    >>> spec = FbankSpec(sr=16000)
    >>> spec.name, spec.n_fft, spec.n_frames(164080)
    ('sr16000-fbank128-hop160', 512, 1024)
    """

    kind: ClassVar[str] = "fbank"
    axes: ClassVar[tuple[str, str]] = ("mel", "time")
    encodings: ClassVar[tuple[EncodingName, ...]] = ("float16", "float32", "uint8")

    sr: int
    n_mels: int = 128
    hop_length: int = 160
    win_length: int = 400
    fmin: float = 20.0
    fmax: float | None = None
    condition: Condition = CLEAN

    def __post_init__(self) -> None:
        for field, low, high, unit in (
            ("sr", *SAMPLE_RATES, " Hz"),
            ("n_mels", 1, 4096, ""),
            ("hop_length", 1, MAX_HOP_LENGTH, " samples"),
            ("win_length", 16, 65536, " samples"),
        ):
            value = whole_number(field, getattr(self, field), low, high, unit)
            object.__setattr__(self, field, value)
        fmin, fmax = parse_edges(self.fmin, self.fmax, self.sr)
        object.__setattr__(self, "fmin", fmin)
        object.__setattr__(self, "fmax", fmax)

    @property
    def n_fft(self) -> int:
        """Length of the FFT: the least power of two that holds a frame [samples]."""
        return 1 << (self.win_length - 1).bit_length()

    @property
    def _upper_edge(self) -> float:
        return self.sr / 2 if self.fmax is None else self.fmax

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Begin, peak and end of the filters, even in mel, ``(n_mels + 2,)``; see `to_mel`."""
        low, high = to_mel(np.array([self.fmin, self._upper_edge]))
        return np.linspace(low, high, self.n_mels + 2)

    @property
    def mel_frequencies(self) -> npt.NDArray[np.float64]:
        """Centre frequency of each band [Hz], ``(n_mels,)``."""
        return from_mel(self.edges[1:-1])

    @property
    def unit(self) -> str:
        """Unit of the values, as CF writes it: 1."""
        return "1"

    @property
    def long_name(self) -> str:
        """Meaning of the values and their scaling, for people."""
        return "mel power as Kaldi's fbank, natural logarithm"

    @property
    def value_range(self) -> Range:
        """The floor, and what no sound within full scale exceeds.

        Without their mean, and with pre-emphasis, samples are at most 2. A frame's energy is then
        at most 4 times the sum of the squared window, 3/8 (win_length - 1), and the bins between 0
        and ``sr / 2`` have half of n_fft times that (Parseval); no filter weighs a bin more than
        1. With the default `win_length`, the range is -15.94 to 11.94.
        """
        return math.log(FLOOR), math.log(0.75 * self.n_fft * (self.win_length - 1))

    @property
    def n_bands(self) -> int:
        """Mel bands."""
        return self.n_mels

    @property
    def frame_step(self) -> Fraction:
        """Step from frame to frame, exactly [s]."""
        return Fraction(self.hop_length, self.sr)

    def n_frames(self, n_samples: int) -> int:
        """Frames that lie within `n_samples` samples at `sr`.

        ``1 + (n_samples - win_length) // hop_length``, exactly.

        Raises
        ------
        SpecError
            If there is none, because a frame is longer than that.
        """
        if n_samples < self.win_length:
            raise SpecError(
                f"{self.name}: a clip of {n_samples} samples is shorter than a frame, whose "
                f"win_length is {self.win_length} samples; use longer clips or a smaller win_length"
            )
        return 1 + (n_samples - self.win_length) // self.hop_length

    def chunk_frames(self, n_frames: int) -> int:
        """All: a clip is one chunk."""
        return n_frames

    def n_valid_frames(self, n_valid: T, sr: T) -> T:
        """Frames that lie within the first `n_valid` samples at `sr`.

        The first one counts even where the audio is shorter: it holds all there is of it.
        """
        after_first = (n_valid * self.sr - self.win_length * sr) // (sr * self.hop_length)
        return 1 + after_first * (after_first > 0)

    def shape(self, n_samples: int) -> tuple[int, int]:
        """Shape of a clip of `n_samples` samples at `sr`: (n_mels, n_frames)."""
        return self.n_mels, self.n_frames(n_samples)

    def coordinates(self, n_frames: int) -> tuple[Coordinate, Coordinate]:
        """Centre frequencies of the bands [Hz], and centres of so many frames [s]."""
        mel = Coordinate(
            name="mel",
            unit="Hz",
            long_name="centre frequency of the band",
            values=self.mel_frequencies,
        )
        time = Coordinate(
            name="time",
            unit="s",
            long_name="centre of the frame",
            values=(self.win_length / 2 + np.arange(n_frames) * self.hop_length) / self.sr,
        )
        return mel, time

    def fields(self) -> dict[str, str | int | float]:
        """Parameters as plain values, defaults and what Kaldi fixes among them."""
        return {
            "sr": self.sr,
            "n_mels": self.n_mels,
            "hop_length": self.hop_length,
            "win_length": self.win_length,
            "n_fft": self.n_fft,
            "fmin": self.fmin,
            "fmax": self._upper_edge,
            "window": "hann-symmetric",
            "preemphasis": PREEMPHASIS,
            "log": "ln",
            "floor": FLOOR,
        }

    def derivation(self, stored: Spec) -> Derivation | None:
        """Derivation from a hop that divides this one: every k-th frame, exactly.

        None where `stored` differs in anything else.
        """
        if not isinstance(stored, FbankSpec):
            return None
        step, rest = divmod(self.hop_length, stored.hop_length)
        if rest or dataclasses.replace(self, hop_length=stored.hop_length) != stored:
            return None
        return Derivation(step=step)

    def under(self, condition: Condition) -> Self:
        """The same of audio under another condition."""
        return dataclasses.replace(self, condition=condition)

    @property
    def name(self) -> str:
        """Name that `parse` reads back; it shows fields that are off their default."""
        parts = [f"sr{self.sr}", f"fbank{self.n_mels}", f"hop{self.hop_length}"]
        if self.win_length != 400:
            parts.append(f"win{self.win_length}")
        if self.fmin != 20:
            parts.append(f"fmin{hertz(self.fmin)}")
        if self.fmax is not None:
            parts.append(f"fmax{hertz(self.fmax)}")
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
        return read_name(name, _NAME, "sr16000-fbank128-hop160", cls._of_groups)

    @classmethod
    def _of_groups(cls, groups: Mapping[str, str | None], condition: Condition) -> Self:
        return cls(
            sr=int(groups["sr"] or 0),
            n_mels=int(groups["n_mels"] or 0),
            hop_length=int(groups["hop_length"] or 0),
            win_length=int(groups["win_length"] or 400),
            fmin=float(groups["fmin"] or 20),
            fmax=float(groups["fmax"]) if groups["fmax"] else None,
            condition=condition,
        )


def to_mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Kaldi's mel scale: ``1127 ln(1 + f / 700)``, of frequencies f [Hz]."""
    return 1127 * np.log1p(hz / 700)


def from_mel(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Frequencies [Hz]: the inverse of `to_mel`."""
    return 700 * np.expm1(mel / 1127)
