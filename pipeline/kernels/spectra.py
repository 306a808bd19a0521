"""Power spectra, and bands of them: sums weighted by filters that are mostly zeros."""

import dataclasses
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiler import compiled, inlined
from pipeline.kernels.fft import tables, transform
from pipeline.kernels.lanes import WIDTH, Lanes, load, splat, store

BLOCK = 4 * WIDTH
"""Frames that are done together: their power stays in the cache, and each weight is read once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bands:
    """Spectra of frames, and filters that are mostly zeros: each from its first to its last weight.

    Parameters
    ----------
    window : np.ndarray [shape=(n_fft,), dtype=float64]
        Half of what frames are multiplied by; see `pipeline.kernels.fft.transform`.
    starts, lengths : np.ndarray [shape=(n_bands,), dtype=int64]
        The first bin of each filter, and how many.
    weights : np.ndarray [dtype=float64]
        Of one filter after the other.
    """

    window: npt.NDArray[np.float64]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    @classmethod
    def of(cls, window: npt.NDArray[np.float64], filters: npt.NDArray[np.float64]) -> Self:
        """Those of a window ``(n_fft,)`` and a matrix ``(n_bands, 1 + n_fft // 2)``."""
        kept = [np.flatnonzero(row) for row in filters]
        starts = [places[0] if len(places) else 0 for places in kept]
        ends = [places[-1] + 1 if len(places) else 0 for places in kept]
        rows = zip(filters, starts, ends, strict=True)
        return cls(
            window=window / 2,
            starts=np.array(starts, np.int64),
            lengths=np.array(ends, np.int64) - np.array(starts, np.int64),
            weights=np.concatenate([np.empty(0), *(row[start:end] for row, start, end in rows)]),
        )

    def power(
        self, samples: npt.NDArray[np.float32], hop_length: int, *, bins: bool
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Power of all bins, if that is asked for, and of bands.

        Of the frames that lie within the samples.

        Returns
        -------
        bins : np.ndarray [shape=(1 + n_fft // 2 or 0, n_frames), dtype=float32]
        bands : np.ndarray [shape=(n_bands, n_frames), dtype=float32]
        """
        n_fft = len(self.window)
        n_frames = 1 + (len(samples) - n_fft) // hop_length
        n_done = max(n_frames, BLOCK)
        missing = (n_done - 1) * hop_length + n_fft - len(samples)
        if missing > 0:
            samples = np.pad(samples, (0, missing))
        of_bins = np.empty((1 + n_fft // 2 if bins else 0, n_done), np.float32)
        of_bands = np.empty((len(self.starts), n_done), np.float32)
        known = tables(n_fft)
        _power(
            np.ascontiguousarray(samples), hop_length, self.window,
            known.turns, known.halves, known.order, self.starts, self.lengths, self.weights,
            of_bins, of_bands,
        )  # fmt: skip
        return of_bins[:, :n_frames], of_bands[:, :n_frames]


@inlined
def _put_power(power: Any, at: int, k: int, real: Lanes, imaginary: Lanes) -> None:
    store(power, at + WIDTH * k, real * real + imaginary * imaginary)


@compiled(
    "void(Array(float32, 1, 'C', readonly=True), int64, Array(float64, 1, 'C', readonly=True), "
    "float64[::1], float64[::1], int64[::1], int64[::1], int64[::1], float64[::1], "
    "float32[:, ::1], float32[:, ::1])"
)
def _power(
    samples: Any, hop_length: int, window: Any,
    turns: Any, halves: Any, order: Any, starts: Any, lengths: Any, weights: Any,
    bins: Any, bands: Any,
) -> None:  # fmt: skip
    """Put power of `bins`, if it has rows, and of `bands` there; at least `BLOCK` frames."""
    n_bins = 1 + len(window) // 2
    n_frames = bands.shape[1]
    rows = np.empty(WIDTH * len(window))
    spectra = np.empty(BLOCK * n_bins)
    one, two, three = WIDTH * n_bins, 2 * WIDTH * n_bins, 3 * WIDTH * n_bins
    for block in range(0, n_frames, BLOCK):
        frame = min(block, n_frames - BLOCK)  # the last ones are done twice
        for i in range(BLOCK // WIDTH):
            transform(
                samples, (frame + WIDTH * i) * hop_length, hop_length, window, rows,
                turns, halves, order, _put_power, spectra, i * one,
            )  # fmt: skip
        for k in range(bins.shape[0]):
            row = bins[k]
            for i in range(BLOCK // WIDTH):
                store(row, frame + WIDTH * i, load(spectra, WIDTH * k + i * one))
        next_weight = 0
        for band in range(bands.shape[0]):
            a = b = c = d = splat(0.0)
            place = WIDTH * starts[band]
            for _ in range(lengths[band]):
                weight = splat(weights[next_weight])
                a = a + weight * load(spectra, place)
                b = b + weight * load(spectra, place + one)
                c = c + weight * load(spectra, place + two)
                d = d + weight * load(spectra, place + three)
                place += WIDTH
                next_weight += 1
            row = bands[band]
            store(row, frame, a)
            store(row, frame + WIDTH, b)
            store(row, frame + 2 * WIDTH, c)
            store(row, frame + 3 * WIDTH, d)
