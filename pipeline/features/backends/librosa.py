"""librosa, in double precision: the reference that most users compare with."""

import numpy as np
import numpy.typing as npt

from featurestore.specs.mel import FeatureSpec
from pipeline.features.backends.stft import SharedStft


def require(spec: FeatureSpec) -> None:
    """Every spec can be computed."""


def power(samples: npt.NDArray[np.float32], stft: SharedStft) -> npt.NDArray[np.float32]:
    """Power of all bins ``(1 + n_fft // 2, n_frames)``."""
    import librosa

    spectra = librosa.stft(
        samples.astype(np.float64),
        n_fft=stft.n_fft,
        hop_length=stft.hop_length,
        window=stft.window_values(),
        center=False,
        dtype=np.complex128,
    )
    power: npt.NDArray[np.float32] = (np.abs(spectra) ** 2).astype("f4")
    return power


def filtered(power: npt.NDArray[np.float32], stft: SharedStft) -> npt.NDArray[np.float32]:
    """Mel power ``(sum of n_mels, n_frames)`` of what `power` gave."""
    import librosa

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
    mel: npt.NDArray[np.float32] = (np.concatenate(filters) @ power).astype("f4")
    return mel


def mel_power(samples: npt.NDArray[np.float32], stft: SharedStft) -> npt.NDArray[np.float32]:
    """Mel power ``(sum of n_mels, n_frames)``."""
    return filtered(power(samples, stft), stft)
