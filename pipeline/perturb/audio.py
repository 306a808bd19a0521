"""Samples that are perturbed, and what several perturbations share of them."""

import dataclasses
from functools import cached_property

from pipeline.audio.stream import Samples
from pipeline.perturb.dsp.vocoder import Spectra


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
