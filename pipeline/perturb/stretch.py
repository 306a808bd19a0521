"""``stretch1.25``: so many times faster at the same pitch, as `librosa.effects.time_stretch`."""

import numpy as np

from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio
from pipeline.perturb.dsp.vocoder import HOP, N_FFT


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


def samples_needed(n_samples: int, rate: float) -> int:
    """How many samples the first `n_samples` stretched ones are made from.

    With as many or more of them, those are the same bits. At most
    ``n_samples * rate + 1024 * rate + 1536``: half a frame more on either side, and the frame that
    the last one is interpolated with.
    """
    last = (n_samples + N_FFT // 2 - 1) // HOP  # frame that reaches into those wanted
    return (int(last * rate) + 1) * HOP + N_FFT // 2
