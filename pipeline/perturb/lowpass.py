"""``lowpass1000``: a low-pass filter of two poles, as FFmpeg's ``lowpass=frequency=1000``."""

import numpy as np

from featurestore.specs.perturbation import Perturbation
from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio
from pipeline.perturb.dsp.biquad import Biquad, require_cutoff


def perturb(
    audio: Audio,
    amounts: tuple[float, ...],
    generator: np.random.Generator,
) -> Samples:
    """Samples, filtered from rest; what goes beyond full scale is kept."""
    require(audio.sr, amounts)
    (cutoff,) = amounts
    return Biquad.lowpass(audio.sr, cutoff).filter(audio.samples)


def require(sr: int, amounts: tuple[float, ...]) -> None:
    """Refuse a cut-off that is not below half the rate.

    Raises
    ------
    SpecError
    """
    require_cutoff(Perturbation(word="lowpass", amounts=amounts), sr)
