"""Amplitude scalings: from mel power to the values stored, and back."""

import numpy as np
import numpy.typing as npt

from featurestore.specs.mel import Log


def compress(power: npt.NDArray[np.float32], log: Log) -> npt.NDArray[np.float32]:
    """Amplitude scaling of mel power P: ``10 log10(max(P, 1e-10))`` or ``log10(1 + 10000 P)``."""
    if log == "db":
        values = np.maximum(power, np.float32(1e-10))
        np.log10(values, out=values)
        values *= 10
    else:
        values = power * np.float32(1e4)
        values += 1
        np.log10(values, out=values)
    return values


def decompress(values: npt.NDArray[np.float32], log: Log) -> npt.NDArray[np.float64]:
    """Mel power of `compress`'s values: its inverse, but for what lay below 1e-10 in ``db``."""
    exponent = values * np.float64(np.log(10) / (10 if log == "db" else 1))
    if log == "db":
        return np.exp(exponent)
    return np.maximum(np.expm1(exponent) / 1e4, 0)  # encodings round a little below 0, too
