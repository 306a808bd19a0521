"""``tempo1.6``: faster at the same pitch, by overlap-add of pieces that fit (WSOLA).

The method is that of FFmpeg's ``atempo``, the samples are not: it joins other pieces elsewhere.
"""

import numpy as np

from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio
from pipeline.perturb.dsp.wsola import stretch


def perturb(
    audio: Audio,
    amounts: tuple[float, ...],
    generator: np.random.Generator,
) -> Samples:
    """Samples, ``round(n / rate)`` of them, as if played so many times faster."""
    (rate,) = amounts
    return stretch(audio.samples, audio.sr, rate)


def require(sr: int, amounts: tuple[float, ...]) -> None:
    """Nothing depends on the rate."""
