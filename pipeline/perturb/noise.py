"""``noise0.1``: Gaussian noise, as loud as the clip's largest sample, takes that share of it.

As in Won et al. 2020, *Evaluation of CNN-based automatic music tagging models*.
"""

import numpy as np

from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio


def perturb(audio: Audio, amounts: tuple[float, ...], generator: np.random.Generator) -> Samples:
    """``(1 - share) x + share max(|x|) noise / max(|noise|)``; silence stays silent."""
    (share,) = amounts
    noise: Samples = generator.standard_normal(len(audio.samples), np.float32)
    peak = np.abs(noise).max(initial=0)
    if peak:
        noise *= np.float32(share) * np.abs(audio.samples).max(initial=0) / peak
    noise += np.float32(1 - share) * audio.samples
    return noise


def require(sr: int, amounts: tuple[float, ...]) -> None:
    """Nothing depends on the rate."""
