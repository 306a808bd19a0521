"""Time stretch by overlap-add of pieces that fit (WSOLA, Verhelst and Roelands 1993)."""

import math

import numpy as np
import scipy.fft

from pipeline.audio.stream import Samples

HOP = 0.032
"""How much of the output each piece begins [s]; it fades in as the piece before fades out."""


def stretch(samples: Samples, sr: int, rate: float) -> Samples:
    """Samples at another speed, at the same pitch, ``(round(n / rate),)`` float32.

    A hop of output fades from the continuation of the piece before into a piece from near where
    the speed puts it: of the starts within half a hop, the one whose samples correlate best with
    that continuation, the nearest of equals. At a rate of 1 that is the continuation itself.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,), dtype=float32]
    sr : int
        [Hz]
    rate : float
        How many times faster.
    """
    length = round(len(samples) / rate)
    hop = scipy.fft.next_fast_len(max(2, round(HOP * sr)), real=True)
    reach = hop // 2
    n_hops = math.ceil(length / hop)
    # A piece is two hops long; its middle belongs where the speed puts it.
    middles = np.round(np.arange(1, n_hops + 1) * (hop * rate)).astype(int)
    starts = np.maximum(middles - hop, 0)  # in `padded`, where the search for each begins

    padded = np.zeros(max([len(samples), *starts[-1:]]) + 2 * reach + 2 * hop, np.float32)
    padded[reach : reach + len(samples)] = samples
    energy = np.concatenate([[0.0], np.cumsum(np.square(padded, dtype=np.float64))])
    fade = np.float32(0.5 - 0.5 * np.cos(np.pi * (np.arange(hop) + 0.5) / hop))
    outwards = np.argsort(np.abs(np.arange(2 * reach + 1) - reach), kind="stable")

    stretched = np.empty((n_hops, hop), np.float32)
    continuation = padded[reach : reach + hop]
    for piece, start in zip(stretched, starts, strict=True):
        # Twice a hop is long enough that no start within reach wraps around.
        spectrum = scipy.fft.rfft(padded[start : start + 2 * hop])
        spectrum *= np.conj(scipy.fft.rfft(continuation, 2 * hop))
        correlation = scipy.fft.irfft(spectrum, 2 * hop)[: 2 * reach + 1]
        ends = energy[start + hop : start + hop + 2 * reach + 1]
        correlation /= np.sqrt(ends - energy[start : start + 2 * reach + 1] + 1e-6)
        best = start + outwards[np.argmax(correlation[outwards])]
        np.subtract(padded[best : best + hop], continuation, out=piece)
        piece *= fade
        piece += continuation
        continuation = padded[best + hop : best + 2 * hop]
    return stretched.reshape(-1)[:length].copy()
