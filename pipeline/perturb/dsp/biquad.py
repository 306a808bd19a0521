"""Filters of one and two poles, with Robert Bristow-Johnson's and FFmpeg's coefficients."""

import dataclasses
import math
from typing import Self

import numpy as np
import scipy.signal

from featurestore.errors import SpecError
from featurestore.specs.perturbation import Perturbation
from pipeline.audio.stream import Samples

Q = 0.707
"""Quality: no resonance. FFmpeg's and torchaudio's default, to the digit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Biquad:
    """A filter ``a0 y[t] = b0 x[t] + b1 x[t-1] + b2 x[t-2] - a1 y[t-1] - a2 y[t-2]``.

    Parameters
    ----------
    b, a : tuple of float
    """

    b: tuple[float, ...]
    a: tuple[float, ...]

    @classmethod
    def lowpass(cls, sr: int, cutoff: float) -> Self:
        """Two poles: 3 dB less at the cut-off [Hz], 12 dB less an octave above."""
        cos, alpha = _cos_and_alpha(sr, cutoff)
        b = 1 - cos
        return cls(b=(b / 2, b, b / 2), a=(1 + alpha, -2 * cos, 1 - alpha))

    @classmethod
    def highpass(cls, sr: int, cutoff: float) -> Self:
        """Two poles: 3 dB less at the cut-off [Hz], 12 dB less an octave below."""
        cos, alpha = _cos_and_alpha(sr, cutoff)
        b = 1 + cos
        return cls(b=(b / 2, -b, b / 2), a=(1 + alpha, -2 * cos, 1 - alpha))

    @classmethod
    def one_pole_lowpass(cls, sr: int, cutoff: float) -> Self:
        """FFmpeg's ``lowpass`` with ``poles=1``: 6 dB less an octave above the cut-off [Hz]."""
        pole = math.exp(-2 * math.pi * cutoff / sr)
        return cls(b=(1 - pole,), a=(1, -pole))

    def filter(self, samples: Samples) -> Samples:
        """Samples, filtered from rest, ``(n,)`` float32; computed in float64."""
        filtered = scipy.signal.lfilter(self.b, self.a, samples.astype(np.float64))
        return np.asarray(filtered, np.float32)


def require_cutoff(perturbation: Perturbation, sr: int) -> None:
    """Refuse a perturbation whose first amount, a cut-off [Hz], is not below half the rate.

    Raises
    ------
    SpecError
    """
    cutoff = perturbation.amounts[0]
    if not cutoff < sr / 2:
        raise SpecError(
            f"{perturbation.name!r}: the cut-off frequency is {cutoff:g} Hz; at {sr} Hz it must be "
            f"below {sr / 2:g}"
        )


def _cos_and_alpha(sr: int, cutoff: float) -> tuple[float, float]:
    angle = 2 * math.pi * cutoff / sr
    return math.cos(angle), math.sin(angle) / (2 * Q)
