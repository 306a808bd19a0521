"""``stretch1.25``: so many times faster at the same pitch, as `librosa.effects.time_stretch`."""

import numpy as np

from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio


def perturb(
    audio: Audio,
    amounts: tuple[float, ...],
    generator: np.random.Generator,
) -> Samples:
    """As many samples as there were over the rate, rounded; a half to the even number."""
    (rate,) = amounts
    return audio.spectra.stretched(rate)


def require(sr: int, amounts: tuple[float, ...]) -> None:
    """Nothing depends on the rate."""
