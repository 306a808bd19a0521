"""librosa, in double precision: the reference that most users compare with."""

import numpy as np
import numpy.typing as npt

from pipeline.features.mel import Analysis


def mel_power(samples: npt.NDArray[np.float32], analysis: Analysis) -> npt.NDArray[np.float32]:
    """Mel power ``(sum of n_mels, n_frames)``."""
    import librosa

    spectra = librosa.stft(
        samples.astype(np.float64),
        n_fft=analysis.n_fft,
        hop_length=analysis.hop_length,
        window=analysis.window_values(),
        center=False,
        dtype=np.complex128,
    )
    filters = [
        librosa.filters.mel(
            sr=analysis.sr,
            n_fft=analysis.n_fft,
            n_mels=bank.n_mels,
            fmin=bank.fmin,
            fmax=bank.fmax,
            dtype=np.float64,
        )
        for bank in analysis.banks
    ]
    mel: npt.NDArray[np.float32] = (np.concatenate(filters) @ np.abs(spectra) ** 2).astype("f4")
    return mel
