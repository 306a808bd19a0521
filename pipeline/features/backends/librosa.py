"""librosa, in double precision: the reference that most users compare with."""

import numpy as np
import numpy.typing as npt

from featurestore.specs.mel import FeatureSpec
from pipeline.features.backends.stft import SharedStft


def require(spec: FeatureSpec) -> None:
    """Every spec can be computed."""


def power(
    samples: npt.NDArray[np.float32], stft: SharedStft
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Power of all bins, where it is asked for, and of the banks' bands; see `Backend`."""
    import librosa

    spectra = librosa.stft(
        samples.astype(np.float64),
        n_fft=stft.n_fft,
        hop_length=stft.hop_length,
        window=stft.window_values(),
        center=False,
        dtype=np.complex128,
    )
    filters = [
        librosa.filters.mel(
            sr=stft.sr,
            n_fft=stft.n_fft,
            n_mels=bank.n_mels,
            fmin=bank.fmin,
            fmax=bank.fmax,
            htk=bank.htk,
            norm=bank.norm,
            dtype=np.float64,
        )
        for bank in stft.banks
    ]
    bins: npt.NDArray[np.float32] = (np.abs(spectra) ** 2).astype("f4")
    bands = np.concatenate([np.empty((0, len(bins))), *filters]) @ bins
    return bins if stft.bins else bins[:0], bands.astype("f4")
