"""Power spectra of all bins back to sound."""

import numpy as np
import numpy.typing as npt

from featurestore.specs.stft import StftSpec
from pipeline.features.backends.stft import SharedStft
from pipeline.features.scaling import decompress
from pipeline.sonify.phases import Magnitudes


def magnitudes(values: npt.NDArray[np.float32], spec: StftSpec) -> Magnitudes:
    """Undo the amplitude scaling: the bins are as they were analysed."""
    stft = SharedStft(
        sr=spec.sr, n_fft=spec.n_fft, hop_length=spec.hop_length, window=spec.window, banks=()
    )
    return Magnitudes(
        values=np.sqrt(decompress(values, "db")).astype(np.float32),
        n_fft=spec.n_fft,
        window=stft.window_values(),
        hop_length=spec.hop_length,
    )
