"""Angles of complex numbers in single precision, to the bit as NumPy has them.

NumPy asks the C library, where it has no better for the processor (AVX-512). The C library of Linux
had fdlibm's arc tangent until its release 2.41, number by number: 28 ns each, of which this loop
takes 1. Where NumPy gives other bits for any of some thousand numbers, NumPy is asked.

The formulas and their constants are those of fdlibm's ``atanf`` and ``atan2f``:

    Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved.
    Developed at SunPro, a Sun Microsystems, Inc. business. Permission to use, copy, modify, and
    distribute this software is freely granted, provided that this notice is preserved.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiler import compiled

Singles = npt.NDArray[np.float32]


def _single(bits: int) -> np.float32:
    single: np.float32 = np.uint32(bits).view(np.float32)
    return single


# The arc tangents of 1/2, 1, 3/2 and infinity, and what they lack in single precision.
_HALF, _HALF_REST = _single(0x3EED6338), _single(0x31AC3769)
_UNIT, _UNIT_REST = _single(0x3F490FDA), _single(0x33222168)
_MORE, _MORE_REST = _single(0x3F7B985E), _single(0x33140FB4)
_ALL, _ALL_REST = _single(0x3FC90FDA), _single(0x33A22168)
_RIGHT, _PI, _PI_REST = _single(0x3FC90FDB), _single(0x40490FDB), _single(0xB3BBBD2E)

_A0, _A1, _A2, _A3 = map(_single, (0x3EAAAAAB, 0xBE4CCCCD, 0x3E124925, 0xBDE38E38))
_A4, _A5, _A6, _A7 = map(_single, (0x3DBA2E6E, 0xBD9D8795, 0x3D886B35, 0xBD6EF16B))
_A8, _A9, _A10 = map(_single, (0x3D4BDA59, 0xBD15A221, 0x3C8569D7))

_ZERO, _ONE, _ONE_AND_A_HALF, _TWO = np.float32(0), np.float32(1), np.float32(1.5), np.float32(2)
_HUGE = np.float32(2.0**25)


def angles(imaginary: Singles, real: Singles, out: Singles) -> None:
    """Put ``np.arctan2(imaginary, real)`` of contiguous arrays there."""
    if _is_numpys():
        _angles(imaginary.reshape(-1), real.reshape(-1), out.reshape(-1))
    else:
        np.arctan2(imaginary, real, out=out)


@lru_cache(maxsize=1)
def _is_numpys() -> bool:
    """Whether the loop has NumPy's bits: of another formula, they differ for one in ten numbers."""
    generator = np.random.Generator(np.random.PCG64(0))
    real, imaginary = generator.standard_normal((2, 1 << 14), np.float32)
    imaginary *= np.exp2(generator.integers(-30, 30, len(real))).astype(np.float32)
    found = np.empty_like(real)
    _angles(imaginary, real, found)
    return np.array_equal(found, np.arctan2(imaginary, real))


@compiled("void(float32[::1], float32[::1], float32[::1])")
def _angles(imaginary: Any, real: Any, out: Any) -> None:
    for i in range(len(out)):
        y, x = imaginary[i], real[i]
        t = abs(y / x)
        above, below, high, low = t, _ONE, _ZERO, _ZERO
        if t >= np.float32(0.4375):
            above, below, high, low = _TWO * t - _ONE, _TWO + t, _HALF, _HALF_REST
        if t >= np.float32(0.6875):
            above, below, high, low = t - _ONE, t + _ONE, _UNIT, _UNIT_REST
        if t >= np.float32(1.1875):
            above, below = t - _ONE_AND_A_HALF, _ONE + _ONE_AND_A_HALF * t
            high, low = _MORE, _MORE_REST
        if t >= np.float32(2.4375):
            above, below, high, low = -_ONE, t, _ALL, _ALL_REST
        s = above / below
        z = s * s
        w = z * z
        odd = z * (_A0 + w * (_A2 + w * (_A4 + w * (_A6 + w * (_A8 + w * _A10)))))
        even = w * (_A1 + w * (_A3 + w * (_A5 + w * (_A7 + w * _A9))))
        angle = high - ((s * (odd + even) - low) - s)
        if t >= _HUGE:
            angle = _RIGHT
        if x == _ZERO:
            angle = _ZERO if y == _ZERO else _RIGHT
        # The sign of a zero counts.
        if np.float32(x).view(np.int32) < 0 and (x != _ZERO or y == _ZERO):
            angle = _PI - (angle - _PI_REST)
        out[i] = -angle if np.float32(y).view(np.int32) < 0 else angle
