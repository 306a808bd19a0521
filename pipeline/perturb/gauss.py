"""``gauss0.005``: Gaussian noise of that standard deviation is added."""

import numpy as np

from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio


def perturb(audio: Audio, amounts: tuple[float, ...], generator: np.random.Generator) -> Samples:
    """Samples plus noise; what goes beyond full scale is kept."""
    (deviation,) = amounts
    noise: Samples = generator.standard_normal(len(audio.samples), np.float32)
    noise *= np.float32(deviation)
    noise += audio.samples
    return noise


def require(sr: int, amounts: tuple[float, ...]) -> None:
    """Nothing depends on the rate."""
