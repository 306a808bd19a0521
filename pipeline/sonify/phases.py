"""Phases for magnitudes: what a spectrogram does not keep is made up by chance."""

import dataclasses
import warnings
from typing import Literal

import numpy as np
import numpy.typing as npt

Method = Literal["griffin-lim", "noise"]

Samples = npt.NDArray[np.float32]

_GRIFFIN_LIM_ROUNDS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Magnitudes:
    """Magnitudes of an STFT, and how it was made.

    Attributes
    ----------
    values : np.ndarray [shape=(1 + n_fft // 2, n_frames), dtype=float32]
    n_fft : int
        Length of the FFT [samples].
    window : np.ndarray [shape=(win_length,)]
        At most `n_fft` long; a shorter one lies in the middle of the frame.
    hop_length : int
        Step from frame to frame [samples].
    first : int
        Centre of the first frame [samples].
    """

    values: npt.NDArray[np.float32] = dataclasses.field(repr=False)
    n_fft: int
    window: npt.NDArray[np.float64] = dataclasses.field(repr=False)
    hop_length: int
    first: int = 0


def with_phases(
    magnitudes: Magnitudes, n_samples: int, *, method: Method = "griffin-lim", seed: int = 0
) -> Samples:
    """Samples whose STFT has the magnitudes given, as nearly as can be.

    Frames are held until the next one, in steps of a quarter of a window or less, and the
    magnitudes are imposed on white noise: either once, or again and again until the phases agree
    with them (Griffin and Lim, *IEEE ASSP* 32(2), 1984, with Perraudin's momentum, by librosa).

    Parameters
    ----------
    magnitudes : Magnitudes
    n_samples : int
    method : {'griffin-lim', 'noise'}
    seed : int
        Of the noise.

    Returns
    -------
    np.ndarray [shape=(n_samples,), dtype=float32]
    """
    import librosa

    n_fft, window, hop_length = magnitudes.n_fft, magnitudes.window, magnitudes.hop_length
    # Frames half over one another, as stored at x1, leave the phases too free.
    step = min(hop_length, max(1, len(window) // 4))
    times = np.arange(1 + n_samples // step) * step - magnitudes.first
    nearest = (times + hop_length // 2) // hop_length
    held = magnitudes.values[:, np.clip(nearest, 0, magnitudes.values.shape[1] - 1)]
    with warnings.catch_warnings():  # of clips shorter than a frame, which are padded
        warnings.filterwarnings("ignore", message="n_fft=", category=UserWarning)
        if method == "griffin-lim":
            samples = librosa.griffinlim(
                held,
                n_iter=_GRIFFIN_LIM_ROUNDS,
                n_fft=n_fft,
                hop_length=step,
                win_length=len(window),
                window=window,
                pad_mode="constant",
                length=n_samples,
                random_state=seed,
            )
        else:
            noise = np.random.default_rng(seed).standard_normal(n_samples, np.float32)
            spectra = librosa.stft(
                noise,
                n_fft=n_fft,
                hop_length=step,
                win_length=len(window),
                window=window,
                pad_mode="constant",
            )
            spectra *= held / np.float32(np.sqrt(np.square(window).sum()))
            samples = librosa.istft(
                spectra,
                n_fft=n_fft,
                hop_length=step,
                win_length=len(window),
                window=window,
                length=n_samples,
            )
    return np.asarray(samples, np.float32)
