"""Logarithms of power, in single precision, and single precision rounded to half."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiler import compiled, inlined

_ONE, _LEAST, _MOST = np.float32(1), np.float32(1e-10), np.finfo(np.float32).max
_TEN_THOUSAND = np.float32(1e4)

# 2 / ln(2) (s + s^3 / 3 + …), of s = (m - 1) / (m + 1), is the logarithm of m; from the root of 1/2
# to that of 2, what is left out is less than a billionth.
_C1, _C3, _C5, _C7, _C9 = (np.float32(2 / np.log(2) / k) for k in (1, 3, 5, 7, 9))

_ROOT = 0x3F3504F3
"""The bits of the root of 1/2."""

_FROM_ROOT = 0x3F800000 - _ROOT

# How much an octave is, so that whole octaves are exact: a part of few bits, and the rest.
_DB = np.float32(3.01025390625)
_DB_REST = np.float32(10 * np.log10(2) - 3.01025390625)
_LOG = np.float32(0.301025390625)
_LOG_REST = np.float32(np.log10(2) - 0.301025390625)


def decibels(power: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``10 log10(max(P, 1e-10))`` of finite power P, to one unit in the last place."""
    values = np.empty(power.shape, np.float32)
    _decibels(np.ascontiguousarray(power).reshape(-1), values.reshape(-1))
    return values


def logarithms(power: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``log10(1 + 10000 P)`` of finite power P; of P beyond 3.4e34, that of it."""
    values = np.empty(power.shape, np.float32)
    _logarithms(np.ascontiguousarray(power).reshape(-1), values.reshape(-1))
    return values


@inlined
def octaves(x: Any) -> Any:
    """The logarithm to base 2 of a normal number: a whole number, and between -1/2 and 1/2."""
    bits = np.int32(np.float32(x).view(np.int32) + _FROM_ROOT)
    whole = np.float32(np.int32(np.int32(bits >> 23) - 127))
    m = np.int32((bits & 0x7FFFFF) + _ROOT).view(np.float32)
    s = (m - _ONE) / (m + _ONE)
    z = s * s
    return whole, s * (_C1 + z * (_C3 + z * (_C5 + z * (_C7 + z * _C9))))


@compiled("void(Array(float32, 1, 'C', readonly=True), float32[::1])")
def _decibels(power: Any, values: Any) -> None:
    for i in range(len(values)):
        whole, part = octaves(max(power[i], _LEAST))
        values[i] = whole * _DB + (whole * _DB_REST + part * (_DB + _DB_REST))


@compiled("void(Array(float32, 1, 'C', readonly=True), float32[::1])")
def _logarithms(power: Any, values: Any) -> None:
    for i in range(len(values)):
        whole, part = octaves(min(_ONE + _TEN_THOUSAND * power[i], _MOST))
        values[i] = whole * _LOG + (whole * _LOG_REST + part * (_LOG + _LOG_REST))
