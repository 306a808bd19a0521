"""Samples that are perturbed, and what several perturbations share of them."""

import dataclasses
import math
from functools import cached_property

from pipeline.audio.stream import Samples
from pipeline.perturb.dsp.vocoder import Spectra

_MARGIN = 2048
"""Samples more at either speed that a faster condition is given: frames that overlap."""


def n_needed(n_samples: int, speed: float) -> int:
    """Samples that a condition needs to make `n_samples`, so many times faster."""
    if speed <= 1:
        return n_samples
    return math.ceil((n_samples + _MARGIN) * speed) + _MARGIN


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audio:
    """Samples that are perturbed in one way or several.

    Parameters
    ----------
    samples : np.ndarray [shape=(n_samples,), dtype=float32]
    sr : int
        [Hz]
    """

    samples: Samples
    sr: int

    @cached_property
    def spectra(self) -> Spectra:
        """What the phase vocoder makes all stretches and pitches of these samples from."""
        return Spectra.of(self.samples)
