"""``pitch-1``: so many semitones higher at the same speed, as `librosa.effects.pitch_shift`."""

import math

import numpy as np
import soxr

from pipeline.audio.stream import Samples
from pipeline.perturb.audio import Audio


def perturb(
    audio: Audio,
    amounts: tuple[float, ...],
    generator: np.random.Generator,
) -> Samples:
    """As many samples as there were: stretched by ``2 ** (-semitones / 12)``, then resampled."""
    (semitones,) = amounts
    rate = 2 ** (-semitones / 12)
    n_samples = len(audio.samples)
    stretched = audio.spectra.stretched(rate)
    sr = audio.sr / rate
    if sr == audio.sr or not len(stretched):
        shifted = stretched
    else:
        shifted = soxr.resample(stretched, sr, audio.sr, "HQ")
    # soxr rounds lengths its own way: what it has beyond the end is left out, as librosa does.
    n_shifted = min(n_samples, math.ceil(len(stretched) * (audio.sr / sr)), len(shifted))
    out = np.zeros(n_samples, np.float32)
    out[:n_shifted] = shifted[:n_shifted]
    return out


def require(sr: int, amounts: tuple[float, ...]) -> None:
    """Nothing depends on the rate."""
