"""Mel-spectrograms back to sound."""

import numpy as np
import numpy.typing as npt

from featurestore.specs.mel import FeatureSpec
from pipeline.features.backends.stft import SharedStft
from pipeline.features.scaling import decompress
from pipeline.sonify.bands import spread
from pipeline.sonify.phases import Magnitudes


def magnitudes(values: npt.NDArray[np.float32], spec: FeatureSpec) -> Magnitudes:
    """Undo the amplitude scaling, and spread the bands over FFT bins."""
    stft = SharedStft.of(spec)
    length = spec.win_length or spec.n_fft
    before = (spec.n_fft - length) // 2  # zeros
    bins = spread(decompress(values, spec.log), stft.filters())
    return Magnitudes(
        values=np.sqrt(bins).astype(np.float32),
        n_fft=spec.n_fft,
        window=stft.window_values()[before : before + length],
        hop_length=spec.hop_length,
    )
