"""The default: framed FFTs and filters in one pass, compiled, on one thread.

All is in double precision, and rounded to single in the end. With single-precision transforms
(PyTorch's and SciPy's alike) the quiet bands beside a full-scale sine are off by up to 0.8 dB.
Frames whose length is no power of two are transformed by SciPy, by blocks.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from featurestore.specs.mel import FeatureSpec
from pipeline.features.backends.stft import SharedStft

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from pipeline.kernels.spectra import Bands

_BLOCK = 256
"""Frames that SciPy transforms at a time."""


def require(spec: FeatureSpec) -> None:
    """Every spec can be computed."""


def power(
    samples: npt.NDArray[np.float32], stft: SharedStft
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Power of all bins, where it is asked for, and of the banks' bands; see `Backend`."""
    from pipeline.kernels.fft import is_transformed

    if is_transformed(stft.n_fft):
        return _bands(stft).power(samples, stft.hop_length, bins=stft.bins)
    window = stft.window_values()
    frames = sliding_window_view(samples, stft.n_fft)[:: stft.hop_length]
    bins = power_of_frames(frames, stft.n_fft, lambda block: block * window)
    return bins if stft.bins else bins[:0], _filters(stft) @ bins


def power_of_frames(
    frames: npt.NDArray[np.float32],
    n_fft: int,
    prepare: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]],
) -> npt.NDArray[np.float32]:
    """Power spectra of frames.

    Parameters
    ----------
    frames : np.ndarray [shape=(n_frames, win_length), dtype=float32]
    n_fft : int
        Length of the FFT, `win_length` or more: zeros are put after a frame [samples].
    prepare : callable
        What is done to a block of frames before, such as the window: to float64, whose precision
        the transform then has.

    Returns
    -------
    power : np.ndarray [shape=(1 + n_fft // 2, n_frames), dtype=float32]
    """
    from scipy import fft

    power = np.empty((n_fft // 2 + 1, len(frames)), np.float32)
    # By blocks that stay in the cache: at hop x1 twice as fast as all frames at once.
    for first in range(0, len(frames), _BLOCK):
        block = slice(first, first + _BLOCK)
        spectra = fft.rfft(prepare(frames[block]), n=n_fft, overwrite_x=True)
        squares = np.square(spectra.view(np.float64)).reshape(*spectra.shape, 2)
        with np.errstate(over="ignore"):  # it becomes infinite, and is found out
            power[:, block] = (squares[..., 0] + squares[..., 1]).T
    return power


@lru_cache(maxsize=64)
def _bands(stft: SharedStft) -> "Bands":
    from pipeline.kernels.spectra import Bands

    return Bands.of(stft.window_values(), stft.filters())


@lru_cache(maxsize=64)
def _filters(stft: SharedStft) -> "csr_array":
    from scipy.sparse import csr_array

    # Triangles are mostly zeros: seven banks hold 4 % of a full matrix, and take a sixth of the
    # time of a product with it.
    return csr_array(stft.filters().astype(np.float32))
