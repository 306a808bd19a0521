"""``stretch1.25``: so many times faster at the same pitch, as `librosa.effects.time_stretch`."""

import numpy as np

from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio


def perturb(
    audio: Audio,
    amounts: tuple[float, ...],
    generator: np.random.Generator,  # noqa: ARG001
) -> Samples:
    """As many samples as there were over the rate, rounded; a half to the even one."""
    (rate,) = amounts
    return audio.spectra.stretched(rate, round(len(audio.samples) / rate))
