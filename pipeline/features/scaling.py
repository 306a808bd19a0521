"""Amplitude scalings: from mel power to the values stored, and back."""

import numpy as np
import numpy.typing as npt

from featurestore.specs.mel import Log


def compress(power: npt.NDArray[np.float32], log: Log) -> npt.NDArray[np.float32]:
    """Amplitude scaling of mel power P: ``10 log10(max(P, 1e-10))`` or ``log10(1 + 10000 P)``.

    Of finite power. An array library's logarithms take ten times as long where its processor lacks
    AVX-512, and are other bits there.
    """
    from pipeline.kernels.scaling import decibels, logarithms

    return decibels(power) if log == "db" else logarithms(power)


def decompress(values: npt.NDArray[np.float32], log: Log) -> npt.NDArray[np.float64]:
    """Mel power of `compress`'s values: its inverse, but for what lay below 1e-10 in ``db``."""
    exponent = values * np.float64(np.log(10) / (10 if log == "db" else 1))
    if log == "db":
        return np.exp(exponent)
    return np.maximum(np.expm1(exponent) / 1e4, 0)  # encodings round a little below 0, too
