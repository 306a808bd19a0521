"""Kaldi's filter bank back to sound, approximately."""

import numpy as np
import numpy.typing as npt

from featurestore.specs.fbank import FLOOR, PREEMPHASIS, FbankSpec
from pipeline.features.fbank import filters
from pipeline.sonify.bands import spread
from pipeline.sonify.phases import Magnitudes

_AT_FLOOR = 1.01 * FLOOR
"""What encodings may make of the least power."""


def magnitudes(values: npt.NDArray[np.float32], spec: FbankSpec) -> Magnitudes:
    """Undo the logarithm, the bands and pre-emphasis.

    Approximate: bands at the floor are taken for silent, and pre-emphasis is divided out of power
    by its response, ``|1 - 0.97 exp(-i w)|**2``, as if frames had no beginning. Where no filter
    lies, such as at 0 Hz, there is nothing.
    """
    power = np.exp(values.astype(np.float64))
    power[power <= _AT_FLOOR] = 0
    angle = np.linspace(0, np.pi, 1 + spec.n_fft // 2)[:, None]
    response = 1 + PREEMPHASIS**2 - 2 * PREEMPHASIS * np.cos(angle)
    bins = spread(power, filters(spec)) / response
    return Magnitudes(
        values=np.sqrt(bins).astype(np.float32),
        n_fft=spec.n_fft,
        window=np.hanning(spec.win_length),
        hop_length=spec.hop_length,
        first=spec.win_length // 2,
    )
