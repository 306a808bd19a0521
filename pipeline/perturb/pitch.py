"""``pitch-1``: so many semitones higher at the same speed, as `librosa.effects.pitch_shift`."""

import numpy as np
import soxr

from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio


def perturb(
    audio: Audio,
    amounts: tuple[float, ...],
    generator: np.random.Generator,  # noqa: ARG001
) -> Samples:
    """As many samples as there were: stretched, then resampled."""
    (semitones,) = amounts
    rate = 2 ** (-semitones / 12)
    n_samples = len(audio.samples)
    stretched = audio.spectra.stretched(rate, round(n_samples / rate))
    shifted = np.zeros(n_samples, np.float32)
    if len(stretched):
        resampled = soxr.resample(stretched, audio.sr / rate, audio.sr, "HQ")[:n_samples]
        shifted[: len(resampled)] = resampled
    return shifted
