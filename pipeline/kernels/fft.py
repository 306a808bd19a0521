"""Fourier transforms of real frames, four frames side by side, in double precision.

Of a frame of 2n samples the even ones are taken for real parts and the odd ones for imaginary
parts; n complex numbers are transformed in place, by radices of 4 and at most one of 2, decimated
in frequency; and what was taken together is taken apart. The first pass reads the samples, and the
last one takes apart: each of the others costs as much as these. Rows of ``2 * WIDTH`` numbers hold
the real and the imaginary parts of four frames.

A frame's spectrum does not hang on the frames beside it, and no sum on the processor: all
operations are IEEE's, one by one.
"""

import dataclasses
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiler import inlined
from pipeline.kernels.lanes import WIDTH, Lanes, load, splat, store, transposed

_SHORTEST = 32
"""The shortest frames: those of a first and of a last pass [samples]."""

_ROW = 2 * WIDTH


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tables:
    """What transforms of one length look up.

    Parameters
    ----------
    turns : np.ndarray [dtype=float64]
        By pass and row: cosine and sine of each angle that the pass turns by.
    halves : np.ndarray [shape=(2 * (n + 1),), dtype=float64]
        By bin: the same of the angle that takes even and odd samples apart.
    order : np.ndarray [shape=(n // 4,), dtype=int64]
        Where the last pass finds bin k, and those n/4, n/2 and 3n/4 above: in the rows from 4 times
        that on.
    """

    turns: npt.NDArray[np.float64]
    halves: npt.NDArray[np.float64]
    order: npt.NDArray[np.int64]

    @classmethod
    def of(cls, n_fft: int) -> Self:
        """Those for frames of `n_fft` samples, a power of two that `is_transformed`."""
        n = n_fft // 2
        radices: list[int] = []
        left = n // 4
        while left > 1:
            radices.append(2 if radices and left == 2 else 4)
            left //= radices[-1]
        turns, length = [], n
        for radix in radices:
            turns.append(np.outer(np.arange(length // radix), np.arange(1, radix)) / length)
            length //= radix
        return cls(
            turns=_unit(np.concatenate([angles.ravel() for angles in turns])),
            halves=_unit(np.arange(n + 1) / n_fft),
            order=_order(n // 4, radices),
        )


def is_transformed(n_fft: int) -> bool:
    """Whether there are transforms of frames of that length: a power of two, and not too short."""
    return n_fft >= _SHORTEST and n_fft & (n_fft - 1) == 0


@lru_cache(maxsize=64)
def tables(n_fft: int) -> Tables:
    """`Tables` of a length, made once."""
    return Tables.of(n_fft)


def _unit(turns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    angles = -2 * np.pi * turns
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).ravel()


def _order(n: int, radices: list[int]) -> npt.NDArray[np.int64]:
    """Where each of n bins lies after passes of these radices, decimated in frequency."""
    if n == 1:
        return np.zeros(1, np.int64)
    radix, order = radices[0], np.empty(n, np.int64)
    for first in range(radix):
        order[first::radix] = first * (n // radix) + _order(n // radix, radices[1:])
    return order


@inlined
def _of_four(
    ar: Lanes, ai: Lanes, br: Lanes, bi: Lanes, cr: Lanes, ci: Lanes, dr: Lanes, di: Lanes
) -> Any:
    """The transform of four complex numbers."""
    sr, si, tr, ti = ar + cr, ai + ci, ar - cr, ai - ci
    ur, ui, vr, vi = br + dr, bi + di, bi - di, dr - br
    return sr + ur, si + ui, tr + vr, ti + vi, sr - ur, si - ui, tr - vr, ti - vi


@inlined
def _put(rows: Any, at: int, real: Lanes, imaginary: Lanes) -> None:
    store(rows, at, real)
    store(rows, at + WIDTH, imaginary)


@inlined
def _put_turned(rows: Any, at: int, real: Lanes, imaginary: Lanes, turns: Any, turn: int) -> None:
    cosine, sine = splat(turns[turn]), splat(turns[turn + 1])
    store(rows, at, real * cosine - imaginary * sine)
    store(rows, at + WIDTH, real * sine + imaginary * cosine)


@inlined
def _samples(samples: Any, at: int, step: int, window: Any, first: int) -> Any:
    """Four samples of four frames, under the window: the frames' first ones, and so on."""
    weights = load(window, first)
    at += first
    return transposed(
        load(samples, at) * weights,
        load(samples, at + step) * weights,
        load(samples, at + 2 * step) * weights,
        load(samples, at + 3 * step) * weights,
    )


@inlined
def _put_all(rows: Any, row: int, quarter: int, turns: Any, z: Any) -> None:
    at, apart, turn = _ROW * row, _ROW * quarter, 6 * row
    _put(rows, at, z[0], z[1])
    _put_turned(rows, at + apart, z[2], z[3], turns, turn)
    _put_turned(rows, at + 2 * apart, z[4], z[5], turns, turn + 2)
    _put_turned(rows, at + 3 * apart, z[6], z[7], turns, turn + 4)


@inlined
def _begin(samples: Any, at: int, step: int, window: Any, rows: Any, turns: Any) -> None:
    quarter = len(window) // 8
    for row in range(0, quarter, 2):
        a = _samples(samples, at, step, window, 2 * row)
        b = _samples(samples, at, step, window, 2 * (row + quarter))
        c = _samples(samples, at, step, window, 2 * (row + 2 * quarter))
        d = _samples(samples, at, step, window, 2 * (row + 3 * quarter))
        _put_all(
            rows, row, quarter, turns, _of_four(a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1])
        )
        row += 1
        _put_all(
            rows, row, quarter, turns, _of_four(a[2], a[3], b[2], b[3], c[2], c[3], d[2], d[3])
        )


@inlined
def _by_four(rows: Any, n: int, length: int, turns: Any, first: int) -> None:
    apart = _ROW * length // 4
    for begin in range(0, _ROW * n, 4 * apart):
        turn = first
        for a in range(begin, begin + apart, _ROW):
            b, c, d = a + apart, a + 2 * apart, a + 3 * apart
            z = _of_four(
                load(rows, a), load(rows, a + WIDTH), load(rows, b), load(rows, b + WIDTH),
                load(rows, c), load(rows, c + WIDTH), load(rows, d), load(rows, d + WIDTH),
            )  # fmt: skip
            _put(rows, a, z[0], z[1])
            _put_turned(rows, b, z[2], z[3], turns, turn)
            _put_turned(rows, c, z[4], z[5], turns, turn + 2)
            _put_turned(rows, d, z[6], z[7], turns, turn + 4)
            turn += 6


@inlined
def _by_two(rows: Any, n: int, length: int, turns: Any, first: int) -> None:
    apart = _ROW * length // 2
    for begin in range(0, _ROW * n, 2 * apart):
        turn = first
        for a in range(begin, begin + apart, _ROW):
            b = a + apart
            ar, ai, br, bi = (
                load(rows, a),
                load(rows, a + WIDTH),
                load(rows, b),
                load(rows, b + WIDTH),
            )
            _put(rows, a, ar + br, ai + bi)
            _put_turned(rows, b, ar - br, ai - bi, turns, turn)
            turn += 2


@inlined
def _go_on(rows: Any, n: int, turns: Any) -> None:
    """All passes but the first and the last."""
    first, length = 6 * (n // 4), n // 4
    while length > 8:
        _by_four(rows, n, length, turns, first)
        first += 6 * (length // 4)
        length //= 4
    if length == 8:
        _by_two(rows, n, length, turns, first)


@inlined
def _end(rows: Any, block: int) -> Any:
    a = 4 * _ROW * block
    b, c, d = a + _ROW, a + 2 * _ROW, a + 3 * _ROW
    return _of_four(
        load(rows, a), load(rows, a + WIDTH), load(rows, b), load(rows, b + WIDTH),
        load(rows, c), load(rows, c + WIDTH), load(rows, d), load(rows, d + WIDTH),
    )  # fmt: skip


@inlined
def _take_apart(
    fr: Lanes, fi: Lanes, gr: Lanes, gi: Lanes, k: int, n: int, halves: Any,
    put: Any, out: Any, at: int,
) -> None:  # fmt: skip
    """Bins k and n - k of the real frame, of those of the complex numbers."""
    cosine, sine = splat(halves[2 * k]), splat(halves[2 * k + 1])
    er, ei, dr, di = fr + gr, fi - gi, fi + gi, gr - fr
    tr, ti = dr * cosine - di * sine, dr * sine + di * cosine
    put(out, at, k, er + tr, ei + ti)
    put(out, at, n - k, er - tr, ti - ei)


@inlined
def transform(
    samples: Any, at: int, step: int, window: Any, rows: Any,
    turns: Any, halves: Any, order: Any, put: Any, out: Any, to: int,
) -> None:  # fmt: skip
    """Spectra of four frames.

    Parameters
    ----------
    samples : np.ndarray [dtype=float32 or float64]
    at, step : int
        Where the first frame begins, and how much later the next one does [samples].
    window : np.ndarray [shape=(2 * n,), dtype=float64]
        Half of what samples are multiplied by.
    rows : np.ndarray [shape=(2 * WIDTH * n,), dtype=float64]
        Room to work in.
    turns, halves, order : np.ndarray
        `Tables` of such frames.
    put : function
        Called with `out`, `to`, a bin, and real and imaginary parts of that bin, of each of the
        n + 1.
    """
    n = len(window) // 2
    _begin(samples, at, step, window, rows, turns)
    _go_on(rows, n, turns)
    z, quarter = _end(rows, 0), n // 4
    real, imaginary = z[0] + z[1], z[0] - z[1]
    put(out, to, 0, real + real, splat(0.0))
    put(out, to, n, imaginary + imaginary, splat(0.0))
    _take_apart(z[2], z[3], z[6], z[7], quarter, n, halves, put, out, to)
    _take_apart(z[4], z[5], z[4], z[5], 2 * quarter, n, halves, put, out, to)
    k = quarter // 2
    z = _end(rows, order[k])
    _take_apart(z[0], z[1], z[6], z[7], k, n, halves, put, out, to)
    _take_apart(z[2], z[3], z[4], z[5], k + quarter, n, halves, put, out, to)
    for k in range(1, quarter // 2):
        y, z = _end(rows, order[k]), _end(rows, order[quarter - k])
        _take_apart(y[0], y[1], z[6], z[7], k, n, halves, put, out, to)
        _take_apart(y[2], y[3], z[4], z[5], k + quarter, n, halves, put, out, to)
        _take_apart(y[4], y[5], z[2], z[3], k + 2 * quarter, n, halves, put, out, to)
        _take_apart(y[6], y[7], z[0], z[1], k + 3 * quarter, n, halves, put, out, to)


@inlined
def invert(
    rows: Any, n: int, turns: Any, halves: Any, order: Any, put: Any, out: Any, to: int
) -> None:
    """Four frames, of their spectra.

    Parameters
    ----------
    rows : np.ndarray [shape=(2 * WIDTH * (n + 1),), dtype=float64]
        Spectra of 2n samples: a row a bin. What is imaginary in the first and the last one is not
        looked at. Changed.
    put : function
        Called with `out`, `to`, a place in a frame, and four samples from there on of each of the
        four frames, each times 2n.
    """
    first, last = load(rows, 0), load(rows, _ROW * n)
    _put(rows, 0, first - last, first + last)
    for k in range(1, n // 2 + 1):
        f, g = _ROW * k, _ROW * (n - k)
        fr, fi, gr, gi = load(rows, f), load(rows, f + WIDTH), load(rows, g), load(rows, g + WIDTH)
        cosine, sine = splat(halves[2 * k]), splat(halves[2 * k + 1])
        er, ei, dr, di = fr + gr, fi - gi, fr - gr, fi + gi
        tr, ti = dr * cosine + di * sine, di * cosine - dr * sine
        # Real and imaginary parts exchanged before and after, a transform is its inverse.
        _put(rows, f, ei + tr, er - ti)
        _put(rows, g, tr - ei, er + ti)
    _by_four(rows, n, n, turns, 0)
    _go_on(rows, n, turns)
    quarter = n // 4
    for k in range(0, quarter, 2):
        y, z = _end(rows, order[k]), _end(rows, order[k + 1])
        put(out, to, 2 * k, transposed(y[1], y[0], z[1], z[0]))
        put(out, to, 2 * (k + quarter), transposed(y[3], y[2], z[3], z[2]))
        put(out, to, 2 * (k + 2 * quarter), transposed(y[5], y[4], z[5], z[4]))
        put(out, to, 2 * (k + 3 * quarter), transposed(y[7], y[6], z[7], z[6]))
