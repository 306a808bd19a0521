"""Sums over the frames of bands, one frame after the other, eight bands side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiler import compiled, inlined
from pipeline.kernels.lanes import WIDTH, load, splat, store, transposed

_ROWS = 2 * WIDTH
"""Bands done at a time: with four alone, each sum would wait for the last one."""


def moments(values: npt.NDArray[np.float32], steps: Sequence[int]) -> npt.NDArray[np.float64]:
    """Means over every k-th frame of how far values are from their band's first, and of its square.

    A band's are the same bits whichever bands and steps there are besides.

    Parameters
    ----------
    values : np.ndarray [shape=(n_bands, n_frames), dtype=float32]
    steps : sequence of int
        The k.

    Returns
    -------
    moments : np.ndarray [shape=(len(steps), 2, n_bands), dtype=float64]
    """
    sums = np.empty((len(steps), 2, len(values)))
    _sum(np.ascontiguousarray(values), np.array(steps, np.int64), sums)
    counts = np.array([len(range(0, values.shape[1], step)) for step in steps])
    sums /= counts[:, None, None]
    return sums


@inlined
def _turn(values: Any, band: int, n_frames: int, turned: Any, to: int) -> None:
    """Put four bands side by side, frame after frame."""
    a, b, c, d = values[band], values[band + 1], values[band + 2], values[band + 3]
    whole = n_frames - n_frames % WIDTH
    for frame in range(0, whole, WIDTH):
        rows = transposed(load(a, frame), load(b, frame), load(c, frame), load(d, frame))
        place = _ROWS * frame + to
        store(turned, place, rows[0])
        store(turned, place + _ROWS, rows[1])
        store(turned, place + 2 * _ROWS, rows[2])
        store(turned, place + 3 * _ROWS, rows[3])
    for frame in range(whole, n_frames):
        place = _ROWS * frame + to
        turned[place], turned[place + 1] = a[frame], b[frame]
        turned[place + 2], turned[place + 3] = c[frame], d[frame]


@compiled("void(Array(float32, 2, 'C', readonly=True), int64[::1], float64[:, :, ::1])")
def _sum(values: Any, steps: Any, sums: Any) -> None:
    n_bands, n_frames = values.shape
    at_once = n_bands - n_bands % _ROWS
    turned = np.empty(_ROWS * n_frames if at_once else 0, np.float32)
    for band in range(0, at_once, _ROWS):
        _turn(values, band, n_frames, turned, 0)
        _turn(values, band + WIDTH, n_frames, turned, WIDTH)
        first, other_first = load(turned, 0), load(turned, WIDTH)
        for i in range(len(steps)):
            total = other_total = square = other_square = splat(0.0)
            for place in range(0, _ROWS * n_frames, _ROWS * steps[i]):
                moved = load(turned, place) - first
                total = total + moved
                square = square + moved * moved
                moved = load(turned, place + WIDTH) - other_first
                other_total = other_total + moved
                other_square = other_square + moved * moved
            store(sums[i, 0], band, total)
            store(sums[i, 0], band + WIDTH, other_total)
            store(sums[i, 1], band, square)
            store(sums[i, 1], band + WIDTH, other_square)
    for band in range(at_once, n_bands):
        known = values[band]
        first_one = np.float64(known[0])
        for i in range(len(steps)):
            total_one = square_one = 0.0
            for frame in range(0, n_frames, steps[i]):
                moved_one = np.float64(known[frame]) - first_one
                total_one += moved_one
                square_one += moved_one * moved_one
            sums[i, 0, band] = total_one
            sums[i, 1, band] = square_one
