"""``gain-6``: louder by so many decibels; what goes beyond full scale is kept, not clipped."""

import numpy as np

from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio


def perturb(
    audio: Audio,
    amounts: tuple[float, ...],
    generator: np.random.Generator,
) -> Samples:
    """Samples times ``10 ** (decibels / 20)``."""
    (decibels,) = amounts
    return audio.samples * np.float32(10 ** (decibels / 20))
