"""``echo0.8_0.88_60_0.4``: an echo, as FFmpeg's ``aecho=0.8:0.88:60:0.4``."""

import numpy as np

from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio


def perturb(
    audio: Audio,
    amounts: tuple[float, ...],
    generator: np.random.Generator,
) -> Samples:
    """Samples with their echo, clipped at full scale as FFmpeg's are; no longer than they were."""
    before, after, delay, decay = amounts
    return add_echoes(audio, before, after, ((delay, decay),))


def require(sr: int, amounts: tuple[float, ...]) -> None:
    """Nothing depends on the rate."""


def add_echoes(
    audio: Audio, before: float, after: float, echoes: tuple[tuple[float, float], ...]
) -> Samples:
    """``after (before x[t] + sum of decay x[t - delay])``, clipped at full scale, float32.

    An echo is not echoed again. FFmpeg goes on until the last echo has sounded; here the end is
    that of the samples.

    Parameters
    ----------
    audio : Audio
    before, after : float
        Gain of the samples, and of all.
    echoes : tuple of (float, float)
        Delay [ms], rounded down to samples, and decay of each.
    """
    n_samples = len(audio.samples)
    result = audio.samples * np.float32(before * after)
    for delay, decay in echoes:
        late = min(int(delay * audio.sr / 1000), n_samples)
        result[late:] += audio.samples[: n_samples - late] * np.float32(decay * after)
    return np.clip(result, -1, 1, out=result)
