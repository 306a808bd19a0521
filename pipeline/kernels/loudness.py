"""A level that follows samples, and the gain that a level calls for."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiler import compiled
from pipeline.kernels.scaling import octaves

Singles = npt.NDArray[np.float32]

_BLOCK = 1024
"""Gains computed at a time: they stay in the cache."""

_ZERO = np.float32(0)

# 2 to the power of at most 1/2, by its powers: ln(2)^k / k!
_E1, _E2, _E3, _E4, _E5, _E6 = (
    np.float32(np.log(2) ** k / factorial)
    for k, factorial in enumerate((1, 2, 6, 24, 120, 720), start=1)
)
_ONE = np.float32(1)


@compiled("void(Array(float32, 1, 'C', readonly=True), float64, float64, float32[::1])")
def follow(samples: Any, attack: Any, decay: Any, levels: Any) -> None:
    """Put a level there that follows magnitudes from 1 on, up at one pace and down at another.

    Each level needs the one before, and which way it went: no filter and no array operation does
    that.

    Parameters
    ----------
    samples, levels : np.ndarray [shape=(n,), dtype=float32]
    attack, decay : float
        The part of the way to a sample's magnitude that the level goes in one sample.
    """
    level = 1.0
    for i in range(len(levels)):
        rise = abs(np.float64(samples[i])) - level
        level += rise * (attack if rise > 0 else decay)
        levels[i] = level


def gains(
    levels: Singles, inputs: npt.NDArray[np.float64], outputs: npt.NDArray[np.float64]
) -> None:
    """Put the gain of each level in its place: straight lines between knots, on both sides in log2.

    Parameters
    ----------
    levels : np.ndarray [shape=(n,), dtype=float32]
        Gains, in the end. Levels below the first knot have its gain; there are none above the last.
    inputs, outputs : np.ndarray [shape=(n_knots,), dtype=float64]
        Levels in and out, by rising level in [octaves].
    """
    wanted = outputs - inputs
    slopes = np.diff(np.diff(wanted) / np.diff(inputs), prepend=0)
    _gain(levels, inputs[:-1].astype(np.float32), slopes.astype(np.float32), np.float32(wanted[0]))


@compiled("void(float32[::1], float32[::1], float32[::1], float32)")
def _gain(levels: Any, knots: Any, slopes: Any, first: Any) -> None:
    least = np.float32(2.0) ** knots[0]
    logarithms, exponents = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    for begin in range(0, len(levels), _BLOCK):
        some = levels[begin : begin + _BLOCK]
        for i in range(len(some)):
            whole, part = octaves(max(some[i], least))
            logarithms[i] = whole + part
            exponents[i] = first
        for knot in range(len(knots)):
            at, slope = knots[knot], slopes[knot]
            for i in range(len(some)):
                exponents[i] += slope * max(logarithms[i] - at, _ZERO)
        for i in range(len(some)):
            whole = np.rint(exponents[i])
            x = np.float32(exponents[i] - whole)
            part = _E1 + x * (_E2 + x * (_E3 + x * (_E4 + x * (_E5 + x * _E6))))
            power = np.int32((np.int32(whole) + 127) << 23).view(np.float32)
            some[i] = power * (_ONE + x * part)
